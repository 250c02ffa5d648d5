//! A container made for the place a case runs in.

use std::fs;
use std::path::{Path, PathBuf};

use casemate_tests::{Bundle, Value, json, ours, wait_until};

use crate::host::{Host, USER};

/// The harness's bundle, given the control group path and the user namespace that this place needs.
pub struct Container {
    /// The bundle; everything the harness can do.
    pub bundle: Bundle,
}

impl Container {
    /// A container that runs `script` with `/bin/sh -c`, with a cgroup namespace.
    pub fn sh(host: &Host, script: &str) -> Self {
        let mut bundle = Bundle::sh(&ours(), script);
        let path = match (host.systemd, host.rootless) {
            (true, false) => format!("system.slice:vm:{}", bundle.id()),
            (true, true) => format!("user.slice:vm:{}", bundle.id()),
            (false, false) => format!("/casemate/{}", bundle.id()),
            (false, true) => format!("/delegated/{}", bundle.id()),
        };
        if host.delegated {
            bundle.edit(|c| c["linux"]["cgroupsPath"] = json!(path));
        }
        bundle.namespace("cgroup", None);
        if host.rootless {
            bundle.namespace("user", None).edit(|c| {
                c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
                c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
            });
        }
        Self { bundle }
    }

    /// One that stays until it is killed.
    pub fn sleeping(host: &Host) -> Self {
        Self::sh(host, "exec sleep 1000")
    }

    /// Sets `linux.resources`.
    pub fn limit(&mut self, resources: Value) -> &mut Self {
        self.bundle.edit(|c| c["linux"]["resources"] = resources);
        self
    }

    /// Starts it detached; the directory of its control group.
    pub fn up(&self) -> Group {
        self.bundle.run_detached().ok();
        self.group()
    }

    /// The control group of the running container.
    pub fn group(&self) -> Group {
        Group::of(self.bundle.pid())
    }

    /// Adds the control group file system, writable or not.
    pub fn mount_cgroup(&mut self, mode: &str) -> &mut Self {
        self.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", mode]);
        self
    }

    /// A file the container sees at `/NAME`.
    pub fn shared(&self, name: &str) -> PathBuf {
        self.bundle.rootfs().join(name)
    }

    /// Kills and deletes, and fails when anything is left.
    pub fn down(&self) {
        self.bundle.delete_force().ok();
        self.bundle.assert_clean();
    }
}

/// A directory of the unified hierarchy.
pub struct Group(pub PathBuf);

impl Group {
    /// The one a process is in.
    pub fn of(pid: i32) -> Self {
        let text =
            fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read the process's control group");
        let path = text
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .expect("a place in the unified hierarchy");
        Self(Path::new("/sys/fs/cgroup").join(path))
    }

    /// A file's text, without the newline at its end.
    pub fn read(&self, file: &str) -> String {
        let path = self.0.join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        text.trim_end().to_owned()
    }

    /// Whether no process is left in it or below; systemd removes an empty scope by itself.
    pub fn is_empty(&self) -> bool {
        let events = fs::read_to_string(self.0.join("cgroup.events"));
        events.is_ok_and(|text| text.contains("populated 0")) || !self.0.exists()
    }

    /// A value of a file with `key value` lines.
    pub fn entry(&self, file: &str, key: &str) -> u64 {
        let text = self.read(file);
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        value.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("{file} has no {key}: {text}"))
    }

    /// Fails, naming every difference, unless the files hold what is expected.
    pub fn expect(&self, files: &[(&str, &str)]) {
        let wrong: Vec<_> = files
            .iter()
            .map(|(file, want)| (*file, *want, self.read(file)))
            .filter(|(_, want, got)| want != got)
            .map(|(file, want, got)| format!("{file} is {got:?}, not {want:?}"))
            .collect();
        assert!(wrong.is_empty(), "{}: {}", self.0.display(), wrong.join("; "));
    }
}

/// Waits until a file of the container has some text.
pub fn wait_text(path: &Path) -> String {
    wait_until(&format!("{} is written", path.display()), || {
        fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'))
    });
    fs::read_to_string(path).expect("read the file").trim_end().to_owned()
}
