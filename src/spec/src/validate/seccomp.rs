//! Seccomp: what the specification forbids, before the compiler sees it.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSyscall};

use super::{Findings, shown_path};

/// The kernel's `MAX_ERRNO`: a larger number would reach the program as something else.
const MOST_ERRNO: u32 = 4095;

pub(super) fn check(seccomp: &LinuxSeccomp, findings: &mut Findings) {
    use LinuxSeccompAction::ScmpActNotify;
    let action = seccomp.default_action();
    check_errno(action, seccomp.default_errno_ret(), "linux.seccomp.defaultErrnoRet", findings);
    if action == ScmpActNotify {
        let field = "linux.seccomp.defaultAction";
        findings.add("oci/seccomp", field, "any action but SCMP_ACT_NOTIFY", "SCMP_ACT_NOTIFY");
        findings.remedy("the listener itself could not be handed over");
    }
    if let Some(path) = seccomp.listener_path().as_ref().filter(|path| !path.is_absolute()) {
        findings.add("oci/seccomp", "linux.seccomp.listenerPath", "an absolute path", shown_path(path));
    }
    let rules = seccomp.syscalls().as_deref().unwrap_or_default();
    if rules.iter().any(|rule| rule.action() == ScmpActNotify) && seccomp.listener_path().is_none() {
        let allowed = "the socket of who answers SCMP_ACT_NOTIFY";
        findings.add("oci/seccomp", "linux.seccomp.listenerPath", allowed, "none");
    }
    for (index, rule) in rules.iter().enumerate() {
        check_rule(rule, &format!("linux.seccomp.syscalls[{index}]"), findings);
    }
}

fn check_rule(rule: &LinuxSyscall, field: &str, findings: &mut Findings) {
    if rule.names().is_empty() {
        findings.add("oci/seccomp", format!("{field}.names"), "at least one name", "none");
    }
    check_errno(rule.action(), rule.errno_ret(), &format!("{field}.errnoRet"), findings);
    let notify = rule.action() == LinuxSeccompAction::ScmpActNotify;
    if notify && rule.names().iter().any(|name| name == "write") {
        // The waiting process writes to us after the filter is on: it would wait for a listener nobody has yet.
        findings.add("oci/seccomp", format!("{field}.names"), "no SCMP_ACT_NOTIFY for write", "write");
    }
    for (number, argument) in rule.args().iter().flatten().enumerate() {
        if argument.index() > 5 {
            let field = format!("{field}.args[{number}].index");
            findings.add("oci/seccomp", field, "0 to 5", argument.index().to_string());
        }
    }
}

/// The specification: an action that returns no number must not be given one.
fn check_errno(action: LinuxSeccompAction, errno: Option<u32>, field: &str, findings: &mut Findings) {
    let most = match action {
        LinuxSeccompAction::ScmpActErrno => MOST_ERRNO,
        LinuxSeccompAction::ScmpActTrace => u32::from(u16::MAX),
        _ if errno.is_some() => {
            findings.add(
                "oci/seccomp",
                field,
                "a number for SCMP_ACT_ERRNO or SCMP_ACT_TRACE alone",
                action.to_string(),
            );
            return;
        }
        _ => return,
    };
    if let Some(errno) = errno.filter(|errno| *errno > most) {
        findings.add("oci/seccomp", field, format!("0 to {most}"), errno.to_string());
    }
}
