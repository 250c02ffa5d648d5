//! One boot of qemu: its command line, its two serial ports, its end.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// All of one machine's cases, on a host that does other work too; a case has its own limit inside.
const LIMIT: Duration = Duration::from_secs(780);
/// Longer than any case may take without a word.
const SILENCE: Duration = Duration::from_secs(150);

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
    /// Boots, listens until the machine is off or its time is over, and leaves no qemu behind.
    pub fn run(&self) -> Report {
        let console = self.dir.join(format!("console-{}.log", self.name));
        let swap = self.dir.join(format!("swap-{}.img", self.name));
        File::create(&swap).and_then(|file| file.set_len(256 << 20)).expect("make the swap disk");
        let mut qemu = Qemu(self.command(&console, &swap).spawn().expect("start qemu-system-x86_64"));
        let lines = lines_of(&mut qemu.0);
        let mut report = Report::default();
        let until = Instant::now() + LIMIT;
        loop {
            let wait = SILENCE.min(until.saturating_duration_since(Instant::now()));
            match lines.recv_timeout(wait) {
                Ok(line) => report.take(line),
                Err(RecvTimeoutError::Timeout) => break report.take("host: out of time".to_owned()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        drop(qemu);
        report.console =
            std::fs::read(&console).map_or_else(|e| e.to_string(), |b| String::from_utf8_lossy(&b).into());
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
            "root=/dev/nvme0n1 rootfstype=ext4 rw console=ttyS0 quiet panic=-1 mitigations=off {}",
            self.cmdline
        );
        let mut qemu = Command::new("qemu-system-x86_64");
        // One controller with all namespaces: several controllers are probed in no fixed order.
        qemu.args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
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
struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // Either fails only when it has ended already.
        self.0.kill().ok();
        self.0.wait().ok();
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
