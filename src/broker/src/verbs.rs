//! What can be refused without looking at anything but the request and its descriptors. Whoever asks is taken for
//! hostile; what is refused here has had no effect.

use std::os::fd::{AsFd, BorrowedFd};

use casemate_spec::wire::{Refusal, RefusalKind, Request, Wants};
use rustix::fs::{FileType, OFlags};

use crate::refusal::refuse;

/// Reads a request and checks whatever can be checked without looking at the host: what the fuzzer plays with.
///
/// # Errors
/// The request's number where it could be read, and why not.
pub fn read(message: &[u8]) -> Result<Request, (u64, Refusal)> {
    let invalid = |text: String| refuse(RefusalKind::Invalid, text);
    let request: Request = serde_json::from_slice(message).map_err(|error| {
        // Whoever asked waits for an answer to this number.
        let number = serde_json::from_slice::<Numbered>(message).map_or(0, |numbered| numbered.number);
        (number, invalid(format!("request: {error}")))
    })?;
    request.check().map_err(|error| (request.number, invalid(error.to_string())))?;
    Ok(request)
}

#[derive(serde::Deserialize)]
struct Numbered {
    number: u64,
}

/// Whether the descriptors are those that the verb wants. None of them is read, written or waited for by us: they are
/// handed to a child, so what matters is that they lead to nothing else than bytes.
///
/// # Errors
/// Which is missing, or of the wrong kind.
pub fn check_descriptors(wants: &[Wants], given: &[impl AsFd]) -> Result<(), Refusal> {
    if wants.len() != given.len() {
        let text = format!("{} descriptors came, {} are wanted", given.len(), wants.len());
        return Err(refuse(RefusalKind::Invalid, text));
    }
    for (index, (wants, given)) in wants.iter().zip(given).enumerate() {
        if !fits(*wants, given.as_fd()) {
            let text = format!("descriptor {index} is none to read from or write to");
            return Err(refuse(RefusalKind::Invalid, text));
        }
    }
    Ok(())
}

fn fits(wants: Wants, given: BorrowedFd<'_>) -> bool {
    let (Ok(stat), Ok(flags)) = (rustix::fs::fstat(given), rustix::fs::fcntl_getfl(given)) else {
        return false;
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    let null = kind == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3);
    let bytes = null || matches!(kind, FileType::RegularFile | FileType::Fifo | FileType::Socket);
    let mode = flags & OFlags::RWMODE;
    let handle = flags.contains(OFlags::PATH);
    match wants {
        _ if handle => false,
        Wants::Source => bytes && mode != OFlags::WRONLY,
        Wants::Sink => bytes && mode != OFlags::RDONLY,
        Wants::Pipe => kind == FileType::Fifo && mode != OFlags::RDONLY,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn descriptors_lead_to_bytes_or_are_refused() {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        let null: OwnedFd = File::open("/dev/null").expect("/dev/null").into();
        let directory: OwnedFd = File::open("/").expect("/").into();
        let handle = rustix::fs::open("/", OFlags::PATH, rustix::fs::Mode::empty()).expect("a handle");
        let memory: OwnedFd = File::open("/dev/full").expect("/dev/full").into();
        assert!(fits(Wants::Source, read.as_fd()) && fits(Wants::Source, null.as_fd()));
        assert!(fits(Wants::Sink, write.as_fd()) && fits(Wants::Pipe, write.as_fd()));
        assert!(!fits(Wants::Sink, read.as_fd()) && !fits(Wants::Pipe, read.as_fd()));
        assert!(!fits(Wants::Source, write.as_fd()) && !fits(Wants::Pipe, null.as_fd()));
        for bad in [&directory, &handle, &memory] {
            assert!([Wants::Source, Wants::Sink, Wants::Pipe].iter().all(|wants| !fits(*wants, bad.as_fd())));
        }
        assert!(check_descriptors(&[Wants::Pipe], &[] as &[OwnedFd]).is_err(), "missing");
        assert!(check_descriptors(&[], &[write]).is_err(), "superfluous");
    }

    #[test]
    fn what_cannot_be_read_is_answered_by_its_number() {
        for message in
            ["{\"number\":7}", "{\"number\":7,\"ask\":\"nope\"}", "{\"number\":7,\"ask\":{\"start\":1}}"]
        {
            assert_eq!(read(message.as_bytes()).map_err(|(number, _)| number), Err(7), "{message}");
        }
        assert_eq!(read(b"\xff").map_err(|(number, _)| number), Err(0));
    }
}
