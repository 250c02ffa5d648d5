//! A real second kernel in emulation: cgroup v2 with cgroupfs and with systemd, as root and rootless; and the daemon as
//! it is installed, on a clock that jumps and a file system that has quotas.
//!
//! Each test boots Debian's kernel in qemu and lets the driver (`guest/`) run its cases inside, where the harness
//! works as it does on the host. The image comes from `prepare.sh` and is kept in `target/vm`.
//!
//! Environment:
//! - `CASEMATE_VM_RUNTIME`: `runc` or `crun`, to prove the cases on a peer (Debian's, inside the image)
//! - `CASEMATE_VM_ONLY`: run only the cases whose `group/name` contains one of these words (commas between)

mod machine;

use std::path::{Path, PathBuf};
use std::process::Command;

use casemate_tests::{ours, skip};
use machine::{Machine, Report};

/// qemu and what `prepare.sh` uses beyond an essential Debian system.
const TOOLS: &[(&str, &str)] =
    &[("qemu-system-x86_64", "qemu-system-x86"), ("mkfs.ext4", "e2fsprogs"), ("apt-get", "apt")];

#[test]
fn vm_v2_cgroupfs() {
    boot("v2-cgroupfs", "init=/sbin/vm-init cgroup_no_v1=all", &[]);
}

#[test]
fn vm_v2_systemd() {
    boot("v2-systemd", "systemd.unified_cgroup_hierarchy=1 systemd.show_status=0", &[]);
}

#[test]
fn vm_daemon() {
    if !in_path("docker") {
        return skip("docker is not installed");
    }
    boot(
        "daemon",
        "systemd.unified_cgroup_hierarchy=1 systemd.show_status=0 casemate.daemon",
        &daemon_programs(),
    );
}

/// Boots one machine and fails with every case that failed in it. One that gets programs has a disk for their data, too.
fn boot(name: &str, cmdline: &str, programs: &[PathBuf]) {
    if let Some(reason) = cannot_run() {
        return skip(&reason);
    }
    let dir = prepare();
    let payload = make_payload(&dir, name, programs);
    let data = (!programs.is_empty()).then(|| make_data(&dir));
    let only = std::env::var("CASEMATE_VM_ONLY")
        .map_or_else(|_| String::new(), |only| format!(" casemate.only={only}"));
    let cmdline = format!("{cmdline} {}{only}", runtime_argument());
    let machine = Machine { dir: &dir, name, payload: &payload, data: data.as_deref(), cmdline: &cmdline };
    let report = machine.run();
    judge(name, &report);
}

/// Why nothing can be done here, if so.
fn cannot_run() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some("the image is for x86_64 alone".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("making the image needs root".to_owned());
    }
    let missing = TOOLS.iter().find(|(program, _)| !in_path(program));
    missing.map(|(program, package)| format!("{program} is not installed (package {package})"))
}

fn in_path(program: &str) -> bool {
    found(program).is_some()
}

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// What an installation consists of, and the client: the programs of `$CASEMATE_LIBEXEC`, else the debug build.
fn daemon_programs() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the top of the workspace");
    let built = || top.join(format!("target/{}-unknown-linux-gnu/debug", std::env::consts::ARCH));
    let libexec = std::env::var_os("CASEMATE_LIBEXEC").map_or_else(built, PathBuf::from);
    let ours = [
        "runtime",
        "casemate-broker",
        "casemate-shim",
        "casemate-layer",
        "casemate-net",
        "casemate-dns",
        "casemated",
        "casemate",
    ];
    let ours = ours.iter().map(|name| libexec.join(name));
    ours.chain([top.join("src/cli/systemd/casemate.service")]).chain(found("docker")).collect()
}

/// The directory with the kernel and the image, made when they are missing or their recipe has changed.
fn prepare() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = crate_dir.parent().unwrap_or(crate_dir).join("target/vm");
    let status = Command::new(crate_dir.join("vm/prepare.sh")).arg(&dir).status().expect("run prepare.sh");
    assert!(status.success(), "prepare.sh: {status}");
    dir
}

/// The second disk: the driver, the runtime under test, and programs.
fn make_payload(dir: &Path, name: &str, programs: &[PathBuf]) -> PathBuf {
    let tree = dir.join(format!("payload-{name}"));
    std::fs::remove_dir_all(&tree).ok();
    std::fs::create_dir_all(&tree).expect("make the payload's directory");
    std::fs::copy(env!("CARGO_BIN_EXE_vm-guest"), tree.join("vm-guest")).expect("copy the driver");
    if peer().is_none() {
        std::fs::copy(ours().path(), tree.join("runtime")).expect("copy the runtime");
    }
    let mut size = 64 << 20;
    for program in programs {
        let name = program.file_name().expect("a program's name");
        // Twice the content, for the file system's own.
        size += 2 * std::fs::copy(program, tree.join(name))
            .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    }
    let image = dir.join(format!("payload-{name}.ext4"));
    let arguments = ["-O", "^has_journal", "-d", &tree.to_string_lossy()];
    mkfs(&image, &arguments, size >> 20);
    std::fs::remove_dir_all(&tree).ok();
    image
}

/// The fourth disk: a data root's, with quotas for projects.
fn make_data(dir: &Path) -> PathBuf {
    let image = dir.join("data.ext4");
    mkfs(&image, &["-O", "quota,project", "-E", "quotatype=prjquota,lazy_itable_init=1"], 512);
    image
}

fn mkfs(image: &Path, arguments: &[&str], mebibytes: u64) {
    std::fs::remove_file(image).ok();
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F"]).args(arguments).arg(image).arg(format!("{mebibytes}M"));
    let status = mkfs.stdout(std::process::Stdio::null()).status().expect("run mkfs.ext4");
    assert!(status.success(), "mkfs.ext4: {status}");
}

fn peer() -> Option<String> {
    std::env::var("CASEMATE_VM_RUNTIME").ok()
}

fn runtime_argument() -> String {
    match peer().as_deref() {
        None => "casemate.runtime=/payload/runtime".to_owned(),
        Some("runc") => "casemate.peer casemate.runtime=/usr/sbin/runc".to_owned(),
        Some("crun") => "casemate.peer casemate.runtime=/usr/bin/crun".to_owned(),
        Some(other) => panic!("CASEMATE_VM_RUNTIME={other}: runc or crun"),
    }
}

fn judge(name: &str, report: &Report) {
    for (case, reason) in &report.skipped {
        skip(&format!("{case}: {reason}"));
    }
    assert!(report.finished, "{name}: the machine did not finish\n{}", report.transcript());
    assert!(report.passed + report.failed.len() > 0, "{name}: no case ran\n{}", report.transcript());
    assert!(
        report.failed.is_empty(),
        "{name}: {} of {} cases failed: {}\n{}",
        report.failed.len(),
        report.failed.len() + report.passed,
        report.failed.join(", "),
        report.transcript()
    );
}
