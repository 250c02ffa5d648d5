//! `run` and `exec`.

use std::process::ExitCode;

use casemate_spec::{Error, Result};
use clap::Args;
use http_body_util::BodyExt;
use hyper::Method;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::terminal::{Raw, size};
use super::{escaped, images};
use crate::client::{Client, NOT_FOUND, relay};

/// The exit status of docker when the daemon, not the container, has failed.
const FAILED: u8 = 125;

/// `casemate run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Return at once, and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// Hand on our standard input
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// Remove it when it has ended
    #[arg(long)]
    rm: bool,
    /// Call it so
    #[arg(long)]
    name: Option<String>,
    /// The policy: strict, hardened, baseline, or one of the host's
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// A variable of its environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A volume or a folder of the host: NAME:PATH or /FOLDER:PATH, with :ro to read only
    #[arg(short, long, value_name = "WHAT:WHERE")]
    volume: Vec<String>,
    /// The network: none, host or container:NAME
    #[arg(long, default_value = "none")]
    network: String,
    /// Be this user: NAME, UID, or either with :GROUP
    #[arg(short, long)]
    user: Option<String>,
    /// Work in this directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Bytes of memory
    #[arg(long, value_name = "BYTES")]
    memory: Option<u64>,
    /// Processes
    #[arg(long, value_name = "COUNT")]
    pids_limit: Option<i64>,
    /// Ask for a capability more
    #[arg(long, value_name = "CAP")]
    cap_add: Vec<String>,
    /// Do without a capability
    #[arg(long, value_name = "CAP")]
    cap_drop: Vec<String>,
    /// Ask for everything; the policy grants what it admits
    #[arg(long)]
    privileged: bool,
    /// A device of the host: PATH, PATH:WHERE or PATH:WHERE:rwm
    #[arg(long, value_name = "PATH")]
    device: Vec<String>,
    /// As docker has it: seccomp=…, no-new-privileges, casemate.policy=NAME
    #[arg(long, value_name = "OPTION")]
    security_opt: Vec<String>,
    /// Nothing may be written to its root
    #[arg(long)]
    read_only: bool,
    /// In place of the image's
    #[arg(long)]
    entrypoint: Option<String>,
    /// The image
    image: String,
    /// The command, in place of the image's
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// `casemate exec`
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// Hand on our standard input
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// A variable of its environment
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Be this user
    #[arg(short, long)]
    user: Option<String>,
    /// Work in this directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Which
    container: String,
    /// The command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// Runs a container: made, attached to, started, waited for.
///
/// # Errors
/// The daemon says no.
pub async fn run(client: &Client, args: &RunArgs) -> Result<ExitCode> {
    let id = create(client, args).await.map_err(|error| error.exit(FAILED))?;
    if args.detach {
        client
            .call(Method::POST, &format!("/containers/{id}/start"), None)
            .await
            .map_err(|error| error.exit(FAILED))?;
        println!("{id}");
        return Ok(ExitCode::SUCCESS);
    }
    let stdin = if args.interactive { "&stdin=1" } else { "" };
    let attach = format!("/containers/{id}/attach?stream=1&stdout=1&stderr=1{stdin}");
    let stream = client.hijack(&attach, None).await.map_err(|error| error.exit(FAILED))?;
    let condition = if args.rm { "removed" } else { "next-exit" };
    let wait = format!("/containers/{id}/wait?condition={condition}");
    let ended = client.stream(Method::POST, &wait, None).await.map_err(|error| error.exit(FAILED))?;
    client.call(Method::POST, &format!("/containers/{id}/start"), None).await.map_err(exit_of_start)?;
    let raw = if args.tty { Some(Raw::enter()?) } else { None };
    let resizing = args.tty.then(|| tokio::spawn(resize(client.clone(), format!("/containers/{id}/resize"))));
    let relayed = relay(stream, args.tty, args.interactive).await;
    drop(raw);
    if let Some(resizing) = resizing {
        resizing.abort();
    }
    relayed?;
    let body = ended.into_body().collect().await.map_err(|error| Error::new("wait", error.to_string()))?;
    let answer: Value = serde_json::from_slice(&body.to_bytes())
        .map_err(|error| Error::new("wait", error.to_string()).exit(FAILED))?;
    Ok(code(&answer["StatusCode"]))
}

/// docker's own reading of what a failed start says.
fn exit_of_start(error: Error) -> Error {
    let text = error.to_string();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["executable file not found", "no such file or directory"]) {
        error.exit(127)
    } else if has(&["permission denied", "is a directory"]) {
        error.exit(126)
    } else {
        error.exit(FAILED)
    }
}

/// What is asked for, as the API has it.
pub fn body(args: &RunArgs) -> Value {
    let policy = args.policy.iter().map(|name| format!("casemate.policy={name}"));
    json!({
        "Image": args.image,
        "Cmd": if args.command.is_empty() { Value::Null } else { json!(args.command) },
        "Entrypoint": args.entrypoint.as_ref().map(|program| json!([program])),
        "Env": args.env,
        "User": args.user.clone().unwrap_or_default(),
        "WorkingDir": args.workdir.clone().unwrap_or_default(),
        "Tty": args.tty,
        "OpenStdin": args.interactive,
        "StdinOnce": args.interactive,
        "AttachStdin": args.interactive,
        "AttachStdout": !args.detach,
        "AttachStderr": !args.detach,
        "HostConfig": {
            "AutoRemove": args.rm,
            "Binds": args.volume,
            "NetworkMode": args.network,
            "Memory": args.memory.unwrap_or(0),
            "PidsLimit": args.pids_limit.unwrap_or(0),
            "CapAdd": args.cap_add,
            "CapDrop": args.cap_drop,
            "ReadonlyRootfs": args.read_only,
            "Privileged": args.privileged,
            "Devices": args.device.iter().map(|text| device(text)).collect::<Vec<_>>(),
            "SecurityOpt": policy.chain(args.security_opt.iter().cloned()).collect::<Vec<_>>(),
        },
    })
}

fn device(text: &str) -> Value {
    let mut parts = text.splitn(3, ':');
    let path = parts.next().unwrap_or_default();
    json!({
        "PathOnHost": path,
        "PathInContainer": parts.next().unwrap_or(path),
        "CgroupPermissions": parts.next().unwrap_or("rwm"),
    })
}

async fn create(client: &Client, args: &RunArgs) -> Result<String> {
    let body = body(args);
    let name = args.name.as_ref().map_or_else(String::new, |name| format!("?name={}", escaped(name)));
    let path = format!("/containers/create{name}");
    let made = match client.call(Method::POST, &path, Some(&body)).await {
        Err(error) if error.exit_code() == NOT_FOUND => {
            images::pull(client, &args.image).await?;
            client.call(Method::POST, &path, Some(&body)).await?
        }
        other => other?,
    };
    for warning in made["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("warning: {warning}");
    }
    Ok(made["Id"].as_str().unwrap_or_default().to_owned())
}

/// Runs a command in a running container.
///
/// # Errors
/// The daemon says no.
pub async fn exec(client: &Client, args: &ExecArgs) -> Result<ExitCode> {
    let body = json!({
        "AttachStdin": args.interactive, "AttachStdout": true, "AttachStderr": true,
        "Tty": args.tty, "Env": args.env, "Cmd": args.command,
        "User": args.user.clone().unwrap_or_default(),
        "WorkingDir": args.workdir.clone().unwrap_or_default(),
        "ConsoleSize": size().filter(|_| args.tty).map(|(rows, columns)| [rows, columns]),
    });
    let path = format!("/containers/{}/exec", escaped(&args.container));
    let made = client.call(Method::POST, &path, Some(&body)).await?;
    let id = made["Id"].as_str().unwrap_or_default();
    let start = json!({ "Detach": false, "Tty": args.tty });
    let stream = client.hijack(&format!("/exec/{id}/start"), Some(&start)).await?;
    let raw = if args.tty { Some(Raw::enter()?) } else { None };
    let resizing = args.tty.then(|| tokio::spawn(resize(client.clone(), format!("/exec/{id}/resize"))));
    let relayed = relay(stream, args.tty, args.interactive).await;
    drop(raw);
    if let Some(resizing) = resizing {
        resizing.abort();
    }
    relayed?;
    let state = client.call(Method::GET, &format!("/exec/{id}/json"), None).await?;
    Ok(code(&state["ExitCode"]))
}

/// Tells the size of our terminal, now and whenever it changes.
async fn resize(client: Client, path: String) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    loop {
        if let Some((rows, columns)) = size() {
            let path = format!("{path}?h={rows}&w={columns}");
            // The process may have ended meanwhile.
            client.call(Method::POST, &path, None).await.ok();
        }
        changes.recv().await;
    }
}

fn code(value: &Value) -> ExitCode {
    ExitCode::from(value.as_i64().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
}
