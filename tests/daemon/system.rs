//! The daemon about itself: version, info, events, disk usage, networks, metrics, and what it does not do.

use casemate_tests::{Value, json};

use crate::{Alone, World};

const ADMIN: &str = "casemate://default/root?groups=admin";

#[test]
fn docker_reads_version_info_and_usage() {
    let world = World::start();
    let version = world.docker(["version", "--format", "{{.Server.APIVersion}} {{.Server.Os}}"]).run().ok();
    assert_eq!(version.text(), "1.51 linux");
    world.docker(["create", "--net", "none", "--name", "still", "busybox", "true"]).run().ok();
    let info = world.docker(["info", "--format", "{{json .}}"]).run().ok().json();
    for (field, value) in [
        ("Containers", json!(1)),
        ("ContainersRunning", json!(0)),
        ("ContainersStopped", json!(1)),
        ("Images", json!(1)),
        ("Driver", json!("overlay2")),
        ("DefaultRuntime", json!("casemate")),
        ("LoggingDriver", json!("json-file")),
        ("ServerErrors", Value::Null),
    ] {
        assert_eq!(info[field], value, "{field}");
    }
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert_eq!(info["DockerRootDir"], world.data().to_string_lossy().as_ref());
    // People read it too: the words are there, and no error.
    let shown = world.docker(["info"]).run().ok();
    assert!(shown.stdout().contains("userns") && !shown.stderr().contains("ERROR"), "{shown}");
    let usage = world.docker(["system", "df", "--format", "{{.Type}} {{.TotalCount}}"]).run().ok().text();
    assert!(
        usage.contains("Images 1") && usage.contains("Containers 1") && usage.contains("Build Cache 0"),
        "{usage}"
    );
    world.docker(["system", "df", "-v"]).run().ok();
    world.stop();
}

#[test]
fn events_are_kept_filtered_and_end() {
    let world = World::start();
    world
        .docker(["run", "--rm", "--net", "none", "--name", "short", "--label", "a=b", "busybox", "true"])
        .run()
        .ok();
    // The client counts `--until` in whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let events = |filters: &[&str]| {
        let filters: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        let words =
            [&["events", "--since", "5m", "--until", "0s", "--format", "{{.Action}}"], &filters[..]].concat();
        let text = world.docker(words).run().ok().text();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let life = events(&["container=short"]);
    let order =
        ["create", "start", "die", "destroy"].map(|wanted| life.iter().position(|action| action == wanted));
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{life:?}");
    assert_eq!(events(&["container=short", "event=die"]), ["die"]);
    assert_eq!(events(&["label=a=b", "event=start"]), ["start"]);
    assert_eq!(events(&["label=a=c"]), Vec::<String>::new());
    assert_eq!(events(&["type=image", "event=import"]), ["import"]);
    world
        .docker(["events", "--until", "0s", "--filter", "colour=red"])
        .run()
        .fails_saying(&["invalid filter"]);
    world.stop();
}

#[test]
fn a_stream_of_events_is_given_up_with_its_reader() {
    let daemon = Alone::start("[limits]\nrequests-per-client = 1\n");
    let root = daemon.client(ADMIN);
    let mut reader = root.connect().expect("connect");
    std::io::Write::write_all(&mut reader, b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").expect("ask");
    let mut first = [0_u8; 12];
    std::io::Read::read_exact(&mut reader, &mut first).expect("an answer");
    assert_eq!(root.fetch("/_ping").status, 429, "the stream takes the one place");
    // As the kernel closes it for a client that was killed: no word of TLS.
    drop(reader.sock);
    casemate_tests::wait_until("the place is given back", || root.fetch("/_ping").status == 200);
}

#[test]
fn the_networks_that_are_always_there() {
    let daemon = Alone::start("");
    let root = daemon.client(ADMIN);
    let all = root.fetch("/networks").json();
    let names: Vec<_> =
        all.as_array().expect("a list").iter().map(|network| network["Name"].clone()).collect();
    assert_eq!(names, ["bridge", "host", "none"]);
    let none = root.fetch("/networks/none").json();
    assert_eq!((&none["Driver"], &none["Scope"]), (&json!("null"), &json!("local")));
    let id = none["Id"].as_str().expect("an id").to_owned();
    assert_eq!(root.fetch(&format!("/networks/{}", &id[..12])).json()["Name"], "none");
    assert_eq!(
        root.fetch("/networks?filters=%7B%22driver%22%3A%5B%22host%22%5D%7D").json()[0]["Name"],
        "host"
    );
    let missing = root.fetch("/networks/backend");
    assert_eq!((missing.status, missing.json()), (404, json!({"message": "network backend not found"})));
    let removed = root.request("DELETE", "/networks/host", None);
    let words = "host is a pre-defined network and cannot be removed";
    assert_eq!((removed.status, removed.json()["message"].clone()), (403, json!(words)));
    let made = root.request("POST", "/networks/create", Some(&json!({"Name": "bridge"})));
    assert_eq!(made.status, 403, "{}", made.text());
}

#[test]
fn what_is_not_here_is_answered_clearly() {
    let daemon = Alone::start("");
    let root = daemon.client(ADMIN);
    let leave = root.request("POST", "/swarm/leave?force=True", None);
    assert_eq!(leave.status, 503);
    assert!(leave.text().contains("This node is not a swarm manager"), "{}", leave.text());
    assert_eq!((root.fetch("/plugins").status, root.fetch("/plugins").json()), (200, json!([])));
    assert_eq!(root.fetch("/plugins/a/b/json").status, 404);
    for path in ["/session", "/grpc", "/build?t=x"] {
        assert_eq!(root.request("POST", path, None).status, 501, "{path}");
    }
}

#[test]
fn metrics_are_for_prometheus_and_for_those_who_may() {
    let daemon = Alone::start("");
    let vic = daemon.client("casemate://acme/vic?groups=viewer");
    assert_eq!(vic.fetch("/metrics").status, 403);
    let text = daemon.client(ADMIN).fetch("/metrics").text();
    let counted = "casemate_requests_total{operation=\"system.metrics\",verdict=\"denied\",code=\"403\"} 1";
    for line in [counted, "casemate_connections ", "casemate_broker_answers_total ", "# EOF"] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}
