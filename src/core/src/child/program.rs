//! The program: found before the container waits, so that `create` can say that it is missing.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{Access, AtFlags, CWD, FileType, OFlags, accessat, statat};
use rustix::io::Errno;

use super::Life;
use super::resolve::look;

/// `/etc/passwd` is read up to here; lines longer than the buffer are passed over.
const PASSWD_LIMIT: usize = 1 << 20;

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
    let mut buffer = [0_u8; 4096];
    let (mut filled, mut total) = (0, 0);
    while let Some(space) = buffer.get_mut(filled..) {
        let Ok(read) = rustix::io::read(&passwd, space) else { return };
        total += read;
        let held = buffer.get(..filled + read).unwrap_or(&[]);
        let end = if read == 0 {
            held.len()
        } else {
            held.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
        };
        let (whole, rest) = held.split_at_checked(end).unwrap_or((held, &[]));
        if let Some(home) = home_of(whole, life.plan.process.identity.uid) {
            life.vectors.envp.fill_slot(home);
            return;
        }
        if read == 0 || total > PASSWD_LIMIT {
            return;
        }
        let keep = if end == 0 && held.len() == 4096 { 0 } else { rest.len() };
        let from = held.len() - keep;
        buffer.copy_within(from..from + keep, 0);
        filled = keep;
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
