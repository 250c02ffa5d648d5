//! Limits: which are asked for, whether they make sense, who carries them on this host; then, and only then, writing.

use casemate_spec::{Error, Result};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources};
use rustix::io::Errno;

use super::convert::swap_max;
use super::dir::{Dir, os};
use super::{Cgroup, Side, apply_v1, apply_v2, systemd};
use crate::log;

impl Cgroup {
    /// Changes the limits of a running container. Devices are left as they are.
    ///
    /// Everything is checked before anything is written; when the kernel then refuses a value, those already written
    /// get their old ones back.
    ///
    /// # Errors
    /// When a value makes no sense, its controller is not available, or the kernel refuses it.
    pub fn apply(&self, resources: &LinuxResources) -> Result<()> {
        check(resources)?;
        if let Some(unit) = &self.placement.systemd {
            systemd::update(unit, resources)?;
        }
        let mut batch = Batch { undo: Some(Vec::new()) };
        write(self, resources, &mut batch).inspect_err(|_| batch.roll_back())
    }
}

/// Sets the limits of a new container, whose directories are removed if this fails.
pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<()> {
    write(cgroup, resources, &mut Batch { undo: None })
}

/// Refuses values that no host could set, before anything is made.
pub(super) fn check(resources: &LinuxResources) -> Result<()> {
    if let Some(memory) = resources.memory() {
        swappiness(memory)?;
        // The sum's sense does not depend on the host, only the need for a memory limit beside it does.
        if limit(memory.limit()) > 0 && limit(memory.swap()) > 0 {
            swap_max(limit(memory.limit()), limit(memory.swap()))?;
        }
    }
    for key in resources.unified().iter().flat_map(|map| map.keys()) {
        let wrong = |why: String| Err(Error::new(format!("unified resource {key:?}"), why));
        if key.contains('/') || key.contains('\0') || key == "." || key == ".." {
            return wrong("must be a file name (no slashes)".to_owned());
        }
        if !key.contains('.') {
            return wrong("must be in the form CONTROLLER.PARAMETER".to_owned());
        }
    }
    for page in resources.hugepage_limits().iter().flatten() {
        if page.page_size().is_empty() || !page.page_size().bytes().all(|b| b.is_ascii_alphanumeric()) {
            let field = "linux.resources.hugepageLimits.pageSize";
            return Err(Error::new(field, format!("{:?} is not a page size such as 2MB", page.page_size())));
        }
    }
    Ok(())
}

/// The swappiness asked for, where it is one (-1, "as it was", arrives as the greatest number).
pub(super) fn swappiness(memory: &LinuxMemory) -> Result<Option<u64>> {
    match memory.swappiness() {
        None | Some(u64::MAX) => Ok(None),
        Some(value) if value <= 100 => Ok(Some(value)),
        Some(value) => Err(Error::new(
            "linux.resources.memory.swappiness",
            format!("invalid value: {value}, valid memory swappiness range is 0-100"),
        )),
    }
}

/// A limit with "not given" and 0 taken as the same, as runc does.
pub(super) fn limit(value: Option<i64>) -> i64 {
    value.unwrap_or(0)
}

/// Writes to control files; can give an update's files their old values back.
pub(super) struct Batch<'a> {
    undo: Option<Vec<(&'a Dir, String, String)>>,
}

impl<'a> Batch<'a> {
    /// Sets a file of one value, remembering the old one.
    pub(super) fn set(&mut self, dir: &'a Dir, file: &str, value: &str) -> Result<()> {
        self.try_set(dir, file, value)
            .map_err(|e| os(format!("write {value:?} to {}", dir.path().join(file).display()), e))
    }

    /// As [`Batch::set`], with the kernel's bare answer.
    pub(super) fn try_set(&mut self, dir: &'a Dir, file: &str, value: &str) -> Result<(), Errno> {
        let old = self.undo.is_some().then(|| dir.read(file).ok()).flatten();
        dir.try_write(file, value)?;
        if let (Some(undo), Some(old)) = (&mut self.undo, old) {
            undo.push((dir, file.to_owned(), old.trim().to_owned()));
        }
        Ok(())
    }

    /// Adds a line to a file that keeps one line for each device or name; not undone.
    pub(super) fn add(&self, dir: &Dir, file: &str, line: &str) -> Result<()> {
        dir.write(file, line)
    }

    fn roll_back(&mut self) {
        for (dir, file, old) in self.undo.take().into_iter().flatten().rev() {
            // The refusal that led here is what the caller has to hear of.
            match dir.try_write(&file, &old) {
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Finds the carrier of everything asked for, then writes.
fn write<'a>(cgroup: &'a Cgroup, r: &LinuxResources, batch: &mut Batch<'a>) -> Result<()> {
    let need = |wanted: bool, controller: &str, what: &str| -> Result<Option<Side<'a>>> {
        if !wanted {
            return Ok(None);
        }
        cgroup.side(controller)?.map(Some).ok_or_else(|| missing(controller, what))
    };
    let cpu = need(r.cpu().as_ref().is_some_and(asks_cpu), "cpu", "cpu")?;
    let cpuset = need(r.cpu().as_ref().is_some_and(asks_cpuset), "cpuset", "cpuset")?;
    let memory = need(r.memory().as_ref().is_some_and(asks_memory), "memory", "memory")?;
    let pids = need(r.pids().as_ref().is_some_and(|p| p.limit() > 0), "pids", "pids")?;
    let blkio = need(r.block_io().as_ref().is_some_and(asks_blkio), "blkio", "blockIO")?;
    let huge =
        need(r.hugepage_limits().as_ref().is_some_and(|l| !l.is_empty()), "hugetlb", "hugepageLimits")?;
    let rdma = need(r.rdma().as_ref().is_some_and(|m| !m.is_empty()), "rdma", "rdma")?;
    let classid = need(
        r.network().as_ref().is_some_and(|n| n.class_id().unwrap_or(0) != 0),
        "net_cls",
        "network.classID",
    )?;
    let priorities =
        need(r.network().as_ref().is_some_and(asks_priorities), "net_prio", "network.priorities")?;
    let unified = need_unified(cgroup, r)?;
    if let (Some(Side::Unified(_)), Some(cpu)) = (cpu, r.cpu()) {
        apply_v2::refuse_realtime(cpu)?;
    }

    note_ignored(r, memory);
    // cpuset first: a real-time budget needs CPUs; memory early: it is what an update most often fails on.
    set(r.cpu().as_ref(), cpuset, batch, apply_v1::cpuset, apply_v2::cpuset)?;
    set(r.memory().as_ref(), memory, batch, apply_v1::memory, apply_v2::memory)?;
    set(r.cpu().as_ref(), cpu, batch, apply_v1::cpu, apply_v2::cpu)?;
    let open_pids =
        r.pids().as_ref().filter(|_| pids.is_none()).map(|_| cgroup.side("pids")).transpose()?.flatten();
    if let (Some(limits), Some(Side::V1(dir) | Side::Unified(dir))) = (r.pids(), pids.or(open_pids)) {
        let value = if limits.limit() > 0 { limits.limit().to_string() } else { "max".to_owned() };
        batch.set(dir, "pids.max", &value)?;
    }
    set(r.block_io().as_ref(), blkio, batch, apply_v1::blkio, apply_v2::io)?;
    set(r.hugepage_limits().as_ref(), huge, batch, apply_v1::hugetlb, apply_v2::hugetlb)?;
    set(r.rdma().as_ref(), rdma, batch, apply_v1::rdma, apply_v1::rdma)?;
    set(r.network().as_ref(), classid, batch, apply_v1::class_id, apply_v1::class_id)?;
    set(r.network().as_ref(), priorities, batch, apply_v1::priorities, apply_v1::priorities)?;
    match (unified, r.unified()) {
        (Some(dir), Some(map)) => apply_v2::unified(dir, map, batch),
        _ => Ok(()),
    }
}

/// What neither this kernel nor runc heeds any more is said, not refused.
fn note_ignored(r: &LinuxResources, memory: Option<Side<'_>>) {
    let Some(asked) = r.memory() else { return };
    let ignored =
        |field: &str, why: &str| log::debug(format_args!("linux.resources.memory.{field} is ignored: {why}"));
    if limit(asked.kernel()) != 0 {
        ignored("kernel", "Linux 5.16 counts kernel memory in the limit");
    }
    if limit(asked.kernel_tcp()) != 0 {
        ignored("kernelTCP", "TCP buffers are counted in the limit");
    }
    if matches!(memory, Some(Side::Unified(_))) {
        if asked.swappiness().is_some_and(|value| value != u64::MAX) {
            ignored("swappiness", "cgroup v2 has none for a cgroup");
        }
        if asked.disable_oom_killer() == Some(true) {
            ignored("disableOOMKiller", "cgroup v2 cannot turn it off");
        }
    }
}

type Setter<'a, T> = fn(&'a Dir, &T, &mut Batch<'a>) -> Result<()>;

fn set<'a, T>(
    asked: Option<&T>,
    side: Option<Side<'a>>,
    batch: &mut Batch<'a>,
    v1: Setter<'a, T>,
    v2: Setter<'a, T>,
) -> Result<()> {
    match (asked, side) {
        (Some(asked), Some(Side::V1(dir))) => v1(dir, asked, batch),
        (Some(asked), Some(Side::Unified(dir))) => v2(dir, asked, batch),
        _ => Ok(()),
    }
}

/// The v2 directory, when raw v2 files are asked for and every controller they belong to is there.
fn need_unified<'a>(cgroup: &'a Cgroup, r: &LinuxResources) -> Result<Option<&'a Dir>> {
    let Some(map) = r.unified().as_ref().filter(|map| !map.is_empty()) else { return Ok(None) };
    let Some(dir) = &cgroup.unified else {
        return Err(Error::new("invalid configuration", "cannot use unified on cgroup v1"));
    };
    for key in map.keys() {
        let controller = key.split('.').next().unwrap_or_default();
        if controller != "cgroup" && !cgroup.has_unified(controller)? {
            let what = format!("unified resource {key:?} can't be set");
            return Err(Error::new(what, format!("controller {controller:?} not available")));
        }
    }
    Ok(Some(dir))
}

fn missing(controller: &str, what: &str) -> Error {
    let v2 = if controller == "blkio" { "io" } else { controller };
    let why = format!("the {controller} controller is neither mounted as cgroup v1 nor enabled on cgroup v2");
    let error = Error::new(format!("linux.resources.{what}"), why);
    match controller {
        "net_cls" | "net_prio" => {
            error.hint(format!("mount -t cgroup -o {controller} cgroup /sys/fs/cgroup/{controller} (v1 only)"))
        }
        _ => error.hint(format!(
            "mount -t cgroup -o {controller} cgroup /sys/fs/cgroup/{controller}, or enable +{v2} in cgroup.subtree_control"
        )),
    }
}

fn asks_cpu(cpu: &LinuxCpu) -> bool {
    let numbers = [cpu.shares(), cpu.period(), cpu.realtime_period()];
    numbers.iter().any(|n| n.unwrap_or(0) != 0)
        || limit(cpu.quota()) != 0
        || limit(cpu.realtime_runtime()) != 0
        || cpu.burst().is_some()
        || cpu.idle().is_some()
}

fn asks_cpuset(cpu: &LinuxCpu) -> bool {
    [cpu.cpus(), cpu.mems()].into_iter().any(|list| list.as_ref().is_some_and(|list| !list.is_empty()))
}

fn asks_memory(memory: &LinuxMemory) -> bool {
    [memory.limit(), memory.reservation(), memory.swap()].into_iter().any(|n| limit(n) != 0)
        || memory.swappiness().is_some_and(|n| n != u64::MAX)
        || memory.disable_oom_killer() == Some(true)
}

fn asks_blkio(io: &LinuxBlockIo) -> bool {
    let throttles = [
        io.throttle_read_bps_device(),
        io.throttle_write_bps_device(),
        io.throttle_read_iops_device(),
        io.throttle_write_iops_device(),
    ];
    io.weight().unwrap_or(0) != 0
        || io.leaf_weight().unwrap_or(0) != 0
        || io.weight_device().as_ref().is_some_and(|l| !l.is_empty())
        || throttles.into_iter().any(|list| list.as_ref().is_some_and(|l| !l.is_empty()))
}

fn asks_priorities(network: &LinuxNetwork) -> bool {
    network.priorities().as_ref().is_some_and(|list| !list.is_empty())
}
