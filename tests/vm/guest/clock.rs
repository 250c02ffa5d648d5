//! A clock that jumps: an hour ahead, a day back, years ahead. What takes time takes its time, and nothing is lost.

use std::fs;
use std::time::{Duration, Instant};

use casemate_tests::engine::wait_patiently;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::Case;
use crate::host::Host;
use crate::site::{
    COUNTING, Follower, assert_counts, client, docker, inspect, run, succeeds, try_docker, up,
};

pub const CASES: &[Case] = &[
    Case { name: "jumps_cost_nothing", place: |h| h.daemon, run: jumps_cost_nothing },
    Case { name: "certificates_end_and_return", place: |h| h.daemon, run: certificates_end_and_return },
];

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The clock, set right again in the end.
struct Clock(i64);

impl Clock {
    fn jump(&mut self, seconds: i64) {
        let now = clock_gettime(ClockId::Realtime);
        let then = Timespec { tv_sec: now.tv_sec + seconds, ..now };
        clock_settime(ClockId::Realtime, then).expect("set the clock");
        self.0 += seconds;
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.jump(-self.0);
    }
}

fn jumps_cost_nothing(_: &Host) {
    up();
    run("again", &["--restart", "always"], "exit 1");
    let health = ["--health-cmd", "true", "--health-interval", "2s", "--health-timeout", "20s"];
    run("clock", &health, &format!("trap '' TERM; {COUNTING}"));
    let mut follower = Follower::docker("follower", &["logs", "-f", "clock"]);
    // After five, a wait is longer than three seconds: what is counted below does not depend on how fast the guest is.
    (1..=5).for_each(|count| wait_patiently("it is started again", || restarts() >= count));
    let mut clock = Clock(0);
    for (seconds, up) in [(HOUR, "Up About an hour"), (-DAY, "Up Less than a second")] {
        let restarts = restarts();
        clock.jump(seconds);
        let jumped = Instant::now();
        goes_on(&follower);
        let probed = inspect("clock", "{{len .State.Health.Log}} {{json .State.Health.Log}}");
        wait_patiently("it is probed", || {
            inspect("clock", "{{len .State.Health.Log}} {{json .State.Health.Log}}") != probed
        });
        let status = docker(&["ps", "--filter", "name=clock", "--format", "{{.Status}}"]);
        assert!(status.starts_with(up) && status.ends_with("(healthy)"), "{status}");
        let share = share("clock");
        assert!((0.0..=250.0).contains(&share), "{share}");
        // Each wait is longer than the one before, whatever the clock says of how long it ran.
        let most = jumped.elapsed().as_secs() / 3 + 2;
        assert!(
            self::restarts() - restarts <= most,
            "{} restarts, at most {most}",
            self::restarts() - restarts
        );
    }
    is_idle();
    docker(&["rm", "-f", "again"]);
    since_is_by_the_clock();
    let begun = Instant::now();
    docker(&["stop", "-t", "3", "clock"]);
    // Neither at once nor after a jump's time; how long docker itself takes is the emulation's.
    assert!((3..60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(inspect("clock", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    let all = docker(&["logs", "clock"]);
    assert_counts(&all);
    wait_patiently("it is told of the end", || follower.is_over());
    assert_eq!(follower.text().trim_end(), all);
    docker(&["rm", "clock"]);
}

/// What a container uses, per cent of a processor. Docker's client gives up on statistics after two seconds, which are
/// few in emulation.
fn share(name: &str) -> f64 {
    let output = client("casemate", &["top", "--once"]).output().expect("run casemate");
    let table = succeeds("casemate top", &output);
    let row = table.lines().find(|line| line.starts_with(name)).expect("its row");
    let share = row.split_whitespace().find_map(|word| word.strip_suffix('%')).expect("its share");
    share.parse().expect("a number")
}

fn restarts() -> u64 {
    inspect("again", "{{.RestartCount}}").parse().expect("a number")
}

/// What is written is seen at once.
fn goes_on(follower: &Follower) {
    let lines = || follower.text().lines().count();
    let before = lines();
    wait_patiently("the log goes on", || lines() > before + 3);
}

/// Lines are chosen by when each was written, as the clock was then.
fn since_is_by_the_clock() {
    let line = docker(&["logs", "--timestamps", "--tail", "1", "clock"]);
    let (written, number) = line.split_once(' ').expect("a time and a number");
    let since = docker(&["logs", "--since", written, "clock"]);
    assert!(since.lines().any(|line| line == number), "{number} of {written} is missing: {since}");
    assert!(since.lines().any(|line| line == "1"), "it was written a day later: {since}");
    let before = (number.parse::<u64>().expect("a number") - 1).to_string();
    assert!(!since.lines().any(|line| line == before), "{before} was written before {written}: {since}");
}

/// None of the programs is busy with waiting.
fn is_idle() {
    let used = || -> u64 {
        let pids = fs::read_dir("/proc").expect("read /proc").flatten().map(|entry| entry.path());
        let stats = pids.filter_map(|dir| fs::read_to_string(dir.join("stat")).ok());
        let ours = stats.filter(|stat| stat.contains("(casemate"));
        // User's and system's time, in hundredths of a second (proc_pid_stat(5)).
        let times = ours.map(|stat| {
            let rest = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
            rest.split_whitespace()
                .skip(11)
                .take(2)
                .filter_map(|ticks| ticks.parse::<u64>().ok())
                .sum::<u64>()
        });
        times.sum()
    };
    // They may be busy with a probe or a start, which takes long in emulation; what waits busily is so always.
    wait_patiently("less than two of three seconds are spent", || {
        let before = used();
        std::thread::sleep(Duration::from_secs(3));
        used().saturating_sub(before) < 200
    });
}

fn certificates_end_and_return(_: &Host) {
    up();
    let mut events = Follower::docker("events", &["events"]);
    let mut clock = Clock(0);
    clock.jump(2000 * DAY);
    let refused = try_docker(&["version"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && words.contains("expired"), "{words}");
    wait_patiently("connections of certificates that have ended are closed", || events.is_over());
    drop(clock);
    succeeds("docker version", &try_docker(&["version"]));
}
