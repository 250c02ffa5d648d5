//! The run of an exec.

use std::sync::Arc;
use std::time::Duration;

use casemate_spec::wire::{Answer, Ask, LogOrder, Streams};

use super::process::process;
use super::{Exec, admit, event, record};
use crate::containers::Container;
use crate::supervision::link::{Link, Shim, linked};
use crate::supervision::start::exit_status;
use crate::supervision::whatever_happens;
use crate::{Engine, Failure, Kind, Result};

/// How long the end of an exec is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);

/// Starts an exec that was claimed; it runs when this comes back. Whoever is to see its output is attached before.
///
/// # Errors
/// Its program cannot be started: then 126 or 127 is its exit status.
pub async fn start(engine: &Arc<Engine>, exec: &Arc<Exec>, size: Option<(u16, u16)>) -> Result<()> {
    let (engine, exec) = (Arc::clone(engine), Arc::clone(exec));
    whatever_happens(async move {
        let begun = launch(&engine, &exec, size).await;
        if let Err(failure) = &begun {
            exec.state.send_modify(|state| {
                // Whatever else stood against it, it could not be run.
                let code = if exit_status(&failure.message) == 127 { 127 } else { 126 };
                (state.running, state.exit_code) = (false, Some(code));
            });
            record::keep(&engine, &exec);
            forget_later(&engine, &exec);
            exec.stdio.shut();
        }
        begun
    })
    .await
}

/// Sets the size of an exec's terminal.
///
/// # Errors
/// It does not run.
pub async fn resize(exec: &Exec, rows: u16, columns: u16) -> Result<()> {
    if !exec.state().running {
        return Err(Failure::conflict(format!("exec {} is not running", exec.id)));
    }
    exec.stdio.resize(rows, columns).await
}

/// Says that an exec is about to be started; only the first may.
///
/// # Errors
/// It was started before, or its container does not run.
pub fn claim(engine: &Engine, exec: &Exec) -> Result<()> {
    let container = engine.containers.by_id(&exec.container);
    let container =
        container.ok_or_else(|| Failure::not_found(format!("No such container: {}", exec.container)))?;
    let state = exec.state();
    if state.exit_code.is_some() {
        return Err(Failure::conflict(format!("Error: Exec command {} has already run", exec.id)));
    }
    if state.started {
        return Err(Failure::conflict(format!("Error: Exec command {} is already running", exec.id)));
    }
    admit(&container)?;
    exec.state.send_modify(|state| state.started = true);
    record::keep(engine, exec);
    Ok(())
}

/// Kills an exec's process. One that has ended is as good.
pub async fn kill(engine: &Engine, exec: &Exec) {
    let (id, exec) = (exec.container.clone(), Some(exec.id.clone()));
    let ask = Ask::Signal { id, exec, signal: crate::supervision::signals::KILL, all: false };
    match engine.broker.done(ask, &[]).await {
        Err(failure) if !matches!(failure.kind, Kind::NotFound | Kind::Conflict) => {
            eprintln!("casemated: exec: kill: {failure}");
        }
        _ => {}
    }
}

async fn launch(engine: &Arc<Engine>, exec: &Arc<Exec>, size: Option<(u16, u16)>) -> Result<()> {
    let container = engine.containers.by_id(&exec.container);
    let container =
        container.ok_or_else(|| Failure::not_found(format!("No such container: {}", exec.container)))?;
    let asked = &exec.asked;
    let process = process(engine, &container, asked).await?;
    let streams = Streams {
        tty: asked.tty,
        size: exec.stdio.size().or(size).or(asked.size),
        stdin: asked.attach.0,
        stdin_once: true,
        log: LogOrder::None,
    };
    let ask = Ask::Exec {
        id: exec.container.clone(),
        exec: exec.id.clone(),
        process: Box::new(process),
        privileged: asked.privileged,
        streams,
    };
    let (pid, link) = match engine.broker.ask(ask).await? {
        (Answer::Started { pid }, connection) => (pid, linked(connection)?),
        (other, _) => return Err(Failure::failed(format!("the broker answered something else: {other:?}"))),
    };
    exec.state.send_modify(|state| (state.running, state.pid) = (true, pid));
    event(engine, &container, exec, "exec_start", &[]);
    exec.stdio.open(&link);
    follow(engine, container, exec, link);
    Ok(())
}

/// Sees an exec that runs to its end.
pub(super) fn follow(engine: &Arc<Engine>, container: Arc<Container>, exec: &Arc<Exec>, link: Arc<Link>) {
    let (engine, exec) = (Arc::clone(engine), Arc::clone(exec));
    tokio::spawn(async move {
        let shim =
            Shim { broker: engine.broker.clone(), id: container.id.clone(), exec: Some(exec.id.clone()) };
        let told = exec.stdio.pump(&link, &shim).await;
        // A shim that says nothing was killed, and its process with it.
        let code = told.map_or(137, |exited| exited.code);
        let parting = exec.stdio.part();
        ended(&engine, &exec, code);
        event(&engine, &container, &exec, "exec_die", &[("exitCode", code.to_string())]);
        // Clients ask how it ended as soon as they see the end of the output.
        drop(parting);
    });
}

/// Takes down how an exec ended; it can be asked for a while.
pub(super) fn ended(engine: &Arc<Engine>, exec: &Exec, code: i32) {
    exec.state.send_modify(|state| (state.running, state.exit_code) = (false, Some(code)));
    record::keep(engine, exec);
    forget_later(engine, exec);
}

fn forget_later(engine: &Arc<Engine>, exec: &Exec) {
    let (engine, id) = (Arc::clone(engine), exec.id.clone());
    tokio::spawn(async move {
        tokio::time::sleep(REMEMBERED).await;
        let gone = engine.supervision.execs.known().remove(&id);
        record::drop_all(&engine, &gone.into_iter().collect::<Vec<_>>());
    });
}
