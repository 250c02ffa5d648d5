//! Who may do what: every operation of the API tried by every role, and what one tenant sees of another.

use std::collections::BTreeSet;

use casemate_daemon::routes::{self, Verb};
use casemate_tests::json;

use crate::{Alone, Client, World};

/// The ladder of roles: each may what those before it may.
const LADDER: [&str; 5] = ["nobody", "viewer", "developer", "operator", "admin"];

/// The lowest role that may, by operation. An operation that is missing here fails the test: who adds one says who may.
const LOWEST: [(&str, &str); 69] = [
    ("system.ping", "nobody"),
    ("system.version", "nobody"),
    ("system.info", "viewer"),
    ("system.events", "viewer"),
    ("system.df", "viewer"),
    ("system.auth", "viewer"),
    ("system.unsupported", "viewer"),
    ("system.metrics", "admin"),
    ("plugin.list", "viewer"),
    ("plugin.inspect", "viewer"),
    ("container.list", "viewer"),
    ("container.inspect", "viewer"),
    ("container.top", "viewer"),
    ("container.logs", "viewer"),
    ("container.stats", "viewer"),
    ("container.wait", "viewer"),
    ("container.changes", "viewer"),
    ("container.explain", "viewer"),
    ("container.plan", "developer"),
    ("container.create", "developer"),
    ("container.start", "developer"),
    ("container.stop", "developer"),
    ("container.restart", "developer"),
    ("container.kill", "developer"),
    ("container.pause", "developer"),
    ("container.unpause", "developer"),
    ("container.rename", "developer"),
    ("container.update", "developer"),
    ("container.remove", "developer"),
    ("container.resize", "developer"),
    ("container.attach", "developer"),
    ("container.export", "developer"),
    ("container.archive.stat", "developer"),
    ("container.archive.read", "developer"),
    ("container.archive.write", "developer"),
    ("container.commit", "operator"),
    ("container.prune", "operator"),
    ("exec.inspect", "viewer"),
    ("exec.create", "developer"),
    ("exec.start", "developer"),
    ("exec.resize", "developer"),
    ("image.list", "viewer"),
    ("image.search", "viewer"),
    ("image.inspect", "viewer"),
    ("image.history", "viewer"),
    ("image.distribution", "viewer"),
    ("image.attestations", "viewer"),
    ("image.pull", "developer"),
    ("image.tag", "developer"),
    ("image.save", "developer"),
    ("image.remove", "developer"),
    ("image.push", "operator"),
    ("image.import", "operator"),
    ("image.load", "operator"),
    ("image.prune", "operator"),
    ("volume.list", "viewer"),
    ("volume.inspect", "viewer"),
    ("volume.create", "developer"),
    ("volume.remove", "developer"),
    ("volume.prune", "operator"),
    ("network.list", "viewer"),
    ("network.inspect", "viewer"),
    ("network.create", "operator"),
    ("network.remove", "operator"),
    ("network.connect", "operator"),
    ("network.disconnect", "operator"),
    ("network.prune", "operator"),
    ("policy.explain", "admin"),
    ("tenant.assume", "admin"),
];

/// A request that reaches the operation.
fn ask(client: &Client, method: Verb, path: &str) -> u16 {
    let filled: Vec<&str> = path
        .split('/')
        .map(|part| match part {
            "{name*}" => "localhost:1/a",
            part if part.starts_with('{') => "x",
            part => part,
        })
        .collect();
    let mut path = filled.join("/");
    path += match path.as_str() {
        // Ends at once.
        "/events" => "?until=1",
        "/images/create" => "?fromImage=localhost:1/a&tag=1",
        "/images/get" => "?names=x",
        "/commit" => "?container=x",
        _ => "",
    };
    let (method, body) = match method {
        Verb::Get => ("GET", None),
        Verb::Head => ("HEAD", None),
        Verb::Post => ("POST", Some(json!({"Image": "x", "Name": "x"}))),
        Verb::Put => ("PUT", Some(json!({}))),
        Verb::Delete => ("DELETE", None),
    };
    client.request(method, &path, body.as_ref()).status
}

#[test]
fn every_operation_is_tried_by_every_role() {
    let daemon = Alone::start("");
    let clients = LADDER.map(|role| daemon.client(&format!("casemate://acme/{role}?groups={role}")));
    let mut operations = BTreeSet::new();
    // The one by which the harness found it up.
    daemon.audited(1);
    for route in routes::table() {
        operations.insert(route.operation);
        let lowest = LOWEST.iter().find(|(operation, _)| *operation == route.operation);
        let (_, lowest) = lowest.unwrap_or_else(|| panic!("who may {}?", route.operation));
        let lowest = LADDER.iter().position(|role| role == lowest).expect("a role");
        for (rung, (role, client)) in LADDER.iter().zip(&clients).enumerate() {
            let what = format!("{role}: {:?} {} ({})", route.method, route.path, route.operation);
            let status = ask(client, route.method, route.path);
            let allowed = rung >= lowest;
            // Whoever may is told that there is no such thing, or that it cannot be here; never that he may not.
            let network = route.operation == "network.remove";
            assert_eq!(status != 403 || (allowed && network), allowed, "{what}: {status}");
            let said = daemon.audited(1);
            let [said] = said.as_slice() else { panic!("{what}: audited as {said:?}") };
            assert_eq!(said.action, route.operation, "{what}");
            assert_eq!(said.verdict, if allowed { "allowed" } else { "denied" }, "{what}");
            assert_eq!(
                (said.who.as_str(), said.tenant.as_str()),
                (&*format!("casemate://acme/{role}"), "acme")
            );
        }
    }
    assert!(operations.len() > 60, "the table is whole: {}", operations.len());
}

#[test]
fn an_import_is_no_pull() {
    let daemon = Alone::start("");
    let developer = daemon.client("casemate://acme/dev?groups=developer");
    let operator = daemon.client("casemate://acme/op?groups=operator");
    let import = "/images/create?fromSrc=-&repo=x";
    assert_eq!(developer.request("POST", import, None).status, 403);
    assert_ne!(operator.request("POST", import, None).status, 403);
}

#[test]
fn a_denial_says_why() {
    let daemon = Alone::start("");
    let viewer = daemon.client("casemate://acme/vic?groups=viewer");
    let reply = viewer.request("POST", "/containers/web/stop", None);
    assert_eq!(reply.status, 403);
    let words = "access denied: container.stop on container:web: no policy permits it to casemate://acme/vic (groups: viewer)";
    assert_eq!(reply.json()["message"], words);

    let developer = daemon.client("casemate://acme/dev?groups=developer");
    for host in [
        json!({"Binds": ["/etc:/x"]}),
        json!({"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/x"}]}),
        json!({"Mounts": [{"Type": "volume", "Target": "/x", "VolumeOptions": {"DriverConfig":
            {"Name": "local", "Options": {"type": "none", "o": "bind", "device": "/etc"}}}}]}),
        json!({"Privileged": true}),
        json!({"NetworkMode": "host"}),
        json!({"PidMode": "host"}),
        json!({"IpcMode": "host"}),
        json!({"UTSMode": "host"}),
        json!({"CgroupnsMode": "host"}),
        json!({"UsernsMode": "host"}),
        json!({"Devices": [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "r"}]}),
        json!({"DeviceCgroupRules": ["b *:* rwm"]}),
        json!({"SecurityOpt": ["seccomp=unconfined"]}),
        json!({"SecurityOpt": ["seccomp:unconfined"]}),
    ] {
        let body = json!({"Image": "busybox", "HostConfig": host});
        let reply = developer.request("POST", "/containers/create?name=web", Some(&body));
        assert_eq!(reply.status, 403, "{host}: {}", reply.text());
        let said = reply.json()["message"].to_string();
        assert!(said.contains("paths, devices and namespaces of the host are for the group admin"), "{said}");
    }
    let volume = json!({"Name": "v", "DriverOpts": {"type": "none", "o": "bind", "device": "/etc"}});
    assert_eq!(developer.request("POST", "/volumes/create", Some(&volume)).status, 403);
    let plain = json!({"Image": "busybox", "HostConfig": {"NetworkMode": "none", "Binds": ["data:/x"]}});
    assert_eq!(developer.request("POST", "/containers/create?name=web", Some(&plain)).status, 404);
}

#[test]
fn policies_are_exchanged_without_a_restart() {
    let daemon = Alone::start("");
    let viewer = daemon.client("casemate://acme/vic?groups=viewer");
    assert_eq!(viewer.fetch("/info").status, 200);
    std::fs::create_dir_all(daemon.etc("policies")).expect("make a directory");
    let own = r#"@id("closed") forbid (principal, action == Casemate::Action::"system.info", resource);"#;
    std::fs::write(daemon.etc("policies/own.cedar"), own).expect("write a policy");
    casemate_tests::wait_until("the new policy holds", || viewer.fetch("/info").status == 403);
    let message = viewer.fetch("/info").json()["message"].to_string();
    assert!(message.contains("forbidden by own.cedar:closed"), "{message}");
    // One that cannot be read leaves the old ones in force.
    std::fs::write(daemon.etc("policies/own.cedar"), "permit (").expect("write a policy");
    daemon.look();
    casemate_tests::wait_until("the daemon says so", || daemon.log().contains("own.cedar:1:"));
    assert_eq!(viewer.fetch("/info").status, 403);
}

#[test]
fn only_an_administrator_takes_anothers_part() {
    let daemon = Alone::start("");
    let ask = |uri: &str, tenant: &str| {
        let header = format!("X-Casemate-Tenant: {tenant}");
        daemon.client(uri).try_request("GET", "/containers/json", &[&header], b"").expect("an answer").status
    };
    daemon.audited(1);
    assert_eq!(ask("casemate://default/root?groups=admin", "acme"), 200);
    let said: Vec<_> = daemon.audited(2).into_iter().map(|said| (said.action, said.tenant)).collect();
    let pair = |action: &str, tenant: &str| (action.to_owned(), tenant.to_owned());
    assert_eq!(said, [pair("tenant.assume", "default"), pair("container.list", "acme")]);
    assert_eq!(ask("casemate://default/op?groups=operator", "acme"), 403);
    assert_eq!(ask("casemate://acme/op?groups=operator", "acme"), 403);
    assert_eq!(ask("casemate://default/root?groups=admin", "../x"), 400);
}

#[test]
fn one_tenants_objects_are_not_there_for_another() {
    let world = World::start();
    let (acme, other) = ("casemate://acme/anna?groups=operator", "casemate://other/ben?groups=operator");
    let archive = world.rootfs_archive();
    world.docker_as(acme, ["import", &archive.to_string_lossy(), "ours"]).run().ok();
    world.docker_as(acme, ["volume", "create", "data"]).run().ok();
    world
        .docker_as(acme, ["run", "-d", "--net", "none", "--name", "web", "ours", "sleep", "1000"])
        .run()
        .ok();
    let id = world.docker_as(acme, ["inspect", "--format", "{{.Id}}", "web"]).run().ok().text();

    for list in [&["ps", "-aq"][..], &["images", "-q"], &["volume", "ls", "-q"]] {
        assert_eq!(world.docker_as(other, list).run().ok().text(), "", "{list:?}");
    }
    for touch in [
        &["inspect", "web"][..],
        &["inspect", &id],
        &["logs", &id[..12]],
        &["stop", "web"],
        &["rm", "-f", &id],
        &["exec", &id, "true"],
        &["cp", "web:/etc/passwd", "-"],
        &["volume", "inspect", "data"],
        &["volume", "rm", "data"],
        &["image", "inspect", "ours"],
        &["rmi", "ours"],
        &["run", "--rm", "--net", "none", "--pid", "container:web", "ours", "true"],
        &["run", "--rm", "--net", "container:web", "--volumes-from", "web", "ours", "true"],
    ] {
        let output = world.docker_as(other, touch).run();
        let said = output.stderr();
        let missing =
            ["No such", "no such", "not found", "Unable to find"].iter().any(|words| said.contains(words));
        // `rm -f` is content that there is none.
        assert!(missing && (touch[0] == "rm" || !output.success()), "{output}");
    }
    // The same names are free for the other.
    world.docker_as(other, ["import", &archive.to_string_lossy(), "ours"]).run().ok();
    world.docker_as(other, ["volume", "create", "data"]).run().ok();
    world
        .docker_as(
            other,
            ["run", "-d", "--net", "none", "--name", "web", "-v", "data:/d", "ours", "touch", "/d/x"],
        )
        .run()
        .ok();
    let seen = world
        .docker_as(acme, ["run", "--rm", "--net", "none", "-v", "data:/d", "ours", "ls", "/d"])
        .run()
        .ok();
    assert_eq!(seen.text(), "", "two volumes of one name are one");
    for who in [acme, other] {
        world.docker_as(who, ["rm", "-f", "web"]).run().ok();
        assert_eq!(world.docker_as(who, ["ps", "-aq"]).run().ok().text(), "");
    }
    world.stop();
}

#[test]
fn a_tenant_has_its_quota_and_its_policy() {
    let config = "[tenants.acme]\ncontainers = 1\npolicy = \"strict\"\nmemory = \"256MiB\"\npids = 64\n";
    let world = World::configured(config);
    let acme = "casemate://acme/anna?groups=operator";
    let archive = world.rootfs_archive();
    world.docker_as(acme, ["import", &archive.to_string_lossy(), "busybox"]).run().ok();
    let create = |name: &str| {
        world.docker_as(acme, ["create", "--net", "none", "--name", name, "busybox", "true"]).run()
    };
    create("one").ok();
    create("two").fails_saying(&["quota of tenant acme", "1 of 1 containers"]);
    world.docker_as(acme, ["rm", "one"]).run().ok();
    // Strict: nothing that can be written can be executed.
    let script = "cp /bin/busybox /tmp/x && /tmp/x true";
    let output = world.docker_as(acme, ["run", "--rm", "--net", "none", "busybox", "sh", "-c", script]).run();
    assert!(!output.success(), "{output}");
    world.stop();
}

#[test]
fn an_operator_of_the_host_binds_a_client_to_a_registry_and_a_policy() {
    let own = r#"
        @id("only-hardened") @reason("under hardened, without anything of the host")
        forbid (principal in Casemate::Group::"ci", action == Casemate::Action::"container.create", resource)
        unless { resource.policy == "hardened" && resource.binds.isEmpty() && resource.network == "none" };
        @id("only-named")
        forbid (principal in Casemate::Group::"ci", action == Casemate::Action::"container.create", resource)
        unless { resource.image like "docker.io/library/busybox:*" };
    "#;
    let world = World::prepared("", |etc| {
        std::fs::create_dir_all(etc.join("policies")).expect("make a directory");
        std::fs::write(etc.join("policies/ci.cedar"), own).expect("write a policy");
    });
    world.import();
    let ci = "casemate://default/runner?groups=ci,developer";
    let run = |flags: &[&str]| {
        let words = [&["run", "--rm"], flags, &["busybox", "true"]].concat();
        world.docker_as(ci, words).run()
    };
    run(&["--net", "none", "--security-opt", "casemate.policy=hardened"]).ok();
    run(&["--net", "none"]).fails_with(125).fails_saying(&["forbidden by ci.cedar:only-hardened"]);
    run(&["--net", "none", "--security-opt", "casemate.policy=hardened", "-v", "/etc:/x"])
        .fails_saying(&["ci.cedar"]);
    world.docker(["tag", "busybox", "other"]).run().ok();
    let words =
        ["run", "--rm", "--net", "none", "--security-opt", "casemate.policy=hardened", "other", "true"];
    world.docker_as(ci, words).run().fails_saying(&["forbidden by ci.cedar:only-named"]);
    world.stop();
}
