//! The arguments of each subcommand, as typed values.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use casemate_spec::{ContainerId, Error, Result};
use clap::{Args, Subcommand, ValueEnum};

use super::target::{Program, PsOptions, Target};

/// Subcommands that take nothing.
#[derive(Debug, Clone, Args)]
pub struct NoArgs {}

/// Subcommands that take a container's id only.
#[derive(Debug, Clone, Args)]
pub struct IdArgs {
    /// Container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
}

/// What `create` and `run` share.
#[derive(Debug, Clone, Args)]
pub struct BirthArgs {
    /// Bundle directory, holding config.json [default: the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,

    /// AF_UNIX socket that receives the terminal's master end
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,

    /// File to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Do not pivot_root; for a root filesystem on a ramdisk
    #[arg(long)]
    pub no_pivot: bool,

    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,

    /// Pass N more descriptors to the container, after standard I/O and $LISTEN_FDS
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
}

/// `create`.
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// The bundle, and how the process is born.
    #[command(flatten)]
    pub birth: BirthArgs,

    /// Name for the container, unique under the root directory
    #[arg(value_name = "ID")]
    pub id: ContainerId,
}

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The bundle, and how the process is born.
    #[command(flatten)]
    pub birth: BirthArgs,

    /// Return once the container runs
    #[arg(short, long)]
    pub detach: bool,

    /// Do not delete the container after it exits
    #[arg(long)]
    pub keep: bool,

    /// Do not adopt processes that outlive their parents
    #[arg(long)]
    pub no_subreaper: bool,

    /// Name for the container, unique under the root directory
    #[arg(value_name = "ID")]
    pub id: ContainerId,
}

/// `exec`.
#[derive(Debug, Clone, Args)]
pub struct ExecArgs {
    /// AF_UNIX socket that receives the terminal's master end
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,

    /// Working directory inside the container
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,

    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<OsString>,

    /// Allocate a terminal
    #[arg(short, long)]
    pub tty: bool,

    /// User and group, by number
    #[arg(short, long, value_name = "UID[:GID]")]
    pub user: Option<String>,

    /// Additional groups, by number
    #[arg(short = 'g', long, value_name = "GID")]
    pub additional_gids: Vec<u32>,

    /// File describing the process, in the form of config.json's process
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,

    /// Return once the process runs
    #[arg(short, long)]
    pub detach: bool,

    /// File to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,

    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,

    /// Deny the process new privileges
    #[arg(long)]
    pub no_new_privs: bool,

    /// Add a capability
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,

    /// Pass N more descriptors to the process, after standard I/O and $LISTEN_FDS
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,

    /// Run in an existing sub-cgroup
    #[arg(long, value_name = "[CONTROLLER:]CGROUP")]
    pub cgroup: Vec<String>,

    /// Allow a paused container
    #[arg(long)]
    pub ignore_paused: bool,

    /// The container, and the program with its arguments (empty when --process tells them).
    #[command(flatten)]
    pub target: Target<Program>,
}

/// `kill`.
#[derive(Debug, Clone, Args)]
pub struct KillArgs {
    /// Signal every process of the container
    #[arg(short, long)]
    pub all: bool,

    /// Container
    #[arg(value_name = "ID")]
    pub id: ContainerId,

    /// Signal, by name or number
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    pub signal: String,
}

/// `delete`.
#[derive(Debug, Clone, Args)]
pub struct DeleteArgs {
    /// Kill it first if it runs; succeed if it is not there
    #[arg(short, long)]
    pub force: bool,

    /// Container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
}

/// `events`.
#[derive(Debug, Clone, Args)]
pub struct EventsArgs {
    /// Print the statistics once and end
    #[arg(long)]
    pub stats: bool,

    /// Time between two statistics (as in 5s, 500ms, 1m30s)
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub interval: Duration,

    /// Container
    #[arg(value_name = "ID")]
    pub id: ContainerId,
}

/// `ps`.
#[derive(Debug, Clone, Args)]
pub struct PsArgs {
    /// Form of the output
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "table")]
    pub format: Format,

    /// The container, and options for ps(1).
    #[command(flatten)]
    pub target: Target<PsOptions>,
}

/// `list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Form of the output
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "table")]
    pub format: Format,

    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// `spec`.
#[derive(Debug, Clone, Args)]
pub struct SpecArgs {
    /// Directory to write config.json to [default: the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,

    /// Write it for a container without root
    #[arg(long)]
    pub rootless: bool,
}

/// `plan`.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// Bundle directory
    #[arg(value_name = "BUNDLE", default_value = ".")]
    pub bundle: PathBuf,
}

/// `check` and `grade`.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Bundle directory
    #[arg(value_name = "BUNDLE", default_value = ".")]
    pub bundle: PathBuf,

    /// Form of the output
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub format: ReportFormat,
}

/// `cgroup`.
#[derive(Debug, Clone, Args)]
pub struct CgroupArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: CgroupVerb,
}

/// What `cgroup` does.
#[derive(Debug, Clone, Subcommand)]
pub enum CgroupVerb {
    /// Make it where it is missing, and set limits; what is not named stays
    Set {
        /// As linux.cgroupsPath names a container's
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// File with limits in the form of config.json's linux.resources, or - for standard input
        #[arg(short, long, value_name = "FILE")]
        resources: PathBuf,
    },
    /// Remove it; nothing may be in it any more
    Remove {
        /// As linux.cgroupsPath names a container's
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
}

/// `policy`.
#[derive(Debug, Clone, Args)]
pub struct PolicyArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: PolicyVerb,
}

/// What `policy` does.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyVerb {
    /// Names of all policies: built in, and of the configuration directory
    List,
    /// A policy with all it extends, as one document
    Show {
        /// A name, or a file (with a / or ending in .toml)
        #[arg(value_name = "NAME|FILE")]
        policy: String,
    },
}

/// `checkpoint` and `restore`: whatever is passed, the answer is the same.
#[derive(Debug, Clone, Args)]
pub struct UnsupportedArgs {
    /// Anything
    #[arg(value_name = "ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub any: Vec<OsString>,
}

/// `--format` of `list` and `ps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// For programs
    Json,
}

/// `--format` of `check` and `grade`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

/// A duration as Go writes it: decimal numbers, each with a unit (`1h15m30.5s`, `300ms`).
///
/// # Errors
/// A missing or unknown unit, a negative or unrepresentable value.
fn duration(text: &str) -> Result<Duration> {
    let refuse = || Error::new("", format!("{text:?} is not a duration like 5s, 500ms or 1m30s"));
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refuse)?;
        let (number, after) = rest.split_at_checked(digits).ok_or_else(refuse)?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end).ok_or_else(refuse)?;
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(refuse()),
        };
        seconds += number.parse::<f64>().map_err(|_| refuse())? * factor;
        rest = after;
    }
    if text.is_empty() {
        return Err(refuse());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let ms = |text: &str| duration(text).map(|d| d.as_millis()).ok();
        assert_eq!(ms("5s"), Some(5000));
        assert_eq!(ms("1m30.5s"), Some(90_500));
        assert_eq!(ms("300ms"), Some(300));
        assert_eq!(ms("0"), Some(0));
        for bad in ["", "5", "s", "-1s", "5x", "1e9h", "1..s", "∞s"] {
            assert_eq!(ms(bad), None, "{bad:?} was accepted");
        }
    }
}
