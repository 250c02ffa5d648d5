//! A disk that is full: told in clear words, nothing damaged, and all well again when there is room.

use std::time::Duration;

use casemate_tests::{skip, wait_until};

use crate::World;

/// Large enough for everything but what fills it.
const MEBIBYTES: u64 = 96;

fn inspect(world: &World, name: &str, template: &str) -> String {
    world.ok(&["inspect", "--type", "container", "--format", template, name])
}

fn detach(world: &World, name: &str, script: &str) {
    world.ok(&["run", "-d", "--net", "none", "--name", name, "busybox", "sh", "-c", script]);
}

/// A container takes all the room there is.
fn fill(world: &World) {
    let script = "dd if=/dev/zero of=/data/big bs=64k; dd if=/dev/zero of=/data/rest bs=1k; exit 4";
    let words = ["run", "--name", "hog", "-v", "/data", "--net", "none", "busybox", "sh", "-c", script];
    world.docker(words).timeout(Duration::from_secs(60)).run().fails_saying(&["No space left on device"]);
}

/// The numbers of its lines; each of them is whole, and none comes twice or too early.
fn lines(world: &World, name: &str) -> Vec<u64> {
    let said = world.docker(["logs", name]).run().ok().stdout();
    let number = |line: &str| line.strip_prefix("line-").and_then(|number| number.parse().ok());
    let numbers: Vec<u64> =
        said.lines().map(|line| number(line).unwrap_or_else(|| panic!("a torn line: {line:?}"))).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    numbers
}

/// What needs room is refused with the reason; what runs, runs on, and can be looked at and ended.
fn stays_usable(world: &World) {
    let archive = world.rootfs_archive();
    let no_room = "no space left on device";
    let says = |words: &[&str]| {
        let output = world.docker(words).run();
        assert!(!output.success(), "{output}");
        assert!(
            output.stderr().to_lowercase().contains(no_room) || output.stderr().contains("disk is full"),
            "{output}"
        );
    };
    says(&["import", &archive.to_string_lossy(), "second"]);
    // What the failed import had is given back; then even the reserve that is the privileged side's is used up.
    let left = |place: &str| std::fs::read_dir(world.data().join(place)).map_or(0, Iterator::count);
    wait_until("what failed is gone", || {
        (left("store/staging"), left("store/trash"), left("daemon/tmp")) == (0, 0, 0)
    });
    let filler = world
        .outside("sh")
        .args([
            "-c",
            "for i in 1 2 3; do cat /dev/zero >>\"$1\"/filler; sync \"$1\"/filler; done; exit 1",
            "sh",
        ])
        .arg(world.data())
        .run();
    filler.fails_saying(&["No space left on device"]);
    // A start needs next to nothing: it has it, or says why not.
    let late = world.docker(["run", "--rm", "--net", "none", "busybox", "echo", "fits"]).run();
    assert!(late.text() == "fits" || late.stderr().contains("o space left on device"), "{late}");
    assert_eq!(inspect(world, "talks", "{{.State.Status}}"), "running");
    assert_eq!(world.docker(["exec", "talks", "echo", "in"]).run().ok().text(), "in");
    world.ok(&["exec", "ends", "touch", "/dev/shm/go"]);
    assert_eq!(world.ok(&["wait", "ends"]), "9");
    lines(world, "talks");
}

#[test]
fn a_full_disk_stops_what_needs_room_and_nothing_else() {
    let mut world = match World::on_a_disk(MEBIBYTES) {
        Ok(world) => world,
        Err(why) => return skip(&format!("no small disk can be mounted: {why}")),
    };
    let archive = world.rootfs_archive();
    detach(&world, "talks", "i=0; while :; do i=$((i+1)); echo line-$i; sleep 0.02; done");
    detach(
        &world,
        "ends",
        "read x </tmp/never 2>/dev/null; while [ ! -e /dev/shm/go ]; do sleep 0.05; done; exit 9",
    );
    wait_until("it talks", || !lines(&world, "talks").is_empty());
    fill(&world);

    stays_usable(&world);

    // A crash finds everything again, though it can write nothing down.
    world.crash_daemon();
    world.crash_and_restart_broker();
    assert_eq!(inspect(&world, "talks", "{{.State.Status}}"), "running");
    assert_eq!(inspect(&world, "hog", "{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
    assert_eq!(inspect(&world, "ends", "{{.State.Status}} {{.State.ExitCode}}"), "exited 9");

    // Room is made by the ordinary means, and all is well.
    std::fs::remove_file(world.data().join("filler")).expect("removed");
    world.ok(&["rm", "-v", "hog"]);
    let before = lines(&world, "talks").len();
    wait_until("it is written down again", || lines(&world, "talks").len() > before);
    world.ok(&["import", &archive.to_string_lossy(), "second"]);
    detach(&world, "late", "exit 5");
    assert_eq!(world.ok(&["wait", "late"]), "5");
    world.crash_and_restart_broker();
    assert_eq!(inspect(&world, "ends", "{{.State.ExitCode}}"), "9");
    assert_eq!(inspect(&world, "late", "{{.State.ExitCode}}"), "5");
    world.ok(&["rm", "-f", "talks", "ends", "late"]);
    let left = |place: &str| std::fs::read_dir(world.data().join(place)).map_or(0, Iterator::count);
    wait_until("nothing is left", || {
        (left("store/containers"), left("store/staging"), left("store/trash"), left("daemon/tmp"))
            == (0, 0, 0, 0)
    });
    world.stop();
}
