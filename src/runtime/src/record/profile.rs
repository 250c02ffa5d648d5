//! The calls that were seen, as an allow-list in the OCI form.

use std::collections::BTreeMap;

use casemate_policy::seccomp::RUNTIME_NEEDS;
use serde_json::{Value, json};

use super::calls::{self, BLIND, BY_CHANCE, UNWATCHED, WRITE_EXECUTE, told};
use super::seen::{MOST_VALUES, Seen, Uses};

/// ENOSYS: what programs fall back on.
const ENOSYS: u32 = 38;

/// The profile; `assumed` are calls that could not be watched and are let pass.
pub fn profile(seen: &Seen, assumed: &[String]) -> Value {
    let mut rules = vec![
        rule(
            &RUNTIME_NEEDS,
            "what the runtime calls between loading this filter and the start of the program",
        ),
        rule(UNWATCHED, "every process ends and returns from signals"),
        rule(BY_CHANCE, "made or not by chance: lock contention, a clock that the vDSO cannot read"),
    ];
    let mut blind =
        rule(&[BLIND], "its arguments are in memory, out of a filter's sight: programs fall back on clone");
    set(&mut blind, "action", json!("SCMP_ACT_ERRNO"));
    set(&mut blind, "errnoRet", json!(ENOSYS));
    rules.push(blind);
    if !assumed.is_empty() {
        rules.push(rule(assumed, "could not be watched, and is assumed to be needed"));
    }
    let given = |name: &str| {
        RUNTIME_NEEDS.contains(&name)
            || UNWATCHED.contains(&name)
            || BY_CHANCE.contains(&name)
            || name == BLIND
            || assumed.iter().any(|known| known == name)
    };
    let mut plain: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, uses) in seen.calls.iter().filter(|(name, _)| !given(name)) {
        let conditions = conditions(name, uses, seen.i386);
        if conditions.is_empty() {
            plain.entry(&uses.first).or_default().push(name);
        }
        rules.extend(conditions);
    }
    for (program, names) in plain {
        rules.push(rule(names, &format!("first made by {program}")));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "architectures": architectures(seen.i386),
        "syscalls": rules,
    })
}

fn architectures(i386: bool) -> &'static [&'static str] {
    match (cfg!(target_arch = "aarch64"), i386) {
        (true, _) => &["SCMP_ARCH_AARCH64"],
        (false, false) => &["SCMP_ARCH_X86_64"],
        (false, true) => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
    }
}

/// Rules for the values of the argument by which uses of a call are told apart; none where all are let pass.
fn conditions(name: &str, uses: &Uses, i386: bool) -> Vec<Value> {
    let Some(told) = told(name).filter(|_| !uses.values.is_empty() && uses.values.len() <= MOST_VALUES)
    else {
        return Vec::new();
    };
    // i386's mmap has its arguments in memory.
    if i386 && name == "mmap" {
        return Vec::new();
    }
    if told.mask == WRITE_EXECUTE {
        return protections(name, uses, told.index);
    }
    let one = |value: &u64| {
        let word = calls::word(name, *value);
        let word = if word.is_empty() { format!("{value:#x}") } else { word.to_owned() };
        let argument = if told.mask == 0xffff_ffff {
            json!({"index": told.index, "value": value, "op": "SCMP_CMP_EQ"})
        } else {
            json!({"index": told.index, "value": told.mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"})
        };
        with(rule(&[name], &format!("{word}: first made by {}", uses.first)), argument)
    };
    uses.values.iter().map(one).collect()
}

/// Memory that is written to is never executed, unless the workload was seen to do that.
fn protections(name: &str, uses: &Uses, index: usize) -> Vec<Value> {
    const WRITE: u64 = 2;
    const EXECUTE: u64 = 4;
    if uses.values.contains(&WRITE_EXECUTE) {
        return Vec::new();
    }
    let masked = |mask: u64, value: u64, why: &str| {
        let argument = json!({"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"});
        with(rule(&[name], &format!("{why}: first made by {}", uses.first)), argument)
    };
    let mut rules = vec![masked(EXECUTE, 0, "memory that is not executable")];
    if uses.values.contains(&EXECUTE) {
        rules.push(masked(WRITE | EXECUTE, EXECUTE, "executable memory that is not writable"));
    }
    rules
}

fn rule<'a>(names: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>, comment: &str) -> Value {
    let names: Vec<&str> = names.into_iter().map(AsRef::as_ref).collect();
    json!({"names": names, "action": "SCMP_ACT_ALLOW", "comment": comment})
}

fn with(mut rule: Value, argument: Value) -> Value {
    set(&mut rule, "args", json!([argument]));
    rule
}

fn set(rule: &mut Value, key: &str, value: Value) {
    if let Some(rule) = rule.as_object_mut() {
        rule.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::interpret::{SyscallData, answer};

    fn compiled(seen: &Seen) -> crate::seccomp::Filter {
        let profile = profile(seen, &[]);
        crate::seccomp::compile(&serde_json::from_value(profile).expect("a profile")).expect("a filter")
    }

    #[test]
    fn what_was_seen_passes_and_nothing_else() {
        let mut seen = Seen::default();
        seen.call("read", None, || "/bin/sh".to_owned());
        seen.call("socket", Some(2), || "/bin/nc".to_owned());
        seen.call("mmap", Some(2), || "/bin/sh".to_owned());
        seen.call("mmap", Some(4), || "/bin/sh".to_owned());
        seen.call("clone", Some(0), || "/bin/sh".to_owned());
        let filter = compiled(&seen);
        let asks = |number: u32, first: u64, third: u64| {
            let data = SyscallData {
                number,
                arch: 0xc000_003e,
                arguments: [first, 0, third, 0, 0, 0],
                ..SyscallData::default()
            };
            answer(&filter.program, &data)
        };
        const ALLOW: Option<u32> = Some(0x7fff_0000);
        const REFUSE: Option<u32> = Some(0x0005_0001);
        assert_eq!(asks(0, 0, 0), ALLOW, "read");
        assert_eq!(asks(83, 0, 0), REFUSE, "mkdir");
        assert_eq!(asks(41, 2, 0), ALLOW, "socket(AF_INET)");
        assert_eq!(asks(41, 1, 0), REFUSE, "socket(AF_UNIX)");
        assert_eq!(asks(9, 0, 3), ALLOW, "mmap of data");
        assert_eq!(asks(9, 0, 5), ALLOW, "mmap of code");
        assert_eq!(asks(9, 0, 7), REFUSE, "mmap of both");
        assert_eq!(asks(56, 0x11, 0), ALLOW, "fork");
        assert_eq!(asks(56, 0x1000_0011, 0), REFUSE, "clone(CLONE_NEWUSER)");
        assert_eq!(asks(435, 0, 0), Some(0x0005_0026), "clone3");
        assert_eq!(asks(231, 0, 0), ALLOW, "exit_group");
    }
}
