//! Who a container's user is. It is looked up by the helper once for an image, so that a start does not pay for it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use casemate_spec::wire::{HexId, Task, TaskReply, UserEntry, View};

use crate::{Engine, Failure, Result, files};

/// So many answers are kept.
const KEPT: usize = 1024;

/// What is asked: layers, user, further groups.
type Question = (Vec<HexId>, String, Vec<String>);

/// Answers of the helper. Layers never change, and so they never grow old.
#[derive(Debug, Default)]
pub struct Users(Mutex<HashMap<Question, UserEntry>>);

/// Looks a user up in an image.
///
/// # Errors
/// There is none, in Docker's words, or the helper failed.
pub async fn look_up(engine: &Engine, layers: &[HexId], user: &str, groups: &[String]) -> Result<UserEntry> {
    let known = || engine.containers.users.0.lock().unwrap_or_else(PoisonError::into_inner);
    let question = (layers.to_vec(), user.to_owned(), groups.to_vec());
    if let Some(entry) = known().get(&question) {
        return Ok(entry.clone());
    }
    let task = Task::User { user: user.to_owned(), groups: groups.to_vec() };
    let entry = match files::help(engine, View::Layers(layers.to_vec()), task, None).await? {
        TaskReply::User(entry) => entry,
        TaskReply::Failed(failed) => return Err(Failure::invalid(failed.message)),
        other => return Err(Failure::failed(format!("the helper answered something else: {other:?}"))),
    };
    let mut known = known();
    if known.len() >= KEPT {
        known.clear();
    }
    known.insert(question, entry.clone());
    Ok(entry)
}
