//! One test's bundle, state directory and containers, and the check that nothing of them stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::cgroups::Cgroups;
use crate::invocation::{Invocation, Output, wait_until};
use crate::leaks::{find_leaks, sweep};
use crate::rootfs::make_rootfs;
use crate::runtime::Runtime;

/// A bundle in a fresh directory, with a private `--root` and an id nobody else has.
///
/// Other containers of a test are named by [`Bundle::other_id`]; all ids share a stem, by which leaks are found.
#[derive(Debug)]
pub struct Bundle {
    runtime: Runtime,
    dir: PathBuf,
    id: String,
    config: Value,
    user: Option<(u32, u32)>,
    policy: Option<String>,
}

impl Bundle {
    /// A bundle that runs `/bin/true` in new pid, mount, ipc, uts and network namespaces.
    ///
    /// # Panics
    /// When the directory cannot be made.
    pub fn new(runtime: &Runtime) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_micros());
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        // The closing letter keeps one stem from being the beginning of another.
        let id = format!("cmt-{}-{now:x}-{serial}z", std::process::id());
        let dir = std::env::temp_dir().join(&id);
        for sub in ["", "bundle", "bundle/rootfs", "out", "root"] {
            let path = dir.join(sub);
            fs::create_dir(&path).expect("make the test's directory");
            // User-namespaced and rootless containers walk in as somebody else.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("open the test's directory");
        }
        make_rootfs(&dir.join("bundle/rootfs"));
        // Most tests are about the bundle to the letter.
        let policy = runtime.is_ours().then(|| "oci".to_owned());
        let bundle = Self { runtime: runtime.clone(), dir, config: base_config(&id), id, user: None, policy };
        bundle.write_config();
        bundle
    }

    /// A bundle that runs `script` with `/bin/sh -c`.
    pub fn sh(runtime: &Runtime, script: &str) -> Self {
        let mut bundle = Self::new(runtime);
        bundle.args(&["/bin/sh", "-c", script]);
        bundle
    }

    /// Puts every command of this bundle under another policy than `oci`, by name or file. Ours only.
    pub fn policy(&mut self, policy: &str) -> &mut Self {
        self.policy = self.runtime.is_ours().then(|| policy.to_owned());
        self
    }

    /// Names no policy on the command line, so that the runtime's own default or its host's choice applies.
    pub fn without_policy(&mut self) -> &mut Self {
        self.policy = None;
        self
    }

    /// Changes the configuration and writes it.
    pub fn edit(&mut self, change: impl FnOnce(&mut Value)) -> &mut Self {
        change(&mut self.config);
        self.write_config();
        self
    }

    /// Sets `process.args`.
    pub fn args(&mut self, args: &[&str]) -> &mut Self {
        self.edit(|c| c["process"]["args"] = json!(args))
    }

    /// Adds an entry to `mounts`.
    pub fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) -> &mut Self {
        self.edit(|c| {
            let mount =
                json!({"destination": destination, "type": kind, "source": source, "options": options});
            c["mounts"].as_array_mut().expect("mounts").push(mount);
        })
    }

    /// Adds a namespace, or replaces the one of its type; `path` joins instead of making.
    pub fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Self {
        self.without_namespace(kind).edit(|c| {
            let namespace = match path {
                Some(path) => json!({"type": kind, "path": path}),
                None => json!({"type": kind}),
            };
            c["linux"]["namespaces"].as_array_mut().expect("namespaces").push(namespace);
        })
    }

    /// Gives the process these capabilities, in the bounding, effective and permitted sets.
    pub fn capabilities(&mut self, names: &[&str]) -> &mut Self {
        self.edit(|c| {
            c["process"]["capabilities"] = json!({"bounding": names, "effective": names, "permitted": names});
        })
    }

    /// Removes a namespace from the configuration.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Self {
        self.edit(|c| {
            c["linux"]["namespaces"].as_array_mut().expect("namespaces").retain(|n| n["type"] != kind)
        })
    }

    /// Runs every command of this bundle as another user (rootless); hands the directory to that user.
    pub fn as_user(&mut self, uid: u32, gid: u32) -> &mut Self {
        self.user = Some((uid, gid));
        self.give(&self.dir, uid, gid);
        self
    }

    /// Gives the bundle to somebody, for user-namespaced containers that write to their root.
    pub fn hand_over(&mut self, uid: u32, gid: u32) -> &mut Self {
        self.give(&self.bundle_dir(), uid, gid);
        self
    }

    /// Writes raw bytes as `config.json`, well formed or not.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn raw_config(&self, bytes: &[u8]) {
        fs::write(self.bundle_dir().join("config.json"), bytes).expect("write config.json");
    }

    /// The configuration as it was last written.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The runtime under test.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The container's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// An id for one more container of this test.
    pub fn other_id(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.id)
    }

    /// The test's directory; everything below is made by the test.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The bundle directory.
    pub fn bundle_dir(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// The container's root directory, seen from the host.
    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("bundle/rootfs")
    }

    /// What is given to `--root`.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Writes a file below the test's directory and gives its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, content).expect("write a file of the test");
        path
    }

    /// A call of the runtime: `runtime --root DIR --policy POLICY <args>`.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Invocation {
        let call = Invocation::new(&self.out_dir(), self.runtime.path());
        let call = call.arg("--root").arg(self.state_dir());
        let policy = self.policy.iter().flat_map(|policy| ["--policy", policy.as_str()]);
        let call = call.args(policy).args(args).cwd(&self.bundle_dir());
        match self.user {
            Some((uid, gid)) => call.user(uid, gid),
            None => call,
        }
    }

    /// Any other program, with its output captured in the test's directory.
    pub fn tool(&self, program: &str, args: &[&str]) -> Invocation {
        Invocation::new(&self.out_dir(), program).args(args)
    }

    /// `run` in the foreground.
    pub fn run(&self) -> Output {
        self.command(["run", &self.id]).run()
    }

    /// `run --detach`.
    pub fn run_detached(&self) -> Output {
        self.command(["run", "-d", &self.id]).run()
    }

    /// `create`.
    pub fn create(&self) -> Output {
        self.command(["create", &self.id]).run()
    }

    /// `start`.
    pub fn start(&self) -> Output {
        self.command(["start", &self.id]).run()
    }

    /// `exec` of a command line in the container.
    pub fn exec(&self, args: &[&str]) -> Output {
        self.command(["exec", &self.id]).args(args).run()
    }

    /// `kill` with a signal.
    pub fn kill(&self, signal: &str) -> Output {
        self.command(["kill", &self.id, signal]).run()
    }

    /// `delete`.
    pub fn delete(&self) -> Output {
        self.command(["delete", &self.id]).run()
    }

    /// `delete --force`.
    pub fn delete_force(&self) -> Output {
        self.command(["delete", "--force", &self.id]).run()
    }

    /// `state`, parsed.
    pub fn state(&self) -> Value {
        self.command(["state", &self.id]).run().ok().json()
    }

    /// The status word of `state`.
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    /// The host's pid of the container's init.
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().expect("a pid") as i32
    }

    /// Waits for a status.
    pub fn wait_status(&self, status: &str) {
        wait_until(&format!("the container is {status}"), || self.status() == status);
    }

    /// The container's control groups.
    pub fn cgroups(&self) -> Cgroups {
        Cgroups::of(self.pid())
    }

    /// Fails unless nothing of this test is left on the host except its own directory's files.
    ///
    /// # Panics
    /// When something is, naming it.
    pub fn assert_clean(&self) {
        let leaks = find_leaks(&self.id, &self.dir, &self.state_dir());
        assert!(leaks.is_empty(), "left behind by {}: {leaks:#?}", self.runtime.name());
    }

    fn give(&self, path: &Path, uid: u32, gid: u32) {
        let owner = format!("{uid}:{gid}");
        Invocation::new(&self.out_dir(), "chown").args(["-hR", &owner]).arg(path).run().ok();
    }

    fn out_dir(&self) -> PathBuf {
        self.dir.join("out")
    }

    fn write_config(&self) {
        let text = serde_json::to_vec_pretty(&self.config).expect("print the configuration");
        self.raw_config(&text);
    }

    /// Deletes, with the runtime under test, the containers the test has left; a runtime that cannot leaks.
    fn delete_rest(&self) {
        let Ok(entries) = fs::read_dir(self.state_dir()) else { return };
        for id in entries.flatten().filter_map(|e| e.file_name().into_string().ok()) {
            if id.contains(&self.id) {
                let output = self.command(["delete", "--force", &id]).run();
                if !output.success() {
                    eprintln!("{output}");
                }
            }
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let leaks = if std::thread::panicking() {
            Vec::new()
        } else {
            self.delete_rest();
            find_leaks(&self.id, &self.dir, &self.state_dir())
        };
        sweep(&self.id, &self.dir);
        if !std::thread::panicking() {
            assert!(leaks.is_empty(), "left behind by {}: {leaks:#?}", self.runtime.name());
        }
    }
}

/// What dockerd gives a container that was asked for no particular capabilities.
pub const DOCKER_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A configuration in which little is set: proc, a tmpfs on `/dev`, new pid, mount, ipc, uts and network namespaces.
pub fn base_config(id: &str) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            // The id in the environment lets the leak check know the container's processes.
            "env": ["PATH=/bin", format!("CASE={id}")],
            "cwd": "/",
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "casemate-test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        ],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"},
            ],
        },
    })
}
