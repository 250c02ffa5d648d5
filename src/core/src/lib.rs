//! The audited core: every privilege transition of Casemate, and all of its `unsafe`.
//!
//! Holds: raw system calls (`sys`), the plan of a container's birth, the stages that carry it out, giving privilege up.
//! Never: JSON, policy, threads, allocation in the child.
//! Imports: nothing of ours.
//! If broken: a container leaves its confinement.

pub mod birth;
pub mod channel;
mod child;
pub mod plan;
pub mod procfs;
pub mod report;
pub mod surrender;
pub mod sys;
pub mod userns;
