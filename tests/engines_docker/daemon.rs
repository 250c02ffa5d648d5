//! Daemons of another kind: with remapped users, and one that dies while its containers live on.

use std::fs;

use casemate_tests::engine::{Case, cases_but, run_cases};
use casemate_tests::engine_docker::{Docker, IMAGE};
use casemate_tests::{EngineRuntime, cases, wait_until};

const REMAP_CASES: &[Case<Docker>] = cases![
    root_is_nobody_outside,
    exec_is_remapped_too,
    volumes_belong_to_the_range,
    limits_hold_when_remapped,
    network_namespace_is_owned,
    network_is_administered,
    users_of_the_host_on_request,
    terminal_when_remapped,
    a_missing_program_when_remapped,
];

/// Whether `--userns-remap` works, with a range of ids that need not be anyone's.
pub fn userns_remap(runtime: Option<EngineRuntime>, but: &[(&str, &str)]) {
    let Some(runtime) = runtime else { return };
    let docker = Docker::start_prepared(&runtime, &["--userns-remap=1000:1000"], |world| {
        // The files are the host's: only the daemon's mount namespace gets others.
        for (name, range) in [("passwd", "mapped:x:1000:1000::/:/bin/false"), ("group", "mapped:x:1000:")] {
            let host = fs::read_to_string(format!("/etc/{name}")).expect("read the host's users");
            let others = host.lines().filter(|line| line.split(':').nth(2) != Some("1000"));
            let text = others.chain([range]).collect::<Vec<_>>().join("\n") + "\n";
            world.replace_file(&format!("/etc/{name}"), &text);
        }
        for name in ["subuid", "subgid"] {
            world.replace_file(&format!("/etc/{name}"), "mapped:200000:65536\n");
        }
    });
    run_cases(&docker, 4, &cases_but(&[REMAP_CASES], but));
    leaves_nothing(&docker);
}

/// Whether containers outlive their daemon, and the next daemon finds them.
pub fn live_restore(runtime: Option<EngineRuntime>) {
    let Some(runtime) = runtime else { return };
    let mut docker = Docker::start(&runtime, &["--live-restore"]);
    let args = [
        "run",
        "-d",
        "--name",
        "survivor",
        IMAGE,
        "sh",
        "-c",
        "trap 'exit 6' TERM; while :; do cut -d' ' -f1 /proc/uptime >/tmp/t; sleep 0.05; done",
    ];
    docker.ok(&args);
    docker.ok(&["run", "-d", "--name", "ends-meanwhile", IMAGE, "sh", "-c", "sleep 1; exit 5"]);
    let pid = |docker: &Docker| docker.ok(&["inspect", "--format", "{{.State.Pid}}", "survivor"]);
    let before = pid(&docker);
    docker.crash_and_restart();
    assert_eq!(pid(&docker), before);
    let time = |docker: &Docker| docker.ok(&["exec", "survivor", "cat", "/tmp/t"]);
    let now = time(&docker);
    wait_until("the survivor goes on", || time(&docker) != now);
    let ended = "{{.State.Status}} {{.State.ExitCode}}";
    wait_until("the end of the other is known", || {
        docker.ok(&["inspect", "--format", ended, "ends-meanwhile"]) == "exited 5"
    });
    docker.ok(&["pause", "survivor"]);
    docker.ok(&["unpause", "survivor"]);
    docker.ok(&["stop", "survivor"]);
    assert_eq!(docker.ok(&["inspect", "--format", ended, "survivor"]), "exited 6");
    docker.ok(&["start", "survivor"]);
    leaves_nothing(&docker);
}

/// After every container is removed (and only then): no control group, no record of the runtime, no mount of a container.
///
/// # Panics
/// When one is left.
pub fn leaves_nothing(docker: &Docker) {
    // Proves that the search finds what there is.
    let id = docker.ok(&["run", "-d", IMAGE, "sleep", "1000"]);
    let found = traces(docker);
    assert!(found.contains("/merged") && found.contains(&format!("moby/{id}")), "{found}");
    assert!(docker.world().cgroups(is_container).iter().any(|path| path.ends_with(&id)));
    let all = docker.ok(&["ps", "-aq"]);
    if !all.is_empty() {
        docker.ok(&["rm", "-f", "-v"].into_iter().chain(all.lines()).collect::<Vec<_>>());
    }
    docker.world().assert_no_cgroups(is_container);
    let left = traces(docker);
    assert!(left.is_empty(), "left behind:\n{left}");
}

fn is_container(cgroup: &str) -> bool {
    cgroup.len() == 64 && cgroup.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What containers have while they exist: the runtime's record, the mount of their root.
fn traces(docker: &Docker) -> String {
    let script = "find \"$0\"/exec/runtime-runc -mindepth 2 2>/dev/null; \
                  grep -E 'overlay2/.*/merged|io.containerd.runtime.v2.task/moby/.*/rootfs' /proc/mounts";
    let dir = docker.world().dir().display().to_string();
    docker.world().inside(["sh", "-c", script, &dir]).run().text()
}

fn root_is_nobody_outside(docker: &Docker) {
    let container = docker.sleeper("remapped", &[]);
    assert_eq!(container.sh("id -u; cat /proc/self/uid_map | tr -s ' '"), "0\n 0 200000 65536");
    let pid = container.inspect("{{.State.Pid}}");
    let status = docker.world().inside(["cat", &format!("/proc/{pid}/status")]).run().ok().text();
    assert!(status.contains("Uid:\t200000\t200000"), "{status}");
    assert_eq!(docker.sh(&["--user", "1234:99"], "id"), "uid=1234 gid=99 groups=99");
    assert_eq!(docker.sh(&["--user", "user"], "id -G"), "1000 1001");
}

fn exec_is_remapped_too(docker: &Docker) {
    let script = "readlink /proc/self/ns/user; exec sleep 1000";
    let container = docker.background("remapped-exec", &[], script);
    assert_eq!(container.exec(&["-u", "user"], &["id", "-u"]).ok().text(), "1000");
    wait_until("it has said where it is", || !container.logs().is_empty());
    assert_eq!(container.sh("readlink /proc/self/ns/user"), container.logs());
    container.exec(&[], &["nosuch"]).fails_with(126);
}

fn volumes_belong_to_the_range(docker: &Docker) {
    docker.sh(&["-v", "/data"], "echo x >/data/file; stat -c %u /data/file");
    let dir = docker.world().make_dir("not-theirs");
    let mount = format!("{}:/data", dir.display());
    let text = docker.sh(&["-v", &mount], "stat -c %u /data; echo x 2>/dev/null >/data/file || echo refused");
    assert_eq!(text, "65534\nrefused");
    assert_eq!(
        docker.sh(&["--tmpfs", "/t"], "stat -c %u /t; stat -c %u /dev /dev/shm /dev/pts/ptmx"),
        "0\n0\n0\n0"
    );
}

fn limits_hold_when_remapped(docker: &Docker) {
    let container = docker.sleeper("remapped-limits", &["-m", "64m", "--pids-limit", "50"]);
    container.does("update", &["-m", "48m", "--memory-swap", "96m"]);
    assert_eq!(container.sh("cat /sys/fs/cgroup/memory/memory.limit_in_bytes"), "50331648");
    container.does("pause", &[]);
    container.does("unpause", &[]);
}

fn network_namespace_is_owned(docker: &Docker) {
    let flags = ["--sysctl", "net.ipv4.ip_default_ttl=42"];
    assert_eq!(
        docker.sh(&flags, "cat /proc/sys/net/ipv4/ip_default_ttl; ls /sys/class/net | wc -l"),
        "42\n2"
    );
    docker.sh(&[], "ip link set lo down 2>&1 | grep -q 'not permitted'");
}

fn network_is_administered(docker: &Docker) {
    docker.sh(&["--cap-add", "NET_ADMIN"], "ip link set lo down");
}

fn users_of_the_host_on_request(docker: &Docker) {
    let text = docker.sh(&["--userns=host"], "cat /proc/self/uid_map | tr -s ' '");
    assert_eq!(text, " 0 0 4294967295");
    docker.sh(&["--userns=host", "--cap-add", "SYS_ADMIN"], "mount -t tmpfs none /tmp");
    if docker.grants_all() {
        docker.sh(&["--userns=host", "--privileged"], "mount -t tmpfs none /tmp");
    }
}

fn terminal_when_remapped(docker: &Docker) {
    let (client, mut terminal) = docker.on_terminal(docker.run_args(&["-it", "--user", "user"], &["sh"]));
    terminal.expect("$");
    terminal.send("echo x >$(tty) && echo writ''able; exit 4\n");
    terminal.expect("writable");
    terminal.rest();
    client.wait().fails_with(4);
}

fn a_missing_program_when_remapped(docker: &Docker) {
    docker.run(&[], &["nosuch"]).fails_with(127).fails_saying(&["executable file not found in $PATH"]);
    docker.run(&[], &["/etc/passwd"]).fails_with(126).fails_saying(&["permission denied"]);
}
