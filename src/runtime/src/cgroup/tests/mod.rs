//! This room on the real kernel, and its reading of other hosts' files.

mod devices;
mod kernel;
mod layouts;
mod limits;
mod pure_v2;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use oci_spec::runtime::LinuxResources;

use super::{Cgroup, Layout, Placement, Wish};

/// A container's place of its own; whatever is left there when the test ends, well or not, is killed and removed.
struct Place {
    placement: Placement,
    children: Vec<Child>,
}

impl Place {
    /// On every hierarchy of this host.
    fn new() -> Self {
        Self::on(&Layout::discover().unwrap())
    }

    /// On v2 alone, as on a host without v1; only v2's own files are there where the controllers are on v1.
    fn on_v2() -> Option<Self> {
        let mut layout = Layout::discover().unwrap();
        layout.v1.clear();
        layout.unified.is_some().then(|| Self::on(&layout))
    }

    /// On v1 alone, where this host has it.
    fn on_v1() -> Option<Self> {
        let mut layout = Layout::discover().unwrap();
        layout.unified = None;
        (!layout.v1.is_empty()).then(|| Self::on(&layout))
    }

    /// One place on all hierarchies, and one on each side alone.
    fn on_each_side() -> Vec<Self> {
        [Some(Self::new()), Self::on_v2(), Self::on_v1()].into_iter().flatten().collect()
    }

    fn on(layout: &Layout) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("casemate-unit-{}-{number}", std::process::id());
        let path = format!("/casemate-unit/{name}");
        let wish = Wish {
            id: &name.parse().unwrap(),
            path: Some(Path::new(&path)),
            systemd: false,
            rootless: false,
        };
        Self { placement: layout.place(&wish).unwrap(), children: Vec::new() }
    }

    fn create(&self, resources: &str) -> Cgroup {
        self.try_create(resources).unwrap()
    }

    fn try_create(&self, resources: &str) -> casemate_spec::Result<Cgroup> {
        self.placement.create(Some(&resources_of(resources)))
    }

    /// Starts a shell that reads its script from us once it is in the cgroup.
    fn run(&mut self, cgroup: &Cgroup, script: &str) -> &mut Child {
        let mut child = Command::new("/bin/sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        cgroup.attach(i32::try_from(child.id()).unwrap()).unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        self.children.push(child);
        self.children.last_mut().unwrap()
    }

    fn output(&mut self, cgroup: &Cgroup, script: &str) -> String {
        self.run(cgroup, script);
        let output = self.children.pop().unwrap().wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The directory that carries a v1 controller, on whichever side.
    fn path(&self, controller: &str) -> PathBuf {
        let paths = self.placement.paths();
        paths.get(controller).unwrap_or_else(|| &paths[""]).clone()
    }

    fn is_v1(&self, controller: &str) -> bool {
        self.placement.paths().contains_key(controller)
    }

    fn read(&self, controller: &str, file: &str) -> String {
        let path = self.path(controller).join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).trim().to_owned()
    }

    /// Asserts what a controller's file holds, by its v1 name or its v2 name.
    fn expect(&self, controller: &str, v1: (&str, &str), v2: (&str, &str)) {
        let (file, value) = if self.is_v1(controller) { v1 } else { v2 };
        assert_eq!(self.read(controller, file), value, "{file}");
    }

    fn is_gone(&self) -> bool {
        self.placement.paths().values().all(|path| !path.exists())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Ok(cgroup) = self.placement.open() {
            // Whichever of these fails shows as a directory that is still there.
            cgroup.kill(9).ok();
        }
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
        self.placement.remove().ok();
        for (_, _, path) in self.placement.hierarchies() {
            // The shared parent; refused while another test is in it.
            std::fs::remove_dir(path.parent().unwrap()).ok();
            assert!(!path.exists() || std::thread::panicking(), "{} was left behind", path.display());
        }
    }
}

fn resources_of(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

/// Whether this process may make cgroups; if not, the test counts as skipped.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(test, "making cgroups takes root");
    }
    root
}

/// Counts a skip in the file that the test run names.
fn skip(test: &str, reason: &str) {
    let line = format!("{test}: {reason}\n");
    eprint!("skipped {line}");
    if let Some(path) = std::env::var_os("CASEMATE_SKIPS") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// `root!()`: returns from the test when it lacks the rights, and counts the skip.
macro_rules! root {
    () => {
        if !super::is_root(module_path!()) {
            return;
        }
    };
}
use root;
