//! `casemate up` and `casemate down`, and what becomes of containers meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use casemate_tests::{Invocation, Leak, find_leaks, make_rootfs, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Scratch, Server, ask_tcp, libexec, within};

/// A data root as an operator makes one, with an image.
pub struct Site {
    scratch: Scratch,
    host: String,
}

impl Site {
    pub fn up(config: &str) -> Self {
        let scratch = Scratch::make();
        fs::write(scratch.dir("data/etc").join("casemate.toml"), config).expect("write the configuration");
        let mut site = Self { scratch, host: String::new() };
        site.again();
        let rootfs = site.scratch.dir("rootfs");
        make_rootfs(&rootfs);
        let archive = site.scratch.path().join("rootfs.tar");
        site.outside("tar").arg("-C").arg(&rootfs).arg("-cf").arg(&archive).arg(".").run().ok();
        site.docker(&["import", &archive.to_string_lossy(), "busybox"]);
        site
    }

    fn again(&mut self) {
        self.again_with(&[]);
    }

    /// `casemate up` with more options.
    pub fn again_with(&mut self, options: &[&str]) {
        let said = self.casemate(&[&["up", "--detach", "--listen", "127.0.0.1:0"], options].concat());
        let host = said.lines().find_map(|line| line.strip_prefix("export DOCKER_HOST="));
        self.host = host.expect("where it listens").to_owned();
    }

    fn data(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    fn outside(&self, program: &str) -> Invocation {
        Invocation::new(&self.scratch.path().join("capture"), program).timeout(Duration::from_secs(60))
    }

    #[track_caller]
    pub fn casemate(&self, args: &[&str]) -> String {
        let call = self.outside(&libexec().join("casemate").to_string_lossy());
        call.args(["--data-root", &self.data().to_string_lossy()]).args(args).run().ok().stdout()
    }

    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> String {
        self.call("admin", args).run().ok().text()
    }

    /// `docker`, as a client of whom certificates were issued.
    pub fn call(&self, client: &str, args: &[&str]) -> Invocation {
        let call =
            self.outside("docker").args(args).env("DOCKER_HOST", &self.host).env("DOCKER_TLS_VERIFY", "1");
        let call = call.env("DOCKER_CERT_PATH", self.data().join("pki/clients").join(client));
        call.env("DOCKER_CONFIG", self.scratch.path().join("docker-config"))
    }

    /// Runs a container; its first process.
    fn run(&self, name: &str, flags: &[&str], script: &str) -> String {
        let words =
            [&["run", "-d", "--net", "none", "--name", name], flags, &["busybox", "sh", "-c", script]];
        self.docker(&words.concat());
        self.inspect(name, "{{.State.Pid}}")
    }

    fn inspect(&self, name: &str, template: &str) -> String {
        self.docker(&["inspect", "--format", template, name])
    }

    fn run_dir(&self) -> PathBuf {
        let path = fs::canonicalize(self.data()).expect("the data root");
        let sum =
            self.outside("sh").args(["-c", "printf %s \"$1\" | sha256sum | cut -c1-16", "sh"]).arg(path);
        Path::new("/run/casemate").join(sum.run().ok().text())
    }

    fn signal_supervisor(&self, signal: Signal) {
        let text = fs::read_to_string(self.run_dir().join("up.pid")).expect("who keeps the broker running");
        let pid = text.trim().parse().ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("signal it");
        wait_until("it has ended", || kill_process(pid, Signal::CONT).is_err());
    }

    pub fn end(&self) {
        let run = self.run_dir();
        self.casemate(&["down"]);
        let instance = run.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let left = find_leaks(&self.scratch.id(), self.scratch.path(), &run);
        assert!(left.is_empty(), "{left:#?}");
        let left = find_leaks(&instance, &run, &run);
        assert!(left.is_empty(), "{left:#?}");
    }
}

impl Drop for Site {
    /// What a failed test has started goes with it; nobody else would end it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let call = self.outside(&libexec().join("casemate").to_string_lossy());
            let said = call.args(["--data-root", &self.data().to_string_lossy(), "down"]).run();
            eprintln!("{said}");
        }
    }
}

fn runs(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists()
}

const DEAF: &str = "trap '' TERM; while :; do sleep 0.1; done";

#[test]
fn down_stops_all_at_once_and_up_starts_what_shall_run() {
    let mut site = Site::up("");
    let deaf = ["one", "two", "three"].map(|name| site.run(name, &["--stop-timeout", "5"], DEAF));
    let polite =
        site.run("polite", &["--restart", "always"], "trap 'exit 3' TERM; while :; do sleep 0.1; done");
    let begun = Instant::now();
    site.casemate(&["down"]);
    // Five seconds each, and fifteen one after the other.
    assert!((5..15).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert!(!deaf.iter().chain([&polite]).any(|pid| runs(pid)));
    assert!(!site.run_dir().exists(), "nothing of it is in /run");
    site.casemate(&["down"]);
    site.again();
    assert_eq!(site.inspect("one", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    wait_until("what shall always run does", || site.inspect("polite", "{{.State.Status}}") == "running");
    site.end();
}

/// A name, asked of the resolver in a container: the host's busybox, in its network namespace.
fn finds(pid: u32, name: &str) -> bool {
    let asked = || Command::new("busybox").args(["nslookup", "-type=a", name, "127.0.0.11"]).output();
    within(pid, asked).is_ok_and(|output| output.status.success())
}

#[test]
fn networks_go_with_what_runs_and_stay_with_what_is_kept() {
    let mut site = Site::up("live-restore = false\n");
    site.docker(&["network", "create", "lan"]);
    let on_lan = ["--network", "lan"];
    let container = |site: &Site, name: &str, flags: &[&str]| {
        let words = [&["run", "-d", "--name", name], &on_lan[..], flags, &["busybox", "sleep", "1000"]];
        site.docker(&words.concat());
    };
    container(&site, "web", &["-p", "127.0.0.1::5353"]);
    container(&site, "peer", &[]);
    let run = site.run_dir();
    let instance = run.file_name().expect("a name").to_string_lossy().into_owned();
    let networks = || {
        let all = find_leaks(&instance, &run, &run).into_iter();
        all.filter(|leak| matches!(leak, Leak::Interface(_) | Leak::Table(_))).collect::<Vec<_>>()
    };
    // Two bridges at most, two ports, two tables: the check knows them for ours.
    assert!((5..=6).contains(&networks().len()), "{:#?}", networks());
    site.casemate(&["down"]);
    assert_eq!(networks(), []);
    assert!(!run.exists());
    site.again();
    site.docker(&["start", "web", "peer"]);
    let pid = |site: &Site, name: &str| site.inspect(name, "{{.State.Pid}}").parse().expect("a pid");
    let (web, peer): (u32, u32) = (pid(&site, "web"), pid(&site, "peer"));
    let server = Server::start(web, 5353, "web");
    let address = site.inspect("web", "{{.NetworkSettings.Networks.lan.IPAddress}}");
    let near = format!("{address}:5353").parse().expect("an address");
    let port = site.docker(&["port", "web", "5353/tcp"]).parse().expect("an address");
    let works =
        || finds(peer, "web") && ask_tcp(peer, near).is_ok() && ask_tcp(std::process::id(), port).is_ok();
    wait_until("it works", works);
    site.casemate(&["down", "--keep"]);
    assert!(works(), "while nobody looks after it");
    site.again();
    wait_until("it works on", works);
    drop(server);
    site.docker(&["rm", "-f", "web", "peer"]);
    site.end();
}

#[test]
fn down_may_keep_containers() {
    let mut site = Site::up("live-restore = false\n");
    let pid = site.run(
        "kept",
        &["--rm", "--stop-timeout", "1"],
        "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done",
    );
    site.casemate(&["down", "--keep"]);
    assert!(runs(&pid));
    site.again();
    assert_eq!(site.inspect("kept", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    assert_eq!(site.docker(&["exec", "kept", "echo", "inside"]), "inside");
    let text = site.docker(&["logs", "kept"]);
    assert!(text.lines().enumerate().all(|(index, line)| line == (index + 1).to_string()), "{text}");
    // The same as `down`, by hand: it is not live-restore's.
    site.signal_supervisor(Signal::TERM);
    wait_until("it is stopped", || !runs(&pid));
    site.again();
    assert_eq!(site.docker(&["ps", "-aq"]), "", "--rm holds at the end of the daemon, too");
    site.end();
}

#[test]
fn live_restore_keeps_them_whoever_ends() {
    let mut site = Site::up("live-restore = true\n");
    let pid = site.run("kept", &[], "exec sleep 1000");
    let is_kept = |site: &Site| {
        assert_eq!(site.inspect("kept", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    };
    site.casemate(&["down"]);
    assert!(runs(&pid));
    site.again();
    is_kept(&site);
    site.signal_supervisor(Signal::TERM);
    site.again();
    is_kept(&site);
    // Its broker is an orphan then: the next supervisor ends it, and has one of its own.
    site.signal_supervisor(Signal::KILL);
    assert!(runs(&pid));
    site.again();
    is_kept(&site);
    site.docker(&["rm", "-f", "kept"]);
    site.end();
}
