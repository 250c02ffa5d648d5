//! What a well-formed configuration may still not say: the specification's rules that cross fields, and what
//! the kernel is sure to refuse later, in less helpful words.
//!
//! Rules are those of runtime-spec 1.3; where it leaves room, runc's reading is taken, so that what starts
//! there starts here. Every rule is pure: what depends on the host's files is checked where they are used.

mod document;
mod idmap;
mod lists;
mod mounts;
mod namespaces;
mod process;
mod resources;
mod seccomp;
mod sysctl;

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Process};

pub use self::resources::validate_resources;
pub use self::sysctl::sysctl_path;
use crate::{Config, Violation};

/// What the rules need to know of the host; gathered by the caller, since this crate does no I/O.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The runtime is not root in its own user namespace (effective uid other than 0).
    pub rootless: bool,
    /// Namespaces the configuration joins by path that are the runtime's own (same device and inode as
    /// `/proc/self/ns/*`): nothing that is per namespace may be changed there.
    pub shared: Vec<LinuxNamespaceType>,
}

/// All rules that `config` breaks; empty when it is good.
pub fn validate(config: &Config, host: &Host) -> Vec<Violation> {
    let spec = &config.spec;
    let spaces = Spaces::of(config, host);
    let mut findings = Findings::default();
    document::check(spec, &mut findings);
    match spec.process() {
        Some(process) => process::check(process, "process.", &mut findings),
        None => findings.add("oci/process", "process", "what to run", ""),
    }
    namespaces::check(spec, &spaces, &mut findings);
    idmap::check(spec, &spaces, &mut findings);
    mounts::check(spec, &spaces, &mut findings);
    if let Some(linux) = spec.linux() {
        sysctl::check(linux, &spaces, &mut findings);
        resources::check(linux, &mut findings);
        linux.seccomp().iter().for_each(|seccomp| seccomp::check(seccomp, &mut findings));
    }
    findings.0
}

/// All rules that a process for `exec` breaks. Fields are named as the document names them: `cwd`, `args[0]`.
pub fn validate_process(process: &Process) -> Vec<Violation> {
    let mut findings = Findings::default();
    process::check(process, "", &mut findings);
    findings.0
}

/// Violations as they are found.
#[derive(Debug, Default)]
struct Findings(Vec<Violation>);

impl Findings {
    fn add(
        &mut self,
        rule: &'static str,
        field: impl Into<String>,
        allowed: impl Into<String>,
        asked: impl Into<String>,
    ) {
        let (field, allowed, asked) = (field.into(), allowed.into(), asked.into());
        self.0.push(Violation { rule, field, asked, allowed, remedy: None });
    }

    /// Adds what would help to the violation added last.
    fn remedy(&mut self, remedy: impl Into<String>) {
        if let Some(last) = self.0.last_mut() {
            last.remedy = Some(remedy.into());
        }
    }
}

/// Which namespaces the container has of its own, and how ids are mapped: most rules ask.
struct Spaces<'a> {
    list: &'a [LinuxNamespace],
    shared: &'a [LinuxNamespaceType],
    uids: &'a [LinuxIdMapping],
    gids: &'a [LinuxIdMapping],
    rootless: bool,
}

impl<'a> Spaces<'a> {
    fn of(config: &'a Config, host: &'a Host) -> Self {
        let linux = config.spec.linux().as_ref();
        Self {
            list: linux.and_then(|l| l.namespaces().as_deref()).unwrap_or_default(),
            shared: &host.shared,
            uids: linux.and_then(|l| l.uid_mappings().as_deref()).unwrap_or_default(),
            gids: linux.and_then(|l| l.gid_mappings().as_deref()).unwrap_or_default(),
            rootless: host.rootless,
        }
    }

    fn named(&self, kind: LinuxNamespaceType) -> Option<&'a LinuxNamespace> {
        self.list.iter().find(|namespace| namespace.typ() == kind)
    }

    /// New, or joined by path: in any case asked for.
    fn has(&self, kind: LinuxNamespaceType) -> bool {
        self.named(kind).is_some()
    }

    /// Made for this container.
    fn is_new(&self, kind: LinuxNamespaceType) -> bool {
        self.named(kind).is_some_and(|namespace| namespace.path().is_none())
    }

    /// Not the runtime's own, by absence or by a path that leads back to it.
    fn is_private(&self, kind: LinuxNamespaceType) -> bool {
        self.has(kind) && !self.shared.contains(&kind)
    }
}

/// Text of the document as it is shown in a violation: quoted, on one line, not too long.
fn shown(text: &str) -> String {
    crate::config::Shown(text).to_string()
}

/// A path of the document, shown likewise.
fn shown_path(path: &std::path::Path) -> String {
    shown(&path.to_string_lossy())
}

#[cfg(test)]
mod tests;
