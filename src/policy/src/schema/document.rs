//! The document: every key that may be written, none of which must be.

use serde::Deserialize;
use toml::Spanned;

use super::values::{Cpus, Ports, Setting, Size, Switch};
use crate::rules::Reach;

/// A list that may be left out: texts, each with its place, so that what is wrong with one is shown there.
pub(crate) type List = Option<Vec<Spanned<String>>>;

/// A policy as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Document {
    pub name: Option<String>,
    pub extends: Option<Spanned<String>>,
    pub description: Option<String>,
    pub no_new_privs: Option<Switch>,
    pub user_namespace: UserNamespaceKeys,
    pub capabilities: CapabilitiesKeys,
    pub namespaces: NamespacesKeys,
    pub seccomp: SeccompKeys,
    pub landlock: LandlockKeys,
    pub rootfs: RootfsKeys,
    pub paths: PathsKeys,
    pub devices: DevicesKeys,
    pub mounts: MountsKeys,
    pub limits: LimitsKeys,
    pub rlimits: RlimitsKeys,
    pub sysctl: SysctlKeys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IdMode {
    Own,
    AsAsked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FallbackWord {
    Refuse,
    Host,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UserNamespaceKeys {
    pub mode: Option<IdMode>,
    pub fallback: Option<FallbackWord>,
    pub map_host_root: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CapabilitiesKeys {
    pub profile: Option<Spanned<String>>,
    pub at_most: List,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NamespacesKeys {
    pub shared_with_host: List,
    pub add: List,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SeccompKeys {
    pub profile: Option<Spanned<String>>,
    pub json: Option<Spanned<String>>,
    pub allow: List,
    pub also: Option<Vec<FilterKeys>>,
}

/// One more filter beside the first.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FilterKeys {
    pub profile: Option<Spanned<String>>,
    pub json: Option<Spanned<String>>,
    pub allow: List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LandlockMode {
    Enforce,
    AsAsked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scope {
    AbstractSockets,
    Signals,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MissingWord {
    Report,
    Refuse,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LandlockKeys {
    pub profile: Option<Spanned<String>>,
    pub mode: Option<LandlockMode>,
    pub writable: List,
    pub write_xor_execute: Option<bool>,
    pub bind_tcp: Option<Ports>,
    pub connect_tcp: Option<Ports>,
    pub scope: Option<Vec<Scope>>,
    pub missing: Option<MissingWord>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RootfsKeys {
    pub read_only: Option<bool>,
    pub tmpfs: List,
    pub tmpfs_size: Option<Spanned<Setting<Size>>>,
    pub tmpfs_exec: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PathsKeys {
    pub masked: List,
    pub read_only: List,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DevicesKeys {
    pub allow: List,
    pub network: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MountsKeys {
    pub deny_sources: List,
    pub allow_sources: List,
    pub read_only_sources: List,
    pub types: List,
    pub read_only_types: List,
    pub propagation: Option<Reach>,
    pub nosuid_nodev: Option<bool>,
    pub writable_noexec: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsKeys {
    pub memory: Option<Setting<Size>>,
    pub memory_max: Option<Setting<Size>>,
    pub swap: Option<bool>,
    pub pids: Option<Setting<u64>>,
    pub pids_max: Option<Setting<u64>>,
    pub cpus: Option<Setting<Cpus>>,
    pub cpus_max: Option<Setting<Cpus>>,
    pub unbounded: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RlimitsKeys {
    #[serde(rename = "as")]
    pub address_space: Option<Setting<u64>>,
    pub core: Option<Setting<u64>>,
    pub cpu: Option<Setting<u64>>,
    pub data: Option<Setting<u64>>,
    pub fsize: Option<Setting<u64>>,
    pub locks: Option<Setting<u64>>,
    pub memlock: Option<Setting<u64>>,
    pub msgqueue: Option<Setting<u64>>,
    pub nice: Option<Setting<u64>>,
    pub nofile: Option<Setting<u64>>,
    pub nproc: Option<Setting<u64>>,
    pub rss: Option<Setting<u64>>,
    pub rtprio: Option<Setting<u64>>,
    pub rttime: Option<Setting<u64>>,
    pub sigpending: Option<Setting<u64>>,
    pub stack: Option<Setting<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SysctlKeys {
    pub allow: List,
}
