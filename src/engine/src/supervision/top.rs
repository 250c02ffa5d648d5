//! The processes of a container (`docker top`).

use casemate_spec::wire::Ask;
use serde::Serialize;

use super::funnel::Funnel;
use super::not_running;
use crate::containers::{Container, Status};
use crate::{Engine, Failure, Result};

/// More is no listing.
const LONGEST: usize = 4 << 20;

/// A listing, as the API has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Top {
    /// A row for each process.
    pub processes: Vec<Vec<String>>,
    /// The columns.
    pub titles: Vec<String>,
}

/// Lists them, by options of ps(1); none is `-ef`.
///
/// # Errors
/// It does not run, or the options are none of ps(1).
pub async fn top(engine: &Engine, container: &Container, options: &str) -> Result<Top> {
    match container.state().status {
        Status::Running | Status::Paused => {}
        Status::Restarting => {
            let message =
                format!("Container {} is restarting, wait until the container is running", container.id);
            return Err(Failure::conflict(message));
        }
        _ => return Err(not_running(container)),
    }
    let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
    let options = if options.is_empty() { vec!["-ef".to_owned()] } else { options };
    let ask = Ask::Processes { id: container.id.clone(), options };
    let listing = Funnel::ask(&engine.broker, ask)?.whole(LONGEST).await?;
    Ok(parse(&String::from_utf8_lossy(&listing)))
}

/// Cuts lines into columns; the last one takes what is left.
fn parse(listing: &str) -> Top {
    let mut lines = listing.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let processes =
        lines.filter(|line| !line.trim().is_empty()).map(|line| row(line, titles.len())).collect();
    Top { processes, titles }
}

fn row(line: &str, columns: usize) -> Vec<String> {
    let mut cells = Vec::with_capacity(columns);
    let mut rest = line.trim();
    while cells.len() + 1 < columns {
        let Some((cell, behind)) = rest.split_once(char::is_whitespace) else { break };
        cells.push(cell.to_owned());
        rest = behind.trim_start();
    }
    cells.push(rest.to_owned());
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_column_takes_the_rest() {
        let top = parse(
            "UID          PID    PPID  C STIME TTY          TIME CMD\n\
             root       11433   11372  0 14:29 ?        00:00:00 sleep 5  x\n",
        );
        assert_eq!(top.titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        let row = ["root", "11433", "11372", "0", "14:29", "?", "00:00:00", "sleep 5  x"];
        assert_eq!(top.processes, [row.map(str::to_owned)]);
        assert_eq!(parse("").processes, Vec::<Vec<String>>::new());
        assert_eq!(parse("PID\n 1\n").processes, [["1"]]);
    }
}
