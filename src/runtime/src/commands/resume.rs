//! `resume`.

use std::process::ExitCode;

use casemate_spec::{Error, Result};

use crate::cli::{Global, IdArgs};
use crate::store::{Root, Status};

/// Lets the processes of a paused container go on.
///
/// # Errors
/// "container not paused".
pub fn resume(global: &Global, args: &IdArgs) -> Result<ExitCode> {
    let container = Root::locked(global, &args.id)?;
    match (container.status()?, container.cgroup()?) {
        (Status::Paused, Some(cgroup)) => cgroup.thaw().map_err(|error| error.within(&args.id))?,
        _ => return Err(Error::new(args.id.as_str(), "container not paused")),
    }
    Ok(ExitCode::SUCCESS)
}
