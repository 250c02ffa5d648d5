//! What the OCI configuration has no words for: filters beside the bundle's own, and Landlock.

use casemate_spec::mount::attr;
use oci_spec::runtime::Capabilities;

use super::mounts::options;
use super::{Case, plain};
use crate::confinement::{Landlock, Missing};
use crate::schema::{Allow, is_beneath};
use crate::seccomp::{Arch, Context, admits_no_more, resolve};

pub(super) fn apply(case: &mut Case<'_>) {
    filters(case);
    landlock(case);
}

fn filters(case: &mut Case<'_>) {
    let none = Capabilities::default();
    let sets = case.process().and_then(|process| process.capabilities().as_ref());
    let bounding = sets.and_then(|sets| sets.bounding().as_ref()).unwrap_or(&none);
    let context = Context { capabilities: bounding, arch: Arch::BUILD, kernel: case.host.kernel };
    let theirs = case.linux().and_then(|linux| linux.seccomp().as_ref());
    let mut filters = Vec::new();
    for rule in &case.rules.seccomp {
        let filter = match rule.allow.as_slice() {
            [] => resolve(&rule.profile, &context),
            names => resolve(&rule.profile.allowing(names), &context),
        };
        // What the bundle brings may be the same list, as under Docker: once is enough.
        if !theirs.is_some_and(|theirs| admits_no_more(theirs, &filter)) {
            filters.push(filter);
        }
    }
    case.confinement.filters = filters;
}

/// The ABI that brought each right: files 1, TCP 4, scopes 6 (landlock(7)).
const ABI_FILES: u32 = 1;
const ABI_TCP: u32 = 4;
const ABI_SCOPES: u32 = 6;

fn landlock(case: &mut Case<'_>) {
    let rule = &case.rules.landlock;
    if !rule.enforce {
        return;
    }
    let tcp = rule.bind_tcp.is_some() || rule.connect_tcp.is_some();
    let scopes = rule.scope_abstract_sockets || rule.scope_signals;
    let needed = [(ABI_SCOPES, scopes), (ABI_TCP, tcp), (ABI_FILES, true)];
    let needed = needed.iter().find(|(_, needed)| *needed).map_or(ABI_FILES, |(abi, _)| *abi);
    if rule.missing == Missing::Refuse && case.host.landlock_abi < needed {
        case.deny(
            "landlock",
            "linux",
            format!("a kernel with Landlock ABI {}", case.host.landlock_abi),
            format!("one with ABI {needed}"),
            "landlock.missing = \"report\"",
        );
    }
    case.confinement.landlock = Some(Landlock {
        writable: within(&rule.writable, writable(case)),
        write_xor_execute: rule.write_xor_execute,
        bind_tcp: rule.bind_tcp.clone(),
        connect_tcp: rule.connect_tcp.clone(),
        scope_abstract_sockets: rule.scope_abstract_sockets,
        scope_signals: rule.scope_signals,
        missing: rule.missing,
    });
}

/// What can be written: everything, or what is mounted writable on a read-only root.
fn writable(case: &Case<'_>) -> Vec<String> {
    let root = case.config.spec.root().as_ref();
    if root.is_none_or(|root| root.readonly() != Some(true)) {
        return vec!["/".to_owned()];
    }
    // Every container has /dev, whether it is mounted or made in its root.
    let mut paths = vec!["/dev".to_owned()];
    for mount in case.config.spec.mounts().iter().flatten() {
        let path = plain(mount.destination());
        let read_only = options(mount).set & attr::RDONLY != 0;
        // What was mounted there before is covered.
        paths.retain(|earlier| *earlier != path);
        if !read_only {
            paths.push(path);
        }
    }
    paths.sort();
    paths.dedup();
    paths
}

/// Devices, and a process's own settings.
const KERNELS: [&str; 2] = ["/dev", "/proc"];

/// Of what can be written, what the policy lets be written. What is the kernel's is judged elsewhere, and stays.
fn within(most: &Allow<crate::schema::AbsolutePath>, writable: Vec<String>) -> Vec<String> {
    let Some(most) = most.list() else { return writable };
    let mut paths: Vec<String> = Vec::new();
    for path in &writable {
        paths.extend(KERNELS.iter().filter(|top| is_beneath(path, top)).map(|_| path.clone()));
        // The deeper of the two.
        paths.extend(most.iter().filter(|top| is_beneath(path, &top.0)).map(|_| path.clone()));
        paths.extend(most.iter().filter(|place| is_beneath(&place.0, path)).map(|place| place.0.clone()));
    }
    if writable.iter().any(|path| path == "/") {
        paths.extend(KERNELS.map(str::to_owned));
    }
    paths.sort();
    paths.dedup();
    paths
}
