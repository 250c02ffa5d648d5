//! A bundle as an engine writes it, with the image's root filesystem.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use casemate_tests::{Bundle, DOCKER_CAPABILITIES, Output, json, ours};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::host::Program;
use crate::relaxed::Relaxation;
use crate::root;

/// One container of the image.
pub struct SoftwareBundle {
    overlay: Option<PathBuf>,
    output: Option<Output>,
    bundle: Bundle,
}

impl SoftwareBundle {
    /// Makes one for a program. Where the root filesystem stays as it is, it is the image's own directory; else an overlay of it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new(program: Program<'_>, policy: &str, relaxed: Option<&Relaxation>, terminal: bool) -> Self {
        let mut bundle = Bundle::new(&ours());
        configure(&mut bundle, program, terminal);
        let file = relaxed.map(|relaxed| bundle.file(&relaxed.file(), relaxed.text()));
        bundle.policy(file.as_deref().and_then(Path::to_str).unwrap_or(policy));
        let writable = policy != "hardened" || relaxed.is_some();
        let overlay = writable.then(|| overlay(bundle.dir()));
        let path = overlay.clone().unwrap_or_else(root);
        bundle.edit(|c| c["root"]["path"] = json!(path));
        Self { overlay, output: None, bundle }
    }

    /// `run --detach`, with its output kept.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn run_detached(&mut self) {
        self.output = Some(self.bundle.run_detached().ok());
    }

    /// What a detached one has written so far.
    pub fn log(&self) -> String {
        self.output.as_ref().map(|output| output.stdout() + &output.stderr()).unwrap_or_default()
    }
}

impl Deref for SoftwareBundle {
    type Target = Bundle;

    fn deref(&self) -> &Bundle {
        &self.bundle
    }
}

impl Drop for SoftwareBundle {
    fn drop(&mut self) {
        self.bundle.delete_force();
        if let Some(overlay) = &self.overlay {
            unmount(overlay, UnmountFlags::DETACH).ok();
        }
    }
}

fn overlay(dir: &Path) -> PathBuf {
    let path = |name: &str| dir.join(name);
    for name in ["upper", "work", "merged"] {
        fs::create_dir(path(name)).expect("make a directory of the overlay");
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        root().display(),
        path("upper").display(),
        path("work").display()
    );
    let options = std::ffi::CString::new(options).expect("a path without NUL");
    mount("overlay", path("merged"), "overlay", MountFlags::empty(), options.as_c_str())
        .expect("mount the overlay");
    path("merged")
}

fn configure(bundle: &mut Bundle, program: Program<'_>, terminal: bool) {
    bundle.capabilities(&DOCKER_CAPABILITIES).args(program.command);
    let plain = ["nosuid", "noexec", "nodev"];
    bundle.mount(
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    );
    bundle.mount("/sys", "sysfs", "sysfs", &[&plain[..], &["ro"]].concat());
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &[&plain[..], &["relatime", "ro"]].concat());
    bundle.mount("/dev/mqueue", "mqueue", "mqueue", &plain);
    bundle.mount("/dev/shm", "tmpfs", "shm", &[&plain[..], &["mode=1777", "size=65536k"]].concat());
    for (serial, volume) in program.volumes.iter().enumerate() {
        let dir = bundle.dir().join(format!("volume-{serial}"));
        fs::create_dir(&dir).expect("make a volume");
        bundle.mount(volume, "bind", &dir.to_string_lossy(), &["rbind", "rw", "rprivate"]);
    }
    bundle.edit(|c| {
        let (uid, gid) = program.user.unwrap_or((0, 0));
        c["process"]["user"] = json!({"uid": uid, "gid": gid});
        c["process"]["terminal"] = json!(terminal);
        c["process"]["noNewPrivileges"] = json!(false);
        let env = c["process"]["env"].as_array_mut().expect("an environment");
        *env = env
            .iter()
            .filter(|entry| entry.as_str().is_some_and(|entry| entry.starts_with("CASE=")))
            .cloned()
            .collect();
        env.extend([
            json!("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            json!("TERM=xterm"),
            json!("HOME=/root"),
        ]);
        c["linux"]["maskedPaths"] =
            json!(["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"]);
        c["linux"]["readonlyPaths"] =
            json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]);
        c["linux"]["sysctl"] =
            json!({"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"});
    });
}
