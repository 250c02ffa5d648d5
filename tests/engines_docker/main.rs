//! dockerd on top of the runtime: what people type, and what they see.

mod baseline;
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
    daemon::userns_remap(EngineRuntime::find("runc"), &[]);
}

#[test]
fn userns_remap_with_casemate() {
    daemon::userns_remap(EngineRuntime::find("casemate"), &[]);
}

#[test]
fn userns_remap_under_baseline() {
    daemon::userns_remap(EngineRuntime::under("baseline"), policies::NOT_REMAPPED);
}

#[test]
fn userns_remap_under_hardened() {
    daemon::userns_remap(EngineRuntime::untold(), policies::NOT_REMAPPED);
}

#[test]
fn live_restore_with_runc() {
    daemon::live_restore(EngineRuntime::find("runc"));
}

#[test]
fn live_restore_with_casemate() {
    daemon::live_restore(EngineRuntime::find("casemate"));
}

#[test]
fn live_restore_under_hardened() {
    daemon::live_restore(EngineRuntime::untold());
}

#[test]
fn docker_under_baseline() {
    if let Some(runtime) = EngineRuntime::under("baseline") {
        let everyday = cases_but(TABLES, policies::NOT_UNDER_BASELINE);
        check(&runtime, &everyday.into_iter().chain(baseline::CASES).collect::<Vec<_>>());
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
