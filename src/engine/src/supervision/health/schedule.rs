//! When a container is probed, and what the results come to.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock;
use crate::containers::{Health, Healthcheck, Probe};

/// As many results are kept.
const KEPT: usize = 5;
/// The exit status that stands for a probe that took too long.
pub const TOO_LONG: i32 = -1;

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    interval: Duration,
    timeout: Duration,
    /// Failures do not count so long, unless it was healthy before.
    start_period: Duration,
    start_interval: Duration,
}

/// What the results come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// As it is shown.
    pub health: Health,
    retries: u32,
}

/// Something that finds out how a container is.
pub trait Prober: Sync {
    /// Probes once: the exit status, and the beginning of what was said. `None` where it came to no result.
    fn probe(&self) -> impl Future<Output = Option<(i32, String)>> + Send;

    /// Ends a probe that takes too long.
    fn give_up(&self) -> impl Future<Output = ()> + Send;
}

impl Schedule {
    /// As asked; what is not said is Docker's default.
    pub fn new(check: &Healthcheck) -> Self {
        let or = |nanoseconds: i64, seconds: u64| match u64::try_from(nanoseconds) {
            Ok(0) | Err(_) => Duration::from_secs(seconds),
            Ok(asked) => Duration::from_nanos(asked),
        };
        Self {
            interval: or(check.interval, 30),
            timeout: or(check.timeout, 30),
            start_period: or(check.start_period, 0),
            start_interval: or(check.start_interval, 5),
        }
    }

    /// How long to wait before the next probe.
    fn wait(&self, verdict: &Verdict, since: Duration) -> Duration {
        if verdict.health.status == "starting" && since < self.start_period {
            self.start_interval
        } else {
            self.interval
        }
    }
}

impl Verdict {
    /// From what is known; `retries` of 0 or less are 3.
    pub fn new(health: Health, retries: i64) -> Self {
        let retries = u32::try_from(retries).ok().filter(|retries| *retries > 0).unwrap_or(3);
        Self { health, retries }
    }

    /// Takes a result in. Whether the status has changed.
    fn take(&mut self, probe: Probe, counts: bool) -> bool {
        let before = self.health.status.clone();
        if probe.exit_code == 0 {
            self.health.failing_streak = 0;
            self.health.status = "healthy".to_owned();
        } else if counts || self.health.status != "starting" {
            self.health.failing_streak += 1;
            if self.health.failing_streak >= self.retries {
                self.health.status = "unhealthy".to_owned();
            }
        }
        let log = &mut self.health.log;
        log.push(probe);
        log.drain(..log.len().saturating_sub(KEPT));
        self.health.status != before
    }
}

/// Probes by the schedule for ever, and reports each result; `true` where the status has changed.
pub async fn watch(
    schedule: Schedule,
    mut verdict: Verdict,
    prober: &impl Prober,
    mut report: impl FnMut(&Health, bool),
) {
    let begin = Instant::now();
    loop {
        tokio::time::sleep(schedule.wait(&verdict, begin.elapsed())).await;
        let start = clock::now();
        let found = match tokio::time::timeout(schedule.timeout, prober.probe()).await {
            Ok(found) => found,
            Err(_) => {
                prober.give_up().await;
                let text = format!("Health check exceeded timeout ({:?})", schedule.timeout);
                Some((TOO_LONG, text))
            }
        };
        let Some((exit_code, output)) = found else { continue };
        let probe = Probe { start, end: clock::now(), exit_code, output };
        let changed = verdict.take(probe, begin.elapsed() >= schedule.start_period);
        report(&verdict.health, changed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Results by the number of the probe, and when they were asked for.
    struct Script {
        results: Vec<i32>,
        next: AtomicUsize,
        times: Mutex<Vec<u64>>,
        ended: AtomicUsize,
        begin: Instant,
    }

    impl Prober for Script {
        async fn probe(&self) -> Option<(i32, String)> {
            self.times.lock().expect("times").push(self.begin.elapsed().as_secs());
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            match self.results.get(number) {
                Some(&TOO_LONG) => std::future::pending().await,
                Some(code) => Some((*code, String::new())),
                None => std::future::pending().await,
            }
        }

        async fn give_up(&self) {
            self.ended.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn seconds(seconds: i64) -> i64 {
        seconds * 1_000_000_000
    }

    /// Runs a script and gives the times of the probes and the changes of status.
    async fn run(check: Healthcheck, results: &[i32]) -> (Vec<u64>, Vec<(u64, String)>, Health) {
        let begin = Instant::now();
        let script = Script {
            results: results.to_vec(),
            next: AtomicUsize::new(0),
            times: Mutex::default(),
            ended: AtomicUsize::new(0),
            begin,
        };
        let first = Health { status: "starting".to_owned(), ..Health::default() };
        let (mut changes, mut last) = (Vec::new(), Health::default());
        let watching =
            watch(Schedule::new(&check), Verdict::new(first, check.retries), &script, |health, changed| {
                if changed {
                    changes.push((begin.elapsed().as_secs(), health.status.clone()));
                }
                last = health.clone();
            });
        tokio::time::timeout(Duration::from_secs(100_000), watching).await.expect_err("it never ends");
        let mut times = script.times.lock().expect("times").clone();
        times.truncate(results.len());
        (times, changes, last)
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_make_it_unhealthy() {
        let check = Healthcheck { interval: seconds(10), retries: 2, ..Healthcheck::default() };
        let (times, changes, last) = run(check, &[1, 0, 1, 1, 1, 0, 1]).await;
        assert_eq!(times, [10, 20, 30, 40, 50, 60, 70]);
        let changes: Vec<_> = changes.iter().map(|(at, status)| (*at, status.as_str())).take(3).collect();
        assert_eq!(changes, [(20, "healthy"), (40, "unhealthy"), (60, "healthy")]);
        assert_eq!(last.log.len(), KEPT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_start_period_is_probed_faster_and_forgives() {
        let check = Healthcheck {
            interval: seconds(30),
            start_period: seconds(20),
            start_interval: seconds(3),
            retries: 1,
            ..Healthcheck::default()
        };
        let (times, changes, _) = run(check.clone(), &[1, 1, 0, 1]).await;
        assert_eq!(times, [3, 6, 9, 39], "the interval is the usual one once it is healthy");
        assert_eq!(changes.iter().map(|(at, _)| *at).take(2).collect::<Vec<_>>(), [9, 39]);
        let (times, changes, _) = run(check, &[1; 8]).await;
        assert_eq!(times, [3, 6, 9, 12, 15, 18, 21, 51]);
        assert_eq!(changes, [(21, "unhealthy".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_has_failed() {
        let check =
            Healthcheck { interval: seconds(5), timeout: seconds(2), retries: 1, ..Healthcheck::default() };
        let (times, changes, last) = run(check, &[TOO_LONG, 0, TOO_LONG]).await;
        assert_eq!(times, [5, 12, 17]);
        assert_eq!(changes.iter().map(|(at, _)| *at).take(3).collect::<Vec<_>>(), [7, 12, 19]);
        assert_eq!(last.log[0].exit_code, TOO_LONG);
        assert_eq!(last.log[0].output, "Health check exceeded timeout (2s)");
    }

    #[test]
    fn defaults_are_dockers() {
        let schedule = Schedule::new(&Healthcheck::default());
        assert_eq!((schedule.interval, schedule.timeout), (Duration::from_secs(30), Duration::from_secs(30)));
        assert_eq!(schedule.start_interval, Duration::from_secs(5));
        assert_eq!(Verdict::new(Health::default(), 0).retries, 3);
    }
}
