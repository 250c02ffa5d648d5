//! What a client may cost: sizes, times and numbers.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// `[limits]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one client.
    pub connections_per_client: usize,
    /// Requests of one client that are under way.
    pub requests_per_client: usize,
    /// Handshakes under way; one more pushes out the oldest.
    pub handshakes: usize,
    /// Of a request's head.
    pub header_bytes: Size,
    /// Of a request.
    pub headers: usize,
    /// From a request's first byte to the end of its head.
    pub header_time: Time,
    /// For a body of JSON.
    pub body_time: Time,
    /// Between requests.
    pub idle_time: Time,
    /// For the handshake.
    pub handshake_time: Time,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = |seconds| Time(Duration::from_secs(seconds));
        Self {
            connections: 512,
            connections_per_client: 128,
            requests_per_client: 128,
            handshakes: 64,
            header_bytes: Size(64 << 10),
            headers: 100,
            header_time: seconds(10),
            body_time: seconds(60),
            idle_time: seconds(120),
            handshake_time: seconds(10),
        }
    }
}

/// Bytes: a number, or one with `KiB`, `MiB`, `GiB` or `TiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// A time: a number with `ms`, `s`, `m` or `h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected a size such as \"64KiB\" or \"8GiB\"";
        let (number, unit) = number(text).ok_or(expected)?;
        let shift = match unit {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(expected),
        };
        number.checked_mul(1 << shift).map(Self).ok_or("the size is too large")
    }
}

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected a time such as \"500ms\", \"10s\" or \"2m\"";
        let (number, unit) = number(text).ok_or(expected)?;
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(expected),
        };
        // A day is as good as for ever, and can be added to any time.
        let milliseconds = number.checked_mul(factor).filter(|&all| (1..=86_400_000).contains(&all));
        milliseconds.map(|all| Self(Duration::from_millis(all))).ok_or("expected between 1ms and 24h")
    }
}

fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, unit.trim_start()))
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Text(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text(PhantomData))
    }
}

struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err = &'static str>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number with its unit, as text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}
