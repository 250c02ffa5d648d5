//! Values of a policy that are no lists: sizes, counts, ports, and the word for "as asked".

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

/// `"on"` or `"as-asked"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Switch {
    /// Whatever was asked.
    On,
    /// The bundle decides.
    AsAsked,
}

/// A number, or `"as-asked"`: no number of the policy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting<T>(pub Option<T>);

/// What a [`Setting`] may hold.
pub(crate) trait Number: Sized {
    /// What is said of a value that is none of it.
    const EXPECTED: &'static str;
    /// From a whole number.
    fn whole(number: u64) -> Option<Self>;
    /// From a fraction.
    fn fraction(number: f64) -> Option<Self>;
    /// From a text.
    fn text(text: &str) -> Option<Self>;
}

impl Number for u64 {
    const EXPECTED: &'static str = "a whole number or \"as-asked\"";

    fn whole(number: u64) -> Option<Self> {
        Some(number)
    }

    fn fraction(_: f64) -> Option<Self> {
        None
    }

    fn text(_: &str) -> Option<Self> {
        None
    }
}

/// Bytes, written as a number or with a unit: `"64MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub u64);

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Number for Size {
    const EXPECTED: &'static str = "a size such as \"64MiB\" or \"1GiB\", a number of bytes, or \"as-asked\"";

    fn whole(number: u64) -> Option<Self> {
        // The kernel counts in signed numbers.
        (1..=i64::MAX.unsigned_abs()).contains(&number).then_some(Self(number))
    }

    fn fraction(_: f64) -> Option<Self> {
        None
    }

    fn text(text: &str) -> Option<Self> {
        let (number, unit) = UNITS.iter().find_map(|(unit, size)| Some((text.strip_suffix(unit)?, *size)))?;
        Self::whole(number.parse::<u64>().ok()?.checked_mul(unit)?)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// Processor time, in thousandths of one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cpus(pub u64);

impl Number for Cpus {
    const EXPECTED: &'static str = "a number of CPUs such as 1.5, from 0.01 to 10000, or \"as-asked\"";

    fn whole(number: u64) -> Option<Self> {
        (1..=10_000).contains(&number).then(|| Self(number * 1000))
    }

    fn fraction(number: f64) -> Option<Self> {
        // Within these bounds the conversion is exact to the thousandth.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the range")]
        (0.01..=10_000.0).contains(&number).then(|| Self((number * 1000.0).round() as u64))
    }

    fn text(_: &str) -> Option<Self> {
        None
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

impl<'de, T: Number> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read<T>(std::marker::PhantomData<T>);
        impl<T: Number> Visitor<'_> for Read<T> {
            type Value = Setting<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
                u64::try_from(number)
                    .map_err(|_| E::custom(format!("{number}: expected {}", T::EXPECTED)))
                    .and_then(|n| self.visit_u64(n))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
                let value = T::whole(number);
                value
                    .map(|v| Setting(Some(v)))
                    .ok_or_else(|| E::custom(format!("{number}: expected {}", T::EXPECTED)))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
                let value = T::fraction(number);
                value
                    .map(|v| Setting(Some(v)))
                    .ok_or_else(|| E::custom(format!("{number}: expected {}", T::EXPECTED)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match T::text(text) {
                    _ if text == "as-asked" => Ok(Setting(None)),
                    Some(value) => Ok(Setting(Some(value))),
                    None => Err(E::custom(format!("{text:?}: expected {}", T::EXPECTED))),
                }
            }
        }
        from.deserialize_any(Read(std::marker::PhantomData))
    }
}

/// TCP ports, or `"*"` for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ports(pub Option<Vec<u16>>);

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Ports;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of ports such as [80, 443], or \"*\" for any")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Ports, E> {
                match text {
                    "*" => Ok(Ports(None)),
                    other => Err(E::custom(format!("{other:?}: expected a list of ports, or \"*\" for any"))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ports, A::Error> {
                let mut ports = Vec::new();
                while let Some(port) = list.next_element::<i64>()? {
                    let wrong = |_| A::Error::custom(format!("{port}: expected a port from 0 to 65535"));
                    ports.push(u16::try_from(port).map_err(wrong)?);
                }
                ports.sort_unstable();
                ports.dedup();
                Ok(Ports(Some(ports)))
            }
        }
        from.deserialize_any(Read)
    }
}
