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

/// `NetworkMode`: an empty one, and `default`, are Docker's bridge.
///
/// # Errors
/// A network that is not there yet.
pub fn network(mode: &str) -> Result<Shared<'_>> {
    match mode {
        "none" => Ok(Shared::Own),
        "host" => Ok(Shared::Host),
        other => match container(other, "network")? {
            Some(shared) => Ok(shared),
            None => {
                let name = if matches!(other, "" | "default") { "bridge" } else { other };
                Err(Failure::unsupported(format!(
                    "network {name:?} is not available in this version: use --network none, host or container:NAME"
                )))
            }
        },
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
        for missing in ["", "default", "bridge", "mine"] {
            let failure = network(missing).expect_err(missing);
            assert_eq!(failure.kind, Kind::Unsupported);
            let name = if missing == "mine" { "mine" } else { "bridge" };
            let text = "is not available in this version: use --network none, host or container:NAME";
            assert_eq!(failure.message, format!("network \"{name}\" {text}"));
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
