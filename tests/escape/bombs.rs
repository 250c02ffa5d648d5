//! Bombs: processes, memory and files without end, against the limits that a policy sets when the bundle sets none.
//!
//! The numbers are a little more than the limits: the host they run on has to live.

use std::time::Duration;

use casemate_tests::json;

use crate::attack::{FROM_BASELINE, FROM_HARDENED, Fate, fate, permissive, table};

fn bomb(expected: [Fate; 4], script: &str, change: impl Fn(&mut serde_json::Value)) {
    table(expected, |policy| {
        let mut bundle = permissive(script);
        bundle.edit(|c| change(c));
        bundle.policy(policy);
        let output = bundle.command(["run", bundle.id()]).timeout(Duration::from_secs(60)).run();
        let fate = fate(&output);
        bundle.assert_clean();
        fate
    });
}

/// Processes that sleep; more than `hardened` lets a container have that asked for no limit.
const FORKS: &str =
    "(i=0; while [ $i -lt 600 ]; do sleep 100 & i=$((i+1)); done; echo won) 2>/dev/null; echo tried";
/// A block of memory that is really used.
const MEMORY: &str = "dd if=/dev/zero of=/dev/null bs=1400M count=1 2>/dev/null && echo won; echo tried";

#[test]
fn processes() {
    bomb(FROM_HARDENED, FORKS, |_| ());
}

/// `baseline` leaves room for whatever runs under Docker today, and still an end.
#[test]
fn processes_have_an_end_in_baseline() {
    let mut bundle = permissive("");
    bundle.args(&["/bin/sleep", "1000"]).policy("baseline");
    bundle.run_detached().ok();
    let limit = bundle.cgroups().read("pids", "pids.max");
    assert!(limit.trim().parse::<u32>().is_ok_and(|limit| limit <= 4096), "{limit}");
}

/// A bundle may ask for less than the default, and not for none.
#[test]
fn processes_without_limit_asked_for() {
    bomb(FROM_HARDENED, FORKS, |c| c["linux"]["resources"] = json!({"pids": {"limit": -1}}));
}

#[test]
fn memory() {
    bomb(FROM_HARDENED, MEMORY, |_| ());
}

#[test]
fn memory_without_limit_asked_for() {
    bomb(FROM_HARDENED, MEMORY, |c| c["linux"]["resources"] = json!({"memory": {"limit": -1, "swap": -1}}));
}

/// In a filesystem in memory, which a mount's own size does not bound when the bundle gives none.
#[test]
fn memory_by_files() {
    let fill = "dd if=/dev/zero of=/filled/file bs=1M count=1400 2>/dev/null && echo won; echo tried";
    table(FROM_HARDENED, |policy| {
        let mut bundle = permissive(fill);
        bundle.mount("/filled", "tmpfs", "tmpfs", &[]);
        bundle.policy(policy);
        fate(&bundle.command(["run", bundle.id()]).timeout(Duration::from_secs(60)).run())
    });
}

/// The places that a policy puts a temporary filesystem at have a size of their own.
#[test]
fn the_disk_by_temporary_files() {
    for place in ["/tmp", "/run", "/var/tmp"] {
        let fill =
            format!("dd if=/dev/zero of={place}/file bs=1M count=200 2>/dev/null && echo won; echo tried");
        bomb(FROM_HARDENED, &fill, |_| ());
    }
}

/// A dump of a process's memory goes where the host's pattern says, as large as the process.
#[test]
fn core_dumps() {
    bomb(FROM_HARDENED, "[ \"$(ulimit -Hc)\" != 0 ] && echo won; echo tried", |_| ());
}

/// Swap is the host's disk: what is swapped out counts as little.
#[test]
fn swap() {
    let ask = "for f in /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes /sys/fs/cgroup/memory.swap.max; do \
               [ -e $f ] && echo $f=$(cat $f); done; [ -e /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes ] && \
               [ $(cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes) != \
               $(cat /sys/fs/cgroup/memory/memory.limit_in_bytes) ] && echo won; \
               [ -e /sys/fs/cgroup/memory.swap.max ] && [ $(cat /sys/fs/cgroup/memory.swap.max) != 0 ] && echo won; \
               echo tried";
    table(FROM_HARDENED, |policy| {
        let mut bundle = permissive(ask);
        bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]);
        bundle.edit(|c| c["linux"]["resources"] = json!({"memory": {"limit": 64 << 20, "swap": 1 << 30}}));
        fate(&bundle.policy(policy).run())
    });
}

/// Priority over every other process of the host's, which the runtime has the right to set and the bundle asks for.
#[test]
fn priority_over_the_host() {
    let ask = "[ $(cut -d' ' -f19 /proc/self/stat) -lt 0 ] && echo won; echo tried";
    bomb(FROM_BASELINE, ask, |c| {
        c["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -20});
    });
    let ask = "ionice -p $$ | grep -q realtime && echo won; echo tried";
    bomb(FROM_BASELINE, ask, |c| {
        c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_RT", "priority": 0});
    });
}
