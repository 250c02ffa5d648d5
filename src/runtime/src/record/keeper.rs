//! Cleans up after a recorder, however that ends: a child that waits until its parent is done or dead.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use casemate_spec::{ContainerId, Error, Result};

use super::trace;
use super::workshop::{PREFIX, Workshop};
use crate::cli::Global;
use crate::commands::delete;
use crate::log;
use crate::store::Root;

/// The keeper, from its parent's side.
#[derive(Debug)]
pub struct Keeper(Child);

impl Keeper {
    /// Starts it: this program again, in a process group of its own, out of a terminal's signals' reach.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &mut Command, workshop: &Workshop) -> Result<Self> {
        let child = program
            .args(["record", "--keeper", &workshop.id])
            .arg(&workshop.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| Error::io("start the recording's keeper", &error))?;
        Ok(Self(child))
    }

    /// Has it clean up, and waits until it has; does its work if somebody has killed it.
    ///
    /// # Errors
    /// Something is left; what, has been said.
    pub fn finish(mut self, global: &Global, workshop: &Workshop) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait().map_err(|error| Error::io("wait for the recording's keeper", &error))?;
        match status.code() {
            Some(0) => Ok(()),
            Some(_) => Err(Error::new("clean up after the recording", status.to_string())),
            None => clean(global, &workshop.id, &workshop.directory),
        }
    }
}

/// The keeper's own life.
///
/// # Errors
/// It is asked to clean up after what is no recording, or something cannot be removed.
pub fn keep(global: &Global, id: &str, directory: &Path) -> Result<ExitCode> {
    if !id.starts_with(PREFIX) || directory.file_name().is_none_or(|name| name != id) {
        return Err(Error::new(
            "record --keeper",
            format!("{id} in {} is no recording", directory.display()),
        ));
    }
    // At its end the recorder is done, or dead.
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .map_err(|error| Error::io("wait for the recorder", &error))?;
    clean(global, id, directory).map(|()| ExitCode::SUCCESS)
}

/// Removes the container, its tracing and its directory, as far as they are there.
fn clean(global: &Global, id: &str, directory: &Path) -> Result<()> {
    let container: ContainerId = id.parse()?;
    let mut problems = Vec::new();
    match Root::home(global, &container) {
        Ok(None) => {}
        Ok(Some(_)) => {
            let destroyed =
                Root::locked(global, &container).and_then(|container| delete::destroy(container, true));
            // The runtime itself deletes it when its foreground ends: whoever comes second finds nothing.
            if let Err(error) = destroyed
                && !matches!(Root::home(global, &container), Ok(None))
            {
                problems.push(error);
            }
        }
        Err(error) => problems.push(error),
    }
    problems.extend(trace::remove(id).err());
    problems.extend(Workshop::remove(directory).err());
    let Some(last) = problems.pop() else { return Ok(()) };
    for problem in problems {
        log::warn(format_args!("{problem}"));
    }
    Err(last)
}
