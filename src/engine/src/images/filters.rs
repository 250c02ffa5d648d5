//! Filters of lists, as clients send them.

use std::collections::BTreeMap;

use super::record::Image;
use super::reference::Reference;
use crate::{Caller, Engine, Failure, Result, clock};

/// Those of a list of images.
const KNOWN: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];

/// Filters, each with its values, all of which a client has sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, Vec<String>>);

impl Filters {
    /// The values of a filter.
    pub fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether one is said, in one of the ways to say yes and no.
    ///
    /// # Errors
    /// It is none of these, or both.
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        let read = |value: &String| match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(Failure::invalid(format!("invalid filter '{name}=[{value}]'"))),
        };
        let read = self.values(name).iter().map(read).collect::<Result<Vec<bool>>>()?;
        match read.first() {
            Some(first) if read.iter().any(|value| value != first) => {
                Err(Failure::invalid(format!("invalid filter '{name}=[{}]'", self.values(name).join(" "))))
            }
            first => Ok(first.copied()),
        }
    }

    /// Refuses what is not among these.
    ///
    /// # Errors
    /// Something is not.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(Failure::invalid(format!("invalid filter '{name}'"))),
            None => Ok(()),
        }
    }

    /// Whether these labels are as `label` and `label!` want them.
    pub fn labels(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let has = |wanted: &String| {
            let (name, value) = wanted.split_once('=').map_or((wanted.as_str(), None), |(n, v)| (n, Some(v)));
            let found = labels.and_then(|labels| labels.get(name));
            found.is_some_and(|found| value.is_none_or(|value| value == found))
        };
        self.values("label").iter().all(has) && !self.values("label!").iter().any(has)
    }

    /// The moment of `until`: a time, seconds since 1970, or how long ago; in nanoseconds since 1970.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn until(&self) -> Result<Option<u64>> {
        let [text] = self.values("until") else {
            return if self.values("until").is_empty() {
                Ok(None)
            } else {
                Err(Failure::invalid("more than one until filter specified"))
            };
        };
        moment(text).map(Some)
    }
}

/// Reads a time as Docker's clients write it.
///
/// # Errors
/// It is none.
pub fn moment(text: &str) -> Result<u64> {
    let refuse = || Failure::invalid(format!("invalid value for 'until' filter: {text:?} is no time"));
    if let Some((seconds, fraction)) = text.split_once('.').or(Some((text, "0")))
        && let (Ok(seconds), Ok(fraction)) =
            (seconds.parse::<u64>(), format!("{fraction:0<9}").parse::<u64>())
    {
        return seconds.checked_mul(1_000_000_000).and_then(|n| n.checked_add(fraction)).ok_or_else(refuse);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return u64::try_from(time.as_nanosecond()).map_err(|_| refuse());
    }
    if let Ok(time) = text.parse::<jiff::civil::DateTime>() {
        let time = time.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| refuse())?;
        return u64::try_from(time.timestamp().as_nanosecond()).map_err(|_| refuse());
    }
    let ago = text.parse::<jiff::SignedDuration>().map_err(|_| refuse())?;
    Ok(clock::now().saturating_sub(u64::try_from(ago.as_nanos()).map_err(|_| refuse())?))
}

/// The filters of a list, read.
pub struct Judge<'a> {
    filters: &'a Filters,
    dangling: Option<bool>,
    before: Option<u64>,
    since: Option<u64>,
    until: Option<u64>,
}

impl<'a> Judge<'a> {
    /// Reads them.
    ///
    /// # Errors
    /// One is not known, or cannot be read.
    pub fn new(engine: &Engine, caller: &Caller, filters: &'a Filters) -> Result<Self> {
        filters.only(&KNOWN)?;
        let of = |name: &str| -> Result<Option<u64>> {
            let found = filters.values(name).iter().map(|text| engine.images.find(caller, text));
            let found = found.collect::<Result<Vec<_>>>()?;
            Ok(found.first().map(|image| image.config.created_at()))
        };
        Ok(Self {
            filters,
            dangling: filters.flag("dangling")?,
            before: of("before")?,
            since: of("since")?,
            until: filters.until()?,
        })
    }

    /// The names by which an image is in the list, if it is.
    pub fn admits(&self, image: &Image, names: Vec<Reference>) -> Option<Vec<Reference>> {
        let created = image.config.created_at();
        let in_time = self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
            && self.until.is_none_or(|until| created <= until);
        let tagged = names.iter().any(|name| name.tag.is_some());
        if !in_time
            || self.dangling.is_some_and(|dangling| dangling == tagged)
            || !self.filters.labels(image.config.config.labels.as_ref())
        {
            return None;
        }
        let patterns = self.filters.values("reference");
        if patterns.is_empty() {
            return Some(names);
        }
        let fits = |name: &Reference| patterns.iter().any(|pattern| matches(pattern, name));
        let fitting: Vec<Reference> = names.into_iter().filter(fits).collect();
        Some(fitting).filter(|names| !names.is_empty())
    }
}

/// Whether a pattern of `path.Match` fits a name: with its tag, or without.
fn matches(pattern: &str, name: &Reference) -> bool {
    let repository = name.familiar_name();
    let whole = name.familiar();
    [repository.as_str(), whole.as_str()].into_iter().any(|text| glob(pattern.as_bytes(), text.as_bytes()))
}

/// `*` and `?` stand for anything but a slash, `[…]` for one of a class, `\` takes the next as it is.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // How far the last `*` has reached, to go on from there.
    let (mut p, mut t, mut star) = (0, 0, None);
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            None if t == text.len() => return true,
            None => None,
            Some(_) => text.get(t).and_then(|&byte| one(pattern.get(p..)?, byte)),
        };
        match (step, star) {
            (Some(width), _) => (p, t) = (p + width, t + 1),
            (None, Some((at, from))) if text.get(from).is_some_and(|&byte| byte != b'/') => {
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
            _ => return false,
        }
    }
}

/// How long the part of the pattern is that fits this byte.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [b'?', ..] => (byte != b'/').then_some(1),
        [b'\\', next, ..] => (next == byte).then_some(2),
        [b'[', ref class @ ..] => {
            let end = class.iter().skip(1).position(|&c| c == b']')? + 1;
            let class = class.get(..end)?;
            let (negated, class) = match class {
                [b'^', rest @ ..] => (true, rest),
                _ => (false, class),
            };
            let mut found = false;
            let mut rest = class;
            while let [first, tail @ ..] = rest {
                rest = tail;
                let mut last = *first;
                if let [b'-', end, tail @ ..] = rest {
                    (last, rest) = (*end, tail);
                }
                found |= (*first..=last).contains(&byte);
            }
            (found != negated && byte != b'/').then_some(end + 2)
        }
        [first, ..] => (first == byte).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_those_of_go() {
        for (pattern, text, fits) in [
            ("busybox", "busybox", true),
            ("busy*", "busybox", true),
            ("b*x", "busybox", true),
            ("*:latest", "a:latest", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("b?sybox", "busybox", true),
            ("[a-c]usybox", "busybox", true),
            ("[^a-c]usybox", "busybox", false),
            ("\\*", "a", false),
            ("b*", "a", false),
            ("", "", true),
            ("[", "a", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn times_are_read_in_every_form() {
        assert_eq!(moment("10").expect("seconds"), 10_000_000_000);
        assert_eq!(moment("10.5").expect("fraction"), 10_500_000_000);
        assert_eq!(moment("1970-01-01T00:00:10Z").expect("time"), 10_000_000_000);
        assert_eq!(moment("1970-01-01T00:00:10").expect("local"), 10_000_000_000);
        let ago = clock::now() - moment("1h30m").expect("duration");
        assert!(ago.abs_diff(5_400_000_000_000) < 1_000_000_000, "{ago}");
        assert!(moment("yesterday").is_err());
    }

    proptest! {
        #[test]
        fn no_pattern_breaks_the_matcher(pattern in "[a\\[\\]^*?\\\\-]{0,12}", text in "[a/\\]-]{0,12}") {
            glob(pattern.as_bytes(), text.as_bytes());
        }
    }
}
