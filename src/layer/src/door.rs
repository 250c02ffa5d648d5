//! What the helper is born with: one argument, and descriptors.

use std::io::{IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;

use casemate_spec::wire::{TaskFailure, TaskOrder, TaskReply};
use casemate_spec::{Error, Result};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The number of the descriptor for answers.
const REPLIES: i32 = 3;

/// Where answers go.
#[derive(Debug)]
pub struct Replies(std::fs::File);

impl Replies {
    /// Descriptor 3.
    ///
    /// # Errors
    /// There is none.
    pub fn open() -> Result<Self> {
        Ok(Self(adopt(REPLIES)?.into()))
    }

    /// One answer, a line.
    ///
    /// # Errors
    /// Nobody reads.
    pub fn send(&mut self, reply: &TaskReply) -> Result<()> {
        let mut line = serde_json::to_vec(reply).map_err(|error| Error::new("reply", error.to_string()))?;
        line.push(b'\n');
        self.0.write_all(&line).map_err(|error| Error::io("reply", &error))
    }
}

/// The argument.
///
/// # Errors
/// There is not exactly one, or it is no order.
pub fn order(mut arguments: impl Iterator<Item = String>) -> Result<TaskOrder> {
    match (arguments.next(), arguments.next()) {
        (Some(text), None) => {
            serde_json::from_str(&text).map_err(|error| Error::new("order", error.to_string()))
        }
        _ => Err(Error::new("order", "expected one argument, the order as JSON")),
    }
}

/// How a task's failure is told to whoever asked for it.
pub fn failure(error: &Error) -> TaskReply {
    TaskReply::Failed(TaskFailure { errno: error.errno(), message: error.to_string() })
}

/// A descriptor of ours by its number. Only the kernel can say whether there is one: it is sent to ourselves, and what
/// arrives is a duplicate that is ours to own.
fn adopt(number: i32) -> Result<OwnedFd> {
    let refuse = |errno: i32| Error::os(format!("descriptor {number}"), errno);
    let (one, other) = UnixDatagram::pair().map_err(|error| Error::io("socket", &error))?;
    let given = [ControlMessage::ScmRights(&[number])];
    sendmsg::<()>(one.as_raw_fd(), &[IoSlice::new(&[0])], &given, MsgFlags::empty(), None)
        .map_err(|errno| refuse(errno as i32))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(&other, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(|errno| refuse(errno.raw_os_error()))?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    received.ok_or_else(|| refuse(rustix::io::Errno::BADF.raw_os_error()))
}
