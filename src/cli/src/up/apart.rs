//! A user's networks: apart from the host's, in a network namespace that belongs to the user's own user namespace. Packets
//! leave it by slirp4netns(1), and what comes to published ports is passed on to it by `casemate forward`: both are
//! started here, again when they die, and end with us.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use casemate_spec::{Error, Result};
use nix::sched::{CloneFlags, unshare};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::place::Place;
use crate::rootless;

/// The way out, of the package of the same name.
const SLIRP: &str = "slirp4netns";
/// Its end of the way. No network of anybody's has such addresses (RFC 6890, "IETF Protocol Assignments").
const RANGE: &str = "192.0.0.0/24";
/// More than one packet of the kernel's at a time; slirp4netns takes no larger ones.
const MTU: &str = "65520";
/// Where the broker hands in the host's sockets.
const FORWARD: &str = "forward.sock";
/// How long the way out may take to be there.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// `NSFS_MAGIC`
const NSFS: u64 = 0x6e73_6673;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// All of it.
#[derive(Debug)]
pub struct Apart {
    namespace: PathBuf,
    door: OwnedFd,
    slirp: Kept,
    forward: Kept,
}

/// A program that is kept running.
#[derive(Debug)]
struct Kept {
    child: Option<Child>,
    since: Instant,
    pause: Duration,
    again: Option<Instant>,
}

impl Apart {
    /// Makes it for a user without root. Where that cannot be, the reason is told, and the broker refuses networks.
    pub fn begin(place: &Place) -> Option<Self> {
        if rootless::is_hosts_root() {
            return None;
        }
        let made = installed().and_then(|()| Self::make(place));
        made.inspect_err(|error| {
            eprintln!("casemate: containers have no networks: {error}");
            error.remedy().into_iter().for_each(|hint| eprintln!("hint: {hint}"));
        })
        .ok()
    }

    fn make(place: &Place) -> Result<Self> {
        let namespace = place.data.join("network");
        pin(&namespace)?;
        let door = door(place)?;
        let slirp = first_slirp(&namespace)?;
        let forward = forward(&namespace, &door)?;
        Ok(Self { namespace, door, slirp: Kept::of(slirp), forward: Kept::of(forward) })
    }

    /// The network namespace, for the broker.
    pub fn namespace(&self) -> &Path {
        &self.namespace
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.slirp.again.into_iter().chain(self.forward.again).min()
    }

    /// Starts again what has died. True where whoever handed sockets in has to do that again.
    pub fn tend(&mut self) -> bool {
        if let Some(status) = self.slirp.ended() {
            eprintln!(
                "casemate: {SLIRP} ended ({status}): containers have no way out until it is started again"
            );
        }
        if let Some(status) = self.forward.ended() {
            eprintln!(
                "casemate: forward ended ({status}): published ports are closed until it is started again"
            );
        }
        let namespace = &self.namespace;
        self.slirp.again(|| slirp(namespace, &[]));
        self.forward.again(|| forward(namespace, &self.door))
    }

    /// The end of both.
    pub fn end(self) {
        for kept in [self.slirp, self.forward] {
            let Some(mut child) = kept.child else { continue };
            if let Err(error) = child.kill().and_then(|()| child.wait()) {
                eprintln!("casemate: {error}");
            }
        }
    }
}

impl Kept {
    fn of(child: Child) -> Self {
        Self { child: Some(child), since: Instant::now(), pause: SHORTEST, again: None }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        // One that has lived for a while did not die of what it was started with.
        self.pause = if self.since.elapsed() > LONGEST { SHORTEST } else { (self.pause * 2).min(LONGEST) };
        self.again = Some(Instant::now() + self.pause);
        Some(status)
    }

    /// Whether it was started.
    fn again(&mut self, start: impl FnOnce() -> Result<Child>) -> bool {
        if self.again.take_if(|again| *again <= Instant::now()).is_none() {
            return false;
        }
        self.since = Instant::now();
        match start() {
            Ok(child) => self.child = Some(child),
            Err(error) => {
                eprintln!("casemate: {error}");
                self.pause = (self.pause * 2).min(LONGEST);
                self.again = Some(Instant::now() + self.pause);
            }
        }
        self.child.is_some()
    }
}

/// Whether the program that leads out of a user's networks is installed.
pub fn way_out() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|place| place.join(SLIRP).is_file())
}

fn installed() -> Result<()> {
    if way_out() {
        return Ok(());
    }
    Err(Error::new(SLIRP, "it is not installed").hint("the package slirp4netns brings it"))
}

/// Makes a network namespace, and a file of it that we and all who come after us in this mount namespace find.
fn pin(file: &Path) -> Result<()> {
    if is_pinned(file) {
        return Ok(());
    }
    let shown = || file.display().to_string();
    std::fs::write(file, "").map_err(|error| Error::io(shown(), &error))?;
    // A thread's namespace is its own: we stay where we are.
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::os("make a network namespace", errno as i32))?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", file)
            .map_err(|errno| Error::os(shown(), errno.raw_os_error()))
    };
    let made = std::thread::scope(|scope| scope.spawn(make).join());
    made.unwrap_or_else(|_| Err(Error::new(shown(), "no network namespace could be made")))
}

fn is_pinned(file: &Path) -> bool {
    rustix::fs::statfs(file).is_ok_and(|found| u64::try_from(found.f_type) == Ok(NSFS))
}

/// A socket that outlives whoever takes up what is handed in: what comes meanwhile waits.
fn door(place: &Place) -> Result<OwnedFd> {
    let path = place.run.join(FORWARD);
    let failed = |errno: Errno| Error::os(path.display().to_string(), errno.raw_os_error());
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io(path.display().to_string(), &error));
        }
        _ => {}
    }
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path).map_err(failed)?).map_err(failed)?;
    rustix::net::listen(&socket, 1024).map_err(failed)?;
    Ok(socket)
}

/// Starts the way out, and waits until it is there.
fn first_slirp(namespace: &Path) -> Result<Child> {
    let failed = |error: std::io::Error| Error::io(SLIRP, &error);
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (ready, theirs) = pipe.map_err(|errno| failed(errno.into()))?;
    rustix::io::fcntl_setfd(&theirs, FdFlags::empty()).map_err(|errno| failed(errno.into()))?;
    let mut child = slirp(namespace, &["--ready-fd", &theirs.as_raw_fd().to_string()])?;
    drop(theirs);
    if is_ready(&ready) {
        return Ok(child);
    }
    let status = child.kill().and_then(|()| child.wait()).map_err(failed)?;
    let hint = "what it said is above, or in casemate.log; it needs /dev/net/tun";
    Err(Error::new(SLIRP, format!("it gives no way out ({status})")).hint(hint))
}

/// It ends when its standard input is closed, which is with us.
fn slirp(namespace: &Path, more: &[&str]) -> Result<Child> {
    let failed = |error: std::io::Error| Error::io(SLIRP, &error);
    let mut command = Command::new(SLIRP);
    command.args(["--configure", "--mtu", MTU, "--cidr", RANGE, "--exit-fd", "0"]).args(more);
    // The host's own services are none of theirs, and names are asked for elsewhere.
    command.args(["--disable-host-loopback", "--disable-dns", "--enable-sandbox", "--enable-seccomp"]);
    if has_six() {
        command.arg("--enable-ipv6");
    }
    command.args(["--netns-type", "path"]).arg(namespace).arg("tap0");
    // Whoever started us reads what we print.
    let errors = std::io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    command.stdin(Stdio::piped()).stdout(errors).spawn().map_err(failed)
}

/// It writes one byte, or ends.
fn is_ready(pipe: &OwnedFd) -> bool {
    let mut waiting = [PollFd::new(pipe, PollFlags::IN)];
    let told = rustix::event::poll(&mut waiting, Some(&PATIENCE)).is_ok_and(|ready| ready > 0);
    told && rustix::io::read(pipe, &mut [0; 1]).is_ok_and(|read| read == 1)
}

/// Whether the host has IPv6: without it, a way out by it would be a promise.
fn has_six() -> bool {
    let addresses = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    // The scope, in the fourth column: 00 is global (net/ipv6/addrconf.c).
    addresses.lines().any(|line| line.split_ascii_whitespace().nth(3) == Some("00"))
}

fn forward(namespace: &Path, door: &OwnedFd) -> Result<Child> {
    let failed = |error: std::io::Error| Error::io("casemate forward", &error);
    let own = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(own);
    command.arg("forward").arg("--namespace").arg(namespace);
    command.arg("--supervisor").arg(std::process::id().to_string());
    let door = door.try_clone().map_err(failed)?;
    let errors = std::io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
    command.stdin(door).stdout(errors).spawn().map_err(failed)
}
