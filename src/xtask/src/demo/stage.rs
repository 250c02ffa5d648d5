//! The scratch folder, the program, and how things are printed.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::host_view;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::{bundle, workspace};

const APPLETS: [&str; 24] = [
    "cat", "chroot", "cp", "dd", "dmesg", "false", "grep", "head", "hostname", "kill", "ls", "mknod",
    "mount", "nc", "ps", "sed", "seq", "sh", "sleep", "tail", "touch", "tr", "unshare", "wc",
];

/// A bundle in a folder of its own, and the program that runs it.
pub struct Stage {
    runtime: PathBuf,
    folder: PathBuf,
    rootfs: PathBuf,
    /// The container's id.
    pub id: String,
    is_terminal: bool,
}

impl Stage {
    /// A root filesystem of one static BusyBox.
    pub fn build(runtime: PathBuf) -> Outcome<Self> {
        let id = format!("casemate-demo-{}", std::process::id());
        let folder = workspace::scratch("demo")?.join(&id);
        fs::create_dir(&folder).doing(folder.display())?;
        let rootfs = bundle::root_filesystem(&folder, &APPLETS)?;
        let script = rootfs.join("inside.sh");
        fs::write(&script, include_str!("../../demo/inside.sh")).doing(script.display())?;
        Ok(Self { runtime, folder, rootfs, id, is_terminal: std::io::stdout().is_terminal() })
    }

    /// What a bundle must say to be one, and nothing that protects.
    pub fn config(&self, args: &[&str]) -> Value {
        let mut config = bundle::config(&self.rootfs, args);
        config["root"]["readonly"] = json!(false);
        let process = &mut config["process"];
        process["env"] = json!(["PATH=/bin", format!("HOST_PID={}", std::process::id())]);
        process["capabilities"] = bundle::docker_capabilities();
        process["noNewPrivileges"] = json!(false);
        process["rlimits"] = json!([]);
        let linux = &mut config["linux"];
        linux["cgroupsPath"] = json!(format!("/{}", self.id));
        linux["maskedPaths"] = json!([]);
        linux["readonlyPaths"] = json!([]);
        config
    }

    /// Makes it the bundle's configuration.
    pub fn write(&self, config: &Value) -> Outcome {
        bundle::write_config(&self.folder, config)
    }

    /// A file beside the bundle.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The bundle's path.
    pub fn bundle(&self) -> String {
        self.folder.display().to_string()
    }

    /// Runs a command before the reader's eyes; it must succeed.
    pub fn runtime(&self, args: &[&str]) -> Outcome {
        self.show_line(args);
        let status = self.command(args).status().doing(self.runtime.display())?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!("runtime {}", args.join(" ")), status))
        }
    }

    /// What a command prints.
    pub fn answer(&self, args: &[&str]) -> Outcome<String> {
        crate::command::output(&mut self.command(args))
    }

    /// Runs a command before the reader's eyes; it must fail.
    pub fn refused(&self, args: &[&str]) -> Outcome {
        self.show_line(args);
        let output = self.command(args).stdout(Stdio::null()).output().doing(self.runtime.display())?;
        if output.status.success() {
            return Err(Failure::new("demo", "a configuration was taken that should have been refused"));
        }
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            self.say(line);
        }
        Ok(())
    }

    /// Ends what is left of the container and removes everything.
    pub fn clear(&self) -> Outcome {
        self.answer(&["delete", "--force", &self.id]).map(drop).unwrap_or_default();
        self.title("Afterwards");
        let groups = host_view::groups_named(&self.id);
        let files = fs::read_dir(self.state()).into_iter().flatten().count();
        let ids = host_view::ranges_of(&self.state());
        self.say(&format!(
            "control groups left: {groups}, state files left: {files}, ranges of ids left: {ids}"
        ));
        fs::remove_dir_all(&self.folder).doing(self.folder.display())
    }

    /// A heading.
    pub fn title(&self, words: &str) {
        if self.is_terminal { println!("\n\x1b[1m{words}\x1b[0m") } else { println!("\n{words}") }
    }

    /// A line.
    pub fn say(&self, words: &str) {
        println!("  {words}");
    }

    /// A command line.
    pub fn show_line(&self, args: &[&str]) {
        let line = format!("$ runtime {}", args.join(" ").replace(&format!("{}/", self.bundle()), ""));
        let line = line.replace(&self.bundle(), "BUNDLE");
        if self.is_terminal { println!("  \x1b[36m{line}\x1b[0m") } else { println!("  {line}") }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(self.state()).args(args).stdin(Stdio::null());
        command
    }

    fn state(&self) -> PathBuf {
        Path::new(&self.folder).join("state")
    }
}
