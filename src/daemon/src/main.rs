//! `casemated`: the Docker Engine API behind mutual TLS.
//!
//! Holds: TLS, HTTP, authorization, the API's routes.
//! Never: privilege, a plain listener, a path of the host's.
//! Imports: engine, spec.
//! If broken: the tenants' objects are open to whoever broke it; the host is not, the broker judges every wish again.
#![forbid(unsafe_code)]

mod answer;
mod call;
mod routes;

fn main() {}
