//! One error shape for every program: `program: what: why (ERRNO)`, and one `hint:` when the remedy is known.

use std::fmt;

use nix::errno::Errno;

/// `std::result::Result` with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was tried, why it did not happen, and what would help.
///
/// Displayed as `what: why (ERRNO)`; the program's name goes before it and the hint on a line of its own,
/// both written by the program's one place that reports errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    what: String,
    why: String,
    errno: Option<i32>,
    hint: Option<String>,
    exit: u8,
}

impl Error {
    /// An error of ours: `what` was refused or failed because of `why`.
    pub fn new(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), errno: None, hint: None, exit: 1 }
    }

    /// An error of the kernel's, by its number (`errno(3)`).
    pub fn os(what: impl Into<String>, errno: i32) -> Self {
        let known = Errno::from_raw(errno);
        let why = match known {
            Errno::UnknownErrno => format!("error {errno}"),
            other => lower_first(other.desc()),
        };
        Self { errno: Some(errno), ..Self::new(what, why) }
    }

    /// An error of the standard library's I/O; keeps its errno where it has one.
    pub fn io(what: impl Into<String>, error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::os(what, errno),
            None => Self::new(what, error.to_string()),
        }
    }

    /// Adds the remedy, printed as one `hint:` line.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the exit code of the program that ends with this error (1 unless told).
    #[must_use]
    pub fn exit(mut self, code: u8) -> Self {
        self.exit = code;
        self
    }

    /// Puts the larger undertaking before what failed: `outer: what: why`.
    #[must_use]
    pub fn within(mut self, outer: impl fmt::Display) -> Self {
        self.what = if self.what.is_empty() { outer.to_string() } else { format!("{outer}: {}", self.what) };
        self
    }

    /// The kernel's error number, where the kernel said no.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// The remedy, when it is known.
    pub fn remedy(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit code for the program that ends with this error.
    pub fn exit_code(&self) -> u8 {
        self.exit
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what.is_empty() {
            f.write_str(&self.why)?;
        } else {
            write!(f, "{}: {}", self.what, self.why)?;
        }
        match self.errno {
            Some(errno) => match Errno::from_raw(errno) {
                Errno::UnknownErrno => Ok(()),
                known => write!(f, " ({known:?})"),
            },
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Engines match runc's messages, which carry Go's lower-case errno texts ("no such file or directory").
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        // "I/O error" and its like keep their capitals.
        Some(first) if !text.starts_with("I/O") => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_errors_read_as_engines_expect() {
        let error = Error::os("exec: \"/nope\"", 2);
        assert_eq!(error.to_string(), "exec: \"/nope\": no such file or directory (ENOENT)");
        assert_eq!(
            error.within("start c1").to_string(),
            "start c1: exec: \"/nope\": no such file or directory (ENOENT)"
        );
    }

    #[test]
    fn unknown_errno_is_a_number() {
        assert_eq!(Error::os("x", 9999).to_string(), "x: error 9999");
    }
}
