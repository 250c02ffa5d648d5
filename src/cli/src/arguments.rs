//! The command line: one definition for parser and help.

use std::path::PathBuf;
use std::process::ExitCode;

use casemate_spec::wire::{PolicyName, Tenant};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::audit::AuditVerb;
use crate::policy::PolicyVerb;
use crate::top::TopArgs;
use crate::verbs::{ContainerVerb, ExecArgs, ImageVerb, RunArgs, SystemVerb};

/// Hardened containers, behind client certificates
#[derive(Debug, Parser)]
#[command(name = "casemate", version, disable_help_subcommand = true)]
pub struct Program {
    /// Everything that lasts: layers, volumes, certificates, metadata. Clients ask the daemon that DOCKER_HOST names, or
    /// else this one's
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = crate::rootless::data_root())]
    pub data_root: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make what is missing, start broker and daemon, and print how clients reach them
    Up(UpArgs),
    /// Stop broker and daemon, and the containers with them
    Down(DownArgs),
    /// Keep a broker running: what `up` leaves behind
    #[command(hide = true)]
    Supervise(UpArgs),
    /// Write the id maps of a user's namespace
    #[command(hide = true)]
    MapIds {
        /// Whose namespace
        pid: u32,
    },
    /// Pass on what comes to ports that a user's containers publish
    #[command(hide = true)]
    Forward(ForwardArgs),
    /// Certificates of the server and of clients
    #[command(subcommand)]
    Pki(PkiVerb),
    /// The record of who asked for what, and what came of it
    #[command(subcommand)]
    Audit(AuditVerb),
    /// What confines containers, and who may what: explained, and tried out
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Say what this host can enforce, and what to turn on
    Doctor(DoctorArgs),
    /// Watch running containers: what they use, and under which policy
    Top(TopArgs),
    /// Run a container
    Run(Box<RunArgs>),
    /// Run a command in a running container
    Exec(ExecArgs),
    #[command(flatten)]
    Containers(ContainerVerb),
    #[command(flatten)]
    Images(ImageVerb),
    #[command(flatten)]
    System(SystemVerb),
}

/// `up`
#[derive(Debug, Clone, Args)]
pub struct UpArgs {
    /// Where the API listens: an address and a port, or port 0 for a free one; else what casemate.toml says in `hosts`, or
    /// 127.0.0.1:2376
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Vec<std::net::SocketAddr>,
    /// The policy of containers that name none
    #[arg(long, value_name = "NAME")]
    pub policy: Option<PolicyName>,
    /// An interface of the host that networks of one tenant may be built upon (macvlan), any number of times; else what
    /// casemate.toml says in `macvlan`. Without a tenant it is `default`
    #[arg(long, value_name = "IF[=TENANT]")]
    pub macvlan: Vec<String>,
    /// Return once it answers, and leave it running
    #[arg(long)]
    pub detach: bool,
    /// Where runtime, casemate-broker and the other programs are
    #[arg(long, value_name = "DIR")]
    pub libexec: Option<PathBuf>,
}

/// `forward`
#[derive(Debug, Clone, Args)]
pub struct ForwardArgs {
    /// The network namespace of the containers' networks
    #[arg(long, value_name = "FILE")]
    pub namespace: PathBuf,
    /// The process that started it, with which it ends
    #[arg(long, value_name = "PID")]
    pub supervisor: u32,
}

/// `doctor`
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Where runtime, casemate-broker and the other programs are
    #[arg(long, value_name = "DIR")]
    pub libexec: Option<PathBuf>,
}

/// `down`
#[derive(Debug, Clone, Args)]
pub struct DownArgs {
    /// Leave containers running; the next `up` finds them
    #[arg(long)]
    pub keep: bool,
}

/// `pki`
#[derive(Debug, Subcommand)]
pub enum PkiVerb {
    /// Make an authority, the server's certificate and an administrator's, where they are missing
    Init {
        /// Names and addresses by which clients reach the server, besides localhost and the host's name
        #[arg(long = "name", value_name = "HOST")]
        names: Vec<String>,
    },
    /// Issue a client's certificate
    Issue {
        /// Who
        name: String,
        /// Whose objects it sees and touches
        #[arg(long, default_value = "default")]
        tenant: Tenant,
        /// What it may do: admin, operator, developer, viewer, or a group of your policies
        #[arg(long = "group", value_name = "GROUP", required = true)]
        groups: Vec<String>,
        /// How long it is valid
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Write ca.pem, cert.pem and key.pem there
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Revoke a client's certificates; its connections are closed
    Revoke {
        /// Who, or one certificate by its serial number
        name: String,
    },
    /// Renew the server's certificate and the revocation list
    Renew {
        /// As for `init`
        #[arg(long = "name", value_name = "HOST")]
        names: Vec<String>,
    },
    /// List the certificates that were issued
    List,
}

/// The definition, for man pages and completions.
pub fn command() -> clap::Command {
    Program::command()
}

impl PkiVerb {
    /// Whether it makes files, some of which are the daemon's.
    pub fn writes(&self) -> bool {
        !matches!(self, Self::List)
    }
}

/// Reads the command line.
pub fn parse() -> Result<Program, ExitCode> {
    match Program::try_parse() {
        Ok(program) => Ok(program),
        Err(error) => {
            let code = if error.use_stderr() { 2 } else { 0 };
            // A closed standard output is the reader's choice.
            error.print().ok();
            Err(ExitCode::from(code))
        }
    }
}
