//! Why not: what the runtime says, told apart for the API.

use casemate_spec::Error;
use casemate_spec::wire::{HexId, Refusal, RefusalKind};

/// A refusal of ours.
pub fn refuse(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into(), hint: None }
}

/// What is said of a container that is not there.
pub fn unknown(id: &HexId) -> Refusal {
    refuse(RefusalKind::NotFound, format!("container {}: it has no place here", id.short()))
}

/// An error on the way to what was admitted.
pub fn of_error(error: &Error) -> Refusal {
    let kind = match error.errno() {
        Some(errno) if errno == rustix::io::Errno::EXIST.raw_os_error() => RefusalKind::Conflict,
        Some(errno) if errno == rustix::io::Errno::NOENT.raw_os_error() => RefusalKind::NotFound,
        _ => RefusalKind::Failed,
    };
    Refusal { kind, message: error.to_string(), hint: error.remedy().map(str::to_owned) }
}
