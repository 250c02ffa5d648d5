//! The broker: everything it knows, and the loop in which it waits for all of it at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use casemate_spec::wire::{Answer, Ask, HexId, Host, Network, Refusal, RefusalKind, Reply};
use casemate_spec::{Error, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as Number, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use crate::arguments::Arguments;
use crate::audit::{Audit, Entry};
use crate::child::{Ended, Listen, Running, Slots};
use crate::containers::{Container, Stage};
use crate::daemon::Daemon;
use crate::dns::Dns;
use crate::networks::Repair;
use crate::packet::{self, Incoming, Outgoing};
use crate::places::Places;
use crate::refusal::{of_error, refuse};
use crate::start::Birth;
use crate::{host, say};

/// So many answers may wait for a daemon that does not read; then its questions wait, too.
const UNREAD: usize = 64;
/// So many children at most: a daemon that asks for more hears so.
const CHILDREN: usize = 512;
/// How often the audit log is put on the disk, if there is anything new.
const SAVE: Duration = Duration::from_secs(5);

/// All of it.
pub struct Broker {
    pub(crate) arguments: Arguments,
    pub(crate) places: Places,
    pub(crate) host: Host,
    pub(crate) audit: Audit,
    pub(crate) slots: Slots,
    pub(crate) listeners: Vec<TcpListener>,
    pub(crate) signals: SignalFd,
    pub(crate) containers: BTreeMap<HexId, Container>,
    /// Everybody who has a control group.
    pub(crate) tenants: BTreeSet<String>,
    /// Layers that helpers see, and staging places that they fill.
    pub(crate) in_use: Vec<HexId>,
    pub(crate) jobs: BTreeMap<u64, Job>,
    pub(crate) births: BTreeMap<(HexId, Option<HexId>), Birth>,
    /// A shim that waits for the next order, so that the next start has two programs' starts behind it.
    pub(crate) spare: Option<(Running, OwnedFd)>,
    pub(crate) spare_at: Option<Instant>,
    /// Questions that wait for helpers to be done with a container's files, or for a start or a removal to be over.
    pub(crate) parked: Vec<Parked>,
    /// Processes of exec whose end the daemon has heard of by now.
    pub(crate) told: Vec<(Instant, HexId, HexId)>,
    pub(crate) link: Option<Link>,
    pub(crate) daemon: Daemon,
    pub(crate) dns: Dns,
    /// What comes after a container was disconnected.
    pub(crate) when_detached: Vec<Detached>,
    pub(crate) networks: BTreeMap<HexId, Network>,
    /// There has been one: tables may be there.
    pub(crate) networked: bool,
    /// Tells of changes to the host's rules.
    pub(crate) watch: Option<OwnedFd>,
    /// Tells of what egress rules refuse, whichever daemon reads.
    pub(crate) denials: Option<OwnedFd>,
    pub(crate) repair: Repair,
    pub(crate) repair_at: Option<Instant>,
    pub(crate) serial: u64,
    pub(crate) sweep: Sweep,
    pub(crate) save_at: Instant,
}

/// The channel to a daemon.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    /// Which daemon: an answer to an earlier one goes nowhere.
    pub(crate) epoch: u64,
    pub(crate) greeted: bool,
    pub(crate) unanswered: usize,
    outgoing: VecDeque<Outgoing>,
}

/// Who asked, and what goes into the audit log with the answer.
#[derive(Debug, Clone)]
pub struct Asker {
    pub(crate) epoch: u64,
    pub(crate) number: u64,
    pub(crate) verb: &'static str,
    pub(crate) audited: bool,
    pub(crate) about: Vec<(&'static str, String)>,
}

/// A question that waits.
pub struct Parked {
    pub(crate) id: HexId,
    pub(crate) asker: Asker,
    pub(crate) ask: Ask,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// What comes after a container was disconnected.
pub struct Detached {
    pub(crate) id: HexId,
    #[allow(clippy::type_complexity, reason = "it stands here alone")]
    pub(crate) then: Box<dyn FnOnce(&mut Broker)>,
}

/// A child, and what comes after it.
pub struct Job {
    pub(crate) running: Running,
    #[allow(clippy::type_complexity, reason = "it stands here alone")]
    then: Box<dyn FnOnce(&mut Broker, Ended)>,
}

/// The child that empties the trash.
#[derive(Debug, PartialEq, Eq)]
pub enum Sweep {
    /// It is empty.
    Idle,
    /// One is at it.
    Busy,
    /// More came meanwhile.
    Again,
}

/// What a descriptor belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Signals,
    Link,
    Daemon,
    Dns,
    Watch,
    Job(u64),
    Birth(HexId, Option<HexId>),
    Shim(HexId, Option<HexId>),
}

/// Serves until the daemon has said farewell, or a signal came.
///
/// # Errors
/// It cannot begin: the places, the addresses, the audit log.
pub fn serve(arguments: Arguments) -> Result<()> {
    let slots = Slots::take()?;
    if !rustix::process::geteuid().is_root() {
        return Err(Error::new("casemate-broker", "it must be started by root"));
    }
    let mut broker = Broker::begin(arguments, slots)?;
    broker.listen()?;
    broker.write_policies()?;
    broker.load_networks()?;
    broker.adopt()?;
    broker.begin_networks();
    broker.begin_dns()?;
    broker.begin_daemon()?;
    broker.sweep();
    while !broker.daemon.is_over() {
        broker.turn()?;
    }
    broker.finish()
}

impl Broker {
    fn begin(arguments: Arguments, slots: Slots) -> Result<Self> {
        let signals = signals()?;
        let places = Places::make(&arguments)?;
        let host = host::of(&arguments, &places)?;
        let directory = places.audit.try_clone().map_err(|error| Error::io("audit", &error))?;
        let mut audit = Audit::open(directory)?;
        audit.write(&Entry::new("broker.started").text("version", env!("CARGO_PKG_VERSION")))?;
        let daemon = Daemon::new(arguments.channel);
        Ok(Self {
            arguments,
            places,
            host,
            audit,
            slots,
            listeners: Vec::new(),
            signals,
            daemon,
            dns: Dns::default(),
            when_detached: Vec::new(),
            networks: BTreeMap::new(),
            networked: false,
            watch: None,
            denials: None,
            repair: Repair::Idle,
            repair_at: None,
            containers: BTreeMap::new(),
            tenants: BTreeSet::new(),
            in_use: Vec::new(),
            jobs: BTreeMap::new(),
            births: BTreeMap::new(),
            spare: None,
            spare_at: None,
            told: Vec::new(),
            parked: Vec::new(),
            link: None,
            serial: 0,
            sweep: Sweep::Idle,
            save_at: Instant::now() + SAVE,
        })
    }

    /// Takes up the conversation with a daemon.
    pub(crate) fn connect(&mut self, socket: OwnedFd) {
        let epoch = self.next_serial();
        self.link = Some(Link { socket, epoch, greeted: false, unanswered: 0, outgoing: VecDeque::new() });
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// One turn of the loop: wait for anything, then do what became possible.
    pub(crate) fn turn(&mut self) -> Result<()> {
        for source in self.wait()? {
            match source {
                Source::Signals => self.end_by_signal(),
                Source::Link => self.converse(),
                Source::Daemon => self.daemon_ended(),
                Source::Dns => self.dns_ended(),
                Source::Watch => self.tables_changed(),
                Source::Job(number) => self.job(number),
                Source::Birth(id, exec) => self.born(&id, exec.as_ref()),
                Source::Shim(id, exec) => self.shim_ended(&id, exec.as_ref()),
            }
        }
        self.pass_time()
    }

    fn sources(&self) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut list = vec![(Source::Signals, self.signals.as_fd(), PollFlags::IN)];
        if let Some(link) = &self.link {
            let full = link.outgoing.len() >= UNREAD;
            let read = if full { PollFlags::empty() } else { PollFlags::IN };
            let write = if link.outgoing.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            list.push((Source::Link, link.socket.as_fd(), read | write));
        }
        list.extend(self.daemon.pidfd().map(|fd| (Source::Daemon, fd, PollFlags::IN)));
        list.extend(self.dns.pidfd().map(|fd| (Source::Dns, fd, PollFlags::IN)));
        list.extend(self.watch.as_ref().map(|fd| (Source::Watch, fd.as_fd(), PollFlags::IN)));
        for (number, job) in &self.jobs {
            let pipe = job.running.pipe().into_iter();
            list.extend(
                pipe.chain([job.running.pidfd()]).map(|fd| (Source::Job(*number), fd, PollFlags::IN)),
            );
        }
        for ((id, exec), birth) in &self.births {
            list.push((Source::Birth(id.clone(), exec.clone()), birth.control.as_fd(), PollFlags::IN));
        }
        for (id, container) in &self.containers {
            let execs = container.execs.iter().map(|(exec, stage)| (Some(exec), stage));
            for (exec, stage) in std::iter::once((None, &container.stage)).chain(execs) {
                if let Stage::Running(process) = stage {
                    list.push((Source::Shim(id.clone(), exec.cloned()), process.shim.pidfd(), PollFlags::IN));
                }
            }
        }
        list
    }

    fn wait(&self) -> Result<Vec<Source>> {
        let sources = self.sources();
        let mut polled: Vec<PollFd<'_>> =
            sources.iter().map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let patience = self.next_deadline().saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(crate::tree::failed("wait", errno)),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut found: Vec<Source> = sources
            .into_iter()
            .zip(ready)
            .filter(|(_, ready)| *ready)
            .map(|((source, ..), _)| source)
            .collect();
        found.dedup();
        Ok(found)
    }

    fn next_deadline(&self) -> Instant {
        let jobs = self.jobs.values().filter_map(|job| job.running.deadline());
        let births = self.births.values().map(|birth| birth.deadline);
        let told = self.told.iter().map(|(when, ..)| *when);
        jobs.chain(births)
            .chain(told)
            .chain(self.daemon.deadline())
            .chain(self.dns.deadline())
            .chain(self.repair_at)
            .chain(self.spare_at)
            .fold(self.save_at, Instant::min)
    }

    fn pass_time(&mut self) -> Result<()> {
        let now = Instant::now();
        for job in self.jobs.values_mut() {
            if job.running.deadline().is_some_and(|deadline| deadline <= now) {
                job.running.signal(rustix::process::Signal::KILL);
            }
        }
        let late = self.births.iter().filter(|(_, birth)| birth.deadline <= now).map(|(key, _)| key.clone());
        for (id, exec) in late.collect::<Vec<_>>() {
            self.birth_failed(
                &id,
                exec.as_ref(),
                refuse(RefusalKind::Failed, "the runtime did not return in time"),
            );
        }
        let (due, later) = std::mem::take(&mut self.told).into_iter().partition(|(when, ..)| *when <= now);
        self.told = later;
        self.forget_execs(due);
        if self.spare_at.take_if(|when| *when <= now).is_some() {
            self.spare = self.start_shim().inspect_err(say).ok();
        }
        if self.save_at <= now {
            self.save_at = now + SAVE;
            if let Some(log) = self.audit.unsaved() {
                self.work(&["save"], log, |_, _| {});
            }
        }
        if self.repair_at.is_some_and(|at| at <= now) {
            self.repair_at = None;
            self.tell(&Entry::new("networks.repaired").text("table", &self.places.table()));
            self.repair();
        }
        self.dns_time(now);
        self.daemon_time(now)
    }

    /// Starts a child, and goes on with `then` when it has ended. One that cannot be started has ended at once.
    pub(crate) fn run(
        &mut self,
        command: Command,
        listen: Listen,
        patience: Duration,
        then: impl FnOnce(&mut Self, Ended) + 'static,
    ) {
        if self.jobs.len() >= CHILDREN {
            let said = "runtime: too much is asked for at once".to_owned();
            return then(self, Ended { code: 255, said });
        }
        match Running::start(command, listen, Some(patience)) {
            Ok(running) => self.follow(running, then),
            Err(error) => then(self, Ended { code: 255, said: format!("runtime: {error}") }),
        }
    }

    /// Goes on with `then` when a child has ended.
    pub(crate) fn follow(&mut self, running: Running, then: impl FnOnce(&mut Self, Ended) + 'static) {
        let number = self.next_serial();
        self.jobs.insert(number, Job { running, then: Box::new(then) });
    }

    /// The same for slow work of ours.
    pub(crate) fn work(
        &mut self,
        words: &[&str],
        given: OwnedFd,
        then: impl FnOnce(&mut Self, Ended) + 'static,
    ) {
        let mut command = Command::new("/proc/self/exe");
        command.arg("work").args(words).env_clear().stdin(given).stdout(std::process::Stdio::null());
        self.run(command, Listen::Errors, Duration::from_secs(3600), then);
    }

    fn job(&mut self, number: u64) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        job.running.listen();
        if job.running.is_done() {
            // What it fails of after that is heard, too.
            let then = std::mem::replace(&mut job.then, Box::new(|broker, ended| broker.mend(&ended)));
            return then(self, Ended { code: 0, said: String::new() });
        }
        if let Some(ended) = job.running.ended()
            && let Some(job) = self.jobs.remove(&number)
        {
            (job.then)(self, ended);
        }
    }

    /// Reads what the daemon asks, and sends what it has not read yet.
    fn converse(&mut self) {
        self.send_waiting();
        // A daemon that never stops asking is heard in turns with everything else.
        for _ in 0..16 {
            let Some(link) = self.link.as_ref().filter(|link| link.outgoing.len() < UNREAD) else { return };
            match packet::receive(&link.socket) {
                Incoming::Message(message, descriptors) => self.request(&message, descriptors),
                Incoming::Nothing => return,
                Incoming::Closed => return self.hang_up(),
                Incoming::Bad(error) => {
                    self.tell(&Entry::new("channel.misused").text("reason", &error.to_string()));
                    return self.hang_up();
                }
            }
        }
    }

    /// No daemon of ours is at the other end, or none at all: the next one begins with Hello.
    fn hang_up(&mut self) {
        self.link = None;
        self.daemon.left();
    }

    fn send_waiting(&mut self) {
        let Some(link) = &mut self.link else { return };
        while let Some(packet) = link.outgoing.front() {
            match packet.send(&link.socket) {
                Ok(true) => drop(link.outgoing.pop_front()),
                Ok(false) => return,
                Err(_) => return self.hang_up(),
            }
        }
    }

    /// Answers, and tells the audit log.
    pub(crate) fn answer(&mut self, asker: &Asker, answer: Result<(Answer, Vec<OwnedFd>), Refusal>) {
        if asker.audited || answer.as_ref().is_err_and(|refusal| refusal.kind == RefusalKind::Denied) {
            self.tell(&audited(asker, answer.as_ref().err()));
        }
        let Some(link) = self.link.as_mut().filter(|link| link.epoch == asker.epoch) else { return };
        link.unanswered = link.unanswered.saturating_sub(1);
        let (answer, descriptors) = match answer {
            Ok((answer, descriptors)) => (Ok(answer), descriptors),
            Err(refusal) => (Err(refusal), Vec::new()),
        };
        let reply = Reply { number: asker.number, answer };
        let packet = serde_json::to_vec(&reply)
            .map_err(|error| Error::new("answer", error.to_string()))
            .and_then(|message| Outgoing::new(message, descriptors));
        match packet {
            Ok(packet) => link.outgoing.push_back(packet),
            Err(error) => return say(&error),
        }
        self.send_waiting();
    }

    /// Answers that it is done, or why not.
    pub(crate) fn answer_done(&mut self, asker: &Asker, done: Result<(), Refusal>) {
        self.answer(asker, done.map(|()| (Answer::Done, Vec::new())));
    }

    /// Runs the runtime about a container, and answers by how it ended.
    pub(crate) fn run_for(&mut self, asker: Asker, command: Command, then: impl FnOnce(&mut Self) + 'static) {
        self.run(command, Listen::Errors, Duration::from_secs(60), move |broker, ended| {
            let done = if ended.code == 0 { Ok(()) } else { Err(ended.refusal()) };
            if done.is_ok() {
                then(broker);
            }
            broker.answer_done(&asker, done);
        });
    }

    /// Writes a line into the audit log. That it could not be written is told people, and the log when it can be again.
    pub(crate) fn tell(&mut self, entry: &Entry) {
        if let Err(error) = self.audit.write(entry) {
            say(&error);
        }
    }
}

fn audited(asker: &Asker, refusal: Option<&Refusal>) -> Entry {
    let verdict = match refusal.map(|refusal| refusal.kind) {
        None => "allowed",
        Some(RefusalKind::Denied | RefusalKind::Invalid | RefusalKind::Conflict) => "denied",
        Some(_) => "failed",
    };
    let entry = asker.about.iter().fold(Entry::new(asker.verb), |entry, (name, text)| entry.text(name, text));
    let entry = entry.text("verdict", verdict);
    refusal.map(|refusal| entry.clone().text("reason", &refusal.message)).unwrap_or(entry)
}

/// A refusal of an error of ours.
pub fn refused(error: Error) -> Refusal {
    of_error(&error)
}

fn signals() -> Result<SignalFd> {
    let failed = |errno: nix::errno::Errno| Error::os("signals", errno as i32);
    let set: SigSet = [Number::SIGTERM, Number::SIGINT, Number::SIGHUP].into_iter().collect();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).map_err(failed)?;
    SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map_err(failed)
}
