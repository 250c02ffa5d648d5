//! Everything together.

use std::path::PathBuf;
use std::sync::Arc;

use casemate_spec::wire::Host;

use crate::broker::Broker;
use crate::containers::Containers;
use crate::db::Db;
use crate::events::Events;
use crate::files::Volumes;
use crate::images::Images;
use crate::supervision::Supervision;
use crate::{Result, clock};

/// What the operator has set, as far as the engine needs it.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The daemon's own folder: database, blobs.
    pub home: PathBuf,
    /// Where containers' logs are.
    pub logs: PathBuf,
    /// Registries, besides those on loopback, that may be spoken to without TLS (`host[:port]`).
    pub insecure_registries: Vec<String>,
    /// Mirrors of docker.io, by URL.
    pub registry_mirrors: Vec<String>,
    /// Resolvers for containers; none is the host's.
    pub dns: Vec<String>,
    /// The default of `LogConfig`: driver and options.
    pub log_driver: String,
    /// Options of the driver.
    pub log_opts: std::collections::BTreeMap<String, String>,
    /// Containers run on when the daemon ends.
    pub live_restore: bool,
    /// Public keys (PEM) one of which must have signed every image that is pulled, by the image's repository prefix.
    pub signed: Vec<(String, Vec<String>)>,
}

/// The engine.
#[derive(Debug)]
pub struct Engine {
    /// What the operator has set.
    pub settings: Settings,
    /// The privileged side.
    pub broker: Broker,
    /// What the broker said of the host.
    pub host: Host,
    /// Metadata.
    pub db: Db,
    /// What happens.
    pub events: Events,
    /// Images.
    pub images: Images,
    /// Containers, as they are known.
    pub containers: Containers,
    /// Containers, as they run.
    pub supervision: Supervision,
    /// Volumes.
    pub volumes: Volumes,
    /// When it started, in nanoseconds since 1970.
    pub since: u64,
}

impl Engine {
    /// Reads what is known, and brings it in line with what really runs.
    ///
    /// # Errors
    /// The metadata cannot be read, or the broker is gone.
    pub async fn start(settings: Settings, broker: Broker, hello: crate::broker::Hello) -> Result<Arc<Self>> {
        let db = Db::open(&settings.home.join("engine.db"))?;
        let images = Images::load(&settings, &db)?;
        let containers = Containers::load(&db)?;
        let volumes = Volumes::load(&db)?;
        let engine = Arc::new(Self {
            settings,
            broker,
            host: hello.host,
            db,
            events: Events::default(),
            images,
            containers,
            supervision: Supervision::default(),
            volumes,
            since: clock::now(),
        });
        crate::supervision::adopt(&engine, hello.running).await?;
        Ok(engine)
    }
}
