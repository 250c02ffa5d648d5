//! Whether one filter provably lets nothing pass that another would not.

use std::collections::HashMap;

use oci_spec::runtime::{Arch as OciArch, LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

use super::Arch;

/// Whether every call that `inner` lets pass, `outer` allows as well: then `outer` adds nothing beside `inner`.
///
/// Found by comparing rule with rule, without reasoning about values: false where it is not plain to see. Engines
/// hand over the very profile that `baseline` asks for, and one filter in place of two is a shorter start.
pub fn admits_no_more(inner: &LinuxSeccomp, outer: &LinuxSeccomp) -> bool {
    if passes(inner.default_action()) || passes(outer.default_action()) || !is_covered(inner, outer) {
        return false;
    }
    let (theirs, ours) = (by_name(inner), by_name(outer));
    // These carry other calls, which could be allowed under their own names and refused here.
    let carries = ["socketcall", "ipc"].iter().filter_map(|name| ours.get(name)).flatten();
    if carries.into_iter().any(|rule| !allows(rule)) {
        return false;
    }
    let same_default = inner.default_action() == outer.default_action()
        && inner.default_errno_ret() == outer.default_errno_ret();
    theirs.iter().all(|(name, theirs)| {
        let ours = ours.get(name).map(Vec::as_slice).unwrap_or_default();
        if ours.iter().all(|rule| allows(rule)) {
            theirs.iter().filter(|rule| passes(rule.action())).all(|rule| is_allowed(rule, ours))
        } else {
            // Which of several rules decides depends on all of them, and on the default.
            !theirs.iter().any(|rule| passes(rule.action())) || same_default && are_alike(theirs, ours)
        }
    })
}

fn by_name(filter: &LinuxSeccomp) -> HashMap<&str, Vec<&LinuxSyscall>> {
    let mut rules: HashMap<_, Vec<_>> = HashMap::new();
    for rule in filter.syscalls().iter().flatten() {
        for name in rule.names() {
            rules.entry(name.as_str()).or_default().push(rule);
        }
    }
    rules
}

fn is_allowed(rule: &LinuxSyscall, ours: &[&LinuxSyscall]) -> bool {
    ours.iter().any(|ours| arguments(ours).is_empty() || arguments(ours) == arguments(rule))
}

fn are_alike(theirs: &[&LinuxSyscall], ours: &[&LinuxSyscall]) -> bool {
    let parts = |rule: &LinuxSyscall| (rule.action(), rule.errno_ret(), rule.args().clone());
    theirs.iter().map(|rule| parts(rule)).eq(ours.iter().map(|rule| parts(rule)))
}

fn arguments(rule: &LinuxSyscall) -> &[oci_spec::runtime::LinuxSeccompArg] {
    rule.args().as_deref().unwrap_or_default()
}

fn allows(rule: &LinuxSyscall) -> bool {
    rule.action() == LinuxSeccompAction::ScmpActAllow
}

/// Whether a call with this answer can be carried out after all.
fn passes(action: LinuxSeccompAction) -> bool {
    use LinuxSeccompAction::{ScmpActAllow, ScmpActLog, ScmpActNotify, ScmpActTrace};
    matches!(action, ScmpActAllow | ScmpActLog | ScmpActNotify | ScmpActTrace)
}

/// Whether `outer` has rules for every architecture that `inner` has; calls of any other one are deadly.
fn is_covered(inner: &LinuxSeccomp, outer: &LinuxSeccomp) -> bool {
    let listed = outer.architectures().as_deref().unwrap_or_default();
    let own = [OciArch::ScmpArchNative, Arch::BUILD.oci()];
    inner.architectures().iter().flatten().all(|arch| own.contains(arch) || listed.contains(arch))
}
