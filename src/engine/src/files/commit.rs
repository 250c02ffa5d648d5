//! `docker commit`: a container's changes become a layer, and what it was made with the defaults of an image.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::archive;
use crate::containers::Container;
use crate::images::{self, Commit, Defaults, Image, Reference};
use crate::{Caller, Engine, Failure, Result, supervision};

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct CommitAsked {
    /// Its name.
    pub reference: Option<Reference>,
    /// What is said of it.
    pub comment: String,
    /// Who says so.
    pub author: String,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    /// A `ContainerConfig`; what it says takes the place of what the container has.
    pub config: Map<String, Value>,
    /// The container stands still meanwhile.
    pub pause: bool,
}

/// Makes an image of a container. A container that was frozen for it runs on, whatever comes of it.
///
/// # Errors
/// Its changes cannot be read, or an instruction is refused.
pub async fn commit(
    engine: &Arc<Engine>,
    caller: &Caller,
    container: &Arc<Container>,
    asked: CommitAsked,
) -> Result<Arc<Image>> {
    let (engine, caller, container) = (Arc::clone(engine), caller.clone(), Arc::clone(container));
    let work = async move {
        let frozen = asked.pause && supervision::pause(&engine, &container).await.is_ok();
        let made = make(&engine, &caller, &container, asked).await;
        if frozen {
            // Somebody else may have thawed it, or ended it.
            supervision::resume(&engine, &container).await.ok();
        }
        made
    };
    // A client that goes away leaves nobody frozen.
    tokio::spawn(work).await.map_err(|error| Failure::failed(format!("commit: {error}")))?
}

async fn make(
    engine: &Arc<Engine>,
    caller: &Caller,
    container: &Container,
    asked: CommitAsked,
) -> Result<Arc<Image>> {
    let wish = Commit {
        base: engine.images.find(caller, container.image.as_str()).ok(),
        defaults: defaults(container, asked.config)?,
        changes: asked.changes,
        comment: asked.comment.clone(),
        author: asked.author,
        created_by: container.config.command().join(" "),
        reference: asked.reference.clone(),
    };
    let layer = archive::layer(engine, container).await?;
    let image = images::commit(engine, caller, wish, layer).await?;
    let name = asked.reference.map(|reference| reference.familiar()).unwrap_or_default();
    let told = [("comment", asked.comment), ("imageID", image.name()), ("imageRef", name)];
    supervision::tell(engine, container, "commit", &told);
    Ok(image)
}

/// What the container was made with, and over it what the client says.
fn defaults(container: &Container, said: Map<String, Value>) -> Result<Defaults> {
    let refuse = |error: serde_json::Error| Failure::invalid(format!("invalid JSON: {error}"));
    let mut whole = serde_json::to_value(&container.config).map_err(refuse)?;
    if let Value::Object(whole) = &mut whole {
        for (name, value) in said {
            let value = match (name.as_str(), value, whole.get("Env")) {
                ("Env", Value::Array(said), Some(Value::Array(own))) => Value::Array(environment(said, own)),
                (_, value, _) => value,
            };
            if !is_nothing(&value) {
                whole.insert(name, value);
            }
        }
    }
    serde_json::from_value(whole).map_err(refuse)
}

/// What was said, and of the container's own what was not said otherwise.
fn environment(said: Vec<Value>, own: &[Value]) -> Vec<Value> {
    let name = |entry: &Value| entry.as_str().and_then(|text| text.split('=').next()).map(str::to_owned);
    let names: Vec<Option<String>> = said.iter().map(name).collect();
    let rest = own.iter().filter(|entry| !names.contains(&name(entry))).cloned().collect::<Vec<_>>();
    said.into_iter().chain(rest).collect()
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}
