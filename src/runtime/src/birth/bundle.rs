//! A bundle: read once, judged once.

use std::ffi::{CString, OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use casemate_policy::{Admitted, HostFacts};
use casemate_spec::{Config, ContainerId, Error, Result};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use crate::choice::{self, Chosen, StoreDocument, Tried};
use crate::cli::Global;
use crate::ids::Range;
use crate::log;
use crate::store::Record;

/// A bundle whose configuration was admitted.
#[derive(Debug)]
pub struct Bundle {
    /// Its absolute path.
    pub path: PathBuf,
    /// `config.json` as it was read.
    pub bytes: Vec<u8>,
    /// What passed the gate.
    pub admitted: Admitted,
    /// The policy, and who chose it.
    pub chosen: Chosen,
    /// What the policy would have done, where it is only tried.
    pub tried: Option<Tried>,
    /// What of the host it was judged by.
    pub facts: HostFacts,
    /// What the operator's store gives it.
    pub store: Option<StoreDocument>,
}

impl Bundle {
    /// Reads and judges the bundle in `path`, by default the current directory.
    ///
    /// # Errors
    /// There is none, it is malformed, or the policy refuses it.
    pub fn open(global: &Global, path: Option<&Path>) -> Result<Self> {
        Self::read(global, path, |_, _| Ok(()))
    }

    /// The same for whoever makes a container of it, from where it cannot reach this program's file. Where that is
    /// plain beforehand, this process begins anew before the verdict, and not with all of it to do once more.
    ///
    /// # Errors
    /// As [`Bundle::open`]; no such file can be had.
    pub fn open_to_make(global: &Global, path: Option<&Path>) -> Result<Self> {
        let bundle = Self::read(global, path, |config, chosen| {
            keep_out_of_reach_early(&config.spec, !chosen.enforced().is_as_asked())
        })?;
        keep_out_of_reach(&bundle.admitted)?;
        Ok(bundle)
    }

    fn read(
        global: &Global,
        path: Option<&Path>,
        before: impl FnOnce(&Config, &Chosen) -> Result<()>,
    ) -> Result<Self> {
        let (path, bytes) = source(path)?;
        let config = casemate_spec::parse(&bytes)?;
        let chosen = choice::choose(global, config.spec.annotations().as_ref())?;
        before(&config, &chosen)?;
        for ignored in &config.ignored {
            log::debug(format_args!("config.json: ignored {ignored}"));
        }
        let store = StoreDocument::load(global)?;
        let facts = facts(global, &config, &path, store.as_ref())?;
        let (admitted, tried) = choice::judged(&chosen, config, &facts)?;
        Ok(Self { path, bytes, admitted, chosen, tried, facts, store })
    }
}

/// The absolute path of a bundle, and its `config.json`.
///
/// # Errors
/// There is none, or it cannot be read.
pub fn source(path: Option<&Path>) -> Result<(PathBuf, Vec<u8>)> {
    let path = path.unwrap_or(Path::new("."));
    let absolute = std::fs::canonicalize(path)
        .map_err(|error| Error::io(format!("bundle {}", path.display()), &error))?;
    let bytes = read(&absolute.join("config.json"))?;
    Ok((absolute, bytes))
}

impl Bundle {
    /// Tells the audit log of the container that is made of it. To be called when this process is the one that makes
    /// it ([`keep_out_of_reach`] begins anew), or it would be told twice.
    pub fn tell(&self, id: &ContainerId) {
        if let Some(tried) = &self.tried {
            tried.tell(id, "create");
        }
    }

    /// Whether its process wants a terminal.
    pub fn wants_terminal(&self) -> bool {
        let process = self.admitted.config().spec.process().as_ref();
        process.and_then(|process| process.terminal()).unwrap_or(false)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let limit = casemate_spec::config::MAX_BYTES as u64;
    let failed = |error: std::io::Error| {
        let shown = Error::io(format!("open {}", path.display()), &error);
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                shown.hint("runtime spec writes an example; --bundle names another directory")
            }
            _ => shown,
        }
    };
    // Without waiting: a fifo would have us wait for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Error::new(format!("open {}", path.display()), "not a regular file"));
    }
    let mut bytes = Vec::new();
    // One byte more than may be, so that a larger file is seen to be larger.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Judges the configuration of a container that is there, with the ids that it was given then.
///
/// # Errors
/// Everything that stands against the configuration.
pub fn judged_again(
    global: &Global,
    chosen: &Chosen,
    config: Config,
    record: &Record,
) -> Result<(Admitted, Option<Tried>)> {
    let facts = facts_again(global, &config, record);
    choice::judged(chosen, config, &facts)
}

/// What a policy depends on, of the host and of what the configuration joins; with what a store gives.
///
/// # Errors
/// The store gives what the configuration has no place for.
pub fn facts(
    global: &Global,
    config: &Config,
    bundle: &Path,
    store: Option<&StoreDocument>,
) -> Result<HostFacts> {
    let root = store.and_then(|store| store.overlays.get("/")).and_then(|layers| layers.lowers.first());
    let root = root.map(|lower| Path::new(OsStr::from_bytes(lower.to_bytes())));
    let mut facts = choice::facts(global, super::outside::host(global, config), config, bundle, root);
    if let Some(store) = store {
        facts.store = store.of(config, &facts)?;
        facts.store_range = global.is_confined();
    }
    Ok(facts)
}

/// The same of a container that is there: its ids, and what a store gave it, are known.
pub fn facts_again(global: &Global, config: &Config, record: &Record) -> HostFacts {
    let host = super::outside::host(global, config);
    let mut facts = choice::facts(global, host, config, &record.bundle, None);
    facts.no_range = record.ids.is_none().then(|| "it was created without".to_owned());
    facts.store_range = record.ids.as_ref().is_some_and(Range::is_shared);
    facts.store = record.store.clone().unwrap_or_default();
    facts
}

/// Runs this program again from a file that the container cannot reach, unless its user namespace keeps it from ours
/// anyhow.
///
/// # Errors
/// No such file can be had.
pub fn keep_out_of_reach(admitted: &Admitted) -> Result<()> {
    if maps_us_away(admitted) { Ok(()) } else { out_of_reach() }
}

/// The same before the verdict, where that can make no difference: the container has no user namespace, and will not be
/// given one.
///
/// # Errors
/// No such file can be had.
pub fn keep_out_of_reach_early(spec: &Spec, may_have_own_ids: bool) -> Result<()> {
    let listed = spec.linux().iter().filter_map(|linux| linux.namespaces().as_ref()).flatten();
    let mut kinds = listed.map(LinuxNamespace::typ);
    if may_have_own_ids || kinds.any(|kind| kind == LinuxNamespaceType::User) {
        Ok(())
    } else {
        out_of_reach()
    }
}

/// Runs this program again from a file that no container can reach, unless it does already.
///
/// # Errors
/// No such file can be had.
pub fn out_of_reach() -> Result<()> {
    let arguments = std::env::args_os().map(c_string).collect::<Result<Vec<_>>>()?;
    let environment = std::env::vars_os()
        .map(|(mut key, value)| {
            key.push("=");
            key.push(value);
            c_string(key)
        })
        .collect::<Result<Vec<_>>>()?;
    super::image::out_of_reach(arguments, environment).map_err(|errno| {
        Error::os("keep the runtime's own file out of the container's reach", errno.raw_os_error())
    })
}

/// A container of a new user namespace that does not map root, who owns our file, cannot write to it.
fn maps_us_away(admitted: &Admitted) -> bool {
    let Some(linux) = admitted.config().spec.linux() else { return false };
    let fresh = linux
        .namespaces()
        .iter()
        .flatten()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::User && namespace.path().is_none());
    let maps = linux.uid_mappings().as_deref().unwrap_or_default();
    let owner = rustix::fs::stat("/proc/self/exe").map(|stat| (stat.st_uid, stat.st_mode));
    // Group and others must not write either.
    let Ok((owner, mode)) = owner else { return false };
    // A range of its own never holds root's ids, and is filled in later.
    let own = super::has_own_ids(admitted) && owner == 0;
    fresh
        && mode & 0o022 == 0
        && (own || !maps.is_empty())
        && maps.iter().all(|m| owner < m.host_id() || owner - m.host_id() >= m.size())
}

fn c_string(text: OsString) -> Result<CString> {
    CString::new(text.into_vec()).map_err(|_nul| Error::new("command line", "it holds a NUL byte"))
}
