//! Containers while they run: streams, exits, restarts, execs, health.

use std::sync::Arc;

use casemate_spec::wire::Adopted;

use crate::{Engine, Result};

/// What runs.
#[derive(Debug, Default)]
pub struct Supervision {}

/// Takes over what runs already.
///
/// # Errors
/// The broker is gone.
pub async fn adopt(_engine: &Arc<Engine>, _running: Vec<Adopted>) -> Result<()> {
    Ok(())
}
