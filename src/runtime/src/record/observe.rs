//! One waiting call becomes an observation.

use rustix::net::{AddressFamily, SocketType};

use super::caller::{Base, Caller, Place, low};
use super::calls::{BLIND, name_of, told};
use super::seen::{Access, Seen};
use crate::seccomp::Abi;
use casemate_core::sys::notify::Call;

/// What is done with a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The flags in this argument say.
    Open(usize),
    /// `struct open_how` in this argument says.
    OpenHow(usize),
    /// What it names is written to.
    Write,
    /// The same, where a symbolic link itself is meant.
    WriteLink,
    /// The entry itself is changed or removed: a symbolic link is not followed.
    Entry,
    /// The entry is made; the call fails where there is one already.
    Make,
    Execute,
}

/// Which arguments of a call hold a path: directory, path, and what is done with it.
type Row = (&'static str, Option<usize>, usize, Use);

#[rustfmt::skip]
const PATHS: &[Row] = &[
    ("open", None, 0, Use::Open(1)), ("openat", Some(0), 1, Use::Open(2)), ("openat2", Some(0), 1, Use::OpenHow(2)),
    ("creat", None, 0, Use::Write), ("execve", None, 0, Use::Execute), ("execveat", Some(0), 1, Use::Execute),
    ("truncate", None, 0, Use::Write), ("truncate64", None, 0, Use::Write),
    ("mkdir", None, 0, Use::Make), ("mkdirat", Some(0), 1, Use::Make), ("rmdir", None, 0, Use::Entry),
    ("mknod", None, 0, Use::Make), ("mknodat", Some(0), 1, Use::Make),
    ("unlink", None, 0, Use::Entry), ("unlinkat", Some(0), 1, Use::Entry),
    ("symlink", None, 1, Use::Make), ("symlinkat", Some(1), 2, Use::Make),
    ("link", None, 0, Use::Entry), ("link", None, 1, Use::Make),
    ("linkat", Some(0), 1, Use::Entry), ("linkat", Some(2), 3, Use::Make),
    ("rename", None, 0, Use::Entry), ("rename", None, 1, Use::Entry),
    ("renameat", Some(0), 1, Use::Entry), ("renameat", Some(2), 3, Use::Entry),
    ("renameat2", Some(0), 1, Use::Entry), ("renameat2", Some(2), 3, Use::Entry),
    ("chmod", None, 0, Use::Write), ("fchmodat", Some(0), 1, Use::Write), ("fchmodat2", Some(0), 1, Use::Write),
    ("chown", None, 0, Use::Write), ("chown32", None, 0, Use::Write),
    ("lchown", None, 0, Use::WriteLink), ("lchown32", None, 0, Use::WriteLink), ("fchownat", Some(0), 1, Use::Write),
    ("utime", None, 0, Use::Write), ("utimes", None, 0, Use::Write), ("futimesat", Some(0), 1, Use::Write),
    ("utimensat", Some(0), 1, Use::Write), ("utimensat_time64", Some(0), 1, Use::Write),
    ("setxattr", None, 0, Use::Write), ("lsetxattr", None, 0, Use::WriteLink),
    ("removexattr", None, 0, Use::Write), ("lremovexattr", None, 0, Use::WriteLink),
];

/// Calls that change what a descriptor in argument 0 refers to, without it having been opened for writing.
const DESCRIPTORS: &[&str] = &["fchmod", "fchown", "fchown32", "fsetxattr", "fremovexattr"];

/// What was seen of one call, before it is known that its caller still waited when it was read.
#[derive(Debug, Default)]
pub struct Observation {
    name: Option<&'static str>,
    value: Option<u64>,
    i386: bool,
    files: Vec<(Place, Access)>,
    bound: Option<u16>,
    connected: Option<u16>,
    set_id: Option<String>,
}

/// Whether a call can be told from its registers alone, so that its caller need not wait for us to look.
pub fn is_plain(name: &str, call: &Call) -> bool {
    !maps_code(name, call)
        && !PATHS.iter().any(|(known, ..)| *known == name)
        && !DESCRIPTORS.contains(&name)
        && !matches!(name, "bind" | "connect" | "socketcall" | BLIND)
}

/// Whether a file is mapped as code: a mount without execution would refuse it.
fn maps_code(name: &str, call: &Call) -> bool {
    const PROT_EXEC: u64 = 4;
    const MAP_ANONYMOUS: u64 = 0x20;
    let has = |index, bit| argument(call, index).is_some_and(|flags| flags & bit != 0);
    matches!(name, "mmap" | "mmap2") && has(2, PROT_EXEC) && !has(3, MAP_ANONYMOUS)
}

/// Looks at a call while it waits.
pub fn observe(call: &Call) -> Observation {
    let mut seen = Observation::default();
    let Some((abi, name)) = name_of(call.arch, call.number) else { return seen };
    let caller = Caller(call.thread);
    seen.name = Some(name);
    seen.i386 = abi == Abi::X86;
    seen.value = told(name).and_then(|told| Some(argument(call, told.index)? & told.mask));
    for (_, base, path, what) in PATHS.iter().filter(|(known, ..)| *known == name) {
        let base = base.and_then(|at| argument(call, at)).map_or(Base::Cwd, Base::of);
        let Some(access) = access(call, caller, *what) else { continue };
        let address = argument(call, *path).unwrap_or(0);
        let place = match (caller.text(address).filter(|text| !text.is_empty()), base) {
            (Some(text), base) => {
                caller.locate(base, &text, !matches!(what, Use::WriteLink | Use::Entry | Use::Make))
            }
            // No path, or an empty one: the descriptor itself is meant.
            (None, Base::Fd(number)) => caller.opened(number),
            (None, Base::Cwd) => None,
        };
        let Some(place) = place else { continue };
        if *what == Use::Make && place.found.is_some() {
            continue;
        }
        if access.executed {
            seen.set_id = takes_on(caller, &place);
        }
        seen.files.push((place, access));
    }
    if DESCRIPTORS.contains(&name)
        && let Some(place) = caller.opened(low(argument(call, 0).unwrap_or(u64::MAX)))
    {
        seen.files.push((place, Access { written: true, ..Access::default() }));
    }
    if maps_code(name, call)
        && let Some(place) = caller.opened(low(argument(call, 4).unwrap_or(u64::MAX)))
    {
        seen.files.push((place, Access { executed: true, ..Access::default() }));
    }
    match name {
        "bind" => socket_address(call, caller, &mut seen, true),
        "connect" => socket_address(call, caller, &mut seen, false),
        _ => {}
    }
    seen
}

impl Observation {
    /// The call's name; none for one that no profile can name.
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// The argument by which a profile tells its uses apart.
    pub fn value(&self) -> Option<u64> {
        self.value
    }

    /// Whether the recording refuses the call, as the recorded profile will.
    pub fn is_blind(&self) -> bool {
        self.name == Some(BLIND)
    }

    /// Whether it begins a program.
    pub fn is_execution(&self) -> bool {
        matches!(self.name, Some("execve" | "execveat"))
    }

    /// Whether more than the call's registers was read, so that its caller must be known to wait still.
    pub fn has_read(&self) -> bool {
        !self.files.is_empty() || self.bound.is_some() || self.connected.is_some() || self.set_id.is_some()
    }

    /// Adds it to what was seen.
    pub fn keep(self, call: &Call, seen: &mut Seen) {
        let Some(name) = self.name else {
            seen.note(format!(
                "system call {} of architecture {:#x} has no name: not in the profile",
                call.number, call.arch
            ));
            return;
        };
        seen.call(name, self.value, || Caller(call.thread).program());
        seen.i386 |= self.i386;
        if name == "socketcall" {
            seen.note(
                "i386 programs used socketcall, whose arguments are not looked at: ports may be missing",
            );
        }
        for (place, access) in self.files {
            // What the kernel will refuse is not needed.
            let written = access.written && !place.read_only;
            let access = Access { written, existed: place.found.is_some(), ..access };
            if let Some((letter, major, minor)) = place.found.and_then(|found| found.device) {
                seen.devices.entry(format!("{letter} {major}:{minor}")).or_insert_with(|| place.path.clone());
            }
            seen.file(place.path, access);
        }
        seen.bound.extend(self.bound);
        seen.connected.extend(self.connected);
        if seen.set_id.is_none() {
            seen.set_id = self.set_id;
        }
    }
}

fn argument(call: &Call, index: usize) -> Option<u64> {
    call.arguments.get(index).copied()
}

fn access(call: &Call, caller: Caller, what: Use) -> Option<Access> {
    let flags = match what {
        Use::Open(index) => argument(call, index)?,
        Use::OpenHow(index) => u64::from_ne_bytes(caller.bytes(argument(call, index)?)?),
        Use::Write | Use::WriteLink => return Some(Access { written: true, ..Access::default() }),
        Use::Entry | Use::Make => return Some(Access { written: true, moved: true, ..Access::default() }),
        Use::Execute => return Some(Access { executed: true, ..Access::default() }),
    };
    // fcntl.h: O_ACCMODE, O_CREAT, O_TRUNC, O_PATH.
    let (mode, makes, path_only) = (flags & 3, flags & (0o100 | 0o1000) != 0, flags & 0o10_000_000 != 0);
    if path_only {
        return None;
    }
    Some(Access { read: mode != 1, written: mode != 0 || makes, ..Access::default() })
}

/// Execution that changes the effective user: no_new_privs would keep it from doing so.
fn takes_on(caller: Caller, place: &Place) -> Option<String> {
    let owner = place.found?.set_uid?;
    (caller.user()? != owner).then(|| place.path.clone())
}

/// Which TCP port is meant. What the address says counts for TCP sockets alone.
fn socket_address(call: &Call, caller: Caller, seen: &mut Observation, binds: bool) {
    let (Some(number), Some(address)) = (argument(call, 0), argument(call, 1)) else { return };
    let Some(head) = caller.bytes::<4>(address) else { return };
    let [low_family, high_family, high_port, low_port] = head;
    let family = AddressFamily::from_raw(u16::from_ne_bytes([low_family, high_family]));
    if binds && family == AddressFamily::UNIX {
        let path = caller.text(address.saturating_add(2)).filter(|path| !path.is_empty());
        let place = path.and_then(|path| caller.locate(Base::Cwd, &path, false));
        seen.files.extend(place.map(|place| (place, Access { written: true, ..Access::default() })));
    }
    if family != AddressFamily::INET && family != AddressFamily::INET6 {
        return;
    }
    let Some(socket) = caller.descriptor(low(number)) else { return };
    if rustix::net::sockopt::socket_type(&socket) != Ok(SocketType::STREAM) {
        return;
    }
    let port = Some(u16::from_be_bytes([high_port, low_port]));
    if binds {
        seen.bound = port;
    } else {
        seen.connected = port;
    }
}
