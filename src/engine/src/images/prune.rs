//! Images that nobody uses, all at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::filters::Filters;
use super::list::layers_size;
use super::remove::{Removed, Wish, remove};
use crate::{Caller, Engine, Kind, Result};

/// What has gone, and how many bytes with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names and images.
    pub removed: Vec<Removed>,
    /// Bytes of layers that no image has any more.
    pub reclaimed: u64,
}

/// Removes images without a name, or with `dangling=false` all that no container stands on.
///
/// # Errors
/// A filter is not known, or cannot be read.
pub async fn prune(engine: &Arc<Engine>, caller: &Caller, filters: &Filters) -> Result<Pruned> {
    filters.only(&["dangling", "label", "label!", "until"])?;
    let dangling = filters.flag("dangling")?.unwrap_or(true);
    let until = filters.until()?;
    let used = engine.containers.images_in_use(&caller.tenant);
    let before = layers_size(engine, &caller.tenant);
    let mut removed = Vec::new();
    for image in engine.images.all(&caller.tenant) {
        let names = engine.images.names(&caller.tenant, &image.id);
        let tagged = names.iter().any(|name| name.tag.is_some());
        let wanted = (!dangling || !tagged)
            && !used.contains(&image.id)
            && until.is_none_or(|until| image.config.created_at() <= until)
            && filters.labels(image.config.config.labels.as_ref());
        if !wanted {
            continue;
        }
        let wish = Wish { force: false, prune: true };
        let texts: Vec<String> = match tagged {
            true => names.iter().filter(|name| name.tag.is_some()).map(ToString::to_string).collect(),
            false => vec![image.name()],
        };
        for text in texts {
            match remove(engine, caller, &text, wish).await {
                Ok(gone) => removed.extend(gone),
                // It is another's parent, in use since we looked, or gone with its child.
                Err(failure) if matches!(failure.kind, Kind::Conflict | Kind::NotFound) => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    let reclaimed = before.saturating_sub(layers_size(engine, &caller.tenant));
    let attributes = BTreeMap::from([("reclaimed".to_owned(), reclaimed.to_string())]);
    engine.events.publish(&caller.tenant, "image", "prune", "", attributes);
    Ok(Pruned { removed, reclaimed })
}
