//! Low ports and pings: anybody's in a container, as under Docker, whatever capabilities there are.

use casemate_tests::{probe, wait_until};

use crate::World;
use crate::networks::inspect;

const START: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";

/// `socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)`, as pings are sent without privilege.
const PING: [&str; 5] = ["syscall", if cfg!(target_arch = "aarch64") { "198" } else { "41" }, "2", "2", "1"];

/// An image with a program that asks for such a socket: busybox asks for a raw one alone.
fn pinger(world: &World) {
    world.ok(&["create", "--name", "made", "busybox", "true"]);
    world.ok(&["cp", &probe().to_string_lossy(), "made:/probe"]);
    world.ok(&["commit", "made", "pinger"]);
    world.ok(&["rm", "made"]);
}

/// Somebody, without any capability.
const NOBODY: [&str; 4] = ["--user", "1000:1000", "--cap-drop", "ALL"];

#[test]
fn anybody_binds_a_low_port_and_pings() {
    let world = World::prepared("", |etc| {
        let selectable = "selectable = [\"baseline\", \"strict\"]\n";
        std::fs::write(etc.join("runtime.toml"), selectable).expect("write runtime.toml");
    });
    world.import();
    pinger(&world);
    world.ok(&["network", "create", "lan"]);
    for policy in ["hardened", "baseline", "strict"] {
        let flags = [&["--runtime", policy, "--network", "lan"], &NOBODY[..]].concat();
        world
            .ok(&[&["run", "-d", "--name", "web"], &flags[..], &["busybox", "httpd", "-f", "-p", "80"]]
                .concat());
        let address = inspect(&world, "web", "{{.NetworkSettings.Networks.lan.IPAddress}}");
        let run =
            |words: &[&str]| world.docker([&["run", "--rm"], &flags[..], &["busybox"], words].concat()).run();
        let answers = || {
            run(&["wget", "-S", "-O", "-", &format!("http://{address}/")]).stderr().contains("404 Not Found")
        };
        wait_until(&format!("port 80 is served under {policy}"), answers);
        let image = [&["run", "--rm"], &flags[..], &["pinger", "/probe"], &PING].concat();
        // The filter of system calls of the last has no sockets for ICMP at all.
        let refused = world.ok(&image).starts_with("errno");
        assert_eq!(refused, policy == "strict", "{policy}");
        // In a network that is somebody else's it is as there.
        let joined =
            ["run", "--rm", "--runtime", policy, "--network", "container:web", "busybox", "cat", START];
        assert_eq!(world.ok(&joined), "0", "{policy}");
        world.ok(&["rm", "-f", "web"]);
        assert_eq!(
            world.ok(&["run", "--rm", "--runtime", policy, "--network", "none", "busybox", "cat", START]),
            "0"
        );
    }
    world.stop();
}

#[test]
fn what_is_asked_for_by_name_holds() {
    let world = World::start();
    pinger(&world);
    let asked =
        ["--sysctl", "net.ipv4.ip_unprivileged_port_start=1024", "--sysctl", "net.ipv4.ping_group_range=1 0"];
    let run = |words: &[&str]| {
        world.docker([&["run", "--rm"], &NOBODY[..], &asked, &["busybox"], words].concat()).run()
    };
    assert_eq!(run(&["cat", START]).text(), "1024");
    // The kernel refuses both then: it is these parameters that let them through above.
    run(&["timeout", "2", "httpd", "-f", "-p", "80"]).fails_saying(&["Permission denied"]);
    let words = [&["run", "--rm"], &NOBODY[..], &asked, &["pinger", "/probe"], &PING].concat();
    assert_eq!(world.ok(&words), "errno 13");
    // Nobody is told of what every container has.
    world.ok(&["create", "--name", "usual", "busybox", "true"]);
    assert_eq!(inspect(&world, "usual", "{{.Casemate.Grade}}"), "safe");
    assert!(!inspect(&world, "usual", "{{json .HostConfig}}").contains("ping_group_range"));
    world.ok(&["rm", "usual"]);
    world.stop();
}
