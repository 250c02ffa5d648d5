//! The daemon itself: version, info, events.

use std::process::ExitCode;

use casemate_spec::{Error, Result};
use clap::Subcommand;
use hyper::Method;

use crate::client::{Client, lines};

/// What may be asked of the daemon.
#[derive(Debug, Subcommand)]
pub enum SystemVerb {
    /// Print versions of client and daemon
    Version,
    /// Print what the daemon says of itself and its host, as JSON
    Info,
    /// Print what happens, a line each, as JSON
    Events,
}

/// Runs one of them.
///
/// # Errors
/// The daemon says no.
pub async fn system(client: &Client, verb: &SystemVerb) -> Result<ExitCode> {
    match verb {
        SystemVerb::Version => {
            let version = client.call(Method::GET, "/version", None).await?;
            println!("client {}", env!("CARGO_PKG_VERSION"));
            println!(
                "daemon {} (API {}, from {})",
                version["Version"].as_str().unwrap_or_default(),
                version["ApiVersion"].as_str().unwrap_or_default(),
                version["MinAPIVersion"].as_str().unwrap_or_default()
            );
        }
        SystemVerb::Info => {
            let info = client.call(Method::GET, "/info", None).await?;
            let text =
                serde_json::to_string_pretty(&info).map_err(|error| Error::new("info", error.to_string()))?;
            println!("{text}");
        }
        SystemVerb::Events => {
            let response = client.stream(Method::GET, "/events", None).await?;
            lines(response.into_body(), |event| {
                println!("{event}");
                Ok(true)
            })
            .await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
