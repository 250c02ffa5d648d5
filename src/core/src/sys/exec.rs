//! execve(2) and execveat(2), and the argument vectors they read.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::answer;

/// A null-terminated vector of C strings, as execve(2) reads them; built before the birth so that the child
/// allocates nothing.
pub struct Vector {
    pointers: Vec<*const libc::c_char>,
    // Owns what `pointers` points to; CString's buffer does not move when the CString does.
    strings: Vec<CString>,
    // A string to be written after the birth, without allocating; always ends with a NUL byte.
    slot: Option<(usize, Box<[Cell<u8>]>)>,
}

/// Bytes of a slot: a path and its name.
const SLOT: usize = 4096 + 64;

impl Vector {
    /// Takes the strings over.
    pub fn new(strings: Vec<CString>) -> Self {
        let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        Self { pointers, strings, slot: None }
    }

    /// As [`Vector::new`], with one string more, `key` and `value`, whose value may be filled in after the birth.
    pub fn with_slot(strings: Vec<CString>, key: &str, value: &str) -> Self {
        let slot: Box<[Cell<u8>]> = (0..SLOT).map(|_| Cell::new(0)).collect();
        let mut vector = Self::new(strings);
        vector.pointers.insert(0, slot.as_ptr().cast());
        for (to, from) in slot.iter().zip(key.bytes()) {
            to.set(from);
        }
        vector.slot = Some((key.len(), slot));
        vector.fill_slot(value.as_bytes());
        vector
    }

    /// Writes the slot's value; one that is too long or holds a NUL byte is left out.
    pub fn fill_slot(&self, value: &[u8]) {
        let Some((key, slot)) = &self.slot else { return };
        let Some(space) = slot.get(*key..) else { return };
        // Strictly shorter: the last byte stays NUL.
        if value.len() >= space.len() || value.contains(&0) {
            return;
        }
        for (to, from) in space.iter().zip(value.iter().chain(std::iter::once(&0))) {
            to.set(*from);
        }
    }

    /// The strings, in order.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Replaces this process's image. Returns only on failure.
pub fn execve(path: &CStr, argv: &Vector, envp: &Vector) -> Errno {
    // SAFETY: `path` is a C string; both vectors are null-terminated arrays of pointers to C strings that live as long
    // as the `Vector`s, which outlive the call.
    let value = unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    answer(value.into()).err().unwrap_or(Errno::NOEXEC)
}

/// Replaces this process's image by the file that `image` refers to (`AT_EMPTY_PATH`). Returns only on failure.
pub fn execveat(image: BorrowedFd<'_>, argv: &Vector, envp: &Vector) -> Errno {
    // SAFETY: as for `execve`; the empty path is a static C string and `image` is an open descriptor.
    let value = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            image.as_raw_fd(),
            c"".as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    answer(value).err().unwrap_or(Errno::NOEXEC)
}
