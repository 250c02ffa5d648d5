//! The configuration's mounts as steps.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use casemate_core::plan::{From, House, Maps, Mount, Source, Space, Spaces};
use casemate_core::sys::mount::Change;
use casemate_spec::mount::{Bind, MountOptions};
use casemate_spec::{Error, Result};
use oci_spec::runtime::{Mount as OciMount, Spec};

use super::spaces::id_maps;
use super::text::{c_string, place};
use super::{Building, Context, plain_source, propagation_flag, remount};

/// Files of procfs that engines mount something over. Anything else beneath `/proc` would deceive the programs that
/// rely on it; runc draws the same line.
const OVER_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Filesystems of the kernel's whose instances are shared: read-only is asked of the mount, never of the instance.
const SHARED_INSTANCES: [&str; 7] = ["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts", "tmpfs"];

impl Building {
    pub(super) fn mounts(&mut self, spec: &Spec, context: &Context<'_>, spaces: &Spaces) -> Result<()> {
        let label =
            spec.linux().as_ref().and_then(|linux| linux.mount_label().clone()).filter(|l| !l.is_empty());
        if label.is_some() && !Path::new("/sys/fs/selinux/status").exists() {
            return Err(Error::new("config.json: linux.mountLabel", "SELinux is not enabled in this kernel"));
        }
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            self.mount(mount, context, spaces, label.as_deref())
                .map_err(|error| error.within(format!("config.json: mounts[{index}]")))?;
        }
        Ok(())
    }

    fn mount(
        &mut self,
        oci: &OciMount,
        context: &Context<'_>,
        spaces: &Spaces,
        label: Option<&str>,
    ) -> Result<()> {
        let words = oci.options().as_deref().unwrap_or_default();
        let mut options = MountOptions::parse(words);
        let kind = oci.typ().as_deref().unwrap_or_default();
        if kind == "bind" && options.bind.is_none() {
            options.bind = Some(Bind::One);
        }
        let destination = Path::new("/").join(oci.destination());
        let at = place(&destination.to_string_lossy())?;
        if options.bind.is_some() || kind != "proc" {
            // As it will be walked: `..` and doubled slashes resolved.
            not_over_proc(Path::new(&at.to_string()))?;
        }
        if self.given_mount(oci, context, &options)? {
            return Ok(());
        }
        let changes = changes(&options);
        if options.remount && options.bind.is_none() {
            self.house.push(remount(at, changes, format!("with {}", words.join(","))));
            return Ok(());
        }
        if let Some(bind) = options.bind {
            let from = self.bind(oci, context, spaces, &options, bind)?;
            let shown = format!("{} ({})", source_path(oci, context.bundle).display(), words.join(","));
            self.house.push(House::Mount(Mount { from, at, changes, copy_up: false, shown }));
            return Ok(());
        }
        if kind == "cgroup" || kind == "cgroup2" {
            return self.cgroup(&destination, kind, &options, context, spaces);
        }
        let shown = format!("{kind} ({})", words.join(","));
        if self.own.is_some() && shows_foreign(kind, spaces) {
            let source = self.source(Source { instance: Some(c_string(kind)?), ..plain_source() });
            let from = From::Tree(source);
            self.house.push(House::Mount(Mount { from, at, changes, copy_up: false, shown }));
            return Ok(());
        }
        let fallback = self.sysfs_fallback(kind, spaces);
        let from = From::New { kind: c_string(kind)?, options: keys(kind, oci, &options, label)?, fallback };
        self.house.push(House::Mount(Mount { from, at, changes, copy_up: options.tmpcopyup, shown }));
        Ok(())
    }

    fn bind(
        &mut self,
        oci: &OciMount,
        context: &Context<'_>,
        spaces: &Spaces,
        options: &MountOptions,
        bind: Bind,
    ) -> Result<From> {
        let path = source_path(oci, context.bundle);
        let own = |m: &Option<Vec<_>>| id_maps(m.as_deref().unwrap_or_default());
        let (uids, gids) = (own(oci.uid_mappings()), own(oci.gid_mappings()));
        // Without maps of its own, an id-mapped mount takes the container's.
        let idmap =
            match options.idmap {
                _ if !uids.is_empty() => Some(Maps { uids, gids }),
                Some(_) => Some(spaces.maps.clone().ok_or_else(|| {
                    Error::new("idmap", "neither the mount nor the container has id mappings")
                })?),
                None => None,
            };
        // A range of its own: the files keep their owners inside, where their filesystem lets them.
        let kept = idmap.is_none() && self.own.is_some();
        let index = self.source(Source {
            path: c_string(&path.to_string_lossy())?,
            recursive: bind == Bind::Recursive,
            idmap: idmap.or_else(|| self.own.clone()),
            idmap_recursive: kept || options.idmap.is_some_and(|idmap| idmap.recursive),
            idmap_optional: kept,
            ..plain_source()
        });
        Ok(From::Tree(index))
    }

    /// sysfs shows a network namespace and may be mounted only by its owner: without one, the host's is bound.
    fn sysfs_fallback(&mut self, kind: &str, spaces: &Spaces) -> Option<usize> {
        (kind == "sysfs" && spaces.has_user() && !spaces.makes(Space::Network)).then(|| {
            let path = c"/sys".into();
            self.source(Source { path, recursive: true, optional: true, ..plain_source() })
        })
    }
}

/// Whether a filesystem shows a namespace that the container's new user namespace will not own.
fn shows_foreign(kind: &str, spaces: &Spaces) -> bool {
    let shown = match kind {
        "proc" => Space::Pid,
        "sysfs" => Space::Network,
        "mqueue" => Space::Ipc,
        _ => return false,
    };
    !spaces.makes(shown)
}

fn not_over_proc(destination: &Path) -> Result<()> {
    if !destination.starts_with("/proc") || destination == Path::new("/proc") {
        return Ok(());
    }
    let listed = OVER_PROC.iter().any(|path| destination == Path::new(path))
        || destination == Path::new("/proc/net/dev");
    if listed {
        return Ok(());
    }
    Err(Error::new(
        format!("{:?} cannot be mounted because it is inside /proc", destination.display().to_string()),
        "programs trust what the kernel says there",
    ))
}

/// A bind's source; a relative one is the bundle's.
pub(super) fn source_path(oci: &OciMount, bundle: &Path) -> PathBuf {
    bundle.join(oci.source().as_deref().unwrap_or(Path::new("")))
}

/// The tree beneath first, then the mount itself, so that its own words win.
pub(super) fn changes(options: &MountOptions) -> Vec<Change> {
    let tree = Change { set: options.rec_set, clear: options.rec_clear, propagation: 0, recursive: true };
    let own = Change { set: options.set, clear: options.clear, propagation: 0, recursive: false };
    let propagation = options.propagation.iter().map(|p| Change {
        propagation: propagation_flag(p.kind),
        recursive: p.recursive,
        ..Change::default()
    });
    [tree, own].into_iter().filter(|change| !change.is_empty()).chain(propagation).collect()
}

fn keys(
    kind: &str,
    oci: &OciMount,
    options: &MountOptions,
    label: Option<&str>,
) -> Result<Vec<(CString, Option<CString>)>> {
    let mut keys = Vec::new();
    if let Some(source) = oci.source().as_ref().filter(|source| !source.as_os_str().is_empty()) {
        keys.push((c"source".into(), Some(c_string(&source.to_string_lossy())?)));
    }
    let shared = SHARED_INSTANCES.contains(&kind);
    for key in options.fs_keys().filter(|key| !(shared && *key == "ro")) {
        keys.push((c_string(key)?, None));
    }
    for (key, value) in &options.data {
        keys.push((c_string(key)?, value.as_deref().map(c_string).transpose()?));
    }
    // Kernel views have labels of the kernel's own.
    if let Some(label) = label.filter(|_| !matches!(kind, "proc" | "sysfs" | "cgroup" | "cgroup2")) {
        keys.push((c"context".into(), Some(c_string(label)?)));
    }
    Ok(keys)
}
