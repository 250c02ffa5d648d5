//! What a store gives a container, made before its birth: overlays of its layers and binds of its volumes, id-mapped
//! and attached nowhere. Whatever becomes of this process, they end with their descriptors.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use casemate_core::sys::mount::idmap;
use casemate_spec::{Error, Result};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::overlay;
use super::pin::plainly;
use crate::plan::{Bound, Given};

/// Makes all of it; each comes with the index of the source that it takes the place of. `place` is an empty directory of
/// the bundle's.
///
/// # Errors
/// Something is not there or is not the store's, or its filesystem takes no id-map.
pub(super) fn make(given: &Given, place: &Path) -> Result<Vec<(usize, OwnedFd)>> {
    let mut made = Vec::with_capacity(given.overlays.len() + given.binds.len());
    let space = given.maps.as_ref().map(overlay::namespace).transpose()?;
    let space = space.as_ref().map(OwnedFd::as_fd);
    let place = CString::new(place.as_os_str().as_bytes())
        .map_err(|_nul| Error::new("root filesystem", "a NUL byte in its path"))?;
    for (source, layers) in &given.overlays {
        let overlay = overlay::assemble(layers, &place, space);
        made.push((*source, overlay.map_err(|error| error.within("--store"))?));
    }
    for (source, bound) in &given.binds {
        made.push((*source, bind(bound, space).map_err(|error| error.within("--store"))?));
    }
    Ok(made)
}

fn bind(bound: &Bound, space: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
    let failed = |doing: &str| {
        let what = format!("{doing} {}", bound.path.display());
        move |errno: Errno| Error::os(what, errno.raw_os_error())
    };
    let opened = plainly(&bound.path)?;
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if bound.recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(&opened, c"", flags).map_err(failed("open"))?;
    // What the operator has mounted beneath it has ids of its own.
    if let Some(space) = space {
        idmap(tree.as_fd(), space, false).map_err(failed("id-map"))?;
    }
    Ok(tree)
}
