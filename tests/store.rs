//! `--store`: roots made of a store's layers, and binds of its volumes, all of them shifted on the disk.
//!
//! Ours alone: the reference has no such option.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use casemate_tests::{Bundle, Invocation, Output, Value, json, make_rootfs, ours};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

/// The host id that stands for id 0 on the disk.
const S: u32 = 1_073_676_288;
const SIZE: u32 = 65_536;

/// A bundle whose root is made of a store's layers.
struct Stored {
    bundle: Bundle,
    document: Value,
}

impl Stored {
    /// A base of busybox, one layer on top of it, and an upper one; under `policy`.
    fn new(policy: &str, script: &str) -> Self {
        let mut bundle = Bundle::sh(&ours(), script);
        bundle.policy(policy).edit(|config| config["root"]["path"] = json!("empty"));
        fs::create_dir(bundle.bundle_dir().join("empty")).expect("make the empty root");
        let data = bundle.dir().join("data");
        for dir in ["layers/base", "layers/top/etc", "layers/top/home", "own/fs", "own/work", "volume/_data"]
        {
            fs::create_dir_all(data.join(dir)).expect("make a directory of the store");
        }
        make_rootfs(&data.join("layers/base"));
        fs::write(data.join("layers/top/etc/motd"), "of the top").expect("write a file of a layer");
        shift(&data.join("layers"));
        shift(&data.join("own"));
        shift(&data.join("volume/_data"));
        let at = |path: &str| data.join(path).display().to_string();
        let document = json!({
            "ids": S,
            "overlays": {"/": {
                "lowers": [at("layers/top"), at("layers/base")],
                "upper": {"fs": at("own/fs"), "work": at("own/work")},
            }},
            "binds": [],
        });
        Self { bundle, document }
    }

    fn data(&self, path: &str) -> PathBuf {
        self.bundle.dir().join("data").join(path)
    }

    /// A volume of the store, at `destination`.
    fn volume(&mut self, destination: &str, options: &[&str]) {
        let source = self.data("volume/_data").display().to_string();
        self.bundle.mount(destination, "bind", &source, options);
        self.document["binds"].as_array_mut().expect("binds").push(json!(destination));
    }

    fn call(&self, args: &[&str]) -> Invocation {
        let file = self.bundle.file("store.json", self.document.to_string());
        let global = [OsStr::new("--store"), file.as_os_str()];
        self.bundle.command(global).args(args)
    }

    fn run(&self) -> Output {
        self.call(&["run", self.bundle.id()]).run()
    }

    /// Fails unless the container is refused, with these words, and nothing of it is left.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        self.run().fails_saying(words);
        self.bundle.assert_clean();
    }
}

/// As a layer that was unpacked is owned on the disk: id 0 of the container is `S`.
fn shift(tree: &Path) {
    for entry in fs::read_dir(tree).expect("walk a layer").map(|entry| entry.expect("an entry")) {
        if entry.file_type().expect("its type").is_dir() {
            shift(&entry.path());
        } else {
            give(&entry.path(), S);
        }
    }
    give(tree, S);
}

fn give(path: &Path, id: u32) {
    std::os::unix::fs::lchown(path, Some(id), Some(id)).expect("change an owner");
}

fn owner(path: &Path) -> (u32, u32) {
    let file = fs::symlink_metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    (file.uid(), file.gid())
}

fn whiteout(path: &Path) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).expect("make a whiteout");
    give(path, S);
}

fn opaque(path: &Path) {
    setxattr(path, "user.overlay.opaque", b"y", XattrFlags::empty()).expect("make a directory opaque");
}

#[test]
fn layers_make_the_root() {
    for policy in ["hardened", "baseline", "strict", "oci"] {
        let script =
            "cat /etc/motd; stat -c '%u:%g %n' /etc/motd /bin/busybox /; ls /etc/group /home 2>&1; true";
        let store = Stored::new(policy, script);
        whiteout(&store.data("layers/top/etc/group"));
        opaque(&store.data("layers/top/home"));
        let output = store.run().ok();
        let said = output.stdout();
        assert!(said.starts_with("of the top0:0 /etc/motd\n0:0 /bin/busybox\n0:0 /\n"), "{policy}: {output}");
        assert!(said.contains("/etc/group: No such file"), "{policy}: a whiteout hides nothing: {output}");
        assert!(!said.contains("user"), "{policy}: an opaque directory shows what is beneath: {output}");
        store.bundle.assert_clean();
    }
}

/// Whatever ids the container has on the host, the disk knows it by the store's.
#[test]
fn what_is_written_is_the_stores_on_the_disk() {
    let script = "touch /mine && chown 1000:1001 /mine && cp /bin/busybox /suid && chmod 4755 /suid && \
                  rm /etc/passwd && mkdir /tree && echo x >> /etc/motd && stat -c %u:%g /mine /suid";
    for policy in ["baseline", "oci"] {
        let mut store = Stored::new(policy, script);
        store.bundle.capabilities(&["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID"]);
        assert_eq!(store.run().ok().text(), "1000:1001\n0:0", "{policy}");
        assert_eq!(owner(&store.data("own/fs/mine")), (S + 1000, S + 1001), "{policy}");
        for name in ["suid", "tree", "etc", "etc/motd"] {
            assert_eq!(owner(&store.data("own/fs").join(name)), (S, S), "{policy}: {name}");
        }
        let suid = fs::metadata(store.data("own/fs/suid")).expect("the set-user-ID program");
        assert_eq!(suid.mode() & 0o7777, 0o4755, "{policy}");
        let gone = fs::symlink_metadata(store.data("own/fs/etc/passwd")).expect("a whiteout");
        assert_eq!(gone.rdev(), 0, "{policy}");
        // The lower layers are as they were.
        assert_eq!(fs::read_to_string(store.data("layers/top/etc/motd")).expect("read"), "of the top");
        assert!(store.data("layers/base/etc/passwd").exists());
        assert_none_is_roots(&store.data("own/fs"));
    }
}

fn assert_none_is_roots(tree: &Path) {
    for entry in fs::read_dir(tree).expect("walk the upper layer").map(|entry| entry.expect("an entry")) {
        let (user, group) = owner(&entry.path());
        assert!((S..=S + SIZE).contains(&user), "{} belongs to {user}", entry.path().display());
        assert!((S..=S + SIZE).contains(&group), "{} is of group {group}", entry.path().display());
        if entry.file_type().expect("its type").is_dir() {
            assert_none_is_roots(&entry.path());
        }
    }
}

/// What one start leaves on the disk, the next one finds as its own, though its host ids are others.
#[test]
fn the_upper_layer_outlives_its_container() {
    let mut store =
        Stored::new("baseline", "ls -n /note 2>/dev/null; echo again >> /note; rm -f /etc/passwd");
    for policy in ["baseline", "oci", "baseline", "oci"] {
        store.bundle.policy(policy);
        store.run().ok();
    }
    assert_eq!(fs::read_to_string(store.data("own/fs/note")).expect("read").lines().count(), 4);
    assert_eq!(owner(&store.data("own/fs/note")), (S, S));
}

#[test]
fn a_read_only_root_needs_no_upper_layer() {
    for (policy, lowers) in [("hardened", 2), ("oci", 2), ("hardened", 1), ("oci", 1)] {
        let mut store = Stored::new(policy, "test -x /bin/sh && ! touch /x 2>/dev/null && echo as it was");
        let all = store.document["overlays"]["/"]["lowers"].as_array().expect("layers").clone();
        let some = all.into_iter().rev().take(lowers).rev().collect::<Vec<_>>();
        store.document["overlays"]["/"] = json!({"lowers": some, "upper": null});
        assert_eq!(store.run().ok().text(), "as it was", "{policy}, {lowers} layers");
    }
    let mut store = Stored::new("oci", "! touch /x 2>/dev/null && echo as it was");
    store.bundle.edit(|config| config["root"]["readonly"] = json!(true));
    assert_eq!(store.run().ok().text(), "as it was");
    assert!(!store.data("own/fs/x").exists());
}

#[test]
fn a_volume_is_the_containers() {
    for policy in ["hardened", "strict", "baseline", "oci"] {
        let mut store = Stored::new(policy, "stat -c %u:%g /vol /vol/old; echo new > /vol/new; touch /ro/x");
        fs::write(store.data("volume/_data/old"), "old").expect("write a file of the volume");
        give(&store.data("volume/_data/old"), S + 7);
        store.volume("/vol", &["rbind"]);
        store.volume("/ro", &["bind", "ro"]);
        // Several binds of one volume are several places.
        let output = store.run();
        assert_eq!(output.text(), "0:0\n7:7", "{policy}: {output}");
        assert!(output.stderr().contains("Read-only file system"), "{policy}: {output}");
        assert_eq!(owner(&store.data("volume/_data/new")), (S, S), "{policy}");
        store.bundle.assert_clean();
    }
}

/// As the helper for files sees another container's: all its layers, elsewhere than at the root.
#[test]
fn an_overlay_elsewhere() {
    let script =
        "cat /view/etc/motd; stat -c %u:%g /view/etc; ls /view/home; echo w > /view/w; cat /proc/mounts";
    let mut store = Stored::new("hardened", script);
    opaque(&store.data("layers/top/home"));
    let at = |path: &str| store.data(path).display().to_string();
    let view = json!({"lowers": [at("layers/top"), at("layers/base")],
                      "upper": {"fs": at("own/fs"), "work": at("own/work")}});
    let root = json!({"lowers": [at("layers/base")], "upper": null});
    fs::create_dir(store.data("layers/base/view")).expect("make the place");
    give(&store.data("layers/base/view"), S);
    store.document["overlays"] = json!({"/": root, "/view": view});
    store.bundle.mount("/view", "overlay", "overlay", &["nosuid"]);
    let output = store.run().ok();
    assert!(output.stdout().starts_with("of the top0:0\n"), "{output}");
    assert_eq!(fs::read_to_string(store.data("own/fs/w")).expect("written"), "w\n");
    let line = output.stdout().lines().find(|line| line.contains(" /view ")).expect("its mount").to_owned();
    assert!(line.contains("nosuid") && line.contains("nodev") && line.contains("userxattr"), "{line}");
    store.bundle.assert_clean();
}

#[test]
fn nothing_is_mounted_on_the_host() {
    let mut store = Stored::new("hardened", "sleep 1000");
    store.volume("/vol", &["bind"]);
    store.call(&["create", store.bundle.id()]).run().ok();
    let table = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    assert!(!table.contains(store.bundle.id()), "{table}");
    store.bundle.start().ok();
    // What was given is known to later commands without --store.
    assert_eq!(store.bundle.exec(&["/bin/stat", "-c", "%u", "/vol", "/"]).ok().text(), "0\n0");
    store.bundle.command(["pause", store.bundle.id()]).run().ok();
    store.bundle.command(["resume", store.bundle.id()]).run().ok();
    store.bundle.command(["update", "--memory", "64m", store.bundle.id()]).run().ok();
    store.bundle.delete_force().ok();
    store.bundle.assert_clean();
}

#[test]
fn check_and_plan_know_the_store() {
    let mut store = Stored::new("hardened", "true");
    store.volume("/vol", &["bind"]);
    let bundle = store.bundle.bundle_dir().display().to_string();
    let report = store.call(&["check", "--format", "json", &bundle]).run().ok().json();
    assert_eq!(report["verdict"], "admitted", "{report}");
    let plan = store.call(&["plan", &bundle]).run().ok().stdout();
    for line in ["id-mapped layer ", "id-mapped upper layer ", "id-mapped volume ", "of the store (bind"] {
        assert!(plan.contains(line), "{plan}");
    }
    // The other rules hold for what is given, too.
    store.bundle.edit(|config| config["mounts"][2]["options"] = json!(["bind", "rshared"]));
    let report = store.call(&["check", "--format", "json", &bundle]).run().fails_with(3).json();
    assert_eq!(report["violations"][0]["rule"], "mounts", "{report}");
}

/// What a request can say gives it nothing of the store.
#[test]
fn without_the_option_a_store_is_out_of_reach() {
    let data = Path::new("/var/lib/casemate");
    for policy in ["strict", "hardened", "baseline"] {
        for source in ["", "/store", "/store/volumes/x/_data", "/daemon"] {
            let mut bundle = Bundle::new(&ours());
            let source = format!("{}{source}", data.display());
            bundle.policy(policy).mount("/stolen", "bind", &source, &["bind"]);
            bundle.run().fails_saying(&["denies this container", &source]);
        }
        let mut bundle = Bundle::new(&ours());
        let layers = format!("lowerdir={0}/store/layers/a:{0}/store/layers/b", data.display());
        bundle.policy(policy).mount("/stolen", "overlay", "overlay", &[&layers]);
        bundle.run().fails_saying(&["denies this container"]);
    }
}

/// Wherever the operator has the store: policies know the usual place only.
#[test]
fn what_is_hidden_is_shown_by_no_bind() {
    for policy in ["hardened", "baseline"] {
        let mut store = Stored::new(policy, "stat -c %u /vol");
        store.volume("/vol", &["bind"]);
        fs::create_dir(store.bundle.dir().join("beside")).expect("make a place that is not hidden");
        let at = |path: &str| store.bundle.dir().join(path).display().to_string();
        let (data, other) = (at("data"), at("beside"));
        store.document["hidden"] = json!([data]);
        store.bundle.mount("/other", "bind", &other, &["bind"]);
        assert_eq!(store.run().ok().text(), "0", "{policy}");
        symlink("data", store.bundle.dir().join("link")).expect("make a link");
        for source in ["data", "data/volume/_data", "data/new", "link/layers", "data/../data", ""] {
            let source = store.bundle.dir().join(source).display().to_string();
            store.bundle.edit(|config| config["mounts"][3]["source"] = json!(source));
            store.refused(&["denies this container", "mounts[3].source"]);
        }
    }
    let mut store = Stored::new("hardened", "true");
    store.document["hidden"] = json!(["data"]);
    store.refused(&["store.json", "hidden[0] \"data\": not an absolute path"]);
}

#[test]
fn a_root_of_the_stores_is_no_strangers() {
    let mut store = Stored::new("hardened", "stat -c %u /bin/busybox");
    let (root, data) = (store.data("plain"), store.data("").display().to_string());
    make_rootfs(&root);
    let root = root.display().to_string();
    store.document = json!({"ids": S, "root": root, "hidden": [data.trim_end_matches('/')]});
    store.bundle.edit(|config| config["root"]["path"] = json!(root));
    assert_eq!(store.run().ok().text(), "0");
    let good = store.document.clone();
    store.document["root"] = json!(null);
    store.refused(&["denies this container", "root.path"]);
    // Another place, a link to it, or one that is an overlay's.
    store.document = good.clone();
    store.bundle.edit(|config| config["root"]["path"] = json!("empty"));
    store.refused(&["store.json", "not where root.path of the configuration leads"]);
    let link = store.bundle.dir().join("link");
    symlink(&root, &link).expect("make a link");
    store.bundle.edit(|config| config["root"]["path"] = json!(link));
    store.document["root"] = json!(link);
    store.refused(&["store.json", "not where root.path of the configuration leads"]);
    store.document = good;
    store.document["overlays"] = json!({"/": {"lowers": [root], "upper": null}});
    store.refused(&["store.json", "the place of something else"]);
}

#[test]
fn another_mount_is_not_taken_for_the_stores() {
    // Two mounts at one place: the asker's would be as free as the store's.
    let mut store = Stored::new("hardened", "true");
    store.volume("/vol", &["bind"]);
    store.bundle.mount("/x/../vol/", "bind", "/etc/shadow", &["bind"]);
    store.refused(&["store.json", "binds \"/vol\"", "more than one mount"]);
    // A link that the owner of the volume has put on the way.
    let mut store = Stored::new("hardened", "true");
    symlink("/etc", store.data("volume/_data/sub")).expect("make a link");
    let source = store.data("volume/_data/sub").display().to_string();
    store.bundle.mount("/vol", "bind", &source, &["bind"]);
    store.document["binds"] = json!(["/vol"]);
    store.refused(&["binds \"/vol\"", "a symbolic link leads to /etc"]);
    // What the document says nothing of is judged as ever.
    let mut store = Stored::new("hardened", "true");
    store.volume("/vol", &["bind"]);
    store.bundle.mount("/other", "bind", "/var/lib/casemate/x", &["bind"]);
    store.refused(&["denies this container", "/var/lib/casemate/x"]);
    let mut store = Stored::new("hardened", "true");
    store.bundle.mount("/view", "overlay", "overlay", &["lowerdir=/tmp/a:/tmp/b"]);
    store.refused(&["denies this container", "overlay"]);
    let at = store.data("layers/base").display().to_string();
    store.document["overlays"]["/view"] = json!({"lowers": [at], "upper": null});
    store.refused(&["the layers of this overlay are the store's"]);
}

#[test]
fn what_is_not_the_stores_is_refused() {
    let store = Stored::new("hardened", "true");
    give(&store.data("layers/top"), 0);
    store.refused(&["layers/top", "belongs to 0:0, not to the store's ids"]);
    give(&store.data("layers/top"), S);
    give(&store.data("own/fs"), 0);
    store.refused(&["own/fs", "not to the store's ids"]);
    give(&store.data("own/fs"), S);
    fs::write(store.bundle.bundle_dir().join("empty/x"), "").expect("fill the root");
    store.refused(&["bundle/empty", "not empty"]);
    let mut store = Stored::new("oci", "true");
    store.bundle.without_namespace("mount").edit(|config| config["mounts"] = json!([]));
    store.refused(&["--store", "mount namespace"]);
}

#[test]
fn a_document_that_makes_no_sense_is_refused() {
    let mut store = Stored::new("hardened", "true");
    let good = store.document.clone();
    let cases: [(&str, Value, &[&str]); 13] = [
        ("/ids", json!(0), &["ids", "0 does not begin"]),
        ("/ids", json!(u32::MAX), &["ids"]),
        ("/ids", json!("0"), &["invalid type", "line 1 column"]),
        ("/overlays", json!({"/": {"lowers": []}}), &["overlays \"/\": lowers: 0 layers"]),
        ("/overlays", json!({"/": {"lowers": ["a"]}}), &["lowers[0] \"a\": not an absolute path"]),
        ("/overlays", json!({"/": {"lowers": ["/a", "/b/../c"]}}), &["lowers[1] \"/b/../c\"", "plain"]),
        ("/overlays", json!({"/": {"lowers": ["/a", "/a"]}}), &["lowers[1]", "twice"]),
        ("/overlays", json!({"/": {"lowers": ["/a\u{0}b"]}}), &["lowers[0]", "NUL"]),
        ("/overlays", json!({"view": {"lowers": ["/a"]}}), &["overlays \"view\": not an absolute path"]),
        ("/overlays", json!({"/view": {"lowers": ["/a"]}}), &["overlays \"/view\"", "no mount"]),
        (
            "/overlays",
            json!({"/": {"lowers": ["/a"], "upper": {"fs": "/x/fs", "work": "/y/work"}}}),
            &["upper"],
        ),
        ("/overlays", json!({"/": {"lowers": ["/a"], "extra": 1}}), &["unknown field `extra`"]),
        ("/binds", json!(["/dev"]), &["binds \"/dev\"", "not a bind mount"]),
    ];
    for (place, value, words) in cases {
        store.document = good.clone();
        *store.document.pointer_mut(place).expect("a place") = value;
        store.refused(&[&["store.json"], words].concat());
    }
    for bytes in [&b""[..], b"{", b"[]", b"null", b"\xff\xfe{}", b"{} {}"] {
        let file = store.bundle.file("store.json", bytes);
        let global = [OsStr::new("--store"), file.as_os_str()];
        store.bundle.command(global).args(["run", store.bundle.id()]).run().fails_saying(&["store.json"]);
    }
    store.bundle.assert_clean();
}

#[test]
fn a_document_of_somebody_else_is_refused() {
    let store = Stored::new("hardened", "true");
    let file = store.bundle.file("mine.json", store.document.to_string());
    let run = |file: &Path| {
        let global = [OsStr::new("--store"), file.as_os_str()];
        store.bundle.command(global).args(["run", store.bundle.id()]).run()
    };
    chown(&file, Some(1000), None).expect("give it away");
    run(&file).fails_saying(&["mine.json", "belongs to user 1000"]);
    chown(&file, Some(0), None).expect("take it back");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("open it to all");
    run(&file).fails_saying(&["mine.json", "everybody may write to it"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("close it");
    let link = store.bundle.dir().join("link.json");
    symlink(&file, &link).expect("make a link");
    run(&link).fails_saying(&["link.json", "a symbolic link"]);
    run(&store.bundle.dir().join("none.json")).fails_saying(&["none.json", "no such file"]);
    run(Path::new("/dev/zero")).fails_saying(&["/dev/zero", "not a regular file"]);
    let large = store.bundle.file("large.json", vec![b' '; (1 << 20) + 1]);
    run(&large).fails_saying(&["large.json", "larger than 1 MiB"]);
    run(&file).ok();
    store.bundle.assert_clean();
}
