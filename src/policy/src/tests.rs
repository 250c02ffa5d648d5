//! The engine, over what engines really ask for.

mod admitted;
mod denied;
mod document;
mod engines;
mod generated;
mod limited;
mod properties;
mod tightened;

use casemate_spec::{Config, Error, Host};
use serde_json::{Value, json};

use crate::*;

/// This kind of host: real root, a recent kernel.
fn host() -> HostFacts {
    HostFacts {
        host: Host::default(),
        landlock_abi: 7,
        kernel: (6, 18),
        in_user_namespace: false,
        cpus: 2,
        ..HostFacts::default()
    }
}

fn policy(name: &str) -> Policy {
    Policy::builtin(name).unwrap()
}

/// A document over what it extends, from the policies compiled in.
fn written(text: &str) -> Policy {
    load(text, "test.toml", &mut Builtin)
        .unwrap_or_else(|e| panic!("{e}\n{}", e.remedy().unwrap_or_default()))
}

fn config(value: &Value) -> Config {
    casemate_spec::parse(value.to_string().as_bytes()).unwrap()
}

/// What `docker run` asks for.
fn docker() -> Value {
    serde_json::from_str(engines::text("docker")).unwrap()
}

/// The same, changed.
fn docker_with(change: impl FnOnce(&mut Value)) -> Config {
    let mut value = docker();
    change(&mut value);
    config(&value)
}

fn rules_of(denied: &Denied) -> Vec<&str> {
    denied.violations().iter().map(|violation| violation.rule).collect()
}

fn add_mount(value: &mut Value, mount: Value) {
    value["mounts"].as_array_mut().unwrap().push(mount);
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": "bind", "source": source, "options": options})
}

/// The spec after judging, as JSON.
fn enforced(config: Config, policy: &Policy) -> (Value, Vec<Change>) {
    let admitted = judge(config, policy, &host()).unwrap();
    (serde_json::to_value(&admitted.config().spec).unwrap(), admitted.changes().to_vec())
}
