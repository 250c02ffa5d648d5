//! The program: found before the container waits, so that `create` can say that it is missing.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{Access, AtFlags, CWD, FileType, OFlags, accessat, statat};
use rustix::io::Errno;

use super::Life;
use super::resolve::look;

/// `/etc/passwd` is read up to here: a thousand users, in a buffer that fits a stack.
const PASSWD_LIMIT: usize = 1 << 16;

/// The first candidate that is a file which this user may execute.
pub(super) fn find(life: &Life<'_>) -> Result<usize, Errno> {
    let program = &life.plan.process.program;
    let mut why = Errno::NOENT;
    for (index, candidate) in program.candidates.iter().enumerate() {
        match check(candidate) {
            Ok(()) => return Ok(index),
            Err(errno) if !program.searched => return Err(errno),
            // Not this one; if none is right, a file that could not be run says more than one that was not there.
            Err(errno @ (Errno::ACCESS | Errno::PERM)) => why = errno,
            Err(_absent) => {}
        }
    }
    Err(why)
}

fn check(path: &CStr) -> Result<(), Errno> {
    let stat = statat(CWD, path, AtFlags::empty())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        // As execve(2) says it.
        return Err(Errno::ACCESS);
    }
    accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// Fills in `HOME` from the container's own `/etc/passwd`; the slot holds `/` where it says nothing.
pub(super) fn find_home(life: &Life<'_>) {
    if !life.plan.process.program.find_home {
        return;
    }
    let Some(root) = life.root.get() else { return };
    let Ok(passwd) = look(root.as_fd(), c"etc/passwd", OFlags::RDONLY | OFlags::NONBLOCK) else { return };
    let mut buffer = [0_u8; PASSWD_LIMIT];
    let mut filled = 0;
    while let Some(space) = buffer.get_mut(filled..) {
        match rustix::io::read(&passwd, space) {
            Ok(0) | Err(_) => break,
            Ok(read) => filled += read,
        }
    }
    if let Some(home) = home_of(buffer.get(..filled).unwrap_or(&[]), life.plan.process.identity.uid) {
        life.vectors.envp.fill_slot(home);
    }
}

fn home_of(lines: &[u8], uid: u32) -> Option<&[u8]> {
    lines.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let id = std::str::from_utf8(fields.nth(2)?).ok()?.parse::<u32>().ok()?;
        let home = fields.nth(2)?;
        (id == uid && home.first() == Some(&b'/')).then_some(home)
    })
}

#[cfg(test)]
mod tests {
    use super::home_of;

    #[test]
    fn home_is_the_sixth_field_of_the_users_line() {
        let lines = b"root:x:0:0:root:/root:/bin/sh\nbroken\nwww:x:33:33::/var/www:/bin/false\n";
        assert_eq!(home_of(lines, 33), Some(b"/var/www".as_slice()));
        assert_eq!(home_of(lines, 0), Some(b"/root".as_slice()));
        assert_eq!(home_of(lines, 5), None);
        assert_eq!(home_of(b"x:x:7:7::relative:/bin/sh", 7), None);
    }
}
