//! Signals by the names and numbers that clients use.

use crate::{Failure, Result};

/// signal(7), for x86-64 and aarch64.
const NAMES: &[(&str, i32)] = &[
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
];

/// The first and the last of the real-time signals that a C library leaves to programs.
const REAL_TIME: (i32, i32) = (34, 64);
/// SIGKILL
pub const KILL: i32 = 9;
/// SIGTERM
pub const TERM: i32 = 15;

/// A signal as Docker takes it: `KILL`, `sigkill`, `9`, `RTMIN+3`.
///
/// # Errors
/// There is none of that name or number.
pub fn parse(text: &str) -> Result<i32> {
    let refuse = || Failure::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=REAL_TIME.1).contains(&number) { Ok(number) } else { Err(refuse()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |base: i32, rest: &str, sign: i32| {
        let offset = if rest.is_empty() { 0 } else { rest.get(1..)?.parse::<i32>().ok()? };
        let number = base + sign * offset;
        (REAL_TIME.0..=REAL_TIME.1).contains(&number).then_some(number)
    };
    let found = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => real_time(REAL_TIME.0, rest, 1),
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => real_time(REAL_TIME.1, rest, -1),
        _ => NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number),
    };
    found.ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_known() {
        for (text, number) in [
            ("KILL", 9),
            ("SIGTERM", 15),
            ("sighup", 1),
            ("9", 9),
            ("64", 64),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "-1", "NOPE", "SIG", "RTMIN+99", "RTMIN-1", "RTMAX+1", "RTMIN+", "9x"] {
            let failure = parse(text).expect_err("no signal");
            assert_eq!(failure.message, format!("invalid signal: {text}"));
        }
    }
}
