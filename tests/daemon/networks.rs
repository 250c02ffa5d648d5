//! Networks, as `docker` and what runs on them see them.

use casemate_tests::{Output, wait_until};

use crate::{ADMIN, Alone, World};

/// A server of one line, its name, on port 80 and in the background.
pub fn web(world: &World, name: &str, flags: &[&str]) {
    let script = format!("echo {name} >/tmp/index.html; exec httpd -f -p 80 -h /tmp");
    let words = [&["run", "-d", "--name", name], flags, &["busybox", "sh", "-c", &script]].concat();
    world.ok(&words);
}

/// What a container gets from an address.
fn fetch(world: &World, from: &str, address: &str) -> Output {
    let url = format!("http://{address}/");
    world.docker(["exec", from, "timeout", "3", "wget", "-q", "-O", "-", &url]).run()
}

#[track_caller]
pub fn reaches(world: &World, from: &str, address: &str, says: &str) {
    // The server may still be on its way to its port.
    wait_until("it answers", || fetch(world, from, address).text() == says);
}

#[track_caller]
pub fn cannot_reach(world: &World, from: &str, address: &str) {
    let output = fetch(world, from, address);
    assert!(!output.success(), "{from} reaches {address}: {output}");
}

pub fn inspect(world: &World, name: &str, template: &str) -> String {
    world.ok(&["inspect", "--format", template, name])
}

pub fn address(world: &World, name: &str, network: &str) -> String {
    inspect(world, name, &format!("{{{{(index .NetworkSettings.Networks {network:?}).IPAddress}}}}"))
}

pub fn network(world: &World, name: &str, template: &str) -> String {
    world.ok(&["network", "inspect", "--format", template, name])
}

#[track_caller]
fn refused(world: &World, words: &[&str], says: &str) {
    let output = world.docker(words).run();
    assert!(!output.success(), "{words:?}: {output}");
    assert!(output.stderr().contains(says), "{words:?}: {}", output.stderr());
}

#[test]
fn networks_are_made_shown_and_removed() {
    let world = World::start();
    let names = || world.ok(&["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"]);
    assert_eq!(names(), "bridge bridge local\nhost host local\nnone null local");
    let create = ["network", "create", "--subnet", "10.213.0.0/24", "--ip-range", "10.213.0.128/25"];
    let more = ["--gateway", "10.213.0.254", "--aux-address", "router=10.213.0.128", "--label", "a=b", "-o"];
    let id = world.ok(&[&create[..], &more, &["com.docker.network.driver.mtu=1400", "mine"]].concat());
    assert_eq!(id.len(), 64);
    assert_eq!(
        network(&world, &id[..12], "{{.Name}} {{.Driver}} {{.Internal}} {{.EnableIPv6}}"),
        "mine bridge false false"
    );
    let config = "{{range .IPAM.Config}}{{.Subnet}} {{.IPRange}} {{.Gateway}} {{.AuxiliaryAddresses}}{{end}}";
    assert_eq!(
        network(&world, "mine", config),
        "10.213.0.0/24 10.213.0.128/25 10.213.0.254 map[router:10.213.0.128]"
    );
    world.ok(&["network", "create", "--internal", "--ipv6", "shut"]);
    let config = network(&world, "shut", "{{.Internal}} {{len .IPAM.Config}}");
    assert_eq!(config, "true 2");
    refused(&world, &["network", "create", "mine"], "network with name mine already exists");
    refused(
        &world,
        &["network", "create", "bridge"],
        "operation is not permitted on predefined bridge network",
    );
    let overlap = "Pool overlaps with other one on this address space";
    refused(&world, &["network", "create", "--subnet", "10.213.0.0/16", "x"], overlap);
    refused(&world, &["network", "create", "-d", "nothing", "x"], "plugin \"nothing\" not found");
    refused(&world, &["network", "rm", "host"], "host is a pre-defined network and cannot be removed");
    refused(&world, &["network", "inspect", "nobody"], "network nobody not found");
    for (filter, found) in [
        ("name=min", "mine"),
        ("label=a=b", "mine"),
        ("label=a=c", ""),
        ("driver=null", "none"),
        ("type=custom", "mine\nshut"),
        ("type=builtin", "bridge\nhost\nnone"),
        ("dangling=true", "mine\nshut"),
        (&format!("id={}", &id[..20]), "mine"),
    ] {
        let listed = world.ok(&["network", "ls", "--filter", filter, "--format", "{{.Name}}"]);
        assert_eq!(listed, found, "{filter}");
    }
    web(&world, "web", &["--network", "mine"]);
    assert_eq!(address(&world, "web", "mine"), "10.213.0.129");
    refused(&world, &["network", "rm", "mine"], "network mine has active endpoints (name:\"web\"");
    world.ok(&["network", "prune", "-f"]);
    assert_eq!(world.ok(&["network", "ls", "--filter", "type=custom", "--format", "{{.Name}}"]), "mine");
    world.ok(&["rm", "-f", "web"]);
    world.ok(&["network", "rm", "mine"]);
    assert_eq!(names().lines().count(), 3);
    world.stop();
}

#[test]
fn containers_meet_on_the_bridge() {
    let world = World::start();
    web(&world, "one", &[]);
    let first = address(&world, "one", "bridge");
    assert_eq!(inspect(&world, "one", "{{.NetworkSettings.IPAddress}}"), first);
    assert_eq!(inspect(&world, "one", "{{.HostConfig.NetworkMode}}"), "bridge");
    let gateway = inspect(&world, "one", "{{.NetworkSettings.Gateway}}");
    assert_eq!(network(&world, "bridge", "{{(index .IPAM.Config 0).Gateway}}"), gateway);
    let two = ["run", "--rm", "busybox", "sh", "-c"];
    let script =
        format!("ip -o -4 addr show dev eth0; ip route; cat /etc/hosts; wget -q -O - http://{first}/");
    let said = world.ok(&[&two[..], &[&script]].concat());
    assert!(said.contains(&format!("default via {gateway} dev eth0")), "{said}");
    assert!(said.ends_with("one"), "{said}");
    let mac = inspect(&world, "one", "{{.NetworkSettings.MacAddress}}");
    assert!(world.ok(&["exec", "one", "cat", "/sys/class/net/eth0/address"]) == mac, "{mac}");
    // An address that was given back is the next one's.
    world.ok(&["stop", "-t", "0", "one"]);
    assert_eq!(address(&world, "one", "bridge"), "");
    web(&world, "three", &[]);
    assert_eq!(address(&world, "three", "bridge"), first);
    world.ok(&["start", "one"]);
    assert_ne!(address(&world, "one", "bridge"), first);
    let link = ["run", "--rm", "--link", "three:trio", "busybox", "wget", "-q", "-O", "-", "http://trio/"];
    assert_eq!(world.ok(&link), "three");
    let host =
        ["run", "--rm", "--add-host", "host.docker.internal:host-gateway", "busybox", "cat", "/etc/hosts"];
    assert!(world.ok(&host).contains(&format!("{gateway}\thost.docker.internal")));
    let members = network(&world, "bridge", "{{range .Containers}}{{.Name}} {{end}}");
    assert_eq!(members.split_whitespace().count(), 2, "{members}");
    world.ok(&["rm", "-f", "one", "three"]);
    world.stop();
}

#[test]
fn what_runs_is_connected_and_disconnected() {
    let world = World::start();
    world.ok(&["network", "create", "--subnet", "10.214.0.0/24", "back"]);
    web(&world, "db", &["--network", "back", "--ip", "10.214.0.77", "--mac-address", "02:42:0a:d6:00:4d"]);
    assert_eq!(address(&world, "db", "back"), "10.214.0.77");
    web(&world, "app", &[]);
    cannot_reach(&world, "app", "10.214.0.77");
    world.ok(&["network", "connect", "--alias", "application", "--ip", "10.214.0.5", "back", "app"]);
    assert_eq!(address(&world, "app", "back"), "10.214.0.5");
    reaches(&world, "app", "10.214.0.77", "db");
    reaches(&world, "db", "10.214.0.5", "app");
    assert_eq!(world.ok(&["exec", "app", "sh", "-c", "ls -d /sys/class/net/eth*"]).lines().count(), 2);
    let again = "endpoint with name app already exists in network back";
    refused(&world, &["network", "connect", "back", "app"], again);
    refused(
        &world,
        &["network", "connect", "--ip", "10.214.0.77", "back", "nobody"],
        "No such container: nobody",
    );
    world.ok(&["network", "disconnect", "bridge", "app"]);
    assert_eq!(inspect(&world, "app", "{{len .NetworkSettings.Networks}}"), "1");
    reaches(&world, "app", "10.214.0.77", "db");
    world.ok(&["network", "disconnect", "back", "app"]);
    cannot_reach(&world, "app", "10.214.0.77");
    refused(&world, &["network", "disconnect", "back", "app"], "is not connected to network back");
    // The taken address is refused, and the container is as it was.
    refused(&world, &["network", "connect", "--ip", "10.214.0.77", "back", "app"], "Address already in use");
    world.ok(&["network", "connect", "back", "app"]);
    reaches(&world, "db", &address(&world, "app", "back"), "app");
    // What does not run is connected at its start, and keeps its own address.
    world.ok(&["stop", "-t", "0", "db", "app"]);
    world.ok(&["network", "connect", "bridge", "db"]);
    world.ok(&["start", "db", "app"]);
    assert_eq!(address(&world, "db", "back"), "10.214.0.77");
    assert_ne!(address(&world, "db", "bridge"), "");
    reaches(&world, "app", "10.214.0.77", "db");
    for (words, says) in [
        (&["network", "connect", "host", "app"][..], "connected to host network"),
        (&["network", "connect", "nobody", "app"], "network nobody not found"),
        (&["run", "--rm", "--ip", "10.0.0.1", "busybox", "true"], "supported on user defined networks only"),
        (
            &["run", "--rm", "--network", "back", "--ip", "10.99.0.1", "busybox", "true"],
            "no configured subnet or ip-range",
        ),
        (&["run", "--rm", "--network", "nobody", "busybox", "true"], "network nobody not found"),
    ] {
        refused(&world, words, says);
    }
    world.ok(&["rm", "-f", "db", "app"]);
    let left = world.ok(&["ps", "-aq"]);
    left.lines().for_each(|id| drop(world.ok(&["rm", "-f", id])));
    world.ok(&["network", "rm", "back"]);
    world.stop();
}

#[test]
fn names_are_found_on_ones_own_networks_alone() {
    let world = World::start();
    world.ok(&["network", "create", "back"]);
    world.ok(&["network", "create", "front"]);
    web(&world, "db", &["--network", "back", "--network-alias", "database"]);
    web(&world, "app", &["--network", "back"]);
    web(&world, "other", &["--network", "front"]);
    assert_eq!(
        world.ok(&["exec", "app", "cat", "/etc/resolv.conf"]).lines().next(),
        Some("nameserver 127.0.0.11")
    );
    for name in ["db", "database", "db.back", "DB", &inspect(&world, "db", "{{.Config.Hostname}}")] {
        reaches(&world, "app", name, "db");
    }
    cannot_reach(&world, "app", "other");
    cannot_reach(&world, "other", "db");
    world.ok(&["network", "connect", "front", "app"]);
    reaches(&world, "app", "other", "other");
    world.ok(&["rename", "db", "store"]);
    reaches(&world, "app", "store", "db");
    cannot_reach(&world, "app", "db");
    world.ok(&["pause", "store"]);
    assert!(
        world.docker(["exec", "app", "nslookup", "store"]).run().success(),
        "what is paused has its name"
    );
    world.ok(&["unpause", "store"]);
    world.ok(&["restart", "-t", "0", "store"]);
    reaches(&world, "app", "database", "db");
    world.ok(&["rm", "-f", "store", "app", "other"]);
    world.stop();
}

#[test]
fn a_daemon_that_was_killed_finds_its_networks() {
    let mut world = World::start();
    world.ok(&["network", "create", "back"]);
    web(&world, "db", &["--network", "back"]);
    web(&world, "app", &["--network", "back"]);
    reaches(&world, "app", "db", "db");
    let all = "{{json .NetworkSettings.Networks}}";
    let before = inspect(&world, "db", all);
    world.crash_daemon();
    assert_eq!(inspect(&world, "db", all), before);
    reaches(&world, "app", "db", "db");
    web(&world, "late", &["--network", "back"]);
    reaches(&world, "late", "db", "db");
    reaches(&world, "app", "late", "late");
    let addresses = ["db", "app", "late"].map(|name| address(&world, name, "back"));
    assert!(addresses[0] != addresses[1] && addresses[1] != addresses[2], "{addresses:?}");
    world.crash_and_restart_broker();
    reaches(&world, "app", "db", "db");
    world.ok(&["network", "disconnect", "back", "late"]);
    cannot_reach(&world, "app", &addresses[2]);
    world.ok(&["rm", "-f", "db", "app", "late"]);
    world.ok(&["network", "rm", "back"]);
    world.stop();
}

#[test]
fn tenants_do_not_meet() {
    let world = World::start();
    let (red, blue) = ("casemate://red/root?groups=admin", "casemate://blue/root?groups=admin");
    let archive = world.rootfs_archive();
    let ok = |who: &str, words: &[&str]| world.docker_as(who, words).run().ok().text();
    for who in [red, blue] {
        ok(who, &["import", &archive.to_string_lossy(), "busybox"]);
        ok(who, &["network", "create", "back"]);
        let script = "echo here >/tmp/index.html; exec httpd -f -p 80 -h /tmp";
        ok(who, &["run", "-d", "--name", "web", "--network", "back", "busybox", "sh", "-c", script]);
    }
    let template = "{{.NetworkSettings.Networks.back.IPAddress}}";
    let theirs = ok(blue, &["inspect", "--format", template, "web"]);
    let probe = |address: &str| {
        let url = format!("http://{address}/");
        world.docker_as(red, ["exec", "web", "timeout", "3", "wget", "-q", "-O", "-", &url]).run()
    };
    let own = ok(red, &["inspect", "--format", template, "web"]);
    wait_until("the probe finds what may be found", || probe(&own).text() == "here");
    assert!(!probe(&theirs).success(), "one tenant reaches another's container");
    let ids = ok(blue, &["network", "ls", "-q", "--no-trunc"]);
    for id in ids.lines() {
        let seen = world.docker_as(red, ["network", "inspect", "--format", "{{.Driver}}", id]).run();
        assert!(!seen.success() || matches!(seen.text().as_str(), "host" | "null"), "{seen}");
    }
    for who in [red, blue] {
        ok(who, &["rm", "-f", "web"]);
        ok(who, &["network", "rm", "back"]);
    }
    world.stop();
}

#[test]
fn ranges_that_the_host_routes_are_passed_over() {
    let daemon = Alone::start("[tenants.small]\nnetworks = 2\n");
    let create = |who: &str, body: &str| {
        let json = ["Content-Type: application/json"];
        let reply = daemon.client(who).try_request("POST", "/networks/create", &json, body.as_bytes());
        reply.expect("an answer")
    };
    let shown = |who: &str, name: &str| daemon.client(who).fetch(&format!("/networks/{name}")).json();
    // 172.17.0.0/16 is routed: the first range of the usual ones that is not.
    assert_eq!(shown(ADMIN, "bridge")["IPAM"]["Config"][0]["Subnet"], "172.18.0.0/16");
    let both = create(ADMIN, r#"{"Name":"both","EnableIPv6":true}"#);
    assert_eq!(both.status, 201, "{}", both.text());
    let config = &shown(ADMIN, "both")["IPAM"]["Config"];
    assert_eq!(config[0]["Subnet"], "172.19.0.0/16");
    assert!(
        config[1]["Subnet"].as_str().is_some_and(|range| range.starts_with("fd") && range.ends_with("/64"))
    );
    let asked = create(ADMIN, r#"{"Name":"asked","IPAM":{"Config":[{"Subnet":"172.17.3.0/24"}]}}"#);
    assert_eq!((asked.status, asked.text().contains("Pool overlaps")), (403, true));
    let (red, blue) = ("casemate://red/x?groups=operator", "casemate://small/x?groups=operator");
    // Names are a tenant's own, ranges are nobody's twice.
    assert_eq!(create(red, r#"{"Name":"both"}"#).status, 201);
    assert_eq!(shown(red, "both")["IPAM"]["Config"][0]["Subnet"], "172.20.0.0/16");
    assert_eq!(create(red, r#"{"Name":"other","IPAM":{"Config":[{"Subnet":"172.19.0.0/24"}]}}"#).status, 403);
    for (name, status) in [("one", 201), ("two", 201), ("three", 403)] {
        assert_eq!(create(blue, &format!(r#"{{"Name":"{name}"}}"#)).status, status, "{name}");
    }
    for (body, status, says) in [
        (r#"{"Name":""}"#, 400, "name is empty"),
        (r#"{"Name":"host"}"#, 403, "operation is not permitted on predefined host network"),
        (r#"{"Name":"both"}"#, 409, "network with name both already exists"),
        (r#"{"Name":"x","Driver":"overlay"}"#, 503, "not a swarm manager"),
        (r#"{"Name":"x","Driver":"macvlan"}"#, 400, "the option parent"),
        (r#"{"Name":"x","IPAM":{"Driver":"dhcp"}}"#, 400, "invalid IPAM driver"),
        (r#"{"Name":"x","Options":{"com.docker.network.driver.mtu":"many"}}"#, 400, "invalid network config"),
        (r#"{"Name":"x","EnableIPv4":false}"#, 400, "IPv4 or IPv6 must be enabled"),
    ] {
        let reply = create(ADMIN, body);
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
        assert!(reply.text().contains(says), "{body}: {}", reply.text());
    }
}

#[test]
fn both_families_are_served_and_an_internal_network_has_no_way_out() {
    let world = World::start();
    let range =
        ["network", "create", "--ipv6", "--subnet", "10.215.0.0/24", "--subnet", "fd00:215::/64", "dual"];
    world.ok(&range);
    web(&world, "dual", &["--network", "dual", "--ip6", "fd00:215::77", "-p", "[::]::80"]);
    web(&world, "peer", &["--network", "dual"]);
    let six = "{{.NetworkSettings.Networks.dual.GlobalIPv6Address}}/{{.NetworkSettings.Networks.dual.GlobalIPv6PrefixLen}}";
    assert_eq!(inspect(&world, "dual", six), "fd00:215::77/64");
    reaches(&world, "peer", "[fd00:215::77]", "dual");
    reaches(&world, "peer", &address(&world, "dual", "dual"), "dual");
    let routes = world.ok(&["exec", "peer", "ip", "-6", "route"]);
    assert!(routes.contains("default via fd00:215::1"), "{routes}");
    world.ok(&["network", "create", "--internal", "shut"]);
    web(&world, "inside", &["--network", "shut"]);
    web(&world, "beside", &["--network", "shut"]);
    assert_eq!(world.ok(&["exec", "inside", "sh", "-c", "ip route | grep -c default || true"]), "0");
    reaches(&world, "inside", "beside", "beside");
    cannot_reach(&world, "inside", &address(&world, "dual", "dual"));
    cannot_reach(&world, "dual", &address(&world, "inside", "shut"));
    world.ok(&["rm", "-f", "dual", "peer", "inside", "beside"]);
    world.stop();
}
