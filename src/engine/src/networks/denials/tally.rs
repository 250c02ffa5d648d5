//! How much is told of what is refused: each destination once in a while with a count, and no container more than its
//! share, however many it tries.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use casemate_spec::wire::{Denial, HexId};

use super::packet::Target;

/// A destination is told of once in this time.
pub const WINDOW: Duration = Duration::from_secs(10);
/// So many destinations of one container in this time; of others, how often.
pub const MOST: usize = 32;

/// What is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A container's connections to one place.
    Place(HexId, Target, Denial),
    /// A container's to places beyond its share.
    Others(HexId),
    /// Nobody knows whose: the kernel had no room for them.
    Missed,
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of what.
    pub about: About,
    /// How many more there were since it was told of last; 0 is the first.
    pub more: u64,
}

/// Everybody's.
#[derive(Debug, Default)]
pub struct Tally {
    containers: BTreeMap<HexId, Own>,
    missed: Option<Line>,
}

/// One container's.
#[derive(Debug, Default)]
struct Own {
    places: BTreeMap<(Target, Denial), Line>,
    others: Option<Line>,
}

/// A count.
#[derive(Debug)]
struct Line {
    told: Instant,
    more: u64,
}

impl Line {
    fn new(told: Instant) -> Self {
        Self { told, more: 0 }
    }

    /// Tells what came since, where it is time; whether there is something to wait for.
    fn settle(&mut self, about: impl FnOnce() -> About, all: &mut Vec<Told>, now: Instant) -> bool {
        if now.saturating_duration_since(self.told) < WINDOW {
            return true;
        }
        self.told = now;
        let more = std::mem::take(&mut self.more);
        if more > 0 {
            all.push(Told { about: about(), more });
        }
        more > 0
    }
}

impl Tally {
    /// One more; what is to be told of at once.
    pub fn note(&mut self, container: &HexId, target: Target, why: Denial, now: Instant) -> Option<Told> {
        let own = self.containers.entry(container.clone()).or_default();
        let has_room = own.places.len() < MOST;
        let line = match own.places.entry((target, why)) {
            Entry::Occupied(line) => line.into_mut(),
            Entry::Vacant(place) if has_room => {
                place.insert(Line::new(now));
                return Some(Told { about: About::Place(container.clone(), target, why), more: 0 });
            }
            Entry::Vacant(_) => own.others.get_or_insert_with(|| Line::new(now)),
        };
        line.more += 1;
        None
    }

    /// So many could not be told of.
    pub fn miss(&mut self, count: u32, now: Instant) {
        self.missed.get_or_insert_with(|| Line::new(now)).more += u64::from(count);
    }

    /// What is to be told by now; what was silent is forgotten.
    pub fn due(&mut self, now: Instant) -> Vec<Told> {
        let mut all = Vec::new();
        for (container, own) in &mut self.containers {
            own.settle(container, &mut all, now);
        }
        self.containers.retain(|_, own| !own.is_empty());
        if self.missed.as_mut().is_some_and(|line| !line.settle(|| About::Missed, &mut all, now)) {
            self.missed = None;
        }
        all
    }

    /// What is still to be told of a container that has ended.
    pub fn end(&mut self, container: &HexId, now: Instant) -> Vec<Told> {
        let mut all = Vec::new();
        if let Some(mut own) = self.containers.remove(container) {
            own.settle(container, &mut all, now + WINDOW);
        }
        all
    }

    /// When there is something to look at.
    pub fn next(&self) -> Option<Instant> {
        let lines = self.containers.values().flat_map(|own| own.places.values().chain(own.others.as_ref()));
        lines.chain(self.missed.as_ref()).map(|line| line.told + WINDOW).min()
    }
}

impl Own {
    fn settle(&mut self, container: &HexId, all: &mut Vec<Told>, now: Instant) {
        self.places.retain(|(target, why), line| {
            line.settle(|| About::Place(container.clone(), *target, *why), all, now)
        });
        if self
            .others
            .as_mut()
            .is_some_and(|line| !line.settle(|| About::Others(container.clone()), all, now))
        {
            self.others = None;
        }
    }

    fn is_empty(&self) -> bool {
        self.places.is_empty() && self.others.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> HexId {
        HexId::from_bytes([number; 32])
    }

    fn to(port: u16) -> Target {
        let address = "192.0.2.2".parse().expect("an address");
        Target { address, protocol: 6, port: Some(port) }
    }

    fn place(container: u8, port: u16, more: u64) -> Told {
        Told { about: About::Place(id(container), to(port), Denial::NotListed), more }
    }

    fn note(tally: &mut Tally, container: u8, port: u16, now: Instant) -> Option<Told> {
        tally.note(&id(container), to(port), Denial::NotListed, now)
    }

    #[test]
    fn the_same_is_told_once_in_a_while_with_a_count() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(note(&mut tally, 1, 80, start), Some(place(1, 80, 0)));
        for _ in 0..7 {
            assert_eq!(note(&mut tally, 1, 80, at(1)), None);
        }
        assert!(tally.note(&id(1), to(80), Denial::LinkLocal, at(1)).is_some(), "another reason");
        assert!(note(&mut tally, 2, 80, at(1)).is_some(), "another container");
        assert_eq!((tally.due(at(9)), tally.next()), (vec![], Some(at(10))));
        assert_eq!(tally.due(at(10)), [place(1, 80, 7)]);
        // It has been told of now.
        assert_eq!(note(&mut tally, 1, 80, at(12)), None);
        assert_eq!(tally.due(at(20)), [place(1, 80, 1)]);
        assert_eq!((tally.due(at(30)), tally.next()), (vec![], None));
        assert!(note(&mut tally, 1, 80, at(31)).is_some());
    }

    #[test]
    fn nobody_fills_the_log_or_hides_anybody() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        let told = (1..=1000).filter_map(|port| note(&mut tally, 1, port, start)).count();
        assert_eq!(told, MOST);
        assert!(note(&mut tally, 2, 1, start).is_some());
        tally.miss(5, start);
        tally.miss(6, start);
        let others = Told { about: About::Others(id(1)), more: 1000 - MOST as u64 };
        assert_eq!(tally.due(start + WINDOW), [others, Told { about: About::Missed, more: 11 }]);
        assert_eq!((tally.due(start + WINDOW * 2), tally.next()), (vec![], None));
    }

    #[test]
    fn an_end_is_told_at_once() {
        let (mut tally, now) = (Tally::default(), Instant::now());
        (0..3).for_each(|_| drop(note(&mut tally, 1, 80, now)));
        assert_eq!(tally.end(&id(1), now), [place(1, 80, 2)]);
        assert_eq!((tally.end(&id(1), now), tally.next()), (vec![], None));
    }
}
