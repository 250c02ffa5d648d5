//! What works before fails afterwards, but for what the order needs.

use std::fs::{self, File, OpenOptions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command};

use casemate_spec::wire::HexId;
use rustix::mount::{FsOpenFlags, fsopen};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::thread::{LinkNameSpaceType, Uid, move_into_link_name_space, set_thread_res_uid};

use super::*;

/// What works for some orders.
const SETTINGS: &str = "set a parameter of the network";
const NAMESPACE: &str = "enter the network namespace that is open";
const NAMES: &str = "listen";

/// What is held, as by the program, when the order is done.
struct Held {
    network: OwnedFd,
    names: OwnedFd,
    _listener: TcpListener,
    address: SocketAddr,
    other: Child,
    host: Vec<u8>,
    scratch: PathBuf,
}

impl Held {
    fn make() -> Self {
        let open = |name: &str| OwnedFd::from(File::open(format!("/proc/self/ns/{name}")).expect("its own"));
        let scratch = std::env::temp_dir().join(format!("casemate-net-{}", std::process::id()));
        fs::create_dir(&scratch).expect("a directory");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        fs::set_permissions(&scratch, mode).expect("everybody's");
        fs::write(scratch.join("secret"), "x").expect("a file of root's");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(scratch.join("secret"), mode).expect("root's alone");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Self {
            network: open("net"),
            names: open("uts"),
            address: listener.local_addr().expect("its address"),
            _listener: listener,
            other: Command::new("sleep").arg("60").spawn().expect("another process"),
            host: rustix::system::uname().nodename().to_bytes().to_vec(),
            scratch,
        }
    }

    fn enters(&self, namespace: &OwnedFd, kind: LinkNameSpaceType) -> bool {
        move_into_link_name_space(namespace.as_fd(), Some(kind)).is_ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.other.kill().expect("killed");
        self.other.wait().expect("its end");
        fs::remove_dir_all(&self.scratch).expect("removed");
    }
}

/// What an attacker in the program's place tries; each names itself where it works.
fn attacks(held: &Held) -> Vec<&'static str> {
    let secret = held.scratch.join("secret");
    let setting = "/proc/sys/net/ipv4/ip_default_ttl";
    let open = |path: &str| OpenOptions::new().write(true).open(path).is_ok();
    let tries: [(&str, &dyn Fn() -> bool); 18] = [
        ("run a program", &|| Command::new("/bin/true").status().is_ok()),
        ("start a thread", &|| std::thread::Builder::new().spawn(|| ()).is_ok()),
        ("read a secret", &|| fs::read(&secret).is_ok()),
        ("read a file of everybody's", &|| fs::read("/etc/passwd").is_ok()),
        ("change accounts", &|| open("/etc/shadow")),
        ("change what the kernel runs", &|| open("/proc/sys/kernel/core_pattern")),
        ("make a file", &|| File::create(held.scratch.join("made")).is_ok()),
        ("see another's memory", &|| File::open(format!("/proc/{}/mem", held.other.id())).is_ok()),
        ("hold another process", &|| pidfd_open(Pid::INIT, PidfdFlags::empty()).is_ok()),
        ("signal another process", &|| kill_process(Pid::INIT, Signal::CONT).is_ok()),
        ("become root", &|| set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok()),
        ("begin a mount", &|| fsopen("tmpfs", FsOpenFlags::empty()).is_ok()),
        ("rename the host", &|| rustix::system::sethostname(&held.host).is_ok()),
        ("enter another namespace", &|| {
            held.enters(&held.names, LinkNameSpaceType::HostNameAndNISDomainName)
        }),
        ("see frames", &|| socket(AddressFamily::PACKET, SocketType::RAW, None).is_ok()),
        ("connect", &|| TcpStream::connect(held.address).is_ok()),
        (NAMES, &|| TcpListener::bind("127.0.0.1:0").is_ok()),
        (SETTINGS, &|| fs::read(setting).and_then(|now| crate::settings::written(setting, &now)).is_ok()),
    ];
    let works = tries.iter().filter(|(_, attack)| attack()).map(|(name, _)| *name);
    let mut works: Vec<&str> = works.collect();
    // At the end: a thread of the test's is where it was all the same.
    works.extend(held.enters(&held.network, LinkNameSpaceType::Network).then_some(NAMESPACE));
    works
}

fn orders() -> [(NetOrder, Vec<&'static str>); 7] {
    let network: casemate_spec::wire::Network = serde_json::from_value(serde_json::json!({
        "id": HexId::from_bytes([1; 32]), "tenant": "t", "kind": "bridge", "subnets": [], "internal": false,
        "icc": true, "masquerade": true, "mtu": null
    }))
    .expect("a network");
    let attach = |resolver| NetOrder::Attach { pid: 0, endpoints: vec![], networks: vec![], resolver };
    let detach = |inside| NetOrder::Detach { endpoints: vec![], networks: vec![], inside };
    [
        (NetOrder::Make { network: network.clone(), kin: vec![] }, vec![SETTINGS]),
        (NetOrder::Drop { network, kin: vec![] }, vec![]),
        (attach(None), vec![SETTINGS, NAMESPACE]),
        (attach(Some(HexId::from_bytes([2; 32]))), vec![NAMES, SETTINGS, NAMESPACE]),
        (detach(false), vec![]),
        (detach(true), vec![NAMESPACE]),
        (NetOrder::Admit { from: vec![], allowed: vec![], seconds: 1 }, vec![]),
    ]
}

/// On a thread of its own: credentials, filters and domains are a thread's.
fn after<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(what).join().expect("it ran"))
}

#[test]
fn what_works_before_fails_afterwards() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root has something to give away");
    }
    let held = Held::make();
    let before = after(|| attacks(&held));
    assert_eq!(before.len(), 19, "an attack that never works proves nothing: {before:?}");
    fs::remove_file(held.scratch.join("made")).expect("removed");
    for (order, expected) in orders() {
        let works = after(|| {
            shed().and_then(|()| settle(Needs::of(&order))).expect("settled");
            attacks(&held)
        });
        assert_eq!(works, expected, "{order:?}");
    }
}

#[test]
fn while_an_order_is_read_there_is_nothing_to_run_and_nothing_to_make() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: only root has something to give away");
    }
    let held = Held::make();
    let works = after(|| {
        shed().expect("shed");
        attacks(&held)
    });
    for refused in ["run a program", "start a thread", "make a file", "hold another process", "begin a mount"]
    {
        assert!(!works.contains(&refused), "{works:?}");
    }
}
