//! Messages: to standard error for people, to `--log` for engines.
//!
//! The two forms of the log file are the ones containerd, Podman and CRI-O read after a failure. Messages before
//! [`open`] reach standard error only.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::SystemTime;

use casemate_spec::{Error, Result};

use crate::cli::{Global, LogFormat};

/// Opens what the command line names; call it once, first.
///
/// # Errors
/// The log file cannot be opened for appending.
pub fn open(global: &Global) -> Result<()> {
    let file = match &global.log {
        None => None,
        Some(path) => Some(
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o644)
                .open(path)
                .map_err(|error| Error::io(format!("open log file {}", path.display()), &error))?,
        ),
    };
    SINK.set(Sink {
        file,
        json: global.log_format == LogFormat::Json,
        debug: global.debug,
        by_cause: global.exit_by_cause,
    })
    .map_err(|_| Error::new("open log", "it is open already"))
}

/// Reports how the program failed, in both places, and gives its exit code.
pub fn failure(error: &Error) -> ExitCode {
    record(Level::Error, &format_args!("{error}"));
    match error.remedy() {
        // A place in a file, shown under what is wrong with it.
        Some(lines) if lines.contains('\n') => complain(format_args!("runtime: {error}\n{lines}\n")),
        Some(hint) => complain(format_args!("runtime: {error}\nhint: {hint}\n")),
        None => complain(format_args!("runtime: {error}\n")),
    }
    ExitCode::from(error.exit_code())
}

/// Gives an error the exit code of its cause, where the caller wants to tell causes by it (`--exit-by-cause`); engines
/// expect runc's.
#[must_use]
pub fn caused(error: Error, cause: Cause) -> Error {
    match SINK.get() {
        Some(Sink { by_cause: true, .. }) => error.exit(cause as u8),
        _ => error,
    }
}

/// What callers tell apart; the numbers are a shell's, and `check`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A policy denies the container.
    Denied = 3,
    /// The program is there and cannot be executed.
    NotExecutable = 126,
    /// The program is not there.
    NoProgram = 127,
}

/// Something the operator should know, though the command goes on.
pub fn warn(message: fmt::Arguments<'_>) {
    if !record(Level::Warning, &message) {
        complain(format_args!("runtime: warning: {message}\n"));
    }
}

/// What was decided on the way; nothing is formatted unless `--debug` is on.
pub fn debug(message: fmt::Arguments<'_>) {
    if debugging() && !record(Level::Debug, &message) {
        complain(format_args!("runtime: debug: {message}\n"));
    }
}

/// Whether `--debug` is on.
pub fn debugging() -> bool {
    SINK.get().is_some_and(|sink| sink.debug)
}

/// The time of day in RFC 3339, UTC, with nanoseconds: the form of a container's `created`.
pub fn now() -> String {
    // A clock before 1970 is not worth failing a container for.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    rfc3339(since.as_secs(), since.subsec_nanos())
}

static SINK: OnceLock<Sink> = OnceLock::new();

struct Sink {
    file: Option<File>,
    json: bool,
    debug: bool,
    by_cause: bool,
}

#[derive(Clone, Copy)]
enum Level {
    Debug,
    Warning,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Writes to the log file; says whether there is one that took it.
fn record(level: Level, message: &fmt::Arguments<'_>) -> bool {
    let Some(Sink { file: Some(file), json, .. }) = SINK.get() else { return false };
    let time = now();
    let message = quoted(&message.to_string());
    let line = if *json {
        format!("{{\"level\":\"{}\",\"msg\":{message},\"time\":\"{time}\"}}\n", level.name())
    } else {
        format!("time=\"{time}\" level={} msg={message}\n", level.name())
    };
    let mut file = file;
    file.write_all(line.as_bytes()).is_ok()
}

/// Standard error may be closed or full; there is nobody left to tell.
fn complain(text: fmt::Arguments<'_>) {
    let text = text.to_string();
    std::io::stderr().write_all(text.as_bytes()).unwrap_or_default();
}

/// A JSON string; a log line stays one line whatever the message holds.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Days to civil date by the 400-year cycle of the Gregorian calendar, counted from 1 March.
fn rfc3339(seconds: u64, nanos: u32) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let day = days + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        // date -u -d @N +%FT%TZ
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (4_102_444_800, "2100-01-01T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(rfc3339(seconds, 7), format!("{expected}.000000007Z"));
        }
    }

    #[test]
    fn a_message_stays_on_its_line() {
        assert_eq!(quoted("a\n\"b\"\u{1b}"), r#""a\n\"b\"\u001b""#);
    }
}
