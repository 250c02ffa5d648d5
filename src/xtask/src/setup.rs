//! What a fresh machine needs: said first, then installed where we may, else the exact command is printed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::workspace;

/// Debian's packages for `bench`.
pub const BENCH: &[&str] = &["gcc", "libc6-dev", "busybox-static", "runc", "crun"];
/// Debian's packages for `bench --engines`.
pub const ENGINES: &[&str] = &["busybox-static", "docker.io"];
/// Debian's packages for `bench --networks`.
pub const NETWORKS: &[&str] = &["busybox-static", "curl", "docker.io", "iproute2", "iptables", "util-linux"];
/// Debian's packages for `demo`.
pub const DEMO: &[&str] = &["busybox-static"];
/// Debian's packages for `test --quick`.
pub const TEST: &[&str] = &[
    "gcc",
    "libc6-dev",
    "busybox-static",
    "runc",
    "crun",
    "procps",
    "strace",
    "libseccomp-dev",
    "uidmap",
    "slirp4netns",
    "iproute2",
    "util-linux",
];

/// Debian's packages for `fuzz`: libFuzzer is C++.
pub const FUZZ: &[&str] = &["g++"];
/// What the virtual machines need on top; the system inside them is fetched by tests/vm/prepare.sh.
pub const MACHINES: &[&str] = &["qemu-system-x86", "e2fsprogs"];

/// A package list that a test keeps beside itself, one name a line.
pub fn listed(file: &str) -> Outcome<Vec<String>> {
    let file = workspace::root().join(file);
    if !file.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&file).doing(file.display())?;
    let lines = text.lines().filter_map(|line| line.split('#').next());
    Ok(lines.flat_map(str::split_whitespace).map(str::to_owned).collect())
}

/// Installs what is missing of these packages.
pub fn packages<S: AsRef<str>>(wanted: &[S]) -> Outcome {
    if command::find("dpkg-query").is_none() {
        eprintln!("not a Debian host: nothing is installed, the programs are taken as they are found");
        return Ok(());
    }
    let wanted: BTreeSet<&str> = wanted.iter().map(AsRef::as_ref).collect();
    let provided = provided();
    let here = |package: &str| is_installed(package) || provided.contains(package);
    let missing: Vec<&str> = wanted.into_iter().filter(|package| !here(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("missing packages: {}", missing.join(" "));
    if !rustix::process::geteuid().is_root() {
        let line = format!("sudo apt-get install --yes --no-install-recommends {}", missing.join(" "));
        return Err(Failure::new("packages are missing", format!("run `{line}`")));
    }
    let quiet = NoServices::begin()?;
    // The lists of a fresh machine are empty or old, and mirrors have hiccups: one retry.
    let outcome = install(&missing).or_else(|_| install(&missing));
    drop(quiet);
    outcome
}

/// cargo-nextest, from the Cargo registry when it is absent.
pub fn nextest() -> Outcome {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let installed = cargo_home.is_some_and(|home| home.join("bin/cargo-nextest").is_file());
    if installed || command::find("cargo-nextest").is_some() {
        return Ok(());
    }
    // From the top folder: our own cargo configuration is not for other people's programs.
    command::run(workspace::cargo().current_dir("/").args(["install", "--locked", "cargo-nextest"]))
}

/// Where youki is, if it is; installed first when asked for.
pub fn youki(install: bool) -> Outcome<Option<PathBuf>> {
    let place = workspace::scratch("youki")?;
    let program = place.join("bin/youki");
    if install && !program.is_file() {
        let mut cargo = workspace::cargo();
        cargo.current_dir("/").args([
            "install",
            "youki",
            "--no-default-features",
            "--features",
            "v1,v2,seccomp",
        ]);
        packages(&["pkg-config", "libseccomp-dev"])?;
        command::run(cargo.arg("--root").arg(&place))?;
    }
    Ok(Some(program).filter(|program| program.is_file()).or_else(|| command::find("youki")))
}

fn install(packages: &[&str]) -> Outcome {
    command::run(apt().arg("update"))?;
    command::run(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(["--quiet", "--option", "DPkg::Lock::Timeout=300"]);
    apt
}

fn is_installed(package: &str) -> bool {
    let status =
        Command::new("dpkg-query").args(["--show", "--showformat", "${db:Status-Status}", package]).output();
    status.is_ok_and(|output| output.stdout == b"installed")
}

/// What installed packages bring under other names: some vendors' `nodejs` holds `npm`, and cannot stand beside Debian's.
fn provided() -> BTreeSet<String> {
    let format = "${db:Status-Status} ${Provides}\n";
    let output = Command::new("dpkg-query").args(["--show", "--showformat", format]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let lists = text.lines().filter_map(|line| line.strip_prefix("installed "));
    // Each is `name` or `name (= version)`.
    let names = lists.flat_map(|list| list.split(',')).filter_map(|entry| entry.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// While this lives, Debian's packages do not start the daemons they bring: the tests start their own.
struct NoServices {
    file: Option<&'static Path>,
}

impl NoServices {
    fn begin() -> Outcome<Self> {
        let file = Path::new("/usr/sbin/policy-rc.d");
        if file.exists() {
            return Ok(Self { file: None });
        }
        // 101 is "action forbidden by policy" (invoke-rc.d(8)).
        fs::write(file, "#!/bin/sh\nexit 101\n").doing(file.display())?;
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).doing(file.display())?;
        Ok(Self { file: Some(file) })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(file) = self.file
            && let Err(error) = fs::remove_file(file)
        {
            eprintln!("xtask: removing {}: {error}", file.display());
        }
    }
}
