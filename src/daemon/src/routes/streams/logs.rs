//! `GET /containers/{id}/logs`.

use casemate_engine::supervision::logs::{self, Asked};
use casemate_engine::{Failure, Result};

use super::content_type;
use crate::answer::Answer;
use crate::call::{Call, Query};

pub(super) async fn logs(call: Call) -> Result<Answer> {
    let query = &call.query;
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    let framed = !container.config.tty;
    let asked = Asked {
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        follow: query.flag("follow"),
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        since: time(query, "since")?,
        until: time(query, "until")?,
        // Whatever is no number of lines, `all` above all, is all of them.
        tail: query.text("tail").and_then(|text| text.parse().ok()),
        framed,
    };
    let pieces = logs::logs(&call.engine, &container, &asked)?;
    Ok(Answer::stream(content_type(framed, call.version), pieces))
}

/// Seconds since 1970, with a fraction perhaps, in nanoseconds. 0 is none.
fn time(query: &Query, name: &str) -> Result<Option<u64>> {
    let Some(text) = query.text(name) else { return Ok(None) };
    match nanoseconds(text) {
        Some(0) => Ok(None),
        Some(time) => Ok(Some(time)),
        None => Err(Failure::invalid(format!("invalid value for \"{name}\": \"{text}\""))),
    }
}

fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    // Times before 1970 are before any line.
    let seconds: u64 = match seconds.strip_prefix('-') {
        Some(before) => before.parse::<u64>().ok().map(|_| 0)?,
        None => seconds.parse().ok()?,
    };
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: u64 = format!("{fraction:0<9}").parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_with_a_fraction() {
        for (text, time) in [
            ("1", Some(1_000_000_000)),
            ("1.5", Some(1_500_000_000)),
            ("1.000000001", Some(1_000_000_001)),
            ("0", Some(0)),
            ("-62135596800.000000000", Some(0)),
            ("1.", Some(1_000_000_000)),
            ("x", None),
            ("1.1234567890", None),
            ("1.x", None),
            ("99999999999999999999", None),
            ("18446744074", None),
        ] {
            assert_eq!(nanoseconds(text), time, "{text}");
        }
    }
}
