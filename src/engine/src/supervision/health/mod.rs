//! Health checks: a command that is run in the container by a schedule, and what its results come to.

mod probe;
mod schedule;

use std::sync::{Arc, Mutex};

use crate::Engine;
use crate::containers::{Container, Health, set_state};
use probe::ExecProbe;
use schedule::{Schedule, Verdict, watch};

use super::seat::Seat;
use super::{complain, tell};

/// Watches over a container that was started, until its run ends. `anew`: nothing is known of it yet.
pub fn begin(engine: &Arc<Engine>, container: &Arc<Container>, seat: &Arc<Seat>, anew: bool) {
    let check = container.config.healthcheck.as_ref();
    let Some((check, words)) =
        check.and_then(|check| Some((check, probe::command(&container.config, check)?)))
    else {
        return;
    };
    let known = container.state().health.filter(|_| !anew);
    let health = known.unwrap_or_else(|| Health { status: "starting".to_owned(), ..Health::default() });
    if anew && let Err(failure) = set_state(engine, container, |state| state.health = Some(health.clone())) {
        complain(container, "its health is not kept", &failure);
    }
    let (schedule, verdict) = (Schedule::new(check), Verdict::new(health, check.retries));
    let last = Mutex::default();
    let probe = ExecProbe { engine: Arc::clone(engine), container: Arc::clone(container), words, last };
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    let task = tokio::spawn(async move {
        let report = |health: &Health, changed: bool| {
            let kept = set_state(&engine, &container, |state| state.health = Some(health.clone()));
            if let Err(failure) = kept {
                complain(&container, "its health is not kept", &failure);
            }
            if changed {
                tell(&engine, &container, format!("health_status: {}", health.status), &[]);
            }
        };
        watch(schedule, verdict, &probe, report).await;
    });
    seat.set_beside(Some(task.abort_handle()));
}
