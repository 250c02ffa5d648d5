//! What the broker wants, and the answer to it: one packet each way on the standard input.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use casemate_spec::wire::{DESCRIPTORS, INLINE, LogOrder, Order, Outcome};
use casemate_spec::{Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};
use rustix::stdio::{dup2_stdin, stdin};

/// What came beside the order.
#[derive(Debug)]
pub struct Given {
    /// Where `exit.json` goes.
    pub exit_dir: OwnedFd,
    /// Where connections come from.
    pub listener: OwnedFd,
    /// The first connection.
    pub first: OwnedFd,
    /// Where the log goes, if it is a file.
    pub log_dir: Option<OwnedFd>,
}

/// Waits for the order.
///
/// # Errors
/// There is none, it is not understood, or a descriptor is missing.
pub fn receive() -> Result<(Order, Given)> {
    let mut bytes = vec![0_u8; INLINE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let read = loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match recvmsg(stdin(), &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::os("receive the order", errno.raw_os_error())
                    .hint("this program is started by casemate-broker alone"));
            }
            Ok(read) => break read,
        }
    };
    if read.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(Error::new("order", "it is too long"));
    }
    let order: Order = serde_json::from_slice(bytes.get(..read.bytes).unwrap_or_default())
        .map_err(|error| Error::new("order", error.to_string()))?;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    let mut descriptors = descriptors.into_iter();
    let mut next = |what| descriptors.next().ok_or_else(|| Error::new("order", format!("{what} is missing")));
    let given = Given {
        exit_dir: next("the directory for exit.json")?,
        listener: next("the listening socket")?,
        first: next("the first connection")?,
        log_dir: match order.streams.log {
            LogOrder::JsonFile { .. } => Some(next("the log directory")?),
            LogOrder::None | LogOrder::Journald { .. } => None,
        },
    };
    Ok((order, given))
}

/// Answers, and lets go of the broker, which may be gone by now: the container runs on without it.
///
/// # Errors
/// /dev/null cannot take the socket's place.
pub fn answer(outcome: &Outcome) -> Result<()> {
    let text = serde_json::to_vec(outcome).map_err(|error| Error::new("answer", error.to_string()))?;
    let sent = send(stdin(), &text, SendFlags::NOSIGNAL);
    if let Err(errno) = sent {
        crate::complain("casemate-shim", &Error::os("answer the broker", errno.raw_os_error()));
    }
    let failed = |errno: Errno| Error::os("let go of the broker", errno.raw_os_error());
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    dup2_stdin(null.map_err(failed)?).map_err(failed)
}
