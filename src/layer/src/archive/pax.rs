//! PAX extended headers: records of `length keyword=value\n`, where a value may hold anything, newlines included.

use casemate_spec::{Error, Result};

use super::{Xattr, sparse};

/// What the extended headers before an entry say about it.
#[derive(Debug, Default)]
pub struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub modified: Option<(i64, u32)>,
    pub xattrs: Vec<Xattr>,
    pub sparse: sparse::Records,
}

/// The form in which every implementation writes extended attributes.
pub const XATTR: &[u8] = b"SCHILY.xattr.";

impl Pax {
    /// Reads the content of one extended header.
    pub fn parse(mut data: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        while !data.is_empty() {
            let (key, value, rest) = record(data).ok_or_else(|| malformed("no record of it"))?;
            data = rest;
            pax.take(key, value)?;
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(name) = key.strip_prefix(XATTR) {
            return self.take_xattr(name, value);
        }
        if key.starts_with(sparse::PREFIX) {
            return self.sparse.take(key, value);
        }
        // An empty value takes the record back: the header's own field counts.
        if value.is_empty() {
            return Ok(());
        }
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link = Some(name(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.modified = Some(time(value).ok_or_else(|| malformed("no time"))?),
            _ => {}
        }
        Ok(())
    }

    fn take_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        if name.is_empty() || name.contains(&0) {
            return Err(malformed("an extended attribute without a proper name"));
        }
        self.xattrs.retain(|other| other.name != name);
        self.xattrs.push(Xattr { name: name.to_vec(), value: value.to_vec() });
        Ok(())
    }
}

/// One record, and what follows it.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(digits(data.get(..space)?)?).ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    let (key, value) = body.split_at_checked(equals)?;
    if key.is_empty() || key.contains(&0) { None } else { Some((key, value.get(1..)?, rest)) }
}

fn name(value: &[u8]) -> Result<Vec<u8>> {
    if value.contains(&0) { Err(malformed("a NUL in a name")) } else { Ok(value.to_vec()) }
}

/// Digits alone: no sign, no space.
pub fn decimal(value: &[u8]) -> Result<u64> {
    digits(value).ok_or_else(|| malformed("no number"))
}

fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, &byte| match byte {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Seconds with an optional fraction, of which nine digits count; the nanoseconds go forward, as in `timespec`.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = value.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(digits(parts.next()?)?).ok()?;
    let mut nanoseconds = 0_u32;
    let fraction = parts.next().unwrap_or_default();
    for at in 0..9 {
        let digit = fraction.get(at).copied().unwrap_or(b'0');
        nanoseconds = nanoseconds * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

pub fn malformed(why: &str) -> Error {
    Error::new("archive: extended header", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_newlines() {
        let pax =
            Pax::parse(b"12 path=a\nb\n35 SCHILY.xattr.user.k=\n9 path=x\n\0\n9 size=5\n").expect("records");
        assert_eq!(pax.path.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(pax.xattrs, [Xattr { name: b"user.k".to_vec(), value: b"\n9 path=x\n\0".to_vec() }]);
        assert_eq!(pax.size, Some(5));
    }

    #[test]
    fn times_before_1970_and_with_fractions() {
        assert_eq!(time(b"1.5"), Some((1, 500_000_000)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"7.1234567899"), Some((7, 123_456_789)));
        for bad in [&b""[..], b".5", b"1.x", b"--1", b"99999999999999999999"] {
            assert_eq!(time(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let bad: [&[u8]; 8] = [
            b"x",
            b"5 a=b",
            b"9 path=a\0\n",
            b"99 path=a\n",
            b"0 path=a\n",
            b"9 pathxa\n",
            b"8 path=a\n",
            b"18446744073709551616 path=a\n",
        ];
        for data in bad {
            assert!(Pax::parse(data).is_err(), "{:?}", data.escape_ascii().to_string());
        }
    }
}
