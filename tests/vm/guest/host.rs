//! Where a case runs: which driver, which user, which runtime.

use std::path::{Path, PathBuf};

/// The unprivileged user of the image.
pub const USER: u32 = 1000;

/// Facts of the machine and of the running group.
pub struct Host {
    /// The binary under test.
    pub binary: PathBuf,
    /// What a case calls: the binary, or a script that adds `--systemd-cgroup`.
    pub runtime: PathBuf,
    /// Whether systemd is pid 1 and owns the control groups.
    pub systemd: bool,
    /// Whether the group runs as an unprivileged user.
    pub rootless: bool,
    /// Whether that user owns a control group (or a systemd manager) of its own.
    pub delegated: bool,
    /// Whether the daemon is what is tested here, and nothing else.
    pub daemon: bool,
    /// Whether a peer stands in for our runtime.
    pub peer: bool,
    only: Option<String>,
    group: String,
}

impl Host {
    /// # Panics
    /// When the kernel's command line cannot be read or names no runtime.
    pub fn new(group: &str) -> Self {
        let cmdline = std::fs::read_to_string("/proc/cmdline").expect("read the kernel's command line");
        let value =
            |key: &str| cmdline.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let binary = PathBuf::from(value("casemate.runtime").expect("casemate.runtime on the command line"));
        let systemd = Path::new("/run/systemd/system").exists();
        Self {
            runtime: if systemd { "/run/runtime-with-systemd".into() } else { binary.clone() },
            binary,
            systemd,
            rootless: group != "root",
            delegated: group != "undelegated",
            daemon: cmdline.split_whitespace().any(|word| word == "casemate.daemon"),
            peer: cmdline.split_whitespace().any(|word| word == "casemate.peer"),
            only: value("casemate.only").map(str::to_owned),
            group: group.to_owned(),
        }
    }

    /// Whether the case was asked for.
    pub fn selects(&self, name: &str) -> bool {
        let name = format!("{}/{name}", self.group);
        self.only.as_ref().is_none_or(|only| only.split(',').any(|part| name.contains(part)))
    }

    /// For cases that need nothing but a control group of one's own.
    pub fn has_cgroups(&self) -> bool {
        self.delegated
    }

    /// For cases only root can do.
    pub fn is_root(&self) -> bool {
        !self.rootless
    }

    /// runc lacks what crun and ours can: a rule that takes a part out of an allowed whole.
    pub fn is_runc(&self) -> bool {
        self.binary.ends_with("runc")
    }
}
