//! Samples and their order statistics.

use std::collections::BTreeMap;

use crate::bench::case::Case;
use crate::failure::Outcome;

/// All samples of a run, by case and contender.
#[derive(Default)]
pub struct Samples {
    taken: BTreeMap<(Case, &'static str), Taken>,
}

#[derive(Default)]
struct Taken {
    values: Vec<f64>,
    failure: Option<String>,
}

/// What a row shows of one contender.
#[derive(Clone, Copy)]
pub struct Summary {
    /// Half of the samples are below.
    pub median: f64,
    /// One in ten is below.
    pub p10: f64,
    /// Nine in ten are below.
    pub p90: f64,
}

impl Samples {
    /// Keeps the sample, or the reason why there is none.
    pub fn add(&mut self, case: Case, contender: &'static str, sample: Outcome<f64>) {
        let taken = self.taken.entry((case, contender)).or_default();
        match sample {
            Ok(value) => taken.values.push(value),
            Err(failure) => taken.failure = Some(failure.to_string()),
        }
    }

    /// None when nothing was measured, or when one measurement failed: half a row would compare unlike things.
    pub fn summary(&self, case: Case, contender: &str) -> Option<Summary> {
        let taken = self.find(case, contender)?;
        if taken.failure.is_some() {
            return None;
        }
        let mut sorted = taken.values.clone();
        sorted.sort_by(f64::total_cmp);
        let at =
            |part: f64| sorted.get(((sorted.len().checked_sub(1)?) as f64 * part).round() as usize).copied();
        Some(Summary { median: at(0.5)?, p10: at(0.1)?, p90: at(0.9)? })
    }

    /// Whether this contender could not do this case.
    pub fn has_failed(&self, case: Case, contender: &str) -> bool {
        self.find(case, contender).is_some_and(|taken| taken.failure.is_some())
    }

    /// Every case that failed: contender, case, and the whole story.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, Case, &str)> {
        self.taken
            .iter()
            .filter_map(|((case, contender), taken)| Some((*contender, *case, taken.failure.as_deref()?)))
    }

    fn find(&self, case: Case, contender: &str) -> Option<&Taken> {
        self.taken
            .iter()
            .find(|((kept, name), _)| *kept == case && *name == contender)
            .map(|(_, taken)| taken)
    }
}

/// The middle one of some values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::Samples;
    use crate::bench::case::Case;
    use crate::failure::Failure;

    #[test]
    fn summary_is_by_rank_and_absent_after_a_failure() {
        let mut samples = Samples::default();
        for value in 1..=11 {
            samples.add(Case::Size, "ours", Ok(f64::from(value)));
        }
        let summary = samples.summary(Case::Size, "ours").expect("eleven samples");
        assert_eq!((summary.p10, summary.median, summary.p90), (2.0, 6.0, 10.0));

        samples.add(Case::Size, "ours", Err(Failure::new("start", "refused")));
        assert!(samples.summary(Case::Size, "ours").is_none());
        assert_eq!(samples.failures().count(), 1);
    }
}
