//! Processes that outlive the test which made them.
//!
//! While tests run we are the subreaper: an orphan becomes our child instead of that of the machine's pid 1, so that
//! whatever is left at the end is known to be the tests' doing, and nobody else's.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

use crate::failure::{Doing as _, Outcome};

/// From here on, orphans come to us.
pub fn adopt() -> Outcome {
    set_child_subreaper(Some(getpid())).doing("become a subreaper")
}

/// Runs the command and buries orphans meanwhile, as a pid 1 does. None when a signal ended it.
pub fn wait_for(command: &mut Command) -> Outcome<Option<i32>> {
    let child = command.spawn().doing(command.get_program().display())?;
    loop {
        let ended = wait(WaitOptions::empty()).doing("wait for the tests")?;
        if let Some((pid, status)) = ended
            && u32::try_from(pid.as_raw_nonzero().get()).ok() == Some(child.id())
        {
            return Ok(status.exit_status());
        }
    }
}

/// Ends every process that is left, and says what each was.
pub fn end() -> Outcome<Vec<String>> {
    let mut ended = Vec::new();
    // Killing a parent brings its children to us: until nobody is left.
    loop {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let left = descendants()?;
        if left.is_empty() {
            return Ok(ended);
        }
        for (pid, name) in left {
            ended.push(format!("process {}: {name}", pid.as_raw_nonzero()));
            // It may have ended meanwhile, which is what we want.
            kill_process(pid, Signal::KILL).unwrap_or_default();
        }
        wait(WaitOptions::empty()).doing("wait for what was left")?;
    }
}

fn descendants() -> Outcome<Vec<(Pid, String)>> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").doing("/proc")?.flatten() {
        let pid = entry.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
        if let Some(pid) = pid
            && let Ok(stat) = fs::read_to_string(entry.path().join("stat"))
            && let Some(parent) = parent(&stat)
        {
            parents.insert(pid, parent);
        }
    }
    let us = getpid();
    let is_ours = |mut pid: Pid| {
        while let Some(parent) = parents.get(&pid) {
            if *parent == us {
                return true;
            }
            pid = *parent;
        }
        false
    };
    Ok(parents.keys().copied().filter(|pid| is_ours(*pid)).map(|pid| (pid, name(pid))).collect())
}

/// Field 4 of proc_pid_stat(5), counted after the name, which may hold blanks and brackets itself.
fn parent(stat: &str) -> Option<Pid> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok().and_then(Pid::from_raw)
}

fn name(pid: Pid) -> String {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use rustix::process::Pid;

    use super::parent;

    #[test]
    fn parent_is_found_behind_a_hostile_name() {
        assert_eq!(parent("7 (a) 9 (b) S 42 7 7 0 -1"), Pid::from_raw(42));
        assert_eq!(parent("7 (cut"), None);
    }
}
