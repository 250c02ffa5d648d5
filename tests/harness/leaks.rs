//! What a test may have left on the host, found by the id and the directory nobody else has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::cgroups::Hierarchy;
use crate::networks::{networks, sweep_networks};

const ID_POOL: &str = "/run/casemate/@ids";

/// One thing that should not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leak {
    /// A process: its pid and why it is known to be the test's.
    Process(i32, String),
    /// A mount on or from the test's directory.
    Mount(String),
    /// A control group.
    Cgroup(PathBuf),
    /// A socket bound to a name of the test.
    Socket(String),
    /// A file in the runtime's state directory.
    State(PathBuf),
    /// A range of host ids that a container of the test still has.
    Ids(String),
    /// A network interface of the host.
    Interface(String),
    /// A table of nftables.
    Table(String),
    /// A network namespace with a name.
    NetworkNamespace(String),
}

/// Everything left that carries the id or the directory.
///
/// Dying processes and their empty control groups get a moment: the kernel reaps what was killed asynchronously.
pub fn find_leaks(id: &str, dir: &Path, state: &Path) -> Vec<Leak> {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        let leaks = look(id, dir, state);
        if leaks.is_empty() || Instant::now() > until {
            return leaks;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Removes whatever is left, by the harness's own means: processes, mounts, control groups, the directory.
pub fn sweep(id: &str, dir: &Path) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let found = processes(id, dir);
        thaw(id);
        for leak in &found {
            if let Leak::Process(pid, _) = leak
                && let Some(pid) = Pid::from_raw(*pid)
            {
                kill_process(pid, Signal::KILL).ok();
            }
        }
        if found.is_empty() || Instant::now() > until {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for mount in mounts(id, dir).into_iter().rev() {
        unmount(mount.as_str(), UnmountFlags::DETACH).ok();
    }
    // Deepest first: a control group with children cannot be removed.
    for cgroup in cgroups(id).into_iter().rev() {
        for _ in 0..50 {
            if fs::remove_dir(&cgroup).is_ok() || !cgroup.exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    for range in ids(dir) {
        fs::remove_file(Path::new(ID_POOL).join(range)).ok();
    }
    sweep_networks(id);
    // A mount that could not be detached would let the removal walk into it.
    if mounts(id, dir).is_empty() {
        fs::remove_dir_all(dir).ok();
    }
}

fn look(id: &str, dir: &Path, state: &Path) -> Vec<Leak> {
    let mut leaks = processes(id, dir);
    leaks.extend(mounts(id, dir).into_iter().map(Leak::Mount));
    leaks.extend(cgroups(id).into_iter().map(Leak::Cgroup));
    leaks.extend(sockets(id).into_iter().map(Leak::Socket));
    let entries = fs::read_dir(state).into_iter().flatten().flatten();
    leaks.extend(entries.map(|entry| Leak::State(entry.path())));
    leaks.extend(ids(state).into_iter().map(Leak::Ids));
    leaks.extend(networks(id));
    leaks
}

/// Processes whose command line, environment, control group, root, directory or program is the test's.
fn processes(id: &str, dir: &Path) -> Vec<Leak> {
    let spared = ancestors();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    let pids = pids.filter(|pid| !spared.contains(pid));
    pids.filter_map(|pid| Some(Leak::Process(pid, belongs(pid, id, dir)?))).collect()
}

/// The test program and whoever started it, up to the first process: none of them is a test's, whatever it is told by.
fn ancestors() -> Vec<i32> {
    let mut found = vec![1];
    let mut pid = std::process::id() as i32;
    while pid > 1 {
        found.push(pid);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        pid = parent.and_then(|parent| parent.trim().parse().ok()).unwrap_or(0);
    }
    found
}

fn belongs(pid: i32, id: &str, dir: &Path) -> Option<String> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    // A zombie holds nothing but its number, and its reaper is often the test program's parent.
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])) {
        return None;
    }
    for file in ["cmdline", "environ"] {
        let text = fs::read(proc.join(file)).unwrap_or_default();
        if text.windows(id.len()).any(|w| w == id.as_bytes()) {
            return Some(format!("{file}: {}", String::from_utf8_lossy(&text).replace('\0', " ")));
        }
    }
    // The group alone: every process of the host is in a hierarchy that a test has mounted and named.
    let groups = fs::read_to_string(proc.join("cgroup")).unwrap_or_default();
    let mut paths = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    if let Some(path) = paths.find(|path| path.contains(id)) {
        return Some(format!("cgroup: {path}"));
    }
    for link in ["root", "cwd", "exe"] {
        if let Ok(target) = fs::read_link(proc.join(link))
            && target.starts_with(dir)
        {
            return Some(format!("{link}: {}", target.display()));
        }
    }
    None
}

/// Mount points that carry the id or lie in the directory, in the order of the mount table.
fn mounts(id: &str, dir: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let dir = dir.to_string_lossy();
    let ours = table.lines().filter(|line| line.contains(id) || line.contains(&*dir));
    ours.filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}

fn cgroups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in Hierarchy::all() {
        walk(&hierarchy.mount, id, false, &mut found);
    }
    found
}

fn walk(dir: &Path, id: &str, inside: bool, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        let ours = inside || entry.file_name().to_string_lossy().contains(id);
        if ours {
            found.push(entry.path());
        }
        walk(&entry.path(), id, ours, found);
    }
}

/// Frozen processes do not die on v1.
fn thaw(id: &str) {
    for cgroup in cgroups(id) {
        for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            if cgroup.join(file).exists() {
                fs::write(cgroup.join(file), word).ok();
            }
        }
    }
}

/// The ranges of containers whose state lies beneath: each is a link to its container's home.
fn ids(state: &Path) -> Vec<String> {
    let entries = fs::read_dir(ID_POOL).into_iter().flatten().flatten();
    let state = state.to_string_lossy();
    let owned = entries.filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|owner| owner.to_string_lossy().contains(&*state))
    });
    owned.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn sockets(id: &str) -> Vec<String> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    table.lines().filter(|line| line.contains(id)).map(str::to_owned).collect()
}
