//! Processes that are there: told of, ended, released, and nothing left of them.

use std::time::{Duration, Instant};

use casemate_spec::Result;
use casemate_spec::wire::{Answer, Exited, HexId, Outcome, Refusal, RefusalKind};
use rustix::net::RecvFlags;

use crate::audit::Entry;
use crate::broker::{Asker, Broker};
use crate::child::{Identity, Listen};
use crate::containers::{Kept, Process, Shim, Stage};
use crate::refusal::refuse;
use crate::start::{PATIENCE, kept_name, shim_name};
use crate::tree;

/// How long an exec's end is remembered once the daemon has heard of it from the shim.
const REMEMBERED: Duration = Duration::from_secs(5);

impl Broker {
    /// A shim has answered, or died before it could.
    pub(crate) fn born(&mut self, id: &HexId, exec: Option<&HexId>) {
        let key = (id.clone(), exec.cloned());
        let Some(birth) = self.births.get(&key) else { return };
        let mut bytes = vec![0; 64 << 10];
        let outcome = match rustix::net::recv(&birth.control, &mut bytes, RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Ok((read, _)) => serde_json::from_slice(bytes.get(..read).unwrap_or_default()).ok(),
            Err(_) => None,
        };
        match outcome {
            Some(Outcome::Started { pid }) => self.started(key, pid),
            Some(Outcome::Failed { message: said, code }) => {
                self.birth_failed(id, exec, Refusal::of_runtime(code, &said));
            }
            None => self.birth_failed(
                id,
                exec,
                refuse(RefusalKind::Failed, "casemate-shim: it died before it answered"),
            ),
        }
    }

    fn started(&mut self, key: (HexId, Option<HexId>), pid: i32) {
        let container = self.containers.get_mut(&key.0);
        if container.is_none_or(|container| container.stage_of(key.1.as_ref()).is_none()) {
            let ended = refuse(RefusalKind::Conflict, "the container has ended");
            return self.birth_failed(&key.0, key.1.as_ref(), ended);
        }
        let Some(birth) = self.births.remove(&key) else { return };
        let (id, exec) = key;
        let mut kept = Kept { born: true, ..birth.kept };
        // Its parent is the shim as long as the number is its own.
        kept.process =
            Identity::of(pid).filter(|(_, parent)| *parent == kept.shim.pid).map(|(process, _)| process);
        self.keep(&id, exec.as_ref(), &kept);
        if exec.is_none()
            && let Some(container) = self.containers.get_mut(&id)
        {
            container.volumes.clone_from(&kept.volumes);
        }
        self.set_stage(
            &id,
            exec.as_ref(),
            Stage::Running(Box::new(Process { kept, shim: Shim::Child(birth.shim) })),
        );
        self.answer(&birth.asker, Ok((Answer::Started { pid }, vec![birth.connection])));
    }

    /// Nothing came of it, and nothing of it is left.
    pub(crate) fn birth_failed(&mut self, id: &HexId, exec: Option<&HexId>, refusal: Refusal) {
        let Some(mut birth) = self.births.remove(&(id.clone(), exec.cloned())) else { return };
        birth.shim.signal(rustix::process::Signal::TERM);
        let (asker, id, exec) = (birth.asker, id.clone(), exec.cloned());
        // Its end is the runtime's, too: what is looked for afterwards does not change any more.
        self.follow(birth.shim, move |broker, _| {
            if exec.is_some() {
                broker.forget(&id, exec.as_ref());
                return broker.answer(&asker, Err(refusal));
            }
            // The runtime leaves nothing behind when it fails, unless it was killed at it.
            let delete = broker.runtime(&["delete", "--force", id.as_str()]);
            broker.run(delete, Listen::Errors, PATIENCE, move |broker, _| {
                broker.forget(&id, None);
                broker.when_detached(&id, move |broker| broker.answer(&asker, Err(refusal)));
            });
        });
    }

    /// A shim has ended: with word of how its process did, or without.
    pub(crate) fn shim_ended(&mut self, id: &HexId, exec: Option<&HexId>) {
        let Some(stage) = self.containers.get_mut(id).and_then(|container| container.stage_of(exec)) else {
            return;
        };
        if let Stage::Running(process) = stage
            && let Shim::Child(shim) = &mut process.shim
            && shim.ended().is_none()
        {
            return;
        }
        let Stage::Running(process) = std::mem::replace(stage, Stage::Busy) else { return };
        self.process_ended(id, exec, &process.kept);
    }

    /// Takes down how a process ended whose shim is gone. Where nobody knows, it is ended here: nothing runs unseen.
    pub(crate) fn process_ended(&mut self, id: &HexId, exec: Option<&HexId>, kept: &Kept) {
        let exited = self.exit_of(id, exec);
        let (event, lost) = match (&exited, exec) {
            (Some(_), None) => ("container.exited", false),
            (Some(_), Some(_)) => ("exec.exited", false),
            (None, None) => ("container.lost", true),
            (None, Some(_)) => ("exec.lost", true),
        };
        let exited = exited.unwrap_or_else(lost_now);
        let entry = Entry::new(event).text("id", id.as_str());
        let entry = exec.map(|exec| entry.clone().text("exec", exec.as_str())).unwrap_or(entry);
        self.tell(&entry.number("code", exited.code.into()));
        if lost && exec.is_none() {
            let kill = self.runtime(&["kill", "--all", id.as_str(), "KILL"]);
            self.run(kill, Listen::Errors, PATIENCE, |_, _| {});
        }
        if lost && let Some(pidfd) = kept.process.and_then(Identity::open) {
            // It may have ended a moment ago, which is as good.
            rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL).unwrap_or_default();
        }
        self.set_stage(id, exec, Stage::Ended(exited));
        if exec.is_none() {
            self.detach(id);
        }
        if let Some(exec) = exec
            && self.link.as_ref().is_some_and(|link| link.greeted)
        {
            self.told.push((Instant::now() + REMEMBERED, id.clone(), exec.clone()));
        }
    }

    /// Execs whose end the daemon has heard of leave nothing behind.
    pub(crate) fn forget_execs(&mut self, due: Vec<(Instant, HexId, HexId)>) {
        for (_, id, exec) in due {
            let stage = self.containers.get_mut(&id).and_then(|container| container.stage_of(Some(&exec)));
            if matches!(stage, Some(Stage::Ended(_))) {
                self.forget(&id, Some(&exec));
            }
        }
    }

    /// Sends a signal to the process of an exec.
    pub(crate) fn signal_exec(&self, id: &HexId, exec: &HexId, signal: i32) -> Result<(), Refusal> {
        let gone = || refuse(RefusalKind::NotFound, "there is no such process, or it has ended");
        let stage = self.containers.get(id).and_then(|container| container.execs.get(exec));
        let Some(Stage::Running(process)) = stage else { return Err(gone()) };
        let process = process.kept.process.and_then(Identity::open).ok_or_else(gone)?;
        let signal = rustix::process::Signal::from_named_raw(signal).ok_or_else(gone)?;
        rustix::process::pidfd_send_signal(process, signal).map_err(|_| gone())
    }

    /// Gives back what a container holds on the host, and says how it ended.
    pub(crate) fn release(&mut self, asker: &Asker, id: &HexId) -> Result<(), Refusal> {
        let exited = match self.containers.get(id).map(|container| &container.stage) {
            Some(Stage::Ended(exited)) => Some(exited.clone()),
            // The shim writes before it tells anybody, and ends a moment later.
            Some(Stage::Running(_)) => self.exit_of(id, None),
            _ => None,
        };
        let exited = exited.ok_or_else(|| refuse(RefusalKind::Conflict, "the container runs"))?;
        if let Some(Stage::Running(process)) =
            self.containers.get_mut(id).map(|found| std::mem::replace(&mut found.stage, Stage::Busy))
        {
            let entry = Entry::new("container.exited").text("id", id.as_str());
            self.tell(&entry.number("code", exited.code.into()));
            if let Shim::Child(shim) = process.shim {
                self.follow(shim, |_, _| {});
            }
        }
        let (asker, id) = (asker.clone(), id.clone());
        let delete = self.runtime(&["delete", "--force", id.as_str()]);
        self.detach(&id);
        self.set_stage(&id, None, Stage::Busy);
        self.run(delete, Listen::Errors, PATIENCE, move |broker, ended| {
            if ended.code != 0 {
                broker.set_stage(&id, None, Stage::Ended(exited));
                return broker.answer(&asker, Err(ended.refusal()));
            }
            broker.forget(&id, None);
            broker.when_detached(&id, move |broker| {
                broker.answer(&asker, Ok((Answer::Exited(exited), Vec::new())));
            });
        });
        Ok(())
    }

    /// Nothing of a process is left: neither its shim's place nor, of the first one, the bundle and other processes.
    pub(crate) fn forget(&mut self, id: &HexId, exec: Option<&HexId>) {
        let mut gone = vec![tree::remove(&self.places.shims, &shim_name(id, exec))];
        if exec.is_none() {
            self.detach(id);
        }
        let mut leaving = Vec::new();
        if let Some(container) = self.containers.get_mut(id) {
            match exec {
                Some(exec) => drop(container.execs.remove(exec)),
                None => {
                    container.stage = Stage::Still;
                    container.volumes.clear();
                    for (exec, stage) in std::mem::take(&mut container.execs) {
                        gone.push(tree::remove(&self.places.shims, &shim_name(id, Some(&exec))));
                        if let Stage::Running(process) = stage
                            && let Shim::Child(shim) = process.shim
                        {
                            leaving.push(shim);
                        }
                    }
                }
            }
        }
        match exec {
            None => gone.push(tree::remove(&self.places.bundles, id.as_str())),
            // A container that was released meanwhile has taken it along.
            Some(_) if !tree::exists(&self.places.bundles, id.as_str()) => {}
            Some(exec) => {
                for name in [format!("exec-{exec}.json"), kept_name(Some(exec))] {
                    let bundle = tree::open_dir(&self.places.bundles, id.as_str());
                    gone.push(bundle.and_then(|bundle| tree::remove(bundle, &name)));
                }
            }
        }
        gone.into_iter().filter_map(Result::err).for_each(|error| crate::say(&error));
        leaving.into_iter().for_each(|shim| self.follow(shim, |_, _| {}));
        self.unpark(id);
    }

    pub(crate) fn set_stage(&mut self, id: &HexId, exec: Option<&HexId>, stage: Stage) {
        if let Some(place) = self.containers.get_mut(id).and_then(|container| container.stage_of(exec)) {
            *place = stage;
        }
        self.unpark(id);
    }

    pub(crate) fn exit_of(&self, id: &HexId, exec: Option<&HexId>) -> Option<Exited> {
        let place = tree::open_dir(&self.places.shims, &shim_name(id, exec)).ok()?;
        serde_json::from_slice(&tree::read(&place, "exit.json").ok()??).ok()
    }

    pub(crate) fn write_kept(&self, id: &HexId, exec: Option<&HexId>, kept: &Kept) -> Result<()> {
        self.write_document(id.as_str(), &kept_name(exec), kept)
    }

    /// The same for a process that runs: it does so whatever became of the file.
    pub(crate) fn keep(&self, id: &HexId, exec: Option<&HexId>, kept: &Kept) {
        if let Err(error) = self.write_kept(id, exec, kept) {
            crate::say(&error);
        }
    }
}

/// How a process ended whose shim was killed.
fn lost_now() -> Exited {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    Exited { code: 137, at: u64::try_from(now).unwrap_or(0), out_of_memory: false, lost: true }
}
