//! `state`: what the OCI runtime specification ("State") asks for, and runc's additions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use casemate_spec::{Error, Result};
use serde::Serialize;

use crate::cli::{Global, IdArgs};
use crate::store::{Container, Enforced, Root, Status};

/// Prints the state of one container.
///
/// # Errors
/// "container does not exist", or the store's.
pub fn state(global: &Global, args: &IdArgs) -> Result<ExitCode> {
    let container = Root::container(global, &args.id)?;
    let record = container.record().clone();
    let casemate = Protected {
        policy: record.policy,
        chosen: record.chosen,
        audit: record.audit,
        protections: record.protections,
    };
    let view = View { casemate: Some(casemate), ..View::of(&container)? };
    let text =
        serde_json::to_string_pretty(&view).map_err(|error| Error::new("print state", error.to_string()))?;
    super::print(&(text + "\n"))
}

/// A container as `state` and `list --format json` show it; the fields are runc's, in its order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// `ociVersion` of the bundle.
    pub oci_version: String,
    /// The container's id.
    pub id: String,
    /// Init's process id; 0 when there is none any more.
    pub pid: i32,
    /// The status' name.
    pub status: String,
    /// The bundle's absolute path.
    pub bundle: PathBuf,
    /// The root filesystem's absolute path.
    pub rootfs: PathBuf,
    /// When it was created: RFC 3339, UTC.
    pub created: String,
    /// The configuration's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What confines it; in `state` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub casemate: Option<Protected>,
    /// Name of who created it; runc fills it in `list` only.
    pub owner: String,
}

/// What confines a container: the form is described in docs/policy.md.
#[derive(Debug, Serialize)]
pub struct Protected {
    /// The policy it was judged by.
    pub policy: String,
    /// Who chose that policy.
    pub chosen: String,
    /// Whether the policy was only tried.
    pub audit: bool,
    /// What is enforced.
    pub protections: Vec<Enforced>,
}

impl View {
    /// Asks the kernel and the record.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of(container: &Container) -> Result<Self> {
        let init = container.init()?;
        let status = container.status_with(init.as_ref())?;
        let record = container.record().clone();
        let pid = match &init {
            Some(init) if status != Status::Stopped => init.pid().as_raw_nonzero().get(),
            _ => 0,
        };
        Ok(Self {
            oci_version: record.oci_version,
            id: record.id,
            pid,
            status: status.to_string(),
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations: record.annotations,
            casemate: None,
            owner: String::new(),
        })
    }
}
