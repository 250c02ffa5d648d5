//! dockerd on top of the runtime: what people type, and what they see.

mod confinement;
mod daemon;
mod hardened;
mod lifecycle;
mod namespaces;
mod policies;
mod resources;
mod sessions;
mod storage;

use casemate_tests::EngineRuntime;
use casemate_tests::engine::{Case, cases_but, run_cases};
use casemate_tests::engine_docker::Docker;

/// Creating a container is mostly waiting for the kernel, so more cases than processors run at once.
const AT_ONCE: usize = 6;

const TABLES: &[&[Case<Docker>]] = &[
    lifecycle::CASES,
    sessions::CASES,
    confinement::CASES,
    namespaces::CASES,
    storage::CASES,
    resources::CASES,
];

#[test]
fn docker_with_runc() {
    all_cases("runc");
}

#[test]
fn docker_with_casemate() {
    all_cases("casemate");
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

#[test]
fn docker_under_baseline() {
    if let Some(runtime) = EngineRuntime::under("baseline") {
        check(&runtime, &cases_but(TABLES, policies::NOT_UNDER_BASELINE));
    }
}

/// The runtime is told nothing: this is its default.
#[test]
fn docker_under_hardened() {
    if let Some(runtime) = EngineRuntime::untold() {
        let everyday = cases_but(TABLES, policies::NOT_UNDER_HARDENED);
        check(&runtime, &everyday.into_iter().chain(hardened::CASES).collect::<Vec<_>>());
    }
}

fn all_cases(runtime: &str) {
    if let Some(runtime) = EngineRuntime::find(runtime) {
        check(&runtime, &cases_but(TABLES, &[]));
    }
}

fn check(runtime: &EngineRuntime, cases: &[&Case<Docker>]) {
    let docker = Docker::start(runtime, &[]);
    run_cases(&docker, AT_ONCE, cases);
    daemon::leaves_nothing(&docker);
}
