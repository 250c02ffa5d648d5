//! Ranges of ids: every container has its own, and however its life ends, the range comes back.
//!
//! Ours alone: the reference has no such pool.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_tests::{Bundle, ours, skip};

const POOL: &str = "/run/casemate/@ids";
const SIZE: u32 = 65_536;

/// The ranges that homes in this test's state directory have.
fn held(pool: &Path, bundle: &Bundle) -> BTreeSet<u32> {
    let entries = fs::read_dir(pool).into_iter().flatten().flatten();
    let root = bundle.state_dir().display().to_string();
    let ours = entries.filter_map(|entry| {
        let owner = fs::read_link(entry.path()).ok()?;
        owner.to_str()?.contains(&root).then(|| entry.file_name().to_str()?.parse().ok())?
    });
    ours.collect()
}

fn sleeper() -> Bundle {
    let mut bundle = Bundle::new(&ours());
    bundle.args(&["/bin/sleep", "1000"]).policy("hardened");
    bundle
}

/// The first host id of the user namespace that the container really is in.
fn first_id(pid: i64) -> u32 {
    let maps = ["uid_map", "gid_map"].map(|file| {
        let map = fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a map");
        let fields: Vec<u32> = map.split_whitespace().map(|field| field.parse().expect("a number")).collect();
        assert_eq!((fields.len(), fields[0], fields[2]), (3, 0, SIZE), "{map}");
        fields[1]
    });
    assert_eq!(maps[0], maps[1], "users and groups have the same range");
    maps[0]
}

/// A configuration directory with a pool of the test's own.
fn private_pool(bundle: &Bundle, settings: &str) -> (PathBuf, PathBuf) {
    let (config, pool) = (bundle.dir().join("etc"), bundle.dir().join("pool"));
    fs::create_dir(&config).expect("make the configuration directory");
    let text = format!("[ids]\n{settings}\nstate = \"{}\"\n", pool.display());
    fs::write(config.join("runtime.toml"), text).expect("write runtime.toml");
    (config, pool)
}

#[test]
fn a_hundred_at_once_share_nothing() {
    let bundle = sleeper();
    let ids: Vec<String> = (0..100).map(|n| bundle.other_id(&n.to_string())).collect();
    std::thread::scope(|scope| {
        for part in ids.chunks(10) {
            let bundle = &bundle;
            scope.spawn(move || {
                for id in part {
                    bundle.command(["create", id]).timeout(Duration::from_secs(120)).run().ok();
                }
            });
        }
    });
    let firsts: BTreeSet<u32> = ids
        .iter()
        .map(|id| {
            let state = bundle.command(["state", id]).run().ok().json();
            first_id(state["pid"].as_i64().expect("a pid"))
        })
        .collect();
    assert_eq!(firsts.len(), 100, "two containers have the same range");
    assert!(firsts.iter().all(|first| first % SIZE == 0), "ranges overlap");
    assert_eq!(held(Path::new(POOL), &bundle), firsts);
    for id in &ids {
        bundle.command(["delete", "--force", id]).run().ok();
    }
    assert!(held(Path::new(POOL), &bundle).is_empty());
}

#[test]
fn what_was_given_back_is_not_handed_out_next() {
    let bundle = sleeper();
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        bundle.create().ok();
        let first = first_id(bundle.pid().into());
        assert!(seen.insert(first), "the range of a container that has just ended was used again");
        bundle.delete_force().ok();
        assert!(held(Path::new(POOL), &bundle).is_empty());
    }
}

#[test]
fn however_it_ends_the_range_comes_back() {
    let mut bundle = sleeper();
    bundle.args(&["/bin/true"]);
    bundle.run().ok();
    assert!(held(Path::new(POOL), &bundle).is_empty(), "after its own end");
    bundle.args(&["/no/such/program"]);
    assert!(!bundle.run().success());
    assert!(held(Path::new(POOL), &bundle).is_empty(), "after a start that failed");
    bundle.args(&["/bin/true"]).edit(|config| config["root"]["path"] = "nowhere".into());
    assert!(!bundle.create().success());
    assert!(held(Path::new(POOL), &bundle).is_empty(), "after a create that failed");
}

/// A container with a user namespace of its own choosing, or of none, takes nothing from the pool.
#[test]
fn oci_takes_none() {
    let mut bundle = sleeper();
    bundle.policy("oci");
    bundle.create().ok();
    assert!(held(Path::new(POOL), &bundle).is_empty());
}

/// strace kills the runtime as it enters a system call: before and after the claim, the record, the release.
#[test]
fn a_kill_at_any_call_leaves_no_range() {
    if !std::process::Command::new("strace").arg("-V").output().is_ok_and(|output| output.status.success()) {
        return skip("strace is not installed");
    }
    let bundle = sleeper();
    let mut killed = 0;
    for (command, calls) in [
        (
            "create",
            &[("symlinkat", 1), ("pwrite64", 1), ("flock", 3), ("flock", 4), ("renameat", 1), ("clone3", 1)]
                [..],
        ),
        ("delete", &[("readlinkat", 1), ("unlinkat", 1), ("unlinkat", 2), ("unlinkat", 4)][..]),
    ] {
        for (call, nth) in calls {
            let id = bundle.id();
            let args: &[&str] = if command == "delete" {
                bundle.create().ok();
                &["delete", "--force", id]
            } else {
                &["create", id]
            };
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            killed += usize::from(
                !bundle.command(args).via(["strace", "-o", "/dev/null", "-e", &inject]).run().success(),
            );
            bundle.delete_force().ok();
            let left = held(Path::new(POOL), &bundle);
            assert!(left.is_empty(), "a kill of {command} at {call} {nth} has left {left:?}");
        }
    }
    assert!(killed >= 8, "only {killed} kills came true");
    for tick in 0..30 {
        let create = bundle.command(["create", bundle.id()]).spawn();
        std::thread::sleep(Duration::from_micros(tick * 700));
        create.signal(rustix::process::Signal::KILL);
        create.wait();
        bundle.delete_force().ok();
        let left = held(Path::new(POOL), &bundle);
        assert!(left.is_empty(), "a kill after {} µs has left {left:?}", tick * 700);
    }
}

/// Nobody deletes it: the next container that finds no other range takes it.
#[test]
fn the_range_of_a_home_that_is_gone_is_taken_back() {
    let bundle = sleeper();
    let (config, pool) = private_pool(&bundle, "base = 0x9000_0000\ncount = 1");
    let create = |id: &str| {
        bundle
            .command([&["--config-dir", config.to_str().expect("UTF-8"), "create"][..], &[id]].concat())
            .run()
    };
    create(bundle.id()).ok();
    assert_eq!(held(&pool, &bundle), BTreeSet::from([0x9000_0000]));
    let second = bundle.other_id("b");
    create(&second).fails_saying(&["none of the 1 ranges from 2415919104 on is free"]);
    assert!(!bundle.state_dir().join(&second).exists(), "the attempt has left its home");
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    let (home, aside) = (bundle.state_dir().join(bundle.id()), bundle.dir().join("aside"));
    fs::rename(&home, &aside).expect("take the home away");
    create(&second).ok();
    assert_eq!(held(&pool, &bundle), BTreeSet::from([0x9000_0000]));
    fs::rename(&aside, &home).expect("put the home back");
    bundle.delete_force().ok();
    assert_eq!(held(&pool, &bundle), BTreeSet::from([0x9000_0000]), "it is the second container's by now");
    bundle.command(["delete", "--force", &second]).run().ok();
    assert!(held(&pool, &bundle).is_empty(), "it finds its pool without being told");
}

#[test]
fn a_pool_that_makes_no_sense_is_refused() {
    for (settings, words) in [
        ("base = 1000", "base 1000 is not a multiple of 65536"),
        ("count = 0", "count 0 is not between 1 and"),
        ("count = 65536", "count 65536 is not between 1 and"),
    ] {
        let bundle = sleeper();
        let (config, _) = private_pool(&bundle, settings);
        let output =
            bundle.command(["--config-dir", config.to_str().expect("UTF-8"), "create", bundle.id()]).run();
        output.fails_saying(&["id ranges", words]);
        bundle.assert_clean();
    }
}

#[test]
fn a_pool_that_others_may_write_to_is_refused() {
    let bundle = sleeper();
    let (config, pool) = private_pool(&bundle, "");
    fs::create_dir(&pool).expect("make the pool");
    fs::set_permissions(&pool, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("open it to all");
    let output =
        bundle.command(["--config-dir", config.to_str().expect("UTF-8"), "create", bundle.id()]).run();
    output.fails_saying(&["id ranges", "open to others"]);
}

/// Whatever has become of the pool, a container can be deleted.
#[test]
fn a_pool_that_was_opened_to_others_later_keeps_no_container() {
    let bundle = sleeper();
    let (config, pool) = private_pool(&bundle, "");
    let open_to = |mode| {
        fs::set_permissions(&pool, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .expect("change the mode");
    };
    bundle.command(["--config-dir", config.to_str().expect("UTF-8"), "create", bundle.id()]).run().ok();
    open_to(0o755);
    let deleted = bundle.delete_force().ok();
    assert!(deleted.stderr().contains("open to others"), "{deleted}");
    open_to(0o700);
    bundle.command(["--config-dir", config.to_str().expect("UTF-8"), "create", bundle.id()]).run().ok();
    assert_eq!(held(&pool, &bundle).len(), 2, "the first stays until somebody comes across it");
    bundle.delete_force().ok();
    assert_eq!(held(&pool, &bundle).len(), 1);
}
