//! From what was seen to what a policy must allow: where is written, and how little that can be.

use std::collections::BTreeSet;

use super::seen::{Seen, is_beneath};

/// Where policies put a private tmpfs of their own.
pub const TEMPORARY: [&str; 3] = ["/tmp", "/run", "/var/tmp"];

/// What is written, as narrowly as rules can say it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The root file system itself.
    pub root: bool,
    /// Directories that a private tmpfs will do for.
    pub temporary: BTreeSet<String>,
    /// Everything beneath which must be writable; it exists before the workload begins.
    pub paths: BTreeSet<String>,
    /// Programs in one of these that were executed.
    pub executed: BTreeSet<String>,
}

/// Sums up where the workload wrote.
pub fn written(seen: &Seen) -> Written {
    let mut needs = Written::default();
    let mut in_temporary: Vec<(&str, &str)> = Vec::new();
    for (path, access) in seen.files.iter().filter(|(_, access)| access.written) {
        let mount = seen.mount_of(path).map_or("/", |mount| mount.path.as_str());
        let temporary =
            TEMPORARY.into_iter().find(|directory| is_beneath(path, directory) && path != directory);
        match temporary {
            // A device is a door of its own, whatever lies beside it.
            _ if mount != "/" && access.existed && seen.devices.values().any(|device| device == path) => {
                needs.paths.insert(path.clone());
            }
            _ if mount != "/" => {
                needs.paths.insert(mount.to_owned());
            }
            Some(directory) => in_temporary.push((directory, path)),
            None => {
                needs.root = true;
                needs.paths.insert(anchor(seen, path));
            }
        }
    }
    for (directory, path) in in_temporary {
        if is_private(seen, directory) {
            needs.temporary.insert(directory.to_owned());
            needs.paths.insert(directory.to_owned());
        } else {
            needs.root = true;
            needs.paths.insert(anchor(seen, path));
        }
    }
    let executed = seen.files.iter().filter(|(_, access)| access.executed).map(|(path, _)| path);
    needs.executed = executed
        .filter(|path| needs.paths.iter().any(|writable| is_beneath(path, writable)))
        .cloned()
        .collect();
    needs
}

/// Whether nothing that the image has in `directory` was used, so that a tmpfs over it hides nothing.
fn is_private(seen: &Seen, directory: &str) -> bool {
    let inside = |path: &str| path != directory && is_beneath(path, directory);
    seen.files.iter().filter(|(path, _)| inside(path)).all(|(path, access)| {
        let made_above = parent(path) == directory || is_made(seen, parent(path));
        !access.existed && made_above
    })
}

/// What must exist, and be writable, for `path` to be written: the file, or the directory that it is made in.
fn anchor(seen: &Seen, path: &str) -> String {
    if seen.files.get(path).is_some_and(|access| access.existed && !access.moved) {
        return path.to_owned();
    }
    let mut directory = parent(path);
    while directory != "/" && is_made(seen, directory) {
        directory = parent(directory);
    }
    directory.to_owned()
}

fn is_made(seen: &Seen, path: &str) -> bool {
    seen.files.get(path).is_some_and(|access| access.written && !access.existed)
}

fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((directory, _)) => directory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::seen::{Access, Mount};

    const MADE: Access = Access { read: false, written: true, executed: false, moved: true, existed: false };
    const CHANGED: Access = Access { existed: true, moved: false, ..MADE };
    const REPLACED: Access = Access { existed: true, ..MADE };
    const RUN: Access = Access { executed: true, written: false, ..CHANGED };

    fn seen(files: &[(&str, Access)]) -> Seen {
        let mount = |path: &str| Mount { path: path.to_owned(), read_only: false, kind: "tmpfs".to_owned() };
        Seen {
            files: files.iter().map(|(path, access)| ((*path).to_owned(), *access)).collect(),
            mounts: ["/", "/dev", "/data"].map(mount).into(),
            devices: [("c 1:3".to_owned(), "/dev/null".to_owned())].into(),
            ..Seen::default()
        }
    }

    fn set(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn a_mount_is_named_as_a_whole_and_a_device_by_itself() {
        let needs = written(&seen(&[("/data/a/b", MADE), ("/dev/null", CHANGED)]));
        assert_eq!(needs, Written { paths: set(&["/data", "/dev/null"]), ..Written::default() });
    }

    #[test]
    fn a_tmpfs_serves_where_it_hides_nothing() {
        let needs = written(&seen(&[("/tmp/a", MADE), ("/tmp/a/b", MADE)]));
        assert_eq!(needs, Written { temporary: set(&["/tmp"]), paths: set(&["/tmp"]), ..Written::default() });
        // /run/app came with the image.
        let needs = written(&seen(&[("/run/app/pid", MADE)]));
        assert_eq!(needs, Written { root: true, paths: set(&["/run/app"]), ..Written::default() });
    }

    #[test]
    fn the_root_is_opened_no_wider_than_what_was_there() {
        let needs = written(&seen(&[
            ("/srv/new", MADE),
            ("/srv/new/x", MADE),
            ("/etc/motd", CHANGED),
            ("/lib/x", REPLACED),
        ]));
        assert_eq!(
            needs,
            Written { root: true, paths: set(&["/etc/motd", "/lib", "/srv"]), ..Written::default() }
        );
    }

    #[test]
    fn programs_in_writable_places_are_known() {
        let needs = written(&seen(&[("/data/tool", RUN), ("/data/x", MADE), ("/bin/sh", RUN)]));
        assert_eq!(needs.executed, set(&["/data/tool"]));
    }
}
