//! The tightest policy for what was seen.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Document, quoted};
use super::needs::{TEMPORARY, Written, written};
use super::seen::Seen;

/// Devices that every policy gives.
const COMMON: [&str; 8] = ["c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 5:0", "c 5:2", "c 136:0"];

/// What `strict` gives to whoever asks for nothing: MiB of memory, and processes.
const STRICT_MEMORY: u64 = 512;
const STRICT_PROCESSES: u64 = 256;

/// Writes the policy. `capabilities` are needed ones with the call that needed each, `command` is what was run.
pub fn policy(seen: &Seen, capabilities: &BTreeMap<&'static str, &'static str>, command: &str) -> Document {
    let head = [
        "Recorded by `runtime record`: the least that the recorded run needs, over `strict`.",
        "What that run did not do is refused: record all that the workload can do, or relax single rules here.",
    ];
    let mut policy = Document::new("strict", &format!("recorded from {command}"), &head);
    for note in &seen.notes {
        policy.remark(&format!("Note: {note}."));
    }
    policy.rule("seccomp.profile", quoted("seccomp.json"), "every system call that was seen, and no other");
    policy.list(
        "capabilities.at_most",
        capabilities.keys().map(|name| quoted(name)).collect(),
        capabilities.iter().map(|(name, call)| format!("{name}: {call}")).collect(),
    );
    if let Some(program) = &seen.set_id {
        let reason = format!("{program} takes on its owner's rights, which no_new_privs forbids");
        policy.rule("no_new_privs", quoted("as-asked"), &reason);
    }
    files(&mut policy, seen, &written(seen));
    ports(&mut policy, "landlock.bind_tcp", &seen.bound, "TCP ports that were bound");
    ports(&mut policy, "landlock.connect_tcp", &seen.connected, "TCP ports that were connected to");
    limits(&mut policy, seen);
    let odd: Vec<_> = seen.devices.iter().filter(|(number, _)| !is_common(number)).collect();
    if !odd.is_empty() {
        let items = [quoted("...")].into_iter().chain(odd.iter().map(|(number, _)| quoted(number))).collect();
        policy.list(
            "devices.allow",
            items,
            odd.iter().map(|(number, path)| format!("{number}: {path}")).collect(),
        );
    }
    policy
}

fn files(policy: &mut Document, seen: &Seen, needs: &Written) {
    let strings = |set: &BTreeSet<String>| set.iter().map(|path| quoted(path)).collect::<Vec<_>>();
    if needs.root {
        let reason = "its files are written to, in the places that landlock.writable names";
        policy.rule("rootfs.read_only", "false", reason);
    }
    let unused = TEMPORARY.len() - needs.temporary.len();
    let reason = if unused > 0 { "no other temporary directory was used" } else { "temporary directories" };
    policy.list("rootfs.tmpfs", strings(&needs.temporary), vec![reason.to_owned()]);
    let mut reasons = vec!["everything that was written lies beneath these".to_owned()];
    for path in &needs.paths {
        let example = seen
            .files
            .iter()
            .find(|(file, access)| access.written && super::seen::is_beneath(file, path) && *file != path);
        reasons.extend(example.map(|(file, _)| format!("{path}: {file}")));
    }
    policy.list("landlock.writable", strings(&needs.paths), reasons);
    let Some(program) = needs.executed.first() else { return };
    let reason = format!("{program} is executed from where files are written");
    policy.rule("landlock.write_xor_execute", "false", &reason);
    let on_tmpfs = |program: &String| in_any(program, &needs.temporary);
    if needs.executed.iter().any(on_tmpfs) {
        policy.rule("rootfs.tmpfs_exec", "true", &reason);
    }
    let mounted = |program: &String| seen.mount_of(program).is_some_and(|mount| mount.path != "/");
    if needs.executed.iter().any(|program| on_tmpfs(program) || mounted(program)) {
        policy.rule("mounts.writable_noexec", "false", &reason);
    }
}

/// Twice what was seen, where the policy's own limit is less than that.
fn limits(policy: &mut Document, seen: &Seen) {
    const MEBIBYTE: u64 = 1 << 20;
    let memory = seen.memory_peak.saturating_mul(2).div_ceil(MEBIBYTE);
    if memory > STRICT_MEMORY {
        let reason = format!("twice the {} MiB that were in use at most", seen.memory_peak / MEBIBYTE);
        policy.rule("limits.memory", quoted(&format!("{memory}MiB")), &reason);
    }
    let processes = seen.processes_peak.saturating_mul(2);
    if processes > STRICT_PROCESSES {
        let reason =
            format!("twice the {} processes and threads that were seen at once", seen.processes_peak);
        policy.rule("limits.pids", processes.to_string(), &reason);
    }
}

fn in_any(path: &str, directories: &BTreeSet<String>) -> bool {
    directories.iter().any(|directory| super::seen::is_beneath(path, directory))
}

fn ports(policy: &mut Document, key: &str, ports: &BTreeSet<u16>, reason: &str) {
    let reason = if ports.is_empty() { "none was seen" } else { reason };
    policy.list(key, ports.iter().map(u16::to_string).collect(), vec![reason.to_owned()]);
}

/// Pseudo-terminals have one number each.
fn is_common(number: &str) -> bool {
    COMMON.contains(&number) || number.starts_with("c 136:")
}
