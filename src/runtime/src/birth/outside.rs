//! What is done to a newborn process from outside, and what the host lets us do.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use casemate_core::plan::{IdMap, Maps, Plan};
use casemate_core::procfs::Proc;
use casemate_core::userns;
use casemate_spec::{Config, Error, Host, Result};
use oci_spec::runtime::Linux;
use rustix::fs::{FileType, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::cli::Global;
use crate::log;

/// What the gate needs to know of this host.
pub fn host(global: &Global, config: &Config) -> Host {
    let mut host =
        Host { rootless: !rustix::process::geteuid().is_root() && global.is_rootless(), ..Host::default() };
    let namespaces = config.spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
    for namespace in namespaces.unwrap_or_default() {
        let Some(path) = namespace.path() else { continue };
        // A path that leads to our own namespace makes what the container sets there the host's.
        let own = Path::new("/proc/self/ns").join(crate::plan::space_kind(namespace.typ()).file());
        // One that is not there cannot be joined, and the birth will say so.
        if identity(path).is_some_and(|identity_of| Some(identity_of) == identity(&own)) {
            host.shared.push(namespace.typ());
        }
    }
    host
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// An unprivileged caller that maps only itself must deny setgroups(2) (user_namespaces(7)).
pub fn keeps_groups(linux: Option<&Linux>) -> bool {
    let gids = linux.and_then(|linux| linux.gid_mappings().as_deref()).unwrap_or_default();
    !rustix::process::geteuid().is_root()
        && maps_only_self(&crate::plan::id_maps(gids), rustix::process::getegid().as_raw())
}

fn maps_only_self(maps: &[IdMap], own: u32) -> bool {
    matches!(maps, [one] if one.count == 1 && one.outside == own)
}

/// Writes the id maps, by newuidmap(1) and newgidmap(1) where an unprivileged caller maps more than itself.
pub fn write_maps(proc: &Proc, pid: Pid, maps: &Maps, plan: &Plan) -> Result<()> {
    let failed = |errno: Errno| {
        Error::os("write id maps", errno.raw_os_error())
            .hint("the ids must belong to the caller: /etc/subuid and /etc/subgid list them")
    };
    if rustix::process::geteuid().is_root() {
        return userns::write(proc, pid, maps).map_err(failed);
    }
    let own = Maps { uids: Vec::new(), gids: Vec::new() };
    let mut direct = own;
    if maps_only_self(&maps.uids, rustix::process::geteuid().as_raw()) {
        direct.uids.clone_from(&maps.uids);
    } else {
        by_helper("newuidmap", pid, &maps.uids)?;
    }
    if maps_only_self(&maps.gids, rustix::process::getegid().as_raw()) {
        userns::deny_setgroups(proc, pid).map_err(failed)?;
        direct.gids.clone_from(&maps.gids);
    } else {
        by_helper("newgidmap", pid, &maps.gids)?;
    }
    debug_assert!(plan.spaces.maps.is_some());
    userns::write(proc, pid, &direct).map_err(failed)
}

fn by_helper(program: &str, pid: Pid, maps: &[IdMap]) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.as_raw_nonzero().to_string());
    for map in maps {
        command.args([map.inside.to_string(), map.outside.to_string(), map.count.to_string()]);
    }
    let missing = |error: std::io::Error| {
        Error::io(program, &error).hint("the package uidmap brings newuidmap and newgidmap")
    };
    let output = command.output().map_err(missing)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::new(program, String::from_utf8_lossy(&output.stderr).trim().to_owned())
        .hint("/etc/subuid and /etc/subgid must give the ids to the caller"))
}

/// Sets the weight by which the kernel chooses whom to kill for memory (proc_pid_oom_score_adj(5)).
pub fn set_oom_score(proc: &Proc, pid: Pid, score: i32, rootless: bool) -> Result<()> {
    match proc.write(pid, "oom_score_adj", score.to_string().as_bytes()) {
        Ok(()) => Ok(()),
        Err(errno @ (Errno::ACCESS | Errno::PERM)) if rootless => {
            log::warn(format_args!("process.oomScoreAdj {score} is not ours to set: {errno}"));
            Ok(())
        }
        Err(errno) => Err(Error::os(format!("set process.oomScoreAdj to {score}"), errno.raw_os_error())
            .hint("lowering it needs CAP_SYS_RESOURCE")),
    }
}

/// Writes a pid file whole, or leaves it as it was.
pub fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("write pid file {}", path.display()), &error);
    let name = path
        .file_name()
        .ok_or_else(|| Error::new(format!("pid file {}", path.display()), "it has no name"))?;
    let next = path.with_file_name(format!(".{}", name.to_string_lossy()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&next).map_err(failed)?;
    file.write_all(pid.to_string().as_bytes()).map_err(failed)?;
    std::fs::rename(&next, path).map_err(failed)
}

/// Gives the standard streams to the container's user, who may then open them again by name (`/dev/stdout`): in a user
/// namespace of its own the container cannot do that itself. Terminals stay whose they are.
pub fn hand_over_streams(maps: &Maps, user: u32) -> Result<()> {
    let Some(owner) = host_id(&maps.uids, user).map(Uid::from_raw) else { return Ok(()) };
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let failed = |errno: Errno| Error::os("hand over the standard streams", errno.raw_os_error());
        let kind = match rustix::fs::fstat(stream) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(Errno::BADF) => continue,
            Err(errno) => return Err(failed(errno)),
        };
        // What is only read, a file of the host's for instance, must not become the container's.
        let written =
            rustix::fs::fcntl_getfl(stream).map_err(failed)?.intersects(OFlags::WRONLY | OFlags::RDWR);
        if kind != FileType::Fifo && !(kind == FileType::RegularFile && written) {
            continue;
        }
        match rustix::fs::fchown(stream, Some(owner), None) {
            // Not ours to give: the program still has it open.
            Ok(()) | Err(Errno::PERM | Errno::ROFS | Errno::INVAL | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

/// The host's id for one of the container's, where there is one.
pub(super) fn host_id(maps: &[IdMap], id: u32) -> Option<u32> {
    let map = maps.iter().find(|map| id >= map.inside && id - map.inside < map.count)?;
    Some(map.outside + (id - map.inside))
}
