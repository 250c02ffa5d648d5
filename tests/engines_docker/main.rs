//! dockerd on top of the runtime: what people type, and what they see.

mod confinement;
mod daemon;
mod lifecycle;
mod namespaces;
mod resources;
mod sessions;
mod storage;

use casemate_tests::EngineRuntime;
use casemate_tests::engine::{Case, run_cases};
use casemate_tests::engine_docker::Docker;

/// Creating a container is mostly waiting for the kernel, so more cases than processors run at once.
const AT_ONCE: usize = 6;

#[test]
fn docker_with_runc() {
    all_cases("runc", &[]);
}

#[test]
fn docker_with_casemate() {
    all_cases("casemate", &[]);
}

#[test]
fn userns_remap_with_runc() {
    daemon::userns_remap("runc");
}

#[test]
fn userns_remap_with_casemate() {
    daemon::userns_remap("casemate");
}

#[test]
fn live_restore_with_runc() {
    daemon::live_restore("runc");
}

#[test]
fn live_restore_with_casemate() {
    daemon::live_restore("casemate");
}

fn all_cases(runtime: &str, flags: &[&str]) {
    let Some(runtime) = EngineRuntime::find(runtime) else { return };
    let docker = Docker::start(&runtime, flags);
    let tables = [
        lifecycle::CASES,
        sessions::CASES,
        confinement::CASES,
        namespaces::CASES,
        storage::CASES,
        resources::CASES,
    ];
    let cases: Vec<&Case<Docker>> = tables.iter().flat_map(|table| table.iter()).collect();
    run_cases(&docker, AT_ONCE, &cases);
    daemon::leaves_nothing(&docker);
}
