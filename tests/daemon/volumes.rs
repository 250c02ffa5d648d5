//! Volumes: made, listed, used, kept from removal, pruned.

use std::fs;

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

fn names(world: &World, filters: &[&str]) -> Vec<String> {
    let words = [&["volume", "ls", "-q"], filters].concat();
    world.ok(&words).lines().map(str::to_owned).collect()
}

#[test]
fn a_volume_outlives_containers_and_is_not_removed_under_them() {
    let world = World::start();
    assert_eq!(world.ok(&["volume", "create", "--label", "a=b", "vv"]), "vv");
    assert_eq!(world.ok(&["volume", "create", "vv"]), "vv", "the same again");
    world.run(&["-v", "vv:/data"], &["sh", "-c", "echo 1 > /data/x"]).ok();
    assert_eq!(world.run(&["-v", "vv:/data:ro"], &["cat", "/data/x"]).ok().text(), "1");
    world.run(&["-v", "vv:/data:ro"], &["touch", "/data/y"]).fails_with(1);
    world.ok(&["create", "--name", "cc", "--net", "none", "-v", "vv:/data", "busybox", "true"]);
    let refused = world.docker(["volume", "rm", "vv"]).run().fails_saying(&[]).stderr();
    assert!(refused.contains("remove vv: volume is in use - ["), "{refused}");
    world.ok(&["rm", "cc"]);
    assert_eq!(world.ok(&["volume", "rm", "vv"]), "vv");
    assert!(world.docker(["volume", "rm", "vv"]).run().fails_saying(&[]).stderr().contains("no such volume"));
    world.ok(&["volume", "rm", "-f", "vv"]);
    world.stop();
}

#[test]
fn an_empty_volume_gets_what_the_image_has_with_its_owners() {
    let world = world();
    let script = "mkdir -p /app/sub && echo 1 > /app/sub/f && chown -R 33:44 /app && chmod 2750 /app";
    let words = [
        "run",
        "--name",
        "cc",
        "--net",
        "none",
        "--security-opt",
        "casemate.policy=baseline",
        "busybox",
        "sh",
        "-c",
    ];
    world.ok(&[&words[..], &[script]].concat());
    world.ok(&["commit", "cc", "app:1"]);
    let look = "stat -c %u:%g:%a /app /app/sub/f; cat /app/sub/f";
    let run =
        |volume: &str| world.ok(&["run", "--rm", "--net", "none", "-v", volume, "app:1", "sh", "-c", look]);
    assert_eq!(run("vv:/app"), "33:44:2750\n33:44:644\n1");
    // The same in another container, whose ids on the host are others.
    assert_eq!(run("vv:/app"), "33:44:2750\n33:44:644\n1");
    // What is in it is somebody's: nothing is added.
    world.run(&["-v", "other:/x"], &["touch", "/x/mine"]).ok();
    let listed = world.ok(&["run", "--rm", "--net", "none", "-v", "other:/app", "app:1", "ls", "/app"]);
    assert_eq!(listed, "mine");
    let listed =
        world.ok(&["run", "--rm", "--net", "none", "-v", "empty:/app:nocopy", "app:1", "ls", "/app"]);
    assert_eq!(listed, "");
    world.stop();
}

#[test]
fn lists_are_filtered_and_volumes_pruned_as_docker_does() {
    let world = World::start();
    world.ok(&["volume", "create", "--label", "x=1", "one"]);
    world.ok(&["volume", "create", "two"]);
    world.ok(&[
        "create",
        "--name",
        "cc",
        "--net",
        "none",
        "-v",
        "two:/two",
        "-v",
        "/anonymous",
        "busybox",
        "true",
    ]);
    let all = names(&world, &[]);
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!(names(&world, &["-f", "dangling=true"]), ["one"]);
    assert_eq!(names(&world, &["-f", "label=x=1"]), ["one"]);
    assert_eq!(names(&world, &["-f", "name=tw"]), ["two"]);
    assert_eq!(names(&world, &["-f", "driver=none"]), [""; 0]);
    assert!(
        world
            .docker(["volume", "ls", "-f", "bogus=1"])
            .run()
            .fails_saying(&[])
            .stderr()
            .contains("invalid filter")
    );
    world.ok(&["rm", "cc"]);
    // Those without a name of their own alone; those with one when it is said.
    world.ok(&["volume", "prune", "-f"]);
    assert_eq!(names(&world, &[]), ["one", "two"]);
    let pruned = world.client(crate::harness::ADMIN).request("POST", "/v1.41/volumes/prune", None).json();
    assert_eq!(pruned["VolumesDeleted"], json!(["one", "two"]), "before 1.42 all of them");
    world.run(&["-v", "/anonymous"], &["true"]).ok();
    assert_eq!(names(&world, &[]), [""; 0], "--rm takes them along");
    world.stop();
}

#[test]
fn the_local_drivers_options() {
    let world = World::start();
    let create = |options: &[&str], name: &str| {
        let flags: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
        world.docker([&["volume", "create"][..], &flags, &[name]].concat()).run()
    };
    create(&["type=tmpfs", "device=tmpfs", "o=size=1m"], "memory").ok();
    let mounted = world.run(&["-v", "memory:/m"], &["sh", "-c", "grep ' /m ' /proc/mounts"]).ok().text();
    assert!(mounted.contains("tmpfs") && mounted.contains("size=1024k"), "{mounted}");
    let host = world.dir().join("host");
    fs::create_dir(&host).expect("a directory");
    fs::write(host.join("file"), "the host's").expect("a file");
    create(&["type=none", "o=bind", &format!("device={}", host.display())], "place").ok();
    assert_eq!(world.run(&["-v", "place:/p"], &["cat", "/p/file"]).ok().text(), "the host's");
    for bad in
        [&["type=nfs", "device=:/x"][..], &["bogus=1"], &["type=tmpfs"], &["type=none", "o=bind", "device=x"]]
    {
        create(bad, "bad").fails_saying(&[]);
    }
    assert!(create(&[], "../bad").fails_saying(&[]).stderr().contains("includes invalid characters"));
    world.stop();
}
