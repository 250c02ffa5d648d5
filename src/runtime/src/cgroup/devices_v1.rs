//! Device rules on cgroup v1: a default and a flat list of exceptions, into which ordered rules have to be folded.

use casemate_spec::{Error, Result};

use super::devices::{Access, Devices, Kind, Rule, Rules};
use super::dir::Dir;

/// Writes the rules to `devices.deny` and `devices.allow` (Documentation/admin-guide/cgroup-v1/devices.rst).
pub(super) fn confine(dir: &Dir, rules: &Rules) -> Result<()> {
    let exceptions = fold(rules)?;
    let (reset, file) = if rules.allow_by_default {
        ("devices.allow", "devices.deny")
    } else {
        ("devices.deny", "devices.allow")
    };
    // A new cgroup has its parent's rules. Asking again for all where all is allowed would be refused in a nested one.
    let open = rules.allow_by_default && dir.read("devices.list")?.trim() == "a *:* rwm";
    if !open {
        dir.write(reset, "a")?;
    }
    exceptions.iter().try_for_each(|exception| dir.write(file, &exception.line()))
}

/// Devices that depart from the default, and in what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exception {
    pub(super) devices: Devices,
    pub(super) access: Access,
}

impl Exception {
    fn line(&self) -> String {
        let kind = match self.devices.kind {
            Kind::Block => 'b',
            Kind::Char => 'c',
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
        format!(
            "{kind} {}:{} {}",
            number(self.devices.major),
            number(self.devices.minor),
            self.access.letters()
        )
    }
}

/// The exceptions that amount to the ordered rules.
///
/// A rule that returns to the default for a part of an earlier, wider exception cannot be told to v1; the kernel would
/// take it and not heed it, so it is refused.
pub(super) fn fold(rules: &Rules) -> Result<Vec<Exception>> {
    let mut exceptions: Vec<Exception> = Vec::new();
    for rule in &rules.rules {
        if rule.allow != rules.allow_by_default {
            match exceptions.iter_mut().find(|e| e.devices == rule.devices) {
                Some(same) => same.access = same.access.with(rule.access),
                None => exceptions.push(Exception { devices: rule.devices, access: rule.access }),
            }
            continue;
        }
        for exception in &mut exceptions {
            if rule.devices.cover(exception.devices) {
                exception.access = exception.access & !rule.access;
            } else if rule.devices.meet(exception.devices) && !(exception.access & rule.access).is_empty() {
                return Err(inexpressible(rule, exception));
            }
        }
        exceptions.retain(|exception| !exception.access.is_empty());
    }
    Ok(join(exceptions))
}

/// The kernel wants one exception to grant all of a request: what a wider exception grants goes into the narrower ones.
fn join(mut exceptions: Vec<Exception>) -> Vec<Exception> {
    let wide: Vec<(Devices, Access)> = exceptions.iter().map(|e| (e.devices, e.access)).collect();
    for exception in &mut exceptions {
        for (devices, access) in &wide {
            if devices.cover(exception.devices) {
                exception.access = exception.access.with(*access);
            }
        }
    }
    exceptions
}

fn inexpressible(rule: &Rule, exception: &Exception) -> Error {
    let narrow = Exception { devices: rule.devices, access: rule.access };
    let why = format!(
        "cgroup v1 cannot except {:?} from the wider {:?} that an earlier rule {}",
        narrow.line(),
        exception.line(),
        if rule.allow { "denies" } else { "allows" },
    );
    Error::new("linux.resources.devices", why).hint("list the devices one by one, or use cgroup v2")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> impl Strategy<Value = Rules> {
        let number = || proptest::option::of(0_u32..3);
        let access =
            prop_oneof![Just(Access::READ), Just(Access::WRITE), Just(Access::MKNOD), Just(Access::ALL)];
        let kind = prop_oneof![Just(Kind::Block), Just(Kind::Char)];
        let rule = (any::<bool>(), kind, number(), number(), access).prop_map(
            |(allow, kind, major, minor, access)| Rule {
                allow,
                devices: Devices { kind, major, minor },
                access,
            },
        );
        (any::<bool>(), proptest::collection::vec(rule, 0..8))
            .prop_map(|(allow_by_default, rules)| Rules { allow_by_default, rules })
    }

    /// The kernel's `match_exception` and `match_exception_partial` of security/device_cgroup.c.
    fn kernel(default: bool, exceptions: &[Exception], device: Devices, access: Access) -> bool {
        let mut matching = exceptions.iter().filter(|e| e.devices.cover(device));
        if default {
            !matching.any(|e| !(e.access & access).is_empty())
        } else {
            matching.any(|e| (access & !e.access).is_empty())
        }
    }

    proptest! {
        #[test]
        fn what_is_folded_decides_as_the_rules_do(rules in rules()) {
            let Ok(exceptions) = fold(&rules) else { return Ok(()) };
            for kind in [Kind::Block, Kind::Char] {
                for (major, minor) in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
                    for access in [Access::READ, Access::WRITE, Access::MKNOD, Access::READ.with(Access::WRITE), Access::ALL] {
                        let device = Devices { kind, major: Some(major), minor: Some(minor) };
                        let want = rules.verdict(kind, major, minor, access);
                        let have = kernel(rules.allow_by_default, &exceptions, device, access);
                        // v1 may deny a combined request whose parts two overlapping exceptions grant, never more.
                        prop_assert!(have == want || (want && !have), "{kind:?} {major}:{minor} {access:?}");
                        if access != Access::ALL && access != Access::READ.with(Access::WRITE) {
                            prop_assert_eq!(have, want);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_exception_from_an_exception_is_refused() {
        let all = Devices { kind: Kind::Char, major: Some(1), minor: None };
        let one = Devices { minor: Some(3), ..all };
        let rule = |allow, devices| Rule { allow, devices, access: Access::ALL };
        let rules = Rules { allow_by_default: false, rules: vec![rule(true, all), rule(false, one)] };
        assert!(fold(&rules).unwrap_err().to_string().contains("cannot except"));
    }
}
