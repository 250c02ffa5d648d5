//! Podman and conmon on top of the runtime, as root and as a user of no rights.

mod lifecycle;
mod policies;
mod rights;
mod settings;

use casemate_tests::engine::{Case, IMAGE, World, cases_but, run_cases};
use casemate_tests::{EngineRuntime, Invocation, Output, wait_until};

#[test]
fn podman_with_runc() {
    rootful(EngineRuntime::find("runc"), &[], &[]);
}

#[test]
fn podman_with_casemate() {
    rootful(EngineRuntime::find("casemate"), &[], &[]);
}

#[test]
fn podman_under_baseline() {
    rootful(EngineRuntime::under("baseline"), policies::NOT_UNDER_BASELINE, &[]);
}

/// The runtime is told nothing: this is its default.
#[test]
fn podman_under_hardened() {
    rootful(EngineRuntime::untold(), policies::NOT_UNDER_HARDENED, policies::HARDENED);
}

#[test]
fn rootless_podman_with_runc() {
    rootless(EngineRuntime::find("runc"), &[]);
}

#[test]
fn rootless_podman_with_casemate() {
    rootless(EngineRuntime::find("casemate"), &[]);
}

#[test]
fn rootless_podman_under_baseline() {
    rootless(EngineRuntime::under("baseline"), policies::NOT_ROOTLESS_UNDER_BASELINE);
}

#[test]
fn rootless_podman_under_hardened() {
    rootless(EngineRuntime::untold(), policies::NOT_ROOTLESS_UNDER_HARDENED);
}

fn rootful(runtime: Option<EngineRuntime>, but: &[(&str, &str)], more: &[Case<Podman>]) {
    let Some(podman) = runtime.map(Podman::rootful) else { return };
    let cases = cases_but(&[lifecycle::CASES, settings::CASES, rights::OF_ROOT], but);
    podman.check(&cases.into_iter().chain(more).collect::<Vec<_>>());
}

fn rootless(runtime: Option<EngineRuntime>, but: &[(&str, &str)]) {
    let Some(podman) = runtime.map(Podman::rootless) else { return };
    podman.check_alone(rights::ALONE);
    podman.check(&cases_but(&[lifecycle::CASES, settings::CASES, rights::OF_A_USER], but));
}

/// The user of rootless cases; inside the world only.
const USER: &str = "4711";

/// Podman in a world of its own.
struct Podman {
    world: World,
    runtime: EngineRuntime,
    rootless: bool,
}

impl Podman {
    fn rootful(runtime: EngineRuntime) -> Self {
        Self { world: World::make(), runtime, rootless: false }.loaded()
    }

    fn rootless(runtime: EngineRuntime) -> Self {
        let world = World::make();
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
        std::fs::copy(runtime.path(), &copy).expect("copy the runtime");
        Self { world, runtime: runtime.at(copy), rootless: true }.loaded()
    }

    fn loaded(self) -> Self {
        let archive = self.world.image_archive();
        self.command(["load", "-q", "-i", &archive.to_string_lossy()]).run().ok();
        self
    }

    fn check_alone(&self, cases: &[Case<Self>]) {
        run_cases(self, 1, &cases.iter().collect::<Vec<_>>());
    }

    fn check(&self, cases: &[&Case<Self>]) {
        run_cases(self, 4, cases);
        self.command(["rm", "-f", "-t", "0", "--all"]).run().ok();
        // A pod's own is Podman's to remove, and with any runtime it forgets hierarchies it does not know.
        self.world.assert_no_cgroups(|name| name.starts_with("libpod-"));
        wait_until("no conmon is left", || {
            self.world.inside(["pgrep", "-x", "conmon"]).run().text().is_empty()
        });
    }

    fn command<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        let dir = |name: &str| self.world.dir().join(name).display().to_string();
        let runtime = self.runtime.path().display().to_string();
        let home = format!("HOME={}", dir("home"));
        let xdg = format!("XDG_RUNTIME_DIR={}", dir("xdg"));
        let user = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "env", &home, &xdg];
        let fixed =
            ["podman", "--runtime", &runtime, "--cgroup-manager", "cgroupfs", "--events-backend", "file"];
        let flags = self.runtime.flags();
        let flags = flags.iter().flat_map(|flag| ["--runtime-flag", flag]);
        let fixed = fixed.into_iter().chain(flags).collect::<Vec<_>>();
        let argv = if self.rootless { [&user[..], &fixed[..]].concat() } else { fixed };
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
