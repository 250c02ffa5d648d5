//! One boot of qemu: its command line, its two serial ports, its monitor, its end.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use casemate_tests::skip;

/// All of one machine's cases, on a host that does other work too; a case has its own limit inside.
const LIMIT: Duration = Duration::from_secs(780);
/// Longer than a machine takes to its driver's first word. From then on the driver speaks every few seconds, whatever
/// its case does.
const SILENCE: Duration = Duration::from_secs(120);
/// What the driver says when it has nothing else to say.
const ALIVE: &str = "driver: alive";
/// For each of the monitor's answers.
const MONITOR: Duration = Duration::from_secs(2);

/// What to boot.
pub struct Machine<'a> {
    /// Holds `vmlinuz` and `root.ext4`.
    pub dir: &'a Path,
    /// Names the machine's own files.
    pub name: &'a str,
    /// The second disk.
    pub payload: &'a Path,
    /// The fourth disk, where there is one.
    pub data: Option<&'a Path>,
    /// Appended to the kernel's command line.
    pub cmdline: &'a str,
}

/// What the driver has said.
#[derive(Default)]
pub struct Report {
    /// Whether it reached its last line.
    pub finished: bool,
    /// Whether even the driver's sign of life stayed away: then the machine stands, not a case.
    pub frozen: bool,
    /// How many cases passed.
    pub passed: usize,
    /// The cases that failed.
    pub failed: Vec<String>,
    /// The cases that were skipped, with the reason.
    pub skipped: Vec<(String, String)>,
    lines: Vec<String>,
    console: String,
}

impl Report {
    /// Everything from both serial ports.
    pub fn transcript(&self) -> String {
        let mut text = String::from("---- driver\n");
        for line in &self.lines {
            // Writing to a String cannot fail.
            writeln!(text, "{line}").ok();
        }
        text + "---- console\n" + &self.console
    }

    fn take(&mut self, line: String) {
        if line == ALIVE {
            return;
        }
        println!("{line}");
        if let Some(rest) = line.strip_prefix("case: ") {
            let (case, verdict) = rest.split_once(' ').unwrap_or((rest, ""));
            match verdict.strip_prefix("skipped ") {
                Some(reason) => self.skipped.push((case.to_owned(), reason.to_owned())),
                None if verdict.starts_with("ok") => self.passed += 1,
                None => self.failed.push(case.to_owned()),
            }
        }
        self.finished |= line == "driver: end";
        self.lines.push(line);
    }
}

impl Machine<'_> {
    /// Boots, and once more where the emulation itself stood still: that says nothing of what is tested. It is counted
    /// as a skip, with the last word and where the processors were.
    pub fn run(&self) -> Report {
        let until = Instant::now() + LIMIT;
        let report = self.boot(until);
        if !report.frozen {
            return report;
        }
        eprintln!("{}", report.transcript());
        let last = report.lines.iter().rev().nth(1).map_or("its start", String::as_str);
        let words = ["VM", "status:", "CPU#", "RIP=", "HLT=", "paused", "running"];
        let known =
            report.console.split_whitespace().filter(|word| words.iter().any(|w| word.starts_with(w)));
        let known = known.collect::<Vec<_>>().join(" ");
        skip(&format!("{}: the machine froze after {last} and was started once more: {known}", self.name));
        self.boot(until)
    }

    /// Boots, listens until the machine is off, silent, or `until`, and leaves no qemu behind.
    fn boot(&self, until: Instant) -> Report {
        let console = self.dir.join(format!("console-{}.log", self.name));
        let swap = self.dir.join(format!("swap-{}.img", self.name));
        File::create(&swap).and_then(|file| file.set_len(256 << 20)).expect("make the swap disk");
        // Where a socket's path is short enough, whatever the length of ours.
        let monitor = std::env::temp_dir().join(format!("casemate-vm-{}", std::process::id()));
        let mut command = self.command(&console, &swap);
        command.arg("-monitor").arg(format!("unix:{},server=on,wait=off", monitor.display()));
        let child = command.spawn().expect("start qemu-system-x86_64");
        let mut qemu = Qemu { child, monitor };
        let lines = lines_of(&mut qemu.child);
        let mut report = Report::default();
        let monitor = loop {
            let wait = SILENCE.min(until.saturating_duration_since(Instant::now()));
            match lines.recv_timeout(wait) {
                Ok(line) => report.take(line),
                Err(RecvTimeoutError::Timeout) if Instant::now() < until => {
                    report.frozen = true;
                    report.take("host: the machine has fallen silent".to_owned());
                    break qemu.ask(&["info status", "info registers -a"]);
                }
                Err(RecvTimeoutError::Timeout) => {
                    report.take("host: out of time".to_owned());
                    break String::new();
                }
                Err(RecvTimeoutError::Disconnected) => break String::new(),
            }
        };
        drop(qemu);
        report.console =
            std::fs::read(&console).map_or_else(|e| e.to_string(), |b| String::from_utf8_lossy(&b).into());
        report.console.push_str(&monitor);
        report
    }

    fn command(&self, console: &Path, swap: &Path) -> Command {
        let disk = |id: u32, path: &Path, mode: &str| {
            let drive = format!("if=none,id=disk{id},format=raw,{mode},file={}", path.display());
            [
                "-drive".to_owned(),
                drive,
                "-device".to_owned(),
                format!("nvme-ns,drive=disk{id},bus=nvme,nsid={id}"),
            ]
        };
        let cmdline = format!(
            "root=/dev/nvme0n1 rootfstype=ext4 rw console=ttyS0 quiet panic=-1 nokaslr mitigations=off {}",
            self.cmdline
        );
        let mut qemu = Command::new("qemu-system-x86_64");
        // One thread for both processors: with two, qemu 7.2 stayed for ever at a jump that Linux was patching on the other
        // processor (the scheduler's, when the first group got a CPU quota; one of some 80 boots). It is no slower here.
        // One controller with all namespaces: several controllers are probed in no fixed order.
        qemu.args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=single",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "1024",
        ])
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        // One with a data root starts twice; what else restarts has failed.
        .args(self.data.is_none().then_some("-no-reboot"))
        .arg("-kernel")
        .arg(self.dir.join("vmlinuz"))
        .args(["-append", &cmdline, "-device", "nvme,id=nvme,serial=casemate"])
        .args(disk(1, &self.dir.join("root.ext4"), "snapshot=on"))
        .args(disk(2, self.payload, "readonly=on"))
        .args(disk(3, swap, "snapshot=on"))
        .args(self.data.into_iter().flat_map(|data| disk(4, data, "snapshot=on")))
        .arg("-serial")
        .arg(format!("file:{}", console.display()))
        .args(["-serial", "stdio"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
        qemu
    }
}

/// Killed and reaped when dropped, also by a panic.
struct Qemu {
    child: Child,
    monitor: PathBuf,
}

impl Qemu {
    /// What the monitor answers, as far as it does.
    fn ask(&self, questions: &[&str]) -> String {
        let ask = || -> std::io::Result<String> {
            let mut monitor = UnixStream::connect(&self.monitor)?;
            monitor.set_read_timeout(Some(MONITOR))?;
            for question in questions {
                writeln!(monitor, "{question}")?;
            }
            let mut answers = Vec::new();
            // It ends no answer: what has come within the time is all.
            monitor.read_to_end(&mut answers).ok();
            Ok(String::from_utf8_lossy(&answers).into_owned())
        };
        format!("---- monitor\n{}", ask().unwrap_or_else(|e| e.to_string()))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Each fails only when it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_file(&self.monitor).ok();
    }
}

/// The second serial port, line by line; ends with qemu.
fn lines_of(qemu: &mut Child) -> Receiver<String> {
    let stdout = qemu.stdout.take().expect("qemu's standard output");
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
