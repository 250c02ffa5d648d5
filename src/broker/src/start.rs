//! Processes: from what is asked to a shim that has started it, and to its end.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use casemate_spec::wire::{
    Answer, Container, Files, HexId, LogOrder, MountKind, NamespaceOf, Order, Places, Refusal, RefusalKind,
    Streams,
};
use casemate_spec::{Error, Result};
use oci_spec::runtime::Process as OciProcess;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType,
};

use crate::audit::Entry;
use crate::broker::{Asker, Broker, refused};
use crate::bundle::command;
use crate::child::{Listen, Running};
use crate::containers::{Kept, Stage};
use crate::places::{ROOT, SHIMS, STORE};
use crate::refusal::{refuse, unknown};
use crate::tree;
use casemate_spec::wire::StoreDocument;

/// How long the runtime may take to start a process.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long after a start the next shim is laid up: what was started has the processors first.
const SPARE: Duration = Duration::from_millis(10);

/// A process that is being started.
pub struct Birth {
    /// The shim's standard input: where it answers.
    pub(crate) control: OwnedFd,
    pub(crate) deadline: Instant,
    pub(crate) shim: Running,
    pub(crate) connection: OwnedFd,
    pub(crate) asker: Asker,
    pub(crate) kept: Kept,
    _held: Vec<OwnedFd>,
}

/// What is to be started.
struct Launch {
    asker: Asker,
    id: HexId,
    exec: Option<HexId>,
    words: Vec<String>,
    streams: Streams,
    volumes: Vec<HexId>,
    /// Namespaces that are joined: held, so that they stay what was looked at.
    held: Vec<OwnedFd>,
}

/// A bundle that was written, and what must be kept for it.
struct Prepared {
    words: Vec<String>,
    volumes: Vec<HexId>,
    held: Vec<OwnedFd>,
}

impl Broker {
    /// Judges without starting anything.
    pub(crate) fn check(&mut self, asker: &Asker, id: &HexId, asked: &Container) -> Result<(), Refusal> {
        let bundle = format!("check-{}", self.next_serial());
        let prepared = self.prepare(id, asked, &bundle, Vec::new())?;
        let path = self.places.bundle(&bundle);
        let check = words(&["check", "--format", "json", &path.to_string_lossy()]);
        let words = [&prepared.words[..], &check].concat();
        let asker = asker.clone();
        let check = command(words.iter().map(String::as_str));
        self.run(check, Listen::Output, Duration::from_secs(60), move |broker, ended| {
            drop(prepared.held);
            if let Err(error) = tree::remove(&broker.places.bundles, &bundle) {
                crate::say(&error);
            }
            let judged = match ended.code {
                0 | 3 => Ok((Answer::Judged { report: ended.said }, Vec::new())),
                _ => Err(ended.refusal()),
            };
            broker.answer(&asker, judged);
        });
        Ok(())
    }

    /// Starts a container's first process.
    pub(crate) fn start(
        &mut self,
        asker: &Asker,
        id: &HexId,
        mut asked: Container,
        streams: Streams,
        files: &Files,
    ) -> Result<(), Refusal> {
        streams.apply_to(&mut asked.process);
        let files = self.write_files(id, files).map_err(refused)?;
        self.admit_networks(id, &asked)?;
        let prepared = self.prepare(id, &asked, id.as_str(), files);
        let prepared =
            prepared.and_then(|prepared| self.write_attached(id).map(|()| prepared).map_err(refused));
        let prepared = prepared.inspect_err(|_| {
            // Held, and nothing connected yet.
            if let Some(container) = self.containers.get_mut(id) {
                container.attached = None;
            }
        })?;
        let bundle = self.places.bundle(id.as_str());
        let run = words(&["run", "--detach", "--bundle", &bundle.to_string_lossy(), id.as_str()]);
        let launch = Launch {
            asker: asker.clone(),
            id: id.clone(),
            exec: None,
            words: [&prepared.words[..], &run].concat(),
            streams,
            volumes: prepared.volumes,
            held: prepared.held,
        };
        self.set_stage(id, None, Stage::Busy);
        let made: Vec<String> = asked
            .mounts
            .into_iter()
            .filter_map(|mount| match mount.kind {
                MountKind::Bind(bind) if bind.create => Some(bind.source),
                _ => None,
            })
            .collect();
        if made.is_empty() {
            self.launch(launch)
        } else {
            self.launch_with(launch, prepared.words, made)
        }
        Ok(())
    }

    /// Directories that are missing are made first, where the policy admits all of it as it will be. The host's files
    /// are looked at by a child: whatever they lie on may be slow, or gone.
    fn launch_with(&mut self, launch: Launch, runtime: Vec<String>, paths: Vec<String>) {
        let bundle = self.places.bundle(launch.id.as_str());
        let child = |verb: &str, paths: &[String]| {
            let words = ["/proc/self/exe", "work", verb].into_iter();
            command(words.chain(paths.iter().map(String::as_str)))
        };
        let (look, make) = (child("look", &paths), child("make", &paths));
        let check = [&runtime[..], &words(&["check", &bundle.to_string_lossy()])].concat();
        self.run(look, Listen::Errors, PATIENCE, move |broker, ended| {
            if ended.code == 0 {
                return broker.launch(launch);
            }
            let check = command(check.iter().map(String::as_str));
            broker.run(check, Listen::Output, PATIENCE, move |broker, ended| match ended.code {
                0 => broker.run(make, Listen::Errors, PATIENCE, move |broker, ended| match ended.code {
                    0 => broker.launch(launch),
                    _ => broker.not_launched(&launch, refuse(RefusalKind::Failed, ended.said)),
                }),
                3 => broker.not_launched(&launch, refuse(RefusalKind::Denied, ended.said)),
                _ => broker.not_launched(&launch, ended.refusal()),
            });
        });
    }

    /// Starts another process in a container.
    pub(crate) fn exec(
        &mut self,
        asker: &Asker,
        id: &HexId,
        exec: &HexId,
        mut process: OciProcess,
        privileged: bool,
        streams: Streams,
    ) -> Result<(), Refusal> {
        let container = self.containers.get_mut(id).ok_or_else(|| unknown(id))?;
        if container.execs.contains_key(exec) {
            return Err(refuse(RefusalKind::Conflict, format!("exec {}: it is there already", exec.short())));
        }
        if streams.log != LogOrder::None {
            return Err(refuse(
                RefusalKind::Invalid,
                "streams.log: only a container's first process has a log",
            ));
        }
        container.execs.insert(exec.clone(), Stage::Busy);
        streams.apply_to(&mut process);
        if privileged {
            casemate_spec::wire::all_capabilities(&mut process);
        }
        let name = format!("exec-{exec}.json");
        let path = self.places.bundle(id.as_str()).join(&name).to_string_lossy().into_owned();
        let exec_words = words(&["exec", "--detach", "--process", &path, id.as_str()]);
        let launch = Launch {
            asker: asker.clone(),
            id: id.clone(),
            exec: Some(exec.clone()),
            words: [&self.runtime_words()[..], &exec_words].concat(),
            streams,
            volumes: Vec::new(),
            held: Vec::new(),
        };
        match self.write_document(id.as_str(), &name, &process) {
            Ok(()) => self.launch(launch),
            Err(error) => self.not_launched(&launch, refused(error)),
        }
        Ok(())
    }

    /// Writes the bundle, once everything that is named was found to be the asker's to name.
    fn prepare(
        &mut self,
        id: &HexId,
        asked: &Container,
        bundle: &str,
        files: Vec<(&'static str, std::path::PathBuf)>,
    ) -> Result<Prepared, Refusal> {
        let made = &self.containers.get(id).ok_or_else(|| unknown(id))?.made;
        if made.tenant != asked.tenant || made.layers != asked.root.layers {
            return Err(refuse(RefusalKind::Invalid, "tenant or layers are not those that it was made with"));
        }
        if let Some(policy) =
            asked.policy.as_ref().filter(|name| !self.host.policies.iter().any(|p| p == name.as_str()))
        {
            let mut refusal =
                refuse(RefusalKind::Denied, format!("policy {policy}: it is none that may be chosen"));
            refusal.hint = Some("the operator lists it as selectable in runtime.toml".to_owned());
            return Err(refusal);
        }
        let mut places = Places {
            cgroup: self.places.cgroup(asked.tenant.as_str(), id.as_str()),
            policy: asked.policy.as_ref().map(|name| ("io.casemate.policy".to_owned(), name.to_string())),
            files,
            init: self.arguments.libexec.join("casemate-shim"),
            hook: self.hook(asked),
            ..Places::default()
        };
        let volumes = self.find_volumes(asked, &mut places)?;
        let held = self.join(asked, &mut places)?;
        let written =
            asked.to_config(&places).map_err(|error| refuse(RefusalKind::Invalid, error.to_string()))?;
        let mut store = StoreDocument::new(written.binds);
        let ours = &self.places;
        store.hide([ours.data.clone(), ours.config.clone(), self.arguments.run.clone()]);
        store.overlay("/", self.lowers(&asked.root.layers), Some(self.made_with(id, &asked.root.layers)?));
        self.write_bundle(bundle, &written.spec, &store).map_err(refused)?;
        let mut runtime = self.runtime_words();
        let document = self.places.bundle(bundle).join("store.json");
        runtime.extend(["--store".to_owned(), document.to_string_lossy().into_owned()]);
        Ok(Prepared { words: runtime, volumes, held })
    }

    fn find_volumes(&self, asked: &Container, places: &mut Places) -> Result<Vec<HexId>, Refusal> {
        let mut ids = Vec::new();
        for (index, mount) in asked.mounts.iter().enumerate() {
            let MountKind::Volume { volume, subpath } = &mount.kind else { continue };
            if self.owner_of(volume)? != asked.tenant {
                // What is another's is not there.
                return Err(refuse(
                    RefusalKind::NotFound,
                    format!("volume {}: there is none", volume.short()),
                ));
            }
            places.volumes.insert(index, self.volume_path(volume, subpath.as_deref())?);
            ids.push(volume.clone());
        }
        Ok(ids)
    }

    /// Where a volume is. The runtime follows no link to it, so that what is beneath may change meanwhile.
    pub(crate) fn volume_path(
        &self,
        volume: &HexId,
        subpath: Option<&str>,
    ) -> Result<std::path::PathBuf, Refusal> {
        let data = self.places.stored("volumes", volume).join("_data");
        let Some(subpath) = subpath else { return Ok(data) };
        let beneath = format!("{volume}/_data/{subpath}");
        let found = tree::open(&self.places.volumes, &beneath, OFlags::PATH);
        found.map_err(|error| refuse(RefusalKind::Invalid, format!("volume {}: {error}", volume.short())))?;
        Ok(data.join(subpath))
    }

    /// Namespaces of other containers, each as a descriptor of ours: numbers of processes are used again.
    fn join(&self, asked: &Container, places: &mut Places) -> Result<Vec<OwnedFd>, Refusal> {
        let mut held = Vec::new();
        for (_, name, whose) in asked.namespaces.all() {
            let NamespaceOf::Container(id) = whose else { continue };
            let gone =
                || refuse(RefusalKind::Conflict, format!("container {}: it is not running", id.short()));
            let other = self.containers.get(id).filter(|other| other.made.tenant == asked.tenant);
            let process = other.and_then(|other| other.process()).and_then(|process| process.kept.process);
            let process = process.ok_or_else(gone)?;
            let path = format!("/proc/{}/ns/{name}", process.pid);
            let opened = std::fs::File::open(path).map_err(|_| gone())?;
            // Asked after it is held.
            process.open().ok_or_else(gone)?;
            let path = format!("/proc/{}/fd/{}", std::process::id(), opened.as_raw_fd());
            places.joined.insert((id.clone(), name), path.into());
            held.push(opened.into());
        }
        Ok(held)
    }

    fn write_files(&self, id: &HexId, files: &Files) -> Result<Vec<(&'static str, std::path::PathBuf)>> {
        let at = tree::open_dir(&self.places.containers, &format!("{id}/files"))?;
        let path = self.places.stored("containers", id).join("files");
        let mut list = Vec::new();
        for (destination, name, content) in [
            ("/etc/hosts", "hosts", &files.hosts),
            ("/etc/hostname", "hostname", &files.hostname),
            ("/etc/resolv.conf", "resolv.conf", &files.resolv_conf),
        ] {
            if let Some(content) = content {
                tree::write(&at, name, content.as_bytes(), STORE, 0o644, false)?;
                list.push((destination, path.join(name)));
            }
        }
        Ok(list)
    }

    /// Hands the work to a shim.
    fn launch(&mut self, launch: Launch) {
        match self.spawn_shim(&launch) {
            Ok((shim, control, connection, kept)) => {
                let Launch { asker, id, exec, held, .. } = launch;
                let deadline = Instant::now() + PATIENCE;
                self.births.insert(
                    (id, exec),
                    Birth { control, deadline, shim, connection, asker, kept, _held: held },
                );
            }
            Err(error) => self.not_launched(&launch, refused(error)),
        }
    }

    fn not_launched(&mut self, launch: &Launch, refusal: Refusal) {
        self.forget(&launch.id, launch.exec.as_ref());
        self.answer(&launch.asker, Err(refusal));
    }

    /// Takes the shim that waits, or starts one; what it is, is written down before it is told what to do.
    fn spawn_shim(&mut self, launch: &Launch) -> Result<(Running, OwnedFd, OwnedFd, Kept)> {
        let name = shim_name(&launch.id, launch.exec.as_ref());
        self.audit.write(&Entry::new("shim.started").text("id", &name))?;
        tree::remove(&self.places.shims, &name)?;
        let place = tree::make_dir(&self.places.shims, &name, SHIMS, 0o700)?;
        let (connection, first) = pair()?;
        let listener = listen(&place).map_err(|errno| tree::failed("shim.sock", errno))?;
        let log = match launch.streams.log {
            LogOrder::JsonFile { .. } => Some(tree::open_dir(&self.places.logs, launch.id.as_str())?),
            LogOrder::None | LogOrder::Journald { .. } => None,
        };
        let lives =
            |(mut shim, control): (Running, OwnedFd)| shim.ended().is_none().then_some((shim, control));
        let (shim, control) = self.spare.take().and_then(lives).map_or_else(|| self.start_shim(), Ok)?;
        self.spare_at = Some(Instant::now() + SPARE);
        let identity = shim.identity().ok_or_else(|| Error::new("casemate-shim", "it ended at once"))?;
        let kept = Kept {
            shim: identity,
            born: false,
            process: None,
            paused: false,
            volumes: launch.volumes.clone(),
        };
        self.write_kept(&launch.id, launch.exec.as_ref(), &kept)?;
        let order = Order { runtime: launch.words.clone(), streams: launch.streams.clone(), identity: SHIMS };
        let order = serde_json::to_vec(&order).map_err(|error| Error::new("order", error.to_string()))?;
        let descriptors = [place.as_fd(), listener.as_fd(), first.as_fd()];
        let descriptors: Vec<BorrowedFd<'_>> =
            descriptors.into_iter().chain(log.as_ref().map(AsFd::as_fd)).collect();
        send(&control, &order, &descriptors).map_err(|errno| tree::failed("order", errno))?;
        Ok((shim, control, connection, kept))
    }

    /// A shim that waits for its order, and has a runtime stand by for it.
    pub(crate) fn start_shim(&self) -> Result<(Running, OwnedFd)> {
        let (control, theirs) = pair()?;
        let program = |name| self.arguments.libexec.join(name).to_string_lossy().into_owned();
        let mut command = command([program("casemate-shim"), program("runtime")].iter().map(String::as_str));
        command.stdin(theirs);
        Ok((Running::start(command, Listen::Nothing, None)?, control))
    }

    /// One more connection to a shim.
    pub(crate) fn connection(&mut self, id: &HexId, exec: Option<&HexId>) -> Result<OwnedFd, Refusal> {
        let stage = self.containers.get_mut(id).and_then(|container| container.stage_of(exec));
        if !matches!(stage, Some(Stage::Running(_))) {
            return Err(refuse(RefusalKind::NotFound, "there is no such process, or it has ended"));
        }
        self.connect_to(&shim_name(id, exec))
            .map_err(|error| refuse(RefusalKind::Conflict, error.to_string()))
    }

    /// The place is the shim's to write to: what is there is looked at before it is connected to, by a handle.
    fn connect_to(&self, name: &str) -> Result<OwnedFd> {
        let failed = |errno| tree::failed("shim.sock", errno);
        let found = tree::open(&self.places.shims, &format!("{name}/shim.sock"), OFlags::PATH)?;
        if rustix::fs::fstat(&found).map_err(failed)?.st_uid != ROOT.0 {
            return Err(Error::new("shim.sock", "it is not the one that was made"));
        }
        let socket = seqpacket(SocketFlags::NONBLOCK).map_err(failed)?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", found.as_raw_fd())).map_err(failed)?;
        rustix::net::connect(&socket, &address).map_err(failed)?;
        Ok(socket)
    }
}

/// A shim's directory.
pub fn shim_name(id: &HexId, exec: Option<&HexId>) -> String {
    exec.map_or_else(|| id.to_string(), |exec| format!("{id}.{exec}"))
}

/// The file of a bundle that tells the next broker of a process.
pub fn kept_name(exec: Option<&HexId>) -> String {
    exec.map_or_else(|| "shim.json".to_owned(), |exec| format!("shim-{exec}.json"))
}

/// Words of a command line.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|errno| tree::failed("socket", errno))
}

fn seqpacket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// A path through the directory's descriptor: its own is longer than a socket's address may be.
fn listen(place: &OwnedFd) -> Result<OwnedFd, Errno> {
    let socket = seqpacket(SocketFlags::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/shim.sock", place.as_raw_fd()))?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}

fn send(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOBIG);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags).map(drop)
}
