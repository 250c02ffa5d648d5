//! From an admitted configuration to a plan for the core: every decision about a birth is taken here, before it.

mod capabilities;
mod cgroup_mounts;
mod devices;
mod given;
mod layers;
mod mounts;
mod process;
mod seal;
mod spaces;
mod text;
mod words;

use std::path::{Path, PathBuf};

use casemate_core::plan::{
    At, Enter, From, Furnish, Hook, House, Maps, Mount, Plan, Root, Source, Space, Spaces,
};
use casemate_core::sys::mount::Change;
use casemate_policy::{Admitted, Confinement};
use casemate_spec::mount::PropagationKind;
use casemate_spec::{ContainerId, Error, Result};
use oci_spec::runtime::{Hook as OciHook, Linux, Spec};

pub use given::{Bound, Given};
pub use layers::{Layers, Upper, is_overlay};
pub use process::process;
pub use spaces::{id_maps, kind as space_kind};
use text::{c_string, place};
pub use words::{Words, describe};

use crate::cgroup::Placement;
use crate::choice::StoreDocument;

/// What a plan depends on besides the configuration.
#[derive(Debug)]
pub struct Context<'a> {
    /// The container's id.
    pub id: &'a ContainerId,
    /// The bundle's absolute path.
    pub bundle: &'a Path,
    /// Where its control groups are; none when it goes without.
    pub placement: Option<&'a Placement>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// A session keyring of its own (not `--no-new-keyring`).
    pub new_keyring: bool,
    /// Descriptors from 3 on that the program keeps.
    pub preserve_fds: u32,
    /// How many of them are the caller's sockets (sd_listen_fds(3)): the program is told.
    pub listen_fds: u32,
    /// Rows and columns of the terminal that the container's is carried to, where the configuration says none.
    pub window: Option<(u16, u16)>,
    /// This process is root of a user namespace only, or not root at all: device nodes cannot be made.
    pub in_user_namespace: bool,
    /// setgroups(2) will be denied: an unprivileged caller maps only itself.
    pub keep_groups: bool,
    /// The first of the host's ids that are the container's own, where it has a range of its own.
    pub ids: Option<u32>,
    /// The kernel's Landlock ABI; 0 where there is none.
    pub landlock_abi: u32,
    /// What the operator's store gives the container.
    pub store: Option<&'a StoreDocument>,
}

/// The absolute path of the root filesystem.
///
/// # Errors
/// The configuration names none, or it is not a directory.
pub fn rootfs(spec: &Spec, bundle: &Path) -> Result<PathBuf> {
    let root = spec.root().as_ref().ok_or_else(|| Error::new("config.json: root", "missing"))?;
    let path = bundle.join(root.path());
    let shown = || format!("root filesystem {}", path.display());
    // A link could lead elsewhere by the time it is followed; runc refuses it too.
    if path.symlink_metadata().is_ok_and(|root| root.is_symlink()) {
        return Err(Error::new(shown(), "it is a symbolic link").hint("name what it leads to"));
    }
    let path_of = std::fs::canonicalize(&path).map_err(|error| Error::io(shown(), &error))?;
    if path_of.is_dir() { Ok(path_of) } else { Err(Error::os(shown(), libc_enotdir())) }
}

fn libc_enotdir() -> i32 {
    rustix::io::Errno::NOTDIR.raw_os_error()
}

/// What is done for a container's first process.
#[derive(Debug)]
pub struct Planned {
    /// What the core carries out.
    pub plan: Plan,
    /// The root filesystem's layers, where it is an overlay mount that is to be assembled anew.
    pub layers: Option<Layers>,
    /// What a store gives.
    pub given: Option<Given>,
}

/// Whether an overlay mount is at `root` that can be assembled anew.
///
/// # Errors
/// It is one, and its layers cannot be found again.
pub fn overlay_at(root: &Path) -> Result<bool> {
    Ok(layers::at(root)?.is_some())
}

/// Makes the plan of a container's first process.
///
/// # Errors
/// What cannot be expressed: paths with NUL bytes, features that the kernel lacks, malformed values that only become
/// apparent here.
pub fn plan(admitted: &Admitted, context: &Context<'_>) -> Result<Planned> {
    let spec = &admitted.config().spec;
    let linux = spec.linux().as_ref();
    let oci = spec.process().as_ref().ok_or_else(|| Error::new("config.json: process", "missing"))?;
    refuse_intel_rdt(linux)?;
    let spaces = spaces::spaces(linux, context.ids)?;
    let given =
        context.store.map(|store| Given::new(store, &spaces, context.in_user_namespace)).transpose()?;
    let own = own_maps(context, &spaces);
    let mut building = Building { house: Vec::new(), sources: Vec::new(), own, layers: None, given };
    let enter = building.root(spec, context, spaces.makes(Space::Mount), spaces.joins(Space::Mount))?;
    if spaces.makes(Space::Mount) {
        let user = spaces.has_user();
        building.mounts(spec, context, &spaces)?;
        building.devices(spec, user || context.in_user_namespace)?;
        if oci.terminal().unwrap_or(false) {
            building.house.push(House::Console(place("dev/console")?));
        }
        let cwd = oci.cwd().to_string_lossy();
        if cwd != "/" {
            building.house.push(House::Directory(place(&cwd)?));
        }
    }
    for (name, device) in linux.and_then(|linux| linux.net_devices().as_ref()).into_iter().flatten() {
        let inside =
            device.name().clone().filter(|inside| !inside.is_empty()).unwrap_or_else(|| name.clone());
        building.house.push(House::NetDevice { name: name.clone(), inside });
    }
    let hooks = spec.hooks().as_ref();
    let child_hooks =
        |hooks: Option<&Vec<OciHook>>| hooks.into_iter().flatten().map(hook).collect::<Result<Vec<_>>>();
    let some = |hooks: Option<&Vec<OciHook>>| hooks.is_some_and(|hooks| !hooks.is_empty());
    let mut process = process(oci, linux, context)?;
    seal::seal(&mut process, admitted.confinement(), context)?;
    // execCPUAffinity is for processes that enter ("not applicable to the container's init process").
    process.affinity_initial = None;
    process.affinity_final = None;
    let plan = Plan {
        pause_for_hooks: hooks
            .is_some_and(|h| some(h.prestart().as_ref()) || some(h.create_runtime().as_ref()))
            || building.house.iter().any(|step| matches!(step, House::NetDevice { .. })),
        create_hooks: child_hooks(hooks.and_then(|hooks| hooks.create_container().as_ref()))?,
        start_hooks: child_hooks(hooks.and_then(|hooks| hooks.start_container().as_ref()))?,
        furnish: furnish(spec, linux, enter)?,
        process,
        spaces,
        adopted: context.placement.is_some_and(Placement::is_adopted),
        sources: building.sources,
        house: building.house,
        enter,
    };
    Ok(Planned { plan, layers: building.layers, given: building.given })
}

/// Cache and memory bandwidth allocation is a feature of processors that this project cannot test on.
fn refuse_intel_rdt(linux: Option<&Linux>) -> Result<()> {
    if linux.is_none_or(|linux| linux.intel_rdt().is_none()) {
        return Ok(());
    }
    let why = match Path::new("/sys/fs/resctrl/info").exists() {
        true => "this runtime does not drive resctrl",
        false => {
            "no resctrl filesystem is mounted: it needs Linux 4.10 and a processor with resource control"
        }
    };
    Err(Error::new("config.json: linux.intelRdt", why))
}

/// A plan without a housing: for a process that enters a running container, or to word what a waiting one reported.
///
/// # Errors
/// As [`plan`].
pub fn visit(spec: &Spec, confinement: &Confinement, context: &Context<'_>) -> Result<Plan> {
    let oci = spec.process().as_ref().ok_or_else(|| Error::new("config.json: process", "missing"))?;
    let start = spec.hooks().as_ref().and_then(|hooks| hooks.start_container().as_ref());
    let mut process = process(oci, spec.linux().as_ref(), context)?;
    seal::seal(&mut process, confinement, context)?;
    Ok(Plan {
        spaces: Spaces::default(),
        adopted: false,
        sources: Vec::new(),
        house: Vec::new(),
        pause_for_hooks: false,
        create_hooks: Vec::new(),
        enter: Enter::Stay,
        furnish: Vec::new(),
        start_hooks: start.into_iter().flatten().map(hook).collect::<Result<_>>()?,
        process,
    })
}

/// The maps of a range of its own: what comes from the host's disks is shown through them.
fn own_maps(context: &Context<'_>, spaces: &Spaces) -> Option<Maps> {
    context.ids.filter(|_first| !context.in_user_namespace).and_then(|_first| spaces.maps.clone())
}

struct Building {
    house: Vec<House>,
    sources: Vec<Source>,
    /// Set where the container has ids of its own that its files on the host do not have.
    own: Option<Maps>,
    layers: Option<Layers>,
    given: Option<Given>,
}

impl Building {
    /// Adds a source and gives its index.
    fn source(&mut self, source: Source) -> usize {
        self.sources.push(source);
        self.sources.len() - 1
    }

    fn root(&mut self, spec: &Spec, context: &Context<'_>, new: bool, joined: bool) -> Result<Enter> {
        if joined {
            return Ok(Enter::Stay);
        }
        if let Some(layers) = context.store.and_then(|store| store.overlays.get("/")) {
            return self.given_root(spec, context, layers);
        }
        let rootfs = rootfs(spec, context.bundle)?;
        let path = c_string(&rootfs.to_string_lossy())?;
        let overlay = match &self.own {
            Some(_maps) => layers::at(&rootfs)?,
            None => None,
        };
        let idmap_recursive = self.own.is_some();
        let (layers, beneath) = overlay.map_or((None, Vec::new()), |o| (Some(o.layers), o.beneath));
        self.layers = layers;
        let idmap = self.own.clone();
        self.source(Source { path: path.clone(), recursive: true, idmap, idmap_recursive, ..plain_source() });
        if !new {
            return Ok(Enter::Chroot(Root));
        }
        self.house.push(House::Root { path });
        for mount in beneath {
            self.bound_again(&rootfs, &mount)?;
        }
        Ok(if context.no_pivot { Enter::Move } else { Enter::Pivot })
    }

    /// What was mounted beneath an overlay that is assembled anew.
    fn bound_again(&mut self, rootfs: &Path, mount: &Path) -> Result<()> {
        let path = c_string(&mount.to_string_lossy())?;
        let idmap = self.own.clone();
        let index = self.source(Source { path, idmap, idmap_optional: true, ..plain_source() });
        let inside = mount.strip_prefix(rootfs).unwrap_or(mount).to_string_lossy();
        let shown = format!("{} (prepared with the root filesystem)", mount.display());
        let at = place(&inside)?;
        self.house.push(House::Mount(Mount {
            from: From::Tree(index),
            at,
            changes: Vec::new(),
            copy_up: false,
            shown,
        }));
        Ok(())
    }
}

fn plain_source() -> Source {
    Source {
        path: c"/".into(),
        recursive: false,
        idmap: None,
        idmap_recursive: false,
        idmap_optional: false,
        instance: None,
        optional: false,
    }
}

fn furnish(spec: &Spec, linux: Option<&Linux>, enter: Enter) -> Result<Vec<Furnish>> {
    let mut steps = Vec::new();
    if let Some(name) = spec.hostname().as_ref().filter(|name| !name.is_empty()) {
        steps.push(Furnish::Hostname(c_string(name)?));
    }
    if let Some(name) = spec.domainname().as_ref().filter(|name| !name.is_empty()) {
        steps.push(Furnish::Domainname(c_string(name)?));
    }
    let Some(linux) = linux else { return Ok(steps) };
    let mut sysctls: Vec<_> = linux.sysctl().iter().flatten().collect();
    sysctls.sort();
    for (key, value) in sysctls {
        // A user namespace's root may not write these files, and may make the system calls.
        match key.as_str() {
            "kernel.hostname" => steps.push(Furnish::Hostname(c_string(value)?)),
            "kernel.domainname" => steps.push(Furnish::Domainname(c_string(value)?)),
            _ => steps.push(parameter(key, value)?),
        }
    }
    if !matches!(enter, Enter::Pivot | Enter::Move) {
        return Ok(steps);
    }
    furnish_root(spec, linux, steps)
}

fn parameter(key: &str, value: &str) -> Result<Furnish> {
    let path = casemate_spec::validate::sysctl_path(key).ok_or_else(|| {
        Error::new(format!("config.json: linux.sysctl {key:?}"), "it names no kernel parameter")
    })?;
    Ok(Furnish::Sysctl { path: c_string(&format!("sys/{path}"))?, value: c_string(value)? })
}

fn furnish_root(spec: &Spec, linux: &Linux, mut steps: Vec<Furnish>) -> Result<Vec<Furnish>> {
    for path in linux.readonly_paths().iter().flatten() {
        steps.push(Furnish::ReadonlyPath(place(path)?));
    }
    for path in linux.masked_paths().iter().flatten() {
        steps.push(Furnish::MaskedPath(place(path)?));
    }
    if let Some((flags, recursive)) = linux.rootfs_propagation().as_deref().and_then(propagation) {
        steps.push(Furnish::Propagation(flags, recursive));
    }
    if spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
        steps.push(Furnish::ReadonlyRoot);
    }
    Ok(steps)
}

fn propagation(word: &str) -> Option<(u64, bool)> {
    let (kind, recursive) = match word.strip_prefix('r') {
        Some(kind) => (kind, true),
        None => (word, false),
    };
    let kind = match kind {
        "shared" => PropagationKind::Shared,
        "slave" => PropagationKind::Slave,
        "private" => PropagationKind::Private,
        "unbindable" => PropagationKind::Unbindable,
        _ => return None,
    };
    Some((propagation_flag(kind), recursive))
}

/// `MS_*` of linux/mount.h.
fn propagation_flag(kind: PropagationKind) -> u64 {
    match kind {
        PropagationKind::Unbindable => 1 << 17,
        PropagationKind::Private => 1 << 18,
        PropagationKind::Slave => 1 << 19,
        PropagationKind::Shared => 1 << 20,
    }
}

fn hook(hook: &OciHook) -> Result<Hook> {
    let path = c_string(&hook.path().to_string_lossy())?;
    let argv = match hook.args() {
        Some(args) if !args.is_empty() => args.iter().map(|arg| c_string(arg)).collect::<Result<_>>()?,
        _ => vec![path.clone()],
    };
    let envp = hook.env().iter().flatten().map(|variable| c_string(variable)).collect::<Result<_>>()?;
    let timeout = hook.timeout().and_then(|seconds| u32::try_from(seconds).ok());
    Ok(Hook { path, argv, envp, timeout })
}

/// A step that remounts what is there.
fn remount(at: At, changes: Vec<Change>, shown: String) -> House {
    House::Mount(Mount { from: From::Existing, at, changes, copy_up: false, shown })
}
