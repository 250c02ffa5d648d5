//! Podman and conmon on top of the runtime, as root and as a user of no rights.

use std::path::{Path, PathBuf};

use casemate_tests::engine::{Case, IMAGE, World, engine_runtime, run_cases};
use casemate_tests::{Hierarchy, Invocation, Output, Terminal, cases, wait_until};

const CASES: &[Case<Podman>] = cases![
    run_gives_output_and_exit_code,
    words_become_exit_codes,
    run_and_exec_on_a_terminal,
    stop_kill_wait_inspect,
    pause_and_unpause,
    exec_flags,
    restart_cp_logs_top,
    a_pod_shares_namespaces,
    network_modes,
    init_reaps,
    healthcheck_runs,
    descriptors_are_preserved,
    process_settings,
    security_settings,
    volumes_and_tmpfs,
];

const ROOTFUL_CASES: &[Case<Podman>] = cases![
    limits_reach_the_control_group,
    out_of_memory_kills,
    users_are_mapped,
    stats_are_counted,
    bridge_network,
    privileged_mounts,
    checkpoint_is_refused_in_words,
];

const ROOTLESS_CASES: &[Case<Podman>] = cases![its_ids_are_the_users, users_are_kept, slirp_network];

#[test]
fn podman_with_runc() {
    let Some(podman) = Podman::rootful("runc") else { return };
    podman.check(&[CASES, ROOTFUL_CASES]);
}

#[test]
fn podman_with_casemate() {
    let Some(podman) = Podman::rootful("casemate") else { return };
    podman.check(&[CASES, ROOTFUL_CASES]);
}

#[test]
fn rootless_podman_with_runc() {
    let Some(podman) = Podman::rootless("runc") else { return };
    podman.check(&[CASES, ROOTLESS_CASES]);
}

#[test]
fn rootless_podman_with_casemate() {
    let Some(podman) = Podman::rootless("casemate") else { return };
    podman.check(&[CASES, ROOTLESS_CASES]);
}

/// The user of rootless cases; inside the world only.
const USER: &str = "4711";

/// Podman in a world of its own.
struct Podman {
    world: World,
    runtime: PathBuf,
    ours: bool,
    rootless: bool,
}

impl Podman {
    fn rootful(runtime: &str) -> Option<Self> {
        Some(
            Self {
                world: World::make(),
                runtime: engine_runtime(runtime)?,
                ours: runtime == "casemate",
                rootless: false,
            }
            .loaded(),
        )
    }

    fn rootless(runtime: &str) -> Option<Self> {
        let podman = Self {
            world: World::make(),
            runtime: engine_runtime(runtime)?,
            ours: runtime == "casemate",
            rootless: true,
        };
        let world = &podman.world;
        for (name, line) in [("passwd", "plain:x:4711:4711::/:/bin/sh"), ("group", "plain:x:4711:")] {
            let host = std::fs::read_to_string(format!("/etc/{name}")).expect("read the host's users");
            world.replace_file(&format!("/etc/{name}"), &format!("{host}{line}\n"));
        }
        for name in ["subuid", "subgid"] {
            world.replace_file(&format!("/etc/{name}"), "plain:400000:65536\n");
        }
        for name in ["home", "xdg"] {
            let dir = world.make_dir(name);
            std::os::unix::fs::chown(dir, Some(4711), Some(4711)).expect("give the directory away");
        }
        world.replace_device("/dev/net/tun", 10, 200);
        world.replace_device("/dev/fuse", 10, 229);
        // The binary may lie where a plain user cannot go.
        let copy = world.dir().join("runtime");
        std::fs::copy(&podman.runtime, &copy).expect("copy the runtime");
        Some(Self { runtime: copy, ..podman }.loaded())
    }

    fn loaded(self) -> Self {
        let archive = self.world.image_archive();
        self.command(["load", "-q", "-i", &archive.to_string_lossy()]).run().ok();
        self
    }

    fn check(&self, tables: &[&[Case<Self>]]) {
        run_cases(self, 4, &tables.iter().flat_map(|table| table.iter()).collect::<Vec<_>>());
        self.command(["rm", "-f", "-t", "0", "--all"]).run().ok();
        wait_until("no container's control group is left", || self.world.cgroups_of_containers().is_empty());
        let left = self.world.inside(["pgrep", "-x", "conmon"]).run().text();
        assert_eq!(left, "", "conmon is left");
    }

    fn command<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        let dir = |name: &str| self.world.dir().join(name).display().to_string();
        let runtime = self.runtime.display().to_string();
        let home = format!("HOME={}", dir("home"));
        let xdg = format!("XDG_RUNTIME_DIR={}", dir("xdg"));
        let user = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "env", &home, &xdg];
        let fixed =
            ["podman", "--runtime", &runtime, "--cgroup-manager", "cgroupfs", "--events-backend", "file"];
        let argv = if self.rootless { [&user[..], &fixed[..]].concat() } else { fixed.to_vec() };
        let command = self.world.inside(argv).cwd(self.world.dir());
        args.into_iter().fold(command, |command, arg| command.arg(arg.as_ref()))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.command(args).run().ok().text()
    }

    fn run_args(&self, flags: &[&str], command: &[&str]) -> Vec<String> {
        // A user's control groups are not delegated on v1, and a network of its own is slow to make.
        let parent = format!("--cgroup-parent=/{}", self.world.id());
        let network = ["--network", "none"];
        let own = |name: &str| flags.iter().any(|flag| flag.starts_with(name));
        let network = if own("--network") || own("--pod") { &[][..] } else { &network[..] };
        let parent = [parent.as_str()];
        let parent = if self.rootless || own("--pod") { &[][..] } else { &parent[..] };
        [&["run"], parent, network, flags, &[IMAGE], command]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    fn run(&self, flags: &[&str], command: &[&str]) -> Output {
        self.command(self.run_args(&[&["--rm"], flags].concat(), command)).run()
    }

    #[track_caller]
    fn sh(&self, flags: &[&str], script: &str) -> String {
        self.run(flags, &["sh", "-c", script]).ok().text()
    }

    #[track_caller]
    fn background(&self, name: &str, flags: &[&str], script: &str) {
        self.command(self.run_args(&[&["-d", "--name", name], flags].concat(), &["sh", "-c", script]))
            .run()
            .ok();
    }

    #[track_caller]
    fn inspect(&self, name: &str, template: &str) -> String {
        self.ok(&["inspect", "--format", template, name])
    }

    fn remove(&self, name: &str) {
        self.command(["rm", "-f", "-t", "0", name]).run();
    }
}

fn run_gives_output_and_exit_code(podman: &Podman) {
    let output = podman.run(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"]).fails_with(7);
    assert_eq!(output.stdout(), "out\n");
    assert!(output.stderr().contains("err\n"), "{output}");
    let args = podman.run_args(&["--rm", "-i"], &["cat"]);
    assert_eq!(podman.command(args).stdin(b"words\n").run().ok().stdout(), "words\n");
    podman.run(&["--rm"], &["sh", "-c", "exit 255"]).fails_with(255);
}

/// Podman recognises these by the runtime's words alone.
fn words_become_exit_codes(podman: &Podman) {
    let not_found = "OCI runtime attempted to invoke a command that was not found";
    let denied = "OCI permission denied";
    podman.run(&[], &["nosuch"]).fails_with(127).fails_saying(&[not_found]);
    podman.run(&[], &["/nosuch"]).fails_with(127).fails_saying(&[not_found]);
    podman.run(&[], &["/etc/passwd"]).fails_with(126).fails_saying(&[denied]);
    podman.background("words", &[], "exec sleep 1000");
    podman.command(["exec", "words", "nosuch"]).run().fails_with(127).fails_saying(&[not_found]);
    podman.command(["exec", "words", "/nosuch"]).run().fails_with(127).fails_saying(&[not_found]);
    podman.command(["exec", "words", "/etc/passwd"]).run().fails_with(126).fails_saying(&[denied]);
    podman.remove("words");
    // A container that never started can be removed like any other.
    podman.command(podman.run_args(&["--name", "words-failed"], &["nosuch"])).run().fails_with(127);
    podman.ok(&["rm", "words-failed"]);
}

fn run_and_exec_on_a_terminal(podman: &Podman) {
    let (mut terminal, files) = Terminal::open();
    terminal.resize(90, 20);
    let client =
        podman.command(podman.run_args(&["--rm", "-it", "--name", "tty"], &["sh"])).stdio(files).spawn();
    terminal.expect("#");
    terminal.send("tty; while test \"$(stty size)\" != '20 90'; do sleep 0.05; done; echo siz''ed\n");
    let text = terminal.expect("sized");
    assert!(text.contains("/dev/pts/0"), "{text}");
    let (mut second, files) = Terminal::open();
    let exec = podman.command(["exec", "-it", "tty", "sh"]).stdio(files).spawn();
    second.expect("#");
    second.send("tty; exit 6\n");
    let text = second.rest();
    assert!(text.contains("/dev/pts/"), "{text}");
    exec.wait().fails_with(6);
    terminal.send("exit 5\n");
    terminal.rest();
    client.wait().fails_with(5);
}

fn stop_kill_wait_inspect(podman: &Podman) {
    podman.background("stop", &[], "trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done");
    wait_until("it set its trap", || podman.ok(&["logs", "stop"]).contains("up"));
    assert_eq!(podman.inspect("stop", "{{.State.Status}}"), "running");
    podman.ok(&["stop", "-t", "10", "stop"]);
    assert_eq!(podman.inspect("stop", "{{.State.Status}} {{.State.ExitCode}}"), "exited 5");
    podman.command(["kill", "stop"]).run().fails_saying(&["can only kill running containers"]);
    podman.ok(&["start", "stop"]);
    podman.ok(&["kill", "-s", "KILL", "stop"]);
    assert_eq!(podman.ok(&["wait", "stop"]), "137");
    podman.ok(&["rm", "stop"]);
    podman.command(["inspect", "stop"]).run().fails_saying(&["no such"]);
    podman.background("deaf", &[], "trap '' TERM; while :; do sleep 1; done");
    podman.ok(&["stop", "-t", "1", "deaf"]);
    assert_eq!(podman.inspect("deaf", "{{.State.ExitCode}}"), "137");
    podman.remove("deaf");
}

fn pause_and_unpause(podman: &Podman) {
    if podman.rootless && Hierarchy::all().iter().any(|h| h.controllers.iter().any(|c| c == "freezer")) {
        return; // Podman itself refuses: a user has no freezer on v1.
    }
    podman.background("pause", &[], "while :; do date +%s%N >/n; sleep 0.02; done");
    podman.ok(&["pause", "pause"]);
    assert_eq!(podman.inspect("pause", "{{.State.Status}}"), "paused");
    podman.command(["exec", "pause", "true"]).run().fails_saying(&["running"]);
    podman.ok(&["unpause", "pause"]);
    let count = || podman.ok(&["exec", "pause", "cat", "/n"]);
    let before = count();
    wait_until("it goes on", || count() != before);
    podman.ok(&["pause", "pause"]);
    podman.ok(&["rm", "-f", "-t", "0", "pause"]);
}

fn exec_flags(podman: &Podman) {
    podman.background("exec", &["-e", "OUTER=1"], "exec sleep 1000");
    podman.command(["exec", "exec", "sh", "-c", "exit 4"]).run().fails_with(4);
    let flags = ["exec", "-u", "user", "-w", "/var/tmp", "-e", "A=b c", "exec"];
    let show = ["sh", "-c", "id -u; id -G; pwd; echo $A; echo $OUTER"];
    assert_eq!(podman.ok(&[&flags[..], &show[..]].concat()), "1000\n1000 1001\n/var/tmp\nb c\n1");
    let echoed = podman.command(["exec", "-i", "exec", "cat"]).stdin(b"inside\n").run().ok();
    assert_eq!(echoed.stdout(), "inside\n");
    podman.ok(&["exec", "-d", "exec", "sh", "-c", "echo done >/done"]);
    wait_until("the detached process ended", || {
        podman.command(["exec", "exec", "test", "-s", "/done"]).run().success()
    });
    podman
        .command(["exec", "-w", "/nosuch", "exec", "true"])
        .run()
        .fails_saying(&["no such file or directory"]);
    podman.command(["exec", "nosuch-container", "true"]).run().fails_with(125);
    podman.remove("exec");
}

fn restart_cp_logs_top(podman: &Podman) {
    podman.background("again", &[], "echo x >>/starts; wc -l </starts; exec sleep 1000");
    wait_until("it runs", || podman.ok(&["logs", "again"]) == "1");
    podman.ok(&["restart", "-t", "0", "again"]);
    wait_until("it runs again", || podman.ok(&["logs", "again"]).ends_with('2'));
    let top = podman.ok(&["top", "again", "pid", "comm"]);
    assert!(top.contains("sleep"), "{top}");
    let file = podman.world.dir().join("image.tar");
    podman.ok(&["cp", &file.to_string_lossy(), "again:/tmp/in"]);
    podman.ok(&["exec", "again", "test", "-s", "/tmp/in"]);
    podman.remove("again");
}

fn a_pod_shares_namespaces(podman: &Podman) {
    let parent = format!("--cgroup-parent=/{}", podman.world.id());
    let infra = ["--infra-image", IMAGE, "--infra-command", "/bin/sleep 1000", "--network", "none"];
    let parent = if podman.rootless { &[][..] } else { &[parent.as_str()][..] };
    podman.ok(&[&["pod", "create", "--name", "pod"], parent, &infra[..]].concat());
    podman.background("pod-first", &["--pod", "pod"], "hostname shared 2>/dev/null; exec sleep 1000");
    let names =
        "cd /proc/self/ns; readlink net ipc uts 2>/dev/null || for n in net ipc uts; do readlink $n; done";
    let first = podman.ok(&["exec", "pod-first", "sh", "-c", names]);
    assert_eq!(podman.sh(&["--pod", "pod"], names), first);
    assert_ne!(podman.sh(&[], names), first);
    assert_eq!(podman.ok(&["pod", "inspect", "--format", "{{.State}}", "pod"]), "Running");
    podman.ok(&["pod", "stop", "-t", "0", "pod"]);
    podman.ok(&["pod", "rm", "-f", "pod"]);
}

fn network_modes(podman: &Podman) {
    assert_eq!(podman.sh(&["--network", "none"], "ls /sys/class/net"), "lo");
    let host = podman.world.inside(["readlink", "/proc/self/ns/net"]).run().ok().text();
    assert_eq!(podman.sh(&["--network", "host"], "readlink /proc/self/ns/net"), host);
    podman.background("net", &[], "exec sleep 1000");
    let own = podman.ok(&["exec", "net", "readlink", "/proc/self/ns/net"]);
    assert_eq!(podman.sh(&["--network", "container:net"], "readlink /proc/self/ns/net"), own);
    podman.remove("net");
}

fn init_reaps(podman: &Podman) {
    let init = ["/usr/bin/docker-init", "/usr/sbin/docker-init", "/usr/libexec/docker/docker-init"];
    let Some(init) = init.into_iter().find(|path| Path::new(path).is_file()) else {
        return casemate_tests::skip("no docker-init");
    };
    let text = podman
        .sh(&["--init", "--init-path", init], "(sleep 0.1 &); sleep 0.3; ps -o stat | grep -c ^Z; echo $$");
    assert!(text.starts_with("0\n") && text != "0\n1", "{text}");
}

fn healthcheck_runs(podman: &Podman) {
    let flags = ["--health-cmd", "test -e /ok", "--health-interval", "disable"];
    podman.background("health", &flags, "touch /ok; exec sleep 1000");
    wait_until("it is healthy", || podman.command(["healthcheck", "run", "health"]).run().success());
    podman.ok(&["exec", "health", "rm", "/ok"]);
    podman.command(["healthcheck", "run", "health"]).run().fails_with(1);
    podman.remove("health");
}

fn descriptors_are_preserved(podman: &Podman) {
    let file = podman.world.dir().join("passed");
    std::fs::write(&file, "through descriptor 3\n").expect("write a file");
    let args =
        podman.run_args(&["--rm", "--preserve-fds", "1"], &["sh", "-c", "cat <&3; ls /proc/self/fd | wc -l"]);
    let prepare = format!("exec 3<{}", file.display());
    let output = podman.command(args).prepared(&prepare).run().ok();
    // 0, 1, 2, the one passed and the directory that ls reads.
    assert_eq!(output.text(), "through descriptor 3\n5");
    assert_eq!(podman.run(&[], &["ls", "/proc/self/fd"]).ok().text(), "0\n1\n2\n3");
}

fn process_settings(podman: &Podman) {
    assert_eq!(podman.sh(&["--umask", "0077"], "umask"), "0077");
    // runc 1.1 reads no personality.
    if podman.ours {
        assert_eq!(podman.sh(&["--personality", "LINUX32"], "uname -m"), "i686");
    }
    assert_eq!(podman.sh(&["--ulimit", "nofile=100:200"], "ulimit -Sn; ulimit -Hn"), "100\n200");
    assert_eq!(podman.sh(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500");
    assert_eq!(podman.sh(&["--hostname", "named", "--workdir", "/tmp"], "hostname; pwd"), "named\n/tmp");
    assert_eq!(podman.sh(&["--user", "1000:1001"], "id -u; id -g"), "1000\n1001");
    assert_eq!(
        podman.sh(&["--sysctl", "net.ipv4.ip_default_ttl=33"], "cat /proc/sys/net/ipv4/ip_default_ttl"),
        "33"
    );
}

fn security_settings(podman: &Podman) {
    let status =
        |flags: &[&str], name: &str| podman.sh(flags, &format!("grep ^{name}: /proc/self/status | cut -f2"));
    assert_eq!(status(&["--cap-drop", "all"], "CapBnd"), "0000000000000000");
    assert_eq!(status(&["--cap-drop", "all", "--cap-add", "chown"], "CapEff"), "0000000000000001");
    assert_eq!(status(&["--security-opt", "no-new-privileges"], "NoNewPrivs"), "1");
    assert_eq!(status(&[], "Seccomp"), "2");
    assert_eq!(status(&["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
    let script = "echo x 2>/dev/null >/x || echo refused; echo y >/tmp/y";
    assert_eq!(podman.sh(&["--read-only"], script), "refused");
    assert_eq!(
        podman.sh(&[], "head -c 1 /proc/kcore 2>/dev/null | wc -c; ls /proc/scsi 2>/dev/null | wc -l"),
        "0\n0"
    );
    assert_eq!(podman.sh(&["--device", "/dev/fuse"], ": <>/dev/fuse && echo opened"), "opened");
}

fn volumes_and_tmpfs(podman: &Podman) {
    let dir = podman.world.make_dir("bind");
    std::fs::write(dir.join("file"), "of the host\n").expect("write a file");
    let mount = format!("{}:/data:ro", dir.display());
    assert_eq!(
        podman.sh(&["-v", &mount], "cat /data/file; touch /data/x 2>/dev/null || echo refused"),
        "of the host\nrefused"
    );
    podman.sh(&["-v", "named:/v"], "echo kept >/v/f");
    assert_eq!(podman.sh(&["-v", "named:/v"], "cat /v/f"), "kept");
    let tmpfs = ["--tmpfs", "/t:size=1m,mode=1770,noexec"];
    let text = podman.sh(&tmpfs, "stat -c %a /t; awk '$2==\"/t\" {print $4}' /proc/mounts");
    assert!(text.starts_with("1770\n") && text.contains("noexec") && text.contains("size=1024k"), "{text}");
    // What lies below the mount point in the image is copied up, which only the runtime can do.
    let copied = podman.sh(&["--mount", "type=tmpfs,dst=/etc/"], "grep -c root: /etc/passwd");
    assert_eq!(copied, "1");
}

fn limits_reach_the_control_group(podman: &Podman) {
    let flags = ["--memory", "64m", "--pids-limit", "77", "--cpus", "0.5"];
    podman.background("limits", &flags, "exec sleep 1000");
    let read = |file: &str| {
        let dirs = podman.world.cgroups_of_containers();
        let id = podman.inspect("limits", "{{.Id}}");
        let own = dirs.into_iter().filter(|dir| dir.ends_with(format!("libpod-{id}")));
        own.filter_map(|dir| std::fs::read_to_string(dir.join(file)).ok())
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    assert_eq!(read("memory.limit_in_bytes") + &read("memory.max"), "67108864");
    assert_eq!(read("pids.max"), "77");
    assert!((read("cpu.cfs_quota_us") + &read("cpu.max")).starts_with("50000"));
    podman.remove("limits");
}

fn out_of_memory_kills(podman: &Podman) {
    podman.run(&["--memory", "32m", "--memory-swap", "32m"], &["tail", "/dev/zero"]).fails_with(137);
}

fn users_are_mapped(podman: &Podman) {
    let flags = ["--uidmap", "0:300000:5000", "--gidmap", "0:300000:5000"];
    assert_eq!(
        podman.sh(&flags, "id -u; tr -s ' ' </proc/self/uid_map; stat -c %u /bin"),
        "0\n 0 300000 5000\n0"
    );
    podman.background("mapped", &flags, "exec sleep 1000");
    assert_eq!(podman.ok(&["exec", "-u", "user", "mapped", "id", "-u"]), "1000");
    podman.remove("mapped");
}

fn stats_are_counted(podman: &Podman) {
    podman.background(
        "stats",
        &["--memory", "64m"],
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=8; exec sleep 1000",
    );
    let line = || podman.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}};{{.PIDS}}", "stats"]);
    wait_until("its memory is counted", || {
        line().split('.').next().is_some_and(|mib| mib.parse::<u32>().is_ok_and(|mib| mib >= 8))
    });
    assert!(line().ends_with(";1"), "{}", line());
    podman.remove("stats");
}

fn bridge_network(podman: &Podman) {
    podman.background(
        "server",
        &["--network", "podman"],
        "echo hello >/index.html; exec httpd -f -p 80 -h /",
    );
    let address = podman.inspect("server", "{{.NetworkSettings.IPAddress}}");
    let script =
        format!("for i in 1 2 3 4 5 6 7 8 9; do wget -q -O- http://{address}/ && break; sleep 0.2; done");
    assert_eq!(podman.sh(&["--network", "podman"], &script), "hello");
    podman.remove("server");
}

fn privileged_mounts(podman: &Podman) {
    podman.sh(&["--cap-add", "SYS_ADMIN"], "mount -t tmpfs none /tmp");
    podman.sh(&["--privileged"], "mount -t tmpfs none /tmp && grep -q ' /sys sysfs rw' /proc/mounts");
}

fn checkpoint_is_refused_in_words(podman: &Podman) {
    podman.background("checkpoint", &[], "exec sleep 1000");
    podman.command(["container", "checkpoint", "checkpoint"]).run().fails_saying(&["checkpoint"]);
    assert_eq!(podman.inspect("checkpoint", "{{.State.Status}}"), "running");
    podman.remove("checkpoint");
}

fn its_ids_are_the_users(podman: &Podman) {
    assert_eq!(podman.sh(&[], "id -u; tr -s ' ' </proc/self/uid_map"), "0\n 0 4711 1\n 1 400000 65536");
    podman.background("outside", &[], "exec sleep 1000");
    let pid = podman.inspect("outside", "{{.State.Pid}}");
    let status = podman.world.inside(["cat", &format!("/proc/{pid}/status")]).run().ok().text();
    assert!(status.contains("Uid:\t4711\t4711"), "{status}");
    podman.remove("outside");
}

fn users_are_kept(podman: &Podman) {
    assert_eq!(podman.sh(&["--userns", "keep-id"], "id -u; id -g"), "4711\n4711");
    assert_eq!(podman.sh(&["--userns", "nomap"], "id -u"), "0");
}

fn slirp_network(podman: &Podman) {
    if !Path::new("/dev/net/tun").exists() {
        return casemate_tests::skip("no /dev/net/tun");
    }
    let text = podman.sh(
        &["--network", "slirp4netns"],
        "ls /sys/class/net | tr '\\n' ' '; ip -4 -o addr show tap0 | wc -l",
    );
    assert_eq!(text, "lo tap0 1");
}
