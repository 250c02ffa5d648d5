//! Containers: list, logs, inspect, stop, remove.

use std::io::Write as _;
use std::process::ExitCode;

use bytes::{Buf, BytesMut};
use casemate_spec::{Error, Result};
use clap::Subcommand;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::Value;

use super::escaped;
use super::table::{self, ago};
use crate::client::{Client, NOT_FOUND};

/// What may be done with containers.
#[derive(Debug, Subcommand)]
pub enum ContainerVerb {
    /// List containers
    Ps {
        /// Those that do not run, too
        #[arg(short, long)]
        all: bool,
        /// Ids alone
        #[arg(short, long)]
        quiet: bool,
    },
    /// Print what a container has written
    Logs {
        /// Go on as it writes
        #[arg(short, long)]
        follow: bool,
        /// The last lines alone
        #[arg(short = 'n', long, value_name = "COUNT", default_value = "all")]
        tail: String,
        /// With the time of each line
        #[arg(short, long)]
        timestamps: bool,
        /// Which
        container: String,
    },
    /// Print everything that is known of containers, images or volumes, as JSON
    Inspect {
        /// Which
        #[arg(required = true)]
        objects: Vec<String>,
    },
    /// Start containers
    Start {
        /// Which
        #[arg(required = true)]
        containers: Vec<String>,
    },
    /// Stop containers: their stop signal, and KILL ten seconds later
    Stop {
        /// Seconds until KILL
        #[arg(short, long)]
        time: Option<u32>,
        /// Which
        #[arg(required = true)]
        containers: Vec<String>,
    },
    /// Send a signal to containers
    Kill {
        /// By name or number
        #[arg(short, long, default_value = "KILL")]
        signal: String,
        /// Which
        #[arg(required = true)]
        containers: Vec<String>,
    },
    /// Remove containers
    Rm {
        /// Even where it runs
        #[arg(short, long)]
        force: bool,
        /// With its anonymous volumes
        #[arg(short, long)]
        volumes: bool,
        /// Which
        #[arg(required = true)]
        containers: Vec<String>,
    },
}

/// Runs one of them.
///
/// # Errors
/// The daemon says no.
pub async fn containers(client: &Client, verb: &ContainerVerb) -> Result<ExitCode> {
    match verb {
        ContainerVerb::Ps { all, quiet } => list(client, *all, *quiet).await?,
        ContainerVerb::Logs { follow, tail, timestamps, container } => {
            let container = escaped(container);
            let state = client.call(Method::GET, &format!("/containers/{container}/json"), None).await?;
            let path = format!(
                "/containers/{container}/logs?stdout=1&stderr=1&follow={follow}&timestamps={timestamps}&tail={}",
                escaped(tail)
            );
            logs(client, &path, state["Config"]["Tty"].as_bool().unwrap_or_default()).await?;
        }
        ContainerVerb::Inspect { objects } => inspect(client, objects).await?,
        ContainerVerb::Start { containers } => each(client, containers, Method::POST, "start").await?,
        ContainerVerb::Stop { time, containers } => {
            let time = time.map_or_else(String::new, |seconds| format!("?t={seconds}"));
            each(client, containers, Method::POST, &format!("stop{time}")).await?;
        }
        ContainerVerb::Kill { signal, containers } => {
            each(client, containers, Method::POST, &format!("kill?signal={}", escaped(signal))).await?;
        }
        ContainerVerb::Rm { force, volumes, containers } => {
            for container in containers {
                let path = format!("/containers/{}?force={force}&v={volumes}", escaped(container));
                client.call(Method::DELETE, &path, None).await?;
                println!("{container}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn each(client: &Client, containers: &[String], method: Method, verb: &str) -> Result<()> {
    for container in containers {
        let path = format!("/containers/{}/{verb}", escaped(container));
        client.call(method.clone(), &path, None).await?;
        println!("{container}");
    }
    Ok(())
}

async fn list(client: &Client, all: bool, quiet: bool) -> Result<()> {
    let listed = client.call(Method::GET, &format!("/containers/json?all={all}"), None).await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows = Vec::new();
    for container in listed.as_array().into_iter().flatten() {
        let id = text(&container["Id"]).chars().take(12).collect::<String>();
        if quiet {
            println!("{id}");
            continue;
        }
        let name = container["Names"][0].as_str().unwrap_or_default().trim_start_matches('/').to_owned();
        let created = ago(container["Created"].as_i64().unwrap_or_default());
        rows.push([
            id,
            text(&container["Image"]),
            text(&container["Command"]),
            created,
            text(&container["Status"]),
            name,
        ]);
    }
    if quiet {
        return Ok(());
    }
    table::print(["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAME"], &rows)
}

async fn inspect(client: &Client, objects: &[String]) -> Result<()> {
    let mut found = Vec::new();
    for object in objects {
        let name = escaped(object);
        let places =
            [format!("/containers/{name}/json"), format!("/images/{name}/json"), format!("/volumes/{name}")];
        let mut answer = None;
        for place in places {
            match client.call(Method::GET, &place, None).await {
                Ok(value) => {
                    answer = Some(value);
                    break;
                }
                Err(error) if error.exit_code() == NOT_FOUND => {}
                Err(error) => return Err(error),
            }
        }
        found.push(answer.ok_or_else(|| Error::new("", format!("no such object: {object}")))?);
    }
    let text =
        serde_json::to_string_pretty(&found).map_err(|error| Error::new("inspect", error.to_string()))?;
    println!("{text}");
    Ok(())
}

async fn logs(client: &Client, path: &str, tty: bool) -> Result<()> {
    let failed = |error: std::io::Error| Error::io("standard output", &error);
    let mut body = client.stream(Method::GET, path, None).await?.into_body();
    let mut pending = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| Error::new("logs", error.to_string()))?.into_data() else {
            continue;
        };
        if tty {
            std::io::stdout().write_all(&data).map_err(failed)?;
            continue;
        }
        pending.extend_from_slice(&data);
        while let Some(&[stream, _, _, _, a, b, c, d]) = pending.first_chunk::<8>() {
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            if pending.len() - 8 < length {
                break;
            }
            pending.advance(8);
            let payload = pending.split_to(length);
            match stream {
                2 => std::io::stderr().write_all(&payload),
                _ => std::io::stdout().write_all(&payload),
            }
            .map_err(failed)?;
        }
    }
    Ok(())
}
