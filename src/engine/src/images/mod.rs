//! Images: what they are made of, where they come from and go to.

mod blobs;
mod changes;
mod collect;
pub mod config;
mod download;
mod filters;
#[cfg(test)]
mod hostile;
mod hub;
mod layers;
mod list;
mod load;
mod make;
pub mod manifest;
mod packing;
mod pins;
pub mod platform;
mod progress;
mod prune;
mod pull;
mod push;
mod record;
pub mod reference;
pub mod registry;
mod remove;
mod save;
#[cfg(test)]
mod scratch;
mod shelf;
mod signature;
mod stream;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_spec::wire::{HexId, Tenant};

use crate::db::Db;
use crate::{Caller, Engine, Failure, Result, Settings, clock};

pub use blobs::{Blobs, Draft, sha256};
pub use collect::{reconcile, sweep};
pub use config::{Config, Defaults, Healthcheck};
pub use filters::{Filters, moment};
pub use hub::{Hit, login, search};
pub use list::{Counted, Inspection, Step, Summary, history, inspect, layers_size, list};
pub use load::{contents, entries, load};
pub use make::{Commit, Import, commit, import};
pub use pins::Hold;
pub use platform::Platform;
pub use progress::Progress;
pub use prune::{Pruned, prune};
pub use pull::{Pull, look, pull};
pub use push::push;
pub use record::{Image, Layer, Packed, Record};
pub use reference::Reference;
pub use remove::{Removed, Wish, remove};
pub use save::Save;
pub use signature::enforce;
pub use stream::{Outlet, Pieces};

use layers::Workshop;
use pins::{Pin, Pins};
use record::{Name, image_key, name_key};
use registry::Limits;
use shelf::Shelf;

/// Kinds of documents.
const IMAGE: &str = "image";
const NAME: &str = "image-name";
const LAYER: &str = "layer";

/// The images of all tenants.
#[derive(Debug)]
pub struct Images {
    /// Their bytes.
    pub blobs: Blobs,
    shelf: Mutex<Shelf>,
    pins: Pins,
    workshop: Workshop,
    limits: Limits,
}

impl Images {
    /// Reads what is known of them.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn load(settings: &Settings, db: &Db) -> Result<Self> {
        let blobs = Blobs::open(&settings.home)?;
        let mut shelf = Shelf::default();
        for (key, record) in db.all::<Record>(IMAGE)? {
            // A damaged image is left where it is, unseen, until somebody pulls or removes it.
            match read(&blobs, record) {
                Ok(image) => drop(shelf.put(image)),
                Err(failure) => eprintln!("casemated: image {key}: {failure}"),
            }
        }
        for (_, name) in db.all::<Name>(NAME)? {
            shelf.name(name.tenant, Reference::parse(&name.name)?, name.image);
        }
        for (id, layer) in db.all::<Layer>(LAYER)? {
            shelf.layers.insert(id.parse()?, layer);
        }
        Ok(Self {
            blobs,
            shelf: Mutex::new(shelf),
            pins: Pins::default(),
            workshop: Workshop::default(),
            limits: Limits::default(),
        })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds what a client means: a whole id, a name, a name and a digest, or the beginning of an id.
    ///
    /// # Errors
    /// There is none, in Docker's words, or more than one.
    pub fn find(&self, caller: &Caller, text: &str) -> Result<Arc<Image>> {
        self.shelf().find(&caller.tenant, text)
    }

    /// An image that was found before, if it is still there; `shown` is what it was asked for by.
    ///
    /// # Errors
    /// It has gone.
    pub fn present(&self, image: &Image, shown: &str) -> Result<Arc<Image>> {
        let there = self.shelf().image(&image.record.tenant, &image.id).cloned();
        there.ok_or_else(|| Failure::not_found(format!("No such image: {shown}")))
    }

    /// All of a tenant's, those made last first.
    pub fn all(&self, tenant: &Tenant) -> Vec<Arc<Image>> {
        let mut all: Vec<_> = self.shelf().of(tenant).cloned().collect();
        all.sort_by_key(|image| std::cmp::Reverse(image.config.created_at()));
        all
    }

    /// The names of an image.
    pub fn names(&self, tenant: &Tenant, id: &HexId) -> Vec<Reference> {
        self.shelf().names(tenant, id)
    }

    /// What an image is shown as in lists: its first name, or its short id.
    pub fn shown(&self, tenant: &Tenant, id: &HexId) -> String {
        let names = self.names(tenant, id);
        names.first().map_or_else(|| id.short().to_owned(), Reference::familiar)
    }

    /// Keeps an image from being removed while the answer lives.
    pub fn hold(&self, image: &Image) -> Hold {
        self.pins.hold([Pin::Image(image.record.tenant.clone(), image.id.clone())])
    }

    /// Keeps its blobs as well: a push may have others made of it, and let these go.
    fn hold_blobs(&self, image: &Image) -> Hold {
        let mut hold = self.hold(image);
        hold.extend(image.blobs().cloned().map(Pin::Blob));
        hold
    }
}

/// Gives an image a name.
///
/// # Errors
/// The database cannot be written.
pub fn tag(engine: &Engine, image: &Image, reference: &Reference) -> Result<()> {
    if reference.digest.is_some() {
        return Err(Failure::invalid("refusing to create a tag with a digest reference"));
    }
    let reference = reference.clone().or_latest();
    name(engine, image, &reference)?;
    engine.events.publish(
        &image.record.tenant,
        "image",
        "tag",
        image.name(),
        shelf::attributes(&image.config, &reference.familiar()),
    );
    Ok(())
}

/// Writes down an image, all of whose blobs and layers are there. It keeps its names, should it be there already.
fn register(engine: &Engine, mut record: Record) -> Result<Arc<Image>> {
    let mut shelf = engine.images.shelf();
    if let Some(known) = shelf.image(&record.tenant, &record.id) {
        record.tagged = known.record.tagged;
        record.parent = record.parent.or_else(|| known.record.parent.clone());
        // What a registry knows by its digest stays so, though the same image comes in an archive.
        let there =
            |packed: &Packed| engine.images.blobs.find(&packed.digest).is_ok_and(|file| file.is_some());
        if record.manifest.is_none() && known.record.packed.iter().all(there) {
            record.manifest.clone_from(&known.record.manifest);
            record.packed.clone_from(&known.record.packed);
        }
        // Its id is what was signed: it is the same image, wherever it comes from this time.
        for verified in &known.record.verified {
            record.verify(verified.clone());
        }
    }
    let key = image_key(&record.tenant, &record.id);
    engine.db.put(IMAGE, &key, &record)?;
    Ok(shelf.put(read(&engine.images.blobs, record)?))
}

/// Bytes of content of some layers.
fn size(engine: &Engine, layers: &[HexId]) -> u64 {
    let shelf = engine.images.shelf();
    layers.iter().filter_map(|id| shelf.layers.get(id)).map(|layer| layer.size).sum()
}

/// Writes down a name, which may be one by digest.
fn name(engine: &Engine, image: &Image, reference: &Reference) -> Result<()> {
    let tenant = &image.record.tenant;
    let document = Name { tenant: tenant.clone(), name: reference.to_string(), image: image.id.clone() };
    let mut shelf = engine.images.shelf();
    // As it is by now: whoever names it may have found it before a push packed it, or a pull found its signature.
    let now = shelf.image(tenant, &image.id).map(|now| Image::clone(now));
    let mut tagged = now.ok_or_else(|| Failure::not_found(format!("No such image: {}", image.name())))?;
    if reference.tag.is_some() {
        tagged.record.tagged = clock::now();
    }
    engine.db.write(|batch| {
        batch.put(NAME, &name_key(tenant, reference), &document)?;
        batch.put(IMAGE, &image_key(tenant, &image.id), &tagged.record)
    })?;
    shelf.put(tagged);
    shelf.name(tenant.clone(), reference.clone(), image.id.clone());
    Ok(())
}

fn read(blobs: &Blobs, record: Record) -> Result<Image> {
    let config = Config::parse(&blobs.read(&record.id, config::LARGEST)?)?;
    let layers = config.diff_ids()?;
    Ok(Image { id: record.id.clone(), config: Arc::new(config), layers, record })
}
