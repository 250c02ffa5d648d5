//! What the confined helper does with files, and what it answers. It is told the [`TaskOrder`] by its only
//! argument, JSON; data goes through its standard input or output, answers through descriptor 3, each a line of JSON.
//! The last line says how it ended; only `CopyOut` has one before it.

use serde::{Deserialize, Serialize};

/// The helper's argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskOrder {
    /// Where the view is: a directory beside the helper's own files, or `/` inside a running container.
    pub root: String,
    /// What is to be done with it.
    pub task: Task,
}

/// One task. Paths are the container's own; they are resolved beneath its root, and lead nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Task {
    /// Reads a layer's archive (tar, or tar in gzip, zstd, bzip2 or xz) and writes it beneath `/target`, whiteouts
    /// turned into overlayfs's. Reply: [`TaskReply::Unpacked`].
    Unpack,
    /// Writes the whole view as a tar archive; what is mounted over it is left out, as an empty directory or file.
    /// Reply: [`TaskReply::Packed`].
    Pack,
    /// Writes what changed in the container's own layer as a layer's archive, overlayfs's whiteouts turned into OCI's.
    /// Reply: [`TaskReply::Packed`].
    PackChanges {
        /// Mount points: empty directories and files at these places are the runtime's, and left out.
        mounts: Vec<String>,
    },
    /// Lists what changed, ordered by path. Reply: [`TaskReply::Changes`].
    Changes {
        /// Mount points: empty directories and files at these places are the runtime's, and left out.
        mounts: Vec<String>,
    },
    /// Reads one place. Reply: [`TaskReply::Stat`].
    Stat {
        /// Which.
        path: String,
    },
    /// Writes a place and all beneath it as a tar archive whose first entry is its base name. Replies:
    /// [`TaskReply::Stat`] before the archive, [`TaskReply::Packed`] after its last byte.
    CopyOut {
        /// Which.
        path: String,
    },
    /// Unpacks an archive into a directory (tar, or compressed as for `Unpack`). Reply: [`TaskReply::Done`].
    CopyIn {
        /// The directory.
        path: String,
        /// A file never takes the place of a directory, nor a directory that of a file.
        keep_kinds: bool,
        /// Everything becomes this user's and group's; none keeps the owners that the archive names.
        owner: Option<(u32, u32)>,
    },
    /// Copies a directory's content, owners and modes to `/target`, if that is empty: the first use of a volume. The
    /// view is [`super::View::Container`]; the volume that is mounted at `path` there is the target, and not in the view.
    /// Reply: [`TaskReply::Done`].
    CopyUp {
        /// The directory of the view; one that is not there is as good.
        path: String,
    },
    /// Reads who a user is, from the view's `/etc/passwd` and `/etc/group`. Reply: [`TaskReply::User`].
    User {
        /// As Docker takes it: `name`, `uid`, `name:group`, `uid:gid`, or nothing for root.
        user: String,
        /// Groups beyond, by name or number.
        groups: Vec<String>,
    },
    /// How many bytes the view holds; of [`super::View::Changes`], the container's own layer. Reply: [`TaskReply::Size`].
    Size,
}

/// What the helper answers: one JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum TaskReply {
    /// To `Unpack`.
    Unpacked {
        /// SHA-256 of the uncompressed archive, in hexadecimal.
        digest: String,
        /// Bytes of content.
        size: u64,
    },
    /// To `Pack` and `PackChanges`, after the last byte.
    Packed {
        /// SHA-256 of what was written, in hexadecimal.
        digest: String,
        /// Bytes written.
        size: u64,
    },
    /// To `Changes`.
    Changes(Vec<Change>),
    /// To `Stat` and `CopyOut`.
    Stat(PathStat),
    /// To `User`.
    User(UserEntry),
    /// To `Size`.
    Size {
        /// Bytes of content.
        bytes: u64,
    },
    /// It is done.
    Done,
    /// It is not.
    Failed(TaskFailure),
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskFailure {
    /// errno(3), where it was the kernel that said no; ENOENT, ENOTDIR and EROFS are told apart by clients.
    pub errno: Option<i32>,
    /// For people.
    pub message: String,
}

/// A change against the layers beneath.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// Absolute.
    pub path: String,
    /// What happened.
    pub kind: ChangeKind,
}

/// The numbers are those of Docker's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangeKind {
    /// Other content, or other attributes.
    Modified = 0,
    /// It was not there.
    Added = 1,
    /// It is no longer there.
    Deleted = 2,
}

/// What `docker cp` wants to know of a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PathStat {
    /// The base name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// `st_mode` (inode(7)).
    pub mode: u32,
    /// Nanoseconds since 1970.
    pub modified: i64,
    /// Where a symbolic link leads, resolved within the root.
    pub link_target: String,
}

/// A user as a process needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserEntry {
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
    /// Other groups.
    pub groups: Vec<u32>,
    /// The home directory; `/` when unknown.
    pub home: String,
}
