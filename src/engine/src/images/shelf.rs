//! Images, names and layers in memory, as the database has them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use casemate_spec::wire::{HexId, Tenant};

use super::config::Config;
use super::record::{Image, Layer};
use super::reference::{Named, Reference};
use crate::{Failure, Result};

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Shelf {
    images: BTreeMap<Tenant, BTreeMap<HexId, Arc<Image>>>,
    names: BTreeMap<Tenant, BTreeMap<Reference, HexId>>,
    /// Layers of the store, which tenants share.
    pub layers: HashMap<HexId, Layer>,
    /// Layers that no image has any more, but perhaps a container.
    pub orphans: BTreeSet<HexId>,
}

impl Shelf {
    /// Puts an image, or another state of it.
    pub fn put(&mut self, image: Image) -> Arc<Image> {
        let image = Arc::new(image);
        let shelf = self.images.entry(image.record.tenant.clone()).or_default();
        shelf.insert(image.id.clone(), Arc::clone(&image));
        image
    }

    /// Puts a name, in place of what it named before.
    pub fn name(&mut self, tenant: Tenant, reference: Reference, image: HexId) {
        self.names.entry(tenant).or_default().insert(reference, image);
    }

    /// Removes an image.
    pub fn remove(&mut self, tenant: &Tenant, id: &HexId) {
        if let Some(images) = self.images.get_mut(tenant) {
            images.remove(id);
        }
    }

    /// Removes a name.
    pub fn unname(&mut self, tenant: &Tenant, reference: &Reference) {
        if let Some(names) = self.names.get_mut(tenant) {
            names.remove(reference);
        }
    }

    /// A tenant's images.
    pub fn of(&self, tenant: &Tenant) -> impl Iterator<Item = &Arc<Image>> {
        self.images.get(tenant).into_iter().flat_map(BTreeMap::values)
    }

    /// Everybody's images.
    pub fn every(&self) -> impl Iterator<Item = &Arc<Image>> {
        self.images.values().flat_map(BTreeMap::values)
    }

    /// One of them, by its whole id.
    pub fn image(&self, tenant: &Tenant, id: &HexId) -> Option<&Arc<Image>> {
        self.images.get(tenant)?.get(id)
    }

    /// What a name names.
    pub fn named(&self, tenant: &Tenant, reference: &Reference) -> Option<&HexId> {
        self.names.get(tenant)?.get(reference)
    }

    /// The names of an image: first those by tag.
    pub fn names(&self, tenant: &Tenant, id: &HexId) -> Vec<Reference> {
        let names = self.names.get(tenant).into_iter().flatten();
        let mut names: Vec<_> =
            names.filter(|(_, named)| *named == id).map(|(name, _)| name.clone()).collect();
        names.sort_by_key(|name| name.tag.is_none());
        names
    }

    /// The names of a repository.
    pub fn repository(&self, tenant: &Tenant, repository: &Reference) -> Vec<(Reference, HexId)> {
        let same = |name: &Reference| name.domain == repository.domain && name.path == repository.path;
        let names = self.names.get(tenant).into_iter().flatten().filter(|(name, _)| same(name));
        names.map(|(name, id)| (name.clone(), id.clone())).collect()
    }

    /// Finds what a client means.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find(&self, tenant: &Tenant, text: &str) -> Result<Arc<Image>> {
        let missing = |shown: &str| Failure::not_found(format!("No such image: {shown}"));
        let found = |id: &HexId| self.image(tenant, id).cloned();
        let parsed = match Named::parse(text) {
            Ok(Named::Id(id)) => return found(&id).ok_or_else(|| missing(text)),
            Ok(Named::Reference(reference)) => Some(reference.or_latest()),
            Err(_) if is_prefix(text) => None,
            Err(failure) => return Err(failure),
        };
        let named = parsed.as_ref().and_then(|reference| self.resolve(tenant, reference));
        if let Some(image) = named.and_then(|id| found(&id)) {
            return Ok(image);
        }
        match self.by_prefix(tenant, text)? {
            Some(image) => Ok(image),
            None => Err(missing(&parsed.map_or_else(|| text.to_owned(), |name| name.familiar()))),
        }
    }

    /// A tag beside a digest says nothing: the digest decides, as long as this repository has it.
    fn resolve(&self, tenant: &Tenant, reference: &Reference) -> Option<HexId> {
        let Some(digest) = &reference.digest else {
            return self.named(tenant, reference).cloned();
        };
        if let Some(id) = self.named(tenant, &reference.by_digest(digest.clone())) {
            return Some(id.clone());
        }
        let names = self.repository(tenant, reference);
        names.into_iter().map(|(_, id)| id).find(|id| id == digest)
    }

    fn by_prefix(&self, tenant: &Tenant, text: &str) -> Result<Option<Arc<Image>>> {
        if !is_prefix(text) {
            return Ok(None);
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text);
        let mut matching = self.of(tenant).filter(|image| image.id.as_str().starts_with(prefix));
        match (matching.next(), matching.next()) {
            (Some(_), Some(_)) => {
                Err(Failure::invalid(format!("ambiguous image reference: {text} begins several ids")))
            }
            (only, _) => Ok(only.cloned()),
        }
    }
}

/// Whether a text may be the beginning of an id.
pub fn is_prefix(text: &str) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// What an event about an image says of it.
pub fn attributes(config: &Config, name: &str) -> BTreeMap<String, String> {
    let mut attributes = config.config.labels.clone().unwrap_or_default();
    attributes.insert("name".to_owned(), name.to_owned());
    attributes
}
