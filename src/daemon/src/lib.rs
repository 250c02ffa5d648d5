//! The Docker Engine API behind mutual TLS, as a library, so that tests and fuzz targets reach its parts. The program is
//! `casemated`.
//!
//! Holds: TLS, HTTP, authorization, the API's routes.
//! Never: privilege, a plain listener, a path of the host's.
//! Imports: engine, spec.
//! If broken: the tenants' objects are open to whoever broke it; the host is not, the broker judges every wish again.
#![forbid(unsafe_code)]

pub mod answer;
mod arguments;
pub mod authority;
pub mod call;
pub mod config;
pub mod hijack;
pub mod identity;
mod metrics;
pub mod router;
pub mod routes;
mod server;
mod service;
mod start;
mod tls;

pub use arguments::{Arguments, Places};
pub use start::{check_config, serve, test_policies};
