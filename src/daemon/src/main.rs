//! `casemated`: the Docker Engine API behind mutual TLS.
//!
//! Holds: TLS, HTTP, authorization, the API's routes.
//! Never: privilege, a plain listener, a path of the host's.
//! Imports: engine, spec.
//! If broken: the tenants' objects are open to whoever broke it; the host is not, the broker judges every wish again.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use casemate_daemon::{Arguments, check_config, serve, test_policies};

fn main() -> ExitCode {
    let outcome = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Arguments::Serve(places)) => serve(&places),
        Ok(Arguments::CheckConfig(file)) => check_config(&file),
        Ok(Arguments::TestPolicies(places, file)) => return test_policies(&places, &file),
        Ok(Arguments::Version) => {
            println!("casemated {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Err(message) => Err(message),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("casemated: {message}");
            ExitCode::FAILURE
        }
    }
}
