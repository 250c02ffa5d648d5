//! What a recording makes for itself: a directory with a bundle whose filter hands every call to us.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use casemate_spec::{Error, Result};
use serde_json::{Map, Value, json};

use super::calls::{self, HANDING, UNWATCHED};

/// The directory and the names that belong to one recording.
#[derive(Debug)]
pub struct Workshop {
    /// Ours alone.
    pub directory: PathBuf,
    /// The container's id, and the trace instance's name.
    pub id: String,
}

/// Since then a signal does not end the wait for a listener's answer. Before, calls could fail with EINTR that never do.
const WAITS_KILLABLE: (u32, u32) = (5, 19);

/// Begins every id; the keeper takes no other.
pub const PREFIX: &str = "casemate-record-";

impl Workshop {
    /// Makes the directory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new() -> Result<Self> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let id = format!("{PREFIX}{}-{:x}", std::process::id(), now.as_nanos());
        let directory = std::env::temp_dir().join(&id);
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(|error| Error::io(format!("make {}", directory.display()), &error))?;
        Ok(Self { directory, id })
    }

    /// Where the runtime hands over the listener.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("listener")
    }

    /// Writes the bundle that is run.
    ///
    /// # Errors
    /// The kernel's.
    pub fn write(&self, config: &Value) -> Result<()> {
        let path = self.directory.join("config.json");
        std::fs::write(&path, config.to_string())
            .map_err(|error| Error::io(format!("write {}", path.display()), &error))
    }

    /// Removes the directory and what is in it.
    ///
    /// # Errors
    /// The kernel's; that it is gone is no error.
    pub fn remove(directory: &Path) -> Result<()> {
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove {}", directory.display()), &error))
            }
            _ => Ok(()),
        }
    }
}

/// The bundle's configuration as it is run: from elsewhere, with another program if one is named, and watched.
///
/// Calls that the bundle's own filter refuses stay refused; where it would let one pass, the listener is asked.
///
/// # Errors
/// The bundle has a listener of its own, or is no object.
pub fn watched(
    config: &Value,
    bundle: &Path,
    program: &[String],
    socket: &Path,
    kernel: (u32, u32),
) -> Result<(Value, Vec<String>)> {
    let mut config = config.clone();
    let object = config.as_object_mut().ok_or_else(|| Error::new("config.json", "not an object"))?;
    if let Some(path) = object.get("root").and_then(|root| root.get("path")).and_then(Value::as_str) {
        let absolute = bundle.join(path);
        set(object, "root", "path", json!(absolute));
    }
    for mount in object.get_mut("mounts").and_then(Value::as_array_mut).into_iter().flatten() {
        absolute_source(mount, bundle);
    }
    if !program.is_empty() {
        set(object, "process", "args", json!(program));
    }
    let own = object.get("linux").and_then(|linux| linux.get("seccomp")).cloned().unwrap_or(Value::Null);
    let (mut filter, unseen) = asking(&own)?;
    if kernel >= WAITS_KILLABLE {
        filter.insert("flags".to_owned(), json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]));
    }
    set(&mut filter, "", "listenerPath", json!(socket));
    set(object, "linux", "seccomp", Value::Object(filter));
    // The bundle's own container may be running in that one.
    if let Some(linux) = object.get_mut("linux").and_then(Value::as_object_mut) {
        linux.remove("cgroupsPath");
    }
    Ok((config, unseen))
}

/// The bundle's profile with every permission turned into a question, and the names of calls that cannot be asked for.
fn asking(own: &Value) -> Result<(Map<String, Value>, Vec<String>)> {
    let mut filter = match own {
        Value::Object(own) if !own.is_empty() => own.clone(),
        _ => Map::from_iter([("defaultAction".to_owned(), json!("SCMP_ACT_ALLOW"))]),
    };
    if filter.get("listenerPath").and_then(Value::as_str).is_some_and(|path| !path.is_empty()) {
        let why = "the bundle has a listener of its own, and there can be only one";
        return Err(Error::new("linux.seccomp.listenerPath", why)
            .hint("remove listenerPath and the SCMP_ACT_NOTIFY rules from the bundle to record it"));
    }
    let mut named = BTreeSet::new();
    let mut conditional = Vec::new();
    let mut rules = Vec::new();
    for rule in filter.get("syscalls").and_then(Value::as_array).into_iter().flatten() {
        let names = rule.get("names").and_then(Value::as_array).into_iter().flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
        named.extend(names.iter().map(|name| (*name).to_owned()));
        if rule.get("action").is_some_and(passes) {
            rules.extend(questions(rule, names));
            continue;
        }
        if rule.get("args").and_then(Value::as_array).is_some_and(|args| !args.is_empty()) {
            conditional.extend(names.iter().map(|name| (*name).to_owned()));
        }
        rules.push(rule.clone());
    }
    // Where all else passes, all else is asked for; only the calls that a condition is about go by unasked.
    let mut unseen = Vec::new();
    if filter.get("defaultAction").is_some_and(passes) {
        let asked = calls::all().into_iter().filter(|name| !is_silent(name) && !named.contains(*name));
        rules.push(json!({"names": asked.collect::<Vec<_>>(), "action": "SCMP_ACT_NOTIFY"}));
        unseen = conditional;
    }
    filter.insert("syscalls".to_owned(), Value::Array(rules));
    if cfg!(target_arch = "x86_64") && own.is_null() {
        filter.insert("architectures".to_owned(), json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]));
    }
    Ok((filter, unseen))
}

fn passes(action: &Value) -> bool {
    matches!(action.as_str(), Some("SCMP_ACT_ALLOW" | "SCMP_ACT_LOG"))
}

fn is_silent(name: &str) -> bool {
    UNWATCHED.contains(&name) || HANDING.contains(&name)
}

/// A rule that lets calls pass, as one that asks for them, and one for those that cannot be asked for.
fn questions(rule: &Value, names: Vec<&str>) -> Vec<Value> {
    let (silent, asked): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| is_silent(name));
    let split = [(silent, "SCMP_ACT_ALLOW"), (asked, "SCMP_ACT_NOTIFY")];
    let split = split.into_iter().filter(|(names, _)| !names.is_empty());
    split
        .map(|(names, action)| {
            let mut rule = rule.clone();
            if let Some(rule) = rule.as_object_mut() {
                rule.remove("errnoRet");
                rule.insert("names".to_owned(), json!(names));
                rule.insert("action".to_owned(), json!(action));
            }
            rule
        })
        .collect()
}

fn set(object: &mut Map<String, Value>, within: &str, key: &str, value: Value) {
    if within.is_empty() {
        object.insert(key.to_owned(), value);
        return;
    }
    let inner = object.entry(within).or_insert_with(|| json!({}));
    if let Some(inner) = inner.as_object_mut() {
        inner.insert(key.to_owned(), value);
    }
}

/// Sources of bind mounts may be relative to the bundle.
fn absolute_source(mount: &mut Value, bundle: &Path) {
    let bind = mount.get("type").and_then(Value::as_str) == Some("bind")
        || mount.get("options").and_then(Value::as_array).is_some_and(|options| {
            options.iter().any(|option| matches!(option.as_str(), Some("bind" | "rbind")))
        });
    let Some(source) = mount.get("source").and_then(Value::as_str).filter(|_| bind) else { return };
    let absolute = json!(bundle.join(source));
    if let Some(mount) = mount.as_object_mut() {
        mount.insert("source".to_owned(), absolute);
    }
}

/// Makes a directory for what a recording writes.
///
/// # Errors
/// The kernel's.
pub fn output(directory: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("make {}", directory.display()), &error);
    let there = directory.is_dir();
    std::fs::create_dir_all(directory).map_err(failed)?;
    if !there {
        // A policy that others may write to is not taken.
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(own: Value) -> (Value, Vec<String>) {
        let (filter, unseen) = asking(&own).expect("a filter");
        (Value::Object(filter), unseen)
    }

    fn action_of<'a>(filter: &'a Value, name: &str) -> Option<&'a str> {
        let rules = filter["syscalls"].as_array().expect("rules");
        rules.iter().find(|rule| rule["names"].as_array().expect("names").contains(&json!(name)))?["action"]
            .as_str()
    }

    #[test]
    fn permissions_become_questions_and_refusals_stay() {
        let (filter, unseen) = ask(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read", "sendmsg", "exit_group"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["chmod"], "action": "SCMP_ACT_KILL"},
        ]}));
        assert_eq!(action_of(&filter, "read"), Some("SCMP_ACT_NOTIFY"));
        assert_eq!(action_of(&filter, "sendmsg"), Some("SCMP_ACT_ALLOW"));
        assert_eq!(action_of(&filter, "exit_group"), Some("SCMP_ACT_ALLOW"));
        assert_eq!(action_of(&filter, "chmod"), Some("SCMP_ACT_KILL"));
        assert_eq!(action_of(&filter, "mkdir"), None);
        assert!(unseen.is_empty());
    }

    #[test]
    fn what_passes_by_default_is_asked_for() {
        let (filter, unseen) = ask(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        ]}));
        assert_eq!(action_of(&filter, "mkdir"), Some("SCMP_ACT_NOTIFY"));
        assert_eq!(action_of(&filter, "clone"), Some("SCMP_ACT_ERRNO"));
        assert_eq!(unseen, ["clone"]);
        let (filter, _) = ask(Value::Null);
        assert_eq!(action_of(&filter, "execve"), Some("SCMP_ACT_NOTIFY"));
        assert!(crate::seccomp::compile(&serde_json::from_value(filter).expect("a profile")).is_ok());
    }

    #[test]
    fn a_bundle_with_a_listener_is_not_recorded() {
        let own = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent"});
        assert!(asking(&own).is_err());
    }
}
