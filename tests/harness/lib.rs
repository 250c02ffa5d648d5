//! Black-box test harness: the real binary, on the real kernel, in a fresh directory for every test.
//!
//! A portable test is a closure given to [`each`]. It runs against the reference runtime first, which proves
//! the test, and then against ours. A [`Bundle`] owns everything one test makes; when it goes out of scope it
//! deletes what is left through the runtime under test, checks that nothing of it remains on the host, and
//! only then cleans up by itself.
//!
//! Environment:
//! - `CASEMATE_RUNTIME`: the binary under test; else the workspace's release build
//! - `CASEMATE_ONLY`: `ours` or `reference`, to run one of the two
//! - `CASEMATE_ENGINE_RUNTIME`: another binary in place of ours under the engines
//! - `CASEMATE_CASE`: run only the engine cases whose name contains it
//! - `CASEMATE_SKIPS`: a file to which every skipped test appends its name and reason

mod bundle;
mod cgroups;
pub mod engine;
pub mod engine_docker;
mod engine_runtime;
mod invocation;
mod leaks;
mod networks;
mod probe;
mod rootfs;
mod runtime;
mod skip;
mod terminal;

pub use bundle::{Bundle, DOCKER_CAPABILITIES, base_config};
pub use cgroups::{Cgroups, Hierarchy};
pub use engine_runtime::EngineRuntime;
pub use invocation::{Invocation, Output, Running, wait_until};
pub use leaks::{Leak, find_leaks, sweep};
pub use probe::{install_probe, probe};
pub use rootfs::make_rootfs;
pub use runtime::{Runtime, each, ours, reference, runtimes};
pub use serde_json::{Value, json};
pub use skip::skip;
pub use terminal::{ConsoleSocket, Terminal};
