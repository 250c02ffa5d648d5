//! The engine: images, containers, volumes and what is known of them, for many tenants, without privilege.
//!
//! Holds: metadata, the lifecycle of containers, images and registries; asks the broker for everything that needs
//! privilege.
//! Never: HTTP of the API, TLS of the API, authorization, privilege.
//! Imports: spec.
//! If broken: one tenant sees or touches what is another's; nothing of the host, which the broker guards.
#![forbid(unsafe_code)]

pub mod broker;
mod caller;
pub mod clock;
pub mod containers;
pub mod db;
mod engine;
pub mod events;
mod failure;
pub mod files;
pub mod filters;
pub mod images;
pub mod networks;
pub mod supervision;

pub use caller::Caller;
pub use engine::{Engine, Quota, Settings};
pub use failure::{Failure, Kind, Result};
