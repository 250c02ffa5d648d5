//! The store: layers, staging places, containers' places, volumes. Names are ids; nothing is removed while it is used.

use std::os::fd::OwnedFd;

use casemate_spec::wire::{DAEMON, HexId, Refusal, RefusalKind, STORE_IDS, Stored, Tenant};
use casemate_spec::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::broker::{Broker, Sweep, refused};
use crate::containers::{Container, Made, Stage};
use crate::places::{ROOT, SHIMS, STORE};
use crate::refusal::refuse;
use crate::tree;

/// `volume.json` beside a volume's `_data`.
#[derive(Debug, Serialize, Deserialize)]
struct Volume {
    tenant: Tenant,
}

impl Broker {
    /// Everything that has a place.
    pub(crate) fn list(&self) -> Result<Stored> {
        let ids = |at: &OwnedFd| -> Result<Vec<HexId>> {
            Ok(tree::names(at)?.iter().filter_map(|name| name.parse().ok()).collect())
        };
        let places = &self.places;
        Ok(Stored {
            layers: ids(&places.layers)?,
            staging: ids(&places.staging)?,
            containers: ids(&places.containers)?,
            volumes: ids(&places.volumes)?,
        })
    }

    /// A staging place becomes a layer. It lasts: the helper's files were put on the disk before it was answered for.
    pub(crate) fn keep_layer(&mut self, staging: &HexId, layer: &HexId) -> Result<(), Refusal> {
        self.unused(staging)?;
        if !tree::exists(&self.places.staging, staging.as_str()) {
            let text = format!("staging place {}: there is none", staging.short());
            return Err(refuse(RefusalKind::NotFound, text));
        }
        if tree::exists(&self.places.layers, layer.as_str()) {
            return self.drop_staging(staging);
        }
        let (from, to) = (&self.places.staging, &self.places.layers);
        let moved = tree::rename(from, staging.as_str(), to, layer.as_str()).and_then(|()| tree::sync(to));
        moved.map_err(refused)
    }

    pub(crate) fn drop_layer(&mut self, layer: &HexId) -> Result<(), Refusal> {
        self.unused(layer)?;
        if let Some((id, _)) =
            self.containers.iter().find(|(_, container)| container.made.layers.contains(layer))
        {
            let text = format!("layer {}: container {} stands on it", layer.short(), id.short());
            return Err(refuse(RefusalKind::Conflict, text));
        }
        let at = self.places.layers.try_clone();
        self.discard(at, layer.as_str())
    }

    pub(crate) fn drop_staging(&mut self, staging: &HexId) -> Result<(), Refusal> {
        self.unused(staging)?;
        let at = self.places.staging.try_clone();
        self.discard(at, staging.as_str())
    }

    fn unused(&self, id: &HexId) -> Result<(), Refusal> {
        let used = self.in_use.contains(id);
        if used {
            Err(refuse(RefusalKind::Conflict, format!("{}: it is in use", id.short())))
        } else {
            Ok(())
        }
    }

    pub(crate) fn make_container(
        &mut self,
        id: &HexId,
        tenant: Tenant,
        layers: Vec<HexId>,
        quota: Option<u64>,
    ) -> Result<(), Refusal> {
        if self.containers.contains_key(id) || tree::exists(&self.places.containers, id.as_str()) {
            let text = format!("container {}: it is there already", id.short());
            return Err(refuse(RefusalKind::Conflict, text));
        }
        if let Some(missing) = layers.iter().find(|layer| !tree::exists(&self.places.layers, layer.as_str()))
        {
            return Err(refuse(RefusalKind::NotFound, format!("layer {}: there is none", missing.short())));
        }
        let made = Made { tenant, layers, quota };
        self.lay_out(id, &made).map_err(refused)?;
        self.tenants.insert(made.tenant.to_string());
        self.containers.insert(id.clone(), Container::new(made));
        Ok(())
    }

    /// Under a name that nobody looks at, then in place at once.
    fn lay_out(&self, id: &HexId, made: &Made) -> Result<()> {
        let at = &self.places.containers;
        let hidden = format!(".{id}");
        tree::remove(at, &hidden)?;
        // Root of the user namespace in which the layers are assembled passes through it.
        let place = tree::make_dir(at, &hidden, ROOT, 0o711)?;
        tree::make_dir(&place, "fs", STORE, 0o755)?;
        tree::make_dir(&place, "work", STORE, 0o755)?;
        tree::make_dir(&place, "files", ROOT, 0o755)?;
        let bytes = serde_json::to_vec(made).map_err(|error| Error::new("layers.json", error.to_string()))?;
        tree::write(&place, "layers.json", &bytes, ROOT, 0o600, true)?;
        tree::ensure_dir(&self.places.logs, id.as_str(), (SHIMS.0, STORE_IDS + DAEMON), 0o750)?;
        tree::rename(at, &hidden, at, id.as_str())?;
        tree::sync(at)
    }

    pub(crate) fn remove_container(&mut self, id: &HexId) -> Result<(), Refusal> {
        if let Some(container) = self.containers.get(id)
            && !matches!(container.stage, Stage::Still)
        {
            let text = format!("container {}: it was not released", id.short());
            return Err(refuse(RefusalKind::Conflict, text));
        }
        for at in [self.places.containers.try_clone(), self.places.logs.try_clone()] {
            self.discard(at, id.as_str())?;
        }
        self.containers.remove(id);
        Ok(())
    }

    pub(crate) fn make_volume(&mut self, volume: &HexId, tenant: &Tenant) -> Result<(), Refusal> {
        let at = &self.places.volumes;
        let hidden = format!(".{volume}");
        let make = || -> Result<()> {
            tree::remove(at, &hidden)?;
            let place = tree::make_dir(at, &hidden, ROOT, 0o700)?;
            tree::make_dir(&place, "_data", STORE, 0o755)?;
            let owner = Volume { tenant: tenant.clone() };
            let bytes =
                serde_json::to_vec(&owner).map_err(|error| Error::new("volume.json", error.to_string()))?;
            tree::write(&place, "volume.json", &bytes, ROOT, 0o600, true)?;
            tree::rename(at, &hidden, at, volume.as_str())?;
            tree::sync(at)
        };
        make().map_err(refused)
    }

    pub(crate) fn remove_volume(&mut self, volume: &HexId) -> Result<(), Refusal> {
        self.unused(volume)?;
        let mounted = |container: &Container| {
            !matches!(container.stage, Stage::Still) && container.volumes.contains(volume)
        };
        if let Some((id, _)) = self.containers.iter().find(|(_, container)| mounted(container)) {
            let text = format!("volume {}: container {} has it mounted", volume.short(), id.short());
            return Err(refuse(RefusalKind::Conflict, text));
        }
        let at = self.places.volumes.try_clone();
        self.discard(at, volume.as_str())
    }

    /// Whose a volume is; no container of another tenant's is given it.
    pub(crate) fn owner_of(&self, volume: &HexId) -> Result<Tenant, Refusal> {
        let unknown = || refuse(RefusalKind::NotFound, format!("volume {}: there is none", volume.short()));
        let place = tree::open_dir(&self.places.volumes, volume.as_str()).map_err(|_| unknown())?;
        let bytes = tree::read(&place, "volume.json").map_err(refused)?.ok_or_else(unknown)?;
        serde_json::from_slice::<Volume>(&bytes).map(|volume| volume.tenant).map_err(|_| unknown())
    }

    /// Moves something to the trash, and has that emptied. What is not there is as good.
    fn discard(&mut self, at: std::io::Result<OwnedFd>, name: &str) -> Result<(), Refusal> {
        let at = at.map_err(|error| refuse(RefusalKind::Failed, error.to_string()))?;
        if !tree::exists(&at, name) {
            return Ok(());
        }
        let gone = format!("{name}-{}-{}", std::process::id(), self.next_serial());
        tree::rename(&at, name, &self.places.trash, &gone).and_then(|()| tree::sync(&at)).map_err(refused)?;
        self.sweep();
        Ok(())
    }

    /// Has the trash emptied, by one child at a time.
    pub(crate) fn sweep(&mut self) {
        if self.sweep != Sweep::Idle {
            self.sweep = Sweep::Again;
            return;
        }
        let Ok(trash) = self.places.trash.try_clone() else { return };
        self.sweep = Sweep::Busy;
        self.work(&["sweep"], trash, |broker, ended| {
            let again = std::mem::replace(&mut broker.sweep, Sweep::Idle) == Sweep::Again;
            if ended.code != 0 {
                crate::say(&Error::new("trash", ended.said));
            } else if again {
                broker.sweep();
            }
        });
    }
}
