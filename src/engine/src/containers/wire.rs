//! A container as it is asked of the broker.

use casemate_spec::wire::{self, Files, Streams};

use super::Container;
use crate::{Engine, Failure, Result};

/// Translates for `Start` and `Check`.
///
/// # Errors
/// Something that it is to share is not there.
pub fn wire(_engine: &Engine, container: &Container) -> Result<(wire::Container, Streams, Files)> {
    Err(Failure::unsupported(format!("{}: containers are not translated yet", container.id)))
}
