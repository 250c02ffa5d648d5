//! Time as clients read it.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// What Go prints for no time at all.
pub const ZERO: &str = "0001-01-01T00:00:00Z";

/// Nanoseconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// RFC 3339 with nine digits of a second, as Docker writes it; [`ZERO`] for 0.
pub fn rfc3339(nanoseconds: u64) -> String {
    if nanoseconds == 0 {
        return ZERO.to_owned();
    }
    match Timestamp::from_nanosecond(i128::from(nanoseconds)) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => ZERO.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_nine_digits() {
        assert_eq!(rfc3339(1_700_000_000_000_000_001), "2023-11-14T22:13:20.000000001Z");
        assert_eq!(rfc3339(1_700_000_000_000_000_000), "2023-11-14T22:13:20.000000000Z");
        assert_eq!(rfc3339(0), ZERO);
    }
}
