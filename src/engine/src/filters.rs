//! `filters` of the API: which of many are meant.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use crate::{Failure, Result};

/// The most memory that one expression may take, in bytes.
const LARGEST: usize = 1 << 20;

/// Filters by name: one of a name's values must fit, and every name's.
#[derive(Debug, Clone, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Reads the query's value: JSON, `{"name": ["value"]}` or `{"name": {"value": true}}`.
    ///
    /// # Errors
    /// It is neither, or names what nobody knows.
    pub fn parse(text: Option<&str>, known: &[&str]) -> Result<Self> {
        let Some(text) = text else { return Ok(Self::default()) };
        let refuse = || Failure::invalid(format!("invalid filter: {text}"));
        let document: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|_| refuse())?;
        let mut filters = BTreeMap::new();
        for (name, values) in document {
            let texts: Option<Vec<String>> = match values {
                Value::Array(list) => list.iter().map(|value| value.as_str().map(str::to_owned)).collect(),
                Value::Object(set) => Some(
                    set.into_iter()
                        .filter(|(_, on)| *on == Value::Bool(true))
                        .map(|(text, _)| text)
                        .collect(),
                ),
                _ => None,
            };
            let texts = texts.ok_or_else(refuse)?;
            if !known.contains(&name.as_str()) {
                return Err(Failure::invalid(format!("invalid filter '{name}'")));
            }
            if !texts.is_empty() {
                filters.insert(name, texts);
            }
        }
        Ok(Self(filters))
    }

    /// The values of a name.
    pub fn values(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether the name is given at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether one of a name's values fits, or none is given.
    pub fn any(&self, name: &str, fits: impl Fn(&str) -> bool) -> bool {
        !self.has(name) || self.values(name).iter().any(|value| fits(value))
    }

    /// Whether all of `label` are there and none of `label!` is.
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|is| is == value),
            None => labels.contains_key(wanted),
        };
        self.values("label").iter().all(has) && !self.values("label!").iter().any(has)
    }

    /// A truth; nothing where it is not given.
    ///
    /// # Errors
    /// It is neither true nor false, or both.
    pub fn truth(&self, name: &str) -> Result<Option<bool>> {
        let read = |text: &String| match text.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => Some(true),
            "0" | "f" | "false" => Some(false),
            _ => None,
        };
        match self.values(name) {
            [] => Ok(None),
            [one] if read(one).is_some() => Ok(read(one)),
            values => Err(Failure::invalid(format!("invalid filter '{name}={values:?}'"))),
        }
    }

    /// The values of a name as regular expressions, found anywhere in a text.
    ///
    /// # Errors
    /// One is none.
    pub fn expressions(&self, name: &str) -> Result<Vec<Regex>> {
        let read = |text: &String| {
            let built = RegexBuilder::new(text).size_limit(LARGEST).build();
            built.map_err(|_| Failure::invalid(format!("invalid filter '{name}={text}'")))
        };
        self.values(name).iter().map(read).collect()
    }

    /// `until`: things before this moment, in nanoseconds since 1970.
    ///
    /// # Errors
    /// It is given several times, or is no time.
    pub fn until(&self, now: u64) -> Result<Option<u64>> {
        match self.values("until") {
            [] => Ok(None),
            [one] => moment(one, now).map(Some),
            _ => Err(Failure::invalid("more than one until filter specified")),
        }
    }
}

/// A moment as clients give it, in nanoseconds since 1970: seconds since 1970, RFC 3339, or a duration such as `1h30m`
/// before `now`.
///
/// # Errors
/// It is none of these.
pub fn moment(text: &str, now: u64) -> Result<u64> {
    let refuse = || Failure::invalid(format!("invalid time: {text:?}"));
    let whole = |time: i128| u64::try_from(time).map_err(|_| refuse());
    if let Some((seconds, fraction)) = numbers(text) {
        return seconds
            .checked_mul(1_000_000_000)
            .and_then(|time| time.checked_add(fraction))
            .ok_or_else(refuse);
    }
    if let Some(past) = duration(text) {
        return Ok(now.saturating_sub(past));
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return whole(time.as_nanosecond());
    }
    // A date, or a time without a zone, is taken in UTC: the daemon has no other.
    let civil = text.parse::<jiff::civil::DateTime>().map_err(|_| refuse())?;
    let time = civil.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| refuse())?;
    whole(time.timestamp().as_nanosecond())
}

/// `seconds[.fraction]`
fn numbers(text: &str) -> Option<(u64, u64)> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    Some((seconds.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

/// Go's form of durations, in nanoseconds.
fn duration(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 6] =
        [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let value: f64 = rest.get(..number)?.parse().ok()?;
        rest = rest.get(number..)?;
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (name, more) = rest.split_at(unit);
        total += value * UNITS.iter().find(|(known, _)| *known == name)?.1;
        rest = more;
    }
    (!text.is_empty() && total < 9e18).then_some(total as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let known = ["label", "name"];
        for text in [r#"{"label":["a=b"],"name":[]}"#, r#"{"label":{"a=b":true,"c":false}}"#] {
            let filters = Filters::parse(Some(text), &known).expect("filters");
            assert_eq!(filters.values("label"), ["a=b"]);
            assert!(!filters.has("name"));
            assert!(filters.labels(&[("a".to_owned(), "b".to_owned())].into()));
            assert!(!filters.labels(&[("a".to_owned(), "c".to_owned())].into()));
        }
        for bad in ["", "[]", "3", r#"{"label":3}"#, r#"{"label":[3]}"#, "{"] {
            assert!(Filters::parse(Some(bad), &known).is_err(), "{bad}");
        }
        let unknown = Filters::parse(Some(r#"{"x":["y"]}"#), &known).expect_err("unknown");
        assert_eq!(unknown.message, "invalid filter 'x'");
    }

    #[test]
    fn moments_are_read() {
        let now = 10_000_000_000_000;
        for (text, time) in [
            ("5", 5_000_000_000),
            ("5.25", 5_250_000_000),
            ("1h", 6_400_000_000_000),
            ("1m30.5s", 9_909_500_000_000),
            ("1970-01-01T00:00:07Z", 7_000_000_000),
            ("1970-01-01T00:00:07", 7_000_000_000),
            ("1970-01-02", 86_400_000_000_000),
        ] {
            assert_eq!(moment(text, now), Ok(time), "{text}");
        }
        for bad in
            ["", "h", "1x", "-1", "1.0000000001", "99999999999999999999", "1969-01-01T00:00:00Z", "nan"]
        {
            assert!(moment(bad, now).is_err(), "{bad:?}");
        }
    }
}
