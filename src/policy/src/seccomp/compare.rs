//! Whether one filter provably lets nothing pass that another would not.

use oci_spec::runtime::{Arch as OciArch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSyscall};

use super::Arch;

/// Whether every call that `inner` lets pass, `outer` allows as well: then `outer` adds nothing beside `inner`.
///
/// Found by comparing rule with rule, without reasoning about values: false where it is not plain to see. Engines
/// hand over the very profile that `baseline` asks for, and one filter in place of two is a shorter start.
pub fn admits_no_more(inner: &LinuxSeccomp, outer: &LinuxSeccomp) -> bool {
    if passes(inner.default_action()) || passes(outer.default_action()) || !is_covered(inner, outer) {
        return false;
    }
    let same_default = inner.default_action() == outer.default_action()
        && inner.default_errno_ret() == outer.default_errno_ret();
    if same_default && inner.syscalls() == outer.syscalls() {
        return true;
    }
    let ours = Named::new(outer);
    // These carry other calls, which could be allowed under their own names and refused here.
    if ["socketcall", "ipc"].iter().any(|name| !ours.rules(name).all(allows)) {
        return false;
    }
    let rules = inner.syscalls().iter().flatten().filter(|rule| passes(rule.action()));
    rules.flat_map(|rule| rule.names().iter().map(move |name| (rule, name))).all(|(rule, name)| {
        if ours.rules(name).all(allows) {
            ours.rules(name).any(|ours| arguments(ours).is_empty() || arguments(ours) == arguments(rule))
        } else {
            // Which of several rules decides depends on all of them, and on the default.
            let theirs = inner.syscalls().iter().flatten().filter(|rule| rule.names().contains(name));
            same_default && theirs.map(parts).eq(ours.rules(name).map(parts))
        }
    })
}

/// A filter's rules by the names of system calls, in its own order where there are several for one.
struct Named<'a>(Vec<(&'a str, usize, &'a LinuxSyscall)>);

impl<'a> Named<'a> {
    fn new(filter: &'a LinuxSeccomp) -> Self {
        let rules = filter.syscalls().iter().flatten().enumerate();
        let mut named: Vec<_> = rules
            .flat_map(|(at, rule)| rule.names().iter().map(move |name| (name.as_str(), at, rule)))
            .collect();
        named.sort_unstable_by_key(|(name, at, _)| (*name, *at));
        Self(named)
    }

    fn rules(&self, name: &str) -> impl Iterator<Item = &'a LinuxSyscall> {
        let start = self.0.partition_point(|(known, ..)| *known < name);
        let from = self.0.get(start..).unwrap_or_default().iter();
        from.take_while(move |(known, ..)| *known == name).map(|(_, _, rule)| *rule)
    }
}

fn parts(rule: &LinuxSyscall) -> (LinuxSeccompAction, Option<u32>, &[LinuxSeccompArg]) {
    (rule.action(), rule.errno_ret(), arguments(rule))
}

fn arguments(rule: &LinuxSyscall) -> &[LinuxSeccompArg] {
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
