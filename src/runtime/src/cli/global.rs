//! Flags that stand before the subcommand.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What holds for every subcommand.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Directory for container state; on a tmpfs [default: /run/casemate, rootless: $XDG_RUNTIME_DIR/casemate]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,

    /// Append messages to this file, besides standard error
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Form of the messages in the log file
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text", ignore_case = false)]
    pub log_format: LogFormat,

    /// Log what is decided on the way, too
    #[arg(long)]
    pub debug: bool,

    /// Place control groups through systemd; cgroupsPath is then slice:prefix:name
    #[arg(long)]
    pub systemd_cgroup: bool,

    /// Whether control groups we may not touch are left alone
    #[arg(long, value_name = "MODE", value_enum, default_value = "auto")]
    pub rootless: Rootless,

    /// Policy that judges the bundle
    #[arg(long, value_name = "NAME", default_value = "oci")]
    pub policy: String,

    /// Accepted and ignored, as checkpoints are not supported
    #[arg(long, value_name = "PATH", hide = true)]
    pub criu: Option<PathBuf>,
}

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `time="…" level=error msg="…"`
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`, as containerd and Podman read it
    Json,
}

/// `--rootless`: whether missing permission on control groups is forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rootless {
    /// Forgiven when the caller is not root, or is root of a user namespace only
    Auto,
    /// Always forgiven
    True,
    /// Never forgiven
    False,
}
