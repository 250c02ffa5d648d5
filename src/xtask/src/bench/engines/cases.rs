//! What is measured.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::engine::Engine;
use crate::command;
use crate::failure::{Doing as _, Failure, Outcome};

/// How many containers there are when they are listed.
pub const CROWD: usize = 200;
/// How many at a time are started.
const AT_ONCE: usize = 8;
/// How many are run for the case of many.
const MANY: usize = 50;
/// Bytes of the large image's one file, and of what a container writes.
const LARGE: usize = 200_000_000;
const OUTPUT: usize = 100_000_000;
pub const SMALL: &str = "bench-small";
const BIG: &str = "bench-large";

/// A case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    Run,
    Many,
    Exec,
    List,
    Load,
    Attach,
    Logs,
    Idle,
    PerContainer,
}

impl Case {
    /// In the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Run,
        Self::Many,
        Self::Exec,
        Self::List,
        Self::Load,
        Self::Attach,
        Self::Logs,
        Self::Idle,
        Self::PerContainer,
    ];
    /// Those that are timed in turns.
    pub const TIMED: [Self; 6] = [Self::Run, Self::Many, Self::Exec, Self::Load, Self::Attach, Self::Logs];

    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "`docker run --rm --net none IMAGE true`",
            Self::Many => "50 of them, 8 at a time",
            Self::Exec => "`docker exec C true`",
            Self::List => "`docker ps`, 200 containers run",
            Self::Load => "`docker load` of a 200 MB image",
            Self::Attach => "100 MB of output, attached",
            Self::Logs => "100 MB of output, `docker logs`",
            Self::Idle => "resident memory, idle",
            Self::PerContainer => "private memory per container",
        }
    }

    pub fn unit(self) -> &'static str {
        match self {
            Self::Idle | Self::PerContainer => "MB",
            _ => "ms",
        }
    }

    /// What we want of the ratio, or of ours.
    pub fn wanted(self) -> &'static str {
        match self {
            Self::Run | Self::Many => "≤ 0.25",
            Self::Exec => "≤ 0.3",
            Self::Idle => "ours below 20 MB",
            Self::PerContainer => "ours below 1 MB",
            Self::List | Self::Load | Self::Attach | Self::Logs => "≤ 1",
        }
    }

    /// The long ones are measured a few times only.
    pub fn rounds(self, asked: usize) -> usize {
        match self {
            Self::Many | Self::Load | Self::Attach | Self::Logs => asked.min(3),
            _ => asked,
        }
    }

    /// One measurement.
    pub fn measure(self, engine: &Engine, images: &Images) -> Outcome<f64> {
        let run = ["run", "--rm", "--net", "none", SMALL, "true"];
        match self {
            Self::Run => engine.time(&run),
            Self::Many => {
                let since = Instant::now();
                at_once(MANY, |_| engine.time(&run).map(drop))?;
                Ok(since.elapsed().as_secs_f64() * 1000.0)
            }
            Self::Exec => {
                let name = "bench-exec";
                engine.time(&["run", "--detach", "--net", "none", "--name", name, SMALL, "sleep", "600"])?;
                engine.time(&["exec", name, "true"])?;
                let taken = engine.time(&["exec", name, "true"]);
                engine.time(&["rm", "--force", name])?;
                taken
            }
            Self::Load => {
                let taken = engine.time(&["load", "--quiet", "--input", &images.large.display().to_string()]);
                engine.time(&["rmi", BIG])?;
                taken
            }
            Self::Attach => {
                let script = writing();
                engine.time(&["run", "--rm", "--net", "none", SMALL, "sh", "-c", &script])
            }
            Self::Logs => {
                let name = "bench-logs";
                let script = writing();
                let flags = ["run", "--detach", "--net", "none", "--name", name, SMALL, "sh", "-c", &script];
                engine.time(&flags)?;
                engine.time(&["wait", name])?;
                let taken = engine.time(&["logs", name]);
                engine.time(&["rm", "--force", name])?;
                taken
            }
            Self::List | Self::Idle | Self::PerContainer => {
                Err(Failure::new(self.name(), "it is not measured in turns"))
            }
        }
    }
}

/// Writes lines of a hundred bytes.
fn writing() -> String {
    let line = "x".repeat(99);
    format!("yes {line} | head -c {OUTPUT}")
}

/// Does something so many times, a few at a time.
fn at_once(count: usize, each: impl Fn(usize) -> Outcome + Sync) -> Outcome {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let worker = || -> Outcome {
        loop {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            each(number)?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(Failure::new("bench", "a thread panicked"))))
            .fold(Ok(()), Outcome::and)
    })
}

/// The images, as archives: both engines get the same bytes.
pub struct Images {
    small: PathBuf,
    large: PathBuf,
}

/// Busybox alone, in a folder of this name and as an archive beside it.
pub fn busybox(root: &Path) -> Outcome<PathBuf> {
    for folder in ["bin", "etc", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(root.join(folder)).doing(folder)?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).doing("/bin/busybox")?;
    for applet in ["sh", "true", "sleep", "yes", "head", "cat"] {
        let link = root.join("bin").join(applet);
        if !link.exists() {
            std::os::unix::fs::symlink("busybox", &link).doing(link.display())?;
        }
    }
    let small = root.with_extension("tar");
    tar(root, &small)?;
    Ok(small)
}

/// Gives an engine that archive for an image.
pub fn import(engine: &Engine, small: &Path) -> Outcome {
    engine.time(&["import", &small.display().to_string(), SMALL]).map(drop)
}

impl Images {
    /// Busybox alone, and busybox with a file that does not compress.
    pub fn make(stage: &Path) -> Outcome<Self> {
        let root = stage.join("rootfs");
        let small = busybox(&root)?;
        let noise = stage.join("noise");
        let mut random = File::open("/dev/urandom").doing("/dev/urandom")?.take(LARGE as u64);
        std::io::copy(&mut random, &mut File::create(&noise).doing(noise.display())?).doing("noise")?;
        fs::rename(&noise, root.join("noise")).doing("noise")?;
        let layer = stage.join("large-layer.tar");
        tar(&root, &layer)?;
        let large = archive(stage, &layer)?;
        Ok(Self { small, large })
    }

    /// Gives an engine the small one.
    pub fn import(&self, engine: &Engine) -> Outcome {
        import(engine, &self.small)
    }
}

fn tar(root: &Path, file: &Path) -> Outcome {
    command::run(Command::new("tar").arg("-C").arg(root).arg("-cf").arg(file).arg("."))
}

/// The archive of an image with one layer, as `docker save` makes it.
fn archive(stage: &Path, layer: &Path) -> Outcome<PathBuf> {
    let digest = command::output(Command::new("sha256sum").arg(layer))?;
    let digest = digest.split(' ').next().unwrap_or_default();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }, "os": "linux",
        "config": { "Cmd": ["sh"] }, "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest = serde_json::json!([{
        "Config": "config.json", "RepoTags": [format!("{BIG}:latest")], "Layers": ["large-layer.tar"],
    }]);
    for (name, value) in [("config.json", config), ("manifest.json", manifest)] {
        let mut file = File::create(stage.join(name)).doing(name)?;
        file.write_all(value.to_string().as_bytes()).doing(name)?;
    }
    let large = stage.join("large.tar");
    let names = ["manifest.json", "config.json", "large-layer.tar"];
    command::run(Command::new("tar").arg("-C").arg(stage).arg("-cf").arg(&large).args(names))?;
    Ok(large)
}

/// Many containers that do nothing.
pub struct Crowd<'a>(&'a Engine);

impl<'a> Crowd<'a> {
    /// Starts them.
    pub fn gather(engine: &'a Engine) -> Outcome<Self> {
        let crowd = Self(engine);
        let started = at_once(CROWD, |number| {
            let name = format!("bench-crowd-{number}");
            engine
                .time(&["run", "--detach", "--net", "none", "--name", &name, SMALL, "sleep", "3600"])
                .map(drop)
        });
        match started {
            Ok(()) => Ok(crowd),
            Err(failure) => crowd.dismiss().and(Err(failure)),
        }
    }

    /// Milliseconds of one list.
    pub fn list(&self) -> Outcome<f64> {
        self.0.time(&["ps"])
    }

    /// Ends them.
    pub fn dismiss(self) -> Outcome {
        let mut list = self.0.docker(&["ps", "--all", "--quiet", "--filter", "name=bench-crowd"]);
        let all = command::output(&mut list)?;
        let all: Vec<&str> = all.lines().collect();
        for some in all.chunks(25) {
            self.0.time(&[&["rm", "--force"], some].concat())?;
        }
        Ok(())
    }
}
