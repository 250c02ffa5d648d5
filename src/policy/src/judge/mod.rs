//! The rules applied: each tightens the configuration and says so, or says what stands against it.
//!
//! Order matters where one rule's outcome is another's question: what is shared with the host decides whose ids
//! are had, mounts are judged as they were asked before any is added, and Landlock looks at what came of it all.

mod capabilities;
mod devices;
mod limits;
mod mounts;
mod namespaces;
mod paths;
mod rlimits;
mod rootfs;
mod seal;
mod sources;
mod sysctl;
mod user_namespace;

use casemate_spec::{Config, Violation};
use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, LinuxResources, Process};

use crate::rules::Rules;
use crate::schema::{Word, quoted};
use crate::{Change, Confinement, HostFacts};

pub(crate) use mounts::{is_bind, options};
pub(crate) use paths::plain;
pub use sources::host_paths;
pub(crate) use sysctl::is_usual;
pub(crate) use user_namespace::{IDS, takes_range};

/// A configuration while it is judged.
pub(crate) struct Case<'a> {
    pub config: Config,
    pub rules: &'a Rules,
    pub host: &'a HostFacts,
    pub changes: Vec<Change>,
    pub violations: Vec<Violation>,
    pub confinement: Confinement,
}

impl<'a> Case<'a> {
    pub(crate) fn new(config: Config, rules: &'a Rules, host: &'a HostFacts) -> Self {
        let confinement = Confinement::default();
        Self { config, rules, host, changes: Vec::new(), violations: Vec::new(), confinement }
    }

    /// Applies every rule.
    pub(crate) fn apply_rules(&mut self) {
        namespaces::apply(self);
        user_namespace::apply(self);
        capabilities::apply(self);
        sources::apply(self);
        mounts::apply(self);
        devices::apply(self);
        sysctl::apply(self);
        rootfs::apply(self);
        paths::apply(self);
        limits::apply(self);
        rlimits::apply(self);
        seal::apply(self);
    }

    fn change(
        &mut self,
        rule: &'static str,
        field: impl Into<String>,
        asked: impl Into<String>,
        enforced: impl Into<String>,
    ) {
        let (field, asked, enforced) = (field.into(), asked.into(), enforced.into());
        self.changes.push(Change { rule, field, asked, enforced });
    }

    /// `remedy` is the line of a policy that would admit it.
    fn deny(
        &mut self,
        rule: &'static str,
        field: impl Into<String>,
        asked: impl Into<String>,
        allowed: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (field, asked, allowed) = (field.into(), asked.into(), allowed.into());
        self.violations.push(Violation { rule, field, asked, allowed, remedy: Some(remedy.into()) });
    }

    fn linux(&self) -> Option<&Linux> {
        self.config.spec.linux().as_ref()
    }

    /// What is to be changed there; made when it is missing.
    fn linux_mut(&mut self) -> &mut Linux {
        self.config.spec.linux_mut().get_or_insert_with(empty_linux)
    }

    fn resources_mut(&mut self) -> &mut LinuxResources {
        self.linux_mut().resources_mut().get_or_insert_with(LinuxResources::default)
    }

    fn process(&self) -> Option<&Process> {
        self.config.spec.process().as_ref()
    }

    fn namespace(&self, kind: LinuxNamespaceType) -> Option<&LinuxNamespace> {
        let list = self.linux().and_then(|linux| linux.namespaces().as_ref());
        list.into_iter().flatten().find(|namespace| namespace.typ() == kind)
    }

    /// Whether the container is in the host's namespace of that kind: by not asking, or by a path that leads there.
    fn is_the_hosts(&self, kind: LinuxNamespaceType) -> bool {
        self.namespace(kind).is_none() || self.host.host.shared.contains(&kind)
    }
}

/// The type's own default asks for a great deal.
fn empty_linux() -> Linux {
    let mut linux = Linux::default();
    linux
        .set_net_devices(None)
        .set_uid_mappings(None)
        .set_gid_mappings(None)
        .set_sysctl(None)
        .set_resources(None)
        .set_cgroups_path(None)
        .set_namespaces(None)
        .set_devices(None)
        .set_seccomp(None)
        .set_rootfs_propagation(None)
        .set_masked_paths(None)
        .set_readonly_paths(None)
        .set_mount_label(None)
        .set_intel_rdt(None)
        .set_personality(None)
        .set_time_offsets(None)
        .set_memory_policy(None);
    linux
}

/// The line of a policy that adds `items` to a list of what is allowed.
fn adding<T: Word>(key: &str, items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(&item.text())).collect();
    format!("{key} = [\"...\", {}]", items.join(", "))
}

/// A few of many, for one line.
fn some_of(items: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = items.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
