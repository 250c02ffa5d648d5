//! `cgroup`: a parent control group, whose limits hold for all containers beneath it together.

use std::path::Path;
use std::process::ExitCode;

use casemate_spec::{ContainerId, Error, Result};

use super::update::document;
use crate::cgroup::{Layout, Placement, Wish};
use crate::cli::{CgroupArgs, CgroupVerb, Global};

/// Makes it and sets its limits, or removes it; what is so already is well.
///
/// # Errors
/// The path names none, a limit makes no sense or cannot be set here, or what is to be removed is in use.
pub fn cgroup(global: &Global, args: &CgroupArgs) -> Result<ExitCode> {
    let done = match &args.verb {
        CgroupVerb::Set { path, resources } => {
            let resources = casemate_spec::parse_resources(&document(resources)?)?;
            placement(global, path)?.set(&resources).map_err(|error| error.within(path.display()))
        }
        CgroupVerb::Remove { path } => {
            placement(global, path)?.vacate().map_err(|error| error.within(path.display()))
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Where a container's `cgroupsPath` of the same text would be.
fn placement(global: &Global, path: &Path) -> Result<Placement> {
    if path.as_os_str().is_empty() {
        return Err(Error::new("cgroup", "an empty path names none"));
    }
    // No name is made of it where there is a path.
    let id: ContainerId = "parent".parse()?;
    let rootless = global.is_rootless();
    Layout::discover()?.place(&Wish { id: &id, path: Some(path), systemd: global.systemd_cgroup, rootless })
}
