//! `ps`.

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};

use casemate_spec::{Error, Result};

use crate::cli::{Format, Global, PsArgs};
use crate::store::Root;

/// Shows the processes of a container: their ids as JSON, or those lines of ps(1) that are theirs.
///
/// # Errors
/// The container's cgroup cannot be read; ps(1) fails, or prints no `PID` column.
pub fn ps(global: &Global, args: &PsArgs) -> Result<ExitCode> {
    let container = Root::container(global, &args.target.id)?;
    let pids = match container.cgroup()? {
        Some(cgroup) => cgroup.pids().map_err(|error| error.within(&args.target.id))?,
        None => Vec::new(),
    };
    match args.format {
        Format::Json if pids.is_empty() => super::print("null\n"),
        Format::Json => {
            let text =
                serde_json::to_string(&pids).map_err(|error| Error::new("print ps", error.to_string()))?;
            super::print(&(text + "\n"))
        }
        Format::Table => super::print(&table(&listing(&args.target.rest)?, &pids)?),
    }
}

fn listing(options: &[OsString]) -> Result<String> {
    let usual = [OsString::from("-ef")];
    let output = Command::new("ps")
        .args(if options.is_empty() { &usual } else { options })
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::io("run ps", &error).hint("--format json does without ps(1)"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(Error::new("ps", text(&output.stderr).replace('\n', ", ")))
    }
}

fn table(listing: &str, pids: &[i32]) -> Result<String> {
    let mut lines = listing.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Error::new("ps", "couldn't find PID field in ps output"))?;
    let mut text = format!("{header}\n");
    for line in lines {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_containers_lines_are_kept() {
        let listing = "UID   PID  PPID CMD\nroot    1     0 init\nroot   12     1 sh\nroot  123     1 x 12";
        assert_eq!(table(listing, &[12]).ok().as_deref(), Some("UID   PID  PPID CMD\nroot   12     1 sh\n"));
        assert!(table("CMD\nsh", &[12]).is_err());
        assert!(table("", &[]).is_err());
    }
}
