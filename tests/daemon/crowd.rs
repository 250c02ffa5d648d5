//! Many containers, many clients.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::World;

/// How many clients there are at a time.
const CLIENTS: usize = 8;

/// Does something for every number below `count`, by several clients at once.
pub fn share(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    work(number);
                }
            });
        }
    });
}

#[test]
fn two_hundred_run_at_once() {
    const COUNT: usize = 200;
    let mut world = World::start();
    // It waits without a moment's work, and ends at once when it is asked to.
    let script = "trap 'exit 3' TERM; echo I am $0; mkfifo /tmp/f; read x <>/tmp/f";
    share(COUNT, |number| {
        let name = format!("co-{number}");
        let words = ["run", "-d", "--net", "none", "--memory", "16m", "--name", &name, "busybox", "sh", "-c"];
        let words = [&words[..], &[script, &name]].concat();
        world.docker(words).timeout(Duration::from_secs(60)).run().ok();
    });
    let list = world.ok(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Names}} {{.State}}"]);
    let rows: BTreeSet<&str> = list.lines().collect();
    assert_eq!(rows.len(), COUNT);
    assert!(rows.iter().all(|row| row.ends_with(" running")), "{list}");
    let ids: BTreeSet<&str> = rows.iter().filter_map(|row| row.split(' ').next()).collect();
    assert_eq!(ids.len(), COUNT);
    // Everyone has ids of its own on the host.
    let maps = world.ok(&["inspect", "--format", "{{.State.Pid}}", "co-0", "co-1", "co-199"]);
    let maps: BTreeSet<String> = maps
        .lines()
        .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/uid_map")).expect("it runs"))
        .collect();
    assert_eq!(maps.len(), 3, "{maps:?}");
    // All of them are found again.
    world.crash_daemon();
    assert_eq!(world.ok(&["ps", "-q"]).lines().count(), COUNT);
    let ids: Vec<&str> = ids.into_iter().collect();
    let stop = [&["stop", "-t", "60"][..], &ids].concat();
    world.docker(stop).timeout(Duration::from_secs(120)).run().ok();
    assert_eq!(world.ok(&["ps", "-q"]), "");
    let ends =
        world.ok(&[&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}"][..], &ids].concat());
    let ends: BTreeSet<&str> = ends.lines().collect();
    assert_eq!(ends, BTreeSet::from(["exited 3"]), "each heard what it was asked");
    share(4, |number| {
        let name = format!("co-{}", number * 60);
        assert_eq!(world.ok(&["logs", &name]), format!("I am {name}"));
    });
    world.docker(["container", "prune", "-f"]).timeout(Duration::from_secs(120)).run().ok();
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    world.stop();
}

#[test]
fn eight_clients_run_fifty() {
    let world = World::start();
    share(50, |number| {
        let (code, word) = (i32::try_from(number % 100).expect("small") + 1, format!("word-{number}"));
        let script = format!("cat; echo {word}; echo err >&2; exit {code}");
        let words = ["run", "--rm", "-i", "--net", "none", "busybox", "sh", "-c", &script];
        let input = format!("in-{number}\n");
        let output = world.docker(words).stdin(input.as_bytes()).run().fails_with(code);
        assert_eq!((output.stdout(), output.stderr()), (format!("{input}{word}\n"), "err\n".to_owned()));
    });
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    world.stop();
}
