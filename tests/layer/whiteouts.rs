//! Removed files: OCI's names become overlayfs's marks, about the layers beneath alone.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use crate::archive::Archive;
use crate::program::{Helper, exists};

fn is_mark(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.file_type().is_char_device() && found.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 8];
    rustix::fs::getxattr(path, "user.overlay.opaque", &mut value).is_ok_and(|length| &value[..length] == b"y")
}

#[test]
fn names_become_marks() {
    let helper = Helper::new();
    let target = |name: &str| helper.at("target").join(name);
    let archive = Archive::new()
        .file("a/.wh.gone", b"")
        .file("b/.wh..wh..opq", b"")
        .file("b/new", b"")
        .file(".wh..wh.plnk/1.2", b"")
        .file(".wh..wh.aufs", b"")
        .end();
    helper.unpack(&archive).ok();
    assert!(is_mark(&target("a/gone")) && !exists(&target("a/.wh.gone")));
    assert!(is_opaque(&target("b")) && !is_opaque(&target("a")) && exists(&target("b/new")));
    assert!(
        !exists(&target("b/.wh..wh..opq"))
            && !exists(&target(".wh..wh.plnk"))
            && !exists(&target(".wh..wh.aufs"))
    );
}

#[test]
fn what_the_layer_itself_has_stays_whichever_comes_first() {
    for mark_first in [true, false] {
        let helper = Helper::new();
        let target = |name: &str| helper.at("target").join(name);
        let marks = |archive: Archive| {
            archive.file(".wh.file", b"").file(".wh.directory", b"").file(".wh.implied", b"")
        };
        let own =
            |archive: Archive| archive.file("file", b"1").directory("directory").file("implied/x", b"2");
        let archive = if mark_first { own(marks(Archive::new())) } else { marks(own(Archive::new())) };
        helper.unpack(&archive.end()).ok();
        assert_eq!(fs::read(target("file")).expect("a file"), b"1");
        assert_eq!(fs::read(target("implied/x")).expect("a file"), b"2");
        assert!(is_opaque(&target("directory")) && is_opaque(&target("implied")), "{mark_first}");
    }
}

#[test]
fn marks_of_nothing_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.b/c"] {
        let helper = Helper::new();
        helper.unpack(&Archive::new().file(name, b"").end()).failure();
        assert_eq!(fs::read_dir(helper.at("target")).expect("a directory").count(), 0, "{name}");
    }
}

#[test]
fn what_is_copied_into_a_container_has_no_marks() {
    let helper = Helper::new();
    helper.copy_in("/", &Archive::new().file(".wh.file", b"").file(".wh..wh..opq", b"").end()).ok();
    assert!(exists(&helper.at("view/.wh.file")) && exists(&helper.at("view/.wh..wh..opq")));
    assert!(!is_opaque(&helper.at("view")));
}
