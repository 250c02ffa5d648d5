//! Flags that stand before the subcommand.

use std::path::PathBuf;

use casemate_spec::{Error, Result, user_namespace};
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

    /// Policy that judges the bundle: a name, or a file (with a / or ending in .toml) [default: what the
    /// host's configuration says, else hardened; for record baseline]
    #[arg(long, value_name = "NAME|FILE", global = true)]
    pub policy: Option<String>,

    /// Directory of the host's configuration: runtime.toml and policies/NAME.toml [default: /etc/casemate]
    #[arg(long, value_name = "DIR", global = true)]
    pub config_dir: Option<PathBuf>,

    /// Log what the policy would change or refuse, and let it pass
    #[arg(long, global = true)]
    pub audit: bool,

    /// Layers and volumes that a store of the operator's gives the container: a JSON file, root's own
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,

    /// Exit with 127 when the program is not there, 126 when it cannot be executed and 3 when a policy denies the
    /// container, in place of runc's 1 and 255
    #[arg(long)]
    pub exit_by_cause: bool,

    /// Accepted and ignored, as checkpoints are not supported
    #[arg(long, value_name = "PATH", hide = true)]
    pub criu: Option<PathBuf>,
}

impl Global {
    /// Whether control groups that we may not touch are left alone.
    pub fn is_rootless(&self) -> bool {
        match self.rootless {
            Rootless::True => true,
            Rootless::False => false,
            Rootless::Auto => self.is_confined(),
        }
    }

    /// Whether we lack the rights of the host's root: not root, or root only of a user namespace.
    pub fn is_confined(&self) -> bool {
        !rustix::process::geteuid().is_root() || in_user_namespace()
    }

    /// The state's root directory, absolute.
    ///
    /// # Errors
    /// None is named and `XDG_RUNTIME_DIR` is needed but not set.
    pub fn root_path(&self) -> Result<PathBuf> {
        let path = match &self.root {
            Some(path) => path.clone(),
            None if !is_personal() => PathBuf::from("/run/casemate"),
            None => match std::env::var_os("XDG_RUNTIME_DIR") {
                Some(directory) => PathBuf::from(directory).join("casemate"),
                None if rustix::process::geteuid().is_root() => PathBuf::from("/run/casemate"),
                None => {
                    return Err(Error::new("root directory", "XDG_RUNTIME_DIR is not set")
                        .hint("name one with --root"));
                }
            },
        };
        std::path::absolute(&path)
            .map_err(|error| Error::io(format!("root directory {}", path.display()), &error))
    }
}

/// Whether the caller is a user rather than the host: not root, or root only of a namespace that a user made.
/// There, as for runc, `USER=root` says that the namespace is a host's own (a container that runs containers).
fn is_personal() -> bool {
    !rustix::process::geteuid().is_root()
        || (in_user_namespace() && std::env::var_os("USER").is_none_or(|user| user != "root"))
}

/// Whether this process' user namespace is not the initial one, which maps every id to itself (user_namespaces(7)).
pub fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !user_namespace::is_first(&map))
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
