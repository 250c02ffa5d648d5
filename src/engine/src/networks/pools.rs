//! Where the ranges of networks that name none come from.

use super::range::Range;
use crate::{Failure, Result};

/// A range that is cut into networks of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The whole.
    pub base: Range,
    /// The prefix of each network.
    pub size: u8,
}

/// Docker's: sixteen bits for the first networks, so that scripts find them where they expect them, then smaller ones.
pub fn usual() -> Vec<Pool> {
    let pool = |base: &str, size| base.parse().ok().map(|base| Pool { base, size });
    [("172.17.0.0/16", 16), ("172.18.0.0/16", 16), ("172.19.0.0/16", 16), ("172.20.0.0/14", 16)]
        .into_iter()
        .chain([("172.24.0.0/14", 16), ("172.28.0.0/14", 16), ("192.168.0.0/16", 20)])
        .filter_map(|(base, size)| pool(base, size))
        .collect()
}

/// A range for IPv6 that nobody else is likely to have (RFC 4193): 40 random bits, and 16 for the networks.
pub fn unique_local(random: [u8; 5]) -> Option<Pool> {
    let [a, b, c, d, e] = random.map(u16::from);
    let first = std::net::Ipv6Addr::new(0xfd00 | a, b << 8 | c, d << 8 | e, 0, 0, 0, 0, 0);
    Some(Pool { base: Range::around(first.into(), 48)?, size: 64 })
}

/// The first range of the pools that overlaps none that is taken.
///
/// # Errors
/// In Docker's words: there is none.
pub fn choose(pools: &[Pool], taken: &[Range]) -> Result<Range> {
    for pool in pools {
        let mut next = Range::around(pool.base.first(), pool.size);
        while let Some(range) = next.filter(|range| pool.base.covers(range)) {
            match taken.iter().filter(|other| range.overlaps(other)).max_by_key(|other| other.last()) {
                None => return Ok(range),
                // Behind what is in the way: a large range is passed in one step.
                Some(other) => next = after(&pool.base, &range, other),
            }
        }
    }
    Err(Failure::failed("all predefined address pools have been fully subnetted"))
}

/// How many networks there are in the pools, and how many of them these ranges are in the way of.
pub fn usage(pools: &[Pool], taken: &[Range]) -> (u128, u128) {
    let each = pools.iter().filter_map(|pool| pool.usage(taken));
    each.fold((0, 0), |(all, used), (more, blocked)| (all + more, used + blocked))
}

impl Pool {
    fn usage(&self, taken: &[Range]) -> Option<(u128, u128)> {
        let width = Range::around(self.base.first(), self.size)?.offsets().checked_add(1)?;
        let place = |address| self.base.offset(address).map(|offset| offset / width);
        let last = self.base.offsets() / width;
        let among = taken.iter().filter(|range| range.overlaps(&self.base));
        // What begins before the pool, or ends behind it, covers it from its first network, or up to its last.
        let mut spans: Vec<(u128, u128)> = among
            .map(|range| (place(range.first()).unwrap_or(0), place(range.last()).unwrap_or(last)))
            .collect();
        spans.sort_unstable();
        let (mut blocked, mut next) = (0, 0);
        for (from, to) in spans {
            blocked += (to + 1).saturating_sub(from.max(next));
            next = next.max(to + 1);
        }
        Some((last + 1, blocked))
    }
}

/// The range of the same size that begins behind both.
fn after(base: &Range, range: &Range, other: &Range) -> Option<Range> {
    let last = if other.covers(range) { other.last() } else { range.last() };
    let next = base.at(base.offset(last)?.checked_add(1)?)?;
    Range::around(next, range.prefix())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> Range {
        text.parse().expect(text)
    }

    #[test]
    fn the_first_free_range_is_taken() {
        assert_eq!(choose(&usual(), &[]), Ok(range("172.17.0.0/16")));
        assert_eq!(choose(&usual(), &[range("172.16.0.0/12")]), Ok(range("192.168.0.0/20")));
        assert_eq!(
            choose(&usual(), &[range("172.17.5.0/24"), range("172.18.0.0/16")]),
            Ok(range("172.19.0.0/16"))
        );
        assert!(choose(&usual(), &[range("0.0.0.0/0")]).is_err());
        // What is of the other family is in nobody's way.
        assert_eq!(choose(&usual(), &[range("::/0")]), Ok(range("172.17.0.0/16")));
        let six = unique_local([1, 2, 3, 4, 5]).expect("a pool");
        assert_eq!(choose(&[six], &[]), Ok(range("fd01:203:405::/64")));
        assert_eq!(choose(&[six], &[range("fd01:203:405::/64")]), Ok(range("fd01:203:405:1::/64")));
    }

    #[test]
    fn what_is_in_the_way_is_counted_once() {
        let count =
            |taken: &[&str]| usage(&usual(), &taken.iter().map(|text| range(text)).collect::<Vec<_>>());
        assert_eq!(count(&[]), (31, 0));
        assert_eq!(count(&["172.17.0.0/16", "172.17.3.0/24", "172.18.0.0/24"]), (31, 2));
        // A range that is asked for is in the way of all that it holds; one beside the pools is in nobody's.
        assert_eq!(count(&["172.16.0.0/12", "10.0.0.0/8", "::/0"]), (31, 15));
        assert_eq!(count(&["0.0.0.0/0"]), (31, 31));
    }

    proptest! {
        #[test]
        fn none_is_given_twice(size in 16_u8..=28, blocked in proptest::collection::vec((0_u32..=0xffff, 10_u8..=30), 0..6)) {
            let pool = Pool { base: range("10.1.0.0/16"), size };
            let blocked = blocked.into_iter().filter_map(|(low, prefix)| {
                Range::around(std::net::Ipv4Addr::from(0x0a01_0000 | low).into(), prefix)
            });
            let mut taken: Vec<Range> = blocked.collect();
            for _ in 0..40 {
                let Ok(range) = choose(&[pool], &taken) else { break };
                prop_assert!(pool.base.covers(&range) && range.prefix() == size);
                prop_assert!(taken.iter().all(|other| !other.overlaps(&range)));
                taken.push(range);
            }
            let (all, blocked) = usage(&[pool], &taken);
            let ranges = (0..all).filter_map(|place| {
                Range::around(pool.base.at(place << (32 - size))?, size)
            });
            let met = ranges.filter(|range| taken.iter().any(|other| other.overlaps(range))).count();
            prop_assert_eq!((all, blocked), (1_u128 << (size - 16), met as u128));
            // Whatever is still free would have been found.
            if choose(&[pool], &taken).is_err() {
                let mut offset = 0;
                while let Some(first) = pool.base.at(offset) {
                    let range = Range::around(first, size).expect("it fits");
                    prop_assert!(taken.iter().any(|other| other.overlaps(&range)));
                    offset += range.offsets() + 1;
                }
            }
        }
    }
}
