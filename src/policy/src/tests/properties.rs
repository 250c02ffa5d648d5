//! Properties: judging twice is judging once, a stricter policy never admits more, nothing is ever widened, and no
//! configuration or policy makes the engine panic.

use std::collections::HashSet;

use casemate_spec::mount::attr;
use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxResources, Spec};
use proptest::prelude::*;

use super::generated::{any_policy, asked, facts};
use super::*;
use crate::judge::options;

fn capability_sets(spec: &Spec) -> [HashSet<Capability>; 5] {
    let sets = spec.process().as_ref().and_then(|process| process.capabilities().clone());
    let set = |get: fn(&LinuxCapabilities) -> &Option<HashSet<Capability>>| {
        sets.as_ref().and_then(|sets| get(sets).clone()).unwrap_or_default()
    };
    [
        set(LinuxCapabilities::bounding),
        set(LinuxCapabilities::effective),
        set(LinuxCapabilities::permitted),
        set(LinuxCapabilities::inheritable),
        set(LinuxCapabilities::ambient),
    ]
}

/// Every dimension of what a container may do: nothing of it grew.
fn assert_no_wider(asked: &Spec, enforced: &Spec) {
    for (asked, enforced) in capability_sets(asked).iter().zip(&capability_sets(enforced)) {
        assert!(enforced.is_subset(asked), "capabilities");
    }
    let process = |spec: &Spec| spec.process().clone().unwrap();
    let (was, is) = (process(asked), process(enforced));
    assert!(was.no_new_privileges() != Some(true) || is.no_new_privileges() == Some(true));
    assert!(is.oom_score_adj().unwrap_or(0) >= was.oom_score_adj().unwrap_or(0));
    for limit in was.rlimits().iter().flatten() {
        let now = is.rlimits().iter().flatten().find(|now| now.typ() == limit.typ()).unwrap();
        assert!(now.hard() <= limit.hard() && now.soft() <= limit.soft(), "rlimits");
    }
    let read_only = |spec: &Spec| spec.root().as_ref().and_then(|root| root.readonly()) == Some(true);
    assert!(!read_only(asked) || read_only(enforced), "root");
    assert_no_wider_mounts(asked, enforced);
    let Some(linux) = asked.linux() else { return };
    let now = enforced.linux().as_ref().unwrap();
    for (asked, enforced) in
        [(linux.masked_paths(), now.masked_paths()), (linux.readonly_paths(), now.readonly_paths())]
    {
        assert!(asked.iter().flatten().all(|path| enforced.iter().flatten().any(|now| now == path)), "paths");
    }
    for space in linux.namespaces().iter().flatten() {
        assert!(now.namespaces().iter().flatten().any(|now| now == space), "namespaces");
    }
    assert_eq!(linux.seccomp(), now.seccomp());
    assert_eq!(linux.devices(), now.devices());
    assert_no_wider_limits(asked, enforced);
}

fn assert_no_wider_mounts(asked: &Spec, enforced: &Spec) {
    let own = asked.mounts().iter().flatten().count();
    let all: Vec<_> = enforced.mounts().iter().flatten().collect();
    let (added, kept) = all.split_at(all.len() - own);
    for mount in added {
        let set = options(mount).set;
        assert_eq!(mount.typ().as_deref(), Some("tmpfs"));
        assert_eq!(set & (attr::NOSUID | attr::NODEV), attr::NOSUID | attr::NODEV);
    }
    for (was, is) in asked.mounts().iter().flatten().zip(kept) {
        assert_eq!((was.destination(), was.source(), was.typ()), (is.destination(), is.source(), is.typ()));
        let (was, is) = (options(was), options(is));
        assert_eq!(was.set & !attr::ATIME_FIELD & !is.set, 0, "mount flags");
        assert_eq!(is.clear & !was.clear, 0, "mount flags");
        assert_eq!(was.propagation, is.propagation);
        assert_eq!(was.data, is.data);
    }
}

fn assert_no_wider_limits(asked: &Spec, enforced: &Spec) {
    let resources = |spec: &Spec| spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    let Some(was) = resources(asked) else { return };
    let is = resources(enforced).unwrap();
    let bound = |limit: Option<i64>| limit.filter(|limit| *limit > 0).unwrap_or(i64::MAX);
    let memory = |r: &LinuxResources| r.memory().unwrap_or_default();
    assert!(bound(memory(&is).limit()) <= bound(memory(&was).limit()), "memory");
    assert!(bound(memory(&is).swap()) <= bound(memory(&was).swap()), "swap");
    let pids = |r: &LinuxResources| r.pids().map_or(0, |pids| pids.limit());
    assert!(bound(Some(pids(&is))) <= bound(Some(pids(&was))), "pids");
    let share = |r: &LinuxResources| {
        let cpu = r.cpu().clone().unwrap_or_default();
        let period = i64::try_from(cpu.period().filter(|period| *period > 0).unwrap_or(100_000)).unwrap();
        cpu.quota().filter(|quota| *quota > 0).map_or(i64::MAX, |quota| quota * 1_000_000 / period)
    };
    assert!(share(&is) <= share(&was), "cpu");
    let rules = |r: &LinuxResources| r.devices().clone().unwrap_or_default();
    let (was_rules, is_rules) = (rules(&was), rules(&is));
    assert!(is_rules.iter().all(|rule| !rule.allow() || was_rules.contains(rule)), "devices");
    assert!(was_rules.iter().all(|rule| rule.allow() || is_rules.contains(rule)), "devices");
    for (file, value) in was.unified().iter().flatten() {
        // What goes has been replaced by a number of ours.
        let kept = is.unified().as_ref().and_then(|map| map.get(file)) == Some(value);
        let ours = match file.as_str() {
            "memory.max" => bound(memory(&is).limit()),
            "pids.max" => bound(Some(pids(&is))),
            _ => share(&is),
        };
        assert!(kept || ours < i64::MAX, "{file}");
    }
}

/// Whether one admission gives no more than another.
fn assert_stricter(one: &Admitted, other: &Admitted) {
    let (a, b) = (&one.config().spec, &other.config().spec);
    assert!(capability_sets(a).iter().zip(&capability_sets(b)).all(|(a, b)| a.is_subset(b)));
    let privileges = |spec: &Spec| spec.process().as_ref().and_then(|p| p.no_new_privileges()) == Some(true);
    assert!(privileges(a) || !privileges(b));
    let memory = |spec: &Spec| {
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone()).unwrap_or_default();
        let memory = resources.memory().and_then(|memory| memory.limit()).filter(|limit| *limit > 0);
        memory.unwrap_or(i64::MAX)
    };
    assert!(memory(a) <= memory(b));
    assert!(one.confinement().landlock.is_some() || other.confinement().landlock.is_none());
}

fn ok<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, TestCaseError> {
    result.map_err(|error| TestCaseError::fail(error.to_string()))
}

/// A new user namespace without mappings is no configuration by itself: only a policy that has ids to give makes one of
/// it, which is how judging twice is judging once. All others are compared.
fn is_whole(asked: &Config, facts: &HostFacts) -> bool {
    !judge(asked.clone(), &Policy::oci(), facts).is_err_and(|denied| denied.is_malformed())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(600), ..ProptestConfig::default() })]

    #[test]
    fn judging_twice_is_judging_once(asked in asked(), policy in any_policy(), facts in facts()) {
        let Ok(first) = judge(asked, &policy, &facts) else { return Ok(()) };
        let second = ok(judge(first.config().clone(), &policy, &facts))?;
        prop_assert_eq!(second.changes(), &[]);
        prop_assert_eq!(second.config(), first.config());
        prop_assert_eq!(second.confinement(), first.confinement());
    }

    #[test]
    fn nothing_is_widened(asked in asked(), policy in any_policy(), facts in facts()) {
        let Ok(admitted) = judge(asked.clone(), &policy, &facts) else { return Ok(()) };
        assert_no_wider(&asked.spec, &admitted.config().spec);
        if policy.is_as_asked() {
            prop_assert_eq!(admitted.config(), &asked);
            prop_assert_eq!(admitted.confinement(), &Confinement::default());
        }
        // Whatever differs is told.
        prop_assert_eq!(admitted.changes().is_empty(), admitted.config() == &asked);
    }

    #[test]
    fn a_stricter_policy_admits_no_more(asked in asked(), facts in facts()) {
        if !is_whole(&asked, &facts) {
            return Ok(());
        }
        let judged = Policy::BUILTIN.map(|name| judge(asked.clone(), &policy(name), &facts));
        for pair in judged.windows(2) {
            if let Ok(strict) = &pair[0] {
                assert_stricter(strict, ok(pair[1].as_ref())?);
            }
        }
    }

    #[test]
    fn what_one_refuses_their_meet_refuses(
        asked in asked(), a in any_policy(), b in any_policy(), facts in facts()
    ) {
        if !is_whole(&asked, &facts) {
            return Ok(());
        }
        let Ok(both) = judge(asked.clone(), &a.meet(&b), &facts) else { return Ok(()) };
        for one in [&a, &b] {
            assert_stricter(&both, &ok(judge(asked.clone(), one, &facts))?);
        }
    }

    #[test]
    fn meeting_is_as_it_should_be(a in any_policy(), b in any_policy()) {
        let same = |one: &Policy, other: &Policy| one.rules == other.rules;
        prop_assert!(same(&a.meet(&a), &a));
        prop_assert!(same(&a.meet(&Policy::oci()), &a));
        prop_assert!(same(&Policy::oci().meet(&a), &a));
        let met = a.meet(&b);
        prop_assert_eq!(met.meet(&b).to_toml(), met.to_toml());
        prop_assert_eq!(met.meet(&a).to_toml(), met.to_toml());
    }

    #[test]
    fn a_policy_survives_being_written(policy in any_policy(), other in any_policy()) {
        for policy in [policy.meet(&other), policy] {
            let read = ok(load(&policy.to_toml(), "written.toml", &mut Builtin))?;
            prop_assert_eq!(read, policy);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z_\\[\\]=\" .0-9\n*{}#'-]{0,200}") {
        if let Err(error) = load(&text, "any.toml", &mut Builtin) {
            prop_assert!(error.to_string().starts_with("any.toml"), "{}", error);
        }
    }
}
