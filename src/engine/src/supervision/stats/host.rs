//! What of the host Docker's numbers are measured against.

/// Jiffies in a second, as the kernel tells user space (USER_HZ).
const HERTZ: u64 = 100;

/// The host's processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Processors {
    /// Nanoseconds that all of them together have had, idle ones included.
    pub time: u64,
    /// How many there are.
    pub online: u64,
}

/// From `/proc/stat`; zeros where it cannot be read.
pub fn processors() -> Processors {
    parse(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
}

/// The host's memory in bytes.
pub fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    u64::from(info.mem_unit).saturating_mul(info.totalram)
}

fn parse(stat: &str) -> Processors {
    let mut all = Processors::default();
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            // user nice system idle iowait irq softirq; what comes after is part of them, or none of the host's.
            Some("cpu") => {
                let ticks: u64 = words.take(7).filter_map(|word| word.parse::<u64>().ok()).sum();
                all.time = ticks.saturating_mul(1_000_000_000 / HERTZ);
            }
            Some(name) if name.starts_with("cpu") => all.online += 1,
            _ => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_numbers_count() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1 1 1 1 1 1 1\ncpu1 0 1 2 3 4 5 6 7 8 9\nintr 5\n";
        assert_eq!(parse(stat), Processors { time: 280_000_000, online: 2 });
        assert_eq!(parse(""), Processors::default());
        let here = processors();
        assert!(here.time > 0 && here.online > 0 && memory() > 0, "{here:?}");
    }
}
