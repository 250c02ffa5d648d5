//! Files by which the kernel is told what to run or how to behave: release_agent, core_pattern, sysctls, sysfs, and
//! the same files by another mount of procfs or sysfs than the one that is masked.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use casemate_tests::{Bundle, json};

use crate::attack::{FROM_BASELINE, Fate, fate, operations, operations_in, permissive, script, table};

/// The release agent of a cgroup v1 hierarchy is run by the kernel, on the host, as the host's root: CVE-2022-0492, and
/// how privileged containers are left.
#[test]
fn release_agent() {
    table(FROM_BASELINE, |policy| {
        // The hierarchy is the test's own: no other group's agent is touched. Its name is seen in every process of the
        // host's, so it must not be the id by which this test's processes are known.
        let attack = "mkdir -p /tmp/cg && mount -t cgroup -o none,name=escape none /tmp/cg && mkdir /tmp/cg/x && \
                      echo 1 >/tmp/cg/x/notify_on_release && echo $AGENT >/tmp/cg/release_agent && \
                      sh -c 'echo $$ >/tmp/cg/x/cgroup.procs' && for i in $(seq 100); do \
                      [ -e /escaped ] && break; sleep 0.02; done; [ -e /escaped ] && echo won; \
                      rmdir /tmp/cg/x; umount -l /tmp/cg; echo tried";
        let mut bundle = permissive(attack);
        let agent = bundle.rootfs().join("agent");
        // An uid of the host's, written where only the host's root may: nothing else does it.
        let deed = format!("#!/bin/sh\nid -u >{}\n", bundle.rootfs().join("escaped").display());
        fs::write(&agent, deed).expect("write the agent");
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("make it a program");
        bundle.edit(|c| {
            let name = format!("AGENT={}", agent.display());
            c["process"]["env"].as_array_mut().expect("a list").push(name.into());
        });
        let output = bundle.policy(policy).run();
        let escaped = bundle.rootfs().join("escaped").exists();
        assert_eq!(escaped, fate(&output) == Fate::Succeeds, "{policy}: {output}");
        end_hierarchy(&bundle);
        fate(&output)
    });
}

/// One that is unmounted before its last group is released stays, mounted nowhere, until it is unmounted once more.
fn end_hierarchy(bundle: &Bundle) {
    casemate_tests::wait_until("the hierarchy is gone", || {
        let groups = fs::read_to_string("/proc/self/cgroup").expect("the own groups");
        let gone = !groups.contains(":name=escape:");
        if !gone {
            let again = "mount -t cgroup -o none,name=escape none /mnt && umount /mnt; sleep 0.05";
            bundle.tool("unshare", &["-m", "sh", "-c", again]).run();
        }
        gone
    });
}

/// What is written is what is there already: the host keeps its own.
const SAME: &str = "pattern=$(cat $FILE) && echo \"$pattern\" >$FILE && echo won";

#[test]
fn core_pattern() {
    script(FROM_BASELINE, &format!("FILE=/proc/sys/kernel/core_pattern; {SAME}"), |_| ());
}

/// Masks and read-only paths are of one mount; the bundle asks for a second.
#[test]
fn core_pattern_of_a_second_procfs() {
    for place in ["/second", "/tmp/second", "/dev/second"] {
        script(FROM_BASELINE, &format!("FILE={place}/sys/kernel/core_pattern; {SAME}"), |bundle| {
            bundle.mount(place, "proc", "proc", &[]);
            bundle.edit(|c| c["linux"]["readonlyPaths"] = json!(["/proc/sys"]));
        });
    }
}

#[test]
fn a_second_sysfs() {
    let file = "/second/kernel/mm/transparent_hugepage/enabled";
    script(FROM_BASELINE, &format!("(: >>{file}) && echo won"), |bundle| {
        bundle.mount("/second", "sysfs", "sysfs", &["rw"]);
    });
}

#[test]
fn parameters_of_the_kernel() {
    let names = [
        "write:/proc/sys/kernel/core_pattern",
        "write:/proc/sys/kernel/randomize_va_space",
        "write:/proc/sys/kernel/printk",
        "write:/proc/sys/kernel/pid_max",
        "write:/proc/sys/vm/panic_on_oom",
        "write:/proc/sys/vm/overcommit_memory",
        "write:/proc/sys/vm/drop_caches",
        "write:/proc/sys/fs/protected_symlinks",
        "write:/proc/sys/fs/suid_dumpable",
        "write:/proc/irq/default_smp_affinity",
        "write:/proc/bus/pci",
        "write:/proc/mtrr",
        "write:/sys/kernel/mm/transparent_hugepage",
        "write:/sys/kernel/profiling",
        "write:/sys/power/state",
        "write:/sys/block uevent",
        "write:/sys/module parameters",
        "write:/sys/devices/system/cpu",
    ];
    operations(FROM_BASELINE, &names);
}

/// Set by the runtime itself, which could: `linux.sysctl` is for what the container's namespaces own.
#[test]
fn parameters_of_the_kernel_by_the_bundle() {
    for name in ["kernel.core_pattern", "kernel.modprobe", "vm.panic_on_oom", "fs.suid_dumpable"] {
        table([Fate::Denied; 4], |policy| {
            let mut bundle = permissive("echo won");
            bundle.edit(|c| c["linux"]["sysctl"] = json!({name: "1"}));
            refused(&mut bundle, policy, name)
        });
    }
}

/// What a configuration asks for that no runtime may do: an error naming it, and nothing left behind.
fn refused(bundle: &mut Bundle, policy: &str, word: &str) -> Fate {
    let output = bundle.policy(policy).run();
    let told = !output.success() && output.stderr().contains(word) && output.stdout().is_empty();
    bundle.assert_clean();
    if told { Fate::Denied } else { fate(&output) }
}

/// Addresses of the kernel and of its memory, and what other containers' keys are called.
#[test]
fn secrets_of_the_host() {
    operations(
        FROM_BASELINE,
        &["read:/proc/kallsyms with addresses", "read:/proc/keys", "read:/proc/kmsg", "read:/sys/firmware"],
    );
    operations(FROM_BASELINE, &["read:/proc/timer_list", "read:/proc/interrupts"]);
}

/// A process that the kernel should never choose when memory runs out.
#[test]
fn score_for_the_memory_killer() {
    let status = fs::read_to_string("/proc/self/status").expect("the own status");
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("a bounding set");
    let bounding = u64::from_str_radix(bounding, 16).expect("a mask");
    if bounding & 1 << 24 == 0 {
        return casemate_tests::skip(
            "this host has no CAP_SYS_RESOURCE to give, without which no score is lowered",
        );
    }
    script([Fate::Succeeds, Fate::Succeeds, Fate::Stopped, Fate::Stopped], SCORE, |bundle| {
        bundle.edit(|c| c["process"]["oomScoreAdj"] = json!(-1000));
    });
}

const SCORE: &str = "[ $(cat /proc/self/oom_score_adj) -lt 0 ] && echo won";

/// The container's own groups, mounted writable: limits that whoever is limited may lift.
#[test]
fn its_own_limits_lifted() {
    let lift = "for f in /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max; do \
                [ -e $f ] && echo max 2>/dev/null >$f && [ $(cat $f) = max ] && echo won; done";
    script(FROM_BASELINE, lift, |bundle| {
        bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "rw"]);
        bundle.edit(|c| c["linux"]["resources"] = json!({"pids": {"limit": 50}}));
    });
    operations_in(FROM_BASELINE, &["cgroup:make a group", "cgroup:write cgroup.procs"], |bundle| {
        bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "rw"]);
    });
}
