//! The process: what it runs, as whom, and how it is scheduled.

use std::collections::HashSet;

use oci_spec::runtime::{LinuxSchedulerPolicy, Process, Scheduler};

use super::{Findings, lists, shown, shown_path};

/// The kernel's name for "no id" (`(uid_t)-1`).
pub(super) const NO_ID: u32 = u32::MAX;

/// `prefix` is `process.` in a configuration, and nothing in a document of its own.
pub(super) fn check(process: &Process, prefix: &str, findings: &mut Findings) {
    let at = |name: &str| format!("{prefix}{name}");
    match process.args().as_deref().unwrap_or_default() {
        [] => findings.add("oci/process", at("args"), "a program to run", "nothing"),
        [program, ..] if program.is_empty() => {
            findings.add("oci/process", at("args[0]"), "a program to run", "an empty text");
        }
        _ => {}
    }
    if !process.cwd().is_absolute() {
        findings.add("oci/process", at("cwd"), "an absolute path", shown_path(process.cwd()));
    }
    check_env(process.env().as_deref().unwrap_or_default(), &at("env"), findings);
    check_user(process, prefix, findings);
    check_rlimits(process, prefix, findings);
    let labels = [("apparmorProfile", process.apparmor_profile()), ("selinuxLabel", process.selinux_label())];
    for (name, label) in labels {
        if let Some(label) = label.as_ref().filter(|label| label.contains(char::is_control)) {
            findings.add("oci/labels", at(name), "a label without control characters", shown(label));
        }
    }
    if let Some(adjustment) = process.oom_score_adj().filter(|value| !(-1000..=1000).contains(value)) {
        findings.add("oci/process", at("oomScoreAdj"), "-1000 to 1000", adjustment.to_string());
    }
    if let Some(size) = process.console_size().filter(|s| s.height().max(s.width()) > u64::from(u16::MAX)) {
        let asked = format!("{} by {}", size.width(), size.height());
        findings.add("oci/process", at("consoleSize"), "at most 65535 columns and rows", asked);
    }
    check_scheduling(process, prefix, findings);
}

/// `NAME=value` each: runc refuses others, since no libc can find them.
fn check_env(env: &[String], field: &str, findings: &mut Findings) {
    for (index, entry) in env.iter().enumerate() {
        if entry.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
            findings.add("oci/env", format!("{field}[{index}]"), "NAME=value", shown(entry));
        }
    }
}

fn check_user(process: &Process, prefix: &str, findings: &mut Findings) {
    let user = process.user();
    let ids = [("uid".to_owned(), user.uid()), ("gid".to_owned(), user.gid())];
    let more = user.additional_gids().iter().flatten().enumerate();
    let more = more.map(|(index, gid)| (format!("additionalGids[{index}]"), *gid));
    for (name, id) in ids.into_iter().chain(more) {
        if id == NO_ID {
            findings.add(
                "oci/user",
                format!("{prefix}user.{name}"),
                "an id from 0 to 4294967294",
                id.to_string(),
            );
        }
    }
    if let Some(umask) = user.umask().filter(|umask| *umask > 0o777) {
        findings.add("oci/user", format!("{prefix}user.umask"), "at most 0777", format!("{umask:#o}"));
    }
}

fn check_rlimits(process: &Process, prefix: &str, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let field = format!("{prefix}rlimits[{index}]");
        if !seen.insert(limit.typ().to_string()) {
            findings.add("oci/rlimits", &field, "each limit once", format!("{} again", limit.typ()));
        }
        if limit.soft() > limit.hard() {
            let (allowed, asked) = (format!("a soft limit up to {}", limit.hard()), limit.soft().to_string());
            findings.add("oci/rlimits", field + ".soft", allowed, asked);
        }
    }
}

fn check_scheduling(process: &Process, prefix: &str, findings: &mut Findings) {
    if let Some(priority) =
        process.io_priority().as_ref().map(|io| io.priority()).filter(|p| !(0..=7).contains(p))
    {
        findings.add(
            "oci/ioPriority",
            format!("{prefix}ioPriority.priority"),
            "0 to 7",
            priority.to_string(),
        );
    }
    if let Some(scheduler) = process.scheduler() {
        check_scheduler(scheduler, &format!("{prefix}scheduler"), findings);
    }
    if let Some(affinity) = process.exec_cpu_affinity() {
        for (name, list) in [("initial", affinity.initial()), ("final", affinity.cpu_affinity_final())] {
            if let Some(list) = list.as_ref().filter(|list| !lists::is_list(list)) {
                let field = format!("{prefix}execCPUAffinity.{name}");
                findings.add("oci/affinity", field, "a list of CPUs such as 0-3,7", shown(list));
            }
        }
    }
}

/// `sched_setattr(2)`, and the specification's "process.scheduler".
fn check_scheduler(scheduler: &Scheduler, field: &str, findings: &mut Findings) {
    use LinuxSchedulerPolicy::{SchedDeadline, SchedFifo, SchedIso, SchedRr};
    let policy = *scheduler.policy();
    if policy == SchedIso {
        findings.add("oci/scheduler", format!("{field}.policy"), "a policy that Linux has", "SCHED_ISO");
    }
    if let Some(nice) = scheduler.nice().filter(|nice| !(-20..=19).contains(nice)) {
        findings.add("oci/scheduler", format!("{field}.nice"), "-20 to 19", nice.to_string());
    }
    let priority = scheduler.priority().unwrap_or(0);
    let realtime = matches!(policy, SchedFifo | SchedRr);
    if !realtime && priority != 0 {
        findings.add(
            "oci/scheduler",
            format!("{field}.priority"),
            "no priority unless the policy is SCHED_FIFO or SCHED_RR",
            priority.to_string(),
        );
    }
    if realtime && !(1..=99).contains(&priority) {
        findings.add("oci/scheduler", format!("{field}.priority"), "1 to 99", priority.to_string());
    }
    let [runtime, deadline, period] =
        [scheduler.runtime(), scheduler.deadline(), scheduler.period()].map(|time| time.unwrap_or(0));
    let timed = runtime.max(deadline).max(period) > 0;
    if policy != SchedDeadline && timed {
        let allowed = "runtime, deadline and period with SCHED_DEADLINE alone";
        findings.add("oci/scheduler", field, allowed, policy.to_string());
    }
    // A period of 0 means the deadline.
    if policy == SchedDeadline && (runtime > deadline || (period > 0 && deadline > period)) {
        let asked = format!("{runtime}, {deadline} and {period}");
        findings.add("oci/scheduler", field, "runtime <= deadline <= period", asked);
    }
}
