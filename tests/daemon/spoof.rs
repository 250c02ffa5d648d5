//! What a container that holds CAP_NET_RAW, and has given itself addresses, sends in somebody else's name to a neighbour on
//! its own network. Each attack works where our rules are not there.

use std::path::PathBuf;

use casemate_tests::wait_until;

use crate::World;
use crate::inside::{Inside, Unprotected};
use crate::networks::inspect;

const VICTIM: &str = "10.220.0.3";
const VICTIM6: &str = "fd00:220::3";
/// Whose the attacker is not.
const STOLEN: &str = "10.220.0.9";
const STOLEN6: &str = "fd00:220::9";

struct Scene {
    world: World,
    victim: Inside,
    /// The attacker's hardware address.
    mac: String,
    /// Where it says that it has tried.
    log: PathBuf,
}

impl Scene {
    /// A victim, and an attacker that tries all of it again and again.
    fn make() -> Self {
        let world = World::prepared("policy = \"baseline\"\n", |etc| {
            std::fs::write(etc.join("runtime.toml"), "selectable = [\"baseline\"]\n")
                .expect("write runtime.toml");
        });
        world.import();
        let ranges = ["--ipv6", "--subnet", "10.220.0.0/24", "--subnet", "fd00:220::/64"];
        world.ok(&[&["network", "create"][..], &ranges, &["net"]].concat());
        let run = |name: &str, ips: [&str; 2], command: &[&str]| {
            let words = ["run", "-d", "--network", "net", "--name", name, "--ip", ips[0], "--ip6", ips[1]];
            world.ok(&[&words[..], &["busybox"], command].concat());
        };
        run("victim", [VICTIM, VICTIM6], &["sleep", "600"]);
        let script = format!(
            "while :; do {{ arping -c 1 -w 1 -I eth0 -s {STOLEN} {VICTIM}; ping -c 1 -W 1 -I {STOLEN} {VICTIM}; \
             ping6 -c 1 -W 1 -I {STOLEN6} {VICTIM6}; }} >/dev/null 2>&1; echo tried; done"
        );
        run("attacker", ["10.220.0.2", "fd00:220::2"], &["sh", "-c", &script]);
        let mac = inspect(&world, "attacker", "{{.NetworkSettings.Networks.net.MacAddress}}");
        let log = world.data().join("logs").join(inspect(&world, "attacker", "{{.Id}}")).join("json.log");
        // As with CAP_NET_ADMIN over its own network: its kernel sends from whatever addresses it says that it has.
        let attacker = Inside::of(&world, "attacker");
        for address in [format!("{STOLEN}/24"), format!("{STOLEN6}/64")] {
            attacker.run(&world, &["ip", "addr", "add", &address, "dev", "eth0"]).ok();
        }
        let victim = Inside::of(&world, "victim");
        Self { world, victim, mac, log }
    }

    fn in_victim(&self, words: &[&str]) -> String {
        self.victim.run(&self.world, words).ok().text()
    }

    /// What has come of it since the last look, while it was tried three times: whether the attacker is taken for the owner
    /// of the address, and questions from both addresses.
    fn harm(&self) -> [u64; 3] {
        // What is on its way already does not count.
        self.tries(1);
        self.in_victim(&["ip", "neigh", "flush", "dev", "eth0"]);
        let before = self.asked();
        self.tries(3);
        let neighbours = self.in_victim(&["ip", "neigh", "show", "dev", "eth0"]);
        let believed = |line: &str| line.starts_with(STOLEN) && line.contains(&self.mac);
        let after = self.asked();
        [neighbours.lines().any(believed).into(), after[0] - before[0], after[1] - before[1]]
    }

    fn tries(&self, count: usize) {
        // Read where it is written: while the broker stands still nobody serves it.
        let tried = || std::fs::read_to_string(&self.log).unwrap_or_default().lines().count();
        let before = tried();
        wait_until("it is tried", || tried() >= before + count);
    }

    /// How often the victim was asked whether it is there, by both versions of ICMP.
    fn asked(&self) -> [u64; 2] {
        let four = self.in_victim(&["cat", "/proc/net/snmp"]);
        let four = four.lines().filter(|line| line.starts_with("Icmp: ")).nth(1);
        let four = four.and_then(|line| line.split_whitespace().nth(9)?.parse().ok());
        let six = self.in_victim(&["cat", "/proc/net/snmp6"]);
        let six = six.lines().find_map(|line| line.strip_prefix("Icmp6InEchos")?.trim().parse().ok());
        [four.expect("a count"), six.expect("a count")]
    }
}

#[test]
fn a_neighbour_believes_nobody_in_anothers_name() {
    let scene = Scene::make();
    assert_eq!(scene.harm(), [0; 3]);
    let unprotected = Unprotected::make(&scene.world);
    let harm = scene.harm();
    assert!(harm.iter().all(|count| *count > 0), "attacks that never work prove nothing: {harm:?}");
    drop(unprotected);
    wait_until("the rules are back", || {
        let listed = scene.world.outside("nft").args(["list", "table", "bridge", &scene.world.table()]).run();
        listed.stdout().contains("10.220.0.2")
    });
    assert_eq!(scene.harm(), [0; 3]);
    scene.world.ok(&["rm", "-f", "victim", "attacker"]);
    scene.world.ok(&["network", "rm", "net"]);
    scene.world.stop();
}
