//! What a recording comes to, for a person.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::needs::written;
use super::seen::Seen;
use super::session::End;

/// A few lines; `admitted` are rules that the bundle itself, not the run, asked to have relaxed.
pub fn summary(
    seen: &Seen,
    capabilities: &BTreeMap<&'static str, &'static str>,
    admitted: &[String],
    end: &End,
    output: &Path,
) -> String {
    let mut text = String::new();
    let total: u64 = seen.calls.values().map(|uses| uses.count).sum();
    let needs = written(seen);
    let count = |wanted: fn(&super::seen::Access) -> bool| {
        seen.files.values().filter(|access| wanted(access)).count()
    };
    let list = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join(" ") };
    let rows = [
        ("ended", ending(end)),
        ("system calls", format!("{} different, {total} in all", seen.calls.len())),
        (
            "files",
            format!(
                "{} read, {} written, {} executed",
                count(|a| a.read),
                count(|a| a.written),
                count(|a| a.executed)
            ),
        ),
        ("writable", list(needs.paths.into_iter().collect())),
        (
            "tcp ports",
            format!("bound {}, connected {}", list(numbers(&seen.bound)), list(numbers(&seen.connected))),
        ),
        ("at most", format!("{} MiB, {} processes", seen.memory_peak >> 20, seen.processes_peak)),
        ("capabilities", list(capabilities.keys().map(|name| (*name).to_owned()).collect())),
    ];
    // Writing to a String does not fail.
    for (name, value) in rows {
        writeln!(text, "  {name:<14}{value}").unwrap_or_default();
    }
    for rule in admitted {
        writeln!(text, "  the bundle asks for what strict refuses, and gets it: {rule}").unwrap_or_default();
    }
    for note in &seen.notes {
        writeln!(text, "  note: {note}").unwrap_or_default();
    }
    let shown = output.display();
    writeln!(text, "wrote {shown}/policy.toml, {shown}/seccomp.json, {shown}/recording.json")
        .unwrap_or_default();
    writeln!(text, "run it with --policy {shown}/policy.toml").unwrap_or_default();
    let text: String = text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect();
    format!("recorded\n{text}")
}

fn ending(end: &End) -> String {
    match (end.interrupted, end.status.code()) {
        (true, _) => "when it was asked to; what it would do later is not in this recording".to_owned(),
        (false, Some(0)) => "with success".to_owned(),
        (false, _) => format!("with {}: what it would have done is not in this recording", end.status),
    }
}

fn numbers(ports: &std::collections::BTreeSet<u16>) -> Vec<String> {
    ports.iter().map(u16::to_string).collect()
}
