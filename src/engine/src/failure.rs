//! Why something did not happen, in the kinds that an API tells apart.

use std::fmt;

use casemate_spec::wire::{Refusal, RefusalKind};

/// `std::result::Result` with our [`Failure`].
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// What kind of no; each is one HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 304: it is so already.
    NotModified,
    /// 400: the request makes no sense, or the container's own program cannot be started.
    Invalid,
    /// 401: a registry wants other credentials.
    Unauthorized,
    /// 403: a policy says no.
    Forbidden,
    /// 404: there is no such thing.
    NotFound,
    /// 409: its state, or another thing, stands against it.
    Conflict,
    /// 500: it failed.
    Failed,
    /// 501: not on this host, or not in this version.
    Unsupported,
    /// 503: not now.
    Unavailable,
}

/// A failure for people: the message is what `docker` prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub kind: Kind,
    /// In Docker's words where clients look at them.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// 400
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// 404
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// 409
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// 500
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// 501
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Kind::Unsupported, message)
    }

    /// Puts the larger undertaking before what failed.
    #[must_use]
    pub fn within(mut self, outer: impl fmt::Display) -> Self {
        self.message = format!("{outer}: {}", self.message);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal.kind {
            RefusalKind::Invalid | RefusalKind::NoProgram | RefusalKind::NotExecutable => Kind::Invalid,
            RefusalKind::NotFound => Kind::NotFound,
            RefusalKind::Conflict => Kind::Conflict,
            RefusalKind::Denied => Kind::Forbidden,
            RefusalKind::Unsupported => Kind::Unsupported,
            RefusalKind::Failed => Kind::Failed,
        };
        let message = match refusal.hint {
            Some(hint) => format!("{} (hint: {hint})", refusal.message),
            None => refusal.message,
        };
        Self { kind, message }
    }
}

impl From<casemate_spec::Error> for Failure {
    fn from(error: casemate_spec::Error) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}
