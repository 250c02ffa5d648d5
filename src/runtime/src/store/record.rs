//! What `state.json` holds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use casemate_policy::{Admitted, FromStore};
use casemate_spec::{ContainerId, Error, Result};
use serde::{Deserialize, Serialize};

use crate::cgroup::Placement;
use crate::ids::Range;

/// A container as it was made. Whether it runs is asked of the kernel, not written here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of this format: [`Record::VERSION`].
    pub version: u32,
    /// The container's id, equal to its directory's name.
    pub id: String,
    /// `ociVersion` of the bundle.
    pub oci_version: String,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// The root filesystem's absolute path.
    pub rootfs: PathBuf,
    /// When `create` began: RFC 3339, UTC, nanoseconds.
    pub created: String,
    /// Effective user id of who created it.
    pub owner: u32,
    /// The configuration's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// How far `create` has come.
    pub phase: Phase,
    /// The init process, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitRecord>,
    /// Where its control groups are; written before they are made, so that `delete` finds them in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Placement>,
    /// The host ids that it alone has; written before anything is made with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<Range>,
    /// What the operator's store gave it (`--store`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<FromStore>,
    /// Whether `--systemd-cgroup` was given.
    pub systemd_cgroup: bool,
    /// Whether missing permission on control groups is forgiven.
    pub rootless: bool,
    /// The policy it was judged by.
    pub policy: String,
    /// Who chose that policy, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub chosen: String,
    /// Whether the policy was only tried.
    #[serde(default)]
    pub audit: bool,
    /// What is enforced, one entry a protection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protections: Vec<Enforced>,
}

/// A protection as it is enforced on a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// The protection's name.
    pub name: String,
    /// What is enforced.
    pub enforced: String,
    /// The policy's rule that decided.
    pub rule: String,
}

impl Enforced {
    /// Every protection of an admitted configuration.
    pub fn of(admitted: &Admitted) -> Vec<Self> {
        let rows = admitted.protections().iter();
        rows.map(|row| Self {
            name: row.name.to_owned(),
            enforced: row.enforced.clone(),
            rule: row.rule.to_string(),
        })
        .collect()
    }
}

/// How far `create` has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// `create` is at work, or died at it.
    Creating,
    /// `create` is done.
    Created,
}

/// A process, told apart from later ones with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InitRecord {
    /// Process id in the runtime's pid namespace.
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat` (proc_pid_stat(5)): clock ticks since boot.
    pub start_time: u64,
}

impl Record {
    /// The only version there is.
    pub const VERSION: u32 = 1;

    /// Reads a record of the container `id`.
    ///
    /// # Errors
    /// It is malformed, of another version, or of another container.
    pub fn parse(id: &ContainerId, bytes: &[u8]) -> Result<Self> {
        let broken = |why: String| {
            Error::new(format!("{id}: state.json"), why)
                .hint(format!("runtime delete --force {id} removes what is left"))
        };
        let record: Self =
            serde_json::from_slice(bytes).map_err(|error| broken(format!("malformed: {error}")))?;
        if record.version != Self::VERSION {
            return Err(broken(format!("version {} was written by another program", record.version)));
        }
        if record.id != id.as_str() {
            return Err(broken(format!("it is the state of container {}", record.id)));
        }
        Ok(record)
    }

    /// The bytes of `state.json`.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self)
            .map_err(|error| Error::new(format!("{}: write state.json", self.id), error.to_string()))
    }
}
