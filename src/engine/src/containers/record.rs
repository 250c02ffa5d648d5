//! How containers are kept: one document for what was asked, one for how it is, which changes at every start and end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use casemate_spec::wire::{HexId, Tenant, UserEntry};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::state::Settings;
use super::{Config, Container, HostConfig, MountPoint, State};
use crate::Result;
use crate::db::{Batch, Db};

/// The kind of the documents of what was asked.
const ASKED: &str = "container";
/// The kind of the documents of how it is.
const STATE: &str = "container-state";

/// What was asked, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    tenant: Tenant,
    name: String,
    created: u64,
    image: HexId,
    layers: Vec<HexId>,
    config: Config,
    host_config: HostConfig,
    mounts: Vec<MountPoint>,
    user: UserEntry,
    verdict: Value,
}

/// Everything that is kept.
///
/// # Errors
/// It cannot be read.
pub fn load(db: &Db) -> Result<Vec<Container>> {
    let mut states: BTreeMap<String, State> = db.all(STATE)?.into_iter().collect();
    let records: Vec<(String, Record)> = db.all(ASKED)?;
    records
        .into_iter()
        .map(|(id, record)| {
            let state = states.remove(&id).unwrap_or_default();
            let settings = Settings { name: record.name, host_config: Arc::new(record.host_config) };
            Ok(Container {
                id: id.parse()?,
                tenant: record.tenant,
                created: record.created,
                image: record.image,
                layers: record.layers,
                config: record.config,
                mounts: record.mounts,
                user: record.user,
                verdict: record.verdict,
                state: Mutex::new(state),
                settings: Mutex::new(settings),
            })
        })
        .collect()
}

/// Keeps what was asked of a container.
///
/// # Errors
/// It cannot be written.
pub fn keep(batch: &Batch<'_>, container: &Container) -> Result<()> {
    let settings = container.settings().clone();
    let record = Record {
        tenant: container.tenant.clone(),
        name: settings.name,
        created: container.created,
        image: container.image.clone(),
        layers: container.layers.clone(),
        config: container.config.clone(),
        host_config: HostConfig::clone(&settings.host_config),
        mounts: container.mounts.clone(),
        user: container.user.clone(),
        verdict: container.verdict.clone(),
    };
    batch.put(ASKED, container.id.as_str(), &record)
}

/// Keeps how a container is.
///
/// # Errors
/// It cannot be written.
pub fn keep_state(db: &Db, container: &Container, state: &State) -> Result<()> {
    db.put(STATE, container.id.as_str(), state)
}

/// Forgets a container.
///
/// # Errors
/// It cannot be written.
pub fn forget(batch: &Batch<'_>, id: &HexId) -> Result<()> {
    batch.remove(ASKED, id.as_str())?;
    batch.remove(STATE, id.as_str())
}
