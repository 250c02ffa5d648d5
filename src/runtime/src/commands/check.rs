//! `check`: for every protection what the bundle asks, what is enforced, and which rule says so.

use std::fmt::Write;
use std::process::ExitCode;

use casemate_policy::{Admitted, Change, Denied, Grade, Protection, grade, judge};
use casemate_spec::{Error, Result, Violation};
use serde_json::{Value, json};

use super::table::Table;
use crate::birth::{facts, source};
use crate::choice::{self, Chosen, StoreDocument};
use crate::cli::{CheckArgs, Global, ReportFormat};

/// What `check` exits with when the policy denies the bundle.
pub const DENIED: u8 = 3;

/// Prints what becomes of a bundle; nothing is created, and nothing written to the audit log.
///
/// # Errors
/// There is no bundle, or it is no container's whatever the policy.
pub fn check(global: &Global, args: &CheckArgs) -> Result<ExitCode> {
    let (path, bytes) = source(Some(&args.bundle))?;
    let config = casemate_spec::parse(&bytes)?;
    let chosen = choice::choose(global, config.spec.annotations().as_ref())?;
    let facts = facts(global, &config, &path, StoreDocument::load(global)?.as_ref())?;
    let verdict = match judge(config, &chosen.policy, &facts) {
        Err(denied) if denied.is_malformed() => return Err(Error::from(denied)),
        verdict => verdict,
    };
    let text = match args.format {
        ReportFormat::Text => text(&path.display().to_string(), &chosen, &verdict),
        ReportFormat::Json => format!("{:#}\n", document(&path.display().to_string(), &chosen, &verdict)),
    };
    super::print(&text)?;
    Ok(if verdict.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
}

/// The form is described in docs/policy.md.
fn document(path: &str, chosen: &Chosen, verdict: &Result<Admitted, Denied>) -> Value {
    let (protections, changes, violations) = parts(verdict);
    let grade = verdict.as_ref().ok().map(grade);
    let exposure = |row: usize| grade.as_ref().and_then(|grade| grade.rows.get(row)).map(|row| row.exposure);
    json!({
        "bundle": path,
        "policy": {"name": chosen.policy.name(), "chosen": chosen.why, "audit": chosen.audit},
        "verdict": if verdict.is_ok() { "admitted" } else { "denied" },
        "grade": grade.as_ref().map(|Grade { word, exposure, .. }| json!({"word": word, "exposure": exposure})),
        "protections": protections.iter().enumerate().map(|(number, row)| json!({
            "name": row.name, "asked": row.asked, "enforced": row.enforced, "rule": row.rule,
            "exposes": row.exposes, "exposure": exposure(number),
        })).collect::<Vec<_>>(),
        "changes": changes.iter().map(|change| json!({
            "rule": change.rule, "field": change.field, "asked": change.asked, "enforced": change.enforced,
        })).collect::<Vec<_>>(),
        "violations": violations.iter().map(|violation| json!({
            "rule": violation.rule, "field": violation.field, "asked": violation.asked,
            "allowed": violation.allowed, "remedy": violation.remedy,
        })).collect::<Vec<_>>(),
    })
}

fn text(path: &str, chosen: &Chosen, verdict: &Result<Admitted, Denied>) -> String {
    let (protections, changes, violations) = parts(verdict);
    let mut text = format!("bundle   {path}\npolicy   {}\n", chosen.why);
    let mut say = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    say(&match violations.len() {
        0 => "verdict  admitted".to_owned(),
        1 => "verdict  denied: 1 rule is broken".to_owned(),
        count => format!("verdict  denied: {count} rules are broken"),
    });
    if chosen.audit {
        say("audit    only tried: what is denied or tightened here would pass, and be logged");
    }
    if !violations.is_empty() {
        say(&format!("\ndenied\n{}", denials(violations).trim_end()));
    }
    if !changes.is_empty() {
        let mut table = Table::new(["TIGHTENED", "ASKED", "ENFORCED", "RULE"], [44, 34, 34, 40]);
        for Change { rule, field, asked, enforced } in changes {
            table.row([field.clone(), asked.clone(), enforced.clone(), (*rule).to_string()]);
        }
        say(&format!("\n{}", table.text().trim_end()));
    }
    if !protections.is_empty() {
        let mut table = Table::new(["PROTECTION", "ASKED", "ENFORCED", "RULE"], [24, 34, 44, 40]);
        for Protection { name, asked, enforced, rule, .. } in protections {
            table.row([(*name).to_string(), asked.clone(), enforced.clone(), rule.to_string()]);
        }
        say(&format!("\n{}", table.text().trim_end()));
    }
    text
}

fn denials(violations: &[Violation]) -> String {
    let mut text = String::new();
    for Violation { rule, field, asked, allowed, remedy } in violations {
        // Writing to a String does not fail.
        writeln!(text, "  {field}: {asked}\n      rule     {rule}\n      allowed  {allowed}")
            .unwrap_or_default();
        if let Some(remedy) = remedy {
            writeln!(text, "      remedy   {remedy}").unwrap_or_default();
        }
    }
    text
}

fn parts(verdict: &Result<Admitted, Denied>) -> (&[Protection], &[Change], &[Violation]) {
    match verdict {
        Ok(admitted) => (admitted.protections(), admitted.changes(), &[]),
        Err(denied) => (denied.protections(), denied.changes(), denied.violations()),
    }
}
