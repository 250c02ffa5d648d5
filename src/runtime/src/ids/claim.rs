//! Who has a range, as the text of a link: `<mount namespace>:<home>`.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use casemate_spec::{Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Deserialize;

use crate::store::Lock;

/// A record larger than this was not written by us; it is not searched for the truth.
const LARGEST: u64 = 32 << 20;

/// A container's home, and the mount namespace whose path it is: in another one the same path may lead nowhere, and
/// a range must not be taken back for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    text: Vec<u8>,
    view: u64,
    home: Vec<u8>,
}

/// The part of a container's record that says which range it has.
#[derive(Deserialize)]
struct Recorded {
    #[serde(default)]
    ids: Option<RecordedRange>,
}

#[derive(Deserialize)]
struct RecordedRange {
    first: u32,
}

impl Claim {
    /// The claim of the container that lives in `home`, an absolute path.
    pub fn of(home: &Path) -> Result<Self> {
        if !home.is_absolute() {
            return Err(Error::new(home.display().to_string(), "the home of a container must be absolute"));
        }
        let view = view()?;
        let home = home.as_os_str().as_bytes().to_vec();
        let text = [format!("{view}:").as_bytes(), &home].concat();
        Ok(Self { text, view, home })
    }

    /// Reads the text of a link; `None` when we did not write it.
    pub fn parse(text: &CString) -> Option<Self> {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|&byte| byte == b':')?;
        let view = std::str::from_utf8(bytes.get(..colon)?).ok()?.parse().ok()?;
        let home = bytes.get(colon + 1..).filter(|home| home.first() == Some(&b'/'))?.to_vec();
        Some(Self { text: bytes.to_vec(), view, home })
    }

    /// The text of the link.
    pub fn text(&self) -> &OsStr {
        OsStr::from_bytes(&self.text)
    }

    /// Whether nobody can be using the range that starts at `first` by this claim: the home is gone, or nobody is at
    /// work on it and its record does not name the range. To be asked under the pool's lock: a `create` takes its
    /// range under that lock while it holds the home's, and writes its record before it lets go of the latter.
    pub fn is_void(&self, first: u32) -> Result<bool> {
        if self.view != view()? {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let home = match rustix::fs::open(Path::new(OsStr::from_bytes(&self.home)), flags, Mode::empty()) {
            Ok(home) => home,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(true),
            // What cannot be looked at may be in use.
            Err(_) => return Ok(false),
        };
        if let Some(lock) = open(&home, "lock")?
            && Lock::held(lock)?
        {
            return Ok(false);
        }
        let Some(record) = open(&home, "state.json")? else { return Ok(true) };
        let mut bytes = Vec::new();
        File::from(record)
            .take(LARGEST)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io("read the record of a container", &error))?;
        let recorded = serde_json::from_slice::<Recorded>(&bytes);
        Ok(recorded.is_ok_and(|recorded| recorded.ids.is_none_or(|ids| ids.first != first)))
    }
}

fn open(home: &OwnedFd, name: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(home, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::os(format!("open {name} of a container"), error.raw_os_error())),
    }
}

/// Our mount namespace, by the number that the kernel gives it.
fn view() -> Result<u64> {
    rustix::fs::stat("/proc/self/ns/mnt")
        .map(|stat| stat.st_ino)
        .map_err(|error| Error::os("ask for our mount namespace", error.raw_os_error()))
}
