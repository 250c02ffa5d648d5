//! Archives that mean harm: whatever they try, nothing changes but what is in the one directory.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

use casemate_tests::{Value, json};

use crate::archive::Archive;
use crate::program::{Helper, exists, owner};

/// What plain tar does with the archive in a folder of its own beside a `victim`.
fn plain_tar(helper: &Helper, archive: &[u8]) -> std::path::PathBuf {
    let folder = helper.at("plain/in");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(helper.at("plain/victim"), "victim").expect("the victim");
    fs::write(helper.at("attack.tar"), archive).expect("the archive");
    let tar = Command::new("tar").args(["-xPf"]).arg(helper.at("attack.tar")).current_dir(&folder).output();
    drop(tar.expect("tar"));
    helper.at("plain")
}

/// The helper's own root has a victim beside `/target`, `/view`; a container's own files are in the latter.
fn prepared() -> Helper {
    let helper = Helper::new();
    fs::write(helper.at("victim"), "victim").expect("the victim");
    fs::create_dir(helper.at("outside")).expect("a directory");
    std::os::unix::fs::chown(helper.at("victim"), Some(crate::program::IDS), None).expect("owner");
    std::os::unix::fs::chown(helper.at("outside"), Some(crate::program::IDS), None).expect("owner");
    helper
}

fn assert_unharmed(helper: &Helper) {
    assert_eq!(fs::read_to_string(helper.at("victim")).expect("the victim"), "victim");
    assert_eq!(fs::metadata(helper.at("victim")).expect("the victim").nlink(), 1);
    assert_eq!(fs::read_dir(helper.at("outside")).expect("a directory").count(), 0);
    for name in ["pwned", "etc"] {
        assert!(!exists(&helper.at(name)), "{name}");
    }
}

#[test]
fn names_that_lead_out() {
    let archive = Archive::new().file("../victim", b"pwned").end();
    let helper = prepared();
    assert_eq!(fs::read_to_string(plain_tar(&helper, &archive).join("victim")).expect("the victim"), "pwned");
    for name in ["../victim", "a/../../victim", "/../victim", "./../victim", "a/b/../../../victim"] {
        let helper = prepared();
        let failed = helper.unpack(&Archive::new().file(name, b"pwned").end());
        assert!(failed.failure().contains("leads out"), "{name}: {}", failed.failure());
        assert_unharmed(&helper);
        let helper = prepared();
        helper.copy_in("/", &Archive::new().file(name, b"pwned").end()).failure();
        assert_unharmed(&helper);
        // The same in a record, behind a harmless name.
        let helper = prepared();
        helper
            .unpack(&Archive::new().pax(&[("path", name.as_bytes())]).file("good", b"pwned").end())
            .failure();
        assert_unharmed(&helper);
    }
}

#[test]
fn absolute_names_are_beneath_the_root() {
    let helper = prepared();
    helper.unpack(&Archive::new().file("/victim", b"own").file("//outside///own", b"own").end()).ok();
    assert_unharmed(&helper);
    assert_eq!(fs::read(helper.at("target/victim")).expect("a file"), b"own");
    assert_eq!(fs::read(helper.at("target/outside/own")).expect("a file"), b"own");
}

#[test]
fn links_are_not_written_through() {
    for target in ["..", "/outside", "../outside", "/"] {
        let helper = prepared();
        let archive = Archive::new().symlink("way", target).file("way/pwned", b"pwned").end();
        let failed = helper.unpack(&archive);
        assert!(failed.failure().contains("symbolic link is in the way"), "{}", failed.failure());
        assert_unharmed(&helper);
        // With directories of the same name first and last, and over a second link.
        let archive = Archive::new()
            .directory("way")
            .symlink("way", target)
            .symlink("second", "way")
            .directory("second/deeper")
            .end();
        let helper = prepared();
        helper.unpack(&archive).failure();
        assert_unharmed(&helper);
    }
    // Plain tar follows one that it has made itself, if only it was asked to keep absolute names.
    let helper = prepared();
    let archive = Archive::new().symlink("way", "..").file("way/pwned", b"").end();
    assert!(exists(&plain_tar(&helper, &archive).join("pwned")), "tar was expected to fall for it");
}

#[test]
fn the_second_of_a_name_replaces_a_link_and_does_not_follow_it() {
    for kind in [b'0', b'5', b'6', b'2'] {
        let helper = prepared();
        let archive = Archive::new().symlink("name", "/victim").entry(kind, "name", "elsewhere", b"").end();
        helper.unpack(&archive).ok();
        assert_unharmed(&helper);
        let found = helper.at("target/name").symlink_metadata().expect("the second");
        assert_eq!(found.is_symlink(), kind == b'2');
        assert_eq!(found.is_dir(), kind == b'5');
    }
    let helper = prepared();
    let archive = Archive::new().file("d/x", b"1").file("d", b"2").file("e", b"3").file("e/x", b"4").end();
    let failed = helper.unpack(&archive);
    assert_eq!(fs::read(helper.at("target/d")).expect("a file in a directory's place"), b"2");
    assert!(failed.failure().contains("not a directory"), "{}", failed.failure());
}

#[test]
fn hard_links_stay_within() {
    for target in ["../victim", "/../victim", "x/../../victim"] {
        let helper = prepared();
        let archive = Archive::new().link("own", target).file("own", b"pwned").end();
        helper.unpack(&archive).failure();
        assert_unharmed(&helper);
    }
    // Over a link on the way, and to what a link leads to.
    let helper = prepared();
    helper.unpack(&Archive::new().symlink("way", "..").link("own", "way/victim").end()).failure();
    assert_unharmed(&helper);
    let helper = prepared();
    helper
        .unpack(&Archive::new().symlink("way", "/victim").link("own", "way").file("own", b"pwned").end())
        .ok();
    assert_unharmed(&helper);
    assert!(helper.at("target/way").is_symlink());
    // To itself, to a directory, to nothing.
    let helper = prepared();
    helper.unpack(&Archive::new().file("x", b"1").link("x", "./x").end()).ok();
    assert_eq!(fs::read(helper.at("target/x")).expect("still there"), b"1");
    helper.unpack(&Archive::new().directory("d").link("y", "d").end()).failure();
    helper.unpack(&Archive::new().link("y", "nothing").end()).failure();
}

#[test]
fn devices_are_left_out_and_marks_not_forged() {
    let helper = prepared();
    let archive = Archive::new()
        .entry(b'3', "null", "", b"")
        .entry(b'4', "disk", "", b"")
        .file("kept", b"")
        .pax(&[
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"x"),
            ("SCHILY.xattr.system.posix_acl_access", b"x"),
            ("SCHILY.xattr.user.mine", b"kept"),
        ])
        .directory("directory")
        .end();
    helper.unpack(&archive).ok();
    assert!(!exists(&helper.at("target/null")) && !exists(&helper.at("target/disk")));
    let mut names = [0; 256];
    let length = rustix::fs::listxattr(helper.at("target/directory"), &mut names).expect("names");
    assert_eq!(&names[..length], b"user.mine\0");
}

#[test]
fn what_is_copied_into_a_container_stays_in_it() {
    // The container has planted links, and lies in wait for whoever copies.
    let helper = prepared();
    let view = helper.at("view");
    fs::create_dir(view.join("data")).expect("a directory");
    symlink("/outside", view.join("to-outside")).expect("a link");
    symlink("../../../../outside", view.join("data/up")).expect("a link");
    fs::create_dir(view.join("outside")).expect("a directory");
    helper.hand_over();
    for path in ["/to-outside", "/data/up", "/data/../../../to-outside"] {
        helper.copy_in(path, &Archive::new().file("pwned", b"").end()).ok();
        assert_unharmed(&helper);
        assert_eq!(owner(&view.join("outside/pwned")), (0, 0));
        fs::remove_file(view.join("outside/pwned")).expect("removed");
    }
    helper.copy_in("/data", &Archive::new().file("up/pwned", b"").link("up/second", "up/pwned").end()).ok();
    assert_unharmed(&helper);
    assert!(exists(&view.join("outside/pwned")) && exists(&view.join("outside/second")));
    // What a link leads to is read within the container as well.
    fs::write(view.join("victim"), "the container's").expect("a file");
    symlink("/victim", view.join("link")).expect("a link");
    let task = json!({ "copyOut": { "path": "/link/" } });
    assert_eq!(helper.task("/view", task, b"").replies.last().and_then(errno), Some(20));
    let stat = helper.task("/view", json!({ "stat": { "path": "/link" } }), b"");
    assert_eq!(stat.ok()["stat"]["linkTarget"], "/victim");
    fs::create_dir(view.join("etc")).expect("a directory");
    symlink("../../../../victim", view.join("etc/passwd")).expect("a link");
    fs::write(helper.at("victim"), "who:x:5:5::/:/\n").expect("the victim");
    let user = json!({ "user": { "user": "who", "groups": [] } });
    let failed = helper.task("/view", user, b"");
    assert_eq!(failed.failure(), "unable to find user who: no matching entries in passwd file");
}

fn errno(reply: &Value) -> Option<i64> {
    reply["failed"]["errno"].as_i64()
}

#[test]
fn names_with_newlines_are_names_and_those_with_nul_are_refused() {
    let helper = prepared();
    helper.unpack(&Archive::new().pax(&[("path", b"a\nb")]).file("x", b"1").end()).ok();
    assert_eq!(fs::read(helper.at("target/a\nb")).expect("the file"), b"1");
    let failed = helper.unpack(&Archive::new().pax(&[("path", b"a\0b")]).file("x", b"1").end());
    assert!(failed.failure().contains("NUL"), "{}", failed.failure());
    let failed = helper.unpack(&Archive::new().pax(&[("path", b"../\x1b[2J\n")]).file("x", b"1").end());
    assert!(!failed.failure().chars().any(char::is_control), "{:?}", failed.failure());
}

#[test]
fn ids_that_no_container_has() {
    let helper = prepared();
    for (key, id) in [("uid", "65536"), ("gid", "100000"), ("uid", "4294967295"), ("uid", "99999999999")] {
        helper.unpack(&Archive::new().pax(&[(key, id.as_bytes())]).file("x", b"").end()).failure();
    }
    helper.unpack(&Archive::new().pax(&[("uid", b"65535")]).file("x", b"").end()).ok();
    assert_eq!(owner(&helper.at("target/x")), (65_535, 0));
}
