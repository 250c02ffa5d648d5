//! What is asked of the host and not to be had: what is said of it, and what comes of it.

use std::fs;

use crate::World;

#[test]
fn privileged_is_as_much_as_the_policy_admits() {
    let world = World::start();
    let script = "ls /dev; grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; echo 1 > /proc/sys/vm/swappiness";
    let output = world.run(&["--privileged"], &["sh", "-c", script]).fails_with(1);
    for words in [
        "WARNING: --privileged adds no devices of the host: name them with --device",
        "WARNING: policy hardened: --privileged is granted as far as the policy admits, and no further",
    ] {
        assert!(output.stderr().contains(words), "{}", output.stderr());
    }
    let plain = world.run(&[], &["ls", "/dev"]).ok().stdout();
    let said = output.stdout();
    let devices: Vec<&str> = said.lines().take_while(|line| !line.starts_with("CapEff")).collect();
    assert_eq!(devices, plain.lines().collect::<Vec<_>>(), "no device more than any container has");
    assert!(said.contains("CapEff:\t00000000000004fb") && said.contains("Seccomp:\t2"), "{said}");
    // A device by name is the policy's to give: this one gives none.
    let device = world.run(&["--privileged", "--device", "/dev/loop-control"], &["true"]).fails_with(125);
    assert!(device.stderr().contains("denied by policy \"hardened\""), "{}", device.stderr());
    // Who is no administrator does not get as far.
    let developer = "casemate://default/dora?groups=developer";
    let flags = ["run", "--rm", "--net", "none", "--privileged", "busybox", "true"];
    let output = world.docker_as(developer, flags).run().fails_with(125);
    assert!(output.stderr().contains("host-is-the-administrators"), "{}", output.stderr());
    world.stop();
}

fn inside(world: &World, words: &[&str]) -> String {
    world.ok(&[&["run", "--rm", "--net", "none"], words].concat())
}

#[test]
fn joined_ipc_shares_everything_but_dev_shm_and_says_so() {
    let world = World::start();
    world.ok(&[
        "run",
        "-d",
        "--net",
        "none",
        "--ipc",
        "shareable",
        "--name",
        "donor",
        "busybox",
        "sh",
        "-c",
        "echo of-the-donor > /dev/shm/note; exec sleep 100",
    ]);
    let namespace = |name: &[&str]| {
        let words = [name, &["readlink", "/proc/self/ns/ipc"]].concat();
        world.docker(words).run().ok()
    };
    let donors = namespace(&["exec", "donor"]).text();
    let joined = ["run", "--rm", "--net", "none", "--ipc", "container:donor", "busybox"];
    let output = namespace(&joined);
    assert_eq!(output.text(), donors);
    let words =
        "WARNING: /dev/shm is not shared with the other container: System V IPC and message queues are";
    assert!(output.stderr().contains(words), "{}", output.stderr());
    assert_eq!(world.docker([&joined[..], &["ls", "/dev/shm"]].concat()).run().ok().text(), "");
    world.ok(&["rm", "-f", "donor"]);
    // What the documentation offers instead.
    let with = |script: &str| inside(&world, &["-v", "shm:/dev/shm", "busybox", "sh", "-c", script]);
    with("echo shared > /dev/shm/note");
    assert_eq!(with("cat /dev/shm/note"), "shared");
    world.ok(&["volume", "rm", "shm"]);
    world.stop();
}

#[test]
fn a_mount_of_what_is_missing_is_refused_in_dockers_words() {
    let world = World::start();
    let missing = world.dir().join("not there");
    let mount = format!("type=bind,src={},dst=/x", missing.display());
    let output = world.run(&["--mount", &mount], &["true"]).fails_with(125);
    let words = format!(
        "invalid mount config for type \"bind\": bind source path does not exist: {}",
        missing.display()
    );
    assert!(output.stderr().contains(&words), "{}", output.stderr());
    assert!(!missing.exists());
    // A program that is missing is another matter.
    world.run(&[], &["/not/there"]).fails_with(127);
    fs::create_dir(&missing).expect("make a directory");
    world.run(&["--mount", &mount], &["ls", "/x"]).ok();
    world.stop();
}
