//! One run of a program: bounded in time, its output captured in files.
//!
//! Files, not pipes: a container inherits its creator's output, and a pipe would not end before the container does.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A program about to be run.
#[derive(Debug)]
pub struct Invocation {
    argv: Vec<OsString>,
    capture: PathBuf,
    command_env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    ids: Option<(u32, u32)>,
    stdin: Option<File>,
    stdio: Option<[File; 3]>,
    timeout: Duration,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl Invocation {
    /// `capture` is a directory of the test; the output files are made in it.
    pub fn new(capture: &Path, program: impl AsRef<OsStr>) -> Self {
        Self {
            argv: vec![program.as_ref().to_owned()],
            capture: capture.to_owned(),
            command_env: Vec::new(),
            cwd: None,
            ids: None,
            stdin: None,
            stdio: None,
            timeout: Duration::from_secs(20),
        }
    }

    /// Appends one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    /// Appends arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Runs the whole through another program, such as `strace -o FILE` or a shell that opens descriptors.
    #[must_use]
    pub fn via<S: AsRef<OsStr>>(mut self, prefix: impl IntoIterator<Item = S>) -> Self {
        let mut argv: Vec<OsString> = prefix.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        argv.append(&mut self.argv);
        self.argv = argv;
        self
    }

    /// Runs it through `sh` after a preparation, such as `exec 3</etc/hostname` or `ulimit -n 64`.
    #[must_use]
    pub fn prepared(self, shell: &str) -> Self {
        self.via(["sh", "-c", &format!("{shell}; exec \"$@\""), "sh"])
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command_env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it in another directory.
    #[must_use]
    pub fn cwd(mut self, path: &Path) -> Self {
        self.cwd = Some(path.to_owned());
        self
    }

    /// Runs it as another user, without supplementary groups.
    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.ids = Some((uid, gid));
        self
    }

    /// Standard input, from bytes.
    ///
    /// # Panics
    /// When the file for it cannot be written.
    #[must_use]
    pub fn stdin(mut self, bytes: &[u8]) -> Self {
        let path = self.capture.join(format!("{}.stdin", SERIAL.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&path, bytes).expect("write the standard input");
        self.stdin = Some(File::open(&path).expect("open the standard input"));
        self
    }

    /// Standard input, output and error as given (a terminal, pipes); nothing is captured.
    #[must_use]
    pub fn stdio(mut self, files: [File; 3]) -> Self {
        self.stdio = Some(files);
        self
    }

    /// How long it may take before it is killed and the test fails; 20 s unless told.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it cannot be started, or takes longer than its timeout.
    pub fn run(self) -> Output {
        self.spawn().wait()
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(self) -> Running {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = |stream: &str| self.capture.join(format!("{serial}.{stream}"));
        let (stdout, stderr) = (path("stdout"), path("stderr"));
        let (program, args) = self.argv.split_first().expect("a program to run");
        let mut command = Command::new(program);
        // Its own group, so that a timeout can end it together with what it started in the foreground.
        command.args(args).envs(self.command_env.iter().map(|(k, v)| (k, v))).process_group(0);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        if let Some((uid, gid)) = self.ids {
            command.uid(uid).gid(gid);
        }
        let create = |path: &Path| {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            file.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let (out, err) = (create(&stdout), create(&stderr));
        let [stdin, out, err] = match self.stdio {
            Some(files) => files.map(Stdio::from),
            None => [self.stdin.map_or_else(Stdio::null, Stdio::from), out.into(), err.into()],
        };
        let child = command.stdin(stdin).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        Running { argv: self.argv, child: Some(child), stdout, stderr, until: Instant::now() + self.timeout }
    }
}

/// A program that runs; killed when dropped before its end.
#[derive(Debug)]
pub struct Running {
    argv: Vec<OsString>,
    child: Option<Child>,
    stdout: PathBuf,
    stderr: PathBuf,
    until: Instant,
}

impl Running {
    /// Its process id on the host.
    ///
    /// # Panics
    /// After [`Running::wait`]; cannot happen, since that consumes it.
    pub fn pid(&self) -> i32 {
        self.child.as_ref().expect("still running").id() as i32
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it has been reaped.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).expect("a process id");
        rustix::process::kill_process(pid, signal).expect("signal the program");
    }

    /// What it has written to its standard output so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What it has written to its standard error so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// When the kernel cannot say.
    pub fn ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().expect("wait for the program").is_some())
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When its time is over; it is killed first.
    pub fn wait(mut self) -> Output {
        let mut child = self.child.take().expect("still running");
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = child.try_wait().expect("wait for the program") {
                break status;
            }
            if Instant::now() > self.until {
                kill_group(&mut child);
                panic!("{}\nkilled: it took too long\n{}", line(&self.argv), self.transcript());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        Output {
            argv: std::mem::take(&mut self.argv),
            status,
            stdout: self.stdout.clone(),
            stderr: self.stderr.clone(),
        }
    }

    fn transcript(&self) -> String {
        format!("stdout: {}\nstderr: {}", shortened(self.stdout()), shortened(self.stderr()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            kill_group(child);
            // Whoever reads of a failure wants to know whether it had ended: what ran on was killed just now.
            if std::thread::panicking() {
                eprintln!("{}: {:?}", line(&self.argv), child.try_wait());
            }
        }
    }
}

/// How a program ended, and what it wrote. The files live as long as the test's [`crate::Bundle`].
#[derive(Debug)]
pub struct Output {
    argv: Vec<OsString>,
    status: ExitStatus,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Output {
    /// The exit code; 128 + n when it was killed by signal n, as a shell says it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Whether it ended with 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// Standard output as it is now: a container that inherited it may still be writing.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Standard error as it is now.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// The file behind standard output.
    pub fn stdout_path(&self) -> &Path {
        &self.stdout
    }

    /// Standard output without the newline at its end.
    pub fn text(&self) -> String {
        self.stdout().trim_end().to_owned()
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout()).unwrap_or_else(|e| panic!("not JSON: {e}\n{self}"))
    }

    /// Itself, when it ended with 0.
    ///
    /// # Panics
    /// When it did not, with all that is known.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.success(), "{self}");
        self
    }

    /// Itself, when it ended with this code.
    ///
    /// # Panics
    /// When it ended otherwise, with all that is known.
    #[track_caller]
    pub fn fails_with(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }

    /// Itself, when it failed and its standard error holds every one of the words.
    ///
    /// # Panics
    /// When it succeeded or said something else.
    #[track_caller]
    pub fn fails_saying(self, words: &[&str]) -> Self {
        assert!(!self.success(), "succeeded: {self}");
        // Logged as text, runc's words come with their quotes escaped.
        let said = self.stderr().replace("\\\"", "\"");
        for word in words {
            assert!(said.contains(word), "does not say {word:?}: {self}");
        }
        self
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\n{}\nstdout: {}\nstderr: {}",
            line(&self.argv),
            self.status,
            self.stdout(),
            self.stderr()
        )
    }
}

/// Waits until the condition holds.
///
/// # Panics
/// When it does not within half a minute.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends the child and its group. Failures are of no interest: either may be gone.
fn kill_group(child: &mut Child) {
    if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
        rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).ok();
    }
    child.kill().ok();
    child.wait().ok();
}

fn read(path: &Path) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Enough of it for a failure's report.
fn shortened(text: String) -> String {
    const MOST: usize = 4000;
    match text.char_indices().nth(MOST) {
        Some((cut, _)) => format!("{}… ({} bytes)", &text[..cut], text.len()),
        None => text,
    }
}

fn line(argv: &[OsString]) -> String {
    let words: Vec<_> = argv.iter().map(|arg| arg.to_string_lossy()).collect();
    format!("$ {}", words.join(" "))
}
