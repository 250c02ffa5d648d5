//! `pause`.

use std::process::ExitCode;

use casemate_spec::{Error, Result};

use crate::birth::refresh;
use crate::cli::{Global, IdArgs};
use crate::store::{Root, Status};

/// Suspends every process of a container.
///
/// # Errors
/// "container not running"; there is no freezer, or it does not get hold of a process.
pub fn pause(global: &Global, args: &IdArgs) -> Result<ExitCode> {
    let container = Root::locked(global, &args.id)?;
    let (Status::Running | Status::Created) = container.status()? else {
        return Err(Error::new(args.id.as_str(), "container not running"));
    };
    match container.cgroup()? {
        Some(cgroup) => cgroup.freeze().map_err(|error| error.within(&args.id))?,
        None => return Err(Error::new(args.id.as_str(), "the container has no control group to freeze")),
    }
    // Docker pauses what it commits.
    refresh(container.record());
    Ok(ExitCode::SUCCESS)
}
