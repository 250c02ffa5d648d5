//! The driver inside the virtual machine: runs every case as a process of its own and reports on standard output.
//!
//! Lines: `case: GROUP/NAME ok SECONDS`, `case: GROUP/NAME FAILED …`, `case: GROUP/NAME skipped REASON`, details
//! of a failure as `| …`, `driver: alive` every few seconds and `driver: end` as the last one. Parameters come from the
//! kernel's command line.

mod clock;
mod confinement;
mod fixture;
mod host;
mod kernel;
mod lifecycle;
mod limits;
mod memory;
mod nesting;
mod networks;
mod policies;
mod quota;
mod rootless;
mod service;
mod setup;
mod site;
mod stores;
mod systemd;

use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use host::Host;

/// One case: its name, where it makes sense, and what it does. It fails by panicking.
pub struct Case {
    name: &'static str,
    place: fn(&Host) -> bool,
    run: fn(&Host),
}

/// Emulation is some fifty times slower than the machine, and systemd is slower still.
const CASE_LIMIT: Duration = Duration::from_secs(120);
/// What is killed ends at once, unless the kernel holds it.
const KILL_LIMIT: Duration = Duration::from_secs(20);
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        [] => drive(),
        ["group", group] => run_group(group),
        ["case", group, name] => run_case(group, name),
        _ => panic!("arguments: none, `group NAME` or `case GROUP NAME`"),
    }
}

/// The whole machine: prepares it, then each group as the user and in the place it is named after. One with the daemon
/// starts twice.
fn drive() {
    std::thread::spawn(|| {
        loop {
            println!("driver: alive");
            std::thread::sleep(SIGN_OF_LIFE);
        }
    });
    let host = Host::new("root");
    setup::prepare(&host);
    run_group("root");
    if host.daemon && !setup::is_second_boot() {
        println!("driver: once more");
        setup::reboot();
    }
    if !host.daemon {
        setup::run_rootless(&host);
    }
    println!("driver: end");
    setup::power_off();
}

fn run_group(group: &str) {
    let host = Host::new(group);
    for case in cases(&host).filter(|case| (case.place)(&host) && host.selects(case.name)) {
        report(&host, group, case.name);
    }
}

/// Runs one case in a process of its own, so that neither a hang nor an abort ends the driver.
fn report(host: &Host, group: &str, name: &str) {
    let dir = std::env::temp_dir();
    let path = |what: &str| dir.join(format!("{group}-{name}.{what}"));
    let (output, skips) = (path("output"), path("skips"));
    let log = File::create(&output).expect("create the case's log");
    let start = Instant::now();
    let child = Command::new("/proc/self/exe")
        .args(["case", group, name])
        .env("CASEMATE_RUNTIME", &host.runtime)
        .env("CASEMATE_SKIPS", &skips)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("duplicate the log"))
        .stderr(log)
        .spawn();
    let verdict = match wait(child.expect("start the case")) {
        None => "FAILED out of time".to_owned(),
        Some(status) if !status.success() => format!("FAILED {status}"),
        Some(_) => match std::fs::read_to_string(&skips) {
            Ok(reason) => format!("skipped {}", reason.trim_end().replace('\n', "; ")),
            Err(_) => format!("ok {:.1}s", start.elapsed().as_secs_f32()),
        },
    };
    println!("case: {group}/{name} {verdict}");
    if verdict.starts_with("FAILED") {
        let text = std::fs::read(&output).unwrap_or_default();
        String::from_utf8_lossy(&text).lines().for_each(|line| println!("| {line}"));
    }
}

fn wait(mut child: std::process::Child) -> Option<ExitStatus> {
    let until = Instant::now() + CASE_LIMIT;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().expect("wait for the case") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // Fails only when it has just ended.
    child.kill().ok();
    let until = Instant::now() + KILL_LIMIT;
    while Instant::now() < until && child.try_wait().expect("wait for the case").is_none() {
        std::thread::sleep(Duration::from_millis(50));
    }
    blocked().iter().for_each(|line| println!("| {line}"));
    None
}

/// What the kernel holds, and where: processes that wait and cannot be killed.
fn blocked() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let read = |dir: &Path, file: &str| std::fs::read_to_string(dir.join(file)).unwrap_or_default();
    let report = |dir: std::path::PathBuf| {
        let stat = read(&dir, "stat");
        let name = stat.split(") ").next().unwrap_or_default();
        let lines = read(&dir, "stack");
        let held = stat.contains(") D ");
        held.then(|| {
            std::iter::once(format!("blocked: {name}")).chain(lines.lines().map(str::to_owned)).collect()
        })
    };
    entries.filter_map(|entry| report(entry.path())).collect::<Vec<Vec<String>>>().concat()
}

fn run_case(group: &str, name: &str) {
    let host = Host::new(group);
    let case = cases(&host).find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"));
    (case.run)(&host);
}

/// In their order: those of the daemon share one that runs on.
fn cases(host: &Host) -> impl Iterator<Item = &'static Case> {
    const RUNTIME: &[&[Case]] = &[
        lifecycle::CASES,
        limits::CASES,
        memory::CASES,
        confinement::CASES,
        nesting::CASES,
        systemd::CASES,
        rootless::CASES,
        kernel::CASES,
        policies::CASES,
        stores::CASES,
    ];
    const DAEMON: &[&[Case]] = &[service::CASES, quota::CASES, clock::CASES, networks::CASES];
    const DAEMON_AGAIN: &[&[Case]] = &[networks::AFTER, service::LAST];
    let all = match (host.daemon, setup::is_second_boot()) {
        (false, _) => RUNTIME,
        (true, false) => DAEMON,
        (true, true) => DAEMON_AGAIN,
    };
    all.iter().copied().flatten()
}
