//! The command line: one definition for the parser, the help, the man page and the shell completions.
//!
//! Flags, their short forms and their meaning are runc 1.1's, because engines call us in its place.
//! Subcommands are defined lazily (`clap::Command::defer`): a call pays for the one it names, not for all.

mod arguments;
mod global;
mod report;
mod target;
mod update;

use std::ffi::OsString;

use casemate_spec::Result;
use clap::{ArgMatches, Args, FromArgMatches};

pub use arguments::{
    BirthArgs, CgroupArgs, CgroupVerb, CheckArgs, CreateArgs, DeleteArgs, EventsArgs, ExecArgs, Format,
    IdArgs, KillArgs, ListArgs, NoArgs, PlanArgs, PolicyArgs, PolicyVerb, PsArgs, ReportFormat, RunArgs,
    SpecArgs, UnsupportedArgs,
};
pub use global::{Global, LogFormat, Rootless, in_user_namespace};
pub use report::Stop;
pub use target::Target;
pub use update::{Limits, UpdateArgs};

pub use crate::record::RecordArgs;

/// Defines the subcommands once: the enum, the clap definition, and the way from matches to arguments.
macro_rules! commands {
    ($($name:literal $variant:ident($arguments:ty) $about:literal;)*) => {
        /// What was asked for, with its arguments.
        #[derive(Debug)]
        pub enum Command {
            $(#[doc = $about] $variant($arguments),)*
        }

        fn with_commands(mut program: clap::Command, wanted: impl Fn(&str) -> bool) -> clap::Command {
            $(if wanted($name) {
                // The arguments' own documentation is for programmers; it must not replace the text for users.
                let define = |command| <$arguments>::augment_args(command).about($about);
                program = program.subcommand(clap::Command::new($name).about($about).defer(define));
            })*
            program
        }

        impl Command {
            fn from_matches(name: &str, matches: &ArgMatches) -> Result<Self, clap::Error> {
                match name {
                    $($name => <$arguments>::from_arg_matches(matches).map(Self::$variant),)*
                    _ => Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand)),
                }
            }
        }
    };
}

commands! {
    "cgroup" Cgroup(CgroupArgs) "Set or remove a parent control group, whose limits hold for all containers beneath it";
    "check" Check(CheckArgs) "Say what the policy makes of a bundle: what is asked, enforced and denied (exit code 3)";
    "checkpoint" Checkpoint(UnsupportedArgs) "Not supported: says why";
    "create" Create(CreateArgs) "Create a container, ready to start";
    "delete" Delete(DeleteArgs) "Delete a container and everything it holds on the host";
    "events" Events(EventsArgs) "Stream statistics and out-of-memory notifications";
    "exec" Exec(ExecArgs) "Execute a new process inside a running container";
    "features" Features(NoArgs) "Print what this runtime supports, as JSON";
    "grade" Grade(CheckArgs) "Grade how contained a bundle's container will be, and say what is exposed";
    "kill" Kill(KillArgs) "Send a signal to a container's init process";
    "list" List(ListArgs) "List the containers under the root directory";
    "pause" Pause(IdArgs) "Suspend all processes of a container";
    "plan" Plan(PlanArgs) "Print every step that creating a container would take, and do nothing";
    "policy" Policy(PolicyArgs) "List policies, or show what one comes to";
    "ps" Ps(PsArgs) "Show the processes of a container";
    "record" Record(RecordArgs) "Run a bundle, watch it, and write the tightest policy for it";
    "restore" Restore(UnsupportedArgs) "Not supported: says why";
    "resume" Resume(IdArgs) "Resume the processes of a paused container";
    "run" Run(RunArgs) "Create and start a container, and wait for it";
    "spec" Spec(SpecArgs) "Write a starter config.json";
    "start" Start(IdArgs) "Start the process of a created container";
    "state" State(IdArgs) "Print the state of a container, as JSON";
    "update" Update(UpdateArgs) "Change the resource limits of a container";
}

/// The whole definition, as man page and completion generators want it.
pub fn command() -> clap::Command {
    with_commands(program(), |_name| true)
}

/// Parses a command line, the program's name first.
///
/// # Errors
/// [`Stop`] carries what is to be printed instead of running a command: help, the version, or a usage error.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(Global, Command), Stop> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Defining a subcommand costs more than parsing its flags: only those that appear by name are defined. When that
    // does not lead to a command, the whole definition says why.
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    match parse_with(with_commands(program(), named), &arguments) {
        Ok(parsed) => Ok(parsed),
        Err(_) => parse_with(command(), &arguments).map_err(Stop::from),
    }
}

fn parse_with(
    mut definition: clap::Command,
    arguments: &[OsString],
) -> Result<(Global, Command), clap::Error> {
    let matches = definition.try_get_matches_from_mut(arguments)?;
    let global = Global::from_arg_matches(&matches)?;
    let Some((name, matches)) = matches.subcommand() else {
        return Err(clap::Error::new(clap::error::ErrorKind::MissingSubcommand));
    };
    Ok((global, Command::from_matches(name, matches)?))
}

fn program() -> clap::Command {
    let version = clap::Arg::new("version")
        .short('v')
        .long("version")
        .action(clap::ArgAction::Version)
        .help("Print the version");
    Global::augment_args(clap::Command::new("runtime"))
        .about("A security-hardened OCI container runtime")
        .version(VERSION)
        .subcommand_required(true)
        .disable_version_flag(true)
        .arg(version)
}

/// After the first line the shape is runc's: dockerd and containerd read `spec:` and `commit:` lines by prefix.
const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[&str]) -> (Global, Command) {
        match parse(std::iter::once("runtime").chain(line.iter().copied()).map(OsString::from)) {
            Ok(parsed) => parsed,
            Err(stop) => panic!("{line:?}: {stop:?}"),
        }
    }

    #[test]
    fn the_definition_holds_together() {
        command().debug_assert();
    }

    #[test]
    fn what_go_runc_passes_is_understood() {
        let line = "--root /r --log /l --log-format json --systemd-cgroup create --bundle /b --pid-file /p \
                    --console-socket /s --no-pivot --no-new-keyring --preserve-fds 2 c1";
        let (global, command) = parsed(&line.split_whitespace().collect::<Vec<_>>());
        assert!(global.systemd_cgroup && matches!(global.log_format, LogFormat::Json));
        let Command::Create(create) = command else { panic!("{command:?}") };
        assert_eq!((create.id.as_str(), create.birth.preserve_fds), ("c1", 2));
        assert!(create.birth.no_pivot && create.birth.no_new_keyring);
    }

    #[test]
    fn what_follows_the_id_belongs_to_the_program() {
        for (line, expected) in [
            (&["exec", "-t", "c1", "ls", "-t", "--", "-u"][..], &["ls", "-t", "--", "-u"][..]),
            (&["exec", "c1", "-t"], &["-t"]),
            (&["exec", "--env", "A=-1", "-e=B=2", "c1", "-e", "x"], &["-e", "x"]),
            (&["exec", "c1", "sh", "-c", "--help"], &["sh", "-c", "--help"]),
        ] {
            let (_, command) = parsed(line);
            let Command::Exec(exec) = command else { panic!("{command:?}") };
            assert_eq!(exec.target.rest, expected, "{line:?}");
        }
    }

    #[test]
    fn flags_may_follow_the_id() {
        let (_, command) = parsed(&["delete", "c1", "--force"]);
        assert!(matches!(command, Command::Delete(DeleteArgs { force: true, .. })));
        let (_, command) = parsed(&["kill", "c1", "KILL", "--all"]);
        assert!(matches!(command, Command::Kill(KillArgs { all: true, .. })));
    }

    #[test]
    fn a_usage_error_is_one_line_and_exits_1() {
        let stop =
            parse(["runtime", "kill", "a/b"].map(OsString::from)).expect_err("a path was taken for an id");
        let Stop::Usage(error) = stop else { panic!("{stop:?}") };
        assert_eq!(error.exit_code(), 1);
        assert!(
            error.to_string().contains("invalid container ID format") && !error.to_string().contains('\n'),
            "{error}"
        );
    }
}
