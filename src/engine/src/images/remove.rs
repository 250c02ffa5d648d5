//! Images and names that go, by Docker's rules.

use std::sync::Arc;

use casemate_spec::wire::HexId;
use serde::Serialize;

use super::pins::Pin;
use super::record::{Image, image_key, name_key};
use super::reference::{Named, Reference};
use super::{IMAGE, NAME, collect, shelf};
use crate::containers::{Container, Status};
use crate::{Caller, Engine, Failure, Result};

/// What has gone, in the order in which it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Removed {
    /// A name.
    Untagged(String),
    /// An image.
    Deleted(String),
}

/// How hard one tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Names and stopped containers stand against it no more.
    pub force: bool,
    /// Parents without a name go as well.
    pub prune: bool,
}

/// Removes what a client means: a name, and with the last one the image; or the image and all its names.
///
/// # Errors
/// There is no such image, or something stands against it, in Docker's words.
pub async fn remove(engine: &Arc<Engine>, caller: &Caller, text: &str, wish: Wish) -> Result<Vec<Removed>> {
    let image = engine.images.find(caller, text)?;
    let names = engine.images.names(&caller.tenant, &image.id);
    let meant = match Named::parse(text) {
        Ok(Named::Reference(reference)) => Some(reference.or_latest()).filter(|name| names.contains(name)),
        _ => None,
    };
    let mut removed = Vec::new();
    match meant {
        Some(name) => by_name(engine, &image, &name, &names, wish, &mut removed).await?,
        None => by_id(engine, &image, &names, wish, &mut removed).await?,
    }
    Ok(removed)
}

async fn by_name(
    engine: &Arc<Engine>,
    image: &Arc<Image>,
    name: &Reference,
    names: &[Reference],
    wish: Wish,
    removed: &mut Vec<Removed>,
) -> Result<()> {
    if !wish.force
        && last_of_its_kind(name, names)
        && let Some(container) = users(engine, image).first()
    {
        return Err(Failure::conflict(format!(
            "conflict: unable to remove repository reference \"{}\" (must force) - container {} is using its \
             referenced image {}",
            name.familiar(),
            container.id.short(),
            image.id.short()
        )));
    }
    untag(engine, image, name, removed)?;
    let left = engine.images.names(&image.record.tenant, &image.id);
    // Names by digest stand for the tag that they came with: without any tag of their repository they go too.
    if left.iter().any(|left| left.tag.is_some()) {
        let same = |other: &Reference| other.domain == name.domain && other.path == name.path;
        if !left.iter().any(|left| left.tag.is_some() && same(left)) {
            for digest in left.iter().filter(|left| same(left)) {
                untag(engine, image, digest, removed)?;
            }
        }
        return Ok(());
    }
    if name.digest.is_some() && !left.is_empty() {
        return Ok(());
    }
    for digest in &left {
        untag(engine, image, digest, removed)?;
    }
    // With a container or a child on it, it stays without a name.
    let used = users(engine, image).iter().any(|container| wish_keeps(container, wish));
    if used || has_children(engine, image) || held(engine, image) {
        return Ok(());
    }
    delete(engine, image, wish, removed).await
}

/// Whether with this name the image loses all that it is known by.
fn last_of_its_kind(name: &Reference, names: &[Reference]) -> bool {
    let tags = names.iter().filter(|name| name.tag.is_some()).count();
    if name.digest.is_some() { names.len() == 1 } else { tags == 1 }
}

fn wish_keeps(container: &Container, wish: Wish) -> bool {
    !wish.force || is_running(container)
}

async fn by_id(
    engine: &Arc<Engine>,
    image: &Arc<Image>,
    names: &[Reference],
    wish: Wish,
    removed: &mut Vec<Removed>,
) -> Result<()> {
    let users = users(engine, image);
    if let Some(container) = users.iter().find(|container| is_running(container)) {
        return Err(conflict(
            image,
            "cannot be forced",
            &format!("image is being used by running container {}", container.id.short()),
        ));
    }
    if held(engine, image) {
        return Err(conflict(image, "cannot be forced", "image is in use by something that is under way"));
    }
    if has_children(engine, image) {
        return Err(conflict(image, "cannot be forced", "image has dependent child images"));
    }
    if !wish.force {
        let mut repositories: Vec<String> =
            names.iter().filter(|name| name.tag.is_some()).map(Reference::repository).collect();
        repositories.dedup();
        if repositories.len() > 1 {
            return Err(conflict(image, "must be forced", "image is referenced in multiple repositories"));
        }
        if let Some(container) = users.first() {
            return Err(conflict(
                image,
                "must be forced",
                &format!("image is being used by stopped container {}", container.id.short()),
            ));
        }
    }
    for name in names {
        untag(engine, image, name, removed)?;
    }
    delete(engine, image, wish, removed).await
}

fn conflict(image: &Image, how: &str, why: &str) -> Failure {
    Failure::conflict(format!("conflict: unable to delete {} ({how}) - {why}", image.id.short()))
}

fn users(engine: &Engine, image: &Image) -> Vec<Arc<Container>> {
    let mut users = engine.containers.of(&image.record.tenant);
    users.retain(|container| container.image == image.id);
    users
}

fn is_running(container: &Container) -> bool {
    let state = container.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    matches!(state.status, Status::Running | Status::Paused | Status::Restarting)
}

fn has_children(engine: &Engine, image: &Image) -> bool {
    let shelf = engine.images.shelf();
    shelf.of(&image.record.tenant).any(|other| other.record.parent.as_ref() == Some(&image.id))
}

fn held(engine: &Engine, image: &Image) -> bool {
    engine.images.pins.held(&Pin::Image(image.record.tenant.clone(), image.id.clone()))
}

/// Takes a name away.
fn untag(engine: &Engine, image: &Image, name: &Reference, removed: &mut Vec<Removed>) -> Result<()> {
    let tenant = &image.record.tenant;
    let mut shelf = engine.images.shelf();
    engine.db.remove(NAME, &name_key(tenant, name))?;
    shelf.unname(tenant, name);
    drop(shelf);
    let attributes = shelf::attributes(&image.config, &image.name());
    engine.events.publish(tenant, "image", "untag", image.name(), attributes);
    removed.push(Removed::Untagged(name.familiar()));
    Ok(())
}

/// Takes the image away, and with it those of its parents that nobody has named and nothing needs.
async fn delete(
    engine: &Arc<Engine>,
    image: &Arc<Image>,
    wish: Wish,
    removed: &mut Vec<Removed>,
) -> Result<()> {
    let mut next = Some(Arc::clone(image));
    while let Some(image) = next {
        let tenant = &image.record.tenant;
        {
            let mut shelf = engine.images.shelf();
            engine.db.remove(IMAGE, &image_key(tenant, &image.id))?;
            shelf.remove(tenant, &image.id);
        }
        let attributes = shelf::attributes(&image.config, &image.name());
        engine.events.publish(tenant, "image", "delete", image.name(), attributes);
        removed.push(Removed::Deleted(image.name()));
        collect::after(engine, &image).await?;
        next = parent(engine, &image).filter(|parent| {
            wish.prune
                && engine.images.names(tenant, &parent.id).is_empty()
                && users(engine, parent).is_empty()
                && !has_children(engine, parent)
                && !held(engine, parent)
        });
    }
    Ok(())
}

fn parent(engine: &Engine, image: &Image) -> Option<Arc<Image>> {
    let id: &HexId = image.record.parent.as_ref()?;
    engine.images.shelf().image(&image.record.tenant, id).cloned()
}
