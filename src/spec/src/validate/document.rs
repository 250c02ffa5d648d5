//! The document as a whole: version, root, names, hooks, annotations.

use oci_spec::runtime::{Hook, Spec};

use super::{Findings, shown, shown_path};

pub(super) fn check(spec: &Spec, findings: &mut Findings) {
    if !is_supported(spec.version()) {
        findings.add("oci/version", "ociVersion", "a version 1.x.y", shown(spec.version()));
    }
    match spec.root() {
        None => findings.add("oci/root", "root", "the container's root filesystem", ""),
        Some(root) if root.path().as_os_str().is_empty() => {
            findings.add("oci/root", "root.path", "a path", "an empty text");
        }
        Some(_) => {}
    }
    for (field, name) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        // The kernel's __NEW_UTS_LEN.
        const LONGEST: usize = 64;
        if let Some(name) = name.as_ref().filter(|name| name.len() > LONGEST) {
            findings.add("oci/uts", field, "at most 64 bytes", format!("{} bytes", name.len()));
        }
    }
    if spec.annotations().iter().flatten().any(|(key, _)| key.is_empty()) {
        findings.add("oci/annotations", "annotations", "keys that are not empty", "an empty key");
    }
    check_hooks(spec, findings);
}

/// Semantic Versioning 2.0 with major version 1: later minor versions only add what may be ignored.
fn is_supported(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = core.split('.').collect();
    let number =
        |part: &&str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(number) && parts.first() == Some(&"1")
}

#[allow(deprecated, reason = "prestart is deprecated in the specification, and engines use it")]
fn check_hooks(spec: &Spec, findings: &mut Findings) {
    let Some(hooks) = spec.hooks() else { return };
    let kinds = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (kind, hooks) in kinds {
        for (index, hook) in hooks.iter().flatten().enumerate() {
            check_hook(hook, &format!("hooks.{kind}[{index}]"), findings);
        }
    }
}

fn check_hook(hook: &Hook, field: &str, findings: &mut Findings) {
    if !hook.path().is_absolute() {
        findings.add("oci/hooks", format!("{field}.path"), "an absolute path", shown_path(hook.path()));
    }
    if let Some(timeout) = hook.timeout().filter(|seconds| *seconds <= 0) {
        findings.add("oci/hooks", format!("{field}.timeout"), "seconds, more than 0", timeout.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::is_supported;

    #[test]
    fn versions_1_are_supported() {
        for good in ["1.0.0", "1.0.2-dev", "1.3.0", "1.99.0-rc.1+build", "1.0.0-rc5"] {
            assert!(is_supported(good), "{good}");
        }
        for bad in ["", "1", "1.0", "2.0.0", "0.9.0", "v1.0.0", "1.0.x", "1.0.0.0", "1..0"] {
            assert!(!is_supported(bad), "{bad}");
        }
    }
}
