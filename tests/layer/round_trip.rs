//! What GNU tar packs is what we unpack, and what we pack is what GNU tar unpacks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;

use casemate_tests::{Value, json};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, getxattr, mknodat, setxattr, utimensat,
};

use crate::archive::{tar, through};
use crate::program::{Helper, IDS};

/// Everything that a file can be and have: owner, mode, time, names, links, holes, extended attributes.
fn odd_tree(folder: &Path) {
    fs::create_dir_all(folder.join("a/b")).expect("directories");
    fs::write(folder.join("a/b/f"), "content\n").expect("a file");
    fs::hard_link(folder.join("a/b/f"), folder.join("a/hard")).expect("a hard link");
    fs::write(folder.join("a/setuid"), "#!\n").expect("a file");
    chown(folder.join("a/setuid"), Some(12), Some(34)).expect("owner");
    fs::set_permissions(folder.join("a/setuid"), fs::Permissions::from_mode(0o6755)).expect("mode");
    fs::create_dir(folder.join("a/sticky")).expect("a directory");
    fs::set_permissions(folder.join("a/sticky"), fs::Permissions::from_mode(0o3777)).expect("mode");
    fs::write(folder.join("a/sticky/in-setgid-directory"), "").expect("a file");
    symlink("/etc/passwd", folder.join("a/absolute")).expect("a link");
    symlink("../".repeat(60), folder.join("a/long-link")).expect("a link");
    fs::write(folder.join("a/new\nline \u{fc}"), "x").expect("a file");
    mknodat(CWD, folder.join("a/pipe"), FileType::Fifo, Mode::from_raw_mode(0o620), 0).expect("a pipe");
    let deep = folder.join(["d"; 30].map(|part| part.repeat(60)).join("/"));
    fs::create_dir_all(&deep).expect("deep directories");
    fs::write(deep.join("deep"), "deep").expect("a file");
    let sparse = fs::File::create(folder.join("a/sparse")).expect("a file");
    sparse.set_len(50 << 20).expect("holes");
    for at in [0, 4096 * 37, 20 << 20] {
        sparse.write_all_at(b"data between holes", at).expect("data");
    }
    setxattr(folder.join("a/b/f"), "user.odd", b"a\nb\0c\xff", XattrFlags::empty()).expect("an attribute");
    setxattr(folder.join("a/b/f"), "user.overlay.opaque", b"y", XattrFlags::empty()).expect("an attribute");
    // cap_net_raw+ep (capability.h): a 32-bit version, then the sets.
    let mut capability = [0; 20];
    capability[..8].copy_from_slice(&[1, 0, 0, 2, 0, 0x20, 0, 0]);
    setxattr(folder.join("a/sparse"), "security.capability", &capability, XattrFlags::empty())
        .expect("a capability");
    let modified = Timespec { tv_sec: -1000, tv_nsec: 0 };
    let stamps = Timestamps { last_access: modified, last_modification: modified };
    for name in ["a/absolute", "a/pipe", "a/b/f", "a/b", "a"] {
        utimensat(CWD, folder.join(name), &stamps, AtFlags::SYMLINK_NOFOLLOW).expect("a time");
    }
}

/// What is to survive, by name; `shift` is what the owners are counted from.
fn listing(folder: &Path, shift: u32) -> BTreeMap<String, String> {
    let mut list = BTreeMap::new();
    let mut pending = vec![folder.to_path_buf()];
    while let Some(path) = pending.pop() {
        let found = path.symlink_metadata().expect("metadata");
        let kind = found.file_type();
        let content = if kind.is_file() {
            let bytes = fs::read(&path).expect("content");
            format!("{} bytes {:?}", bytes.len(), through("sha256sum", &[], &bytes))
        } else if kind.is_symlink() {
            format!("{:?}", fs::read_link(&path).expect("a link"))
        } else {
            String::new()
        };
        let mut value = [0; 64];
        let attributes = ["user.odd", "security.capability"].map(|name| match kind.is_file() {
            true => getxattr(&path, name, &mut value).map(|length| value[..length].to_vec()).ok(),
            false => None,
        });
        let links = if kind.is_dir() { 0 } else { found.nlink() };
        let line = format!(
            "{:o} {}:{} {} links {links} {content} {attributes:?}",
            found.mode(),
            found.uid() - shift,
            found.gid() - shift,
            found.mtime(),
        );
        if kind.is_dir() {
            pending.extend(
                fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()),
            );
        }
        let name = path.strip_prefix(folder).expect("beneath").to_string_lossy().into_owned();
        if !name.is_empty() {
            list.insert(name, line);
        }
    }
    list
}

/// The capability that a namespace gave names that namespace's root in it (capabilities(7), version 3); without it, and
/// with the version set back, it is the one that was given.
fn same_capability(listing: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let root = IDS.to_le_bytes().map(|byte| byte.to_string()).join(", ");
    listing
        .into_iter()
        .map(|(name, line)| {
            (name, line.replace(&format!(", {root}])"), "])").replace("[1, 0, 0, 3,", "[1, 0, 0, 2,"))
        })
        .collect()
}

#[test]
fn what_gnu_tar_packs_is_unpacked() {
    let helper = Helper::new();
    let source = helper.at("source");
    odd_tree(&source);
    let wanted = listing(&source, 0);
    let forms: [&[&str]; 6] = [
        &["--format=gnu"],
        &["--format=gnu", "-S"],
        &["--format=pax", "--xattrs", "--xattrs-include=*"],
        &["--format=pax", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=0.0"],
        &["--format=pax", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=0.1"],
        &["--format=pax", "--xattrs", "--xattrs-include=*", "-S", "--sparse-version=1.0"],
    ];
    for form in forms {
        let helper = Helper::new();
        let archive = tar(&source, form);
        let done = helper.unpack(&archive);
        let unpacked = &done.ok()["unpacked"];
        let digest = through("sha256sum", &[], &archive);
        assert_eq!(unpacked["digest"].as_str().expect("a digest").as_bytes(), &digest[..64], "{form:?}");
        let mut wanted = wanted.clone();
        if form.contains(&"--format=gnu") {
            for line in wanted.values_mut() {
                let end = line.rfind(" [").expect("attributes");
                line.replace_range(end.., " [None, None]");
            }
        }
        assert_eq!(same_capability(listing(&helper.at("target"), IDS)), wanted, "{form:?}");
        let sparse = fs::metadata(helper.at("target/a/sparse")).expect("the sparse file");
        assert!(!form.contains(&"-S") || sparse.blocks() < 100, "{form:?}: {} blocks", sparse.blocks());
        assert!(getxattr(helper.at("target/a/b/f"), "user.overlay.opaque", &mut [0; 9]).is_err(), "{form:?}");
    }
}

#[test]
fn every_compression_is_known_by_its_first_bytes() {
    let helper = Helper::new();
    let source = helper.at("source");
    odd_tree(&source);
    let archive = tar(&source, &[]);
    let digest = through("sha256sum", &[], &archive);
    for program in ["gzip", "zstd", "bzip2", "xz", "cat"] {
        let helper = Helper::new();
        let once = through(program, &[], &archive);
        let done = helper.unpack(&once);
        assert_eq!(
            done.ok()["unpacked"]["digest"].as_str().expect("a digest").as_bytes(),
            &digest[..64],
            "{program}"
        );
        // In two parts that each are a stream of their own, as parallel compressors write.
        let (one, other) = archive.split_at(archive.len() / 2);
        let helper = Helper::new();
        let parts = [through(program, &[], one), through(program, &[], other)].concat();
        assert_eq!(helper.unpack(&parts).ok(), done.ok(), "{program}");
    }
}

#[test]
fn what_we_pack_is_what_gnu_tar_unpacks() {
    let helper = Helper::new();
    let source = helper.at("source");
    odd_tree(&source);
    helper.unpack(&tar(&source, &["--format=pax", "--xattrs", "--xattrs-include=*"])).ok();
    // What is not packed.
    let socket = std::os::unix::net::UnixListener::bind(helper.at("target/socket")).expect("a socket");
    drop(socket);
    let packed = helper.task("/target", json!("pack"), b"");
    let said: &Value = &packed.ok()["packed"];
    assert_eq!(said["size"], packed.output.len(), "the size");
    assert_eq!(
        said["digest"].as_str().expect("a digest").as_bytes(),
        &through("sha256sum", &[], &packed.output)[..64]
    );
    let again = helper.task("/target", json!("pack"), b"");
    assert_eq!(again.output, packed.output, "the same tree makes the same archive");

    let folder = helper.at("unpacked");
    fs::create_dir(&folder).expect("a folder");
    fs::write(helper.at("packed.tar"), &packed.output).expect("written");
    let tar = Command::new("tar")
        .args(["--warning=no-timestamp", "--xattrs", "--xattrs-include=*", "-xpf"])
        .arg(helper.at("packed.tar"))
        .arg("-C")
        .arg(&folder)
        .output()
        .expect("tar");
    assert!(tar.status.success() && tar.stderr.is_empty(), "{}", String::from_utf8_lossy(&tar.stderr));
    assert_eq!(listing(&folder, 0), listing(&source, 0));
    // Without a layer of changes beside it, the view counts.
    fs::remove_dir(helper.at("changes")).expect("removed");
    let bytes: u64 =
        helper.task("/target", json!("size"), b"").ok()["size"]["bytes"].as_u64().expect("a size");
    assert!((50 << 20..51 << 20).contains(&bytes), "{bytes}");
}
