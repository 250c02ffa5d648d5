//! Everything together.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use casemate_spec::wire::{Ask, Host, Limits, PolicyName, Tenant};

use crate::broker::Broker;
use crate::containers::Containers;
use crate::db::Db;
use crate::events::Events;
use crate::files::Volumes;
use crate::images::Images;
use crate::networks::{self, Networks, Pool, Rules};
use crate::supervision::Supervision;
use crate::{Failure, Kind, Result, clock};

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
    /// Ranges from which networks are taken; none of a family is the usual ones.
    pub pools: Vec<Pool>,
    /// The host's address for published ports that name none; none is for the policy to say.
    pub ip: Option<IpAddr>,
    /// The default of `LogConfig`: driver and options.
    pub log_driver: String,
    /// Options of the driver.
    pub log_opts: BTreeMap<String, String>,
    /// Containers run on when the daemon ends.
    pub live_restore: bool,
    /// Public keys (PEM) one of which must have signed every image that is pulled, by the image's repository prefix.
    pub signed: Vec<(String, Vec<String>)>,
    /// The policy of containers that ask for none; none is the host's default.
    pub policy: Option<PolicyName>,
    /// What tenants may use.
    pub quotas: BTreeMap<Tenant, Quota>,
}

/// What a tenant may use.
#[derive(Debug, Clone, Default)]
pub struct Quota {
    /// The policy of its containers that ask for none.
    pub policy: Option<PolicyName>,
    /// The most containers, running or not.
    pub containers: Option<usize>,
    /// The most bytes in a container's own layer.
    pub disk: Option<u64>,
    /// Of all its containers together.
    pub limits: Limits,
    /// The most networks of its own.
    pub networks: Option<usize>,
    /// Where its containers may connect to; none is everywhere.
    pub egress: Option<Rules>,
}

impl Settings {
    /// The policy of a tenant's containers that ask for none; none is the host's default.
    pub fn policy(&self, tenant: &Tenant) -> Option<&PolicyName> {
        let own = self.quotas.get(tenant).and_then(|quota| quota.policy.as_ref());
        own.or(self.policy.as_ref())
    }

    /// The most bytes in the own layer of one of a tenant's containers.
    pub fn disk(&self, tenant: &Tenant) -> Option<u64> {
        self.quotas.get(tenant).and_then(|quota| quota.disk)
    }

    /// Refuses one more network of a tenant that has so many.
    ///
    /// # Errors
    /// The quota is used up.
    pub fn admit_network(&self, tenant: &Tenant, networks: usize) -> Result<()> {
        /// The broker holds 256 of a tenant's, of which one is the bridge that every tenant has.
        const MOST: usize = 255;
        let quota = self.quotas.get(tenant).and_then(|quota| quota.networks);
        let most = quota.unwrap_or(MOST).min(MOST);
        if networks >= most {
            let message = format!("quota of tenant {tenant}: it has {networks} of {most} networks");
            return Err(Failure::new(Kind::Forbidden, message));
        }
        Ok(())
    }

    /// Refuses one more container of a tenant that has so many.
    ///
    /// # Errors
    /// The quota is used up.
    pub fn admit(&self, tenant: &Tenant, containers: usize) -> Result<()> {
        match self.quotas.get(tenant).and_then(|quota| quota.containers) {
            Some(most) if containers >= most => {
                let message = format!("quota of tenant {tenant}: it has {containers} of {most} containers");
                Err(Failure::new(Kind::Forbidden, message))
            }
            _ => Ok(()),
        }
    }
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
    /// Networks.
    pub networks: Networks,
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
        let networks = Networks::load(&db)?;
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
            networks,
            since: clock::now(),
        });
        for (tenant, quota) in &engine.settings.quotas {
            let (tenant, limits) = (tenant.clone(), quota.limits.clone());
            engine.broker.done(Ask::Limit { tenant, limits }, &[]).await?;
        }
        crate::images::reconcile(&engine).await?;
        networks::hear_denials(&engine);
        networks::reconcile(&engine, &hello.running).await?;
        networks::follow(&engine);
        crate::supervision::adopt(&engine, hello.running).await?;
        crate::containers::reconcile(&engine).await?;
        Ok(engine)
    }
}
