//! Volumes: directories that outlive containers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use casemate_spec::wire::{Ask, HexId, Tenant};
use serde::{Deserialize, Serialize};

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
pub struct Volumes(Mutex<BTreeMap<(Tenant, String), Arc<Volume>>>);

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
        Ok(Self(Mutex::new(volumes.collect())))
    }

    /// A tenant's volume, by its name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, caller: &Caller, name: &str) -> Result<Arc<Volume>> {
        let key = (caller.tenant.clone(), name.to_owned());
        let missing = || Failure::not_found(format!("get {name}: no such volume"));
        self.known().get(&key).cloned().ok_or_else(missing)
    }

    /// A tenant's, by name.
    pub fn of(&self, tenant: &Tenant) -> Vec<Arc<Volume>> {
        self.known().values().filter(|volume| volume.tenant == *tenant).cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(Tenant, String), Arc<Volume>>> {
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
    if let Some((option, _)) = asked.options.first_key_value() {
        return Err(Failure::invalid(format!(
            "create: option {option:?} of the local driver is not available yet"
        )));
    }
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
        let entry = known.entry(key).or_insert_with(|| Arc::clone(&volume));
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

/// Removes a volume.
///
/// # Errors
/// A container has it, or the broker refuses.
pub async fn remove(engine: &Engine, volume: &Volume) -> Result<()> {
    let users = engine.containers.with_volume(&volume.tenant, &volume.place);
    if !users.is_empty() {
        let ids: Vec<&str> = users.iter().map(HexId::as_str).collect();
        return Err(Failure::conflict(format!(
            "remove {}: volume is in use - [{}]",
            volume.name,
            ids.join(", ")
        )));
    }
    engine.broker.done(Ask::RemoveVolume { volume: volume.place.clone() }, &[]).await?;
    engine.db.remove(VOLUME, volume.place.as_str())?;
    engine.volumes.known().remove(&(volume.tenant.clone(), volume.name.clone()));
    tell(engine, volume, "destroy");
    Ok(())
}

fn tell(engine: &Engine, volume: &Volume, action: &str) {
    let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
    engine.events.publish(&volume.tenant, "volume", action, volume.name.clone(), attributes);
}
