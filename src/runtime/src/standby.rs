//! Standing by: the program is started before anybody knows for what, so that whoever is in a hurry later finds the start
//! behind it. It has touched nothing of the host by then, and knows of no container.
//!
//! What it is to do comes in one packet on its standard input, a `SOCK_SEQPACKET` socket whose other end is its starter's:
//! the arguments as a JSON list, and three descriptors, its standard streams. Where these are `run --detach` or
//! `exec --detach`, the process's id goes back, in decimal, once the program runs; its end says the rest.

use std::ffi::OsString;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use casemate_spec::{Error, Result};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stdin};

use crate::birth;

/// The one argument by which it is asked for.
const WORD: &str = "standby";
/// The longest packet.
const LONGEST: usize = 128 << 10;

/// Who waits for the process's id.
static ASKER: OnceLock<OwnedFd> = OnceLock::new();

/// The command line of this process, the program's name first: its own, or the one that it stood by for. None, where
/// whoever had it stand by is gone.
///
/// # Errors
/// It stands by on something else than such a socket, or is told what nobody can understand.
pub fn arguments() -> Result<Option<Vec<OsString>>> {
    let own: Vec<OsString> = std::env::args_os().collect();
    match own.as_slice() {
        [name, word] if word == WORD => {
            // Now, when nobody waits: what comes later is to begin anew no more.
            birth::out_of_reach()?;
            warm();
            let line = |words: Vec<String>| {
                std::iter::once(name.clone()).chain(words.into_iter().map(Into::into)).collect()
            };
            Ok(wait()?.map(line))
        }
        _ => Ok(Some(own)),
    }
}

/// Tells whoever had this process stand by that the program runs, and ends: that is waited for, too, and what is still in
/// memory need not be taken apart before.
pub fn tell(pid: i32) {
    let Some(asker) = ASKER.get() else { return };
    if let Err(errno) = send(asker, pid.to_string().as_bytes(), SendFlags::NOSIGNAL) {
        crate::log::warn(format_args!("nobody hears that process {pid} runs: {errno}"));
    }
    std::process::exit(0);
}

/// Reads a command line that nobody gave: the pages of the program that are for that are here when one comes.
fn warm() {
    let line = ["runtime", "--root", "/", "exec", "--detach", "--process", "/", "id"];
    drop(crate::cli::parse(line.map(OsString::from)));
    drop(casemate_policy::Policy::builtin("baseline"));
}

fn wait() -> Result<Option<Vec<String>>> {
    let failed = |errno: Errno| Error::os("stand by", errno.raw_os_error());
    let mut bytes = vec![0_u8; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let read = rustix::io::retry_on_intr(|| {
        recvmsg(stdin(), &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
    });
    let read = read.map_err(failed)?;
    if read.bytes == 0 {
        return Ok(None);
    }
    let bad = |why: &str| Error::new("stand by", why);
    if read.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(bad("the command line is too long"));
    }
    let words = serde_json::from_slice(bytes.get(..read.bytes).unwrap_or_default());
    let words: Vec<String> = words.map_err(|error| bad(&error.to_string()))?;
    let mut streams = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            streams.extend(rights);
        }
    }
    let [input, output, error] = streams.as_slice() else { return Err(bad("three streams are wanted")) };
    let asker = fcntl_dupfd_cloexec(stdin(), 3).map_err(failed)?;
    dup2_stdin(input.as_fd()).and_then(|()| dup2_stdout(output.as_fd())).map_err(failed)?;
    dup2_stderr(error.as_fd()).map_err(failed)?;
    ASKER.set(asker).map_err(|_again| bad("it is told for the second time"))?;
    Ok(Some(words))
}
