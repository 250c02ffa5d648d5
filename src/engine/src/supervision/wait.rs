//! Waiting for the end of a container (`docker wait`).

use super::seat::Tally;
use crate::containers::{Container, Status};
use crate::{Engine, Failure, Result};

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// It does not run, now or later.
    #[default]
    NotRunning,
    /// It ends once more, or is removed.
    NextExit,
    /// It is gone.
    Removed,
}

/// What the wait comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    /// The exit status.
    pub code: i32,
    /// Why there is no true one.
    pub error: Option<String>,
}

impl Condition {
    /// As the API names it; nothing is `not-running`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn parse(name: &str) -> Result<Self> {
        match name {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            _ => Err(Failure::invalid(format!("invalid condition: \"{name}\""))),
        }
    }
}

/// Waits. What happens after this call has returned, and before its future is polled, counts.
pub fn wait(
    engine: &Engine,
    container: &Container,
    condition: Condition,
) -> impl Future<Output = Waited> + Send + use<> {
    let mut tally = engine.supervision.seat(&container.id).watch();
    let before = tally.borrow_and_update().exits;
    let state = container.state();
    let runs = state.is_running() || state.status == Status::Restarting;
    let code = state.exit_code;
    async move {
        if condition == Condition::NotRunning && !runs {
            return Waited { code, error: None };
        }
        let met = |tally: &Tally| tally.removed || (condition != Condition::Removed && tally.exits > before);
        match tally.wait_for(met).await {
            Ok(tally) if tally.exits > before => Waited { code: tally.code, error: None },
            Ok(_) => Waited { code, error: None },
            Err(_) => Waited { code, error: Some("the daemon ends".to_owned()) },
        }
    }
}
