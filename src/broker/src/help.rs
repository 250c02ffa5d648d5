//! Work on files, done by `casemate-layer` without privilege: as a short-lived container of its own, or inside a
//! running one. It is judged by how it ends; what it says goes to the daemon, by a pipe that we do not read.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use casemate_spec::wire::{Ask, HexId, MountKind, Refusal, RefusalKind, Root, Task, TaskOrder, View};
use casemate_spec::{Error, Result};

use crate::broker::{Asker, Broker, Parked, refused};
use crate::child::{Ended, Listen, Running};
use crate::containers::Stage;
use crate::packet::in_memory;
use crate::places::STORE;
use crate::refusal::refuse;
use crate::tree;
use casemate_spec::wire::{Program, StoreDocument};

/// A layer from a slow registry is read as fast as it comes.
const PATIENCE: Duration = Duration::from_secs(4 * 3600);
/// Every right over files of a user namespace of its own.
const CAPABILITIES: [&str; 6] =
    ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETFCAP", "CAP_MKNOD"];

/// What a helper is shown.
struct Shown {
    program: Program,
    store: StoreDocument,
    /// What may not be removed meanwhile.
    uses: Vec<HexId>,
    /// The container whose own layer it sees, and whether it writes there.
    container: Option<(HexId, bool)>,
}

impl Broker {
    /// Unpacks an archive into a new staging place, and has it put on the disk.
    pub(crate) fn unpack(
        &mut self,
        asker: &Asker,
        staging: HexId,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        tree::make_dir(&self.places.staging, staging.as_str(), STORE, 0o755).map_err(refused)?;
        let mut shown = Shown::new(vec![staging.clone()]);
        shown.bind("/target", self.places.stored("staging", &staging), true);
        let asker = asker.clone();
        self.helper(shown, &Task::Unpack, descriptors, move |broker, ended| {
            let place = tree::open_dir(&broker.places.staging, staging.as_str());
            match (ended.code, place) {
                (0, Ok(place)) => {
                    broker.in_use.push(staging.clone());
                    broker.work(&["sync"], place, move |broker, ended| {
                        broker.unused_again(&[staging]);
                        broker.answer_done(&asker, outcome(&ended));
                    });
                }
                _ => {
                    let dropped = broker.drop_staging(&staging);
                    broker.answer_done(
                        &asker,
                        dropped.and(outcome(&ended)).and(Err(refuse(RefusalKind::Failed, "unpack"))),
                    );
                }
            }
        })
    }

    /// Does a task on a view.
    pub(crate) fn help(
        &mut self,
        asker: &Asker,
        view: View,
        task: Task,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        if let View::Container { id, .. } = &view
            && matches!(self.containers.get(id).map(|found| &found.stage), Some(Stage::Running(_)))
            && !matches!(task, Task::CopyUp { .. })
        {
            return self.help_inside(asker, id.clone(), &task, descriptors);
        }
        let shown = self.show(view, &task)?;
        let asker = asker.clone();
        self.helper(shown, &task, descriptors, move |broker, ended| {
            broker.answer_done(&asker, outcome(&ended))
        })
    }

    /// What must end before this may begin: a root is not assembled twice while somebody writes to it, nor while a start
    /// that nobody waits for any more is being called off.
    pub(crate) fn must_wait(&self, ask: &Ask) -> Option<HexId> {
        if let Ask::Start { id, .. } | Ask::RemoveContainer { id } = ask
            && self.containers.get(id).is_some_and(|container| !container.leaving.is_empty())
        {
            return Some(id.clone());
        }
        let (id, alone) = match ask {
            Ask::Start { id, .. } | Ask::RemoveContainer { id } => (id, true),
            Ask::Help { view: View::Container { id, mounts, .. }, task } => {
                (id, writes(task) || !mounts.is_empty())
            }
            Ask::Help { view: View::Changes { id, .. }, .. } => (id, false),
            _ => return None,
        };
        let container = self.containers.get(id)?;
        let busy = container.readers > 0 || matches!(container.stage, Stage::Busy);
        (container.writer || (alone && busy)).then(|| id.clone())
    }

    fn show(&self, view: View, task: &Task) -> Result<Shown, Refusal> {
        let layers =
            |list: &[HexId]| list.iter().rev().map(|layer| self.places.stored("layers", layer)).collect();
        let mut shown = Shown::new(Vec::new());
        match view {
            View::Empty => {}
            View::Volume(volume) => {
                self.owner_of(&volume)?;
                shown.bind("/view", self.volume_path(&volume, None)?, writes(task));
                shown.uses.push(volume);
            }
            View::Layers(list) => {
                self.all_there(&list)?;
                shown.overlay(layers(&list), None);
                shown.uses.extend(list);
            }
            View::Changes { id, layers } => {
                let (place, _) = self.made_with(&id, &layers)?;
                shown.overlay(self.lowers(&layers), None);
                shown.bind("/changes", place.join("fs"), false);
                shown.container = Some((id, false));
            }
            View::Container { id, root: Root { layers, .. }, mounts } => {
                let (place, quota) = self.made_with(&id, &layers)?;
                // Places to mount on are made in the container's own layer, as its start would.
                let copied = |destination: &str| matches!(task, Task::CopyUp { path } if path == destination);
                let writable = writes(task) || mounts.iter().any(|mount| !copied(&mount.destination));
                let mut lowers = self.lowers(&layers);
                if !writable {
                    lowers.insert(0, place.join("fs"));
                }
                shown.overlay(lowers, writable.then_some((place, quota)));
                for mount in mounts {
                    let MountKind::Volume { volume, subpath } = mount.kind else {
                        return Err(refuse(RefusalKind::Invalid, "mounts: only volumes are seen"));
                    };
                    if self.containers.get(&id).map(|found| &found.made.tenant)
                        != Some(&self.owner_of(&volume)?)
                    {
                        return Err(refuse(
                            RefusalKind::NotFound,
                            format!("volume {}: there is none", volume.short()),
                        ));
                    }
                    let path = self.volume_path(&volume, subpath.as_deref())?;
                    // The volume that is mounted where the directory is, is what it is copied to.
                    match copied(&mount.destination) {
                        true => shown.bind("/target", path, true),
                        false => shown.bind(
                            &format!("/view{}", mount.destination),
                            path,
                            writes(task) && !mount.read_only,
                        ),
                    }
                    shown.uses.push(volume);
                }
                shown.container = Some((id, writable));
            }
        }
        Ok(shown)
    }

    fn all_there(&self, layers: &[HexId]) -> Result<(), Refusal> {
        match layers.iter().find(|layer| !tree::exists(&self.places.layers, layer.as_str())) {
            Some(missing) => {
                Err(refuse(RefusalKind::NotFound, format!("layer {}: there is none", missing.short())))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn made_with(&self, id: &HexId, layers: &[HexId]) -> Result<(PathBuf, Option<u64>), Refusal> {
        let unknown =
            || refuse(RefusalKind::NotFound, format!("container {}: it has no place here", id.short()));
        let container = self.containers.get(id).ok_or_else(unknown)?;
        if container.made.layers != layers {
            return Err(refuse(RefusalKind::Invalid, "layers are not those that it was made with"));
        }
        Ok((self.places.stored("containers", id), container.made.quota))
    }

    /// Starts a helper in a container of its own.
    fn helper(
        &mut self,
        mut shown: Shown,
        task: &Task,
        descriptors: Vec<OwnedFd>,
        then: impl FnOnce(&mut Self, Ended) + 'static,
    ) -> Result<(), Refusal> {
        let name = format!("help-{}-{}", std::process::id(), self.next_serial());
        shown.program.args = vec!["/proc/self/fd/4".to_owned(), order("/view", task)?];
        shown.program.cgroup = self.places.cgroup("Helpers", &name);
        let config = shown.program.config(&self.places.in_store("system"), &mut shown.store);
        self.write_bundle(&name, &config, &shown.store).map_err(refused)?;
        let bundle = self.places.bundle(&name);
        let store = bundle.join("store.json").to_string_lossy().into_owned();
        let bundle = bundle.to_string_lossy().into_owned();
        let words = ["--store", &store, "run", "--preserve-fds", "2", "--bundle", &bundle, &name];
        let command = self.own_runtime("layer.toml", &words);
        let running = self.start_helper(command, task, descriptors).map_err(refused)?;
        let Shown { uses, container, .. } = shown;
        self.in_use.extend(uses.iter().cloned());
        self.count(container.as_ref(), true);
        self.follow(running, move |broker, ended| {
            broker.unused_again(&uses);
            if let Err(error) = tree::remove(&broker.places.bundles, &name) {
                crate::say(&error);
            }
            if ended.code >= 128 {
                // The runtime was killed at it, or the host is out of something: it had no time to clean up.
                let delete = broker.own_runtime("layer.toml", &["delete", "--force", &name]);
                broker.run(delete, Listen::Errors, Duration::from_secs(60), |_, _| {});
            }
            then(broker, ended);
            broker.count(container.as_ref(), false);
        });
        Ok(())
    }

    /// Starts a helper in a running container, where it sees what the container sees.
    fn help_inside(
        &mut self,
        asker: &Asker,
        id: HexId,
        task: &Task,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        let args = vec!["/proc/self/fd/4".to_owned(), order("/", task)?];
        let process = Program { args, capabilities: &CAPABILITIES, ..Program::default() }.process();
        let name = format!("help-{}.json", self.next_serial());
        self.write_document(id.as_str(), &name, &process).map_err(refused)?;
        let path = self.places.bundle(id.as_str()).join(&name).to_string_lossy().into_owned();
        let command = self.runtime(&["exec", "--preserve-fds", "2", "--process", &path, id.as_str()]);
        let running = self.start_helper(command, task, descriptors).map_err(refused)?;
        let asker = asker.clone();
        self.follow(running, move |broker, ended| {
            // The bundle may be gone by now, with the container.
            if let Ok(bundle) = tree::open_dir(&broker.places.bundles, id.as_str())
                && let Err(error) = tree::remove(bundle, &name)
            {
                crate::say(&error);
            }
            broker.answer_done(&asker, outcome(&ended));
        });
        Ok(())
    }

    /// With the data as its standard input or output, its answers' pipe as 3, and its own program as 4, in memory: a
    /// container has no file of the host's to hold on to.
    fn start_helper(
        &mut self,
        mut command: Command,
        task: &Task,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Running> {
        let mut given = descriptors.into_iter();
        let (Some(data), Some(replies)) = (given.next(), given.next()) else {
            return Err(Error::new("descriptors", "they are missing"));
        };
        let path = self.arguments.libexec.join("casemate-layer");
        let program = std::fs::read(&path).map_err(|error| Error::io(path.display().to_string(), &error))?;
        let program = in_memory("casemate-layer", &program)?;
        match reads(task) {
            true => command.stdin(Stdio::from(data)),
            false => command.stdout(Stdio::from(data)),
        };
        self.slots.lend(&replies, &program, || Running::start(command, Listen::Errors, Some(PATIENCE)))
    }

    fn count(&mut self, container: Option<&(HexId, bool)>, begins: bool) {
        let Some((id, writes)) = container else { return };
        if let Some(container) = self.containers.get_mut(id) {
            match (writes, begins) {
                (true, begins) => container.writer = begins,
                (false, true) => container.readers += 1,
                (false, false) => container.readers = container.readers.saturating_sub(1),
            }
        }
        if !begins {
            self.unpark(id);
        }
    }

    /// Whoever has waited for a container is admitted, or waits for the next.
    pub(crate) fn unpark(&mut self, id: &HexId) {
        let (now, later) = std::mem::take(&mut self.parked).into_iter().partition(|parked| parked.id == *id);
        self.parked = later;
        for Parked { asker, ask, descriptors, .. } in now {
            self.admit(ask, descriptors, &asker);
        }
    }

    fn unused_again(&mut self, ids: &[HexId]) {
        for id in ids {
            if let Some(index) = self.in_use.iter().position(|used| used == id) {
                self.in_use.swap_remove(index);
            }
        }
    }
}

impl Shown {
    fn new(uses: Vec<HexId>) -> Self {
        let program = Program { capabilities: &CAPABILITIES, alone: true, ..Program::default() };
        Self { program, store: StoreDocument::new(Vec::new()), uses, container: None }
    }

    fn bind(&mut self, destination: &str, source: PathBuf, writable: bool) {
        self.program.binds.push((destination.to_owned(), source, writable));
        self.store.bind(destination);
    }

    fn overlay(&mut self, lowers: Vec<PathBuf>, own: Option<(PathBuf, Option<u64>)>) {
        // No layers at all: the mount point is as empty.
        if !lowers.is_empty() {
            self.program.overlays.push(("/view".to_owned(), own.is_some()));
            self.store.overlay("/view", lowers, own);
        }
    }
}

fn order(root: &str, task: &Task) -> Result<String, Refusal> {
    let order = TaskOrder { root: root.to_owned(), task: task.clone() };
    serde_json::to_string(&order).map_err(|error| refuse(RefusalKind::Failed, error.to_string()))
}

/// Whether the view is written to.
fn writes(task: &Task) -> bool {
    matches!(task, Task::CopyIn { .. })
}

/// Whether data is read rather than written.
fn reads(task: &Task) -> bool {
    matches!(task, Task::Unpack | Task::CopyIn { .. } | Task::CopyUp { .. })
}

fn outcome(ended: &Ended) -> Result<(), Refusal> {
    if ended.code == 0 { Ok(()) } else { Err(Refusal { kind: RefusalKind::Failed, ..ended.refusal() }) }
}
