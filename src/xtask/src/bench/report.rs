//! The table: for the terminal, and for docs/performance.md.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::bench::case::{Case, Profile};
use crate::bench::contender::{BASELINE, Contender, HARDENED};
use crate::bench::floor::Floor;
use crate::bench::sample::{Samples, Summary};
use crate::command;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::workspace;

const OURS: &str = "casemate";
const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

/// Everything a run has found.
pub struct Report {
    contenders: Vec<(&'static str, String)>,
    has_policies: bool,
    cases: Vec<Case>,
    samples: Samples,
    rounds: usize,
}

impl Report {
    /// Puts names and versions to the samples.
    pub fn new(contenders: &[Contender], cases: &[Case], samples: Samples, rounds: usize) -> Self {
        let has_policies = contenders.iter().any(Contender::is_policy);
        let contenders = contenders
            .iter()
            .filter(|contender| !contender.is_policy())
            .map(|contender| (contender.name(), contender.version()))
            .collect();
        Self { contenders, has_policies, cases: cases.to_vec(), samples, rounds }
    }

    /// Aligned columns: median and the range from p10 to p90, then the ratios.
    pub fn as_text(&self) -> String {
        let mut text = self.tables().iter().map(|rows| aligned(rows) + "\n").collect::<String>();
        text += &self.footer();
        for (contender, case, failure) in self.samples.failures() {
            text += &format!("failed: {contender}: {}: {failure}\n", case.name());
        }
        text
    }
    /// Replaces the table in docs/performance.md.
    pub fn write(&self) -> Outcome {
        let file = workspace::root().join("docs/performance.md");
        let page = fs::read_to_string(&file).doing(file.display())?;
        let (before, rest) =
            page.split_once(BEGIN).ok_or_else(|| Failure::new(file.display(), format!("no line {BEGIN}")))?;
        let (_, after) =
            rest.split_once(END).ok_or_else(|| Failure::new(file.display(), format!("no line {END}")))?;
        let page = format!("{before}{BEGIN}\n{}\n{END}{after}", self.as_markdown());
        fs::write(&file, page).doing(file.display())
    }

    fn as_markdown(&self) -> String {
        let mut text = String::new();
        for rows in self.tables() {
            for (number, row) in rows.iter().enumerate() {
                text += &format!("| {} |\n", row.join(" | "));
                if number == 0 {
                    text += &format!("|{}\n", "---|".repeat(row.len()));
                }
            }
            text.push('\n');
        }
        text += &self.footer();
        for (contender, case, failure) in self.samples.failures() {
            // The cause alone: a page of the repository names no path of this machine.
            let cause = failure.rsplit(": ").next().unwrap_or(failure);
            text += &format!("Not measured: {contender}, {}: {cause}.\n", case.name());
        }
        text.trim_end().to_owned()
    }

    /// Ours against the peers, all adding nothing to the bundle; then what our policies cost.
    fn tables(&self) -> Vec<Vec<Vec<String>>> {
        let mut peers: Vec<&str> = self.contenders.iter().map(|(name, _)| *name).collect();
        peers.push(Floor::NAME);
        let ratios: Vec<(&str, &str)> =
            peers.iter().filter(|name| **name != OURS).map(|name| (OURS, *name)).collect();
        let mut tables = vec![self.table(&peers, &ratios, &self.cases)];
        if self.has_policies {
            let mut names = vec![BASELINE, HARDENED];
            names.extend(peers.iter().filter(|name| ![OURS, Floor::NAME].contains(name)));
            let rivals = names.iter().filter(|name| **name != HARDENED);
            let ratios: Vec<(&str, &str)> = rivals.map(|name| (HARDENED, *name)).collect();
            let cases: Vec<Case> = self.cases.iter().copied().filter(|case| case.is_of_policies()).collect();
            tables.push(self.table(&names, &ratios, &cases));
        }
        tables
    }

    fn table(&self, names: &[&str], ratios: &[(&str, &str)], cases: &[Case]) -> Vec<Vec<String>> {
        let mut head = vec!["case".to_owned()];
        head.extend(names.iter().map(|name| (*name).to_owned()));
        head.extend(ratios.iter().map(|(one, other)| format!("{one}/{other}")));
        let row = |case: &Case| {
            let mut row = vec![format!("{}, {}", case.name(), case.unit())];
            row.extend(names.iter().map(|name| self.summary(*case, name).map_or("–".into(), cell)));
            row.extend(ratios.iter().map(|(one, other)| self.ratio(*case, one, other)));
            row
        };
        std::iter::once(head).chain(cases.iter().map(row)).collect()
    }

    /// `run` with a filter is held against the same floor as `run` without.
    fn summary(&self, case: Case, name: &str) -> Option<Summary> {
        match case {
            Case::Run(_) if name == Floor::NAME => self.samples.summary(Case::Run(Profile::None), name),
            _ => self.samples.summary(case, name),
        }
    }

    fn ratio(&self, case: Case, one: &str, other: &str) -> String {
        let ratio = self
            .summary(case, one)
            .zip(self.summary(case, other))
            .map(|(one, other)| one.median / other.median);
        ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"))
    }

    fn footer(&self) -> String {
        let kernel = rustix::system::uname();
        let date = command::output(Command::new("date").args(["-u", "+%Y-%m-%d"])).unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let mut text = format!(
            "Measured {} on Linux {}, {}, {cpus} CPUs, {} rounds; median [p10–p90].\n",
            date.trim(),
            kernel.release().to_string_lossy(),
            kernel.machine().to_string_lossy(),
            self.rounds,
        );
        for (name, version) in &self.contenders {
            // Writing to a String cannot fail.
            writeln!(text, "{name}: {version}.").unwrap_or_default();
        }
        text
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn cell(summary: Summary) -> String {
    let Summary { median, p10, p90 } = summary;
    if median >= 1000.0 || p10 == p90 {
        format!("{median:.0} [{p10:.0}–{p90:.0}]")
    } else {
        format!("{median:.2} [{p10:.2}–{p90:.2}]")
    }
}
