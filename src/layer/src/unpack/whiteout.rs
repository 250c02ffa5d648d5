//! Removed files: `.wh.name` and `.wh..wh..opq` of OCI's layers, which become overlayfs's marks.
//!
//! A mark is about the layers beneath alone. What this same layer has under the name stays, whichever comes first; a
//! directory then hides what the layers beneath have in it.

use casemate_spec::{Error, Result};
use rustix::fs::{FileType, Mode, XattrFlags, fsetxattr, mknodat};

use super::{Unpacking, failed};
use crate::place::{kind, look, show, subdirectory};

/// What such names begin with.
pub const PREFIX: &[u8] = b".wh.";
/// The name that marks its directory.
pub const OPAQUE: &[u8] = b".wh..wh..opq";
/// What began the names of aufs's own files; some old images still have them.
const AUFS: &[u8] = b".wh..wh.";
/// overlayfs's mark of a directory that hides those beneath, as it is where containers own their files.
pub const OPAQUE_XATTR: &str = "user.overlay.opaque";

/// What a name marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark<'a> {
    /// Nothing.
    None,
    /// It belongs to another storage driver.
    Ignored,
    /// The file of this name is removed.
    Removed(&'a [u8]),
    /// What the layers beneath have in the directory is removed.
    Opaque,
}

/// Reads a path.
pub fn of<'a>(directory: &[u8], name: &'a [u8]) -> Result<Mark<'a>> {
    let mut above = directory.split(|&byte| byte == b'/');
    if above.clone().any(|part| part.starts_with(AUFS)) {
        return Ok(Mark::Ignored);
    }
    if above.any(|part| part.starts_with(PREFIX)) {
        return Err(Error::new("", "it lies beneath a removed file"));
    }
    match name.strip_prefix(PREFIX) {
        None => Ok(Mark::None),
        Some(_) if name == OPAQUE => Ok(Mark::Opaque),
        Some(_) if name.starts_with(AUFS) => Ok(Mark::Ignored),
        Some(b"" | b"." | b"..") => Err(Error::new("", "it marks no file")),
        Some(removed) => Ok(Mark::Removed(removed)),
    }
}

impl Unpacking<'_> {
    pub(super) fn whiteout(&mut self, directory: &[u8], mark: Mark<'_>) -> Result<()> {
        if mark == Mark::Opaque {
            self.parent(directory)?;
            let own = self.place.at(directory, super::attributes::READ_DIRECTORY);
            return make_opaque(own.map_err(|errno| failed(&show(directory), errno))?);
        }
        let Mark::Removed(name) = mark else { return Ok(()) };
        let parent = self.parent(directory)?;
        match look(parent, name).map_err(|errno| failed("", errno))? {
            None => mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
                .map_err(|errno| failed("mark", errno)),
            Some(stat) if kind(&stat) == FileType::Directory => {
                make_opaque(subdirectory(parent, name).map_err(|errno| failed("", errno))?)
            }
            Some(_) => Ok(()),
        }
    }
}

/// Marks a directory that is open for reading.
pub fn make_opaque(directory: impl std::os::fd::AsFd) -> Result<()> {
    fsetxattr(directory, OPAQUE_XATTR, b"y", XattrFlags::empty()).map_err(|errno| failed("mark", errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_from_names() {
        assert_eq!(of(b"a", b".wh.b").ok(), Some(Mark::Removed(b"b")));
        assert_eq!(of(b"a", b".wh..wh..opq").ok(), Some(Mark::Opaque));
        assert_eq!(of(b"a", b".wh..wh.aufs").ok(), Some(Mark::Ignored));
        assert_eq!(of(b".wh..wh.plnk", b"x").ok(), Some(Mark::Ignored));
        assert_eq!(of(b"a", b".what").ok(), Some(Mark::None));
        for (directory, name) in [("a/.wh.b", "c"), ("", ".wh."), ("", ".wh.."), ("", ".wh...")] {
            assert!(of(directory.as_bytes(), name.as_bytes()).is_err(), "{directory}/{name}");
        }
    }
}
