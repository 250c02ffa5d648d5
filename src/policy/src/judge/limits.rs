//! Limits of the control group: defaults where nothing was asked, ceilings whatever was asked.

use oci_spec::runtime::{IOPriorityClass, LinuxCpu, LinuxIOPriorityBuilder, LinuxMemory, LinuxPids};

use super::Case;
use crate::schema::{Cpus, Size};

const RULE: &str = "limits";

/// The kernel's own period for processor time, in microseconds.
const PERIOD: u64 = 100_000;

pub(super) fn apply(case: &mut Case<'_>) {
    memory(case);
    pids(case);
    cpu(case);
    unified(case);
    if !case.rules.limits.unbounded {
        bounded(case);
    }
}

/// What is enforced: the asked within the ceiling, or the default within the ceiling. None when it is as asked.
fn settle(case: &Case<'_>, asked: Option<u64>, default: Option<u64>, most: Option<u64>) -> Option<u64> {
    if asked.is_none() && case.host.no_limits.is_some() {
        return None;
    }
    let wanted = asked.or(default);
    let settled = wanted.into_iter().chain(most).min();
    settled.filter(|settled| asked != Some(*settled))
}

/// A limit of the configuration; what is not positive is none.
fn positive(limit: Option<i64>) -> Option<u64> {
    limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0)
}

fn shown(limit: Option<u64>, unit: fn(u64) -> String) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), unit)
}

fn signed(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn size(bytes: u64) -> String {
    Size(bytes).to_string()
}

fn asked_memory(case: &Case<'_>) -> Option<LinuxMemory> {
    case.linux().and_then(|linux| linux.resources().as_ref()).and_then(|resources| *resources.memory())
}

fn memory(case: &mut Case<'_>) {
    let rule = &case.rules.limits;
    let (default, most) = (rule.memory.map(|size| size.0), rule.memory_max.map(|size| size.0));
    let asked = asked_memory(case);
    let limit = positive(asked.and_then(|memory| memory.limit()));
    // A reservation is a word about how much is needed; memory and swap together are no less than memory.
    let reserved = positive(asked.and_then(|memory| memory.reservation())).unwrap_or(0);
    let together = positive(asked.and_then(|memory| memory.swap())).unwrap_or(u64::MAX);
    let default = default.map(|default| default.max(reserved).min(together));
    if let Some(settled) = settle(case, limit, default, most) {
        memory_mut(case, |memory| {
            memory.set_limit(Some(signed(settled)));
        });
        case.change(RULE, "linux.resources.memory.limit", shown(limit, size), size(settled));
    }
    swap(case);
}

fn memory_mut(case: &mut Case<'_>, change: impl FnOnce(&mut LinuxMemory)) {
    change(case.resources_mut().memory_mut().get_or_insert_with(LinuxMemory::default));
}

/// The OCI's limit of swap is one of memory and swap together.
fn swap(case: &mut Case<'_>) {
    let asked = asked_memory(case);
    let Some(limit) = positive(asked.and_then(|memory| memory.limit())) else { return };
    let swap = positive(asked.and_then(|memory| memory.swap()));
    if case.rules.limits.swap || swap.is_some_and(|swap| swap <= limit) {
        return;
    }
    memory_mut(case, |memory| {
        memory.set_swap(Some(signed(limit)));
    });
    let asked = match swap {
        Some(swap) => size(swap.saturating_sub(limit)),
        None => "unlimited".to_owned(),
    };
    case.change(RULE, "linux.resources.memory.swap", asked, "none beyond the memory limit");
}

fn pids(case: &mut Case<'_>) {
    let rule = &case.rules.limits;
    let asked = case.linux().and_then(|linux| linux.resources().as_ref());
    let asked = asked.and_then(|resources| resources.pids().as_ref()).map(LinuxPids::limit);
    let asked = positive(asked);
    let Some(settled) = settle(case, asked, rule.pids, rule.pids_max) else { return };
    let mut pids = LinuxPids::default();
    pids.set_limit(signed(settled));
    case.resources_mut().set_pids(Some(pids));
    case.change(RULE, "linux.resources.pids.limit", shown(asked, |n| n.to_string()), settled.to_string());
}

fn cpu(case: &mut Case<'_>) {
    let rule = &case.rules.limits;
    let asked = case.linux().and_then(|linux| linux.resources().as_ref());
    let cpu = asked.and_then(|resources| resources.cpu().clone());
    let period = cpu.as_ref().and_then(LinuxCpu::period).filter(|period| *period > 0).unwrap_or(PERIOD);
    let quota = positive(cpu.as_ref().and_then(LinuxCpu::quota));
    let of = |cpus: Option<Cpus>| cpus.map(|cpus| (cpus.0.saturating_mul(period) / 1000).max(1000));
    let Some(settled) = settle(case, quota, of(rule.cpus), of(rule.cpus_max)) else { return };
    let cpu = case.resources_mut().cpu_mut().get_or_insert_with(LinuxCpu::default);
    cpu.set_quota(Some(signed(settled))).set_period(Some(period));
    if cpu.burst().is_some_and(|burst| burst > settled) {
        cpu.set_burst(Some(settled));
    }
    let cpus = |quota: u64| Cpus(quota.saturating_mul(1000) / period).to_string();
    let asked = quota.map_or_else(|| "unlimited".to_owned(), &cpus);
    case.change(RULE, "linux.resources.cpu.quota", asked, format!("{} CPUs", cpus(settled)));
}

/// Settings of the unified hierarchy by file name say the same once more, and would win: what is not certain to be as
/// tight as ours goes.
fn unified(case: &mut Case<'_>) {
    let rule = &case.rules.limits;
    let resources = case.linux().and_then(|linux| linux.resources().as_ref());
    let memory = asked_memory(case).and_then(|memory| positive(memory.limit()));
    let pids = resources.and_then(|resources| resources.pids().as_ref());
    let cpu = resources.and_then(|resources| resources.cpu().as_ref());
    let share = cpu.and_then(|cpu| Some((positive(cpu.quota())?, cpu.period().unwrap_or(PERIOD))));
    let ours = [
        ("memory.max", memory.map(|limit| (limit, 1)), rule.memory.is_some() || rule.memory_max.is_some()),
        ("memory.swap.max", Some((0, 1)), !rule.swap),
        ("pids.max", pids.and_then(|pids| Some((positive(Some(pids.limit()))?, 1))), {
            rule.pids.is_some() || rule.pids_max.is_some()
        }),
        ("cpu.max", share, rule.cpus.is_some() || rule.cpus_max.is_some()),
    ];
    for (file, limit, ruled) in ours {
        let asked = case.linux().and_then(|linux| linux.resources().as_ref());
        let asked = asked.and_then(|resources| resources.unified().as_ref()).and_then(|map| map.get(file));
        let Some(asked) = asked.filter(|_| ruled).cloned() else { continue };
        if limit.is_none_or(|limit| no_more(&asked, limit)) {
            continue;
        }
        if let Some(map) = case.resources_mut().unified_mut() {
            map.remove(file);
        }
        let field = format!("linux.resources.unified[\"{file}\"]");
        case.change(RULE, field, asked, "the limits of linux.resources");
    }
}

/// Whether `"NUMBER"` or `"NUMBER PERIOD"` is at most `limit.0 / limit.1`.
fn no_more(asked: &str, limit: (u64, u64)) -> bool {
    let mut numbers = asked.split_whitespace().map(str::parse::<u64>);
    let Some(Ok(number)) = numbers.next() else { return false };
    let per = match numbers.next() {
        None => {
            if limit.1 == 1 {
                1
            } else {
                PERIOD
            }
        }
        Some(Ok(per)) => per,
        Some(Err(_)) => return false,
    };
    u128::from(number) * u128::from(limit.1) <= u128::from(limit.0) * u128::from(per)
}

/// Out of memory, the kernel must be able to take something back, and a processor must be shared.
fn bounded(case: &mut Case<'_>) {
    if asked_memory(case).and_then(|memory| memory.disable_oom_killer()) == Some(true) {
        memory_mut(case, |memory| {
            memory.set_disable_oom_killer(Some(false));
        });
        case.change(RULE, "linux.resources.memory.disableOOMKiller", "true", "false");
    }
    // The kernel never takes from a process at -1000; -999 is as far as it goes with others (proc_pid_oom_score_adj(5)).
    let score = case.process().and_then(|process| process.oom_score_adj());
    if score == Some(-1000)
        && let Some(process) = case.config.spec.process_mut()
    {
        process.set_oom_score_adj(Some(-999));
        case.change(RULE, "process.oomScoreAdj", "-1000", "-999");
    }
    realtime(case);
}

fn realtime(case: &mut Case<'_>) {
    use oci_spec::runtime::LinuxSchedulerPolicy::{SchedDeadline, SchedFifo, SchedRr};
    let Some(process) = case.process() else { return };
    let scheduler = process.scheduler().as_ref();
    let (policy, nice) = (scheduler.map(|s| *s.policy()), scheduler.and_then(|s| *s.nice()).unwrap_or(0));
    let io = *process.io_priority();
    if let Some(policy @ (SchedFifo | SchedRr | SchedDeadline)) = policy {
        let allowed = "scheduling that gives others their turn";
        let remedy = "limits.unbounded = true";
        case.deny(RULE, "process.scheduler.policy", policy.to_string(), allowed, remedy);
    }
    let Some(process) = case.config.spec.process_mut() else { return };
    if nice < 0
        && let Some(mut scheduler) = process.scheduler().clone()
    {
        scheduler.set_nice(Some(0));
        process.set_scheduler(Some(scheduler));
        case.change(RULE, "process.scheduler.nice", nice.to_string(), "0");
    }
    let Some(process) = case.config.spec.process_mut() else { return };
    if let Some(io) = io.filter(|io| io.class() == IOPriorityClass::IoprioClassRt) {
        let polite = LinuxIOPriorityBuilder::default().class(IOPriorityClass::IoprioClassBe);
        // Every field has a value, which is all that building asks for.
        process.set_io_priority(Some(polite.priority(io.priority()).build().unwrap_or_default()));
        case.change(RULE, "process.ioPriority.class", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE");
    }
}
