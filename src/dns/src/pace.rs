//! How fast one container is listened to.
//!
//! Nobody is read faster than this: what comes faster waits in its own socket, and is dropped there by the kernel, at no
//! cost to others.

use std::time::Duration;

use tokio::time::Instant;

/// Between two packets on average: 10,000 in a second.
const INTERVAL: Duration = Duration::from_micros(100);
/// So many may come at once.
const BURST: u32 = 1000;

/// One container's.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the next one is due, of those that come in their time.
    due: Option<Instant>,
}

impl Pace {
    /// Notes a packet at `now`; how long to wait before the next is read.
    pub fn take(&mut self, now: Instant) -> Duration {
        let due = self.due.map_or(now, |due| due.max(now)) + INTERVAL;
        self.due = Some(due);
        due.saturating_duration_since(now).saturating_sub(INTERVAL * BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_read_at_once_and_a_flood_is_not() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!((0..BURST).all(|_| pace.take(start).is_zero()));
        assert_eq!(pace.take(start), INTERVAL);
        assert_eq!(pace.take(start + INTERVAL * 2), Duration::ZERO);
        let rested = start + INTERVAL * (BURST * 3);
        assert!((0..BURST).all(|_| pace.take(rested).is_zero()));
    }
}
