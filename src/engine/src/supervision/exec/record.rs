//! What is kept of execs, so that the daemon that comes after a crash knows those that run, and how others ended.

use std::collections::HashMap;
use std::sync::Arc;

use casemate_spec::wire::{Adopted, Ask, HexId, Tenant};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Asked, Exec, State, run};
use crate::supervision::link::Shim;
use crate::{Engine, Result};

/// The kind of its documents.
const KIND: &str = "exec";
/// How one ended of which nobody knows.
const LOST: i32 = 137;

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    container: HexId,
    tenant: Tenant,
    asked: Asked,
    started: bool,
    exit_code: Option<i32>,
}

/// Takes down how an exec is.
pub(super) fn keep(engine: &Engine, exec: &Exec) {
    let state = exec.state();
    let record = Record {
        container: exec.container.clone(),
        tenant: exec.tenant.clone(),
        asked: exec.asked.clone(),
        started: state.started,
        exit_code: state.exit_code,
    };
    if exec.lasting {
        complain(engine.db.write_lightly(|batch| batch.put(KIND, exec.id.as_str(), &record)));
    }
}

/// Of these, nothing is to be known any more.
pub(super) fn drop_all(engine: &Engine, gone: &[Arc<Exec>]) {
    let gone: Vec<_> = gone.iter().filter(|exec| exec.lasting).collect();
    if !gone.is_empty() {
        let each = |exec: &Arc<Exec>| exec.id.clone();
        let ids: Vec<HexId> = gone.into_iter().map(each).collect();
        complain(
            engine.db.write_lightly(|batch| ids.iter().try_for_each(|id| batch.remove(KIND, id.as_str()))),
        );
    }
}

fn complain(kept: Result<()>) {
    if let Err(failure) = kept {
        eprintln!("casemated: exec: it is not kept: {failure}");
    }
}

/// Takes over the execs of an earlier daemon: those that run, those that ended meanwhile, those that wait for their start.
///
/// # Errors
/// The metadata cannot be read.
pub fn adopt(engine: &Arc<Engine>, running: Vec<Adopted>) -> Result<()> {
    let execs = running.into_iter().filter_map(|one| Some((one.exec.clone()?, one)));
    let mut running: HashMap<HexId, Adopted> = execs.collect();
    for (id, record) in engine.db.all::<Record>(KIND)? {
        let Ok(id) = id.parse::<HexId>() else { continue };
        let adopted = running.remove(&id);
        let exec = Arc::new(Exec {
            id: id.clone(),
            container: record.container,
            tenant: record.tenant,
            asked: record.asked,
            lasting: true,
            stdio: Arc::default(),
            state: watch::Sender::new(State {
                started: record.started,
                exit_code: record.exit_code,
                ..State::default()
            }),
        });
        match engine.containers.by_id(&exec.container) {
            Some(container) if exec.state().started || container.is_running() => {
                engine.supervision.execs.known().insert(id, Arc::clone(&exec));
                one(engine, exec, adopted);
            }
            _ => drop_all(engine, &[exec]),
        }
    }
    for (exec, unknown) in running {
        abandon(engine, unknown.id, exec);
    }
    Ok(())
}

fn one(engine: &Arc<Engine>, exec: Arc<Exec>, adopted: Option<Adopted>) {
    let state = exec.state();
    if !state.started {
        return;
    }
    match adopted {
        Some(Adopted { exited: None, pid, .. }) if state.exit_code.is_none() => {
            exec.state.send_modify(|state| (state.running, state.pid) = (true, pid.unwrap_or_default()));
            let engine = Arc::clone(engine);
            tokio::spawn(async move { take_over(&engine, &exec).await });
        }
        adopted => {
            let told = adopted.and_then(|adopted| adopted.exited).map(|exited| exited.code);
            run::ended(engine, &exec, state.exit_code.or(told).unwrap_or(LOST));
        }
    }
}

async fn take_over(engine: &Arc<Engine>, exec: &Arc<Exec>) {
    let shim =
        Shim { broker: engine.broker.clone(), id: exec.container.clone(), exec: Some(exec.id.clone()) };
    let link = match shim.connect().await {
        Ok(link) => link.greeting().await.map(|pid| (link, pid)),
        Err(_) => None,
    };
    match (link, engine.containers.by_id(&exec.container)) {
        (Some((link, pid)), Some(container)) => {
            exec.state.send_modify(|state| state.pid = pid);
            exec.stdio.open(&link);
            run::follow(engine, container, exec, link);
        }
        // It has ended since the broker said so, or its start was called off.
        _ => run::ended(engine, exec, LOST),
    }
}

/// A probe of an earlier daemon's, for instance: nobody waits for its result.
fn abandon(engine: &Arc<Engine>, container: HexId, exec: HexId) {
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        let kill = Ask::Signal {
            id: container,
            exec: Some(exec),
            signal: crate::supervision::signals::KILL,
            all: false,
        };
        // It may have ended by itself.
        engine.broker.done(kill, &[]).await.ok();
    });
}
