//! Looking for a free range, taking it, giving it back.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use casemate_spec::{Error, Result};
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::Range;
use super::avoided::Avoided;
use super::claim::Claim;

const NEXT: &str = "next";
/// A search takes microseconds; only a stopped process holds the lock for longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which ids the host sets aside for containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The first id: a multiple of 65,536.
    pub base: u32,
    /// How many ranges, each of 65,536 ids.
    pub count: u32,
    /// Where it is written which range is whose; absolute, gone after a reboot, and never changed while containers
    /// run: two directories would hand out the same range twice.
    pub directory: PathBuf,
}

impl Default for Settings {
    /// The upper half of the ids that are positive as signed numbers too, short of the last 131,072 of them: systemd
    /// has plans for those (its "foreign" range). `@` keeps the directory from being a container's name.
    fn default() -> Self {
        Self { base: 0x4000_0000, count: 16_382, directory: PathBuf::from("/run/casemate/@ids") }
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        let refuse = |why: String| Err(Error::new("id ranges", why));
        if self.base == 0 || !self.base.is_multiple_of(Range::SIZE) {
            return refuse(format!("base {} is not a multiple of {}", self.base, Range::SIZE));
        }
        // The last range of all holds the id that means "none" to the kernel.
        let room = (u32::MAX - self.base) / Range::SIZE;
        if self.count == 0 || self.count > room {
            return refuse(format!(
                "count {} is not between 1 and {room}, what is left above base {}",
                self.count, self.base
            ));
        }
        if !self.directory.is_absolute() {
            return refuse(format!("directory {} is not absolute", self.directory.display()));
        }
        Ok(())
    }
}

/// The host's pool.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    etc: PathBuf,
    directory: OwnedFd,
}

impl Pool {
    /// Opens the pool, making its directory (mode 0700) when it is not there.
    ///
    /// # Errors
    /// The settings make no sense; the directory cannot be made, or somebody else could change what is in it.
    pub fn open(settings: &Settings) -> Result<Self> {
        Self::with_users(settings, Path::new("/etc"))
    }

    pub(super) fn with_users(settings: &Settings, etc: &Path) -> Result<Self> {
        settings.check()?;
        let directory = match directory(&settings.directory)? {
            Some(directory) => directory,
            None => {
                let path = settings.directory.display();
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&settings.directory)
                    .map_err(|error| Error::io(format!("make {path}"), &error))?;
                directory(&settings.directory)?
                    .ok_or_else(|| Error::new(path.to_string(), "it was removed"))?
            }
        };
        Ok(Self { settings: settings.clone(), etc: etc.to_owned(), directory })
    }

    /// Takes a free range for the container that lives in `home`, whose lock the caller holds. The caller records
    /// the range in the home before it lets go of that lock.
    ///
    /// # Errors
    /// No range is free; the kernel's.
    pub fn allocate(&self, home: &Path) -> Result<Range> {
        let claim = Claim::of(home)?;
        let avoided = Avoided::read(&self.etc, self.settings.base)?;
        locked(&self.directory, || self.search(&claim, &avoided))
    }

    fn search(&self, claim: &Claim, avoided: &Avoided) -> Result<Range> {
        let Settings { base, count, .. } = self.settings;
        let next = self.open_next()?;
        let begin = read_next(&next).checked_sub(base).map_or(0, |offset| offset / Range::SIZE);
        for step in 0..count {
            let number = (u64::from(begin) + u64::from(step)) % u64::from(count);
            let first = base + u32::try_from(number).unwrap_or(0) * Range::SIZE;
            if !avoided.touches(first) && self.take(first, claim)? {
                self.write_next(&next, first.saturating_add(Range::SIZE))?;
                return Ok(Range { first, size: Range::SIZE, pool: self.settings.directory.clone() });
            }
        }
        Err(Error::new("id ranges", format!("none of the {count} ranges from {base} on is free"))
            .hint("delete containers that have ended, or raise count under [ids] in runtime.toml"))
    }

    fn take(&self, first: u32, claim: &Claim) -> Result<bool> {
        if self.link(first, claim)? {
            return Ok(true);
        }
        match owner(&self.directory, first)? {
            Owner::Claim(other) if other.is_void(first)? => {
                unlink(&self.directory, first)?;
                self.link(first, claim)
            }
            Owner::Nobody => self.link(first, claim),
            Owner::Claim(_) | Owner::Stranger => Ok(false),
        }
    }

    fn link(&self, first: u32, claim: &Claim) -> Result<bool> {
        match rustix::fs::symlinkat(claim.text(), &self.directory, first.to_string()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(Error::os(format!("take id range {first}"), error.raw_os_error())),
        }
    }

    fn open_next(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(&self.directory, NEXT, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| self.failed(error))
    }

    /// As wide as the widest number, so that writing over an old one leaves nothing of it.
    fn write_next(&self, file: &OwnedFd, first: u32) -> Result<()> {
        let text = format!("{first:010}");
        match rustix::io::pwrite(file, text.as_bytes(), 0) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: Errno) -> Error {
        Error::os(self.settings.directory.join(NEXT).display().to_string(), error.raw_os_error())
    }
}

/// Gives a range back, unless it is another's by now.
///
/// # Errors
/// The directory is not to be trusted, or the kernel's.
pub(super) fn release(range: &Range, home: &Path) -> Result<()> {
    let claim = Claim::of(home)?;
    let Some(directory) = directory(&range.pool)? else { return Ok(()) };
    locked(&directory, || match owner(&directory, range.first)? {
        Owner::Claim(owner) if owner == claim => unlink(&directory, range.first),
        _ => Ok(()),
    })
}

/// Gives back whatever the container that lives in `home` has: for a home whose record does not say.
///
/// # Errors
/// The pool's directory is not to be trusted, or the kernel's.
pub fn release_all(pool: &Path, home: &Path) -> Result<()> {
    let claim = Claim::of(home)?;
    let Some(directory) = directory(pool)? else { return Ok(()) };
    let failed = |error: Errno| Error::os(format!("read {}", pool.display()), error.raw_os_error());
    locked(&directory, || {
        let mut firsts: Vec<u32> = Vec::new();
        for entry in Dir::read_from(&directory).map_err(failed)? {
            firsts.extend(
                entry.map_err(failed)?.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()),
            );
        }
        for first in firsts {
            if matches!(owner(&directory, first)?, Owner::Claim(owner) if owner == claim) {
                unlink(&directory, first)?;
            }
        }
        Ok(())
    })
}

/// Who a link says has a range.
enum Owner {
    Nobody,
    Claim(Claim),
    /// Something of that name that we did not make: left alone, and its range too.
    Stranger,
}

fn owner(directory: &OwnedFd, first: u32) -> Result<Owner> {
    match rustix::fs::readlinkat(directory, first.to_string(), Vec::new()) {
        Ok(text) => Ok(Claim::parse(&text).map_or(Owner::Stranger, Owner::Claim)),
        Err(Errno::NOENT) => Ok(Owner::Nobody),
        Err(Errno::INVAL) => Ok(Owner::Stranger),
        Err(error) => Err(Error::os(format!("look at id range {first}"), error.raw_os_error())),
    }
}

fn unlink(directory: &OwnedFd, first: u32) -> Result<()> {
    match rustix::fs::unlinkat(directory, first.to_string(), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::os(format!("give back id range {first}"), error.raw_os_error())),
    }
}

/// What is not there, or was damaged, is 0: the search then begins at the base.
fn read_next(file: &OwnedFd) -> u32 {
    let mut text = [0; 10];
    let read = rustix::io::pread(file, &mut text, 0).unwrap_or(0);
    text.get(..read).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0)
}

/// Opens a pool's directory; `None` when it is not there. Whoever can write to it can have two containers share ids.
fn directory(path: &Path) -> Result<Option<OwnedFd>> {
    let failed = |error: Errno| Error::os(format!("open {}", path.display()), error.raw_os_error());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let stat = rustix::fs::fstat(&directory).map_err(failed)?;
    let refuse = |why: &str| Err(Error::new(format!("id ranges in {}", path.display()), why));
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return refuse("the directory belongs to another user");
    }
    if stat.st_mode & 0o077 != 0 {
        return refuse("the directory is open to others (its mode must be 0700)");
    }
    Ok(Some(directory))
}

/// Does something while this process alone may change the directory.
///
/// Unlocked at the end and not only closed: a child may have a copy of the descriptor by then.
fn locked<T>(directory: &OwnedFd, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let failed = |error: Errno| Error::os("lock the id ranges", error.raw_os_error());
    let begun = Instant::now();
    let mut pause = Duration::from_micros(20);
    loop {
        match rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(2));
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(Error::new(
                    "lock the id ranges",
                    "another process has held the lock for 10 seconds",
                ));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    let done = work();
    rustix::fs::flock(directory, FlockOperation::Unlock).map_err(failed)?;
    done
}
