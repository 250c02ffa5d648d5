//! Whether the kernel has killed for want of memory: a counter of the process's control group, opened while that is
//! still allowed and read at the end.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

/// Where each kind of hierarchy is mounted by convention, and its file with a line `oom_kill N`.
const V1: (&str, &str) = ("/sys/fs/cgroup/memory", "memory.oom_control");
const V2: (&str, &str) = ("/sys/fs/cgroup", "memory.events");

/// The counter.
#[derive(Debug)]
pub struct Watch {
    file: Option<OwnedFd>,
    before: u64,
}

impl Watch {
    /// Begins to watch. A process that has ended has left its control group on v1, and a host may mount them elsewhere:
    /// then nothing is known, which is no reason to refuse a container.
    pub fn begin(pid: Pid) -> Self {
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero()));
        let file = groups.ok().and_then(|groups| open(&groups));
        let before = file.as_ref().and_then(count).unwrap_or(0);
        Self { file, before }
    }

    /// Whether the counter has moved.
    pub fn has_killed(&self) -> bool {
        self.file.as_ref().and_then(count).is_some_and(|now| now > self.before)
    }
}

fn open(groups: &str) -> Option<OwnedFd> {
    let mut found = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        if path == "/" {
            // Where v1 shows a process that has ended: what happens there is not its own.
            continue;
        }
        let (mount, name) = match controllers {
            "" => V2,
            list if list.split(',').any(|name| name == "memory") => V1,
            _ => continue,
        };
        let at = format!("{mount}{path}/{name}");
        let file = rustix::fs::open(at, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        found = file.ok().or(found);
    }
    found
}

fn count(file: &OwnedFd) -> Option<u64> {
    let mut text = [0_u8; 512];
    let read = rustix::io::pread(file, &mut text, 0).ok()?;
    let text = std::str::from_utf8(text.get(..read)?).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_without_a_counter_is_no_failure() {
        assert!(open("").is_none());
        assert!(open("0::/does/not/exist\n4:memory:/\nnonsense\n").is_none());
        assert!(!Watch::begin(Pid::INIT).has_killed());
    }
}
