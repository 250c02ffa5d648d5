//! How long a restart policy waits between two starts, and whether there is a next one.

use std::time::Duration;

/// Before the first restart.
const FIRST: Duration = Duration::from_millis(100);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(60);
/// Whoever has run so long is taken for well: the next wait is the first again.
const WELL: Duration = Duration::from_secs(10);

/// What a client wants to happen when the process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Nothing.
    No,
    /// A start, if it failed; at most so many in a row, 0 is without end.
    OnFailure(u32),
    /// A start.
    Always,
    /// A start; after a restart of the daemon too, but not if it was stopped by hand.
    UnlessStopped,
}

impl Policy {
    /// By the name and number of the API.
    pub fn new(name: &str, most: i64) -> Self {
        match name {
            "on-failure" => Self::OnFailure(u32::try_from(most).unwrap_or(0)),
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            _ => Self::No,
        }
    }

    /// Whether it is to be started again, after so many restarts.
    pub fn restarts(self, exit_code: i32, by_hand: bool, restarts: u32) -> bool {
        !by_hand
            && match self {
                Self::No => false,
                Self::OnFailure(most) => exit_code != 0 && (most == 0 || restarts < most),
                Self::Always | Self::UnlessStopped => true,
            }
    }

    /// Whether a daemon that starts anew, after one that had stopped everything or after the host was down, starts it.
    pub fn starts_with_daemon(self, exit_code: i32, by_hand: bool) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure(_) => exit_code != 0 && !by_hand,
            Self::Always => true,
            Self::UnlessStopped => !by_hand,
        }
    }
}

/// The waits of one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackOff(Option<Duration>);

impl BackOff {
    /// The next wait, after a run of this length.
    pub fn next(&mut self, ran: Duration) -> Duration {
        let wait = match self.0 {
            Some(last) if ran < WELL => (last * 2).min(LONGEST),
            _ => FIRST,
        };
        self.0 = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute_and_begin_anew() {
        let mut back_off = BackOff::default();
        let short = Duration::from_secs(1);
        let waits: Vec<u128> = (0..12).map(|_| back_off.next(short).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        assert_eq!(back_off.next(WELL), FIRST);
        assert_eq!(back_off.next(short), FIRST * 2);
    }

    #[test]
    fn policies_mean_what_docker_says() {
        let on_failure = Policy::new("on-failure", 2);
        assert!(on_failure.restarts(1, false, 1));
        assert!(!on_failure.restarts(1, false, 2));
        assert!(!on_failure.restarts(0, false, 0));
        assert!(Policy::new("on-failure", 0).restarts(1, false, 1_000));
        assert!(Policy::new("always", 0).restarts(0, false, 1_000));
        assert!(!Policy::new("", 0).restarts(1, false, 0));
        for policy in [on_failure, Policy::Always, Policy::UnlessStopped] {
            assert!(!policy.restarts(137, true, 0), "{policy:?} was stopped by hand");
        }
        assert!(Policy::Always.starts_with_daemon(0, true));
        assert!(!Policy::UnlessStopped.starts_with_daemon(0, true));
        assert!(Policy::UnlessStopped.starts_with_daemon(0, false));
        assert!(!on_failure.starts_with_daemon(0, false));
    }
}
