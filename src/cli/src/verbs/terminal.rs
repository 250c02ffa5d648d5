//! Our terminal, as long as a container has it.

use std::os::fd::AsFd;

use casemate_spec::{Error, Result};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// Raw mode, until this is dropped.
#[derive(Debug)]
pub struct Raw(Option<Termios>);

impl Raw {
    /// Hands every key to the container; nothing to do where our standard input is no terminal.
    ///
    /// # Errors
    /// The terminal cannot be set.
    pub fn enter() -> Result<Self> {
        let input = rustix::stdio::stdin();
        if !isatty(input) {
            return Ok(Self(None));
        }
        let failed = |errno: rustix::io::Errno| Error::os("terminal", errno.raw_os_error());
        let before = tcgetattr(input).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(input, OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // Whoever took the terminal away has also taken what could be told to it.
            tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before).ok();
        }
    }
}

/// Rows and columns of our terminal.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(rustix::stdio::stdout().as_fd()).ok()?;
    (size.ws_row > 0).then_some((size.ws_row, size.ws_col))
}
