//! A container's id and everything after it: `exec ID COMMAND...`, `ps ID OPTION...`.
//!
//! What follows the id is not ours, even where it looks like a flag of ours (`ps ID -f`, `exec ID ls -t`). clap gives
//! that only when id and rest are one argument, so they are taken apart here.

use std::ffi::OsString;
use std::marker::PhantomData;

use casemate_spec::{ContainerId, Error};
use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

/// An id and what follows it.
#[derive(Debug, Clone)]
pub struct Target<R> {
    /// The container.
    pub id: ContainerId,
    /// What follows, untouched.
    pub rest: Vec<OsString>,
    kind: PhantomData<R>,
}

/// How the help names what follows the id.
pub trait Rest {
    /// Placeholder in the usage line.
    const NAME: &'static str;
    /// Its explanation.
    const HELP: &'static str;
}

/// A program and its arguments.
#[derive(Debug, Clone, Copy)]
pub struct Program;

impl Rest for Program {
    const NAME: &'static str = "COMMAND";
    const HELP: &'static str = "Container, and the program with its arguments unless --process tells them";
}

/// Options of ps(1).
#[derive(Debug, Clone, Copy)]
pub struct PsOptions;

impl Rest for PsOptions {
    const NAME: &'static str = "PS OPTIONS";
    const HELP: &'static str = "Container, and options for ps(1) [default: -ef]";
}

const ARGUMENT: &str = "target";

impl<R: Rest> Args for Target<R> {
    fn augment_args(command: Command) -> Command {
        let argument = Arg::new(ARGUMENT)
            .value_names(["ID", R::NAME])
            .help(R::HELP)
            .required(true)
            .num_args(1..)
            .trailing_var_arg(true)
            .value_parser(ValueParser::os_string());
        command.arg(argument)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<R: Rest> FromArgMatches for Target<R> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut all = matches.get_many::<OsString>(ARGUMENT).into_iter().flatten().cloned();
        let id = all.next().unwrap_or_default();
        let id = id.to_string_lossy().parse().map_err(invalid_id)?;
        Ok(Self { id, rest: all.collect(), kind: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn invalid_id(error: Error) -> clap::Error {
    let mut wrapped = clap::Error::raw(ErrorKind::ValueValidation, error);
    wrapped.insert(ContextKind::InvalidArg, ContextValue::String("<ID>".to_owned()));
    wrapped
}
