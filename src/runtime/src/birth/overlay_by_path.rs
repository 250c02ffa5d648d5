//! The same overlay on a kernel that takes no layer by descriptor (before Linux 6.13): the id-mapped layers are laid over
//! their own places in a mount namespace that exists for it, and the overlay is mounted there with the paths it had.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use casemate_core::sys::clone::unshare;
use casemate_core::sys::mount::{Change, change};
use casemate_spec::{Error, Result};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::overlay::{make_work, mapped};
use crate::plan::{Layers, Upper};

/// `CLONE_NEWNS`, and `MS_PRIVATE` and `MS_SLAVE` of linux/mount.h.
const MOUNTS: u64 = 0x0002_0000;
const PRIVATE: u64 = 1 << 18;
const SLAVE: u64 = 1 << 19;

/// Mounts the overlay at `place` in a mount namespace of its own, and takes it out of there.
///
/// # Errors
/// As mount(2); a filesystem that takes no id-map.
pub(super) fn assemble(layers: &Layers, place: &CStr, space: Option<BorrowedFd<'_>>) -> Result<OwnedFd> {
    let failed = |what: &'static str| move |errno: Errno| Error::os(what, errno.raw_os_error());
    let mut trees = Vec::new();
    // Before any is laid over its place: a layer may lie beneath another's.
    if let Some(upper) = &layers.upper {
        make_work(upper, layers.owner)?;
        trees.push((mapped(&upper.base, space)?, &upper.base));
    }
    for lower in &layers.lowers {
        trees.push((mapped(lower, space)?, lower));
    }
    let directory = |path: &CStr| rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let own = rustix::fs::open(c"/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("open the mount namespace"))?;
    let (root, here) = (directory(c"/"), directory(c"."));
    let (root, here) = (root.map_err(failed("open /"))?, here.map_err(failed("open the working directory"))?);
    unshare(MOUNTS).map_err(failed("make a mount namespace"))?;
    let made = mounted(layers, place, &trees);
    // Entering a mount namespace moves the caller to its root.
    let back = move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))
        .and_then(|()| rustix::process::fchdir(&root))
        .and_then(|()| rustix::process::chroot(c"."))
        .and_then(|()| rustix::process::fchdir(&here));
    back.map_err(failed("return to the host's mount namespace"))?;
    made
}

fn mounted(layers: &Layers, place: &CStr, trees: &[(OwnedFd, &CString)]) -> Result<OwnedFd> {
    let failed = |what: &'static str| move |errno: Errno| Error::os(what, errno.raw_os_error());
    let root =
        rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed("open /"))?;
    let apart = Change { propagation: SLAVE, recursive: true, ..Change::default() };
    change(root.as_fd(), apart).map_err(failed("cut the mount namespace loose"))?;
    // A clone is a peer of the mount it was made of: what is laid over one would be laid over the host's too.
    let alone = Change { propagation: PRIVATE, ..Change::default() };
    for (tree, _) in trees {
        change(tree.as_fd(), alone).map_err(failed("part a layer from the host's mount"))?;
    }
    let named = match layers.owner {
        Some(_shifted) => Some(numbered(layers, place, trees)?),
        None => None,
    };
    if named.is_none() {
        for (tree, path) in trees {
            attach(tree, path).map_err(|errno| {
                Error::os(
                    format!("lay layer {} over its place", path.to_string_lossy()),
                    errno.raw_os_error(),
                )
            })?;
        }
    }
    let layers = named.as_ref().unwrap_or(layers);
    let options = options(layers)?;
    mount(c"overlay", place, c"overlay", MountFlags::empty(), Some(options.as_c_str()))
        .map_err(failed("assemble the root filesystem's layers"))?;
    open_tree(CWD, place, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(failed("take out the root filesystem"))
}

/// The same layers by numbers, in a directory of memory that is entered: all names fit the page then, and nobody looks for
/// the paths that a store has.
fn numbered(layers: &Layers, place: &CStr, trees: &[(OwnedFd, &CString)]) -> Result<Layers> {
    let failed = |what: &'static str| move |errno: Errno| Error::os(what, errno.raw_os_error());
    mount(c"tmpfs", place, c"tmpfs", MountFlags::empty(), None).map_err(failed("make room for layers"))?;
    rustix::process::chdir(place).map_err(failed("enter the room for layers"))?;
    let mut names = Vec::new();
    // One more: an empty one, for a layer that is alone.
    for number in 0..trees.len() + usize::from(layers.is_alone()) {
        let name = CString::new(number.to_string()).map_err(|_nul| Error::new("layer", "a NUL byte"))?;
        rustix::fs::mkdir(&name, Mode::RWXU).map_err(failed("make room for a layer"))?;
        names.push(name);
    }
    for ((tree, _), name) in trees.iter().zip(&names) {
        attach(tree, name).map_err(failed("put a layer into its room"))?;
    }
    let upper = layers.upper.as_ref().map(|upper| Upper { base: names.remove(0), ..upper.clone() });
    Ok(Layers { lowers: names, upper, ..layers.clone() })
}

fn attach(tree: &OwnedFd, place: &CStr) -> std::result::Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(tree, c"", CWD, place, flags)
}

/// mount(2) takes all of them in one page of text.
fn options(layers: &Layers) -> Result<CString> {
    let mut text = b"lowerdir=".to_vec();
    for (index, lower) in layers.lowers.iter().enumerate() {
        if index > 0 {
            text.push(b':');
        }
        text.extend(escaped(lower.to_bytes(), b"\\:,"));
    }
    let mut add = |key: &[u8], value: Option<Vec<u8>>| {
        text.push(b',');
        text.extend(key);
        if let Some(value) = value {
            text.push(b'=');
            text.extend(value);
        }
    };
    if let Some(upper) = &layers.upper {
        for (key, path) in [(b"upperdir".as_slice(), &upper.upper), (b"workdir", &upper.work)] {
            let path = [upper.base.to_bytes(), b"/", path.to_bytes()].concat();
            add(key, Some(escaped(&path, b"\\,")));
        }
    }
    for (key, value) in &layers.options {
        add(key.to_bytes(), value.as_ref().map(|value| value.to_bytes().to_vec()));
    }
    // A longer text would be cut, and mean something else.
    let page = rustix::param::page_size();
    if text.len() >= page {
        return Err(Error::new("the root filesystem's layers", "their names do not fit one page (mount(2))")
            .hint("Linux 6.13 takes layers by descriptor"));
    }
    CString::new(text).map_err(|_nul| Error::new("the root filesystem's layers", "a NUL byte in a name"))
}

fn escaped(text: &[u8], special: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text {
        if special.contains(byte) {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_what_the_kernel_parses() {
        let layers = Layers {
            lowers: vec![c"/a:b".into(), c"/c,d".into()],
            upper: Some(Upper { base: c"/u".into(), upper: c"x,y".into(), work: c"w".into(), quota: None }),
            options: vec![(c"index".into(), Some(c"off".into())), (c"volatile".into(), None)],
            owner: None,
        };
        let text = options(&layers).expect("options");
        let wanted = r"lowerdir=/a\:b:/c\,d,upperdir=/u/x\,y,workdir=/u/w,index=off,volatile";
        assert_eq!(text.to_str(), Ok(wanted));
    }

    #[test]
    fn more_than_a_page_is_refused() {
        let lowers = vec![CString::new(format!("/{}", "a".repeat(200))).expect("a name"); 30];
        assert!(options(&Layers { lowers, upper: None, options: Vec::new(), owner: None }).is_err());
    }
}
