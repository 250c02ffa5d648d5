//! Rules as a document again: every key, so that whatever lies beneath it does not matter.

use std::fmt::{Display, Write};

use super::list::{Allow, Word};
use crate::confinement::{Fallback, Missing};
use crate::rules::{FilterRule, LandlockRule, LimitsRule, MountsRule, Reach, Rules};
use crate::seccomp::Profile;

/// The document of `rules`; [`crate::load`] makes the same rules of it.
pub(crate) fn write(name: &str, description: &str, rules: &Rules) -> String {
    let mut page = Page(String::new());
    page.key("name", quoted(name));
    page.key("description", quoted(description));
    page.key("no_new_privs", if rules.no_new_privs { "\"on\"" } else { "\"as-asked\"" });
    page.table("user_namespace");
    page.key("mode", if rules.user_namespace.own { "\"own\"" } else { "\"as-asked\"" });
    page.key(
        "fallback",
        match rules.user_namespace.fallback {
            Fallback::Refuse => "\"refuse\"",
            Fallback::Host => "\"host\"",
        },
    );
    page.key("map_host_root", rules.user_namespace.map_host_root);
    page.table("capabilities");
    page.key("at_most", allowed(&rules.capabilities));
    page.table("namespaces");
    page.key("shared_with_host", allowed(&rules.namespaces.shared_with_host));
    page.key("add", words(&rules.namespaces.add));
    seccomp(&mut page, &rules.seccomp);
    landlock(&mut page, &rules.landlock);
    page.table("rootfs");
    page.key("read_only", rules.rootfs.read_only);
    page.key("tmpfs", words(&rules.rootfs.tmpfs));
    page.key("tmpfs_size", rules.rootfs.tmpfs_size.0);
    page.key("tmpfs_exec", rules.rootfs.tmpfs_exec);
    page.table("paths");
    page.key("masked", words(&rules.paths.masked));
    page.key("read_only", words(&rules.paths.read_only));
    page.table("devices");
    page.key("allow", allowed(&rules.devices.allow));
    page.key("network", rules.devices.network);
    mounts(&mut page, &rules.mounts);
    limits(&mut page, &rules.limits);
    page.table("rlimits");
    for limit in super::limits::Rlimit::all() {
        page.key(limit.name(), setting(rules.rlimits.get(&limit)));
    }
    page.table("sysctl");
    page.key("allow", allowed(&rules.sysctl));
    page.0
}

struct Page(String);

impl Page {
    fn table(&mut self, name: &str) {
        self.line(format_args!("\n[{name}]"));
    }

    fn key(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name} = {value}"));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string does not fail.
        if writeln!(self.0, "{line}").is_err() {
            self.0.clear();
        }
    }
}

fn seccomp(page: &mut Page, filters: &[FilterRule]) {
    page.table("seccomp");
    let Some((first, more)) = filters.split_first() else {
        return page.key("profile", "\"none\"");
    };
    filter(page, first);
    for rule in more {
        page.line("\n[[seccomp.also]]");
        filter(page, rule);
    }
}

/// By name when it is compiled in; else written out, since its file may change or go.
fn filter(page: &mut Page, rule: &FilterRule) {
    page.key("profile", quoted(rule.profile.name()));
    if Profile::builtin(rule.profile.name()) != Some(&rule.profile) {
        page.key("json", quoted(&rule.profile.to_json()));
    }
    page.key("allow", words(&rule.allow));
}

fn landlock(page: &mut Page, rule: &LandlockRule) {
    page.table("landlock");
    page.key("mode", if rule.enforce { "\"enforce\"" } else { "\"as-asked\"" });
    page.key("writable", allowed(&rule.writable));
    page.key("write_xor_execute", rule.write_xor_execute);
    page.key("bind_tcp", ports(rule.bind_tcp.as_deref()));
    page.key("connect_tcp", ports(rule.connect_tcp.as_deref()));
    let scopes = [("abstract-sockets", rule.scope_abstract_sockets), ("signals", rule.scope_signals)];
    let scopes: Vec<String> = scopes.iter().filter(|(_, on)| *on).map(|(name, _)| quoted(name)).collect();
    page.key("scope", format_args!("[{}]", scopes.join(", ")));
    page.key(
        "missing",
        match rule.missing {
            Missing::Report => "\"report\"",
            Missing::Refuse => "\"refuse\"",
        },
    );
}

fn mounts(page: &mut Page, rule: &MountsRule) {
    page.table("mounts");
    page.key("deny_sources", words(&rule.deny_sources));
    page.key("allow_sources", words(&rule.allow_sources));
    page.key("read_only_sources", words(&rule.read_only_sources));
    page.key("types", allowed(&rule.types));
    page.key("read_only_types", words(&rule.read_only_types));
    page.key("propagation", quoted(rule.propagation.word()));
    page.key("nosuid_nodev", rule.nosuid_nodev);
    page.key("writable_noexec", rule.writable_noexec);
}

impl Reach {
    /// The word of a policy for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Slave => "slave",
            Self::Shared => "shared",
        }
    }
}

fn limits(page: &mut Page, rule: &LimitsRule) {
    page.table("limits");
    page.key("memory", setting(rule.memory.map(|size| size.0)));
    page.key("memory_max", setting(rule.memory_max.map(|size| size.0)));
    page.key("swap", rule.swap);
    page.key("pids", setting(rule.pids));
    page.key("pids_max", setting(rule.pids_max));
    page.key("cpus", setting(rule.cpus));
    page.key("cpus_max", setting(rule.cpus_max));
    page.key("unbounded", rule.unbounded);
}

fn setting(value: Option<impl Display>) -> String {
    value.map_or_else(|| "\"as-asked\"".to_owned(), |value| value.to_string())
}

fn ports(list: Option<&[u16]>) -> String {
    list.map_or_else(|| "\"*\"".to_owned(), |list| format!("{list:?}"))
}

/// A list of words as a document has it.
pub(crate) fn words<T: Word>(list: &[T]) -> String {
    let items: Vec<String> = list.iter().map(|item| quoted(&item.text())).collect();
    format!("[{}]", items.join(", "))
}

fn allowed<T: Word>(allow: &Allow<T>) -> String {
    allow.list().map_or_else(|| "[\"*\"]".to_owned(), words)
}

/// A text as a document has it: a basic string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
