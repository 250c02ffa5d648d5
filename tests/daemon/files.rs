//! Files in and out of containers: `docker cp`, `diff`, `export`, `commit`.

use std::fs;
use std::process::Command;

use casemate_tests::json;

use crate::World;

/// A world whose host lets clients choose `baseline`, with its writable root, as well.
fn world() -> World {
    let world = World::prepared("", |etc| {
        fs::write(etc.join("runtime.toml"), "selectable = [\"baseline\"]\n").expect("write runtime.toml");
    });
    world.import();
    world
}

/// A container of the image that sleeps, its root writable.
fn sleeper(world: &World, name: &str, flags: &[&str]) {
    let words = [
        &["run", "-d", "--net", "none", "--security-opt", "casemate.policy=baseline", "--name", name],
        flags,
    ];
    world.ok(&[&words.concat()[..], &["busybox", "sleep", "1000"]].concat());
}

/// The same, that has never run.
fn created(world: &World, name: &str, flags: &[&str]) {
    let words = [&["create", "--net", "none", "--name", name], flags, &["busybox", "sleep", "1000"]];
    world.ok(&words.concat());
}

#[test]
fn files_are_copied_both_ways_whether_it_runs_or_not() {
    let world = world();
    let here = world.dir().join("here");
    fs::create_dir_all(here.join("tree/sub")).expect("directories");
    fs::write(here.join("tree/sub/file"), "content").expect("a file");
    let tree = here.join("tree").to_string_lossy().into_owned();
    created(&world, "still", &[]);
    sleeper(&world, "runs", &["--tmpfs", "/memory"]);
    for (name, place) in [("still", "/etc"), ("runs", "/memory")] {
        // Into a directory that is there, and under a name that is not.
        world.ok(&["cp", &tree, &format!("{name}:{place}")]);
        world.ok(&["cp", &tree, &format!("{name}:{place}/second")]);
        let back = here.join(name).to_string_lossy().into_owned();
        world.ok(&["cp", &format!("{name}:{place}"), &back]);
        for path in ["tree/sub/file", "second/sub/file"] {
            assert_eq!(fs::read_to_string(here.join(name).join(path)).expect(path), "content", "{name}");
        }
        let one = here.join("one").to_string_lossy().into_owned();
        world.ok(&["cp", &format!("{name}:{place}/tree/sub/file"), &one]);
        assert_eq!(fs::read_to_string(&one).expect("the file"), "content");
        let missing = world.docker(["cp", &format!("{name}:/no/such"), &one]).run().fails_saying(&[]);
        assert!(missing.stderr().contains(&format!("Could not find the file /no/such in container {name}")));
    }
    assert_eq!(world.ok(&["exec", "runs", "cat", "/memory/tree/sub/file"]), "content");
    world.stop();
}

#[test]
fn links_of_a_container_lead_nowhere_but_into_it() {
    let world = world();
    fs::write(world.dir().join("secret"), "the host's").expect("a file");
    let secret = world.dir().join("secret").to_string_lossy().into_owned();
    sleeper(&world, "cc", &[]);
    let script =
        format!("mkdir -p /x && ln -s {secret} /x/secret && ln -s / /x/root && ln -s ../../../../etc /x/up");
    world.ok(&["exec", "cc", "sh", "-c", &script]);
    let out = world.dir().join("out").to_string_lossy().into_owned();
    world.docker(["cp", "-L", "cc:/x/secret", &out]).run().fails_saying(&[]);
    assert!(!world.dir().join("out").exists());
    world.ok(&["cp", "cc:/x/root/etc/passwd", &out]);
    assert!(fs::read_to_string(&out).expect("the container's").contains("root:"));
    // What is copied in through a link lands in the container.
    world.ok(&["cp", &secret, "cc:/x/up/landed"]);
    assert_eq!(world.ok(&["exec", "cc", "cat", "/etc/landed"]), "the host's");
    assert!(!std::path::Path::new("/etc/landed").exists());
    world.stop();
}

#[test]
fn what_is_read_only_is_refused() {
    let world = world();
    world.ok(&["volume", "create", "vv"]);
    let file = world.dir().join("file");
    fs::write(&file, "x").expect("a file");
    let file = file.to_string_lossy().into_owned();
    for (name, running) in [("still", false), ("runs", true)] {
        let flags = ["--read-only", "-v", "vv:/volume:ro", "-v", "/anonymous"];
        if running {
            sleeper(&world, name, &flags)
        } else {
            created(&world, name, &flags)
        }
        let refused = |path: &str| {
            world.docker(["cp", &file, &format!("{name}:{path}")]).run().fails_saying(&[]).stderr()
        };
        assert!(refused("/etc/x").contains("container rootfs is marked read-only"), "{name}");
        assert!(refused("/volume/x").contains("mounted volume is marked read-only"), "{name}");
        world.ok(&["cp", &file, &format!("{name}:/anonymous/x")]);
    }
    world.stop();
}

#[test]
fn changes_are_the_containers_own() {
    let world = world();
    let nothing = ["-v", "/volume", "--tmpfs", "/memory"];
    sleeper(&world, "idle", &nothing);
    assert_eq!(world.ok(&["diff", "idle"]), "");
    sleeper(&world, "busy", &[]);
    world.ok(&[
        "exec",
        "busy",
        "sh",
        "-c",
        "echo 1 >> /etc/passwd; rm /etc/group; mkdir -p /new/dir; touch /new/dir/f",
    ]);
    let wanted = "C /etc\nD /etc/group\nC /etc/passwd\nA /new\nA /new/dir\nA /new/dir/f";
    assert_eq!(world.ok(&["diff", "busy"]), wanted);
    world.ok(&["kill", "busy"]);
    assert_eq!(world.ok(&["diff", "busy"]), wanted);
    world.stop();
}

#[test]
fn an_export_is_a_whole_archive_without_what_is_mounted() {
    let world = world();
    sleeper(&world, "cc", &["-v", "/volume"]);
    world.ok(&["exec", "cc", "sh", "-c", "echo hidden > /volume/x; echo 1 > /seen"]);
    for _ in ["running", "stopped"] {
        let tar = world.dir().join("export.tar").to_string_lossy().into_owned();
        world.ok(&["export", "-o", &tar, "cc"]);
        let listed = Command::new("tar").args(["-tf", &tar]).output().expect("tar");
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let names = String::from_utf8(listed.stdout).expect("text");
        let has = |name: &str| names.lines().any(|line| line == name);
        assert!(has("seen") && has("bin/busybox") && has("volume/") && has("proc/"), "{names}");
        assert!(!has("volume/x") && !names.contains("proc/1"), "{names}");
        world.docker(["kill", "cc"]).run();
    }
    world.stop();
}

#[test]
fn a_commit_is_what_the_container_had_become() {
    let world = world();
    sleeper(&world, "cc", &["-v", "/volume", "-e", "OWN=1"]);
    world.ok(&[
        "exec",
        "cc",
        "sh",
        "-c",
        "echo kept > /kept; rm /etc/group; chown 7:8 /kept; echo no > /volume/x",
    ]);
    let words = ["commit", "-a", "me", "-m", "why", "-c", "CMD [\"cat\",\"/kept\"]", "cc", "made:1"];
    let id = world.ok(&words);
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(world.ok(&["inspect", "-f", "{{.State.Status}}", "cc"]), "running", "thawed again");
    let run = |command: &[&str]| world.ok(&[&["run", "--rm", "--net", "none", "made:1"], command].concat());
    assert_eq!(run(&[]), "kept");
    assert_eq!(run(&["stat", "-c", "%u:%g", "/kept"]), "7:8");
    assert_eq!(run(&["sh", "-c", "ls /etc/group /volume/x 2>/dev/null | wc -l; echo $OWN"]), "0\n1");
    let said =
        world.ok(&["image", "inspect", "-f", "{{.Author}} {{.Comment}} {{len .RootFS.Layers}}", "made:1"]);
    assert_eq!(said, "me why 2");
    world.stop();
}

#[test]
fn what_is_no_archive_is_refused_and_said() {
    let world = world();
    created(&world, "cc", &[]);
    let client = world.client(crate::harness::ADMIN);
    let put = |path: &str, body: &[u8]| {
        let path = format!("/v1.51/containers/cc/archive?path={path}");
        client.try_request("PUT", &path, &["Content-Type: application/x-tar"], body).expect("an answer")
    };
    let reply = put("/etc", &[b'x'; 4096]);
    assert_eq!(reply.status, 500, "{reply:?}");
    assert!(reply.text().contains("no tar archive"), "{reply:?}");
    assert_eq!(put("/none", b"").status, 404);
    assert_eq!(put("/etc/passwd", b"").status, 400);
    assert_eq!(client.request("PUT", "/v1.51/containers/cc/archive", None).status, 400);
    let head = client.request("HEAD", "/v1.51/containers/cc/archive?path=/etc", None);
    assert!(head.header("x-docker-container-path-stat").is_some(), "{head:?}");
    assert_eq!(client.request("HEAD", "/v1.51/containers/cc/archive?path=/none", None).status, 404);
    let changes = client.fetch("/v1.51/containers/cc/changes").json();
    assert_eq!(changes, json!([]));
    world.stop();
}
