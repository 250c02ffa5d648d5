//! `demo`: a real container from a root filesystem made here, and what confines it, seen from both sides.

mod host_view;

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bundle;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::{moby, setup, workspace};

const APPLETS: [&str; 26] = [
    "cat",
    "chroot",
    "dd",
    "dmesg",
    "false",
    "grep",
    "head",
    "hostname",
    "kill",
    "ls",
    "mknod",
    "mount",
    "nc",
    "chown",
    "ps",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "tail",
    "touch",
    "tr",
    "unshare",
    "wc",
    "whoami",
];

/// Shows everything, cleans up, and fails if the container could do what it must not.
pub fn run() -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new(
            "demo",
            "needs root: the container gets limits that only root can set here",
        ));
    }
    setup::packages(setup::DEMO)?;
    let runtime = workspace::runtime_under_test()?;
    let stage = Stage::build(runtime)?;
    let shown = show(&stage);
    stage.clear().and(shown)
}

fn show(stage: &Stage) -> Outcome {
    stage.title("A container, from a root filesystem of one static BusyBox");
    stage.say(
        "the bundle asks for: a read-only root, no capabilities, no new privileges, Moby's seccomp profile,",
    );
    stage.say("64 MiB of memory, 32 processes, six namespaces of its own, masked and read-only kernel files");
    stage.write_config(&["/bin/sh", "/inside.sh"])?;
    stage.runtime(&["run", "--bundle", &stage.bundle(), &stage.id])?;

    stage.title("The same bundle again, seen from the host");
    stage.write_config(&["/bin/sleep", "3600"])?;
    stage.runtime(&["run", "--detach", "--bundle", &stage.bundle(), &stage.id])?;
    let state: Value = serde_json::from_str(&stage.answer(&["state", &stage.id])?).doing("state")?;
    let pid = state["pid"].as_u64().ok_or_else(|| Failure::new("state", "no pid"))?;
    stage.say(&format!("{} is {}, process {pid} of the host", stage.id, state["status"]));
    host_view::print(pid)?;

    stage.title("One more process inside, a pause, and the end");
    stage.runtime(&["exec", &stage.id, "/bin/ps", "-o", "pid,args"])?;
    stage.runtime(&["pause", &stage.id])?;
    stage.runtime(&["list"])?;
    stage.runtime(&["resume", &stage.id])?;
    stage.runtime(&["delete", "--force", &stage.id])?;
    refusals(stage)
}

/// Configurations that cannot be: each is one line, and nothing is left of the attempt.
fn refusals(stage: &Stage) -> Outcome {
    stage.title("What is refused before anything is touched");
    let mut wrong_type = stage.config(&["/bin/sh"]);
    wrong_type["process"]["args"] = json!(["/bin/sh", "-c", 7]);
    let mut host_setting = stage.config(&["/bin/sh"]);
    host_setting["linux"]["sysctl"] = json!({ "kernel.panic": "1" });
    for config in [wrong_type, host_setting] {
        bundle::write_config(&stage.folder, &config)?;
        let line = stage.refusal(&["run", "--bundle", &stage.bundle(), &stage.id])?;
        for line in line.lines() {
            stage.say(line);
        }
    }
    Ok(())
}

/// The scratch folder, the program, and how things are printed.
struct Stage {
    runtime: PathBuf,
    folder: PathBuf,
    rootfs: PathBuf,
    id: String,
    is_terminal: bool,
}

impl Stage {
    fn build(runtime: PathBuf) -> Outcome<Self> {
        let id = format!("casemate-demo-{}", std::process::id());
        let folder = workspace::scratch("demo")?.join(&id);
        fs::create_dir(&folder).doing(folder.display())?;
        let rootfs = bundle::root_filesystem(&folder, &APPLETS)?;
        let script = rootfs.join("inside.sh");
        fs::write(&script, include_str!("../../demo/inside.sh")).doing(script.display())?;
        Ok(Self { runtime, folder, rootfs, id, is_terminal: std::io::stdout().is_terminal() })
    }

    fn config(&self, args: &[&str]) -> Value {
        let mut config = bundle::config(&self.rootfs, args);
        config["process"]["capabilities"] = json!({});
        config["process"]["env"] = json!(["PATH=/bin", format!("HOST_PID={}", std::process::id())]);
        let tmpfs = json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "nodev", "noexec", "size=8m"] });
        if let Some(mounts) = config["mounts"].as_array_mut() {
            mounts.push(tmpfs);
        }
        let linux = &mut config["linux"];
        linux["cgroupsPath"] = json!(format!("/{}", self.id));
        linux["resources"]["memory"] = json!({ "limit": 64 << 20, "swap": 64 << 20 });
        linux["resources"]["pids"] = json!({ "limit": 32 });
        // The node exists, so that its refusal is the device rule's doing.
        linux["devices"] =
            json!([{ "path": "/dev/disk", "type": "b", "major": 7, "minor": 0, "fileMode": 0o666 }]);
        linux["resources"]["devices"] = json!([{ "allow": false, "access": "rwm" }]);
        config
    }

    fn write_config(&self, args: &[&str]) -> Outcome {
        let mut config = self.config(args);
        config["linux"]["seccomp"] = moby::default_seccomp()?;
        bundle::write_config(&self.folder, &config)
    }

    fn bundle(&self) -> String {
        self.folder.display().to_string()
    }

    fn runtime(&self, args: &[&str]) -> Outcome {
        self.show_line(args);
        let status = self.command(args).status().doing(self.runtime.display())?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("runtime {}", args.join(" ")), status))
        }
    }

    fn answer(&self, args: &[&str]) -> Outcome<String> {
        crate::command::output(&mut self.command(args))
    }

    fn refusal(&self, args: &[&str]) -> Outcome<String> {
        self.show_line(args);
        let output = self.command(args).stdout(Stdio::null()).output().doing(self.runtime.display())?;
        if output.status.success() {
            return Err(Failure::new("demo", "a configuration was taken that should have been refused"));
        }
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(self.folder.join("state")).args(args).stdin(Stdio::null());
        command
    }

    fn clear(&self) -> Outcome {
        self.answer(&["delete", "--force", &self.id]).map(drop).unwrap_or_default();
        self.title("Afterwards");
        let groups = host_view::groups_named(&self.id);
        self.say(&format!("control groups left: {groups}, state files left: {}", self.files_left()));
        remove(&self.folder)
    }

    fn files_left(&self) -> usize {
        fs::read_dir(self.folder.join("state")).into_iter().flatten().count()
    }

    fn title(&self, words: &str) {
        if self.is_terminal { println!("\n\x1b[1m{words}\x1b[0m") } else { println!("\n{words}") }
    }

    fn say(&self, words: &str) {
        println!("  {words}");
    }

    fn show_line(&self, args: &[&str]) {
        let line = format!("$ runtime {}", args.join(" ").replace(&self.bundle(), "BUNDLE"));
        if self.is_terminal { println!("  \x1b[36m{line}\x1b[0m") } else { println!("  {line}") }
    }
}

fn remove(folder: &Path) -> Outcome {
    fs::remove_dir_all(folder).doing(folder.display())
}
