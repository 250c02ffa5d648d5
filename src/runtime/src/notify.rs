//! Handing a seccomp listener to the agent that the configuration names.

use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use casemate_spec::{Error, Result};
use oci_spec::runtime::LinuxSeccomp;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, sendmsg, socket_with,
};
use serde::Serialize;

use crate::hooks::State;

/// `ContainerProcessState` of the OCI runtime specification (config-linux.md, "The Container Process State").
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a State<'a>,
}

/// Sends `listener` with the process's state to `listenerPath`.
///
/// # Errors
/// No path is configured, or nobody listens there.
pub fn hand_over(
    profile: &LinuxSeccomp,
    version: &str,
    pid: i32,
    state: &State<'_>,
    listener: &OwnedFd,
) -> Result<()> {
    let path =
        profile.listener_path().as_deref().filter(|path| !path.as_os_str().is_empty()).ok_or_else(|| {
            Error::new(
                "config.json: linux.seccomp.listenerPath",
                "SCMP_ACT_NOTIFY is used and nobody is named to listen",
            )
        })?;
    let metadata = profile.listener_metadata().as_deref().filter(|metadata| !metadata.is_empty());
    let message = Message { oci_version: version, fds: ["seccompFd"], pid, metadata, state };
    let bytes =
        serde_json::to_vec(&message).map_err(|error| Error::new("seccomp listener", error.to_string()))?;
    send(path, &bytes, listener).map_err(|errno| {
        Error::os(format!("hand the seccomp listener to {}", path.display()), errno.raw_os_error())
    })
}

fn send(path: &Path, bytes: &[u8], listener: &OwnedFd) -> rustix::io::Result<()> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [listener.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(rustix::io::Errno::NOBUFS);
    }
    sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
}
