//! `docker cp`, users, and the first use of a volume.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::process::Command;

use casemate_tests::{Value, json};

use crate::archive::Archive;
use crate::program::{Done, Helper, IDS, owner};

fn stat(helper: &Helper, path: &str) -> Done {
    helper.task("/view", json!({ "stat": { "path": path } }), b"")
}

fn names(archive: &[u8]) -> Vec<String> {
    let listed = crate::archive::through("tar", &["-tPf", "-"], archive);
    String::from_utf8(listed).expect("text").lines().map(str::to_owned).collect()
}

#[test]
fn places_as_docker_knows_them() {
    let helper = Helper::new();
    let view = helper.at("view");
    fs::create_dir_all(view.join("dir/sub")).expect("directories");
    fs::write(view.join("dir/file"), "12345").expect("a file");
    symlink("/dir", view.join("link")).expect("a link");
    symlink("nowhere/../else", view.join("broken")).expect("a link");
    let of = |path: &str| stat(&helper, path).ok()["stat"].clone();
    assert_eq!((of("/dir/file")["size"].as_u64(), of("dir/file")["name"].as_str()), (Some(5), Some("file")));
    assert_eq!(of("/dir/file")["mode"], 0o100_644);
    assert_eq!(of("/link")["linkTarget"], "/dir");
    assert_eq!(of("/link")["mode"].as_u64().expect("a mode") & 0o170_000, 0o120_000);
    assert_eq!(of("/link/")["mode"].as_u64().expect("a mode") & 0o170_000, 0o040_000);
    assert_eq!((of("/link/.")["name"].as_str(), of("/")["name"].as_str()), (Some("."), Some("/")));
    assert_eq!(of("/broken")["linkTarget"], "/else");
    assert_eq!(of("/link/file")["size"], 5);
    let errno = |path: &str| stat(&helper, path).replies[0]["failed"]["errno"].as_i64();
    assert_eq!((errno("/none"), errno("/dir/file/"), errno("/dir/file/x")), (Some(2), Some(20), Some(20)));
}

#[test]
fn archives_begin_with_the_last_name() {
    let helper = Helper::new();
    let view = helper.at("view");
    fs::create_dir_all(view.join("dir/sub")).expect("directories");
    fs::write(view.join("dir/sub/file"), "12345").expect("a file");
    symlink("dir", view.join("link")).expect("a link");
    let out = |path: &str| {
        let done = helper.task("/view", json!({ "copyOut": { "path": path } }), b"");
        assert!(
            done.replies[0].get("stat").is_some() && done.ok().get("packed").is_some(),
            "{:?}",
            done.replies
        );
        names(&done.output)
    };
    assert_eq!(out("/dir"), ["dir/", "dir/sub/", "dir/sub/file"]);
    assert_eq!(out("/dir/."), ["./", "./sub/", "./sub/file"]);
    assert_eq!(out("/link"), ["link"]);
    assert_eq!(out("/link/"), ["link/", "link/sub/", "link/sub/file"]);
    assert_eq!(out("/link/sub/file"), ["file"]);
    assert_eq!(out("/"), ["/", "/dir/", "/dir/sub/", "/dir/sub/file", "/link"]);
    let none = helper.task("/view", json!({ "copyOut": { "path": "/none" } }), b"");
    assert_eq!(none.replies[0]["failed"]["errno"], 2);
}

#[test]
fn files_and_directories_do_not_replace_each_other_unasked() {
    let helper = Helper::new();
    let view = helper.at("view");
    fs::create_dir_all(view.join("there/is/something")).expect("directories");
    fs::write(view.join("file"), "").expect("a file");
    helper.hand_over();
    chown(view.join("there"), Some(IDS + 7), None).expect("owner");
    let copy = |path: &str, keep: bool, owner: Value, archive: &[u8]| {
        let task = json!({ "copyIn": { "path": path, "keep_kinds": keep, "owner": owner } });
        helper.task("/view", task, archive)
    };
    let file = Archive::new().file("there", b"x").end();
    let directory = Archive::new().directory("file").end();
    assert!(copy("/", true, Value::Null, &file).failure().contains("cannot overwrite directory"));
    assert!(copy("/", true, Value::Null, &directory).failure().contains("cannot overwrite non-directory"));
    copy("/", false, Value::Null, &file).ok();
    copy("/", false, Value::Null, &directory).ok();
    assert!(view.join("there").is_file() && view.join("file").is_dir());
    // Owners as the archive says, or all the same.
    let owned = Archive::new().pax(&[("uid", b"12"), ("gid", b"34")]).file("owned", b"x").end();
    copy("/file", true, Value::Null, &owned).ok();
    assert_eq!(owner(&view.join("file/owned")), (12, 34));
    copy("/file", true, json!([5, 6]), &owned).ok();
    assert_eq!(owner(&view.join("file/owned")), (5, 6));
    for (path, errno) in [("/none", 2), ("/there", 20)] {
        assert_eq!(copy(path, true, Value::Null, &owned).replies[0]["failed"]["errno"], errno, "{path}");
    }
}

#[test]
fn a_read_only_root_says_so() {
    let helper = Helper::new();
    // Made anew by the program that mounts: the bind mount is gone with its namespace.
    let script = "mount --bind view view && mount -o remount,ro,bind view && exec 3>replies && exec chroot . /layer \"$0\"";
    let order =
        json!({ "root": "/view", "task": { "copyIn": { "path": "/", "keep_kinds": true, "owner": null } } });
    fs::write(helper.at("one.tar"), Archive::new().file("x", b"1").end()).expect("an archive");
    let status = Command::new("unshare")
        .args(["-m", "sh", "-ec", script, &order.to_string()])
        .current_dir(helper.at(""))
        .stdin(fs::File::open(helper.at("one.tar")).expect("an archive"))
        .status();
    assert!(!status.expect("unshare").success());
    let said = fs::read_to_string(helper.at("replies")).expect("an answer");
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["failed"]["errno"], 30, "{said}");
}

#[test]
fn users_by_the_containers_own_files() {
    let helper = Helper::new();
    let etc = helper.at("view/etc");
    fs::create_dir(&etc).expect("a directory");
    fs::write(etc.join("passwd"), "root:x:0:0::/root:\napp:x:1000:1001::/home/app:/bin/sh\n")
        .expect("a file");
    fs::write(etc.join("group"), "users:x:100:app\nwheel:x:10:root,app\nwww:x:33:\n").expect("a file");
    let ask = |user: &str, groups: &[&str]| {
        helper.task("/view", json!({ "user": { "user": user, "groups": groups } }), b"")
    };
    let is = |done: &Done, uid: u32, gid: u32, groups: &[u32], home: &str| {
        assert_eq!(done.ok()["user"], json!({ "uid": uid, "gid": gid, "groups": groups, "home": home }));
    };
    is(&ask("", &[]), 0, 0, &[10], "/root");
    is(&ask("app", &[]), 1000, 1001, &[100, 10], "/home/app");
    is(&ask("app:www", &["users", "7"]), 1000, 33, &[100, 7], "/home/app");
    is(&ask("4000", &[]), 4000, 0, &[], "/");
    is(&ask("4000:5000", &[]), 4000, 5000, &[], "/");
    is(&ask("1000", &[]), 1000, 1001, &[100, 10], "/home/app");
    assert_eq!(ask("no", &[]).failure(), "unable to find user no: no matching entries in passwd file");
    assert_eq!(ask("app:no", &[]).failure(), "unable to find group no: no matching entries in group file");
    fs::remove_file(etc.join("passwd")).expect("removed");
    is(&ask("", &[]), 0, 0, &[], "/");
    // One that is no file is not waited for.
    rustix::fs::mkfifoat(rustix::fs::CWD, etc.join("passwd"), rustix::fs::Mode::RUSR).expect("a pipe");
    chown(etc.join("passwd"), Some(IDS), Some(IDS)).expect("owner");
    assert!(ask("app", &[]).failure().contains("no regular file"));
}

#[test]
fn an_empty_volume_gets_what_the_image_has() {
    let helper = Helper::new();
    let (view, target) = (helper.at("view"), helper.at("target"));
    fs::create_dir_all(view.join("data/sub")).expect("directories");
    fs::write(view.join("data/file"), "content").expect("a file");
    fs::hard_link(view.join("data/file"), view.join("data/sub/second")).expect("a link");
    symlink("/data", view.join("link")).expect("a link");
    symlink("file", view.join("data/symlink")).expect("a link");
    for (name, id) in [("data", 9), ("data/file", 8), ("data/sub", 0)] {
        chown(view.join(name), Some(IDS + id), Some(IDS + id)).expect("owner");
    }
    fs::set_permissions(view.join("data"), fs::Permissions::from_mode(0o2750)).expect("mode");
    let copy = |path: &str| helper.task("/view", json!({ "copyUp": { "path": path } }), b"");
    copy("/none").ok();
    assert_eq!(fs::read_dir(&target).expect("a directory").count(), 0);
    copy("/link").ok();
    assert_eq!((owner(&target), owner(&target.join("file"))), ((9, 9), (8, 8)));
    assert_eq!(fs::metadata(&target).expect("the target").mode() & 0o7777, 0o2750);
    assert_eq!(fs::read_link(target.join("symlink")).expect("a link").to_str(), Some("file"));
    assert_eq!(fs::metadata(target.join("sub/second")).expect("a file").nlink(), 2);
    // Whatever is in it is somebody's: it stays as it is.
    fs::write(target.join("file"), "other").expect("written");
    fs::remove_file(target.join("symlink")).expect("removed");
    copy("/data").ok();
    assert_eq!(fs::read(target.join("file")).expect("a file"), b"other");
    assert!(!target.join("symlink").exists());
}
