//! Volumes: directories that outlive containers.

mod options;
mod prune;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_spec::wire::{Ask, HexId, Tenant};
use serde::{Deserialize, Serialize};

pub use options::{Backing, backing};
pub use prune::{FILTERS, PRUNE_FILTERS, list, prune, size, users};

use crate::containers::volume_name;
use crate::db::Db;
use crate::{Caller, Engine, Failure, Result, clock};

/// The kind of the documents.
const VOLUME: &str = "volume";
/// The label by which Docker knows a volume that nobody has named.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name, unique within its tenant.
    pub name: String,
    /// Its place in the store.
    pub place: HexId,
    /// Whose.
    pub tenant: Tenant,
    /// When it was made, in nanoseconds since 1970.
    pub created: u64,
    /// What its driver was told.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// The volumes of all tenants.
#[derive(Debug, Default)]
pub struct Volumes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    by_name: BTreeMap<(Tenant, String), Arc<Volume>>,
    /// Volumes of containers that are being made, each as often as there are such.
    held: Vec<HexId>,
}

/// Keeps a volume from removal while the container that is to have it is being made.
#[derive(Debug)]
pub struct Hold {
    engine: Arc<Engine>,
    place: HexId,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut known = self.engine.volumes.known();
        if let Some(index) = known.held.iter().position(|held| *held == self.place) {
            known.held.swap_remove(index);
        }
    }
}

/// What a volume is to be.
#[derive(Debug, Clone, Default)]
pub struct VolumeAsked {
    /// Its name; none is a random one.
    pub name: Option<String>,
    /// `local`, or nothing.
    pub driver: String,
    /// The driver's.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl Volumes {
    /// Reads what is known of them.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn load(db: &Db) -> Result<Self> {
        let known: Vec<(String, Volume)> = db.all(VOLUME)?;
        let volumes = known
            .into_iter()
            .map(|(_, volume)| ((volume.tenant.clone(), volume.name.clone()), Arc::new(volume)));
        Ok(Self(Mutex::new(Known { by_name: volumes.collect(), held: Vec::new() })))
    }

    /// A tenant's volume, by its name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, caller: &Caller, name: &str) -> Result<Arc<Volume>> {
        let key = (caller.tenant.clone(), name.to_owned());
        let missing = || Failure::not_found(format!("get {name}: no such volume"));
        self.known().by_name.get(&key).cloned().ok_or_else(missing)
    }

    /// A tenant's, by name.
    pub fn of(&self, tenant: &Tenant) -> Vec<Arc<Volume>> {
        self.known().by_name.values().filter(|volume| volume.tenant == *tenant).cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a volume, or gives the one that has its name; says whether it was made.
///
/// # Errors
/// The driver is not known, or the broker refuses.
pub async fn create(engine: &Engine, caller: &Caller, asked: VolumeAsked) -> Result<(Arc<Volume>, bool)> {
    if !matches!(asked.driver.as_str(), "" | "local") {
        let message = format!("error looking up volume plugin {0}: plugin {0:?} not found", asked.driver);
        return Err(Failure::not_found(message));
    }
    if let Some(name) = &asked.name {
        volume_name(name).map_err(|failure| failure.within(format!("create {name}")))?;
    }
    backing(&asked.options).map_err(|failure| failure.within("create"))?;
    if let Some(Ok(volume)) = asked.name.as_deref().map(|name| engine.volumes.find(caller, name)) {
        return Ok((volume, false));
    }
    let place = HexId::from_bytes(crate::containers::random()?);
    let mut labels = asked.labels;
    if asked.name.is_none() {
        labels.insert(ANONYMOUS.to_owned(), String::new());
    }
    let volume = Volume {
        name: asked.name.unwrap_or_else(|| place.to_string()),
        tenant: caller.tenant.clone(),
        created: clock::now(),
        options: asked.options,
        labels,
        place,
    };
    let ask = Ask::MakeVolume { volume: volume.place.clone(), tenant: volume.tenant.clone() };
    engine.broker.done(ask, &[]).await?;
    let key = (volume.tenant.clone(), volume.name.clone());
    let volume = Arc::new(volume);
    let other = {
        let mut known = engine.volumes.known();
        let entry = known.by_name.entry(key).or_insert_with(|| Arc::clone(&volume));
        (entry.place != volume.place).then(|| Arc::clone(entry))
    };
    // Somebody else was quicker with the same name.
    if let Some(other) = other {
        engine.broker.done(Ask::RemoveVolume { volume: volume.place.clone() }, &[]).await?;
        return Ok((other, false));
    }
    engine.db.put(VOLUME, volume.place.as_str(), &*volume)?;
    tell(engine, &volume, "create");
    Ok((volume, true))
}

/// Keeps a volume from removal until the answer is dropped.
///
/// # Errors
/// It was removed meanwhile.
pub fn hold(engine: &Arc<Engine>, volume: &Volume) -> Result<Hold> {
    let mut known = engine.volumes.known();
    if !known.by_name.values().any(|other| other.place == volume.place) {
        return Err(Failure::not_found(format!("get {}: no such volume", volume.name)));
    }
    known.held.push(volume.place.clone());
    Ok(Hold { engine: Arc::clone(engine), place: volume.place.clone() })
}

/// Removes a volume. From the first moment on nobody finds it any more.
///
/// # Errors
/// A container has it, or the broker refuses.
pub async fn remove(engine: &Engine, volume: &Volume) -> Result<()> {
    let key = (volume.tenant.clone(), volume.name.clone());
    let taken = {
        let mut known = engine.volumes.known();
        let users = users(engine, volume);
        if !users.is_empty() || known.held.contains(&volume.place) {
            let message = format!("remove {}: volume is in use - [{}]", volume.name, users.join(", "));
            return Err(Failure::conflict(message));
        }
        known.by_name.remove(&key)
    };
    let removed = engine.broker.done(Ask::RemoveVolume { volume: volume.place.clone() }, &[]).await;
    if let (Err(_), Some(taken)) = (&removed, taken) {
        engine.volumes.known().by_name.entry(key).or_insert(taken);
    }
    removed?;
    engine.db.remove(VOLUME, volume.place.as_str())?;
    tell(engine, volume, "destroy");
    Ok(())
}

fn tell(engine: &Engine, volume: &Volume, action: &str) {
    let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
    engine.events.publish(&volume.tenant, "volume", action, volume.name.clone(), attributes);
}
