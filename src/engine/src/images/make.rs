//! Images that are made here: from a root filesystem's archive, or from what a container has changed.

use std::io::Read;
use std::sync::Arc;

use casemate_spec::wire::HexId;

use super::config::{Config, Defaults, History, RootFs};
use super::download::blocking;
use super::pins::{Hold, Pin};
use super::platform::Platform;
use super::record::{Image, Packed, Record};
use super::reference::Reference;
use super::{Draft, collect, packing, register, shelf, tag};
use crate::{Caller, Engine, Failure, Result, clock};

/// What becomes of an archive.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// Its name.
    pub reference: Option<Reference>,
    /// What is said of it.
    pub message: String,
    /// Instructions.
    pub changes: Vec<String>,
    /// For which platform; this host's unless it is said.
    pub platform: Option<Platform>,
}

/// What becomes of a container.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// What it was made from.
    pub base: Option<Arc<Image>>,
    /// Defaults of containers to come, before `changes`.
    pub defaults: Defaults,
    /// Instructions.
    pub changes: Vec<String>,
    /// What is said of it.
    pub comment: String,
    /// Who says so.
    pub author: String,
    /// The command that made the change.
    pub created_by: String,
    /// Its name.
    pub reference: Option<Reference>,
}

/// Makes an image of an archive: tar, or tar in gzip, bzip2, xz or zstd.
///
/// # Errors
/// The archive or an instruction is refused.
pub async fn import(
    engine: &Arc<Engine>,
    caller: &Caller,
    wish: Import,
    archive: Draft,
) -> Result<Arc<Image>> {
    let mut defaults = Defaults::default();
    defaults.apply(&wish.changes)?;
    let mut leftover = Leftover::new(engine);
    let layer = packing::keep(engine, archive, None, &mut leftover, None).await?;
    let platform = wish.platform.unwrap_or_else(Platform::host);
    let created = clock::rfc3339(clock::now());
    let step =
        History { created: Some(created.clone()), comment: wish.message.clone(), ..History::default() };
    let config = Config {
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        created: Some(created),
        comment: wish.message,
        config: defaults,
        history: vec![step],
        ..Config::default()
    };
    let image = finish(engine, caller, config, Vec::new(), layer, None)?;
    let attributes = shelf::attributes(&image.config, &image.name());
    engine.events.publish(&caller.tenant, "image", "import", image.name(), attributes);
    if let Some(reference) = &wish.reference {
        tag(engine, &image, reference)?;
    }
    Ok(image)
}

/// Makes an image of a container's changes; `changes` is their archive as the helper has written it, uncompressed.
///
/// # Errors
/// The archive or an instruction is refused.
pub async fn commit<R>(
    engine: &Arc<Engine>,
    caller: &Caller,
    wish: Commit,
    mut changes: R,
) -> Result<Arc<Image>>
where
    R: Read + Send + 'static,
{
    let mut defaults = wish.defaults.clone();
    defaults.apply(&wish.changes)?;
    // What it stands on may not go meanwhile.
    let _base = wish.base.as_deref().map(|base| engine.images.hold_blobs(base));
    let mut archive = engine.images.blobs.draft()?;
    let archive = blocking(move || {
        packing::pour(&mut changes, &mut archive)?;
        Ok(archive)
    })
    .await?;
    let mut leftover = Leftover::new(engine);
    let layer = packing::keep(engine, archive, None, &mut leftover, None).await?;
    let created = clock::rfc3339(clock::now());
    let base = wish.base.as_deref().map(|base| (*base.config).clone()).unwrap_or_else(|| {
        let host = Platform::host();
        Config { architecture: host.architecture, os: host.os, variant: host.variant, ..Config::default() }
    });
    let step = History {
        created: Some(created.clone()),
        created_by: wish.created_by,
        author: wish.author.clone(),
        comment: wish.comment.clone(),
        empty_layer: false,
    };
    let mut history = base.history.clone();
    history.push(step);
    let config = Config {
        created: Some(created),
        author: wish.author,
        comment: wish.comment,
        config: defaults,
        history,
        ..base
    };
    let packed = wish.base.as_ref().map(|base| base.record.packed.clone()).unwrap_or_default();
    let parent = wish.base.as_ref().map(|base| base.id.clone());
    let image = finish(engine, caller, config, packed, layer, parent)?;
    if let Some(reference) = &wish.reference {
        tag(engine, &image, reference)?;
    }
    Ok(image)
}

/// Writes the image down, with the new layer on top of those that its configuration has.
fn finish(
    engine: &Engine,
    caller: &Caller,
    mut config: Config,
    mut packed: Vec<Packed>,
    (diff, top): (HexId, Packed),
    parent: Option<HexId>,
) -> Result<Arc<Image>> {
    let mut diffs = config.rootfs.diff_ids;
    diffs.push(format!("sha256:{diff}"));
    packed.push(top);
    config.rootfs = RootFs { kind: "layers".to_owned(), diff_ids: diffs };
    let size = super::size(engine, &config.diff_ids()?);
    let bytes = serde_json::to_vec(&config)
        .map_err(|error| Failure::failed(format!("image configuration: {error}")))?;
    let id = engine.images.blobs.put(&bytes)?;
    let tenant = caller.tenant.clone();
    register(
        engine,
        Record { tenant, id, manifest: None, parent, packed, size, tagged: 0, verified: Vec::new() },
    )
}

/// What goes unless it has become an image's meanwhile.
pub struct Leftover {
    engine: Arc<Engine>,
    hold: Option<Hold>,
    blobs: Vec<HexId>,
    layers: Vec<HexId>,
}

impl Leftover {
    /// Of nothing yet.
    pub fn new(engine: &Arc<Engine>) -> Self {
        let hold = engine.images.pins.hold([]);
        Self { engine: Arc::clone(engine), hold: Some(hold), blobs: Vec::new(), layers: Vec::new() }
    }

    /// A blob more.
    pub fn add_blob(&mut self, blob: HexId) {
        if let Some(hold) = &mut self.hold {
            hold.extend([Pin::Blob(blob.clone())]);
        }
        self.blobs.push(blob);
    }

    /// A layer more.
    pub fn add(&mut self, layer: HexId) {
        if let Some(hold) = &mut self.hold {
            hold.extend([Pin::Layer(layer.clone())]);
        }
        self.layers.push(layer);
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        let (engine, blobs, layers) =
            (Arc::clone(&self.engine), std::mem::take(&mut self.blobs), std::mem::take(&mut self.layers));
        self.hold.take();
        tokio::spawn(async move { collect::unless_needed(&engine, blobs, layers).await });
    }
}
