//! What an operator's store gives: overlays assembled of its layers, and binds of its volumes.

use std::path::{Path, PathBuf};

use casemate_core::plan::{Enter, From, House, IdMap, Maps, Mount, Source, Space, Spaces};
use casemate_spec::mount::{Bind, MountOptions};
use casemate_spec::{Error, Result};
use oci_spec::runtime::{Mount as OciMount, Spec};

use super::mounts::{changes, source_path};
use super::text::{c_string, place};
use super::{Building, Context, Layers, plain_source, rootfs};
use crate::choice::StoreDocument;
use crate::ids::Range;

/// What of a plan's sources is made beforehand, from a store.
#[derive(Debug)]
pub struct Given {
    /// From the ids on the disk to the container's, and to the mounter's own; none where they are the same.
    pub maps: Option<Maps>,
    /// Overlays, by the plan's source.
    pub overlays: Vec<(usize, Layers)>,
    /// Binds, by the plan's source.
    pub binds: Vec<(usize, Bound)>,
}

/// A directory or file of a store.
#[derive(Debug)]
pub struct Bound {
    /// Where it is on the host; no symbolic link leads there.
    pub path: PathBuf,
    /// With the mounts beneath it.
    pub recursive: bool,
}

impl Given {
    /// # Errors
    /// The container's ids are not known, or it has no mounts of its own.
    pub(super) fn new(store: &StoreDocument, spaces: &Spaces, confined: bool) -> Result<Self> {
        if !spaces.makes(Space::Mount) {
            return Err(Error::new("--store", "the container needs a mount namespace of its own"));
        }
        if spaces.joins(Space::User) {
            return Err(Error::new("--store", "a joined user namespace does not say what its ids are"));
        }
        let maps = if confined {
            unmoved(store.ids, spaces.maps.as_ref())?;
            None
        } else {
            Some(from_disk(store.ids, spaces.maps.as_ref()))
        };
        Ok(Self { maps, overlays: Vec::new(), binds: Vec::new() })
    }

    /// Whether it brings what this source of the plan stands for.
    pub fn makes(&self, source: usize) -> bool {
        self.overlays.iter().any(|(made, _)| *made == source)
            || self.binds.iter().any(|(made, _)| *made == source)
    }
}

impl Building {
    /// The root made of layers, in place of the bundle's directory.
    pub(super) fn given_root(
        &mut self,
        spec: &Spec,
        context: &Context<'_>,
        layers: &Layers,
    ) -> Result<Enter> {
        let rootfs = rootfs(spec, context.bundle)?;
        let shown = || format!("root filesystem {}", rootfs.display());
        let mut entries = std::fs::read_dir(&rootfs).map_err(|error| Error::io(shown(), &error))?;
        if entries.next().is_some() {
            return Err(Error::new(shown(), "not empty, and the store's layers are the root"));
        }
        let path = c_string(&rootfs.to_string_lossy())?;
        let source = self.source(Source { path: path.clone(), ..plain_source() });
        self.assembled(source, layers);
        self.house.push(House::Root { path });
        Ok(if context.no_pivot { Enter::Move } else { Enter::Pivot })
    }

    /// Whether the store gives this mount; if so it is planned.
    pub(super) fn given_mount(
        &mut self,
        oci: &OciMount,
        context: &Context<'_>,
        options: &MountOptions,
    ) -> Result<bool> {
        let Some(store) = context.store else { return Ok(false) };
        let at = place(&Path::new("/").join(oci.destination()).to_string_lossy())?;
        let destination = at.to_string();
        let words = oci.options().as_deref().unwrap_or_default().join(",");
        let (source, shown) = if let Some(layers) = store.overlays.get(&destination) {
            if !options.data.is_empty() {
                return Err(Error::new("options", "the layers of this overlay are the store's"));
            }
            // It is made beforehand; the path is where it is said to be when something is wrong with it.
            let source = self.source(Source { path: c_string(&destination)?, ..plain_source() });
            self.assembled(source, layers);
            (source, format!("overlay of the store ({words})"))
        } else if store.binds.contains(&destination) {
            let path = source_path(oci, context.bundle);
            let shown = format!("{} of the store ({words})", path.display());
            let source = self.source(Source { path: c_string(&path.to_string_lossy())?, ..plain_source() });
            if let Some(given) = &mut self.given {
                let recursive = options.bind == Some(Bind::Recursive);
                given.binds.push((source, Bound { path, recursive }));
            }
            (source, shown)
        } else {
            return Ok(false);
        };
        let changes = changes(options);
        self.house.push(House::Mount(Mount { from: From::Tree(source), at, changes, copy_up: false, shown }));
        Ok(true)
    }

    fn assembled(&mut self, source: usize, layers: &Layers) {
        if let Some(given) = &mut self.given {
            given.overlays.push((source, layers.clone()));
        }
    }
}

/// Root of a user namespace can give no mount other ids: the container must have those on the disk.
fn unmoved(ids: u32, container: Option<&Maps>) -> Result<()> {
    let same = |maps: &[IdMap]| matches!(maps, [one] if one.inside == 0 && one.outside == ids);
    if container.is_some_and(|maps| same(&maps.uids) && same(&maps.gids)) {
        return Ok(());
    }
    Err(Error::new("--store", "in a user namespace a container has the store's ids and no others")
        .hint("leave the user namespace to the policy"))
}

/// Id maps for mounts of the store: what is `ids` on the disk is the container's 0, whatever host id that is.
///
/// The mounter is somebody on the disk too, one id above the container's: overlayfs makes its work directory and
/// whiteouts as whoever mounts. Where the container has the host's root, that is the mounter.
fn from_disk(ids: u32, container: Option<&Maps>) -> Maps {
    // One more than a range: what the mounter of a container with ids of its own has left there is somebody's.
    let hosts = vec![IdMap { inside: ids, outside: 0, count: Range::SIZE + 1 }];
    let Some(container) = container else { return Maps { uids: hosts.clone(), gids: hosts } };
    Maps { uids: shifted(ids, &container.uids), gids: shifted(ids, &container.gids) }
}

fn shifted(ids: u32, maps: &[IdMap]) -> Vec<IdMap> {
    let held = maps.iter().filter(|map| map.inside < Range::SIZE);
    let mut shifted: Vec<IdMap> = held
        .map(|map| {
            let count = map.count.min(Range::SIZE - map.inside);
            IdMap { inside: ids.saturating_add(map.inside), outside: map.outside, count }
        })
        .collect();
    if !shifted.iter().any(|map| map.outside == 0) {
        shifted.push(IdMap { inside: ids.saturating_add(Range::SIZE), outside: 0, count: 1 });
    }
    shifted
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u32 = 1_073_676_288;

    #[test]
    fn a_range_of_its_own_and_the_mounter() {
        let own = vec![IdMap { inside: 0, outside: 0x5000_0000, count: Range::SIZE }];
        let maps = from_disk(S, Some(&Maps { uids: own.clone(), gids: own }));
        let wanted = [
            IdMap { inside: S, outside: 0x5000_0000, count: Range::SIZE },
            IdMap { inside: S + Range::SIZE, outside: 0, count: 1 },
        ];
        assert_eq!((maps.uids.as_slice(), maps.gids.as_slice()), (&wanted[..], &wanted[..]));
    }

    #[test]
    fn the_hosts_ids() {
        let all = [IdMap { inside: S, outside: 0, count: Range::SIZE + 1 }];
        assert_eq!(from_disk(S, None).uids, all);
    }

    #[test]
    fn maps_of_the_bundle_stay_within_the_stores_range() {
        let asked = vec![
            IdMap { inside: 0, outside: 0, count: 1 },
            IdMap { inside: 1, outside: 100_001, count: 4_000_000 },
        ];
        let wanted = [
            IdMap { inside: S, outside: 0, count: 1 },
            IdMap { inside: S + 1, outside: 100_001, count: Range::SIZE - 1 },
        ];
        assert_eq!(shifted(S, &asked), wanted);
    }
}
