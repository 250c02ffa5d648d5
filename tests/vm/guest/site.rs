//! The installed daemon, and its clients.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use casemate_tests::engine::wait_patiently;
use casemate_tests::make_rootfs;

/// The image of every container here.
pub const IMAGE: &str = "busybox";
/// Writes a number a line, for as long as it is let.
pub const COUNTING: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.2; done";
const CERTIFICATES: &str = "/var/lib/casemate/pki/clients/admin";

/// A program with docker's environment.
pub fn client(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(args)
        .env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin")
        .env("HOME", "/root")
        .env("DOCKER_HOST", "tcp://127.0.0.1:2376")
        .env("DOCKER_TLS_VERIFY", "1")
        .env("DOCKER_CERT_PATH", CERTIFICATES)
        .stdin(Stdio::null());
    command
}

/// Runs `docker ARGS`; it may fail.
pub fn try_docker(args: &[&str]) -> Output {
    client("docker", args).output().expect("run docker")
}

/// Runs `docker ARGS`, which has to succeed; its standard output.
#[track_caller]
pub fn docker(args: &[&str]) -> String {
    succeeds(&format!("docker {}", args.join(" ")), &try_docker(args))
}

/// `docker run -d --net none --name NAME FLAGS busybox sh -c SCRIPT`
#[track_caller]
pub fn run(name: &str, flags: &[&str], script: &str) -> String {
    let words = [&["run", "-d", "--net", "none", "--name", name], flags, &[IMAGE, "sh", "-c", script]];
    docker(&words.concat())
}

/// `docker inspect --format TEMPLATE NAME`
#[track_caller]
pub fn inspect(name: &str, template: &str) -> String {
    docker(&["inspect", "--format", template, name])
}

/// Fails unless the text is what [`COUNTING`] has written, every line once.
#[track_caller]
pub fn assert_counts(text: &str) {
    let wrong = text.lines().enumerate().find(|(index, line)| *line != (index + 1).to_string());
    assert!(wrong.is_none() && !text.is_empty(), "{wrong:?} of {text}");
}

/// A docker that runs on, its output in a file.
pub struct Follower {
    child: Child,
    file: PathBuf,
}

impl Follower {
    /// Starts it.
    pub fn docker(name: &str, args: &[&str]) -> Self {
        let file = std::env::temp_dir().join(name);
        let output = fs::File::create(&file).expect("make a file");
        let child = client("docker", args).stdout(output).spawn().expect("start docker");
        Self { child, file }
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("wait for docker").is_some()
    }

    /// What it has said.
    pub fn text(&self) -> String {
        fs::read_to_string(&self.file).expect("read what it said")
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Either fails only when it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// `systemctl ARGS`, which has to succeed; its standard output.
#[track_caller]
pub fn systemctl(args: &[&str]) -> String {
    let output = Command::new("systemctl").args(args).output().expect("run systemctl");
    succeeds(&format!("systemctl {}", args.join(" ")), &output)
}

/// What a program has said that has to succeed.
#[track_caller]
pub fn succeeds(what: &str, output: &Output) -> String {
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {}\n{said}{errors}\n{}", output.status, journal());
    said.trim_end().to_owned()
}

/// Waits until the daemon answers.
pub fn wait_for_daemon() {
    wait_patiently("the daemon answers", || {
        let output = client("casemate", &["version"]).output().expect("run casemate");
        String::from_utf8_lossy(&output.stdout).contains("daemon")
    });
}

/// Starts the unit, where it does not run yet, and imports the image.
pub fn up() {
    systemctl(&["start", "casemate"]);
    wait_for_daemon();
    if !try_docker(&["image", "inspect", IMAGE]).status.success() {
        let rootfs = Path::new("/tmp/rootfs");
        make_rootfs(rootfs);
        let tar = Command::new("tar").args(["-C", "/tmp/rootfs", "-cf", "/tmp/rootfs.tar", "."]).output();
        succeeds("tar", &tar.expect("run tar"));
        docker(&["import", "/tmp/rootfs.tar", IMAGE]);
    }
}

/// What broker and daemon have said.
pub fn journal() -> String {
    let output = Command::new("journalctl").args(["-u", "casemate", "-n", "60", "-o", "cat"]).output();
    output.map_or_else(|e| e.to_string(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}
