//! The thread behind a waiting call: its memory, its descriptors, and what its paths lead to.
//!
//! It is read through `/proc`, and may vanish at any moment: everything here answers with nothing then. What was read
//! holds only if the call still waits afterwards ([`casemate_core::sys::notify::is_waiting`]), and only as an
//! observation: the workload may change its memory before the kernel reads it again.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// PATH_MAX, with its NUL.
const LONGEST: usize = 4096;
const PAGE: u64 = 4096;

/// A thread, by its id in our pid namespace.
#[derive(Debug, Clone, Copy)]
pub struct Caller(pub u32);

/// What a path leads to.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its path from the container's root, without symbolic links where it could be resolved.
    pub path: String,
    /// What is there; none where nothing is, or it cannot be known.
    pub found: Option<Found>,
    /// Nothing can be written there.
    pub read_only: bool,
}

/// Something that exists.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// The kind and number of a device node.
    pub device: Option<(char, u32, u32)>,
    /// Whether executing it takes on the rights of this user, who is its owner.
    pub set_uid: Option<u32>,
}

/// What a path argument is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// The working directory.
    Cwd,
    /// A descriptor of the caller's.
    Fd(i32),
}

impl Base {
    /// As a `dirfd` argument says it.
    pub fn of(argument: u64) -> Self {
        match low(argument) {
            -100 => Self::Cwd,
            fd => Self::Fd(fd),
        }
    }
}

/// The `int` in a register.
pub fn low(argument: u64) -> i32 {
    (argument & 0xffff_ffff) as u32 as i32
}

impl Caller {
    /// A string that ends with NUL.
    pub fn text(self, address: u64) -> Option<Vec<u8>> {
        let memory = File::open(format!("/proc/{}/mem", self.0)).ok()?;
        let mut text = Vec::new();
        let mut at = address;
        // Page by page: the next one may not be mapped.
        while text.len() < LONGEST {
            let mut page = vec![0; usize::try_from(PAGE - at % PAGE).ok()?];
            let read = memory.read_at(&mut page, at).ok().filter(|read| *read > 0)?;
            let page = page.get(..read)?;
            if let Some(end) = page.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(page.get(..end)?);
                return Some(text);
            }
            text.extend_from_slice(page);
            at = at.checked_add(u64::try_from(read).ok()?)?;
        }
        None
    }

    /// Exactly so many bytes.
    pub fn bytes<const N: usize>(self, address: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        File::open(format!("/proc/{}/mem", self.0)).ok()?.read_exact_at(&mut bytes, address).ok()?;
        Some(bytes)
    }

    /// The program that it runs.
    pub fn program(self) -> String {
        self.link("exe").unwrap_or_else(|| "a program that is gone".to_owned())
    }

    /// Its container's mounts, as proc_pid_mountinfo(5) has them.
    pub fn mountinfo(self) -> Option<String> {
        std::fs::read_to_string(format!("/proc/{}/mountinfo", self.0)).ok()
    }

    /// The effective user id, of our user namespace.
    pub fn user(self) -> Option<u32> {
        self.status("Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// Whether it has a handler for a signal.
    pub fn catches(self, signal: u32) -> bool {
        let mask = self.status("SigCgt:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask.checked_shr(signal.wrapping_sub(1)).unwrap_or(0) & 1 == 1)
    }

    /// A copy of one of its descriptors.
    pub fn descriptor(self, number: i32) -> Option<OwnedFd> {
        let process = self.status("Tgid:")?.trim().parse().ok().and_then(Pid::from_raw)?;
        let process = pidfd_open(process, PidfdFlags::empty()).ok()?;
        pidfd_getfd(process, number, PidfdGetfdFlags::empty()).ok()
    }

    /// What a descriptor refers to.
    pub fn opened(self, number: i32) -> Option<Place> {
        let path = self.link(&format!("fd/{number}")).filter(|path| path.starts_with('/'))?;
        let file = rustix::fs::open(
            format!("/proc/{}/fd/{number}", self.0),
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        );
        Some(place(path, file.ok()))
    }

    /// What a path leads to. A last component that is a symbolic link is followed when `follow`.
    pub fn locate(self, base: Base, path: &[u8], follow: bool) -> Option<Place> {
        let path = std::str::from_utf8(path).ok().filter(|path| !path.is_empty())?;
        // `mkdir DIRECTORY/` makes what the name without the slash is resolved for.
        let path = match path.trim_end_matches('/') {
            "" => "/",
            name => name,
        };
        let root = self.link("root")?;
        let whole = if path.starts_with('/') {
            join(&root, path.trim_start_matches('/'))
        } else {
            let from = match base {
                Base::Cwd => self.link("cwd"),
                Base::Fd(number) => self.link(&format!("fd/{number}")),
            };
            join(&from.filter(|from| from.starts_with('/'))?, path)
        };
        if root != "/" {
            // After a chroot(2) the kernel resolves from elsewhere than where names are seen from.
            return Some(Place { path: whole, found: None, read_only: false });
        }
        let top = self.open_root()?;
        let last = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        if let Some(file) = resolve(&top, &whole, last) {
            let real = own_link(&file).unwrap_or_else(|| whole.clone());
            return Some(place(real, Some(file)));
        }
        let (directory, name) = whole.rsplit_once('/')?;
        let directory = if directory.is_empty() { "/" } else { directory };
        let above = resolve(&top, directory, OFlags::DIRECTORY)?;
        let real = own_link(&above).unwrap_or_else(|| directory.to_owned());
        let read_only = is_read_only(&above);
        Some(Place { path: join(&real, name), found: None, read_only })
    }

    fn open_root(self) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(format!("/proc/{}/root", self.0), flags, Mode::empty()).ok()
    }

    fn link(self, name: &str) -> Option<String> {
        std::fs::read_link(format!("/proc/{}/{name}", self.0)).ok()?.into_os_string().into_string().ok()
    }

    fn status(self, field: &str) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        status.lines().find_map(|line| line.strip_prefix(field)).map(str::to_owned)
    }
}

fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}

/// Resolves as the container would, without opening: no driver and no other side of a fifo hears of it.
fn resolve(root: &OwnedFd, path: &str, flags: OFlags) -> Option<OwnedFd> {
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), how).ok()
}

/// The name of something we hold, as its own mount namespace has it.
fn own_link(file: &OwnedFd) -> Option<String> {
    use std::os::fd::AsRawFd;
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    link.into_os_string().into_string().ok().filter(|path| path.starts_with('/'))
}

fn place(path: String, file: Option<OwnedFd>) -> Place {
    let Some(file) = file else { return Place { path, found: None, read_only: false } };
    let found = rustix::fs::statat(&file, "", AtFlags::EMPTY_PATH).ok().map(|stat| {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let letter = match kind {
            FileType::CharacterDevice => Some('c'),
            FileType::BlockDevice => Some('b'),
            _ => None,
        };
        let set_uid = Mode::from_raw_mode(stat.st_mode).contains(Mode::SUID) && kind == FileType::RegularFile;
        Found {
            device: letter
                .map(|letter| (letter, rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev))),
            set_uid: set_uid.then_some(stat.st_uid),
        }
    });
    Place { path, found, read_only: is_read_only(&file) }
}

fn is_read_only(file: &OwnedFd) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|of| of.f_flag.contains(StatVfsMountFlags::RDONLY))
}
