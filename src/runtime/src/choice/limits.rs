//! New limits for a container that is there: bounded by the policy it was made under, as the old ones were.

use casemate_policy::{HostFacts, Policy, judge};
use casemate_spec::{Config, Error, Result};
use oci_spec::runtime::{Linux, LinuxResources};
use serde_json::Value;

use super::Chosen;
use crate::log;

/// Limits that a policy has a word on, together where one depends on the other.
const RULED: [(&str, &[&str]); 4] = [
    ("memory", &["limit", "swap"]),
    ("memory", &["disableOOMKiller"]),
    ("pids", &["limit"]),
    ("cpu", &["quota", "period", "burst"]),
];

/// What of `asked` may be set for the container of `config`.
///
/// # Errors
/// The policy, or a ceiling that came after the container, denies it altogether.
pub fn bounded(
    chosen: &Chosen,
    mut config: Config,
    host: &HostFacts,
    asked: LinuxResources,
) -> Result<LinuxResources> {
    let policy = chosen.enforced();
    if policy.is_as_asked() {
        return Ok(asked);
    }
    let mut set = value(&asked)?;
    omit_zeros(&mut set);
    let linux = config.spec.linux_mut().get_or_insert_with(Linux::default);
    let mut merged = linux.resources().as_ref().map_or(Ok(Value::Null), value)?;
    merge(&mut merged, &set);
    linux.set_resources(Some(typed(merged.clone())?));
    let admitted = judge(config, policy, host)?;
    let linux = admitted.config().spec.linux().as_ref();
    let ruled = linux.and_then(|linux| linux.resources().as_ref()).map_or(Ok(Value::Null), value)?;
    refuse_swap_alone(policy, &set, &merged, &ruled)?;
    for (section, fields) in RULED {
        let named = fields.iter().any(|field| !at(&set, section, field).is_null());
        for field in fields.iter().filter(|_| named) {
            let (before, after) = (at(&merged, section, field), at(&ruled, section, field));
            if before != after {
                log::warn(format_args!(
                    "policy {policy}: linux.resources.{section}.{field} is {after}, not {before}"
                ));
                put(&mut set, section, field, after.clone());
            }
        }
    }
    keep_ruled_files(policy, &mut set, &ruled);
    typed(set)
}

/// The memory limit of creation may be another than today's, and what is allowed of swap depends on it.
fn refuse_swap_alone(policy: &Policy, set: &Value, merged: &Value, ruled: &Value) -> Result<()> {
    let alone = !at(set, "memory", "swap").is_null() && at(set, "memory", "limit").is_null();
    if alone && at(merged, "memory", "swap") != at(ruled, "memory", "swap") {
        let why = format!("policy {policy} bounds it by the memory limit, which is not named");
        return Err(Error::new("linux.resources.memory.swap", why).hint("name both limits"));
    }
    Ok(())
}

/// Files of the unified hierarchy: those that the policy would have taken out stay as they are.
fn keep_ruled_files(policy: &Policy, set: &mut Value, ruled: &Value) {
    let Some(files) = set.get_mut("unified").and_then(Value::as_object_mut) else { return };
    files.retain(|file, _| {
        let kept = !at(ruled, "unified", file).is_null();
        if !kept {
            log::warn(format_args!("policy {policy}: linux.resources.unified: {file} is left as it is"));
        }
        kept
    });
}

/// Engines write 0 for what they leave as it is.
fn omit_zeros(resources: &mut Value) {
    for (section, fields) in RULED {
        let Some(section) = resources.get_mut(section).and_then(Value::as_object_mut) else { continue };
        section.retain(|field, value| !fields.contains(&field.as_str()) || value.as_i64() != Some(0));
    }
    // A limit is all there is in it.
    if at(resources, "pids", "limit").is_null()
        && let Some(all) = resources.as_object_mut()
    {
        all.remove("pids");
    }
}

fn at<'a>(resources: &'a Value, section: &str, field: &str) -> &'a Value {
    resources.get(section).and_then(|section| section.get(field)).unwrap_or(&Value::Null)
}

fn put(resources: &mut Value, section: &str, field: &str, value: Value) {
    if let Some(section) = resources.get_mut(section).and_then(Value::as_object_mut) {
        section.insert(field.to_owned(), value);
    }
}

/// Lays `over` on `base`, field by field.
fn merge(base: &mut Value, over: &Value) {
    match (base.as_object_mut(), over.as_object()) {
        (Some(base), Some(over)) => {
            for (key, value) in over {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        _ => *base = over.clone(),
    }
}

fn value(resources: &LinuxResources) -> Result<Value> {
    serde_json::to_value(resources).map_err(failed)
}

fn typed(resources: Value) -> Result<LinuxResources> {
    serde_json::from_value(resources).map_err(failed)
}

fn failed(error: serde_json::Error) -> Error {
    Error::new("limits", error.to_string())
}
