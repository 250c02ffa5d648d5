//! Lists of images, and what is known of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use casemate_spec::wire::{HexId, Tenant};
use serde::Serialize;

use super::config::{Defaults, RootFs};
use super::filters::{Filters, Judge};
use super::record::Image;
use super::reference::Reference;
use crate::{Caller, Engine, Result, clock};

/// A line of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    /// How many containers stand on it; -1 when nobody has asked.
    pub containers: i64,
    /// Seconds since 1970.
    pub created: u64,
    /// `sha256:…`
    pub id: String,
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// The image that it was made from, here.
    pub parent_id: String,
    /// Names by digest.
    pub repo_digests: Vec<String>,
    /// Names by tag.
    pub repo_tags: Vec<String>,
    /// Bytes that other images have as well; -1 when nobody has asked.
    pub shared_size: i64,
    /// Bytes.
    pub size: u64,
}

/// Everything about one.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspection {
    /// `sha256:…`
    pub id: String,
    /// Names by tag.
    pub repo_tags: Vec<String>,
    /// Names by digest.
    pub repo_digests: Vec<String>,
    /// The image that it was made from, here.
    pub parent: String,
    /// What was said of it.
    pub comment: String,
    /// When it was made; absent when it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Of the Docker that made it.
    pub docker_version: String,
    /// Who made it.
    pub author: String,
    /// For which processor.
    pub architecture: String,
    /// More closely.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// For which system.
    pub os: String,
    /// More closely.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Bytes.
    pub size: u64,
    /// How it is stored.
    pub graph_driver: GraphDriver,
    /// Its layers.
    #[serde(rename = "RootFS")]
    pub root_fs: Layers,
    /// What is known of it here.
    pub metadata: Metadata,
    /// Defaults of its containers.
    pub config: Defaults,
}

/// How an image is stored. The places are nobody's business: only the broker enters them.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GraphDriver {
    /// Always empty.
    pub data: BTreeMap<String, String>,
    /// What clients know the kind by.
    pub name: &'static str,
}

/// Layers, as an inspection shows them.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Layers {
    /// Always `layers`.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// `sha256:…`, lowest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// What is known of an image here.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Metadata {
    /// When it got a name last.
    pub last_tag_time: String,
}

/// A step of an image's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Step {
    /// What was said of it.
    pub comment: String,
    /// Seconds since 1970.
    pub created: u64,
    /// By which command.
    pub created_by: String,
    /// The image of this step, where there is one here.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// Names of that image.
    pub tags: Option<Vec<String>>,
}

/// What of a list is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// [`Summary::shared_size`]
    pub shared: bool,
    /// [`Summary::containers`]
    pub containers: bool,
}

/// Lists a tenant's images; intermediate ones only when `all` is said.
///
/// # Errors
/// A filter is not known, or cannot be read.
pub fn list(
    engine: &Engine,
    caller: &Caller,
    filters: &Filters,
    all: bool,
    counted: Counted,
) -> Result<Vec<Summary>> {
    let judge = Judge::new(engine, caller, filters)?;
    let images = engine.images.all(&caller.tenant);
    let fitting = images.iter().filter_map(|image| {
        let names = engine.images.names(&caller.tenant, &image.id);
        let names = judge.admits(image, names)?;
        let dangling = names.is_empty();
        let intermediate =
            dangling && images.iter().any(|other| other.record.parent.as_ref() == Some(&image.id));
        if intermediate && !all {
            return None;
        }
        Some(summary(engine, image, &names, counted))
    });
    Ok(fitting.collect())
}

/// How many bytes all layers of a tenant's images are, each once.
pub fn layers_size(engine: &Engine, tenant: &Tenant) -> u64 {
    let shelf = engine.images.shelf();
    let mut layers: Vec<&HexId> = shelf.of(tenant).flat_map(|image| &image.layers).collect();
    layers.sort_unstable();
    layers.dedup();
    layers.into_iter().filter_map(|id| shelf.layers.get(id)).map(|layer| layer.size).sum()
}

fn summary(engine: &Engine, image: &Image, names: &[Reference], counted: Counted) -> Summary {
    let tenant = &image.record.tenant;
    let (tags, digests) = split(names);
    let users =
        || engine.containers.of(tenant).iter().filter(|container| container.image == image.id).count();
    Summary {
        containers: if counted.containers { users() as i64 } else { -1 },
        created: image.config.created_at() / 1_000_000_000,
        id: image.name(),
        labels: image.config.config.labels.clone(),
        parent_id: parent(image),
        repo_digests: digests,
        repo_tags: tags,
        shared_size: if counted.shared { shared(engine, image) as i64 } else { -1 },
        size: image.record.size,
    }
}

fn shared(engine: &Engine, image: &Image) -> u64 {
    let shelf = engine.images.shelf();
    let others: Vec<&Arc<Image>> =
        shelf.of(&image.record.tenant).filter(|other| other.id != image.id).collect();
    let shared = image.layers.iter().filter(|id| others.iter().any(|other| other.layers.contains(id)));
    shared.filter_map(|id| shelf.layers.get(id)).map(|layer| layer.size).sum()
}

fn parent(image: &Image) -> String {
    image.record.parent.as_ref().map(|id| format!("sha256:{id}")).unwrap_or_default()
}

/// Names by tag and names by digest.
fn split(names: &[Reference]) -> (Vec<String>, Vec<String>) {
    let (tags, digests): (Vec<&Reference>, Vec<&Reference>) =
        names.iter().partition(|name| name.tag.is_some());
    let text = |names: Vec<&Reference>| names.into_iter().map(Reference::familiar).collect();
    (text(tags), text(digests))
}

/// Everything about one.
pub fn inspect(engine: &Engine, image: &Image) -> Inspection {
    let (repo_tags, repo_digests) = split(&engine.images.names(&image.record.tenant, &image.id));
    let config = &image.config;
    Inspection {
        id: image.name(),
        repo_tags,
        repo_digests,
        parent: parent(image),
        comment: comment(image),
        created: config.created.clone(),
        docker_version: config.docker_version.clone(),
        author: config.author.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os: if config.os.is_empty() { "linux".to_owned() } else { config.os.clone() },
        os_version: config.os_version.clone(),
        size: image.record.size,
        graph_driver: GraphDriver { data: BTreeMap::new(), name: "overlay2" },
        root_fs: layers(&config.rootfs),
        metadata: Metadata { last_tag_time: clock::rfc3339(image.record.tagged) },
        config: config.config.clone(),
    }
}

/// The last step says it where the image itself does not.
fn comment(image: &Image) -> String {
    let last = image.config.history.last().map(|step| step.comment.clone());
    if image.config.comment.is_empty() { last.unwrap_or_default() } else { image.config.comment.clone() }
}

fn layers(root: &RootFs) -> Layers {
    Layers { kind: "layers", layers: root.diff_ids.clone() }
}

/// The steps that made it, the last first.
pub fn history(engine: &Engine, image: &Image) -> Vec<Step> {
    let mut ancestry = ancestry(engine, image);
    let mut sizes: Vec<u64> = {
        let shelf = engine.images.shelf();
        image.layers.iter().map(|id| shelf.layers.get(id).map_or(0, |layer| layer.size)).collect()
    };
    let steps = image.config.history.iter().rev().map(|step| {
        let size = if step.empty_layer { 0 } else { sizes.pop().unwrap_or(0) };
        let here = ancestry.next();
        let names = here.as_ref().map(|image| engine.images.names(&image.record.tenant, &image.id));
        let tags = names.map(|names| split(&names).0).filter(|tags| !tags.is_empty());
        Step {
            comment: step.comment.clone(),
            created: step.created.as_deref().map_or(0, super::config::nanoseconds) / 1_000_000_000,
            created_by: step.created_by.clone(),
            id: here.map_or_else(|| "<missing>".to_owned(), |image| image.name()),
            size,
            tags,
        }
    });
    steps.collect()
}

/// The image, the one it was made from, and so on. Steps of one that came from elsewhere have no images of their own.
fn ancestry(engine: &Engine, image: &Image) -> impl Iterator<Item = Arc<Image>> + use<> {
    let mut line = Vec::new();
    let shelf = engine.images.shelf();
    let mut next = shelf.image(&image.record.tenant, &image.id).cloned();
    while let Some(image) = next {
        let parent = image.record.parent.as_ref();
        next = parent.and_then(|id| shelf.image(&image.record.tenant, id)).cloned();
        line.push(image);
    }
    line.into_iter()
}
