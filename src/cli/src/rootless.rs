//! A user who is not root: the programs run in a user namespace of that user's, with the ids that the host's
//! administrator has given to that user (subuid(5)), and are root there and nowhere else.
//!
//! Ids 0 of the namespace are the user's own. What is stored has the ids that it would have under root, and
//! newuidmap(1) gives those the host ids of `/etc/subuid`, so that nothing else has to know.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use casemate_spec::wire::{STORE_COUNT, STORE_IDS};
use casemate_spec::{Error, Result, user_namespace};
use nix::sched::{CloneFlags, unshare};

mod survivor;

/// Whether we are root of the host, who needs none of this.
pub fn is_hosts_root() -> bool {
    rustix::process::geteuid().is_root() && !in_user_namespace()
}

/// Where what lives as long as the host runs is kept.
///
/// # Errors
/// A user has no such place.
pub fn run_dir() -> Result<PathBuf> {
    // As for the runtime: who says that root is the user has a namespace that is a host of its own.
    let root = std::env::var_os("USER").is_some_and(|user| user == "root");
    if is_hosts_root() || (rustix::process::geteuid().is_root() && root) {
        return Ok(PathBuf::from("/run/casemate"));
    }
    let personal = std::env::var_os("XDG_RUNTIME_DIR").map(|place| PathBuf::from(place).join("casemate"));
    personal.ok_or_else(|| {
        Error::new("XDG_RUNTIME_DIR", "not set, and without root nothing else is known to be private")
            .hint("log in through PAM, or set it to a directory that only you may enter")
    })
}

/// Where everything is kept, unless it is said.
pub fn data_root() -> PathBuf {
    let host = PathBuf::from("/var/lib/casemate");
    if rustix::process::geteuid().is_root() {
        return host;
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    data.or_else(home).map_or(host, |data| data.join("casemate"))
}

/// Becomes root of a user namespace where we are not root yet: of the one in which containers of this data root run, if
/// any does, else of a new one. To be called while there is one thread.
///
/// # Errors
/// The host gives its users no user namespaces, or this user no ids.
pub fn enter(data_root: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if survivor::join(data_root)? {
        return Ok(());
    }
    // Whoever is inside can no longer start a program that has the host's rights: the one that writes the maps comes first.
    let own = std::process::id().to_string();
    let mut writer = Command::new("/proc/self/exe");
    writer.args(["map-ids", &own]).stdin(Stdio::piped());
    let mut writer = writer.spawn().map_err(|error| Error::io("casemate map-ids", &error))?;
    let unshared = unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS);
    if unshared.is_ok()
        && let Some(mut word) = writer.stdin.take()
    {
        word.write_all(b"go").map_err(|error| Error::io("casemate map-ids", &error))?;
    }
    // Where it failed the pipe closes without a word.
    drop(writer.stdin.take());
    let ended = writer.wait().map_err(|error| Error::io("casemate map-ids", &error))?;
    unshared.map_err(|errno| {
        Error::os("make a user namespace", errno as i32).hint(
            "kernel.unprivileged_userns_clone, user.max_user_namespaces or an AppArmor profile forbids it",
        )
    })?;
    if !ended.success() {
        return Err(Error::new("id maps", "they could not be written"));
    }
    Ok(())
}

/// `casemate map-ids PID`: once told that it is time, gives the namespace of that process this user's ids.
///
/// # Errors
/// newuidmap(1) or newgidmap(1) is missing or refuses.
pub fn map_ids(pid: u32) -> Result<()> {
    let mut word = Vec::new();
    std::io::stdin().read_to_end(&mut word).map_err(|error| Error::io("standard input", &error))?;
    if word != b"go" {
        return Ok(());
    }
    let own = [rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw()];
    for ((program, file), own) in
        [("newuidmap", "/etc/subuid"), ("newgidmap", "/etc/subgid")].into_iter().zip(own)
    {
        let first = subordinate(file)?;
        let mut command = Command::new(program);
        command.arg(pid.to_string()).args(["0", &own.to_string(), "1"]);
        command.args([STORE_IDS, first, STORE_COUNT].map(|number| number.to_string()));
        let status = command.status().map_err(|error| {
            Error::io(program, &error).hint("the package uidmap brings newuidmap and newgidmap")
        })?;
        if !status.success() {
            return Err(Error::new(program, format!("it ended with {status}")));
        }
    }
    Ok(())
}

/// The first of this user's subordinate ids that has enough after it.
fn subordinate(file: &str) -> Result<u32> {
    let text = std::fs::read_to_string(file).map_err(|error| Error::io(file, &error))?;
    let uid = rustix::process::getuid().as_raw().to_string();
    let name = user_name(&uid);
    found(&text, |owner| owner == uid || Some(owner) == name.as_deref()).ok_or_else(|| {
        Error::new(
            file,
            format!("it gives {} no {STORE_COUNT} ids in a row", name.as_deref().unwrap_or(&uid)),
        )
        .hint("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER, as root")
    })
}

fn found(text: &str, is_own: impl Fn(&str) -> bool) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let (first, count) = (first.parse::<u32>().ok()?, count.trim().parse::<u32>().ok()?);
        (is_own(owner) && count >= STORE_COUNT).then_some(first)
    })
}

/// passwd(5): a host with users from elsewhere lists their numbers in subuid(5).
fn user_name(uid: &str) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(uid))?;
    line.split(':').next().map(str::to_owned)
}

/// The first user namespace maps every id to itself (user_namespaces(7)).
fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !user_namespace::is_first(&map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_ids_of_ones_own_are_found() {
        let text =
            "alice:1000:10\nbob:100000:65536\nalice:200000:65536\n4242:300000:70000\nbad\nalice:x:65536\n";
        let of = |name: &str| found(text, |owner| owner == name);
        assert_eq!(
            (of("alice"), of("bob"), of("4242"), of("eve")),
            (Some(200_000), Some(100_000), Some(300_000), None)
        );
    }
}
