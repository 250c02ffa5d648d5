//! The audit log: shown, and checked. docs/audit.md is its form.

mod chain;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use casemate_spec::{Error, Result};
use clap::Subcommand;
use serde_json::Value;

use crate::place::Place;
use chain::Chain;

/// `casemate audit`
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Check that no line was changed, removed or added; exit status 3 when one was
    Verify {
        /// What an earlier `verify` or a copy of the head said: SEQ HASH, which must be in the log
        #[arg(long, num_args = 2, value_names = ["SEQ", "HASH"])]
        known: Vec<String>,
    },
    /// Print the log
    Log {
        /// As it is written, a JSON object a line
        #[arg(long)]
        json: bool,
        /// The last lines alone
        #[arg(short = 'n', long, value_name = "COUNT")]
        tail: Option<usize>,
        /// Lines alone that hold this text
        #[arg(long, value_name = "TEXT")]
        about: Option<String>,
    },
}

/// Runs one of them.
///
/// # Errors
/// The log cannot be read.
pub fn run(verb: &AuditVerb, data_root: &Path) -> Result<ExitCode> {
    let place = Place::find(data_root)?;
    let folder = place.data.join("audit");
    match verb {
        AuditVerb::Verify { known } => verify(&folder, known),
        AuditVerb::Log { json, tail, about } => show(&folder, *json, *tail, about.as_deref()),
    }
}

/// The files, the oldest first.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| Error::io(folder.display().to_string(), &error);
    let mut numbered = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let number = match name.to_str() {
            Some("audit.log") => Some(0),
            Some(name) => name.strip_prefix("audit.log.").and_then(|number| number.parse::<u32>().ok()),
            None => None,
        };
        numbered.extend(number.map(|number| (number, entry.path())));
    }
    numbered.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    Ok(numbered.into_iter().map(|(_, path)| path).collect())
}

fn verify(folder: &Path, known: &[String]) -> Result<ExitCode> {
    // Read first: lines may be added meanwhile, and the log is never behind the head.
    let head = std::fs::read_to_string(folder.join("head")).ok();
    let mut chain = Chain::default();
    for file in files(folder)? {
        let open = std::fs::File::open(&file).map_err(|e| Error::io(file.display().to_string(), &e))?;
        chain.read(&file, BufReader::new(open))?;
    }
    match head.as_deref().and_then(|head| head.trim_end().split_once(' ')) {
        Some((sequence, hash)) => chain.must_hold("head", sequence, hash),
        None => chain.problem("head: it is missing or cannot be read"),
    }
    if let [sequence, hash] = known {
        chain.must_hold("--known", sequence, hash);
    }
    for problem in &chain.problems {
        println!("{problem}");
    }
    if !chain.problems.is_empty() {
        println!("audit log: {} lines, {} problems", chain.lines, chain.problems.len());
        return Ok(ExitCode::from(3));
    }
    println!("audit log: {} lines, unbroken", chain.lines);
    if let Some((sequence, hash)) = chain.last() {
        println!("{sequence} {hash}");
    }
    Ok(ExitCode::SUCCESS)
}

fn show(folder: &Path, json: bool, tail: Option<usize>, about: Option<&str>) -> Result<ExitCode> {
    let mut lines = Vec::new();
    for file in files(folder)? {
        let failed = |error: std::io::Error| Error::io(file.display().to_string(), &error);
        let open = std::fs::File::open(&file).map_err(failed)?;
        for line in BufReader::new(open).lines() {
            let line = line.map_err(failed)?;
            if about.is_none_or(|about| line.contains(about)) {
                lines.push(line);
            }
            // Nothing before the last ones will be printed.
            if tail.is_some_and(|tail| lines.len() > tail.saturating_mul(2).max(1024)) {
                lines.drain(..lines.len() - tail.unwrap_or(0));
            }
        }
    }
    let first = lines.len().saturating_sub(tail.unwrap_or(usize::MAX));
    let mut output = std::io::stdout().lock();
    for line in &lines[first..] {
        let text = if json { line.clone() } else { readable(line) };
        match writeln!(output, "{text}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(Error::io("standard output", &error)),
            Ok(()) => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Time, event, and the fields that say something.
fn readable(line: &str) -> String {
    let Ok(Value::Object(entry)) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    let nanoseconds = entry.get("time").and_then(Value::as_i64).unwrap_or_default();
    let time = jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default();
    let event = entry.get("event").and_then(Value::as_str).unwrap_or_default();
    let known = ["seq", "time", "prev", "event", "hash"];
    let fields = entry.iter().filter(|(key, value)| !known.contains(&key.as_str()) && **value != "");
    let fields = fields.map(|(key, value)| match value.as_str() {
        // What came from elsewhere must not act on the reader's terminal.
        Some(text) if key == "id" || key == "exec" => format!("{key}={}", text.get(..12).unwrap_or(text)),
        Some(text) => format!("{key}={}", text.escape_debug()),
        None => format!("{key}={value}"),
    });
    format!("{time:.3} {event:<20} {}", fields.collect::<Vec<_>>().join(" "))
}
