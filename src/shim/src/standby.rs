//! A runtime that stands by: started when the shim is, told later what to do, so that its own start is over by then.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};

use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, sendmsg, socketpair,
};
use rustix::process::Pid;

use crate::streams::Theirs;

/// A runtime that waits. Where this goes without having told it anything, it ends.
#[derive(Debug)]
pub struct Standby {
    program: String,
    child: Child,
    socket: OwnedFd,
}

/// Where a runtime that was told tells of the process.
#[derive(Debug)]
pub struct Teller(OwnedFd);

impl Standby {
    /// Has a runtime stand by. One that cannot be started is missed later, by whoever wants it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn begin(program: String) -> Result<Self> {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(failed)?;
        let mut command = Command::new(&program);
        let child = command.arg("standby").stdin(theirs).spawn();
        let child = child.map_err(|error| Error::io(format!("run the runtime {program}"), &error))?;
        Ok(Self { program, child, socket })
    }

    /// Whether it is this program that waits.
    pub fn is(&self, program: &str) -> bool {
        self.program == program
    }

    /// Tells it what to do, and gives it the streams.
    ///
    /// # Errors
    /// It has ended.
    pub fn tell(self, arguments: &[String], streams: &Theirs) -> Result<(Child, Teller)> {
        let text = serde_json::to_vec(arguments).map_err(|error| Error::new("order", error.to_string()))?;
        let rights = [streams.input.as_fd(), streams.output.as_fd(), streams.error.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&rights)) {
            return Err(failed(Errno::TOOBIG));
        }
        sendmsg(&self.socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL).map_err(failed)?;
        Ok((self.child, Teller(self.socket)))
    }
}

impl Teller {
    /// The process, where it has been told of by now.
    pub fn take(&self) -> Option<Pid> {
        let mut text = [0_u8; 16];
        let (read, _) = recv(&self.0, text.as_mut_slice(), RecvFlags::DONTWAIT).ok()?;
        std::str::from_utf8(text.get(..read)?).ok().and_then(|text| Pid::from_raw(text.parse().ok()?))
    }
}

fn failed(errno: Errno) -> Error {
    Error::os("tell the runtime", errno.raw_os_error())
}
