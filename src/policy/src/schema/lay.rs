//! Lays a document over the rules it extends: what it says replaces theirs, key by key.

use std::ops::Range;

use oci_spec::runtime::Capability;
use toml::Spanned;

use super::document::{
    CapabilitiesKeys, Document, FallbackWord, FilterKeys, IdMode, LandlockKeys, LandlockMode, LimitsKeys,
    List, MissingWord, RlimitsKeys, RootfsKeys, Scope, SeccompKeys,
};
use super::limits::Rlimit;
use super::list::{Allow, Entry, Word, replace, replace_allowed};
use super::values::{Setting, Switch};
use crate::confinement::{Fallback, Missing};
use crate::policy::Sources;
use crate::rules::{FilterRule, LandlockRule, LimitsRule, RootfsRule, Rules, UserNamespaceRule};
use crate::seccomp::Profile;
use casemate_spec::Error;

/// What is wrong, and where in the text.
pub(crate) enum Fault {
    /// Of this document.
    Here(Range<usize>, String),
    /// Of another one, with its own place.
    Elsewhere(Error),
}

type Laid = Result<(), Fault>;

/// Puts what `document` says over `rules`.
pub(crate) fn lay(rules: &mut Rules, document: Document, sources: &mut dyn Sources) -> Laid {
    set(&mut rules.no_new_privs, document.no_new_privs.map(|word| word == Switch::On));
    user_namespace(&mut rules.user_namespace, &document);
    if let Some(profile) = &document.capabilities.profile {
        rules.capabilities = Allow::Only(capability_profile(profile)?);
    }
    allowed(&mut rules.capabilities, &document.capabilities.at_most)?;
    allowed(&mut rules.namespaces.shared_with_host, &document.namespaces.shared_with_host)?;
    list(&mut rules.namespaces.add, &document.namespaces.add)?;
    seccomp(&mut rules.seccomp, document.seccomp, sources)?;
    landlock(&mut rules.landlock, &document.landlock)?;
    rootfs(&mut rules.rootfs, &document.rootfs)?;
    list(&mut rules.paths.masked, &document.paths.masked)?;
    list(&mut rules.paths.read_only, &document.paths.read_only)?;
    allowed(&mut rules.devices.allow, &document.devices.allow)?;
    set(&mut rules.devices.network, document.devices.network);
    let mounts = &document.mounts;
    list(&mut rules.mounts.deny_sources, &mounts.deny_sources)?;
    list(&mut rules.mounts.allow_sources, &mounts.allow_sources)?;
    list(&mut rules.mounts.read_only_sources, &mounts.read_only_sources)?;
    allowed(&mut rules.mounts.types, &mounts.types)?;
    list(&mut rules.mounts.read_only_types, &mounts.read_only_types)?;
    set(&mut rules.mounts.propagation, mounts.propagation);
    set(&mut rules.mounts.nosuid_nodev, mounts.nosuid_nodev);
    set(&mut rules.mounts.writable_noexec, mounts.writable_noexec);
    limits(&mut rules.limits, &document.limits);
    rlimits(rules, &document.rlimits);
    allowed(&mut rules.sysctl, &document.sysctl.allow)?;
    Ok(())
}

fn set<T>(ours: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *ours = value;
    }
}

/// The entries of a list, read.
fn entries<T: Word>(list: &List) -> Result<Option<Vec<Entry<T>>>, Fault> {
    let Some(list) = list else { return Ok(None) };
    let read =
        list.iter().map(|text| Entry::read(text.get_ref()).map_err(|what| Fault::Here(text.span(), what)));
    read.collect::<Result<Vec<_>, _>>().map(Some)
}

/// A list of what is allowed.
fn allowed<T: Word>(ours: &mut Allow<T>, theirs: &List) -> Laid {
    replace_allowed(ours, entries(theirs)?.as_deref());
    Ok(())
}

/// A list of what is done, where "anything" means nothing.
fn list<T: Word>(ours: &mut Vec<T>, theirs: &List) -> Laid {
    if let Some(any) = theirs.iter().flatten().find(|text| text.get_ref() == "*") {
        return Err(Fault::Here(any.span(), "\"*\" has no meaning in this list".to_owned()));
    }
    replace(ours, entries(theirs)?.as_deref());
    Ok(())
}

fn user_namespace(rule: &mut UserNamespaceRule, document: &Document) {
    let keys = &document.user_namespace;
    set(&mut rule.own, keys.mode.map(|mode| mode == IdMode::Own));
    set(
        &mut rule.fallback,
        keys.fallback.map(|word| match word {
            FallbackWord::Refuse => Fallback::Refuse,
            FallbackWord::Host => Fallback::Host,
        }),
    );
    set(&mut rule.map_host_root, keys.map_host_root);
}

/// The capability sets compiled in, by name.
const CAPABILITIES: [(&str, &str); 3] = [
    ("none", include_str!("../../../../profiles/capabilities-none.toml")),
    ("hardened", include_str!("../../../../profiles/capabilities-hardened.toml")),
    ("docker", include_str!("../../../../profiles/capabilities-docker.toml")),
];

/// The Landlock rule sets compiled in, by name.
const LANDLOCK: [(&str, &str); 3] = [
    ("strict", include_str!("../../../../profiles/landlock-strict.toml")),
    ("hardened", include_str!("../../../../profiles/landlock-hardened.toml")),
    ("baseline", include_str!("../../../../profiles/landlock-baseline.toml")),
];

fn named<'a>(set: &[(&str, &'a str)], name: &Spanned<String>, what: &str) -> Result<&'a str, Fault> {
    let found = set.iter().find(|(known, _)| known == name.get_ref()).map(|(_, text)| *text);
    found.ok_or_else(|| {
        let known = set.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
        Fault::Here(name.span(), format!("no {what} of that name; there are {known}"))
    })
}

fn capability_profile(name: &Spanned<String>) -> Result<Vec<Capability>, Fault> {
    let text = named(&CAPABILITIES, name, "capability set")?;
    let set: CapabilitiesKeys =
        crate::document::read(text, &format!("profiles/capabilities-{}.toml", name.get_ref()))
            .map_err(Fault::Elsewhere)?;
    let mut held = Vec::new();
    list(&mut held, &set.at_most)?;
    Ok(held)
}

fn seccomp(rules: &mut Vec<FilterRule>, keys: SeccompKeys, sources: &mut dyn Sources) -> Laid {
    if keys.also.is_some() && keys.profile.is_none() && keys.json.is_none() {
        let at = keys.allow.iter().flatten().next().map_or(0..0, Spanned::span);
        return Err(Fault::Here(at, "seccomp.also needs a profile to be beside".to_owned()));
    }
    if let Some(profile) = profile(keys.profile.as_ref(), keys.json.as_ref(), sources)? {
        rules.clear();
        rules.extend(profile.map(|profile| FilterRule { profile, allow: Vec::new() }));
        for more in keys.also.into_iter().flatten() {
            rules.extend(filter(&more, sources)?);
        }
        // The first one's: those of the others stand with them.
        return rules.first_mut().map_or(Ok(()), |first| list(&mut first.allow, &keys.allow));
    }
    // Without a profile of its own the document speaks of all there are.
    rules.iter_mut().try_for_each(|rule| list(&mut rule.allow, &keys.allow))
}

fn filter(keys: &FilterKeys, sources: &mut dyn Sources) -> Result<Option<FilterRule>, Fault> {
    let found = profile(keys.profile.as_ref(), keys.json.as_ref(), sources)?.flatten();
    let Some(profile) = found else { return Ok(None) };
    let mut allow = Vec::new();
    list(&mut allow, &keys.allow)?;
    Ok(Some(FilterRule { profile, allow }))
}

/// The profile that is named or written out: none inside when it is `"none"`, none at all when nothing is said.
fn profile(
    name: Option<&Spanned<String>>,
    json: Option<&Spanned<String>>,
    sources: &mut dyn Sources,
) -> Result<Option<Option<Profile>>, Fault> {
    let origin = name.map_or("seccomp.json", |name| name.get_ref().as_str());
    if let Some(text) = json {
        let parsed = Profile::parse(text.get_ref(), origin).map_err(Fault::Elsewhere)?;
        return Ok(Some(Some(parsed)));
    }
    let Some(name) = name else { return Ok(None) };
    if name.get_ref() == "none" {
        return Ok(Some(None));
    }
    if let Some(builtin) = Profile::builtin(name.get_ref()) {
        return Ok(Some(Some(builtin.clone())));
    }
    let text = sources.profile(name.get_ref()).map_err(Fault::Elsewhere)?;
    Profile::parse(&text, origin).map(|profile| Some(Some(profile))).map_err(Fault::Elsewhere)
}

fn landlock(rule: &mut LandlockRule, keys: &LandlockKeys) -> Laid {
    if let Some(name) = &keys.profile {
        let text = named(&LANDLOCK, name, "Landlock rule set")?;
        let origin = format!("profiles/landlock-{}.toml", name.get_ref());
        let set: LandlockKeys = crate::document::read(text, &origin).map_err(Fault::Elsewhere)?;
        *rule = LandlockRule { enforce: true, ..LandlockRule::default() };
        landlock(rule, &LandlockKeys { profile: None, ..set })?;
    }
    set(&mut rule.enforce, keys.mode.map(|mode| mode == LandlockMode::Enforce));
    allowed(&mut rule.writable, &keys.writable)?;
    set(&mut rule.write_xor_execute, keys.write_xor_execute);
    set(&mut rule.bind_tcp, keys.bind_tcp.clone().map(|ports| ports.0));
    set(&mut rule.connect_tcp, keys.connect_tcp.clone().map(|ports| ports.0));
    if let Some(scopes) = &keys.scope {
        rule.scope_abstract_sockets = scopes.contains(&Scope::AbstractSockets);
        rule.scope_signals = scopes.contains(&Scope::Signals);
    }
    set(
        &mut rule.missing,
        keys.missing.map(|word| match word {
            MissingWord::Report => Missing::Report,
            MissingWord::Refuse => Missing::Refuse,
        }),
    );
    Ok(())
}

fn rootfs(rule: &mut RootfsRule, keys: &RootfsKeys) -> Laid {
    set(&mut rule.read_only, keys.read_only);
    list(&mut rule.tmpfs, &keys.tmpfs)?;
    if let Some(size) = &keys.tmpfs_size {
        let Setting(Some(value)) = *size.get_ref() else {
            return Err(Fault::Here(size.span(), "nobody asked for these: a size is needed".to_owned()));
        };
        rule.tmpfs_size = value;
    }
    set(&mut rule.tmpfs_exec, keys.tmpfs_exec);
    Ok(())
}

fn limits(rule: &mut LimitsRule, keys: &LimitsKeys) {
    set(&mut rule.memory, keys.memory.map(|value| value.0));
    set(&mut rule.memory_max, keys.memory_max.map(|value| value.0));
    set(&mut rule.swap, keys.swap);
    set(&mut rule.pids, keys.pids.map(|value| value.0));
    set(&mut rule.pids_max, keys.pids_max.map(|value| value.0));
    set(&mut rule.cpus, keys.cpus.map(|value| value.0));
    set(&mut rule.cpus_max, keys.cpus_max.map(|value| value.0));
    set(&mut rule.unbounded, keys.unbounded);
}

fn rlimits(rules: &mut Rules, keys: &RlimitsKeys) {
    let all = [
        ("as", keys.address_space),
        ("core", keys.core),
        ("cpu", keys.cpu),
        ("data", keys.data),
        ("fsize", keys.fsize),
        ("locks", keys.locks),
        ("memlock", keys.memlock),
        ("msgqueue", keys.msgqueue),
        ("nice", keys.nice),
        ("nofile", keys.nofile),
        ("nproc", keys.nproc),
        ("rss", keys.rss),
        ("rtprio", keys.rtprio),
        ("rttime", keys.rttime),
        ("sigpending", keys.sigpending),
        ("stack", keys.stack),
    ];
    for (name, value) in all {
        let (Some(limit), Some(Setting(value))) = (Rlimit::named(name), value) else { continue };
        match value {
            Some(value) => rules.rlimits.insert(limit, value),
            None => rules.rlimits.remove(&limit),
        };
    }
}
