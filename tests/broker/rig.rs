//! A broker in a fresh place, and a daemon that does as the test says: it holds the daemon's end of the channel.

use std::fs::{self, File};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use casemate_spec::wire::{
    Answer, Ask, Exited, Frame, HexId, IN_MEMFD, INLINE, PACKET, Refusal, Reply, Request, STORE_IDS, VERSION,
};
use casemate_tests::{Value, json, make_rootfs, sweep};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// A reply, and its descriptors.
pub type Replied = (Result<Answer, Refusal>, Vec<OwnedFd>);

/// The broker under test.
pub struct Rig {
    pub dir: PathBuf,
    pub socket: OwnedFd,
    pub broker: Child,
    number: u64,
    waiting: Vec<(u64, Replied)>,
}

impl Rig {
    /// Starts one, with the layer of busybox in its store.
    pub fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("casemate-broker-{}-{serial}", std::process::id()));
        for (name, mode) in [("", 0o755), ("data", 0o711), ("config", 0o755)] {
            fs::create_dir(dir.join(name)).expect("make a folder");
            fs::set_permissions(dir.join(name), fs::Permissions::from_mode(mode)).expect("set its mode");
        }
        fs::write(dir.join("config/runtime.toml"), "selectable = [\"baseline\"]\n")
            .expect("write runtime.toml");
        let (socket, broker) = start(&dir);
        Self { dir, socket, broker, number: 0, waiting: Vec::new() }
    }

    /// One that has heard Hello, with a busybox layer.
    pub fn greeted() -> Self {
        let mut rig = Self::new();
        rig.ask(Ask::Hello { version: VERSION }).0.expect("hello");
        rig.plant_layer(&layer());
        rig
    }

    /// Another broker on the same place; the last one is killed.
    pub fn restart(&mut self) {
        self.broker.kill().expect("kill the broker");
        self.broker.wait().expect("wait for it");
        self.again();
    }

    /// A layer with busybox in it, made without the helper.
    pub fn plant_layer(&self, id: &HexId) {
        let place = self.dir.join("data/store/layers").join(id.as_str());
        make_rootfs(&place);
        give(&place, STORE_IDS);
    }

    pub fn store(&self, name: &str) -> PathBuf {
        self.dir.join("data/store").join(name)
    }

    pub fn send(&mut self, ask: Ask, descriptors: &[BorrowedFd<'_>]) -> u64 {
        self.number += 1;
        let request = Request { number: self.number, ask };
        self.send_raw(&serde_json::to_vec(&request).expect("JSON"), descriptors);
        self.number
    }

    pub fn send_raw(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let memory;
        let mut all = descriptors.to_vec();
        let mut packet = message;
        if message.len() > INLINE {
            memory = sealed(message);
            all.insert(0, memory.as_fd());
            packet = &[IN_MEMFD];
        }
        raw(&self.socket, packet, &all).expect("sent");
    }

    pub fn ask(&mut self, ask: Ask) -> Replied {
        self.ask_with(ask, &[])
    }

    pub fn ask_with(&mut self, ask: Ask, descriptors: &[BorrowedFd<'_>]) -> Replied {
        let number = self.send(ask, descriptors);
        self.reply(number)
    }

    /// Waits for one answer; others are kept.
    pub fn reply(&mut self, number: u64) -> Replied {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(index) = self.waiting.iter().position(|(known, _)| *known == number) {
                return self.waiting.swap_remove(index).1;
            }
            assert!(Instant::now() < until, "no answer to {number}");
            let (reply, descriptors) = self.receive().expect("the broker is there");
            self.waiting.push((reply.number, (reply.answer, descriptors)));
        }
    }

    /// The next answer; `None` when the broker has hung up.
    pub fn receive(&self) -> Option<(Reply, Vec<OwnedFd>)> {
        let (bytes, mut descriptors) = packet(&self.socket, INLINE)?;
        let bytes = if bytes == [IN_MEMFD] {
            let mut long = Vec::new();
            File::from(descriptors.remove(0)).read_to_end(&mut long).expect("read the memory");
            long
        } else {
            bytes
        };
        Some((serde_json::from_slice(&bytes).expect("a reply"), descriptors))
    }

    /// Makes a place for a container and starts it; gives the connection to its shim.
    pub fn run(&mut self, id: &HexId, args: &[&str]) -> Process {
        self.ask(make(id)).0.expect("made");
        self.start(id, args)
    }

    pub fn start(&mut self, id: &HexId, args: &[&str]) -> Process {
        let (answer, mut descriptors) = self.ask(start_of(id, args, |_| {}));
        let Ok(Answer::Started { pid }) = answer else { panic!("{answer:?}") };
        Process { socket: descriptors.remove(0), pid }
    }

    /// The audit log's lines.
    pub fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.join("data/audit/audit.log")).expect("the audit log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Ends the broker as a daemon does that says farewell, whatever runs.
    pub fn leave(&mut self) {
        self.ask(Ask::Farewell { keep: true }).0.expect("farewell");
        self.hang_up();
        assert!(self.broker.wait().expect("wait").success());
    }

    /// Another broker on the same place.
    pub fn again(&mut self) {
        (self.socket, self.broker) = start(&self.dir);
        self.waiting.clear();
    }

    /// Ends the broker, and what it started.
    pub fn end(mut self) {
        for name in names(&self.dir.join("data/store/containers")) {
            let id: HexId = name.parse().expect("an id");
            self.ask(Ask::Signal { id: id.clone(), exec: None, signal: 9, all: true }).0.ok();
            let until = Instant::now() + Duration::from_secs(20);
            while matches!(&self.ask(Ask::Release { id: id.clone() }).0, Err(refusal) if refusal.message.contains("runs"))
            {
                assert!(Instant::now() < until, "{id} does not end");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.ask(Ask::Farewell { keep: false }).0.expect("farewell");
        self.hang_up();
        assert!(self.broker.wait().expect("wait").success());
        let instance = instance(&self.dir.join("data"));
        assert!(!Path::new("/run/casemate").join(&instance).exists(), "the instance's place is left");
        for hierarchy in names(Path::new("/sys/fs/cgroup")) {
            let group = Path::new("/sys/fs/cgroup").join(hierarchy).join(format!("casemate-{instance}"));
            assert!(!group.exists(), "{} is left", group.display());
        }
    }

    /// Closes the channel.
    pub fn hang_up(&mut self) {
        self.socket = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .expect("a pair")
            .0;
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // It goes by itself.
        self.hang_up();
        let until = Instant::now() + Duration::from_secs(20);
        while self.broker.try_wait().expect("wait").is_none() {
            if Instant::now() > until {
                self.broker.kill().ok();
                self.broker.wait().ok();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let instance = instance(&self.dir.join("data"));
        // What a failed test left behind.
        for name in names(&Path::new("/run/casemate").join(&instance).join("runtime")) {
            let root = format!("/run/casemate/{instance}/runtime");
            Command::new(program("runtime"))
                .args(["--root", &root, "delete", "--force", &name])
                .status()
                .ok();
        }
        let run = Path::new("/run/casemate").join(&instance);
        fs::remove_dir_all(&run).ok();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.dir.join("broker.log")).unwrap_or_default());
            // Helpers that were still at work have kept the broker from removing their control groups.
            let group = format!("casemate-{instance}");
            sweep(&group, &run);
            sweep(&group, &self.dir);
        } else {
            fs::remove_dir_all(&self.dir).expect("remove the test's folder");
        }
    }
}

/// A process, by its shim.
pub struct Process {
    pub socket: OwnedFd,
    pub pid: i32,
}

impl Process {
    /// All its output, and how it ended; `None` when the shim went without a word.
    pub fn wait(&self) -> (String, Option<Exited>) {
        let mut text = Vec::new();
        while let Some((bytes, _)) = packet(&self.socket, PACKET) {
            match Frame::decode(&bytes).expect("a frame") {
                Frame::Stdout(bytes) | Frame::Stderr(bytes) => text.extend_from_slice(bytes),
                Frame::Exited(bytes) => {
                    let exited = serde_json::from_slice(bytes).expect("how it ended");
                    return (String::from_utf8_lossy(&text).into_owned(), Some(exited));
                }
                _ => {}
            }
        }
        (String::from_utf8_lossy(&text).into_owned(), None)
    }
}

pub fn start(dir: &Path) -> (OwnedFd, Child) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a pair");
    let mut command = Command::new(program("casemate-broker"));
    command.arg("--data-root").arg(dir.join("data")).arg("--config").arg(dir.join("config"));
    command.args(["--listen", "127.0.0.1:0", "--channel-stdin"]).stdin(Stdio::from(theirs));
    // A test's own programs, where it has made some.
    let own = dir.join("libexec");
    if own.exists() {
        command.arg("--libexec").arg(own);
    }
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("broker.log"));
    command.stderr(log.expect("make the log"));
    (ours, command.spawn().expect("start the broker"))
}

/// A program of the workspace: of `$CASEMATE_PROGRAMS`, else the release build.
pub fn program(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("target");
    let release = target.join(format!("{}-unknown-linux-gnu/release", std::env::consts::ARCH));
    std::env::var_os("CASEMATE_PROGRAMS").map_or(release, PathBuf::from).join(name)
}

fn instance(data: &Path) -> String {
    let path = fs::canonicalize(data).expect("the data root");
    let sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut sum = sum.expect("run sha256sum");
    let mut input = sum.stdin.take().expect("its input");
    input.write_all(path.as_os_str().as_encoded_bytes()).expect("written");
    drop(input);
    let output = sum.wait_with_output().expect("its output");
    String::from_utf8_lossy(&output.stdout)[..16].to_owned()
}

pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

fn give(path: &Path, id: u32) {
    std::os::unix::fs::lchown(path, Some(id), Some(id)).expect("give a file");
    if path.is_dir() && !path.is_symlink() {
        for name in names(path) {
            give(&path.join(name), id);
        }
    }
}

pub fn raw(socket: &OwnedFd, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> rustix::io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(32))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors)));
    sendmsg(socket, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL)
}

fn packet(socket: &OwnedFd, longest: usize) -> Option<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; longest];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let read = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .ok()?
        .bytes;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    bytes.truncate(read);
    (read > 0).then_some((bytes, descriptors))
}

pub fn sealed(content: &[u8]) -> OwnedFd {
    use rustix::fs::{MemfdFlags, SealFlags};
    let mut file = File::from(
        rustix::fs::memfd_create("x", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).expect("memory"),
    );
    file.write_all(content).expect("written");
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).expect("sealed");
    file.into()
}

pub fn id(digit: char) -> HexId {
    digit.to_string().repeat(64).parse().expect("an id")
}

pub fn layer() -> HexId {
    id('f')
}

pub fn make(id: &HexId) -> Ask {
    ask(json!({ "makeContainer": { "id": id, "tenant": "t", "layers": [layer()], "quota": null } }))
}

pub fn ask(value: Value) -> Ask {
    serde_json::from_value(value).expect("a question")
}

pub fn container(args: &[&str]) -> Value {
    let own = "own";
    json!({
        "tenant": "t", "policy": null, "root": { "layers": [layer()], "readOnly": false },
        "process": { "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/", "env": ["PATH=/bin"] },
        "hostname": "h", "domainname": null,
        "namespaces": { "network": own, "pid": own, "ipc": own, "uts": own, "cgroup": own, "user": own },
        "mounts": [], "devices": [], "resources": {}, "sysctl": {}, "seccomp": null, "unconfined": false,
        "maskedPaths": null, "readonlyPaths": null, "init": false, "annotations": {},
    })
}

pub fn streams() -> Value {
    json!({ "tty": false, "size": null, "stdin": false, "stdinOnce": false, "log": "none" })
}

pub fn start_of(id: &HexId, args: &[&str], change: impl FnOnce(&mut Value)) -> Ask {
    let mut start = json!({ "id": id, "container": container(args), "streams": streams(),
        "files": { "hosts": "127.0.0.1 localhost\n", "hostname": "h\n", "resolvConf": null } });
    change(&mut start);
    ask(json!({ "start": start }))
}

pub fn exec_of(id: &HexId, exec: &HexId, args: &[&str]) -> Ask {
    let process = json!({ "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/", "env": ["PATH=/bin"] });
    ask(
        json!({ "exec": { "id": id, "exec": exec, "process": process, "privileged": false, "streams": streams() } }),
    )
}
