//! `grade`: how contained a bundle's container will be, protection by protection.

use std::process::ExitCode;

use casemate_policy::{Grade, grade as weigh, judge};
use casemate_spec::{Error, Result};
use serde_json::json;

use super::check::DENIED;
use super::table::Table;
use crate::birth::{facts, source};
use crate::choice::{self, StoreDocument};
use crate::cli::{CheckArgs, Global, ReportFormat};

/// Prints a grade of the bundle as its policy would have it enforced.
///
/// # Errors
/// There is no bundle, or the policy denies it (exit code 3).
pub fn grade(global: &Global, args: &CheckArgs) -> Result<ExitCode> {
    let (path, bytes) = source(Some(&args.bundle))?;
    let config = casemate_spec::parse(&bytes)?;
    let chosen = choice::choose(global, config.spec.annotations().as_ref())?;
    let facts = facts(global, &config, &path, StoreDocument::load(global)?.as_ref())?;
    let admitted = judge(config, &chosen.policy, &facts).map_err(|denied| match denied.is_malformed() {
        true => Error::from(denied),
        false => Error::from(denied).exit(DENIED),
    })?;
    let grade = weigh(&admitted);
    let path = path.display().to_string();
    match args.format {
        ReportFormat::Text => super::print(&text(&path, &chosen.why, &grade)),
        ReportFormat::Json => {
            let document = document(&path, chosen.policy.name(), &chosen.why, &grade);
            super::print(&format!("{document:#}\n"))
        }
    }
}

/// The form is described in docs/policy.md.
fn document(path: &str, policy: &str, chosen: &str, grade: &Grade) -> serde_json::Value {
    let rows = grade.rows.iter().map(|row| {
        json!({
            "name": row.name, "enforced": row.enforced, "weight": row.weight, "missing": row.missing,
            "exposure": row.exposure, "exposes": row.exposes,
        })
    });
    json!({
        "bundle": path,
        "policy": {"name": policy, "chosen": chosen},
        "exposure": grade.exposure,
        "word": grade.word,
        "rows": rows.collect::<Vec<_>>(),
    })
}

fn text(path: &str, chosen: &str, grade: &Grade) -> String {
    let mut table = Table::new(["", "PROTECTION", "ENFORCED", "EXPOSURE", "EXPOSES"], [2, 24, 40, 8, 60]);
    for row in &grade.rows {
        let mark = match row.missing {
            0 => "✓",
            1..=9 => "~",
            _ => "✗",
        };
        let exposure = if row.missing == 0 { String::new() } else { format!("{:.1}", row.exposure) };
        table.row([
            mark.to_owned(),
            row.name.to_owned(),
            row.enforced.clone(),
            exposure,
            row.exposes.to_owned(),
        ]);
    }
    format!(
        "bundle   {path}\npolicy   {chosen}\n\n{}\noverall exposure {:.1} of 10: {}\n",
        table.text(),
        grade.exposure,
        grade.word
    )
}
