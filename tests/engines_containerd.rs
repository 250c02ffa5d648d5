//! containerd, its runc shim and `ctr` on top of the runtime: what a Kubernetes node does with one.

use std::path::PathBuf;

use casemate_tests::engine::{Case, Daemon, IMAGE, World, cases_but, run_cases};
use casemate_tests::{EngineRuntime, Invocation, Output, Terminal, cases, wait_until};

const CASES: &[Case<Containerd>] = cases![
    run_gives_output_and_exit_code,
    a_missing_program_says_so,
    run_on_a_terminal,
    the_life_of_a_task,
    exec_in_a_task,
    exec_on_a_terminal,
    pause_resume_and_metrics,
    flags_reach_the_process,
    new_privileges_on_request,
    devices_given,
    limits_reach_the_control_group,
    namespaces_are_joined,
    network_of_the_host,
    a_user_namespace,
    a_dead_shim_is_cleaned_up,
    checkpoint_is_refused_in_words,
    ten_at_once,
];

/// What `hardened` enforces without being asked.
const HARDENED: &[Case<Containerd>] = cases![it_is_confined_unasked, the_host_is_refused_in_words];

/// What is left out under `hardened`, with the reason; under `baseline` all is as to the letter.
const NOT_UNDER_HARDENED: &[(&str, &str)] = &[
    ("new_privileges_on_request", "expects no_new_privs to be off"),
    ("devices_given", "asks for a device of the host"),
    ("network_of_the_host", "shares a namespace of the host"),
];

#[test]
fn containerd_with_runc() {
    all_cases(EngineRuntime::find("runc"), &[]);
}

#[test]
fn containerd_with_casemate() {
    all_cases(EngineRuntime::find("casemate"), &[]);
}

#[test]
fn containerd_under_baseline() {
    all_cases(EngineRuntime::under("baseline"), &[]);
}

/// The runtime is told nothing: this is its default.
#[test]
fn containerd_under_hardened() {
    all_cases(EngineRuntime::untold(), NOT_UNDER_HARDENED);
}

fn all_cases(runtime: Option<EngineRuntime>, but: &[(&str, &str)]) {
    let Some(runtime) = runtime else { return };
    let containerd = Containerd::start(&runtime);
    if runtime.is_told_nothing() {
        run_cases(&containerd, 1, &HARDENED.iter().collect::<Vec<_>>());
    }
    run_cases(&containerd, 4, &cases_but(&[CASES], but));
    survives_a_restart(containerd);
}

/// A containerd in a world of its own.
struct Containerd {
    daemon: Daemon,
    world: World,
    runtime: PathBuf,
}

impl Containerd {
    fn start(runtime: &EngineRuntime) -> Self {
        let world = World::make();
        // ctr has no flag for a runtime's arguments.
        let runtime = world.wrapper(runtime);
        let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
        std::fs::write(world.dir().join("config.toml"), config).expect("write containerd's configuration");
        let daemon = Self::spawn(&world);
        let mut containerd = Self { daemon, world, runtime };
        containerd.wait();
        let archive = containerd.world.image_archive();
        containerd.ctr(["image", "import", &archive.to_string_lossy()]).run().ok();
        containerd
    }

    fn spawn(world: &World) -> Daemon {
        let path = |name: &str| world.dir().join(name).display().to_string();
        let argv = ["containerd", "--config", &path("config.toml"), "--root", &path("root")];
        let more = ["--state", &path("state"), "--address", &path("containerd.sock")];
        world.daemon("containerd", &[&argv[..], &more[..]].concat())
    }

    fn wait(&mut self) {
        let world = &self.world;
        self.daemon.wait_for(|| ctr(world).arg("version").run().success());
    }

    fn ctr<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        args.into_iter().fold(ctr(&self.world), |command, arg| command.arg(arg.as_ref()))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.ctr(args).run().ok().text()
    }

    fn run(&self, id: &str, flags: &[&str], command: &[&str]) -> Output {
        self.ctr(self.run_args(id, &[&["--rm"], flags].concat(), command)).run()
    }

    fn run_args(&self, id: &str, flags: &[&str], command: &[&str]) -> Vec<String> {
        let binary = self.runtime.display().to_string();
        let fixed = ["run", "--runtime", "io.containerd.runc.v2", "--runc-binary", &binary];
        // The world's name as the parent is what finds what is left.
        let cgroup = format!("/{}/{id}", self.world.id());
        let words = [&fixed[..], &["--cgroup", &cgroup], flags, &[IMAGE, id], command].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// A container in the background that runs a shell script.
    #[track_caller]
    fn task(&self, id: &str, flags: &[&str], script: &str) {
        self.ctr(self.run_args(id, &[&["-d"], flags].concat(), &["sh", "-c", script])).run().ok();
    }

    /// A shell script in a container of its own.
    fn sh(&self, id: &str, flags: &[&str], script: &str) -> Output {
        self.run(id, flags, &["sh", "-c", &lingering(script)])
    }

    /// A shell script in a running container.
    fn exec_sh(&self, id: &str, script: &str) -> Output {
        self.exec(id, &["sh", "-c", &lingering(script)])
    }

    fn exec(&self, id: &str, command: &[&str]) -> Output {
        let name = format!("x{:?}", std::time::Instant::now()).replace(|c: char| !c.is_ascii_digit(), "");
        self.ctr([&["task", "exec", "--exec-id", &name, id], command].concat()).run()
    }

    fn status(&self, id: &str) -> String {
        let list = self.ok(&["task", "ls"]);
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(id));
        line.and_then(|line| line.split_whitespace().last()).unwrap_or("gone").to_owned()
    }

    #[track_caller]
    fn remove(&self, id: &str) {
        self.ctr(["task", "rm", "-f", id]).run();
        self.ok(&["container", "rm", id]);
        wait_until("its control groups are gone", || self.cgroups(id).is_empty());
    }

    fn cgroups(&self, id: &str) -> Vec<PathBuf> {
        let dirs = casemate_tests::Hierarchy::all().into_iter();
        dirs.map(|h| h.mount.join(self.world.id()).join(id)).filter(|dir| dir.exists()).collect()
    }
}

/// ctr stops reading when it hears of the end, and loses what came right before it, with any runtime.
fn lingering(script: &str) -> String {
    format!("({script}); code=$?; sleep 0.3; exit $code")
}

fn ctr(world: &World) -> Invocation {
    let socket = world.dir().join("containerd.sock").display().to_string();
    world.inside(["ctr", "--address", &socket, "--namespace", world.id()])
}

fn run_gives_output_and_exit_code(ctd: &Containerd) {
    let output = ctd.sh("out", &[], "echo out; echo err >&2; exit 7").fails_with(7);
    assert_eq!(output.stdout(), "out\n");
    assert!(output.stderr().contains("err\n"), "{output}");
    assert!(ctd.cgroups("out").is_empty());
}

fn a_missing_program_says_so(ctd: &Containerd) {
    let missing = ctd.run("missing", &[], &["nosuch"]);
    missing.fails_saying(&["exec: \"nosuch\": executable file not found in $PATH"]);
    ctd.run("denied", &[], &["/etc/passwd"]).fails_saying(&["permission denied"]);
    ctd.run("cwd", &["--cwd", "/etc/passwd"], &["true"]).fails_saying(&["not a directory"]);
    for id in ["missing", "denied", "cwd"] {
        assert!(ctd.cgroups(id).is_empty(), "{id} left control groups");
    }
}

fn run_on_a_terminal(ctd: &Containerd) {
    let (mut terminal, files) = Terminal::open();
    terminal.resize(90, 20);
    let client = ctd.ctr(ctd.run_args("tty", &["--rm", "-t"], &["sh"])).stdio(files).spawn();
    terminal.expect("#");
    terminal.send("tty; while test \"$(stty size)\" != '20 90'; do sleep 0.05; done; echo siz''ed\n");
    let text = terminal.expect("sized");
    assert!(text.contains("/dev/pts/0"), "{text}");
    terminal.send("exit 5\n");
    terminal.rest();
    client.wait().fails_with(5);
}

fn the_life_of_a_task(ctd: &Containerd) {
    let pid_file = ctd.world.dir().join("life.pid");
    let trap = "trap 'exit 3' USR1; while :; do sleep 0.05; done";
    ctd.task("life", &["--pid-file", &pid_file.to_string_lossy()], trap);
    assert_eq!(ctd.status("life"), "RUNNING");
    let pid = std::fs::read_to_string(&pid_file).expect("read the pid file");
    let listed = ctd.ok(&["task", "ps", "life"]);
    assert!(listed.lines().any(|line| line.split_whitespace().next() == Some(pid.trim())), "{pid}: {listed}");
    ctd.ctr(["task", "rm", "life"]).run().fails_saying(&["must be stopped before deletion"]);
    // Until the shell has set its trap, the signal would end it otherwise.
    std::thread::sleep(std::time::Duration::from_millis(300));
    ctd.ok(&["task", "kill", "-s", "USR1", "life"]);
    wait_until("the task ends", || ctd.status("life") == "STOPPED");
    ctd.ctr(["task", "kill", "life"]).run().fails_saying(&["not found"]);
    let removed = ctd.ctr(["task", "rm", "life"]).run().ok();
    assert!(removed.stderr().contains("exit with non-zero exit code 3"), "{removed}");
    ctd.remove("life");
    ctd.ctr(["task", "start", "nosuch"]).run().fails_saying(&["not found"]);
}

fn exec_in_a_task(ctd: &Containerd) {
    ctd.task("exec", &[], "exec sleep 1000");
    let output = ctd.exec_sh("exec", "echo in; exit 4").fails_with(4);
    assert_eq!(output.stdout(), "in\n");
    ctd.exec("exec", &["nosuch"]).fails_saying(&["executable file not found in $PATH"]);
    ctd.ok(&["task", "exec", "-d", "--exec-id", "later", "exec", "sleep", "2000"]);
    wait_until("the detached process is listed", || ctd.ok(&["task", "ps", "exec"]).lines().count() == 3);
    let user = ctd.ok(&[
        "task",
        "exec",
        "--exec-id",
        "as",
        "--user",
        "1000:1000",
        "--cwd",
        "/tmp",
        "exec",
        "sh",
        "-c",
        &lingering("id -u; pwd"),
    ]);
    assert_eq!(user, "1000\n/tmp");
    ctd.remove("exec");
}

fn exec_on_a_terminal(ctd: &Containerd) {
    ctd.task("exec-tty", &[], "exec sleep 1000");
    let (mut terminal, files) = Terminal::open();
    let client = ctd.ctr(["task", "exec", "-t", "--exec-id", "tty", "exec-tty", "sh"]).stdio(files).spawn();
    terminal.expect("#");
    terminal.send("tty; exit 6\n");
    let text = terminal.rest();
    assert!(text.contains("/dev/pts/"), "{text}");
    client.wait().fails_with(6);
    ctd.remove("exec-tty");
}

fn pause_resume_and_metrics(ctd: &Containerd) {
    ctd.task("pause", &[], "while :; do cut -d' ' -f1 /proc/uptime >/tmp/n; sleep 0.02; done");
    let count = || ctd.exec_sh("pause", "cat /tmp/n").ok().text();
    ctd.ok(&["task", "pause", "pause"]);
    assert_eq!(ctd.status("pause"), "PAUSED");
    ctd.ok(&["task", "resume", "pause"]);
    assert_eq!(ctd.status("pause"), "RUNNING");
    let before = count();
    wait_until("it goes on", || count() != before);
    let metrics = ctd.ok(&["task", "metrics", "pause"]);
    assert!(metrics.contains("memory.usage_in_bytes") || metrics.contains("memory.usage"), "{metrics}");
    ctd.ok(&["task", "pause", "pause"]);
    ctd.ok(&["task", "kill", "-s", "KILL", "pause"]);
    wait_until("a killed task is thawed, and ends", || ctd.status("pause") == "STOPPED");
    ctd.remove("pause");
}

fn flags_reach_the_process(ctd: &Containerd) {
    let sh = |id: &str, flags: &[&str], script: &str| ctd.sh(id, flags, script).ok().text();
    let field = |name: &str| format!("grep ^{name}: /proc/self/status | cut -f2");
    assert_eq!(sh("nnp", &[], &field("NoNewPrivs")), "1");
    assert_eq!(sh("seccomp", &["--seccomp"], &field("Seccomp")), "2");
    let capabilities =
        |id: &str, flags: &[&str]| u64::from_str_radix(&sh(id, flags, &field("CapEff")), 16).expect("a mask");
    assert_eq!(capabilities("cap-drop", &["--cap-drop", "CAP_CHOWN"]), capabilities("caps", &[]) & !1);
    assert_eq!(sh("read-only", &["--read-only"], "echo x 2>/dev/null >/x || echo refused"), "refused");
    assert_eq!(sh("env", &["--env", "A=b c", "--cwd", "/tmp"], "echo $A; pwd"), "b c\n/tmp");
    let mount = format!("type=bind,src={},dst=/host,options=rbind:ro", ctd.world.dir().display());
    assert_eq!(
        sh("mount", &["--mount", &mount], "ls /host/config.toml; touch /host/x 2>/dev/null || echo refused"),
        "/host/config.toml\nrefused"
    );
}

fn new_privileges_on_request(ctd: &Containerd) {
    let script = "grep ^NoNewPrivs: /proc/self/status | cut -f2";
    assert_eq!(ctd.sh("new-privs", &["--allow-new-privs"], script).ok().text(), "0");
}

fn devices_given(ctd: &Containerd) {
    let script = ": <>/dev/fuse && echo opened";
    assert_eq!(ctd.sh("device", &["--device", "/dev/fuse"], script).ok().text(), "opened");
}

fn limits_reach_the_control_group(ctd: &Containerd) {
    ctd.task("limits", &["--memory-limit", "67108864", "--cpus", "0.5"], "exec sleep 1000");
    let read = |file: &str| {
        let paths: Vec<_> = ctd.cgroups("limits").into_iter().map(|dir| dir.join(file)).collect();
        paths.iter().find_map(|path| std::fs::read_to_string(path).ok()).map(|text| text.trim().to_owned())
    };
    let memory = read("memory.limit_in_bytes").or_else(|| read("memory.max"));
    assert_eq!(memory.as_deref(), Some("67108864"));
    let cpu = read("cpu.cfs_quota_us").or_else(|| read("cpu.max")).unwrap_or_default();
    assert!(cpu.starts_with("50000"), "{cpu}");
    ctd.remove("limits");
    let killed = ctd.run("oom", &["--memory-limit", "16777216"], &["tail", "/dev/zero"]);
    killed.fails_with(137);
}

fn namespaces_are_joined(ctd: &Containerd) {
    let pid_file = ctd.world.dir().join("ns.pid");
    ctd.task("ns", &["--pid-file", &pid_file.to_string_lossy()], "exec sleep 3333");
    let pid = std::fs::read_to_string(&pid_file).expect("read the pid file");
    let namespace = |name: &str| {
        format!("{name}:/proc/{}/ns/{}", pid.trim(), if name == "network" { "net" } else { name })
    };
    let (network, pid, ipc) = (namespace("network"), namespace("pid"), namespace("ipc"));
    let flags = ["--with-ns", &network, "--with-ns", &pid, "--with-ns", &ipc];
    let script = "readlink /proc/self/ns/net; tr '\\0' ' ' </proc/1/cmdline";
    let seen = ctd.sh("ns-joins", &flags, script).ok().text();
    let own = ctd.exec_sh("ns", "readlink /proc/self/ns/net").ok().text();
    assert_eq!(seen.trim(), format!("{own}\nsleep 3333"));
    ctd.remove("ns");
}

fn network_of_the_host(ctd: &Containerd) {
    let host = ctd.sh("ns-host", &["--net-host"], "readlink /proc/self/ns/net").ok().text();
    assert_eq!(host, ctd.world.inside(["readlink", "/proc/self/ns/net"]).run().ok().text());
}

fn a_user_namespace(ctd: &Containerd) {
    let flags = ["--uidmap", "0:300000:65536", "--gidmap", "0:300000:65536"];
    let output = ctd.sh("userns", &flags, "id -u; tr -s ' ' </proc/self/uid_map; stat -c %u /bin");
    assert_eq!(output.ok().text(), "0\n 0 300000 65536\n0");
}

/// containerd then calls `shim delete`, which is `runtime delete --force` of a container still alive.
fn a_dead_shim_is_cleaned_up(ctd: &Containerd) {
    ctd.task("shim", &[], "exec sleep 4444");
    let pids = |pattern: &str| ctd.world.inside(["pgrep", "-f", pattern]).run().text();
    let shim = pids(&format!("containerd-shim-runc-v2 -namespace {} -id shim ", ctd.world.id()));
    assert!(!shim.is_empty(), "no shim");
    ctd.world.inside(["kill", "-9", &shim]).run().ok();
    wait_until("the container is gone", || pids("sleep 4444").is_empty());
    wait_until("its control groups are gone", || ctd.cgroups("shim").is_empty());
    ctd.remove("shim");
}

fn checkpoint_is_refused_in_words(ctd: &Containerd) {
    ctd.task("checkpoint", &[], "exec sleep 1000");
    ctd.ctr(["task", "checkpoint", "checkpoint"]).run().fails_saying(&["checkpoint"]);
    assert_eq!(ctd.status("checkpoint"), "RUNNING");
    ctd.remove("checkpoint");
}

fn ten_at_once(ctd: &Containerd) {
    let ids: Vec<_> = (0..10).map(|n| format!("ten-{n}")).collect();
    let spawn = |id: &String| ctd.ctr(ctd.run_args(id, &["--rm"], &["sh", "-c", "exit 2"])).spawn();
    let running: Vec<_> = ids.iter().map(spawn).collect();
    running.into_iter().for_each(|run| drop(run.wait().fails_with(2)));
    assert!(ids.iter().all(|id| ctd.cgroups(id).is_empty()));
}

fn it_is_confined_unasked(ctd: &Containerd) {
    let script = "cut -c1-20 /proc/self/uid_map | tr -s ' '; stat -c %u /bin; \
                  grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | cut -f2; \
                  touch /etc/x 2>/dev/null || echo refused; touch /tmp/x";
    let said = ctd.sh("confined", &[], script).ok().text();
    let [map, owner, capabilities, no_new_privileges, seccomp, refused] =
        said.lines().collect::<Vec<_>>()[..]
    else {
        panic!("{said}")
    };
    let first = map.split_whitespace().nth(1).and_then(|id| id.parse::<u32>().ok());
    assert!(first.is_some_and(|first| first > 65535), "{said}");
    assert_eq!((owner, capabilities, no_new_privileges), ("0", "00000000000004fb", "1"), "{said}");
    assert_eq!((seccomp, refused), ("2", "refused"), "{said}");
}

fn the_host_is_refused_in_words(ctd: &Containerd) {
    for (id, flags) in [("refused-net", &["--net-host"][..]), ("refused-all", &["--privileged"])] {
        ctd.run(id, flags, &["true"]).fails_saying(&["policy hardened denies"]);
    }
}

fn survives_a_restart(mut ctd: Containerd) {
    ctd.task("survivor", &[], "exec sleep 1000");
    ctd.daemon.kill();
    ctd.daemon = Containerd::spawn(&ctd.world);
    ctd.wait();
    assert_eq!(ctd.status("survivor"), "RUNNING");
    assert_eq!(ctd.exec_sh("survivor", "echo alive").ok().text(), "alive");
    ctd.ok(&["task", "kill", "-s", "KILL", "survivor"]);
    wait_until("the task ends", || ctd.status("survivor") == "STOPPED");
    ctd.remove("survivor");
    let state = ctd.world.inside(["find", "/run/containerd/runc", "-mindepth", "2"]).run().text();
    assert_eq!(state, "", "the runtime's records are left");
}
