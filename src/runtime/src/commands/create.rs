//! `create`: everything up to the program, which waits for `start`.

use std::process::ExitCode;

use casemate_spec::Result;

use crate::birth::{Bundle, Console, Starter, bear, explain, keep_descriptors};
use crate::cli::{CreateArgs, Global};

/// Runs the command.
///
/// # Errors
/// The bundle is refused, or the container cannot be made; nothing of it is left then.
pub fn create(global: &Global, args: &CreateArgs) -> Result<ExitCode> {
    keep_descriptors(args.birth.preserve_fds)?;
    let bundle = Bundle::open_to_make(global, args.birth.bundle.as_deref())?;
    bundle.tell(&args.id);
    let socket = args.birth.console_socket.as_deref();
    let console = Console::choose(bundle.wants_terminal(), true, socket)?;
    let born =
        bear(global, &args.birth, &args.id, Starter::Later, console.map(|console| console.theirs), bundle)?;
    born.ready.release().map_err(|failure| explain(&born.plan, failure))?;
    Ok(ExitCode::SUCCESS)
}
