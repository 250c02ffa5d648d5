//! Times as Go prints them: RFC 3339, in UTC, nanoseconds without their closing zeros.

use std::time::{SystemTime, UNIX_EPOCH};

/// A printed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    text: [u8; 30],
    length: usize,
}

impl Stamp {
    /// Now.
    pub fn now() -> Self {
        // A clock before 1970 is not worth a line of output.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::at(since.as_secs(), since.subsec_nanos())
    }

    /// A time since 1970. Years of five digits are cut.
    pub fn at(seconds: u64, nanos: u32) -> Self {
        let (year, month, day) = date(seconds / 86_400);
        let second = seconds % 86_400;
        let mut printer = Printer { stamp: Self { text: [0; 30], length: 0 } };
        let fields = [
            (year, 4, b'-'),
            (month, 2, b'-'),
            (day, 2, b'T'),
            (second / 3600, 2, b':'),
            (second / 60 % 60, 2, b':'),
            (second % 60, 2, b'.'),
        ];
        for (value, digits, after) in fields {
            printer.digits(value, digits);
            printer.byte(after);
        }
        printer.digits(nanos.into(), 9);
        let mut stamp = printer.stamp;
        while stamp.bytes().last() == Some(&b'0') {
            stamp.length -= 1;
        }
        if stamp.bytes().last() == Some(&b'.') {
            stamp.length -= 1;
        }
        let mut printer = Printer { stamp };
        printer.byte(b'Z');
        printer.stamp
    }

    /// The text.
    pub fn bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

/// Writes into a stamp.
struct Printer {
    stamp: Stamp,
}

impl Printer {
    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.stamp.text.get_mut(self.stamp.length) {
            *place = byte;
            self.stamp.length += 1;
        }
    }

    fn digits(&mut self, value: u64, count: u32) {
        for place in (0..count).rev() {
            let digit = value / 10_u64.pow(place) % 10;
            self.byte(b'0' + u8::try_from(digit).unwrap_or(0));
        }
    }
}

/// Days since 1970 to year, month and day: in the 400-year cycle of the Gregorian calendar, years begin in March, so
/// that the leap day is a year's last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (cycle * 400 + year + u64::from(month <= 2), month, day - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_go_prints_them() {
        // date -u -d @N +%FT%TZ
        for (seconds, nanos, expected) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_399, 1, "2000-02-28T23:59:59.000000001Z"),
            (951_782_400, 120_000_000, "2000-02-29T00:00:00.12Z"),
            (1_709_251_199, 999_999_999, "2024-02-29T23:59:59.999999999Z"),
            (4_107_542_400, 10, "2100-03-01T00:00:00.00000001Z"),
        ] {
            assert_eq!(std::str::from_utf8(Stamp::at(seconds, nanos).bytes()), Ok(expected));
        }
    }
}
