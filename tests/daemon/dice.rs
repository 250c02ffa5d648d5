//! Random moments that can be had again.

use std::time::Duration;

/// A sequence of numbers, told when the test begins.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// By `$CASEMATE_SEED`, else by the clock.
    pub fn thrown() -> Self {
        let said = std::env::var("CASEMATE_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = std::time::UNIX_EPOCH.elapsed().map_or(1, |now| u64::from(now.subsec_nanos()));
        let seed = said.unwrap_or(now | 1);
        eprintln!("CASEMATE_SEED={seed}");
        Self(seed)
    }

    /// A number below this one.
    pub fn below(&mut self, most: u64) -> u64 {
        // xorshift64: nobody plays for money.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most.max(1)
    }

    /// A while.
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(micros))
    }
}
