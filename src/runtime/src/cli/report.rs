//! From clap's many-line errors to one line of ours.

use std::error::Error as _;

use casemate_spec::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Why no command runs.
#[derive(Debug)]
pub enum Stop {
    /// Help or version was asked for: print this to standard output and succeed.
    Print(String),
    /// The command line is wrong.
    Usage(Error),
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::Print(error.render().to_string()),
            ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                Self::Usage(Error::new("", "no command given").hint("runtime --help lists the commands"))
            }
            _ => Self::Usage(usage(&error)),
        }
    }
}

/// One line that names the argument; the near miss clap found, as the hint.
fn usage(error: &clap::Error) -> Error {
    // A value's own parser knows best; its words are what engines look for ("invalid container ID format").
    if let (ErrorKind::ValueValidation, Some(cause)) = (error.kind(), error.source()) {
        let argument = text(error, ContextKind::InvalidArg).unwrap_or_default();
        return match cause.downcast_ref::<Error>() {
            Some(ours) => ours.clone().within(argument),
            None => Error::new(argument, cause.to_string()),
        };
    }
    let rendered = error.render().to_string();
    let message = rendered.split("\n\n").next().unwrap_or_default();
    let line = message.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>().join(" ");
    let ours = Error::new("", line);
    match [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue]
        .into_iter()
        .find_map(|kind| text(error, kind))
    {
        Some(near) => ours.hint(format!("did you mean {near}?")),
        None => ours,
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(one) => Some(one.clone()),
        ContextValue::Strings(many) => many.first().cloned(),
        _ => None,
    }
}
