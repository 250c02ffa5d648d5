//! Images of one host: named, listed, looked at, saved, loaded, removed.

use casemate_spec::wire::{DAEMON, STORE_IDS};
use casemate_tests::Value;

use super::World;
use super::harness::IMAGE;

/// A name of everything that is listed.
fn listed(world: &World, filters: &[&str]) -> Vec<String> {
    let words = [&["images", "--format", "{{.Repository}}:{{.Tag}}"], filters].concat();
    let mut names: Vec<String> = world.ok(&words).lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn inspected(world: &World, name: &str) -> Value {
    let text = world.ok(&["image", "inspect", name]);
    serde_json::from_str::<Value>(&text).expect("json")[0].clone()
}

#[test]
fn an_import_is_an_image_like_any_other() {
    let world = World::configured("");
    let archive = world.rootfs_archive();
    let id = world.ok(&[
        "import",
        "-c",
        "CMD [\"sh\"]",
        "-c",
        "ENV A=1 B=2",
        "-c",
        "LABEL who=me",
        "-c",
        "EXPOSE 80",
        "-m",
        "by hand",
        &archive.to_string_lossy(),
        "made:1",
    ]);
    assert!(id.starts_with("sha256:"), "{id}");
    let image = inspected(&world, "made:1");
    assert_eq!(image["Id"], Value::from(id.as_str()));
    assert_eq!(image["RepoTags"], serde_json::json!(["made:1"]));
    assert_eq!(image["Comment"], "by hand");
    assert_eq!(image["Os"], "linux");
    assert_eq!(image["GraphDriver"]["Name"], "overlay2");
    assert_eq!(image["Config"]["Cmd"], serde_json::json!(["sh"]));
    assert_eq!(image["Config"]["Env"], serde_json::json!(["A=1", "B=2"]));
    assert_eq!(image["Config"]["Labels"], serde_json::json!({ "who": "me" }));
    assert_eq!(image["RootFS"]["Layers"].as_array().map(Vec::len), Some(1));
    assert!(image["Size"].as_u64().is_some_and(|size| size > 500_000), "{image}");
    let history = world.ok(&["history", "--format", "{{.ID}} {{.Comment}}", "--no-trunc", "made:1"]);
    assert_eq!(history, format!("{id} by hand"));
    world.docker(["import", "-c", "RUN true", &archive.to_string_lossy()]).run().fails_saying(&["RUN"]);
    world.stop();
}

#[test]
fn names_come_and_go_by_dockers_rules() {
    let world = World::start();
    let id = world.ok(&["image", "inspect", "-f", "{{.Id}}", IMAGE]);
    world.ok(&["tag", IMAGE, "other/name:v1"]);
    world.ok(&["tag", &id, "third:v2"]);
    assert_eq!(listed(&world, &[]), ["busybox:latest", "other/name:v1", "third:v2"]);
    assert_eq!(listed(&world, &["--filter", "reference=other/*"]), ["other/name:v1"]);
    assert_eq!(listed(&world, &["--filter", "reference=*:v2"]), ["third:v2"]);
    assert_eq!(listed(&world, &["--filter", "dangling=true"]), [""; 0]);
    world.docker(["images", "--filter", "colour=red"]).run().fails_saying(&["invalid filter 'colour'"]);
    world.docker(["tag", "none", "x"]).run().fails_saying(&["No such image: none:latest"]);
    world.docker(["tag", IMAGE, "Big/Name"]).run().fails_saying(&["must be lowercase"]);

    let short = id.trim_start_matches("sha256:").get(..12).expect("an id").to_owned();
    world.docker(["rmi", &short]).run().fails_saying(&[
        "conflict: unable to delete",
        "(must be forced) - image is referenced in multiple repositories",
    ]);
    assert_eq!(world.ok(&["rmi", "third:v2"]), "Untagged: third:v2");
    assert_eq!(world.ok(&["rmi", "other/name:v1"]), "Untagged: other/name:v1");
    let last = world.ok(&["rmi", IMAGE]);
    assert_eq!(last, format!("Untagged: busybox:latest\nDeleted: {id}"));
    world.docker(["image", "inspect", IMAGE]).run().fails_saying(&["No such image: busybox:latest"]);
    assert_eq!(stored(&world), (0, 0), "layers and blobs");
    world.stop();
}

/// Layers and blobs on the disk.
fn stored(world: &World) -> (usize, usize) {
    let count = |path: &str| std::fs::read_dir(world.data().join(path)).map_or(0, Iterator::count);
    (count("store/layers"), count("daemon/blobs/sha256"))
}

#[test]
fn what_a_container_stands_on_stays() {
    let world = World::start();
    let container = world.ok(&["create", "--net", "none", IMAGE, "true"]);
    let short = container.get(..12).expect("an id").to_owned();
    world.docker(["rmi", IMAGE]).run().fails_saying(&[
        "conflict: unable to remove repository reference \"busybox:latest\" (must force) - container",
        &short,
    ]);
    let id = world.ok(&["image", "inspect", "-f", "{{.Id}}", IMAGE]);
    world
        .docker(["rmi", &id])
        .run()
        .fails_saying(&["(must be forced) - image is being used by stopped container"]);
    world.ok(&["rmi", "-f", &id]);
    // The container still starts: its layers are its own to keep.
    world.ok(&["start", "-a", &short]);
    world.ok(&["rm", &short]);
    world.stop();
}

#[test]
fn saved_and_loaded_is_the_same() {
    let world = World::start();
    world.ok(&["tag", IMAGE, "second:v"]);
    let archive = world.dir().join("saved.tar");
    world.ok(&["save", "-o", &archive.to_string_lossy(), IMAGE, "second:v"]);
    let before = inspected(&world, IMAGE);
    let listing = world.outside("tar").arg("-tf").arg(&archive).run().ok().text();
    for name in ["manifest.json", "index.json", "oci-layout"] {
        assert!(listing.lines().any(|line| line == name), "{listing}");
    }
    world.ok(&["rmi", "-f", IMAGE, "second:v"]);
    assert_eq!(stored(&world), (0, 0));
    let said = world.ok(&["load", "-i", &archive.to_string_lossy()]);
    assert_eq!(said, "Loaded image: busybox:latest\nLoaded image: second:v");
    let after = inspected(&world, IMAGE);
    for field in ["Id", "RootFS", "Config", "Created", "Size"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    world.outside("gzip").arg(&archive).run().ok();
    let packed = world.dir().join("saved.tar.gz");
    assert!(world.ok(&["load", "-i", &packed.to_string_lossy()]).contains("Loaded image: second:v"));
    // Another's: skopeo reads the layout and the old form.
    world.outside("gunzip").arg(&packed).run().ok();
    let read = |kind: &str| {
        let source = format!("{kind}:{}", archive.display());
        world.outside("skopeo").args(["inspect", "--config", &source]).run()
    };
    read("docker-archive").ok();
    world.run(&[], &["true"]).ok();
    world.stop();
}

#[test]
fn what_an_archive_lies_about_is_refused_and_leaves_nothing() {
    let world = World::start();
    let archive = world.dir().join("saved.tar");
    world.ok(&["save", "-o", &archive.to_string_lossy(), IMAGE]);
    world.ok(&["rmi", "-f", IMAGE]);
    let folder = world.dir().join("apart");
    std::fs::create_dir_all(&folder).expect("folder");
    world.outside("tar").arg("-xf").arg(&archive).arg("-C").arg(&folder).run().ok();
    let largest = std::fs::read_dir(folder.join("blobs/sha256"))
        .expect("blobs")
        .flatten()
        .max_by_key(|entry| entry.metadata().map_or(0, |file| file.len()))
        .expect("a blob");
    let mut bytes = std::fs::read(largest.path()).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(largest.path(), bytes).expect("write");
    let bad = world.dir().join("bad.tar");
    world.outside("tar").arg("-cf").arg(&bad).arg("-C").arg(&folder).arg(".").run().ok();
    world
        .docker(["load", "-i", &bad.to_string_lossy()])
        .run()
        .fails_saying(&["its content has another digest"]);
    let empty = world.dir().join("empty.tar");
    std::fs::write(&empty, [0; 1024]).expect("write");
    world
        .docker(["load", "-i", &empty.to_string_lossy()])
        .run()
        .fails_saying(&["neither manifest.json nor index.json"]);
    casemate_tests::wait_until("nothing is left", || stored(&world) == (0, 0));
    world.stop();
}

#[test]
fn unused_images_are_pruned() {
    let world = World::start();
    world.ok(&["tag", IMAGE, "kept:1"]);
    let archive = world.rootfs_archive();
    world.ok(&["import", "-c", "LABEL a=b", &archive.to_string_lossy()]);
    assert_eq!(listed(&world, &["--filter", "dangling=true"]), ["<none>:<none>"]);
    let pruned = world.ok(&["image", "prune", "-f", "--filter", "label!=a=b"]);
    assert!(!pruned.contains("Deleted"), "{pruned}");
    let pruned = world.ok(&["image", "prune", "-f"]);
    assert!(pruned.contains("deleted: sha256:") || pruned.contains("Deleted: sha256:"), "{pruned}");
    assert_eq!(listed(&world, &[]), ["busybox:latest", "kept:1"]);
    let pruned = world.ok(&["image", "prune", "-af"]);
    assert!(pruned.contains("kept:1") && !pruned.contains("reclaimed space: 0B"), "{pruned}");
    assert_eq!(listed(&world, &[]), [""; 0]);
    world.stop();
}

#[test]
fn tenants_have_images_of_their_own() {
    let world = World::start();
    let other = "casemate://other/eve?groups=admin";
    assert_eq!(world.docker_as(other, ["images", "-q"]).run().ok().text(), "");
    let id = world.ok(&["image", "inspect", "-f", "{{.Id}}", IMAGE]);
    world.docker_as(other, ["image", "inspect", &id]).run().fails_saying(&["No such image"]);
    let archive = world.rootfs_archive();
    world.docker_as(other, ["import", &archive.to_string_lossy(), IMAGE]).run().ok();
    // The same layer, once on the disk; each may remove its own.
    assert_eq!(stored(&world).0, 1);
    world.ok(&["rmi", IMAGE]);
    assert_eq!(stored(&world).0, 1);
    world.docker_as(other, ["rmi", IMAGE]).run().ok();
    assert_eq!(stored(&world), (0, 0));
    world.stop();
}

#[test]
fn a_crash_leaves_images_whole() {
    let mut world = World::start();
    let before = inspected(&world, IMAGE);
    // What no record names is garbage of a crash.
    let stray = world.data().join("daemon/blobs/sha256").join("0".repeat(64));
    std::fs::write(&stray, b"half").expect("write");
    let daemon = Some(STORE_IDS + DAEMON);
    std::os::unix::fs::chown(&stray, daemon, daemon).expect("give it to the daemon");
    world.crash_daemon();
    assert_eq!(inspected(&world, IMAGE), before);
    assert!(!stray.exists());
    world.run(&[], &["true"]).ok();
    world.stop();
}

#[test]
fn archives_come_in_any_packing() {
    let world = World::start();
    let archive = world.dir().join("saved.tar");
    world.ok(&["save", "-o", &archive.to_string_lossy(), IMAGE]);
    let before = inspected(&world, IMAGE);
    let rootfs = world.rootfs_archive();
    let layers = before["RootFS"]["Layers"].clone();
    for (program, ending) in [("gzip", "gz"), ("bzip2", "bz2"), ("xz", "xz"), ("zstd", "zst")] {
        let pack = |file: &std::path::Path| {
            world.outside(program).args(["-k", "-f"]).arg(file).run().ok();
            format!("{}.{ending}", file.display())
        };
        world.ok(&["rmi", "-f", IMAGE]);
        assert_eq!(stored(&world), (0, 0), "{program}");
        assert_eq!(world.ok(&["load", "-i", &pack(&archive)]), "Loaded image: busybox:latest", "{program}");
        assert_eq!(inspected(&world, IMAGE)["Id"], before["Id"], "{program}");
        // The same files are the same layer.
        world.ok(&["import", &pack(&rootfs), "packed"]);
        assert_eq!(inspected(&world, "packed")["RootFS"]["Layers"], layers, "{program}");
        world.ok(&["run", "--rm", "--net", "none", "packed", "true"]);
        world.ok(&["rmi", "packed"]);
    }
    // A window of two tebibytes is more than anybody is given.
    let greedy = world.dir().join("greedy.zst");
    std::fs::write(&greedy, [0x28, 0xb5, 0x2f, 0xfd, 0, 31 << 3, 1, 0, 0]).expect("write");
    world.docker(["load", "-i", &greedy.to_string_lossy()]).run().fails_saying(&["zstd: ", "indow"]);
    world.stop();
}
