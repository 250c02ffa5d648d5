//! The kernel's floor, and the small parent that measures memory: two C programs, compiled here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::command;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::workspace;

/// The compiled programs.
pub struct Floor {
    folder: PathBuf,
}

impl Floor {
    /// Its name in the table.
    pub const NAME: &str = "floor";

    /// Compiles both.
    pub fn build(folder: &Path) -> Outcome<Self> {
        for program in ["floor", "peak"] {
            let source = workspace::root().join(format!("src/xtask/c/{program}.c"));
            let mut cc = Command::new("cc");
            cc.args(["-static", "-O2", "-Wall", "-Werror", "-o"]).arg(folder.join(program)).arg(source);
            command::output(&mut cc)?;
        }
        Ok(Self { folder: folder.to_path_buf() })
    }

    /// One container's worth of the kernel's work, in milliseconds.
    pub fn measure(&self) -> Outcome<f64> {
        let mut command = Command::new(self.folder.join("floor"));
        command.arg(self.folder.join("rootfs")).arg("/bin/true").stdin(Stdio::null());
        let begun = Instant::now();
        let status = command.status().doing("floor")?;
        let took = begun.elapsed();
        if status.success() { Ok(took.as_secs_f64() * 1000.0) } else { Err(Failure::new("floor", status)) }
    }

    /// The parent that prints the peak memory of its child.
    pub fn peak_program(&self) -> PathBuf {
        self.folder.join("peak")
    }
}
