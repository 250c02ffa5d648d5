//! The OCI runtime: command line, state, and the way from an admitted configuration to a plan for the core.
//!
//! Holds: the commands, the container's state on disk, cgroups, seccomp compilation, hooks, terminals.
//! Never: `unsafe`, a thread, a network peer.
//! Imports: `core`, `spec`, `policy`.
//! If broken: containers are started wrongly, leak, or cannot be stopped.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod birth;
pub mod cgroup;
pub mod choice;
pub mod cli;
pub mod commands;
pub mod example;
pub mod features;
pub mod hooks;
pub mod ids;
pub mod log;
pub mod netdevice;
pub mod notify;
pub mod plan;
pub mod record;
pub mod seccomp;
pub mod standby;
pub mod store;
