//! The layers of a ready-made overlay mount, read from the mount table (proc_pid_mountinfo(5)).

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use casemate_spec::{Error, Result};
use rustix::io::Errno;

/// `OVERLAYFS_SUPER_MAGIC`, linux/magic.h.
const OVERLAY: u64 = 0x794c_7630;
/// Our own work directory, within the one that the engine keeps for such things.
pub const WORK: &str = "casemate";
/// Options that say how layers are read, and so must be the same again.
const KEPT: [&[u8]; 4] = [b"redirect_dir", b"metacopy", b"userxattr", b"context"];

/// The layers of an overlay mount (Documentation/filesystems/overlayfs.rst of the kernel).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// Lower layers, the uppermost first.
    pub lowers: Vec<CString>,
    /// Where writes go; without one the root is read-only.
    pub upper: Option<Upper>,
    /// Other options of the mount.
    pub options: Vec<(CString, Option<CString>)>,
    /// The first of the host ids that its directories must have on the disk; none where they are as they are.
    pub owner: Option<u32>,
}

impl Layers {
    /// Whether overlayfs takes them for too few: one that is only read needs an empty one beneath it.
    pub fn is_alone(&self) -> bool {
        self.upper.is_none() && self.lowers.len() == 1
    }
}

/// The writable layer of an overlay mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upper {
    /// The directory that holds both.
    pub base: CString,
    /// Beneath it: the layer.
    pub upper: CString,
    /// Beneath it: the kernel's work directory.
    pub work: CString,
    /// How many bytes may be in both.
    pub quota: Option<u64>,
}

/// An overlay mount that was found at a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Overlay {
    /// What it is made of.
    pub(super) layers: Layers,
    /// Other mounts beneath it, in the order of the table.
    pub(super) beneath: Vec<PathBuf>,
}

/// What the overlay mounted at `root` is made of; nothing where it is no overlay mount.
///
/// # Errors
/// The mount table cannot be read, or names layers that cannot be found again.
pub(super) fn at(root: &Path) -> Result<Option<Overlay>> {
    let is_overlay =
        is_overlay(root).map_err(|errno| Error::os(root.display().to_string(), errno.raw_os_error()))?;
    if !is_overlay {
        return Ok(None);
    }
    let table =
        std::fs::read("/proc/self/mountinfo").map_err(|e| Error::io("read /proc/self/mountinfo", &e))?;
    parse(&table, root).map_err(|error| error.within(format!("overlay mount {}", root.display())))
}

/// Whether what is at `path` lies on an overlay.
///
/// # Errors
/// statfs(2).
pub fn is_overlay(path: &Path) -> std::result::Result<bool, Errno> {
    Ok(u64::try_from(rustix::fs::statfs(path)?.f_type).ok() == Some(OVERLAY))
}

fn parse(table: &[u8], root: &Path) -> Result<Option<Overlay>> {
    let mut options = None;
    let mut beneath = Vec::new();
    for line in table.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        let (Some(top), Some(place)) = (fields.nth(3), fields.next()) else { continue };
        let place = path(&unescaped(place));
        if place == root {
            let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
            // The mount on top is the last one listed; what was beneath an older one is covered by it.
            beneath.clear();
            let overlay = rest.next() == Some(b"overlay") && top == b"/";
            options = rest.nth(1).filter(|_| overlay).map(<[u8]>::to_vec);
        } else if place.starts_with(root) {
            beneath.push(place);
        }
    }
    options.map(|options| Ok(Overlay { layers: layers(&options)?, beneath })).transpose()
}

fn layers(options: &[u8]) -> Result<Layers> {
    let mut lowers = Vec::new();
    let (mut upper, mut work) = (None, None);
    let mut kept = Vec::new();
    for option in options.split(|byte| *byte == b',') {
        let mut halves = option.splitn(2, |byte| *byte == b'=');
        let key = halves.next().unwrap_or_default();
        let value = halves.next().map(unescaped);
        match (key, value) {
            (b"lowerdir", Some(list)) => {
                for layer in split(&list)? {
                    lowers.push(absolute(layer)?);
                }
            }
            (b"lowerdir+", Some(layer)) => lowers.push(absolute(layer)?),
            (b"datadir+", _) => return Err(Error::new("datadir+", "layers of data only are not supported")),
            (b"upperdir", Some(layer)) => upper = Some(path(&layer)),
            (b"workdir", Some(layer)) => work = Some(path(&layer)),
            (key, value) if KEPT.contains(&key) => {
                kept.push((c_bytes(key.to_vec())?, value.map(c_bytes).transpose()?));
            }
            _ => {}
        }
    }
    let upper = match (upper, work) {
        (Some(upper), Some(work)) => {
            // The mount in which it was prepared holds the layer too; only one of them is written to.
            kept.push((c"index".into(), Some(c"off".into())));
            Some(together(&upper, &work)?)
        }
        _ => None,
    };
    Ok(Layers { lowers, upper, options: kept, owner: None })
}

/// `a:b:c`, a colon within a name written `\:`. The kernel takes `::` to begin layers of data only.
fn split(list: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut layers = vec![Vec::new()];
    let mut bytes = list.iter();
    while let Some(byte) = bytes.next() {
        let literal = match byte {
            b'\\' => bytes.next(),
            b':' => {
                layers.push(Vec::new());
                continue;
            }
            other => Some(other),
        };
        if let Some(last) = layers.last_mut() {
            last.extend(literal);
        }
    }
    if layers.iter().any(Vec::is_empty) {
        return Err(Error::new("lowerdir", "layers of data only are not supported"));
    }
    Ok(layers)
}

fn absolute(layer: Vec<u8>) -> Result<CString> {
    if layer.starts_with(b"/") {
        return c_bytes(layer);
    }
    let shown = String::from_utf8_lossy(&layer).into_owned();
    Err(Error::new(format!("layer {shown}"), "the mount table names it by a relative path")
        .hint("an engine does so when a mount has very many layers: fewer layers, or the policy's fallback"))
}

/// The upper layer and its work directory by the directory that holds both: the kernel wants them in one mount.
fn together(upper: &Path, work: &Path) -> Result<Upper> {
    let base: PathBuf =
        upper.components().zip(work.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect();
    let rest = |path: &Path| {
        let rest = path.strip_prefix(&base).map_err(|_| Error::new("upperdir", "it is not absolute"))?;
        c_bytes(rest.as_os_str().as_bytes().to_vec())
    };
    // A mount begins with an empty work directory, and takes from under the engine's mount what that works with.
    let (upper, work) = (rest(upper)?, rest(&work.join(WORK))?);
    Ok(Upper { base: c_bytes(base.into_os_string().into_vec())?, upper, work, quota: None })
}

fn c_bytes(bytes: Vec<u8>) -> Result<CString> {
    CString::new(bytes).map_err(|_nul| Error::new("mount table", "it holds a NUL byte"))
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes.to_vec()))
}

/// Space, tab, newline, comma and backslash are written as `\` and three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| *byte == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        plain.push(octal.unwrap_or(*byte));
        rest = if octal.is_some() { tail.get(3..).unwrap_or_default() } else { tail };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(line: &str) -> Option<Overlay> {
        parse(line.as_bytes(), Path::new("/r")).expect("a table")
    }

    #[test]
    fn dockers_mount_is_read() {
        let found = table(
            "1 0 0:1 / / rw - ext4 /dev/sda rw\n\
             2 1 0:55 / /r rw,relatime - overlay overlay rw,lowerdir=/v/l/A:/v/l/B,upperdir=/v/X/diff,workdir=/v/X/work,\
             metacopy=on,xino=off\n\
             3 2 0:56 / /r/data rw - tmpfs tmpfs rw\n4 1 0:57 / /rr rw - tmpfs tmpfs rw\n",
        )
        .expect("an overlay");
        assert_eq!(found.layers.lowers, [c"/v/l/A".to_owned(), c"/v/l/B".into()]);
        let upper = found.layers.upper.expect("an upper layer");
        assert_eq!(
            (upper.base, upper.upper, upper.work),
            (c"/v/X".into(), c"diff".into(), c"work/casemate".into())
        );
        assert!(found.layers.options.contains(&(c"metacopy".into(), Some(c"on".into()))));
        assert_eq!(found.beneath, [PathBuf::from("/r/data")]);
    }

    #[test]
    fn names_with_colons_commas_and_spaces_survive() {
        let line = r"2 1 0:55 / /r rw - overlay overlay rw,lowerdir=/a\134:b\054c\040d:/e,upperdir=/u/x,workdir=/u/w";
        assert_eq!(table(line).expect("an overlay").layers.lowers, [c"/a:b,c d".to_owned(), c"/e".into()]);
    }

    #[test]
    fn layers_given_one_by_one_are_read() {
        let line = "2 1 0:55 / /r ro - overlay none ro,lowerdir+=/a,lowerdir+=/b";
        let layers = table(line).expect("an overlay").layers;
        assert_eq!((layers.lowers, layers.upper), (vec![c"/a".to_owned(), c"/b".into()], None));
    }

    #[test]
    fn only_the_mount_itself_counts() {
        assert_eq!(
            table("2 1 0:55 / / rw - overlay overlay rw,lowerdir=/a,upperdir=/u/x,workdir=/u/w"),
            None
        );
        assert_eq!(table("2 1 0:55 /sub /r rw - overlay overlay rw,lowerdir=/a"), None);
        assert_eq!(table("2 1 0:55 / /r rw - overlay o rw,lowerdir=/a\n3 2 0:56 / /r rw - tmpfs t rw"), None);
    }

    #[test]
    fn what_cannot_be_found_again_is_refused() {
        for options in ["lowerdir=a:b", "lowerdir=/a::/b", "lowerdir+=/a,datadir+=/b"] {
            let line = format!("2 1 0:55 / /r rw - overlay overlay rw,{options}");
            assert!(parse(line.as_bytes(), Path::new("/r")).is_err(), "{options}");
        }
    }
}
