//! Everything as a user of no rights, with nothing but the ids that the host gives to that user.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use casemate_tests::engine::World;
use casemate_tests::{Invocation, wait_until};

use crate::harness::libexec;

const USER: u32 = 4711;
/// The first of the user's subordinate ids.
const IDS: u32 = 400_000;

/// What a user starts.
const PROGRAMS: [&str; 8] = [
    "casemate",
    "casemated",
    "casemate-broker",
    "casemate-dns",
    "casemate-layer",
    "casemate-net",
    "casemate-shim",
    "runtime",
];

/// A host with one more user.
pub struct Home {
    /// The host.
    pub world: World,
    variables: Vec<(String, String)>,
}

impl Home {
    /// Makes it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make() -> Self {
        let world = World::make();
        for (name, line) in [("passwd", "plain:x:4711:4711::/:/bin/sh"), ("group", "plain:x:4711:")] {
            let host = std::fs::read_to_string(format!("/etc/{name}")).expect("read the host's users");
            world.replace_file(&format!("/etc/{name}"), &format!("{host}{line}\n"));
        }
        for name in ["subuid", "subgid"] {
            world.replace_file(&format!("/etc/{name}"), &format!("plain:{IDS}:65536\n"));
        }
        for name in ["home", "xdg"] {
            let dir = world.make_dir(name);
            std::os::unix::fs::chown(dir, Some(USER), Some(USER)).expect("give the directory away");
        }
        // The programs may lie where a plain user cannot go.
        let bin = world.make_dir("bin");
        for name in PROGRAMS {
            std::fs::copy(libexec().join(name), bin.join(name)).expect("copy a program");
        }
        Self { world, variables: Vec::new() }
    }

    /// As the user.
    pub fn user(&self, argv: &[&str]) -> Invocation {
        let dir = |name: &str| self.world.dir().join(name).display().to_string();
        let id = USER.to_string();
        let mut words = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "env", "-u", "USER"]
            .map(str::to_owned)
            .to_vec();
        words.extend([format!("HOME={}", dir("home")), format!("XDG_RUNTIME_DIR={}", dir("xdg"))]);
        words.extend(self.variables.iter().map(|(name, value)| format!("{name}={value}")));
        words.extend(argv.iter().map(|word| (*word).to_owned()));
        self.world.inside(words).cwd(self.world.dir())
    }

    /// Our client, as the user.
    pub fn casemate(&self, words: &[&str]) -> Invocation {
        let program = self.world.dir().join("bin/casemate").display().to_string();
        self.user(&[&[program.as_str()][..], words].concat())
    }

    /// Docker's, which must do as it is told.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn docker(&self, words: &[&str]) -> String {
        self.user(&[&["docker"], words].concat()).run().ok().text()
    }

    /// `casemate up`, and an image.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn up(&mut self) {
        let said = self.casemate(&["up", "--detach", "--listen", "127.0.0.1:0"]).run().ok().text();
        let exported = said.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        self.variables = exported.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(self.variables.len(), 3, "{said}");
        let archive = self.world.rootfs_archive();
        self.docker(&["import", &archive.to_string_lossy(), "busybox"]);
    }

    /// `casemate down`, which leaves nothing.
    ///
    /// # Panics
    /// When something is left.
    pub fn down(&self) {
        self.casemate(&["down"]).run().ok();
        let left = std::fs::read_dir(self.world.dir().join("xdg/casemate")).expect("the run directory");
        assert_eq!(left.flatten().map(|entry| entry.path()).collect::<Vec<_>>(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_user_runs_containers_with_ids_of_its_own_alone() {
    let mut home = Home::make();
    home.up();
    let script = "id -u; cat /proc/self/uid_map; echo it > /data/file; ! touch /x 2> /dev/null";
    let said =
        home.docker(&["run", "--rm", "--net", "none", "-v", "vol:/data", "busybox", "sh", "-c", script]);
    let fields: Vec<&str> = said.split_whitespace().collect();
    // As the user's namespace numbers it: the host's number is looked at below.
    assert_eq!(fields.first().zip(fields.last()), Some((&"0", &"65536")), "{said}");
    assert_eq!(
        home.docker(&["run", "--rm", "--net", "none", "-v", "vol:/data", "busybox", "cat", "/data/file"]),
        "it"
    );
    home.docker(&["run", "-d", "--name", "co", "--net", "none", "busybox", "sleep", "1000"]);
    assert_eq!(home.docker(&["exec", "co", "sh", "-c", "echo in; id -u"]), "in\n0");
    home.docker(&["cp", "co:/etc/hosts", &home.world.dir().join("home/hosts").display().to_string()]);
    // On the host nothing runs as root, nothing is root's, and nobody else's ids were taken.
    let own = home.world.dir().join("bin").display().to_string();
    let all = home.world.inside(["ps", "-eo", "uid=,args="]).run().ok().text();
    let ours = |line: &&str| ["casemated", "sleep 1000", own.as_str()].iter().any(|name| line.contains(name));
    let uids: Vec<u32> = all
        .lines()
        .filter(ours)
        .map(|line| line.split_whitespace().next().and_then(|uid| uid.parse().ok()).expect("a uid"))
        .collect();
    assert!(uids.len() >= 6, "{all}");
    let given = |uid: &u32| *uid == USER || (IDS..IDS + 65_536).contains(uid);
    assert!(uids.iter().all(given) && uids.contains(&IDS), "{all}");
    let mut places = vec![home.world.dir().join("home")];
    while let Some(place) = places.pop() {
        for entry in std::fs::read_dir(&place).expect("a directory").flatten() {
            let found = entry.metadata().expect("an entry");
            assert!(given(&found.uid()) && given(&found.gid()), "{}", entry.path().display());
            if found.is_dir() {
                places.push(entry.path());
            }
        }
    }
    let secure = home.docker(&["info", "--format", "{{.SecurityOptions}}"]);
    assert!(secure.contains("name=rootless"), "{secure}");
    home.docker(&["rm", "-f", "co"]);
    home.down();
}

#[test]
fn what_needs_control_groups_is_told_to_a_user() {
    let mut home = Home::make();
    home.up();
    let refused = |words: &[&str], say: &str| {
        let all = [&["docker", "run", "--rm", "--net", "none"], words, &["busybox", "true"]].concat();
        home.user(&all).run().fails_saying(&[say]);
    };
    refused(&["-m", "64m"], "no permission is granted for cgroups");
    home.docker(&["run", "-d", "--name", "co", "--net", "none", "busybox", "sleep", "1000"]);
    home.user(&["docker", "pause", "co"]).run().fails_saying(&["freezer"]);
    home.docker(&["rm", "-f", "co"]);
    home.down();
}

#[test]
fn a_user_without_subordinate_ids_is_told_what_to_ask_for() {
    let home = Home::make();
    for name in ["subuid", "subgid"] {
        home.world.replace_file(&format!("/etc/{name}"), "plain:400000:1000\nother:500000:65536\n");
    }
    let said = home.casemate(&["up", "--detach", "--listen", "127.0.0.1:0"]).run();
    said.fails_saying(&["/etc/subuid: it gives plain no 65536 ids in a row", "hint: usermod --add-subuids"]);
    assert!(!home.world.dir().join("home/.local").exists());
}

#[test]
fn what_a_user_runs_outlives_its_daemon() {
    let mut home = Home::make();
    home.up();
    home.docker(&["run", "-d", "--name", "co", "--net", "none", "busybox", "sh", "-c", "echo a; sleep 1000"]);
    let pid = home.docker(&["inspect", "--format", "{{.State.Pid}}", "co"]);
    let daemon = || {
        let all = home.world.inside(["pgrep", "-x", "casemated"]).run().text();
        all.lines().next().map(str::to_owned)
    };
    let before = daemon().expect("a daemon");
    home.world.inside(["kill", "-9", &before]).run().ok();
    wait_until("another daemon is there", || daemon().is_some_and(|now| now != before));
    wait_until("it answers", || home.user(&["docker", "version"]).run().success());
    assert_eq!(home.docker(&["inspect", "--format", "{{.State.Pid}}", "co"]), pid);
    assert_eq!(home.docker(&["logs", "co"]), "a");
    home.docker(&["rm", "-f", "co"]);
    home.down();
}
