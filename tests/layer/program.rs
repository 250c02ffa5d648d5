//! The program in its place.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use casemate_tests::{Value, json, wait_until};

/// Where containers' files lie on the disk: id 0 is this one.
pub const IDS: u32 = 0x3fff_0000;

/// A root for the helper: `/layer` is the program, `/target`, `/changes` and `/view` are for its work.
pub struct Helper(PathBuf);

/// How a task ended.
#[derive(Debug)]
pub struct Done {
    /// The exit status was 0.
    pub well: bool,
    /// Its answers, in their order.
    pub replies: Vec<Value>,
    /// What it wrote.
    pub output: Vec<u8>,
}

impl Helper {
    /// An empty one.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("layer-{}-{number}", std::process::id()));
        for name in ["target", "changes", "view"] {
            fs::create_dir_all(root.join(name)).expect("a scratch folder");
            chown(root.join(name), Some(IDS), Some(IDS)).expect("owner");
        }
        fs::copy(program(), root.join("layer")).expect("the program");
        Self(root)
    }

    /// A place of it, as the host sees it.
    pub fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Makes everything that the test has put into the view and the changes the container's own.
    pub fn hand_over(&self) {
        let owner = format!("{IDS}:{IDS}");
        let mut chown = Command::new("chown");
        chown.args(["-hR", &owner]).args([self.at("view"), self.at("changes")]);
        assert!(chown.status().expect("chown").success());
    }

    /// Does a task with that input.
    pub fn task(&self, root: &str, task: Value, input: &[u8]) -> Done {
        let order = json!({ "root": root, "task": task }).to_string();
        let (replies, output) = (self.at("replies"), self.at("output"));
        let namespace = Namespace::new();
        let mut child = Command::new("sh")
            .args(["-c", "exec 3>\"$0\" >\"$1\"; shift; exec nsenter --user -S 0 -G 0 -t \"$@\""])
            .args([&replies, &output])
            .args([&namespace.0.id().to_string(), "chroot"])
            .arg(&self.0)
            .args(["/layer", &order])
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh");
        // One that has refused the archive reads no further.
        drop(child.stdin.take().expect("a pipe").write_all(input));
        let well = child.wait().expect("its end").success();
        let said = fs::read_to_string(&replies).expect("its answers");
        let replies = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        Done { well, replies, output: fs::read(&output).expect("its output") }
    }

    /// Unpacks a layer.
    pub fn unpack(&self, archive: &[u8]) -> Done {
        self.task("/view", json!("unpack"), archive)
    }

    /// Copies an archive's files into a directory of the view.
    pub fn copy_in(&self, path: &str, archive: &[u8]) -> Done {
        self.task("/view", json!({ "copyIn": { "path": path, "keep_kinds": true, "owner": null } }), archive)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the scratch folder removed");
    }
}

impl Done {
    /// The last answer, of a task that went well.
    pub fn ok(&self) -> &Value {
        assert!(self.well, "{:?}", self.replies);
        self.replies.last().expect("an answer")
    }

    /// Why it failed; the program must have said so, and not died.
    pub fn failure(&self) -> &str {
        assert!(!self.well, "{:?}", self.replies);
        let failed = self.replies.last().and_then(|reply| reply.get("failed"));
        failed.and_then(|failed| failed["message"].as_str()).unwrap_or_else(|| panic!("{:?}", self.replies))
    }
}

/// The owner of a file, counted from the helper's own 0.
pub fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).expect("a file");
    (found.uid() - IDS, found.gid() - IDS)
}

/// Whether anything is there; a link is not followed.
pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// A user namespace, kept by a process that sleeps.
struct Namespace(Child);

impl Namespace {
    /// With the ids that the runtime gives: a container's own range.
    fn new() -> Self {
        let holder = Command::new("unshare").args(["-U", "sleep", "60"]).spawn().expect("unshare");
        let process = PathBuf::from(format!("/proc/{}", holder.id()));
        let ours = fs::read_link("/proc/self/ns/user").expect("a namespace");
        let theirs = || fs::read_link(process.join("ns/user"));
        wait_until("the user namespace is there", || theirs().is_ok_and(|theirs| theirs != ours));
        for map in ["uid_map", "gid_map"] {
            fs::write(process.join(map), format!("0 {IDS} 65536\n")).expect(map);
        }
        Self(holder)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("its end");
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("CASEMATE_LIBEXEC").map_or_else(
        || {
            let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"));
            workspace.join(format!("target/{}-unknown-linux-gnu/release", std::env::consts::ARCH))
        },
        PathBuf::from,
    );
    let path = path.join("casemate-layer");
    assert!(path.is_file(), "{} is missing: cargo build --release -p casemate-layer", path.display());
    path
}
