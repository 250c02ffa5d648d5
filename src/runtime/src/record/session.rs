//! A recording while it runs: the container's runtime as a child, its listeners, signals, all in one loop.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use casemate_core::sys::notify::{self, Call};
use casemate_core::sys::sched::{SchedAttr, set_attr};
use casemate_spec::{Error, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType, accept_with, bind, listen, recvmsg, socket_with,
};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use super::caller::Caller;
use super::calls::name_of;
use super::capabilities::Watch;
use super::observe::{Observation, is_plain, observe};
use super::seen::{Seen, mounts};
use super::usage::Usage;

/// How long a workload that was asked to end may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest wait without looking whether the child has ended.
const PULSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// The signals that end a recording, kept from ending us.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Begins to collect them.
    ///
    /// # Errors
    /// The kernel's.
    pub fn begin() -> Result<Self> {
        let failed = |errno: nix::errno::Errno| Error::os("collect signals", errno as i32);
        let mut set = SigSet::empty();
        for signal in [NixSignal::SIGINT, NixSignal::SIGTERM, NixSignal::SIGHUP, NixSignal::SIGQUIT] {
            set.add(signal);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(failed)?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map(Self).map_err(failed)
    }
}

/// The socket at which the runtime hands over listeners.
///
/// # Errors
/// The kernel's.
pub fn door(path: &std::path::Path) -> Result<OwnedFd> {
    let failed = |errno: Errno| Error::os(format!("listen at {}", path.display()), errno.raw_os_error());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
    bind(&socket, &SocketAddrUnix::new(path).map_err(failed)?).map_err(failed)?;
    listen(&socket, 16).map_err(failed)?;
    Ok(socket)
}

/// How a recording ended.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// The runtime's exit status: the program's own, or the failure to start it.
    pub status: ExitStatus,
    /// Somebody asked for the end.
    pub interrupted: bool,
}

/// A filter's listener.
struct Listener {
    fd: OwnedFd,
    /// Until its first execve(2) the runtime is still at work in the process.
    began: bool,
    closed: bool,
}

/// A call whose caller waits for us.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// The listener's place.
    index: usize,
    /// When we heard of it, in microseconds of the monotonic clock.
    at: u64,
    call: Call,
}

/// A recording while it runs.
pub struct Session<'a> {
    door: OwnedFd,
    signals: Signals,
    child: &'a mut Child,
    listeners: Vec<Listener>,
    queue: VecDeque<Waiting>,
    watch: Watch,
    usage: Usage,
    init: Option<OwnedFd>,
    first: Option<u32>,
    asked_at: Option<Instant>,
}

impl<'a> Session<'a> {
    /// With everything that it needs.
    pub fn new(door: OwnedFd, signals: Signals, child: &'a mut Child, watch: Watch, usage: Usage) -> Self {
        Self {
            door,
            signals,
            child,
            listeners: Vec::new(),
            queue: VecDeque::new(),
            watch,
            usage,
            init: None,
            first: None,
            asked_at: None,
        }
    }

    /// Watches until the runtime has ended.
    ///
    /// # Errors
    /// The kernel's.
    pub fn run(mut self, seen: &mut Seen) -> Result<End> {
        hurry(seen);
        loop {
            let ended = self.child.try_wait().map_err(|error| Error::io("wait for the runtime", &error))?;
            if let Some(status) = ended {
                self.watch.collect(seen);
                seen.traced = self.watch.traces();
                return Ok(End { status, interrupted: self.asked_at.is_some() });
            }
            if self.wait()? {
                self.watch.collect(seen);
            }
            if self.first.is_some() {
                self.usage.look(seen);
            }
            self.heed_signals()?;
            self.accept(seen);
            self.serve(seen)?;
        }
    }

    /// Waits for something to do; true when there was nothing for a while.
    fn wait(&mut self) -> Result<bool> {
        let mut watched = vec![
            PollFd::new(&self.door, PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.0.as_fd(), PollFlags::IN),
        ];
        watched.extend(self.listeners.iter().map(|listener| PollFd::new(&listener.fd, PollFlags::IN)));
        let idle = match poll(&mut watched, Some(&PULSE)) {
            Ok(ready) => ready == 0,
            Err(Errno::INTR) => false,
            Err(errno) => return Err(Error::os("wait for system calls", errno.raw_os_error())),
        };
        let closed: Vec<bool> =
            watched.iter().skip(2).map(|fd| fd.revents().contains(PollFlags::HUP)).collect();
        for (listener, closed) in self.listeners.iter_mut().zip(closed) {
            listener.closed = closed;
        }
        Ok(idle)
    }

    /// The first signal is passed on; a second one, or patience at its end, kills.
    fn heed_signals(&mut self) -> Result<()> {
        while let Ok(Some(info)) = self.signals.0.read_signal() {
            if self.asked_at.is_some() {
                self.kill()?;
                continue;
            }
            self.asked_at = Some(Instant::now());
            if !self.is_heeded(info.ssi_signo) {
                self.kill()?;
                continue;
            }
            // A terminal's signal has reached the runtime as it has us.
            const SI_KERNEL: i32 = 0x80;
            let signal = i32::try_from(info.ssi_signo).ok().and_then(Signal::from_named_raw);
            if let Some(signal) = signal.filter(|_| info.ssi_code != SI_KERNEL) {
                self.tell_runtime(signal)?;
            }
        }
        if self.asked_at.is_some_and(|at| at.elapsed() > PATIENCE) {
            self.kill()?;
        }
        Ok(())
    }

    /// The kernel keeps a signal without a handler from the first process of a pid namespace (pid_namespaces(7)):
    /// waiting for its effect would be in vain.
    fn is_heeded(&self, number: u32) -> bool {
        let Some(first) = self.first else { return true };
        Caller(first).catches(number)
    }

    fn tell_runtime(&self, signal: Signal) -> Result<()> {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return Ok(()) };
        // Not reaped yet, so the id is still the child's.
        match kill_process(pid, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(Error::os("pass a signal on", errno.raw_os_error())),
        }
    }

    fn kill(&mut self) -> Result<()> {
        match &self.init {
            Some(init) => match pidfd_send_signal(init, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => Ok(()),
                Err(errno) => Err(Error::os("end the workload", errno.raw_os_error())),
            },
            None => self.tell_runtime(Signal::KILL),
        }
    }

    /// Takes in listeners: the container's, and those of processes that enter it later.
    fn accept(&mut self, seen: &mut Seen) {
        while let Ok(connection) = accept_with(&self.door, SocketFlags::CLOEXEC) {
            if let Some(fd) = received(&connection) {
                if notify::take_turns(fd.as_fd()).is_err() {
                    seen.note("before Linux 6.6 signals interrupt calls that are watched: some may have failed for that");
                }
                self.listeners.push(Listener { fd, began: false, closed: false });
            }
        }
    }

    /// Takes in every call that waits before it looks at one: from then on a signal does not end the caller's wait.
    fn serve(&mut self, seen: &mut Seen) -> Result<()> {
        // A busy workload must not keep signals waiting.
        for _turn in 0..1024 {
            for index in 0..self.listeners.len() {
                self.receive(index, seen)?;
            }
            let Some(waiting) = self.queue.pop_front() else { break };
            self.look(&waiting, seen)?;
        }
        if self.queue.is_empty() {
            self.listeners.retain(|listener| !listener.closed);
        }
        Ok(())
    }

    fn receive(&mut self, index: usize, seen: &mut Seen) -> Result<()> {
        for _turn in 0..256 {
            let Some(listener) = self.listeners.get(index).filter(|listener| is_ready(listener)) else {
                break;
            };
            let call = match notify::receive(listener.fd.as_fd()) {
                Ok(call) => call,
                // Gone again before we looked.
                Err(Errno::NOENT | Errno::INTR) => continue,
                Err(errno) => return Err(Error::os("receive a system call", errno.raw_os_error())),
            };
            let waiting = Waiting { index, at: now(), call };
            let name = name_of(call.arch, call.number).map(|(_, name)| name);
            if listener.began
                && name.is_some_and(|name| is_plain(name, &call) && seen.calls.contains_key(name))
            {
                answer(listener, &call, None)?;
                self.keep(&waiting, observe(&call), seen);
            } else {
                self.queue.push_back(waiting);
            }
        }
        Ok(())
    }

    fn look(&mut self, waiting: &Waiting, seen: &mut Seen) -> Result<()> {
        let call = &waiting.call;
        let seen_now = observe(call);
        let Some(listener) = self.listeners.get_mut(waiting.index) else { return Ok(()) };
        if !listener.began && seen_now.is_execution() {
            listener.began = true;
            self.watch.follow(call.thread, seen);
            if self.init.is_none() {
                begin(call, seen);
                self.first = Some(call.thread);
                self.init = i32::try_from(call.thread)
                    .ok()
                    .and_then(Pid::from_raw)
                    .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
            }
        }
        let current = !seen_now.has_read() || notify::is_waiting(listener.fd.as_fd(), call.id);
        let refusal = seen_now.is_blind().then_some(Errno::NOSYS);
        if listener.began && current {
            self.keep(waiting, seen_now, seen);
        }
        match self.listeners.get(waiting.index) {
            Some(listener) => answer(listener, call, refusal),
            None => Ok(()),
        }
    }

    fn keep(&mut self, waiting: &Waiting, seen_now: Observation, seen: &mut Seen) {
        if let Some(name) = seen_now.name() {
            self.watch.enter(waiting.at, waiting.call.thread, name, seen_now.value(), seen);
        }
        seen_now.keep(&waiting.call, seen);
    }
}

fn answer(listener: &Listener, call: &Call, refusal: Option<Errno>) -> Result<()> {
    match notify::respond(listener.fd.as_fd(), call.id, refusal) {
        // Killed while it waited.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::os("answer a system call", errno.raw_os_error())),
    }
}

/// Microseconds of the monotonic clock.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs().saturating_mul(1_000_000).saturating_add(now.tv_nsec.unsigned_abs() / 1000)
}

/// Comes before all other programs: a signal that arrives before we have taken in a call makes it fail with EINTR.
fn hurry(seen: &mut Seen) {
    const SCHED_FIFO: u32 = 1;
    const SCHED_FLAG_RESET_ON_FORK: u64 = 1;
    let attributes = SchedAttr {
        size: 48,
        policy: SCHED_FIFO,
        flags: SCHED_FLAG_RESET_ON_FORK,
        nice: 0,
        priority: 1,
        runtime: 0,
        deadline: 0,
        period: 0,
    };
    if let Err(errno) = set_attr(&attributes) {
        seen.note(format!(
            "the recorder has no priority over other programs ({errno}): calls may have failed with EINTR"
        ));
    }
}

/// What holds for the whole container is looked at once, when its program begins.
fn begin(call: &Call, seen: &mut Seen) {
    match Caller(call.thread).mountinfo() {
        Some(text) => seen.mounts = mounts(&text),
        None => seen.note("the container's mounts could not be read"),
    }
}

fn is_ready(listener: &Listener) -> bool {
    let mut one = [PollFd::new(&listener.fd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut one, Some(&now)), Ok(1)) && one.iter().all(|fd| fd.revents().contains(PollFlags::IN))
}

/// The descriptor that came with a `ContainerProcessState`; its text tells us nothing that we do not know.
fn received(connection: &OwnedFd) -> Option<OwnedFd> {
    let mut bytes = [0_u8; 4096];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [std::io::IoSliceMut::new(&mut bytes)];
    recvmsg(connection, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?;
    control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    })
}
