//! A host of a test's own: a network namespace that the test's thread is in, and with it whatever it starts. Beyond it is
//! another machine, with addresses that mean something on other hosts too, and name servers that answer as they are told.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use casemate_tests::{Value, wait_until};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::World;
use crate::harness::{Outside, libexec, within};

/// The host, and the other machine.
pub struct Lab {
    keeper: Child,
    pub outside: Outside,
}

impl Lab {
    /// Enters it: the thread stays there, and the world that is started next is on it.
    pub fn enter() -> Self {
        let keeper = Command::new("unshare").args(["--net", "sleep", "900"]).spawn().expect("unshare");
        let own = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
        let path = format!("/proc/{}/ns/net", keeper.id());
        wait_until("it is another host", || std::fs::read_link(&path).is_ok_and(|theirs| theirs != own));
        let file = File::open(path).expect("the namespace");
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("entered");
        run("ip link set lo up");
        Self { keeper, outside: Outside::make(1) }
    }

    /// Gives the other machine one more address, which the host finds there.
    pub fn place(&self, address: &str) {
        let (prefix, via) = match address.parse().expect("an address") {
            IpAddr::V4(_) => (32, self.outside.own(true)),
            IpAddr::V6(_) => (128, self.outside.own(false)),
        };
        within(self.outside.pid(), || run(&format!("ip address add {address}/{prefix} dev up0")));
        run(&format!("ip route replace {address}/{prefix} via {via}"));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.keeper.kill().ok();
        self.keeper.wait().ok();
    }
}

/// A command on the host that the thread is on, which has to succeed.
pub fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().expect("a program")).args(words).output().expect("started");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Has the host's operator let containers ask for Docker's habits.
pub fn baseline(etc: &Path) {
    std::fs::write(etc.join("runtime.toml"), "selectable = [\"baseline\"]\n").expect("write runtime.toml");
}

/// Who a container's first process is, on whose network tests do as the container would.
pub fn pid(world: &World, name: &str) -> u32 {
    world.ok(&["inspect", "--format", "{{.State.Pid}}", name]).parse().expect("a pid")
}

/// A container that does nothing.
pub fn idle(world: &World, name: &str, flags: &[&str]) -> u32 {
    world.ok(&[&["run", "-d", "--name", name], flags, &["busybox", "sleep", "1000"]].concat());
    pid(world, name)
}

/// The audit log's lines of an action, oldest first.
pub fn audited(world: &World, action: &str) -> Vec<Value> {
    let program = libexec().join("casemate").to_string_lossy().into_owned();
    let data = world.data().to_string_lossy().into_owned();
    let log =
        world.outside(&program).args(["--data-root", &data, "audit", "log", "--json"]).run().ok().stdout();
    let lines = log.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    lines.filter(|line: &Value| line["action"] == action).collect()
}

/// The reason of a denial, once the log has it.
#[track_caller]
pub fn reason(world: &World, container: &str, object: &str) -> String {
    let who = format!("container {container} ");
    let find = || {
        let lines = [audited(world, "egress.address"), audited(world, "egress.name")].concat();
        let of = |line: &&Value| {
            line["who"].as_str().is_some_and(|text| text.starts_with(&who)) && line["object"] == object
        };
        lines.iter().find(of).map(|line| {
            assert_eq!(line["verdict"], "denied");
            line["reason"].as_str().expect("a text").to_owned()
        })
    };
    wait_until(&format!("it is told that {container} was refused {object}"), || find().is_some());
    find().unwrap_or_default()
}

/// What a name server answers: addresses, and how long they hold.
pub type Zone = Arc<Mutex<BTreeMap<&'static str, (&'static str, u32)>>>;

/// A name server at an address of the namespace of a process, for as long as the test lasts; whom it was asked about.
pub struct NameServer {
    pub zone: Zone,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    pub fn start(pid: u32, address: &str, names: &[(&'static str, &'static str, u32)]) -> Self {
        Self::serve(within(pid, || bound(address)), names)
    }

    /// The same on the host that the thread is on.
    pub fn here(address: &str, names: &[(&'static str, &'static str, u32)]) -> Self {
        Self::serve(bound(address), names)
    }

    fn serve(socket: UdpSocket, names: &[(&'static str, &'static str, u32)]) -> Self {
        let zone: Zone = Arc::default();
        zone.lock().expect("the zone").extend(names.iter().map(|(name, to, ttl)| (*name, (*to, *ttl))));
        let server = Self { zone: Arc::clone(&zone), asked: Arc::default() };
        let asked = Arc::clone(&server.asked);
        std::thread::spawn(move || {
            let mut packet = [0; 2048];
            while let Ok((read, from)) = socket.recv_from(&mut packet) {
                let Ok(question) = Message::from_vec(&packet[..read]) else { continue };
                let Some(query) = question.queries.first() else { continue };
                let name = query.name().to_lowercase().to_string();
                let name = name.trim_end_matches('.').to_owned();
                let found = zone.lock().expect("the zone").get(name.as_str()).copied();
                asked.lock().expect("the list").push(name);
                let bytes = answer(&question, found).to_vec().expect("a packet");
                socket.send_to(&bytes, from).ok();
            }
        });
        server
    }

    /// Whether it was asked for a name.
    pub fn was_asked(&self, name: &str) -> bool {
        self.asked.lock().expect("the list").iter().any(|asked| asked == name)
    }
}

fn bound(address: &str) -> UdpSocket {
    UdpSocket::bind(SocketAddr::new(address.parse().expect("an address"), 53)).expect("bind")
}

fn answer(question: &Message, found: Option<(&str, u32)>) -> Message {
    let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
    answer.metadata.recursion_available = true;
    answer.metadata.response_code =
        if found.is_some() { ResponseCode::NoError } else { ResponseCode::NXDomain };
    answer.add_queries(question.queries.iter().cloned());
    let kind = question.queries.first().map(|query| query.query_type());
    if let Some((address, ttl)) = found {
        let data = match address.parse().expect("an address") {
            IpAddr::V4(address) if kind == Some(RecordType::A) => Some(RData::A(address.into())),
            IpAddr::V6(address) if kind == Some(RecordType::AAAA) => Some(RData::AAAA(address.into())),
            _ => None,
        };
        let name = answer.queries[0].name().clone();
        answer.answers.extend(data.map(|data| Record::from_rdata(name, ttl, data)));
    }
    answer
}
