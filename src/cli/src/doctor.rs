//! `doctor`: what this host can enforce, and what to turn on.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use casemate_spec::{Error, Result};
use rustix::fs::statfs;
use serde_json::Value;

use crate::arguments::DoctorArgs;
use crate::pki::validity;
use crate::place::Place;
use crate::{rootless, up};

/// Seconds before its end in which a certificate or list is warned of.
const SOON: i64 = 30 * 24 * 3600;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    /// It is there.
    Good,
    /// A protection is weaker, or something slower.
    Weaker,
    /// Nothing runs without.
    Missing,
}

/// One finding.
struct Finding {
    what: &'static str,
    grade: Grade,
    found: String,
    remedy: Option<&'static str>,
}

impl Finding {
    fn new(what: &'static str, grade: Grade, found: impl Into<String>) -> Self {
        Self { what, grade, found: found.into(), remedy: None }
    }

    fn remedy(mut self, remedy: &'static str) -> Self {
        if self.grade != Grade::Good {
            self.remedy = Some(remedy);
        }
        self
    }
}

/// Looks at the host and says what it finds; exit status 1 when something is missing without which nothing runs.
///
/// # Errors
/// The programs are not installed.
pub fn run(args: &DoctorArgs, data_root: &Path) -> Result<ExitCode> {
    let features = features(args)?;
    let mut findings = vec![
        kernel(),
        user_namespaces(),
        seccomp(),
        landlock(&features),
        modules(),
        groups(),
        swap(),
        store(data_root),
        quotas(data_root),
        root(),
    ];
    findings.extend(certificates(data_root));
    for finding in &findings {
        let mark = match finding.grade {
            Grade::Good => "ok     ",
            Grade::Weaker => "weaker ",
            Grade::Missing => "MISSING",
        };
        println!("{mark}  {:<18} {}", finding.what, finding.found);
        if let Some(remedy) = finding.remedy {
            println!("         {:<18} remedy: {remedy}", "");
        }
    }
    let missing = findings.iter().filter(|finding| finding.grade == Grade::Missing).count();
    let weaker = findings.iter().filter(|finding| finding.grade == Grade::Weaker).count();
    println!("{missing} missing, {weaker} weaker than they could be");
    Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What our runtime says of itself and of this kernel.
fn features(args: &DoctorArgs) -> Result<Value> {
    let runtime = up::libexec(args.libexec.as_deref())?.join("runtime");
    let output = Command::new(&runtime).arg("features").output();
    let output = output.map_err(|e| Error::io(runtime.display().to_string(), &e))?;
    serde_json::from_slice(&output.stdout).map_err(|e| Error::new("runtime features", e.to_string()))
}

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let grade = match version {
        (0..5, _) | (5, 0..12) => Grade::Missing,
        (5, _) | (6, 0..12) => Grade::Weaker,
        _ => Grade::Good,
    };
    Finding::new("kernel", grade, release).remedy(
        "Linux 5.12 is the oldest that works, 6.12 the oldest that has everything the policies ask for",
    )
}

fn user_namespaces() -> Finding {
    let most = number("/proc/sys/user/max_user_namespaces").unwrap_or(0);
    let grade = if most > 0 { Grade::Good } else { Grade::Missing };
    Finding::new("user namespaces", grade, format!("at most {most}"))
        .remedy("sysctl user.max_user_namespaces=15000, and a kernel with CONFIG_USER_NS")
}

fn seccomp() -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let grade = if actions.contains("errno") { Grade::Good } else { Grade::Missing };
    let found = if actions.is_empty() { "none".to_owned() } else { actions.trim().to_owned() };
    Finding::new("seccomp", grade, found).remedy("a kernel with CONFIG_SECCOMP_FILTER")
}

fn landlock(features: &Value) -> Finding {
    let abi =
        features["annotations"]["io.casemate.landlock"].as_str().and_then(|abi| abi.parse::<u32>().ok());
    let (grade, found) = match abi {
        Some(abi @ 6..) => (Grade::Good, format!("ABI {abi}")),
        Some(abi @ 1..) => (Grade::Weaker, format!("ABI {abi}; scopes for signals and sockets are ABI 6")),
        _ => (Grade::Weaker, "not there; policies that insist on it refuse".to_owned()),
    };
    Finding::new("Landlock", grade, found)
        .remedy("boot with lsm=landlock,… (CONFIG_SECURITY_LANDLOCK), or a newer kernel")
}

fn modules() -> Finding {
    let active = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let has = active.split(',').any(|name| matches!(name.trim(), "apparmor" | "selinux"));
    let found = if has { active.trim().to_owned() } else { "neither AppArmor nor SELinux".to_owned() };
    // Not ours to demand: it is a second fence where the distribution has one.
    Finding::new("security modules", Grade::Good, found)
}

fn groups() -> Finding {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let kinds: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    match (kinds.contains(&"cgroup2"), kinds.contains(&"cgroup")) {
        (true, false) => Finding::new("control groups", Grade::Good, "v2"),
        (true, true) => Finding::new("control groups", Grade::Weaker, "v1 with v2 beside it")
            .remedy("boot with systemd.unified_cgroup_hierarchy=1: births into a v2 group are quicker, and freezing is surer"),
        (false, true) => Finding::new("control groups", Grade::Weaker, "v1")
            .remedy("boot with systemd.unified_cgroup_hierarchy=1"),
        (false, false) => Finding::new("control groups", Grade::Missing, "none is mounted")
            .remedy("mount -t cgroup2 none /sys/fs/cgroup"),
    }
}

fn swap() -> Finding {
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|all| all.contains("memory"));
    let has_swap = fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1);
    let accounted = Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists() || v2;
    let grade = if has_swap && !accounted { Grade::Weaker } else { Grade::Good };
    let found = match (has_swap, accounted) {
        (false, _) => "no swap",
        (true, true) => "accounted",
        (true, false) => "not accounted: a container's memory limit does not hold its swap",
    };
    Finding::new("swap", grade, found).remedy("boot with swapaccount=1")
}

fn store(data_root: &Path) -> Finding {
    let place = data_root.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/"));
    let kind = statfs(place).ok().and_then(|found| u64::try_from(found.f_type).ok());
    // linux/magic.h
    let (grade, found) = match kind {
        Some(0xef53) => (Grade::Good, "ext4"),
        Some(0x5846_5342) => (Grade::Good, "xfs"),
        Some(0x9123_683e) => (Grade::Good, "btrfs"),
        Some(0x0102_1994) => (Grade::Weaker, "tmpfs: id-mapped since Linux 6.3, and gone after a reboot"),
        Some(0x794c_7630) => (Grade::Missing, "overlay: it cannot hold an overlay's upper layer"),
        _ => (Grade::Weaker, "a filesystem that we have not tried"),
    };
    Finding::new("store", grade, found).remedy("put the data root on ext4 or xfs")
}

/// Nobody gets in once these have ended. Nothing is said of a data root that is not there, or not to be looked into.
fn certificates(data_root: &Path) -> Vec<Finding> {
    let Ok(place) = Place::find(data_root) else { return Vec::new() };
    let now = jiff::Timestamp::now().as_second();
    let mut findings = Vec::new();
    let mut say = |what, end: i64| {
        let day = jiff::Timestamp::from_second(end).map_or_else(|_| end.to_string(), |when| when.to_string());
        let (grade, found) = match end - now {
            ..0 => (Grade::Missing, format!("ended {day}: no client gets in")),
            0..SOON => (Grade::Weaker, format!("ends {day}: no client gets in after that")),
            _ => (Grade::Good, format!("until {day}")),
        };
        findings.push(Finding::new(what, grade, found).remedy("casemate pki renew"));
    };
    if let Ok(Some(end)) = validity::list_end(&place) {
        say("revocation list", end);
    }
    if let Ok((end, _)) = validity::server(&place) {
        say("server certificate", end);
    }
    findings
}

/// Whether the file system that the data root is on was mounted with quotas for projects.
fn quotas(data_root: &Path) -> Finding {
    let place = data_root.ancestors().find(|place| place.exists()).unwrap_or(Path::new("/"));
    let place = fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    // Of two at one place, the later one is seen.
    let found = fields.filter(|mount| mount.get(1).is_some_and(|at| place.starts_with(at)));
    let mount =
        found.enumerate().max_by_key(|(order, mount)| (mount.get(1).map_or(0, |at| at.len()), *order));
    let options = mount.and_then(|(_, mount)| mount.get(3).copied()).unwrap_or_default();
    let has = options.split(',').any(|option| matches!(option, "prjquota" | "pquota"));
    let grade = if has { Grade::Good } else { Grade::Weaker };
    let found = if has { "of projects" } else { "none: docker run --storage-opt size= is refused" };
    Finding::new("disk quotas", grade, found)
        .remedy("mount the data root's file system with prjquota; ext4 needs tune2fs -O project,quota -Q prjquota before")
}

fn root() -> Finding {
    if rootless::is_hosts_root() {
        return Finding::new("rights", Grade::Good, "root");
    }
    let found = match up::way_out() {
        true => "not root: no control groups, and containers share the user's ids",
        false => "not root: no networks, no control groups, and containers share the user's ids",
    };
    Finding::new("rights", Grade::Weaker, found)
        .remedy("docs/install.md, \"Without root\"; networks take the package slirp4netns")
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
