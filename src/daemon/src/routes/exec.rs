//! Execs.

use std::sync::Arc;

use casemate_engine::Result;
use casemate_engine::containers::Words;
use casemate_engine::supervision::exec::{self, Asked, Exec};
use casemate_engine::supervision::{Wanted, frame};
use futures_util::StreamExt;
use futures_util::stream;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::streams::relay::Relay;
use super::streams::{content_type, size};
use super::{Route, Subject, Verb};
use crate::answer::Answer;
use crate::call::Call;
use crate::hijack::hijack;

/// The routes of this file.
pub const ROUTES: &[Route] = &[
    Route {
        method: Verb::Post,
        path: "/containers/{id}/exec",
        operation: "exec.create",
        subject: Subject::Container,
        handler: |call| Box::pin(create(call)),
    },
    Route {
        method: Verb::Post,
        path: "/exec/{id}/start",
        operation: "exec.start",
        subject: Subject::Exec,
        handler: |call| Box::pin(start(call)),
    },
    Route {
        method: Verb::Post,
        path: "/exec/{id}/resize",
        operation: "exec.resize",
        subject: Subject::Exec,
        handler: |call| Box::pin(resize(call)),
    },
    Route {
        method: Verb::Get,
        path: "/exec/{id}/json",
        operation: "exec.inspect",
        subject: Subject::Exec,
        handler: |call| Box::pin(inspect(call)),
    },
];

/// The body of `POST /containers/{id}/exec`; what is null is as good as missing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Create {
    attach_stdin: Option<bool>,
    attach_stdout: Option<bool>,
    attach_stderr: Option<bool>,
    cmd: Option<Words>,
    console_size: Option<(u16, u16)>,
    detach_keys: Option<String>,
    env: Option<Vec<String>>,
    privileged: Option<bool>,
    tty: Option<bool>,
    user: Option<String>,
    working_dir: Option<String>,
}

/// The body of `POST /exec/{id}/start`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Start {
    detach: Option<bool>,
    console_size: Option<(u16, u16)>,
}

async fn create(mut call: Call) -> Result<Answer> {
    let body: Create = call.json().await?;
    let container = call.engine.containers.find(&call.caller, call.captured("id"))?;
    let asked = Asked {
        cmd: body.cmd.unwrap_or_default().0,
        user: body.user.unwrap_or_default(),
        privileged: body.privileged.unwrap_or_default(),
        tty: body.tty.unwrap_or_default(),
        attach: (
            body.attach_stdin.unwrap_or_default(),
            body.attach_stdout.unwrap_or_default(),
            body.attach_stderr.unwrap_or_default(),
        ),
        detach_keys: body.detach_keys.unwrap_or_default(),
        env: body.env.unwrap_or_default(),
        working_dir: body.working_dir.unwrap_or_default(),
        size: given(body.console_size),
    };
    let id = exec::create(&call.engine, &container, asked)?;
    Ok(Answer::json(StatusCode::CREATED, &json!({ "Id": id })))
}

/// No rows or no columns are no size.
fn given(size: Option<(u16, u16)>) -> Option<(u16, u16)> {
    size.filter(|(rows, columns)| *rows > 0 && *columns > 0)
}

async fn start(mut call: Call) -> Result<Answer> {
    let exec = call.engine.supervision.execs.find(&call.caller, call.captured("id"))?;
    let body: Start = call.json_or_default().await?;
    let keys = exec.detach_keys()?;
    exec::claim(&call.engine, &exec)?;
    let size = given(body.console_size);
    if body.detach.unwrap_or_default() {
        exec::start(&call.engine, &exec, size).await?;
        return Ok(Answer::empty(StatusCode::OK));
    }
    let (stdin, stdout, stderr) = exec.asked.attach;
    let attachment = exec.attach(Wanted { stdin, stdout, stderr });
    let framed = !exec.asked.tty;
    let kind = content_type(framed, call.version);
    let (answer, pending) = hijack(&mut call, kind);
    let engine = Arc::clone(&call.engine);
    tokio::spawn(async move {
        // Both at once: the process need not wait for the connection.
        let (started, hijacked) = tokio::join!(exec::start(&engine, &exec, size), pending.stream());
        let Ok(hijacked) = hijacked else { return };
        let (reader, mut writer) = hijacked.split();
        match started {
            Ok(()) => {
                let past = stream::empty().boxed();
                Relay { attachment, past, framed, keys }.run(reader, writer).await;
            }
            Err(failure) => {
                // It is too late for a status: the client reads it from the stream, and the rest from inspect.
                let text = format!("{failure}\r\n");
                let head = frame(casemate_engine::supervision::Stream::Stdout, text.len());
                let head = if framed { &head[..] } else { &[] };
                writer.write_all(&[head, text.as_bytes()].concat()).await.ok();
                writer.shutdown().await.ok();
            }
        }
    });
    Ok(answer)
}

async fn resize(call: Call) -> Result<Answer> {
    let (rows, columns) = size(&call)?;
    let exec = call.engine.supervision.execs.find(&call.caller, call.captured("id"))?;
    exec::resize(&exec, rows, columns).await?;
    Ok(Answer::empty(StatusCode::OK))
}

async fn inspect(call: Call) -> Result<Answer> {
    let exec = call.engine.supervision.execs.find(&call.caller, call.captured("id"))?;
    Ok(Answer::ok(&shown(&exec)))
}

fn shown(exec: &Exec) -> serde_json::Value {
    let (asked, state) = (&exec.asked, exec.state());
    let (program, arguments) = asked.cmd.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let mut process = json!({
        "tty": asked.tty,
        "entrypoint": program,
        "arguments": arguments,
        "privileged": asked.privileged,
    });
    if !asked.user.is_empty() {
        process["user"] = json!(asked.user);
    }
    let (stdin, stdout, stderr) = asked.attach;
    json!({
        "ID": exec.id,
        "Running": state.running,
        "ExitCode": state.exit_code,
        "ProcessConfig": process,
        "OpenStdin": stdin,
        "OpenStderr": stderr,
        "OpenStdout": stdout,
        "CanRemove": false,
        "ContainerID": exec.container,
        "DetachKeys": "",
        "Pid": state.pid,
    })
}
