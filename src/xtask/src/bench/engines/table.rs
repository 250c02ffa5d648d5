//! The tables of both engines: for the terminal, and for docs/performance.md.

use std::fs;

use super::engine;
use crate::bench::sample::median;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::workspace;

/// A line of a table.
pub struct Row {
    pub name: &'static str,
    pub unit: &'static str,
    /// What we want of the ratio, or of ours.
    pub wanted: &'static str,
    /// Ours, then dockerd's.
    pub values: [Vec<f64>; 2],
}

/// Prints a table, and puts it where docs/performance.md has the marks of this name.
pub fn show(mark: &str, rows: &[Row], how: &str, write: bool) -> Outcome {
    let table = table(rows, how);
    print!("{table}");
    if write { put(mark, &table) } else { Ok(()) }
}

fn table(rows: &[Row], how: &str) -> String {
    let mut text =
        "| case | casemated | dockerd | casemated/dockerd | wanted |\n|---|---|---|---|---|\n".to_owned();
    for Row { name, unit, wanted, values: [ours, peer] } in rows {
        let (Some(ours), Some(peer)) = (median(ours), median(peer)) else { continue };
        let (ratio, ours, peer) = (ours / peer, shown(ours), shown(peer));
        text.push_str(&format!("| {name}, {unit} | {ours} | {peer} | {ratio:.2} | {wanted} |\n"));
    }
    let kernel = rustix::system::uname();
    text + &format!(
        "\n{how} on Linux {}; docker client {}, dockerd {}.\n",
        kernel.release().to_string_lossy(),
        engine::version(&["docker", "--version"]),
        engine::version(&["dockerd", "--version"]),
    )
}

/// Three digits, or as many as stand before the point.
fn shown(value: f64) -> String {
    match value {
        value if value < 1.0 => format!("{value:.3}"),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 1000.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

fn put(mark: &str, table: &str) -> Outcome {
    let [begin, end] = ["begin", "end"].map(|which| format!("<!-- {mark}: {which} -->"));
    let file = workspace::root().join("docs/performance.md");
    let page = fs::read_to_string(&file).doing(file.display())?;
    let missing = |mark: &str| Failure::new(file.display(), format!("no line {mark}"));
    let (before, rest) = page.split_once(&begin).ok_or_else(|| missing(&begin))?;
    let (_, after) = rest.split_once(&end).ok_or_else(|| missing(&end))?;
    fs::write(&file, format!("{before}{begin}\n{table}{end}{after}")).doing(file.display())
}
