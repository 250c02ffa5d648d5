//! TOML documents that people write: read strictly, and every fault shown where it stands.

use std::ops::Range;

use casemate_spec::Error;
use serde::de::DeserializeOwned;

/// The largest document accepted, in bytes: 256 KiB.
pub const MAX_BYTES: usize = 256 << 10;

/// Reads a document whose types deny unknown keys (`#[serde(deny_unknown_fields)]`).
///
/// # Errors
/// `ORIGIN:LINE:COLUMN: what`, and in the hint the line with a marker beneath.
pub fn read<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, Error> {
    if text.len() > MAX_BYTES {
        return Err(Error::new(origin, format!("more than {MAX_BYTES} bytes")));
    }
    toml::from_str(text).map_err(|error| at(text, origin, error.span(), error.message()))
}

/// An error about the bytes `span` of `text`: `ORIGIN:LINE:COLUMN: what`, and the line with a marker in the hint.
pub fn at(text: &str, origin: &str, span: Option<Range<usize>>, what: &str) -> Error {
    let what = what.replace('\n', "; ");
    let Some(span) = span else { return Error::new(origin, what) };
    let start = line_start(text, span.start);
    let shown = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    let marked = text.get(span.start..span.end.min(start + shown.len()).max(span.start)).unwrap_or_default();
    // A marker that lines up whatever tabs the line begins with.
    let before = text.get(start..span.start).unwrap_or_default();
    let pad: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    let marker = "^".repeat(marked.chars().count().max(1));
    Error::new(place(text, origin, &span), what).hint(format!("\n{shown}\n{pad}{marker}"))
}

/// `ORIGIN:LINE:COLUMN` of where `span` begins, counted from 1 in lines and characters.
pub(crate) fn place(text: &str, origin: &str, span: &Range<usize>) -> String {
    let before = text.get(..span.start).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.get(line_start(text, span.start)..).unwrap_or_default().chars().count() + 1;
    format!("{origin}:{line}:{column}")
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).rfind('\n').map_or(0, |newline| newline + 1)
}
