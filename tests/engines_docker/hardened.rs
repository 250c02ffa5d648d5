//! dockerd when nobody asks for a policy: what `hardened` enforces, what goes on working, what it refuses and how it says so.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use casemate_tests::engine::Case;
use casemate_tests::engine_docker::{Docker, IMAGE};
use casemate_tests::{cases, wait_until};

pub const CASES: &[Case<Docker>] = cases![
    every_container_has_its_own_ids,
    what_a_process_may_do,
    only_scratch_is_writable,
    limits_without_asking,
    what_is_stricter_stays,
    logs_of_a_plain_user,
    volumes_keep_their_owners,
    bind_mounts_keep_their_owners,
    terminals_belong_to_the_user,
    exec_is_confined_alike,
    network_of_another_container,
    devices_of_the_host_are_refused,
    the_host_is_refused_in_words,
    more_capabilities_are_not_given,
    read_only_tmpfs_and_init,
    copies_to_and_from_volumes,
    a_restart_keeps_volumes,
    ids_come_back,
];

fn status(docker: &Docker, flags: &[&str], field: &str) -> String {
    docker.sh(flags, &format!("grep ^{field}: /proc/self/status | cut -f2"))
}

fn first_id(map: &str) -> u32 {
    let words: Vec<_> = map.split_whitespace().collect();
    let [inside, outside, count] = words[..] else { panic!("not one range: {map}") };
    assert_eq!((inside, count), ("0", "65536"), "{map}");
    outside.parse().expect("an id")
}

fn every_container_has_its_own_ids(docker: &Docker) {
    let (one, two) = (docker.sleeper("ids-one", &[]), docker.sleeper("ids-two", &["-u", "user"]));
    let map = |name: &str| first_id(&docker.ok(&["exec", name, "cat", "/proc/self/uid_map"]));
    let (first, second) = (map("ids-one"), map("ids-two"));
    assert!(first.abs_diff(second) >= 65536, "{first} and {second} overlap");
    assert!(first > 65535, "ids of the host: {first}");
    let owner = |pid: String| {
        let file = docker.world().inside(["stat", "-c", "%u", &format!("/proc/{pid}")]).run().ok();
        file.text().parse::<u32>().expect("an id")
    };
    assert_eq!(owner(one.inspect("{{.State.Pid}}")), first);
    assert_eq!(owner(two.inspect("{{.State.Pid}}")), second + 1000);
    // Inside, all belongs to whom the image says.
    assert_eq!(one.sh("id -u; stat -c %u:%g /bin/busybox /home /dev /dev/null /proc/1 | sort -u"), "0\n0:0");
}

fn what_a_process_may_do(docker: &Docker) {
    assert_eq!(status(docker, &[], "CapEff"), "00000000000004fb");
    assert_eq!(status(docker, &[], "CapBnd"), "00000000000004fb");
    assert_eq!(status(docker, &["-u", "user"], "CapEff"), "0000000000000000");
    assert_eq!(status(docker, &[], "NoNewPrivs"), "1");
    assert_eq!(status(docker, &["--security-opt", "seccomp=unconfined"], "Seccomp"), "2");
    docker.run(&["--security-opt", "seccomp=unconfined"], &["unshare", "-U", "true"]).fails_with(1);
    let masked =
        docker.sh(&["--security-opt", "systempaths=unconfined"], "head -c 1 /proc/kcore 2>/dev/null | wc -c");
    assert_eq!(masked, "0");
}

fn only_scratch_is_writable(docker: &Docker) {
    let script = "for dir in / /etc /bin /home/user /root /var; do touch $dir/x 2>/dev/null && echo $dir; done; \
                  for dir in /tmp /run /var/tmp /dev/shm; do touch $dir/x || echo not $dir; done";
    assert_eq!(docker.sh(&[], script), "");
    let script = "cp /bin/busybox /tmp/true && /tmp/true 2>&1; stat -c %a /tmp /var/tmp; \
                  awk '$2==\"/tmp\" {print $4}' /proc/mounts";
    let said = docker.sh(&[], script);
    assert!(said.contains("ermission denied") && said.contains("1777\n1777"), "{said}");
    for option in ["nosuid", "nodev", "noexec", "size="] {
        assert!(said.contains(option), "no {option}: {said}");
    }
    docker.run(&[], &["sh", "-c", "head -c 1000000000 /dev/zero >/tmp/x"]).fails_with(1);
}

fn limits_without_asking(docker: &Docker) {
    let _container = docker.sleeper("limits", &[]);
    let read = |file: &str| {
        let id = docker.ok(&["inspect", "--format", "{{.Id}}", "limits"]);
        let dirs = docker.world().cgroups(|name| name == id);
        let found = dirs.iter().find_map(|dir| fs::read_to_string(dir.join(file)).ok());
        found.map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let memory: u64 =
        (read("memory.limit_in_bytes") + &read("memory.max")).parse().expect("a limit of memory");
    assert!(memory <= 16 << 30, "{memory}");
    if let Ok(with_swap) = read("memory.memsw.limit_in_bytes").parse::<u64>() {
        assert_eq!(with_swap, memory, "swap is left");
    }
    let pids: u64 = read("pids.max").parse().expect("a limit of processes");
    assert!(pids <= 32768, "{pids}");
}

fn what_is_stricter_stays(docker: &Docker) {
    let text = docker.sh(&["-m", "64m", "--pids-limit", "20", "--cap-drop", "ALL"], "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max; grep CapBnd /proc/self/status | cut -f2");
    assert_eq!(text, "67108864\n20\n0000000000000000");
}

/// Servers log to `/dev/stdout`, opened by name, as whoever they are.
fn logs_of_a_plain_user(docker: &Docker) {
    let script = "echo named >/dev/stdout; echo error >/dev/stderr; echo again >/proc/self/fd/1; id -u";
    let output = docker.run(&["-u", "user"], &["sh", "-c", script]).ok();
    assert_eq!((output.text().as_str(), output.stderr().as_str()), ("named\nagain\n1000", "error\n"));
    let container = docker.background("logs-user", &["-u", "1234:99"], &format!("{script}; exec sleep 1000"));
    wait_until("the log holds it", || container.logs() == "named\nagain\n1234");
}

fn volumes_keep_their_owners(docker: &Docker) {
    docker.ok(&["volume", "create", "owned"]);
    docker.sh(&["-v", "owned:/data"], "chown user:user /data; touch /data/root");
    docker.sh(&["-v", "owned:/data", "-u", "user"], "echo mine >/data/mine");
    // Another container, with other ids, sees the same owners; and so does the host.
    assert_eq!(docker.sh(&["-v", "owned:/data"], "cd /data; stat -c %n:%u mine root"), "mine:1000\nroot:0");
    let dir = docker.ok(&["volume", "inspect", "--format", "{{.Mountpoint}}", "owned"]);
    let owner =
        |name: &str| docker.world().inside(["stat", "-c", "%u", &format!("{dir}/{name}")]).run().ok().text();
    assert_eq!((owner("mine"), owner("root")), ("1000".to_owned(), "0".to_owned()));
    docker.ok(&["volume", "rm", "owned"]);
    // What the image has at the place of a new volume is copied into it.
    assert_eq!(
        docker.sh(&["-v", "/etc"], "grep -c root: /etc/passwd; touch /etc/x; stat -c %u /etc/x"),
        "1\n0"
    );
}

fn bind_mounts_keep_their_owners(docker: &Docker) {
    let dir = docker.world().make_dir("bind-owned");
    fs::write(dir.join("file"), "of 1000\n").expect("write a file");
    for path in [&dir, &dir.join("file")] {
        chown(path, Some(1000), Some(1000)).expect("give a file away");
    }
    let mount = format!("{}:/data", dir.display());
    assert_eq!(
        docker.sh(&["-v", &mount, "-u", "user"], "cat /data/file; touch /data/new; stat -c %u:%g /data/new"),
        "of 1000\n1000:1000"
    );
    assert_eq!(fs::metadata(dir.join("new")).expect("what the container made").uid(), 1000);
    let read_only = format!("{mount}:ro");
    assert_eq!(docker.sh(&["-v", &read_only], "touch /data/x 2>/dev/null || echo refused"), "refused");
    // A device node or a setuid program in a directory of the host's is of no use.
    docker.sh(&["-v", &mount], "awk '$2==\"/data\" {print $4}' /proc/mounts | grep nosuid | grep nodev");
}

fn terminals_belong_to_the_user(docker: &Docker) {
    let (client, mut terminal) = docker.on_terminal(docker.run_args(&["-it", "-u", "user"], &["sh"]));
    terminal.expect("$");
    terminal.send("tty; stat -c %u $(tty); echo x >$(tty) && echo writ''able; stty -echo; echo do''ne\n");
    let text = terminal.expect("done");
    assert!(text.contains("/dev/pts/0") && text.contains("1000") && text.contains("writable"), "{text}");
    terminal.send("exit 4\n");
    terminal.rest();
    client.wait().fails_with(4);
}

fn exec_is_confined_alike(docker: &Docker) {
    let show = "for ns in user mnt net pid ipc cgroup; do readlink /proc/self/ns/$ns; done; \
                grep -E '^(Cap(Bnd|Eff)|NoNewPrivs|Seccomp|Seccomp_filters):' /proc/self/status";
    let container = docker.background("exec-confined", &[], &format!("{show}; exec sleep 1000"));
    wait_until("the first process has shown itself", || container.logs().contains("Seccomp_filters"));
    // What was said before the log was read: processes of exec may not look into the first one, and the other way round.
    assert_eq!(container.sh(show), container.logs());
    // But they may send it signals, as reloading does.
    container.sh("kill -0 1");
    container.exec(&[], &["touch", "/etc/x"]).fails_with(1);
    container.exec(&[], &["unshare", "-U", "true"]).fails_with(1);
    container.exec(&["--privileged"], &["sh", "-c", "grep -q 'CapBnd:.00000000000004fb' /proc/self/status"]);
    assert_eq!(
        container
            .exec(&["-u", "user"], &["sh", "-c", "id -u; touch /tmp/mine; stat -c %u /tmp/mine"])
            .ok()
            .text(),
        "1000\n1000"
    );
    let (client, mut terminal) = docker.on_terminal(["exec", "-it", "-u", "user", "exec-confined", "sh"]);
    terminal.expect("$");
    terminal.send("echo x >$(tty) && echo writ''able; exit 3\n");
    terminal.expect("writable");
    terminal.rest();
    client.wait().fails_with(3);
}

fn network_of_another_container(docker: &Docker) {
    let server = docker.background(
        "net-owner",
        &["-v", "/www"],
        "echo hello >/www/index.html; exec httpd -f -p 80 -h /www",
    );
    let script = "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O- http://127.0.0.1/ && break; sleep 0.2; done; readlink /proc/self/ns/net; readlink /proc/self/ns/user";
    let said = docker.sh(&["--net", "container:net-owner"], script);
    let [page, net, user] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert_eq!((page, net), ("hello", server.sh("readlink /proc/self/ns/net").as_str()));
    assert_ne!(user, server.sh("readlink /proc/self/ns/user"));
}

/// Each of these is refused before anything is made, with one sentence that says how to allow it.
fn the_host_is_refused_in_words(docker: &Docker) {
    let refused = [
        (&["--net", "host"][..], "network"),
        (&["--pid", "host"], "pid"),
        (&["--ipc", "host"], "ipc"),
        (&["-v", "/:/host"], "\"/\" of the host"),
        (&["-v", "/proc:/host-proc"], "/proc"),
        (&["-v", "/var/run/docker.sock:/var/run/docker.sock"], "docker.sock"),
        (&["--privileged"], "hardened"),
    ];
    for (flags, word) in refused {
        let output = docker.run(flags, &["true"]).fails_with(125);
        let said = output.stderr();
        let sentence = said.lines().find(|line| line.contains("policy hardened denies")).unwrap_or_default();
        assert!(sentence.contains(word), "{flags:?}: {output}");
        assert!(sentence.contains("to allow it: "), "{flags:?}: no remedy is named: {output}");
    }
}

fn devices_of_the_host_are_refused(docker: &Docker) {
    docker.run(&["--device", "/dev/fuse"], &["true"]).fails_with(125).fails_saying(&["/dev/fuse"]);
    docker.run(&["--device", "/dev/null:/dev/also-null"], &["true"]);
    let listed = docker.sh(&[], "for name in null zero full random urandom tty; do test -c /dev/$name || echo no $name; done; head -c 3 /dev/urandom | wc -c; echo x >/dev/null");
    assert_eq!(listed, "3");
}

fn more_capabilities_are_not_given(docker: &Docker) {
    assert_eq!(
        status(docker, &["--cap-add", "SYS_ADMIN", "--cap-add", "NET_RAW"], "CapBnd"),
        "00000000000004fb"
    );
    assert_eq!(status(docker, &["--cap-add", "NET_ADMIN", "-u", "user"], "CapAmb"), "0000000000000000");
}

fn read_only_tmpfs_and_init(docker: &Docker) {
    let flags = ["--read-only", "--init", "--tmpfs", "/scratch:size=1m,mode=1770", "-v", "/data"];
    let script =
        "touch /scratch/x /data/x /tmp/x && (sleep 0.1 &); sleep 0.3; ps -o stat | grep -c ^Z; test $$ != 1";
    assert_eq!(docker.run(&flags, &["sh", "-c", script]).ok().text(), "0");
}

fn copies_to_and_from_volumes(docker: &Docker) {
    let container = docker.sleeper("cp-volume", &["-v", "/data"]);
    let file = docker.world().dir().join("cp-volume.txt");
    fs::write(&file, "copied\n").expect("write a file");
    docker.ok(&["cp", &file.to_string_lossy(), "cp-volume:/data/in"]);
    assert_eq!(container.sh("cat /data/in; stat -c %u /data/in"), "copied\n0");
    container.sh("echo inside >/data/out");
    let back = docker.world().dir().join("cp-volume.back");
    docker.ok(&["cp", "cp-volume:/data/out", &back.to_string_lossy()]);
    assert_eq!(fs::read_to_string(&back).expect("read the copy"), "inside\n");
    assert_eq!(
        container
            .does("diff", &[])
            .lines()
            .filter(|line| !line.starts_with("C /") && !line.starts_with("A /data"))
            .count(),
        0
    );
}

fn a_restart_keeps_volumes(docker: &Docker) {
    let script = "echo x >>/kept/starts; touch /tmp/gone 2>/dev/null; wc -l </kept/starts; exec sleep 1000";
    let container = docker.background("restart-kept", &["-v", "/kept", "-u", "0:99"], script);
    wait_until("it runs", || container.logs() == "1");
    container.does("restart", &["-t", "0"]);
    wait_until("it runs again", || container.logs() == "1\n2");
    container.does("stop", &["-t", "0"]);
    container.does("start", &[]);
    wait_until("it runs a third time", || container.logs() == "1\n2\n3");
}

/// A range goes to the next container when its first one is gone; more containers than that one after another are no problem.
fn ids_come_back(docker: &Docker) {
    let firsts: Vec<_> = (0..6).map(|_| first_id(&docker.sh(&[], "cat /proc/self/uid_map"))).collect();
    let gone = docker.ok(&["run", "-d", "--name", "ids-failed", IMAGE, "sleep", "1000"]);
    docker.ok(&["rm", "-f", "ids-failed"]);
    assert!(firsts.iter().all(|first| first % 65536 == 0), "{firsts:?} {gone}");
}
