//! What a container shares with the host or with another: the `…Mode` options.

use crate::{Failure, Result};

/// Whose namespace, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared<'a> {
    /// Its own.
    Own,
    /// The host's.
    Host,
    /// Another container's, by name or id.
    Container(&'a str),
}

/// `NetworkMode`: what is neither the host's nor somebody's is its own, connected to the network of that name.
///
/// # Errors
/// There is no such mode.
pub fn network(mode: &str) -> Result<Shared<'_>> {
    match mode {
        "host" => Ok(Shared::Host),
        other => Ok(container(other, "network")?.unwrap_or(Shared::Own)),
    }
}

/// `PidMode`
///
/// # Errors
/// There is no such mode.
pub fn pid(mode: &str) -> Result<Shared<'_>> {
    match mode {
        "" => Ok(Shared::Own),
        "host" => Ok(Shared::Host),
        other => container(other, "PID")?.ok_or_else(|| unknown("PID", other)),
    }
}

/// `IpcMode`; `none`, `private` and `shareable` are all its own.
///
/// # Errors
/// There is no such mode.
pub fn ipc(mode: &str) -> Result<Shared<'_>> {
    match mode {
        "" | "none" | "private" | "shareable" => Ok(Shared::Own),
        "host" => Ok(Shared::Host),
        other => container(other, "IPC")?.ok_or_else(|| unknown("IPC", other)),
    }
}

/// `UTSMode`
///
/// # Errors
/// There is no such mode.
pub fn uts(mode: &str) -> Result<Shared<'_>> {
    own_or_host(mode, "UTS", &[""])
}

/// `UsernsMode`
///
/// # Errors
/// There is no such mode.
pub fn user(mode: &str) -> Result<Shared<'_>> {
    own_or_host(mode, "userns", &["", "private"])
}

/// `CgroupnsMode`
///
/// # Errors
/// There is no such mode.
pub fn cgroup(mode: &str) -> Result<Shared<'_>> {
    own_or_host(mode, "cgroup namespace", &["", "private"])
}

fn own_or_host<'a>(mode: &'a str, what: &str, own: &[&str]) -> Result<Shared<'a>> {
    match mode {
        "host" => Ok(Shared::Host),
        other if own.contains(&other) => Ok(Shared::Own),
        other => Err(unknown(what, other)),
    }
}

fn container<'a>(mode: &'a str, what: &str) -> Result<Option<Shared<'a>>> {
    match mode.strip_prefix("container:") {
        Some("") => Err(unknown(what, mode)),
        Some(name) => Ok(Some(Shared::Container(name))),
        None => Ok(None),
    }
}

fn unknown(what: &str, mode: &str) -> Failure {
    Failure::invalid(format!("invalid {what} mode: {mode}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[test]
    fn modes_are_told_apart() {
        assert_eq!(network("container:web"), Ok(Shared::Container("web")));
        assert_eq!(network("none"), Ok(Shared::Own));
        for own in ["", "bridge", "mine"] {
            assert_eq!(network(own), Ok(Shared::Own));
        }
        assert_eq!(ipc("shareable"), Ok(Shared::Own));
        assert_eq!(pid("host"), Ok(Shared::Host));
        for (mode, read) in [
            ("x", pid as fn(&str) -> Result<Shared<'_>>),
            ("container:", pid),
            ("x", ipc),
            ("container:a", uts),
            ("x", user),
            ("private:", cgroup),
            ("container:", network),
        ] {
            assert_eq!(read(mode).expect_err(mode).kind, Kind::Invalid, "{mode}");
        }
    }
}
