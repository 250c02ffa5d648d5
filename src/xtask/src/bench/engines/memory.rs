//! Memory of an engine's programs, in MB, as the kernel counts it (proc_pid_smaps(5)).

use std::fs;

use super::cases::CROWD;
use super::engine::{Engine, OURS};
use crate::failure::{Failure, Outcome};

/// Resident memory of the programs that run while nothing happens.
pub fn idle(engine: &Engine) -> Outcome<f64> {
    let programs =
        if engine.name == OURS { ["casemated", "casemate-broker"] } else { ["dockerd", "containerd"] };
    let (sum, count) = sum(&programs, &["Rss:"]);
    if count < programs.len() {
        return Err(Failure::new(engine.name, format!("{count} of {} programs were found", programs.len())));
    }
    Ok(sum)
}

/// Private memory per running container of the programs that stay beside it.
pub fn per_container(engine: &Engine) -> Outcome<f64> {
    let program = if engine.name == OURS { "casemate-shim" } else { "containerd-shim" };
    let (sum, count) = sum(&[program], &["Private_Clean:", "Private_Dirty:"]);
    if count < CROWD {
        return Err(Failure::new(engine.name, format!("{count} of {CROWD} shims were found")));
    }
    Ok(sum / count as f64)
}

/// Megabytes in these fields of all processes of these names, and how many processes there are.
fn sum(programs: &[&str], fields: &[&str]) -> (f64, usize) {
    let mut kilobytes = 0.0;
    let mut count = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let name = name.trim();
        // The kernel keeps 15 bytes of a name.
        if !programs.iter().any(|program| name == program.get(..15).unwrap_or(program)) {
            continue;
        }
        let rollup = fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
        let lines = rollup.lines().filter(|line| fields.iter().any(|field| line.starts_with(field)));
        let numbers = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        let own: f64 = numbers.sum();
        if own > 0.0 {
            kilobytes += own;
            count += 1;
        }
    }
    (kilobytes / 1000.0, count)
}
