//! Buildah with `--isolation oci`: every step of a build is a container of the runtime.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use casemate_tests::engine::{Case, IMAGE, World, cases_but, run_cases};
use casemate_tests::{EngineRuntime, Invocation, Output, Terminal, cases};

const CASES: &[Case<Buildah>] = cases![
    run_gives_output_and_exit_code,
    a_missing_program_says_so,
    run_on_a_terminal,
    run_flags,
    capabilities_added,
    a_build_runs_its_steps,
    a_failing_step_fails_the_build,
    a_build_with_limits_and_mounts,
];

/// What is left out under a policy, with the reason.
const NOT_UNDER_BASELINE: &[(&str, &str)] =
    &[("capabilities_added", "asks for a capability that is not given by default")];

/// A step of a build writes to the root filesystem, so building takes a policy that lets it.
const BUILDS: &str = "extends = \"hardened\"\nrootfs.read_only = false\n";

#[test]
fn buildah_with_runc() {
    all_cases(EngineRuntime::find("runc"), &[]);
}

#[test]
fn buildah_with_casemate() {
    all_cases(EngineRuntime::find("casemate"), &[]);
}

#[test]
fn buildah_under_baseline() {
    all_cases(EngineRuntime::under("baseline"), NOT_UNDER_BASELINE);
}

#[test]
fn buildah_under_hardened_with_a_line() {
    let dir = std::env::temp_dir().join(format!("cm-builds-{}", std::process::id()));
    fs::create_dir(&dir).expect("make a directory");
    let policy = dir.join("builds.toml");
    fs::write(&policy, BUILDS).expect("write a policy");
    all_cases(EngineRuntime::under(&policy.display().to_string()), NOT_UNDER_BASELINE);
    fs::remove_dir_all(&dir).expect("remove the policy");
}

fn all_cases(runtime: Option<EngineRuntime>, but: &[(&str, &str)]) {
    let Some(runtime) = runtime else { return };
    let buildah = Buildah { world: World::make(), runtime };
    let archive = format!("docker-archive:{}", buildah.world.image_archive().display());
    buildah.ok(&["pull", "-q", &archive]);
    run_cases(&buildah, 3, &cases_but(&[CASES], but));
    buildah.world.assert_no_cgroups(|_| true);
    let left = buildah.world.inside(["sh", "-c", "grep -c buildah /proc/mounts || true"]).run().text();
    assert_eq!(left, "0", "mounts of a build are left");
}

/// Buildah in a world of its own.
struct Buildah {
    world: World,
    runtime: EngineRuntime,
}

impl Buildah {
    fn command<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        let command = self.world.inside(["buildah"]).env("BUILDAH_ISOLATION", "oci").cwd(self.world.dir());
        args.into_iter().fold(command, |command, arg| command.arg(arg.as_ref()))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.command(args).run().ok().text()
    }

    /// Buildah gives the parent it is asked for to the runtime as the step's own group, and two steps may not share one:
    /// the end of one would be the end of the other.
    fn cgroup(&self) -> String {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        format!("--cgroup-parent=/{}/{}", self.world.id(), SERIAL.fetch_add(1, Ordering::Relaxed))
    }

    /// A working container, in which the steps of a build are run by hand.
    #[track_caller]
    fn from(&self, flags: &[&str]) -> String {
        let parent = self.cgroup();
        self.ok(&[&["from", parent.as_str()], flags, &[IMAGE]].concat())
    }

    /// The verb, and the flags that name the runtime and the runtime's own.
    fn with_runtime(&self, verb: &str) -> Vec<String> {
        let fixed = [verb, "--isolation", "oci", "--runtime"].map(str::to_owned);
        let path = [self.runtime.path().display().to_string()];
        let flags = self.runtime.flags().into_iter().flat_map(|flag| ["--runtime-flag".to_owned(), flag]);
        fixed.into_iter().chain(path).chain(flags).collect()
    }

    fn run_args(&self, flags: &[&str], container: &str, command: &[&str]) -> Vec<String> {
        let words = [&["--network", "none"], flags, &[container, "--"], command].concat();
        self.with_runtime("run").into_iter().chain(words.into_iter().map(str::to_owned)).collect()
    }

    fn run(&self, flags: &[&str], container: &str, command: &[&str]) -> Output {
        self.command(self.run_args(flags, container, command)).run()
    }

    /// Builds a Dockerfile of these lines after `FROM`.
    fn build(&self, name: &str, flags: &[&str], lines: &str) -> Output {
        let dir = self.world.make_dir(name);
        fs::write(dir.join("Dockerfile"), format!("FROM {IMAGE}\n{lines}")).expect("write a Dockerfile");
        let (parent, dir) = (self.cgroup(), dir.to_string_lossy());
        let words = [&["--network", "none", &parent, "-t", name], flags, &[&dir]].concat();
        let words = words.into_iter().map(str::to_owned);
        self.command(self.with_runtime("bud").into_iter().chain(words)).run()
    }
}

fn run_gives_output_and_exit_code(buildah: &Buildah) {
    let container = buildah.from(&[]);
    let output =
        buildah.run(&[], &container, &["sh", "-c", "echo out; echo kept >/file; exit 7"]).fails_with(7);
    assert_eq!(output.stdout(), "out\n");
    assert_eq!(buildah.run(&[], &container, &["cat", "/file"]).ok().text(), "kept");
    let echoed = buildah.command(buildah.run_args(&[], &container, &["cat"])).stdin(b"words\n").run().ok();
    assert_eq!(echoed.stdout(), "words\n");
    buildah.ok(&["rm", &container]);
}

fn a_missing_program_says_so(buildah: &Buildah) {
    let container = buildah.from(&[]);
    let missing = buildah.run(&[], &container, &["nosuch"]);
    missing.fails_saying(&["exec: \"nosuch\": executable file not found in $PATH"]);
    buildah.run(&[], &container, &["/etc/passwd"]).fails_saying(&["permission denied"]);
    buildah.ok(&["rm", &container]);
}

fn run_on_a_terminal(buildah: &Buildah) {
    let container = buildah.from(&[]);
    let (mut terminal, files) = Terminal::open();
    let client = buildah.command(buildah.run_args(&["-t"], &container, &["sh"])).stdio(files).spawn();
    terminal.expect("#");
    terminal.send("tty; exit 5\n");
    let text = terminal.rest();
    assert!(text.contains("/dev/pts/"), "{text}");
    client.wait().fails_with(5);
    buildah.ok(&["rm", &container]);
}

fn run_flags(buildah: &Buildah) {
    let container = buildah.from(&[]);
    let sh = |flags: &[&str], script: &str| buildah.run(flags, &container, &["sh", "-c", script]).ok().text();
    assert_eq!(
        sh(&["--user", "user", "--workingdir", "/tmp", "-e", "A=b c"], "id -u; pwd; echo $A"),
        "1000\n/tmp\nb c"
    );
    assert_eq!(sh(&["--hostname", "builder"], "hostname"), "builder");
    let dir = buildah.world.make_dir("mounted");
    fs::write(dir.join("file"), "of the host\n").expect("write a file");
    let mount = format!("{}:/data:ro", dir.display());
    assert_eq!(
        sh(&["-v", &mount], "cat /data/file; touch /data/x 2>/dev/null || echo refused"),
        "of the host\nrefused"
    );
    buildah.ok(&["rm", &container]);
}

fn capabilities_added(buildah: &Buildah) {
    let container = buildah.from(&[]);
    let status = |flags: &[&str]| {
        let script = ["sh", "-c", "grep ^CapEff: /proc/self/status | cut -f2"];
        let said = buildah.run(flags, &container, &script).ok().text();
        u64::from_str_radix(&said, 16).expect("a mask")
    };
    assert_eq!(status(&["--cap-add", "CAP_SYS_ADMIN"]), status(&[]) | 1 << 21);
    buildah.ok(&["rm", &container]);
}

fn a_build_runs_its_steps(buildah: &Buildah) {
    let lines = "RUN echo one >/made && id -u >>/made\nENV A=b\nRUN echo $A >>/made\nUSER user\nRUN id -u >/tmp/user\n";
    buildah.build("built", &[], lines).ok();
    let container = buildah.ok(&["from", "localhost/built"]);
    assert_eq!(buildah.run(&[], &container, &["cat", "/made", "/tmp/user"]).ok().text(), "one\n0\nb\n1000");
    buildah.ok(&["rm", &container]);
}

fn a_failing_step_fails_the_build(buildah: &Buildah) {
    buildah.build("fails", &[], "RUN exit 5\n").fails_with(5);
    buildah.build("missing", &[], "RUN [\"nosuch\"]\n").fails_saying(&["executable file not found in $PATH"]);
}

fn a_build_with_limits_and_mounts(buildah: &Buildah) {
    let script = "RUN cat /sys/fs/cgroup/memory/memory.limit_in_bytes >/limit 2>/dev/null || cat /sys/fs/cgroup/memory.max >/limit\n\
                  RUN ulimit -n >/files && df -k /dev/shm | awk 'NR==2 {print $2}' >/shm\n";
    let flags = ["--memory", "64m", "--ulimit", "nofile=123:456", "--shm-size", "3m"];
    buildah.build("limited", &flags, script).ok();
    let container = buildah.ok(&["from", "localhost/limited"]);
    let made = buildah.run(&[], &container, &["cat", "/limit", "/files", "/shm"]).ok().text();
    assert_eq!(made, "67108864\n123\n3072");
    buildah.ok(&["rm", &container]);
}
