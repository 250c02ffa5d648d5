//! Containers: what was asked of them, and what is known of them.

mod capabilities;
mod change;
mod check;
mod config;
mod create;
mod devices;
mod host_config;
mod inspect;
mod limits;
mod list;
mod log;
mod merge;
mod modes;
mod mount_point;
mod mounts;
mod names;
mod record;
mod remove;
mod seccomp;
mod security;
pub(crate) mod shape;
mod state;
mod status;
mod texts;
mod users;
mod verdict;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_spec::wire::{HexId, Tenant};

pub use change::{rename, update};
pub use config::{Config, Healthcheck};
pub use create::{Asked, Created, create, dry_run, plan};
pub use host_config::{
    BindOptions, DeviceMapping, DeviceRequest, HostConfig, LogConfig, MountAsked, PortBinding, RestartPolicy,
    ThrottleDevice, TmpfsOptions, Ulimit, VolumeDriver, VolumeOptions, WeightDevice,
};
pub use inspect::{Size, inspect, size};
pub use list::{FILTERS, ListAsked, chosen, list};
pub use log::details as log_details;
pub use mount_point::{MountPoint, PointKind};
pub(crate) use mounts::{tmpfs_options, volume_name};
pub use names::random;
pub use remove::{PRUNE_FILTERS, prune, reconcile, remove};
pub use shape::{Member, Words};
pub use state::{Container, Health, Probe, State, Status};
pub(crate) use texts::nameservers;
pub use verdict::report;
pub use wire::{log_order, streams, wire};

use crate::db::Db;
use crate::{Caller, Engine, Failure, Result};

/// The containers of all tenants.
#[derive(Debug, Default)]
pub struct Containers {
    known: Mutex<Known>,
    users: users::Users,
}

#[derive(Debug, Default)]
struct Known {
    by_id: BTreeMap<HexId, Arc<Container>>,
    /// Names, those of containers that are being made as well.
    names: BTreeMap<(Tenant, String), HexId>,
}

impl Containers {
    /// Reads what is known of them.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn load(db: &Db) -> Result<Self> {
        let mut known = Known::default();
        for container in record::load(db)? {
            known.names.insert((container.tenant.clone(), container.name()), container.id.clone());
            known.by_id.insert(container.id.clone(), Arc::new(container));
        }
        Ok(Self { known: Mutex::new(known), users: users::Users::default() })
    }

    /// A tenant's container, by id, by name, or by the beginning of its id where only one begins so.
    ///
    /// # Errors
    /// There is none, or several ids begin so.
    pub fn find(&self, caller: &Caller, name_or_id: &str) -> Result<Arc<Container>> {
        self.find_of(&caller.tenant, name_or_id)
    }

    /// As [`Containers::find`], for whoever knows the tenant only.
    ///
    /// # Errors
    /// There is none, or several ids begin so.
    pub fn find_of(&self, tenant: &Tenant, name_or_id: &str) -> Result<Arc<Container>> {
        let missing = || Failure::not_found(format!("No such container: {name_or_id}"));
        let known = self.known();
        let name = name_or_id.strip_prefix('/').unwrap_or(name_or_id);
        let by_name =
            || known.names.get(&(tenant.clone(), name.to_owned())).and_then(|id| known.by_id.get(id));
        let whole = name_or_id.parse().ok().and_then(|id: HexId| known.by_id.get(&id));
        if let Some(found) = whole.filter(|found| found.tenant == *tenant).or_else(by_name) {
            return Ok(Arc::clone(found));
        }
        if name.is_empty() || !name.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let mut begun =
            known.by_id.values().filter(|one| one.tenant == *tenant && one.id.as_str().starts_with(name));
        match (begun.next(), begun.next()) {
            (Some(one), None) => Ok(Arc::clone(one)),
            (None, _) => Err(missing()),
            _ => Err(Failure::invalid(format!("multiple IDs found with provided prefix: {name}"))),
        }
    }

    /// Any tenant's container, by its id: for what the broker tells of.
    pub fn by_id(&self, id: &HexId) -> Option<Arc<Container>> {
        self.known().by_id.get(id).cloned()
    }

    /// A tenant's containers, the newest first.
    pub fn of(&self, tenant: &Tenant) -> Vec<Arc<Container>> {
        let mut all: Vec<_> =
            self.known().by_id.values().filter(|one| one.tenant == *tenant).cloned().collect();
        all.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        all
    }

    /// Everybody's.
    pub fn all(&self) -> Vec<Arc<Container>> {
        self.known().by_id.values().cloned().collect()
    }

    /// The images that a tenant's containers were made of.
    pub fn images_in_use(&self, tenant: &Tenant) -> BTreeSet<HexId> {
        self.of(tenant).iter().map(|container| container.image.clone()).collect()
    }

    /// The containers of a tenant's that have a volume.
    pub fn with_volume(&self, tenant: &Tenant, place: &HexId) -> Vec<HexId> {
        let has = |one: &&Arc<Container>| {
            one.mounts
                .iter()
                .any(|point| matches!(&point.kind, PointKind::Volume { place: its, .. } if its == place))
        };
        self.of(tenant).iter().filter(has).map(|one| one.id.clone()).collect()
    }

    /// Takes a name for a container that is being made, or renamed.
    fn reserve(&self, tenant: &Tenant, name: &str, id: &HexId) -> Result<()> {
        let mut known = self.known();
        let key = (tenant.clone(), name.to_owned());
        if let Some(other) = known.names.get(&key) {
            return Err(Failure::conflict(format!(
                "Conflict. The container name \"/{name}\" is already in use by container \"{other}\". You have to \
                 remove (or rename) that container to be able to reuse that name."
            )));
        }
        known.names.insert(key, id.clone());
        Ok(())
    }

    /// How many a tenant has, those that are being made included.
    fn count(&self, tenant: &Tenant) -> usize {
        self.known().names.keys().filter(|(whose, _)| whose == tenant).count()
    }

    /// Gives a name back.
    fn release(&self, tenant: &Tenant, name: &str) {
        self.known().names.remove(&(tenant.clone(), name.to_owned()));
    }

    fn add(&self, container: &Arc<Container>) {
        self.known().by_id.insert(container.id.clone(), Arc::clone(container));
    }

    fn drop_container(&self, container: &Container) {
        let mut known = self.known();
        known.names.remove(&(container.tenant.clone(), container.name()));
        known.by_id.remove(&container.id);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Changes how a container is, and writes it down. In memory it has changed even where writing fails: what runs has
/// changed all the same.
///
/// # Errors
/// The metadata cannot be written.
pub fn set_state(engine: &Engine, container: &Container, change: impl FnOnce(&mut State)) -> Result<()> {
    let state = {
        let mut state = container.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.clone()
    };
    record::keep_state(&engine.db, container, &state)
}
