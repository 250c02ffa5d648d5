//! What the policy makes of a container: told at create, kept for inspect.

use std::collections::BTreeMap;

use casemate_spec::wire::{Answer, Ask};
use serde_json::{Value, json};

use super::wire::{Purpose, translate};
use super::{Container, HostConfig, capabilities, security};
use crate::{Engine, Failure, Kind, Result};

/// Has a container judged.
///
/// # Errors
/// The policy denies it, with everything that stands against it; or the broker cannot.
pub async fn judge(engine: &Engine, container: &Container) -> Result<Value> {
    let report = report(engine, container).await?;
    if report["verdict"] == "denied" {
        return Err(denied(&report));
    }
    Ok(report)
}

/// What the policy says of a container, whether or not it denies it.
///
/// # Errors
/// The broker cannot have it judged.
pub async fn report(engine: &Engine, container: &Container) -> Result<Value> {
    let asked = translate(engine, container, Purpose::Check)?;
    let ask = Ask::Check { id: container.id.clone(), container: Box::new(asked) };
    let report = match engine.broker.ask(ask).await? {
        (Answer::Judged { report }, _) => report,
        (other, _) => return Err(Failure::failed(format!("the broker answered something else: {other:?}"))),
    };
    let mut report: Value = serde_json::from_str(&report)
        .map_err(|error| Failure::failed(format!("the runtime's report: {error}")))?;
    // Where the bundle was is the broker's own business.
    if let Some(report) = report.as_object_mut() {
        report.remove("bundle");
    }
    Ok(report)
}

/// Everything at once: whoever mends one thing should not learn of the next only then.
fn denied(report: &Value) -> Failure {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let violations = report["violations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut message = format!("denied by policy {}:", report["policy"]["name"]);
    for violation in violations {
        let (rule, field) = (text(violation, "rule"), text(violation, "field"));
        let (asked, allowed) = (text(violation, "asked"), text(violation, "allowed"));
        message.push_str(&format!("\n  {field}: {asked} ({rule} allows {allowed})"));
        if let Some(remedy) = violation["remedy"].as_str() {
            message.push_str(&format!("; remedy: {remedy}"));
        }
    }
    Failure::new(Kind::Forbidden, message)
}

/// What inspect shows: which policy, what it made of the request, and which grade that is.
pub fn kept(report: &Value) -> Value {
    let protections = report["protections"].as_array().map(Vec::as_slice).unwrap_or_default();
    let exposed: Vec<&Value> =
        protections.iter().filter(|row| row["asked"] != row["enforced"]).map(|row| &row["name"]).collect();
    let enforced = protections.iter().filter_map(|row| Some((row["name"].as_str()?, &row["enforced"])));
    json!({
        "Policy": report["policy"]["name"],
        "Chosen": report["policy"]["chosen"],
        "Verdict": report["verdict"],
        "Grade": report["grade"]["word"],
        "Exposure": report["grade"]["exposure"],
        "Protections": enforced.collect::<BTreeMap<_, _>>(),
        "Changes": report["changes"],
        "Tightened": exposed,
    })
}

/// One line for each thing that was asked for by name and is not granted. What the policy does to everybody is none.
pub fn warnings(report: &Value, asked: &HostConfig) -> Vec<String> {
    let policy = report["policy"]["name"].as_str().unwrap_or_default();
    let changes = report["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut warnings = Vec::new();
    if asked.privileged && !changes.is_empty() {
        warnings.push(format!(
            "policy {policy}: --privileged is granted as far as the policy admits, and no further"
        ));
    }
    for change in changes {
        let text = |key: &str| change[key].as_str().unwrap_or_default();
        if let Some(what) = missed(text("field"), text("asked"), text("enforced"), asked) {
            let line = format!("policy {policy}: {what}");
            if !warnings.contains(&line) {
                warnings.push(line);
            }
        }
    }
    warnings
}

fn missed(field: &str, was: &str, is: &str, asked: &HostConfig) -> Option<String> {
    let limits = [
        ("linux.resources.memory.limit", asked.memory != 0, "memory limit"),
        ("linux.resources.pids.limit", asked.pids_limit.is_some(), "pids limit"),
        ("linux.resources.cpu.quota", asked.nano_cpus != 0 || asked.cpu_quota != 0, "CPU limit"),
        ("linux.resources.memory.disableOOMKiller", true, "--oom-kill-disable"),
        ("process.oomScoreAdj", true, "--oom-score-adj"),
    ];
    if let Some((_, named, what)) = limits.iter().find(|(name, ..)| *name == field) {
        return named.then(|| format!("{what} {was}: {is} instead"));
    }
    match field {
        "process.capabilities.bounding" if !asked.privileged => {
            let added = capabilities::added(asked);
            let lost = was.split(' ').filter(|name| {
                let full = if name.starts_with("CAP_") { (*name).to_owned() } else { format!("CAP_{name}") };
                added.contains(&full) || added.contains("ALL")
            });
            let lost: Vec<&str> = lost.collect();
            (!lost.is_empty()).then(|| format!("--cap-add is not granted: {}", lost.join(" ")))
        }
        // What it has not asked for it is not told of: the host's ids are everybody's where nothing is said.
        "linux.namespaces" if was == "the host's ids" && asked.userns_mode != "host" => None,
        "linux.namespaces" if was.starts_with("the host's") => Some(format!("{was}: {is} instead")),
        "linux.resources.memory.swap" => {
            let by_name = asked.memory_swap != 0 && asked.memory_swap != asked.memory.saturating_mul(2);
            (by_name && asked.memory_swap != asked.memory).then(|| format!("swap: {is}"))
        }
        "process.noNewPrivileges" => {
            let expressly = security::read(asked).ok()?.no_new_privileges == Some(false);
            expressly.then(|| "no-new-privileges stays on".to_owned())
        }
        "linux.maskedPaths" | "linux.readonlyPaths" if !asked.privileged => {
            let given =
                if field == "linux.maskedPaths" { &asked.masked_paths } else { &asked.readonly_paths };
            given.as_ref().map(|_| "system paths stay masked and read-only".to_owned())
        }
        _ if field.starts_with("process.rlimits[") => {
            let name = field.trim_start_matches("process.rlimits[").trim_end_matches(']');
            let by_name = asked
                .ulimits
                .iter()
                .flatten()
                .any(|limit| name.eq_ignore_ascii_case(&format!("RLIMIT_{}", limit.name)));
            by_name.then(|| format!("ulimit {name} {was}: {is} instead"))
        }
        _ if field.starts_with("linux.sysctl") => {
            let named = asked.sysctls.iter().flatten().any(|(name, _)| field.contains(name.as_str()));
            named.then(|| format!("{field} {was}: {is} instead"))
        }
        _ if field.starts_with("linux.devices") => Some(format!("device {was}: {is}")),
        _ if field.starts_with("mounts[") && is.split(',').any(|word| word == "ro") => {
            Some(format!("{field} {was}: read-only instead"))
        }
        "linux.seccomp" => None,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(changes: Value) -> Value {
        json!({ "policy": { "name": "hardened" }, "verdict": "admitted", "changes": changes, "protections": [] })
    }

    #[test]
    fn only_what_was_asked_by_name_is_a_warning() {
        let usual = report(json!([
            { "field": "root.readonly", "asked": "writable", "enforced": "read-only" },
            { "field": "process.noNewPrivileges", "asked": "off", "enforced": "on" },
            { "field": "process.capabilities.bounding", "asked": "MKNOD NET_RAW SYS_ADMIN", "enforced": "CHOWN" },
            { "field": "linux.resources.memory.limit", "asked": "none", "enforced": "1GiB" },
            { "field": "process.rlimits[RLIMIT_CORE]", "asked": "unlimited", "enforced": "0" },
        ]));
        assert_eq!(warnings(&usual, &HostConfig::default()), Vec::<String>::new());
        let asked = HostConfig {
            cap_add: Some(vec!["sys_admin".to_owned()]),
            security_opt: Some(vec!["no-new-privileges=false".to_owned()]),
            memory: 8 << 30,
            ulimits: Some(vec![crate::containers::Ulimit { name: "core".to_owned(), soft: -1, hard: -1 }]),
            ..HostConfig::default()
        };
        let told = warnings(&usual, &asked);
        assert_eq!(
            told,
            [
                "policy hardened: no-new-privileges stays on",
                "policy hardened: --cap-add is not granted: SYS_ADMIN",
                "policy hardened: memory limit none: 1GiB instead",
                "policy hardened: ulimit RLIMIT_CORE unlimited: 0 instead",
            ]
        );
    }

    #[test]
    fn a_denial_names_everything() {
        let report = json!({ "policy": { "name": "hardened" }, "verdict": "denied", "violations": [
            { "rule": "namespaces", "field": "linux.namespaces", "asked": "the host's network", "allowed": "its own", "remedy": null },
            { "rule": "mounts", "field": "mounts[7]", "asked": "/", "allowed": "others", "remedy": "[mounts] x" },
        ]});
        let failure = denied(&report);
        assert_eq!(failure.kind, Kind::Forbidden);
        assert_eq!(failure.message.lines().count(), 3);
        assert!(failure.message.ends_with("mounts[7]: / (mounts allows others); remedy: [mounts] x"));
    }
}
