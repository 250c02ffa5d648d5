//! A real second kernel in emulation: cgroup v2 with cgroupfs and with systemd, as root and rootless.
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
    boot("v2-cgroupfs", "init=/sbin/vm-init cgroup_no_v1=all");
}

#[test]
fn vm_v2_systemd() {
    boot("v2-systemd", "systemd.unified_cgroup_hierarchy=1 systemd.show_status=0");
}

/// Boots one machine and fails with every case that failed in it.
fn boot(name: &str, cmdline: &str) {
    if let Some(reason) = cannot_run() {
        return skip(&reason);
    }
    let dir = prepare();
    let payload = make_payload(&dir, name);
    let only = std::env::var("CASEMATE_VM_ONLY")
        .map_or_else(|_| String::new(), |only| format!(" casemate.only={only}"));
    let cmdline = format!("{cmdline} {}{only}", runtime_argument());
    let report = Machine { dir: &dir, name, payload: &payload, cmdline: &cmdline }.run();
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
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// The directory with the kernel and the image, made when they are missing or their recipe has changed.
fn prepare() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = crate_dir.parent().unwrap_or(crate_dir).join("target/vm");
    let status = Command::new(crate_dir.join("vm/prepare.sh")).arg(&dir).status().expect("run prepare.sh");
    assert!(status.success(), "prepare.sh: {status}");
    dir
}

/// The second disk: the driver and the runtime under test.
fn make_payload(dir: &Path, name: &str) -> PathBuf {
    let tree = dir.join(format!("payload-{name}"));
    std::fs::remove_dir_all(&tree).ok();
    std::fs::create_dir_all(&tree).expect("make the payload's directory");
    std::fs::copy(env!("CARGO_BIN_EXE_vm-guest"), tree.join("vm-guest")).expect("copy the driver");
    if peer().is_none() {
        std::fs::copy(ours().path(), tree.join("runtime")).expect("copy the runtime");
    }
    let image = dir.join(format!("payload-{name}.ext4"));
    std::fs::remove_file(&image).ok();
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-O", "^has_journal", "-d"]).arg(&tree).arg(&image).arg("64M");
    let status = mkfs.stdout(std::process::Stdio::null()).status().expect("run mkfs.ext4");
    assert!(status.success(), "mkfs.ext4: {status}");
    image
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
