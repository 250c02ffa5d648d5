//! The tasks: what each sees, reads, writes and answers.

use std::os::fd::{AsFd as _, OwnedFd};

use casemate_spec::wire::{Task, TaskOrder, TaskReply};
use casemate_spec::{Error, Result};

use crate::door::Replies;
use crate::input::Input;
use crate::place::{Links, Place};
use crate::unpack::{self, Rules};

/// Where `Unpack` and `CopyUp` write.
const TARGET: &str = "/target";

/// Does what is ordered, and gives the last answer.
///
/// # Errors
/// The task's: a clear one for whoever asked.
pub fn run(order: &TaskOrder, _replies: &mut Replies) -> Result<TaskReply> {
    match &order.task {
        Task::Unpack => unpack_layer(),
        _ => Err(Error::new("order", "not a task that is known")),
    }
}

fn unpack_layer() -> Result<TaskReply> {
    let target = Place::open(TARGET, Links::Refuse)?;
    let (input, size) = unpack::unpack(Input::open(stdin()?)?, &target, b"", Rules::layer())?;
    // The one wait for the disk: the reply promises that the layer outlives a crash of the host.
    let whole = target.directory(b"").and_then(|_| sync(&target));
    whole.map_err(|errno| Error::os(TARGET, errno.raw_os_error()))?;
    Ok(TaskReply::Unpacked { digest: input.digest(), size })
}

fn sync(place: &Place) -> std::result::Result<(), rustix::io::Errno> {
    // A descriptor of O_PATH cannot be synced.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    rustix::fs::syncfs(place.at(b"", flags)?)
}

fn stdin() -> Result<std::fs::File> {
    let own: OwnedFd =
        std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| Error::io("standard input", &error))?;
    Ok(own.into())
}
