//! After a restart of ours: what there is, and what runs on.

use casemate_spec::Result;
use casemate_spec::wire::{Adopted, HexId, RefusalKind, Tenant};

use crate::broker::Broker;
use crate::child::Identity;
use crate::containers::{Container, Kept, Made, Process, Shim, Stage};
use crate::refusal::refuse;
use crate::start::kept_name;
use crate::tree;

impl Broker {
    /// Finds what has a place, and what has a shim or had one.
    ///
    /// # Errors
    /// The places cannot be read.
    pub(crate) fn adopt(&mut self) -> Result<()> {
        self.discard_halves()?;
        for name in tree::names(&self.places.containers)? {
            if let Ok(id) = name.parse::<HexId>() {
                let made = self.made(&id).unwrap_or_else(unreadable);
                self.tenants.extend(made.iter().map(|made| made.tenant.to_string()));
                self.containers.extend(made.map(|made| (id, Container::new(made))));
            }
        }
        for name in tree::names(&self.places.bundles)? {
            match name.parse::<HexId>() {
                Ok(id) if self.containers.contains_key(&id) => self.adopt_bundle(&id)?,
                // A check or a helper that nobody waits for any more; one of our own is written anew.
                _ => {
                    if name.starts_with("help-") {
                        self.finish_child(&["delete", "--force", &name]);
                    }
                    tree::remove(&self.places.bundles, &name)?;
                }
            }
        }
        Ok(())
    }

    /// Places that a crash left half made, and logs of containers that have no place.
    fn discard_halves(&mut self) -> Result<()> {
        for at in [&self.places.containers, &self.places.volumes] {
            for name in tree::hidden(at)? {
                tree::remove(at, &name)?;
            }
        }
        for name in tree::names(&self.places.logs)? {
            if !tree::exists(&self.places.containers, &name) {
                let gone = format!("{name}-{}-logs", std::process::id());
                tree::rename(&self.places.logs, &name, &self.places.trash, &gone)?;
            }
        }
        Ok(())
    }

    fn made(&self, id: &HexId) -> Option<Option<Made>> {
        let place = tree::open_dir(&self.places.containers, id.as_str()).ok()?;
        let bytes = tree::read(&place, "layers.json").ok()??;
        Some(serde_json::from_slice(&bytes).ok())
    }

    fn adopt_bundle(&mut self, id: &HexId) -> Result<()> {
        let bundle = tree::open_dir(&self.places.bundles, id.as_str())?;
        let read = |exec: Option<&HexId>| -> Option<Kept> {
            serde_json::from_slice(&tree::read(&bundle, &kept_name(exec)).ok()??).ok()
        };
        let Some(kept) = read(None) else {
            // It was not started yet, or what is left of it was being removed.
            self.finish_child(&["delete", "--force", id.as_str()]);
            self.forget(id, None);
            return Ok(());
        };
        if let Some(container) = self.containers.get_mut(id) {
            container.volumes.clone_from(&kept.volumes);
        }
        self.adopt_networks(id, &bundle);
        self.adopt_process(id, None, kept);
        let execs = tree::names(&bundle)?;
        for exec in
            execs.iter().filter_map(|name| name.strip_prefix("shim-")?.strip_suffix(".json")?.parse().ok())
        {
            if let Some(kept) = read(Some(&exec)) {
                if let Some(container) = self.containers.get_mut(id) {
                    container.execs.insert(exec.clone(), Stage::Busy);
                }
                self.adopt_process(id, Some(&exec), kept);
            }
        }
        Ok(())
    }

    fn adopt_process(&mut self, id: &HexId, exec: Option<&HexId>, kept: Kept) {
        let Some(pidfd) = kept.shim.open() else { return self.process_ended(id, exec, &kept) };
        if !kept.born {
            // Nobody was told that it runs. A start that is under way is called off; a shim that is past it takes no
            // notice, and says itself which process is its.
            let term = rustix::process::Signal::TERM;
            rustix::process::pidfd_send_signal(&pidfd, term).unwrap_or_default();
        }
        let process = Process { kept, shim: Shim::Adopted(pidfd) };
        self.set_stage(id, exec, Stage::Running(Box::new(process)));
    }

    /// What the next daemon is told of it, in Hello. Execs that have ended are forgotten once it has been.
    pub(crate) fn adopted(&mut self) -> Vec<Adopted> {
        // Starts that an earlier daemon asked for: those that are not done would come to an end that nobody is told.
        for (id, exec) in self.births.keys().cloned().collect::<Vec<_>>() {
            self.born(&id, exec.as_ref());
            self.birth_failed(&id, exec.as_ref(), refuse(RefusalKind::Failed, "its daemon is gone"));
        }
        let mut list = Vec::new();
        let mut told = Vec::new();
        for (id, container) in &self.containers {
            list.extend(self.told_of(id, None, &container.stage));
            for (exec, stage) in &container.execs {
                list.extend(self.told_of(id, Some(exec), stage));
                if matches!(stage, Stage::Ended(_)) {
                    told.push((std::time::Instant::now(), id.clone(), exec.clone()));
                }
            }
        }
        self.told.extend(told);
        list
    }

    fn told_of(&self, id: &HexId, exec: Option<&HexId>, stage: &Stage) -> Option<Adopted> {
        let mut adopted =
            Adopted { id: id.clone(), exec: exec.cloned(), pid: None, exited: None, paused: false };
        match stage {
            // A shim that has told how its process ended is about to end, too.
            Stage::Running(process) => match self.exit_of(id, exec) {
                None => {
                    adopted.pid = process.kept.process.map(|Identity { pid, .. }| pid);
                    adopted.paused = process.kept.paused;
                }
                exited => adopted.exited = exited,
            },
            Stage::Ended(exited) => adopted.exited = Some(exited.clone()),
            Stage::Still | Stage::Busy => return None,
        }
        Some(adopted)
    }
}

/// A place whose owner cannot be read any more can be removed, and nothing else: no tenant is called so.
fn unreadable() -> Option<Made> {
    let tenant: Tenant = "0-unreadable".parse().ok()?;
    Some(Made { tenant, layers: Vec::new(), quota: None })
}
