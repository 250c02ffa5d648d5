//! What no listener sees: which capabilities the kernel asked for, from its trace events.
//!
//! The tracing file system is mounted for nobody but us, and an instance of its own keeps apart from whoever else
//! traces. The instance is all that would outlive us; the keeper removes it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use casemate_spec::{Error, Result};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Something that a thread did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The kernel asked whether it has a capability, and it had.
    Capability {
        /// When, in microseconds of `CLOCK_MONOTONIC`.
        at: u64,
        /// The thread's id.
        thread: u32,
        /// The capability's number.
        number: u8,
    },
    /// The kernel had more to tell than it could keep.
    Lost,
}

/// Events of chosen processes and their descendants.
#[derive(Debug)]
pub struct Trace {
    processes: File,
    pipe: File,
    rest: Vec<u8>,
}

const CAPABILITIES: &str = "events/capability/cap_capable";

impl Trace {
    /// Begins to trace, in an instance called `name`.
    ///
    /// # Errors
    /// The kernel's: no tracing file system or no such event (Linux 6.14), not the host's root.
    pub fn begin(name: &str) -> Result<Self> {
        // Process ids of a pid namespace mean nothing to the tracer; 0xeffffffc is PROC_PID_INIT_INO.
        let own =
            std::fs::metadata("/proc/self/ns/pid").map(|found| std::os::unix::fs::MetadataExt::ino(&found));
        if own.ok() != Some(0xefff_fffc) {
            return Err(Error::new("trace capabilities", "this is not the host's pid namespace"));
        }
        let failed = |errno: Errno| Error::os("trace capabilities", errno.raw_os_error());
        let instances = instances().map_err(failed)?;
        rustix::fs::mkdirat(&instances, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
        Self::set_up(&instances, name).map_err(|errno| {
            let error = failed(errno);
            match remove(name) {
                Ok(()) => error,
                Err(left) => error.hint(left.to_string()),
            }
        })
    }

    fn set_up(instances: &OwnedFd, name: &str) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let own = rustix::fs::openat(instances, name, flags, Mode::empty())?;
        write(&own, "options/event-fork", "1")?;
        write(&own, "buffer_size_kb", "4096")?;
        write(&own, "trace_clock", "mono")?;
        // Nobody is traced yet: an empty list would mean everybody, and 0 is nobody's id.
        let processes = open(&own, "set_event_pid", OFlags::WRONLY)?;
        (&processes).write_all(b"0").map_err(|error| errno(&error))?;
        write(&own, &format!("{CAPABILITIES}/filter"), "ret == 0")?;
        write(&own, &format!("{CAPABILITIES}/enable"), "1")?;
        let pipe = open(&own, "trace_pipe", OFlags::RDONLY | OFlags::NONBLOCK)?;
        Ok(Self { processes, pipe, rest: Vec::new() })
    }

    /// Traces a process too, with all that it will start.
    ///
    /// # Errors
    /// The kernel's.
    pub fn follow(&mut self, process: u32) -> Result<()> {
        // Appended: the file is opened without O_TRUNC.
        self.processes
            .write_all(process.to_string().as_bytes())
            .map_err(|error| Error::io("trace a process", &error))
    }

    /// Everything that has happened by now.
    ///
    /// # Errors
    /// The kernel's.
    pub fn events(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            match self.pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => self.rest.extend_from_slice(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read the trace", &error)),
            }
        }
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            events.extend(event(&String::from_utf8_lossy(&line)));
        }
        Ok(events)
    }
}

/// Ends a recording's tracing, whoever began it.
///
/// # Errors
/// The kernel's; that there is none is no error.
pub fn remove(name: &str) -> Result<()> {
    let removed = instances().and_then(|all| rustix::fs::unlinkat(&all, name, AtFlags::REMOVEDIR));
    match removed {
        // Without a tracing file system nothing was traced.
        Ok(()) | Err(Errno::NOENT | Errno::NODEV | Errno::PERM) => Ok(()),
        Err(errno) => Err(Error::os(format!("remove trace instance {name}"), errno.raw_os_error())),
    }
}

fn instances() -> Result<OwnedFd, Errno> {
    let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let root = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    rustix::fs::openat(&root, "instances", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn open(directory: &OwnedFd, path: &str, flags: OFlags) -> Result<File, Errno> {
    rustix::fs::openat(directory, path, flags | OFlags::CLOEXEC, Mode::empty()).map(File::from)
}

fn write(directory: &OwnedFd, path: &str, text: &str) -> Result<(), Errno> {
    open(directory, path, OFlags::WRONLY)?.write_all(text.as_bytes()).map_err(|error| errno(&error))
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// `COMM-PID [CPU] FLAGS TIME: EVENT: …`. A program chooses its own COMM, so the line is read from its end.
fn event(line: &str) -> Option<Event> {
    let line = line.trim_end();
    if line.starts_with("CPU:") && line.ends_with("EVENTS]") {
        return Some(Event::Lost);
    }
    let (head, tail) = line.rsplit_once(": cap_capable: ")?;
    let (_, tail) = tail.rsplit_once(", cap ")?;
    let number = tail.strip_suffix(", ret 0")?.parse().ok()?;
    let (head, seconds) = head.rsplit_once(' ')?;
    let (seconds, micros) = seconds.split_once('.').filter(|(_, micros)| micros.len() == 6)?;
    let at = seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)?;
    Some(Event::Capability { at, thread: thread(head)?, number })
}

fn thread(head: &str) -> Option<u32> {
    let (task, _) = head.rsplit_once(" [")?;
    task.trim_end().rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_from_their_end() {
        let told = "   chown-20220   [000] ..... 12571.230562: cap_capable: cred 00000000898395aa, target_ns \
                    000000000e0295bb, capable_ns 000000000e0295bb, cap 0, ret 0\n";
        assert_eq!(event(told), Some(Event::Capability { at: 12_571_230_562, thread: 20220, number: 0 }));
        let spoof = "a-1 [0] . 1: cap_capable: cap 21, ret 0-77   [001] ..... 1.500000: cap_capable: cred 0, cap 6, ret 0";
        assert_eq!(event(spoof), Some(Event::Capability { at: 1_500_000, thread: 77, number: 6 }));
        assert_eq!(event("CPU:1 [LOST 17 EVENTS]"), Some(Event::Lost));
        for noise in ["", "# tracer: nop", "x-1 [000] . 1: cap_capable: cap 300, ret 0"] {
            assert_eq!(event(noise), None, "{noise}");
        }
    }
}
