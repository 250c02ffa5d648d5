//! Name servers that a container names itself (`--dns`). The resolver asks them from the host: it must not ask what the
//! container could not.

use crate::lab::{Lab, NameServer, run};
use crate::{ADMIN, World};

const RED: &str = "casemate://red/root?groups=admin";
const BLUE: &str = "casemate://blue/root?groups=admin";

/// Whether a container whose server this is finds a name.
fn finds(world: &World, who: &str, server: &str, name: &str) -> bool {
    let flags = ["run", "--rm", "--network", "net", "--dns", server, "busybox"];
    let words = [&flags[..], &["timeout", "8", "nslookup", "-type=a", name, "127.0.0.11"]].concat();
    world.docker_as(who, words).run().text().contains("192.0.2.7")
}

#[test]
fn servers_of_the_host_itself_are_not_asked_for_a_container() {
    let lab = Lab::enter();
    run("ip address add 169.254.7.7/32 dev lo");
    // Servers on the host's loopback and link-local addresses, which answer the host.
    let shut = ["127.0.0.1", "127.0.0.53", "169.254.7.7"];
    let names = [("secret.test", "192.0.2.7", 60)];
    let servers = shut.map(|address| NameServer::here(address, &names));
    lab.place("198.18.1.53");
    let outside = NameServer::start(lab.outside.pid(), "198.18.1.53", &names);
    let world = World::start();
    world.ok(&["network", "create", "net"]);
    for (server, address) in servers.iter().zip(shut) {
        assert!(!finds(&world, ADMIN, address, "secret.test"), "{address}");
        assert!(!server.was_asked("secret.test"), "{address} is asked for a container");
    }
    assert!(finds(&world, ADMIN, "198.18.1.53", "secret.test") && outside.was_asked("secret.test"));
    world.ok(&["network", "rm", "net"]);
    world.stop();
    // The operator may name it: so what the test plays does answer.
    let world = World::configured("dns = [\"127.0.0.1\"]\n");
    world.import();
    world.ok(&["network", "create", "net"]);
    let words =
        ["run", "--rm", "--network", "net", "busybox", "nslookup", "-type=a", "secret.test", "127.0.0.11"];
    assert!(world.ok(&words).contains("192.0.2.7") && servers[0].was_asked("secret.test"));
    world.ok(&["network", "rm", "net"]);
    world.stop();
}

#[test]
fn servers_of_another_tenant_are_not_asked() {
    let _lab = Lab::enter();
    let world = World::configured("");
    let archive = world.rootfs_archive();
    for who in [RED, BLUE] {
        world.docker_as(who, ["import", &archive.to_string_lossy(), "busybox"]).run().ok();
        world.docker_as(who, ["network", "create", "net"]).run().ok();
    }
    let words = ["run", "-d", "--name", "server", "--network", "net", "busybox", "sleep", "1000"];
    world.docker_as(BLUE, words).run().ok();
    let template = "{{.State.Pid}} {{.NetworkSettings.Networks.net.IPAddress}}";
    let told = world.docker_as(BLUE, ["inspect", "--format", template, "server"]).run().ok().text();
    let (number, address) = told.split_once(' ').expect("two words");
    let server =
        NameServer::start(number.parse().expect("a pid"), address, &[("secret.test", "192.0.2.7", 60)]);
    assert!(!finds(&world, RED, address, "secret.test"));
    assert!(!server.was_asked("secret.test"), "one tenant's resolver asks another's server");
    assert!(finds(&world, BLUE, address, "secret.test") && server.was_asked("secret.test"), "its own does");
    world.docker_as(BLUE, ["rm", "-f", "server"]).run().ok();
    for who in [RED, BLUE] {
        world.docker_as(who, ["network", "rm", "net"]).run().ok();
    }
    world.stop();
}
