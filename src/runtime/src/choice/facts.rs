//! What of this host a policy depends on; asked on the way to every container, so nothing here costs more than a
//! system call.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use casemate_core::sys::landlock;
use casemate_policy::{FromStore, HostFacts};
use casemate_spec::{Config, Host};
use rustix::fs::{Mode, OFlags};
use rustix::thread::sched_getaffinity;

use crate::cgroup::{Layout, Wish};
use crate::cli::Global;
use crate::ids;

/// The host's facts; `host` is what the specification's own rules depend on, and `bundle` is where relative sources
/// of mounts begin.
/// `root` is where the root filesystem's files lie, where that is not the configuration's `root.path`.
pub fn facts(global: &Global, host: Host, config: &Config, bundle: &Path, root: Option<&Path>) -> HostFacts {
    HostFacts {
        host,
        landlock_abi: landlock::abi(),
        kernel: kernel(),
        in_user_namespace: global.is_confined(),
        no_range: no_range(global, config, bundle, root),
        no_limits: no_limits(global, config),
        sources: sources(config, bundle),
        // A host that does not tell leaves the policy's limits on CPU time to be what they are without it.
        cpus: sched_getaffinity(None).map_or(0, |set| set.count()),
        store: FromStore::default(),
        store_range: false,
    }
}

/// A container of a caller who is not root of the host has the caller's ids in any case.
fn no_range(global: &Global, config: &Config, bundle: &Path, root: Option<&Path>) -> Option<String> {
    let asked = config.spec.root().as_ref().filter(|_| !global.is_confined())?;
    ids::obstacle(root.unwrap_or(&bundle.join(asked.path())))
}

/// Why limits that nobody asked for cannot be had. Root has every control group; a user those that were delegated.
fn no_limits(global: &Global, config: &Config) -> Option<String> {
    if !global.is_rootless() {
        return None;
    }
    let path = config.spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    // Any name has the same parent. What has no place at all, the birth will say.
    let id = "container".parse().ok()?;
    let wish = Wish { id: &id, path, systemd: global.systemd_cgroup, rootless: true };
    let placement = Layout::discover().and_then(|layout| layout.place(&wish)).ok()?;
    placement.is_refused().then(|| "no permission on control groups".to_owned())
}

/// Where the paths of the host that the container is shown lead, for those that lead elsewhere than they say. One that
/// cannot be opened cannot be mounted either, and the birth will say so.
fn sources(config: &Config, bundle: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let mut leads = BTreeMap::new();
    for source in casemate_policy::host_paths(config) {
        let lead = rustix::fs::open(bundle.join(source), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .ok()
            .and_then(|opened| descriptor_path(&opened).ok());
        if let Some(lead) = lead.filter(|lead| lead != source) {
            leads.insert(source.to_owned(), lead);
        }
    }
    leads
}

/// The path that the kernel has for a descriptor (proc_pid_fd(5)).
fn descriptor_path(descriptor: &OwnedFd) -> std::io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

fn kernel() -> (u32, u32) {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
