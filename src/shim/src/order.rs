//! What the broker wants, and the answer to it: one packet each way on the standard input.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use casemate_spec::wire::{DESCRIPTORS, INLINE, LogOrder, Order, Outcome};
use casemate_spec::{Error, Result};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
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

/// Waits for the order; there is none where the broker has gone without one.
///
/// # Errors
/// It is not understood, or a descriptor is missing.
pub fn receive(broker: &OwnedFd) -> Result<Option<(Order, Given)>> {
    let mut bytes = vec![0_u8; INLINE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let read = loop {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        match recvmsg(broker, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(Error::os("receive the order", errno.raw_os_error())
                    .hint("this program is started by casemate-broker alone"));
            }
            Ok(read) => break read,
        }
    };
    if read.bytes == 0 {
        return Ok(None);
    }
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
    Ok(Some((order, given)))
}

/// Answers. The broker may be gone by now: the container runs on without it.
pub fn answer(broker: OwnedFd, outcome: &Outcome) {
    // An outcome is always JSON.
    let text = serde_json::to_vec(outcome).unwrap_or_default();
    if let Err(errno) = send(broker, &text, SendFlags::NOSIGNAL) {
        crate::complain("casemate-shim", &Error::os("answer the broker", errno.raw_os_error()));
    }
}

/// Takes the socket to whom we answer from the standard input, whose place /dev/null takes: what a process reads is not
/// what we read.
///
/// # Errors
/// The kernel's.
pub fn take_broker() -> Result<OwnedFd> {
    let take = || -> Result<OwnedFd, Errno> {
        let broker = fcntl_dupfd_cloexec(stdin(), 3)?;
        dup2_stdin(open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)?;
        Ok(broker)
    };
    take().map_err(|errno| Error::os("take the standard input", errno.raw_os_error()))
}
