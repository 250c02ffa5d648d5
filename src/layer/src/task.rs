//! The tasks: what each sees, reads, writes and answers.

use std::fs::File;
use std::os::fd::AsFd as _;

use casemate_spec::wire::{Task, TaskOrder, TaskReply};
use casemate_spec::{Error, Result};
use rustix::fs::{OFlags, syncfs};

use crate::archive::Writer;
use crate::changes::{Runtime, changes};
use crate::copy::{self, Asked};
use crate::copy_up::copy_up;
use crate::door::Replies;
use crate::input::Input;
use crate::pack::{Form, pack};
use crate::place::{Links, Place};
use crate::size::size;
use crate::unpack::{Rules, unpack};
use crate::user::user;
use crate::walk::Mounts;

/// Where `Unpack` and `CopyUp` write.
const TARGET: &str = "/target";
/// Where a container's own layer is.
const CHANGES: &str = "/changes";

/// Does what is ordered, and gives the last answer.
///
/// # Errors
/// The task's: a clear one for whoever asked.
pub fn run(order: &TaskOrder, replies: &mut Replies) -> Result<TaskReply> {
    let root = || Place::open(&order.root, Links::Within);
    match &order.task {
        Task::Unpack => unpack_layer(),
        Task::Pack => {
            let mut writer = writer()?;
            pack(&root()?, Mounts::LeaveOut, Form::Named(b""), &mut writer)?;
            packed(writer)
        }
        Task::PackChanges { mounts } => {
            let mut writer = writer()?;
            let own = Place::open(CHANGES, Links::Refuse)?;
            pack(&own, Mounts::Enter, Form::Layer(&Runtime::new(mounts)), &mut writer)?;
            packed(writer)
        }
        Task::Changes { mounts } => {
            let own = Place::open(CHANGES, Links::Refuse)?;
            let beneath = Place::open(&order.root, Links::Refuse)?;
            Ok(TaskReply::Changes(changes(&own, &beneath, &Runtime::new(mounts))?))
        }
        Task::Stat { path } => Ok(TaskReply::Stat(copy::stat(&root()?, &Asked::new(path))?)),
        Task::CopyOut { path } => copy_out(&root()?, &Asked::new(path), replies),
        Task::CopyIn { path, keep_kinds, owner } => {
            let root = root()?;
            let base = copy::destination(&root, path)?;
            unpack(Input::open(stdin()?)?, &root, &base, Rules::copy(*keep_kinds, *owner))?;
            Ok(TaskReply::Done)
        }
        Task::CopyUp { path } => {
            let target = Place::open(TARGET, Links::Refuse)?;
            copy_up(&root()?, path, &target).and_then(|()| sync(&target))?;
            Ok(TaskReply::Done)
        }
        Task::User { user: asked, groups } => Ok(TaskReply::User(user(&root()?, asked, groups)?)),
        Task::Size => Ok(TaskReply::Size { bytes: size(&whose_size(order)?)? }),
    }
}

fn unpack_layer() -> Result<TaskReply> {
    let target = Place::open(TARGET, Links::Refuse)?;
    let (input, size) = unpack(Input::open(stdin()?)?, &target, b"", Rules::layer())?;
    sync(&target)?;
    Ok(TaskReply::Unpacked { digest: input.digest()?, size })
}

/// The place is said before the archive: it goes into the head of the answer, the archive into its body.
fn copy_out(root: &Place, asked: &Asked, replies: &mut Replies) -> Result<TaskReply> {
    replies.send(&TaskReply::Stat(copy::stat(root, asked)?))?;
    let mut writer = writer()?;
    copy::out(root, asked, &mut writer)?;
    packed(writer)
}

/// A container's own layer where there is one beside the view; a running container may have a place of that name.
fn whose_size(order: &TaskOrder) -> Result<Place> {
    match Place::open(CHANGES, Links::Refuse) {
        Ok(own) if order.root != "/" => Ok(own),
        _ => Place::open(&order.root, Links::Refuse),
    }
}

/// The one wait for the disk: the answer promises that what was written outlives a crash of the host.
fn sync(place: &Place) -> Result<()> {
    // A descriptor of O_PATH, which a place is, cannot be synced.
    let synced = place.at(b"", OFlags::RDONLY | OFlags::DIRECTORY).and_then(syncfs);
    synced.map_err(|errno| Error::os(TARGET, errno.raw_os_error()))
}

fn writer() -> Result<Writer<File>> {
    let own = std::io::stdout().as_fd().try_clone_to_owned();
    Ok(Writer::new(own.map_err(|error| Error::io("standard output", &error))?.into()))
}

fn stdin() -> Result<File> {
    let own = std::io::stdin().as_fd().try_clone_to_owned();
    Ok(own.map_err(|error| Error::io("standard input", &error))?.into())
}

fn packed(writer: Writer<File>) -> Result<TaskReply> {
    let (digest, size) = writer.finish()?;
    Ok(TaskReply::Packed { digest, size })
}
