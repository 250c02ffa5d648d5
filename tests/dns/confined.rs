//! The resolver as the broker starts it: a container of our own, under its policy.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use casemate_spec::wire::{Program, StoreDocument};
use casemate_tests::Value;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType::A;

use crate::rig::{Rig, Server, Space, program, question, response, with_address};

/// Its place, and what ends it.
struct Confined {
    dir: PathBuf,
    name: String,
}

impl Confined {
    fn make() -> Self {
        let name = format!("casemate-dns-confined-{}", std::process::id());
        let confined = Self { dir: std::env::temp_dir().join(&name), name };
        for place in ["root/proc", "root/dev", "root/usr/sbin", "bundle", "runtime", "config"] {
            fs::create_dir_all(confined.dir.join(place)).expect("make a folder");
        }
        fs::write(confined.dir.join("root/usr/sbin/casemate-dns"), "").expect("where it is mounted");
        let own = Program {
            args: vec!["/usr/sbin/casemate-dns".to_owned()],
            user: 65_530,
            cgroup: format!("/{}", confined.name),
            binds: vec![("/usr/sbin/casemate-dns".to_owned(), program("casemate-dns"), false)],
            ..Program::default()
        };
        let mut store = StoreDocument::new(Vec::new());
        let config = own.config(&confined.dir.join("root"), &mut store).to_string();
        fs::write(confined.dir.join("bundle/config.json"), config).expect("write config.json");
        let store = serde_json::to_vec(&store).expect("JSON");
        fs::write(confined.dir.join("store.json"), store).expect("write store.json");
        confined
    }

    /// The runtime's command line, in front of `words`.
    fn runtime(&self, words: &[&str]) -> Vec<String> {
        let text = |path: PathBuf| path.display().to_string();
        let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/dns.toml");
        let policy = text(policy.canonicalize().expect("the policy's file"));
        let (root, config, store) = (
            text(self.dir.join("runtime")),
            text(self.dir.join("config")),
            text(self.dir.join("store.json")),
        );
        let ours = ["--root", &root, "--config-dir", &config, "--policy", &policy, "--store", &store];
        ours.iter().chain(words).map(ToString::to_string).collect()
    }

    fn start(&self, outside: &Space, door: OwnedFd) -> Child {
        let bundle = self.dir.join("bundle").display().to_string();
        let mut command = outside.command(&program("runtime").display().to_string());
        command.args(self.runtime(&["run", "--bundle", &bundle, &self.name]));
        command.stdin(Stdio::from(door)).spawn().expect("start the runtime")
    }

    fn state(&self) -> Value {
        let output = Command::new(program("runtime")).args(self.runtime(&["state", &self.name])).output();
        serde_json::from_slice(&output.expect("run the runtime").stdout).expect("its state")
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let words = self.runtime(&["delete", "--force", &self.name]);
        let ended = Command::new(program("runtime")).args(words).status().expect("run the runtime");
        assert!(ended.success() || std::thread::panicking(), "{ended}");
        fs::remove_dir_all(&self.dir).expect("remove the folder");
    }
}

#[test]
fn under_its_policy_it_serves_and_holds_nothing() {
    let confined = Confined::make();
    let rig = Rig::started(|outside, door| confined.start(outside, door));
    let server = Server::new(&rig.outside, "127.0.0.53", |asked, stream| {
        let mut answer = response(asked, ResponseCode::NoError);
        answer.metadata.truncation = !stream;
        for last in 0..if stream { 40 } else { 1 } {
            with_address(&mut answer, &format!("192.0.2.{last}"), 300);
        }
        vec![answer.to_vec().expect("a packet")]
    });
    rig.network(1, "front", &[("web", &["10.1.0.2"])]);
    let container = rig.container(100, &[1], |client| client.upstream = vec![server.address]);
    assert_eq!(container.look_up("web.front.", A), ["10.1.0.2"]);
    let long = container.ask_stream(&question("www.example.org.", A)).expect("an answer");
    assert_eq!(long.answers.len(), 40, "servers are reached over UDP and TCP");

    let pid = confined.state()["pid"].as_u64().expect("a pid");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
        line.trim_start_matches(':').trim().to_owned()
    };
    for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (field("NoNewPrivs"), field("Seccomp"), field("Threads")),
        ("1".into(), "2".into(), "1".into())
    );
    let user: u32 = field("Uid").split_whitespace().next().expect("a user").parse().expect("a number");
    assert!(user > 1 << 30, "ids of its own: {user}");
    drop(rig);
}
