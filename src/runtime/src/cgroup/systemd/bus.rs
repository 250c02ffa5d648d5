//! A connection to systemd's manager: its private socket, or the message bus where that is not to be had.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use casemate_spec::{Error, Result};

use super::wire::{Body, Message, Target, call};

/// How long systemd may take for a job; starting a scope takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message's fixed part, which tells its length.
const HEAD: usize = 16;
/// The longest line of the authentication, in bytes.
const MAX_LINE: usize = 512;

const MANAGER: Target = Target {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const PROPERTIES: Target = Target { interface: "org.freedesktop.DBus.Properties", ..MANAGER };
const BUS: Target = Target {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

/// An authenticated connection.
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    end: Instant,
    /// What was read and not yet looked at.
    inbox: Vec<u8>,
}

/// What systemd answers to a call that starts a job.
pub(super) enum Job {
    Done,
    /// The D-Bus name of the error, and its text.
    Refused(String, String),
}

impl Bus {
    /// Connects to the system's manager, or to the user's own.
    pub(super) fn connect(user: bool) -> Result<Self> {
        let (private, public) = sockets(user)?;
        let end = Instant::now() + PATIENCE;
        if let Ok(stream) = UnixStream::connect(&private) {
            let mut bus = Self { stream, serial: 0, end, inbox: Vec::new() };
            bus.authenticate()?;
            return Ok(bus);
        }
        let what = || format!("connect to systemd at {} or {}", private.display(), public.display());
        let stream = UnixStream::connect(&public).map_err(|e| {
            Error::io(what(), &e)
                .hint("use the cgroupfs driver (without --systemd-cgroup) where systemd does not run")
        })?;
        let mut bus = Self { stream, serial: 0, end, inbox: Vec::new() };
        bus.authenticate()?;
        bus.ask(BUS, "Hello", &Body::default())?;
        let rule = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
        bus.ask(BUS, "AddMatch", &Body::default().text(rule)?)?;
        bus.ask(MANAGER, "Subscribe", &Body::default())?;
        Ok(bus)
    }

    /// Calls a manager's method that answers with a job, and waits until the job is done.
    pub(super) fn job(&mut self, member: &str, body: &Body) -> Result<Job> {
        let serial = self.send(MANAGER, member, body)?;
        let mut job: Option<String> = None;
        let mut removed: Vec<Vec<String>> = Vec::new();
        loop {
            let message = self.receive()?;
            match message.kind {
                2 if message.answers == serial => job = message.texts()?.into_iter().next(),
                3 if message.answers == serial => {
                    let text = message.texts()?.into_iter().next().unwrap_or_default();
                    return Ok(Job::Refused(message.error, text));
                }
                // Job path, unit and result; may come before the answer that names the job.
                4 if message.member == "JobRemoved" => removed.push(message.texts()?),
                _ => {}
            }
            let Some(job) = &job else { continue };
            let Some([_path, unit, result]) =
                removed.iter().find(|texts| texts.first() == Some(job)).map(Vec::as_slice)
            else {
                continue;
            };
            if result == "done" {
                return Ok(Job::Done);
            }
            return Err(Error::new(
                format!("systemd {member} of {unit}"),
                format!("the job ended as {result:?}"),
            ));
        }
    }

    /// Calls a manager's method and gives the error's name and text when it is refused.
    pub(super) fn manager(&mut self, member: &str, body: &Body) -> Result<Message> {
        self.ask(MANAGER, member, body)
    }

    /// A text property of the manager.
    pub(super) fn property(&mut self, name: &str) -> Result<String> {
        let body = Body::default().text(MANAGER.interface)?.text(name)?;
        let answer = self.ask(PROPERTIES, "Get", &body)?;
        answer
            .texts()?
            .into_iter()
            .next()
            .ok_or_else(|| Error::new(format!("systemd property {name}"), "no text"))
    }

    fn ask(&mut self, target: Target, member: &str, body: &Body) -> Result<Message> {
        let serial = self.send(target, member, body)?;
        loop {
            let message = self.receive()?;
            if message.answers != serial {
                continue;
            }
            if message.kind == 3 {
                let text = message.texts()?.into_iter().next().unwrap_or_default();
                return Err(Error::new(format!("systemd {member}"), format!("{text} ({})", message.error)));
            }
            return Ok(message);
        }
    }

    /// EXTERNAL without naming a user: whose connection it is the kernel tells, also from within a user namespace.
    ///
    /// All in one write: systemd lets lie what it reads after BEGIN in one go with the lines before it, so nothing may
    /// follow BEGIN until both of them are answered.
    fn authenticate(&mut self) -> Result<()> {
        self.write(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        // DATA and OK, or from systemd before 246 twice OK.
        let answers = [self.line()?, self.line()?];
        match &answers {
            [_, last] if last.starts_with("OK") => Ok(()),
            _ => Err(Error::new("authenticate to systemd", format!("it answered {answers:?}"))),
        }
    }

    fn send(&mut self, target: Target, member: &str, body: &Body) -> Result<u32> {
        self.serial = self.serial.wrapping_add(1);
        let message = call(self.serial, target, member, body)?;
        self.write(&message)?;
        Ok(self.serial)
    }

    fn receive(&mut self) -> Result<Message> {
        self.fill(HEAD)?;
        let head =
            self.inbox.first_chunk::<HEAD>().ok_or_else(|| Error::new("read from systemd", "too short"))?;
        let whole = HEAD.saturating_add(Message::rest(head)?);
        self.fill(whole)?;
        let later = self.inbox.split_off(whole);
        Message::parse(&std::mem::replace(&mut self.inbox, later))
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.inbox.windows(2).position(|pair| pair == b"\r\n") {
                let later = self.inbox.split_off(end.saturating_add(2));
                let line = std::mem::replace(&mut self.inbox, later);
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.inbox.len() > MAX_LINE {
                return Err(Error::new("authenticate to systemd", "it answered with too long a line"));
            }
            self.fill(self.inbox.len().saturating_add(1))?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(|e| Error::io("write to systemd", &e))
    }

    /// Reads until the inbox holds `size` bytes.
    fn fill(&mut self, size: usize) -> Result<()> {
        let mut chunk = [0_u8; 4096];
        while self.inbox.len() < size {
            let left = self.end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut chunk));
            match read {
                Ok(0) => return Err(Error::new("read from systemd", "it closed the connection")),
                Ok(count) => self.inbox.extend(chunk.iter().take(count)),
                Err(e) => match e.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        return Err(Error::new("wait for systemd", "no answer within 30 seconds"));
                    }
                    _ => return Err(Error::io("read from systemd", &e)),
                },
            }
        }
        Ok(())
    }
}

/// The private socket of the manager and that of the message bus.
fn sockets(user: bool) -> Result<(PathBuf, PathBuf)> {
    if !user {
        return Ok(("/run/systemd/private".into(), "/run/dbus/system_bus_socket".into()));
    }
    let Some(home) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute())
    else {
        return Err(Error::new("find the user's systemd", "XDG_RUNTIME_DIR is not set")
            .hint("log in through a session of systemd-logind, or run: loginctl enable-linger"));
    };
    let address = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
    let named = address.split(';').find_map(|one| one.strip_prefix("unix:path=")?.split(',').next());
    Ok((home.join("systemd/private"), named.map_or_else(|| home.join("bus"), PathBuf::from)))
}
