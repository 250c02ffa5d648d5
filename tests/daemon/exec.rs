//! `docker exec`.

use std::time::Duration;

use casemate_tests::Terminal;

use crate::World;

const ADMIN: &str = "casemate://default/root?groups=admin";

fn world() -> World {
    let world = World::start();
    let words = ["run", "-d", "--net", "none", "--name", "co", "-e", "FROM=container", "-w", "/tmp"];
    world.ok(&[&words[..], &["busybox", "sleep", "1000"]].concat());
    world
}

fn end(world: World) {
    world.ok(&["rm", "-f", "co"]);
    world.stop();
}

#[test]
fn an_exec_has_streams_and_an_exit_status() {
    let world = world();
    let run = |flags: &[&str], script: &str| {
        world.docker([&["exec"], flags, &["co", "sh", "-c", script]].concat()).run()
    };
    let output = run(&[], "echo out; echo err >&2; exit 9").fails_with(9);
    assert_eq!((output.stdout().as_str(), output.stderr().as_str()), ("out\n", "err\n"));
    let counted = world.docker(["exec", "-i", "co", "wc", "-c"]).stdin(&vec![b'x'; 2_000_000]).run().ok();
    assert_eq!(counted.text(), "2000000");
    assert_eq!(run(&["-e", "MINE=1"], "echo $FROM $MINE; pwd").text(), "container 1\n/tmp");
    assert_eq!(run(&["-w", "/etc"], "pwd").text(), "/etc");
    assert_eq!(run(&["-u", "12:34"], "id -u; id -g").text(), "12\n34");
    assert_eq!(run(&["-u", "user"], "id -un; id -gn; echo $HOME").text(), "user\nuser\n/home/user");
    let stranger = run(&["-u", "nobody-here"], "true").fails_with(126);
    assert!(stranger.stdout().contains("nobody-here"), "{stranger}");
    end(world);
}

#[test]
fn what_cannot_be_run_is_told_in_the_stream() {
    let world = world();
    world.docker(["exec", "co", "no-such-program"]).run().fails_with(127);
    world.docker(["exec", "co", "/etc"]).run().fails_with(126);
    let said = world.docker(["exec", "co", "no-such-program"]).run().stdout();
    assert!(said.contains("executable file not found") && said.ends_with("\r\n"), "{said:?}");
    world.docker(["exec", "-d", "co", "no-such-program"]).run().fails_saying(&["executable file not found"]);
    end(world);
}

#[test]
fn a_terminal_a_detached_one_and_what_inspect_says() {
    let world = world();
    let (mut terminal, files) = Terminal::open();
    terminal.resize(77, 22);
    let client = world.docker(["exec", "-it", "co", "sh", "-c", "stty size; read x; echo got $x; exit 4"]);
    let client = client.stdio(files).spawn();
    terminal.expect("22 77");
    terminal.send("y\n");
    terminal.expect("got y");
    client.wait().fails_with(4);
    world.ok(&["exec", "-d", "co", "sh", "-c", "echo done > /tmp/mark"]);
    casemate_tests::wait_until("the mark", || {
        world.docker(["exec", "co", "cat", "/tmp/mark"]).run().text() == "done"
    });
    let admin = world.client(ADMIN);
    let asked = serde_json::json!({ "Cmd": ["sh", "-c", "exit 6"], "AttachStdout": true });
    let id = admin.request("POST", "/v1.50/containers/co/exec", Some(&asked)).json()["Id"].clone();
    let path = |verb: &str| format!("/v1.50/exec/{}/{verb}", id.as_str().expect("an id"));
    let before = admin.fetch(&path("json")).json();
    assert_eq!((&before["Running"], &before["ExitCode"]), (&false.into(), &serde_json::Value::Null));
    assert_eq!(admin.request("POST", &path("start"), Some(&serde_json::json!({}))).status, 200);
    let after = admin.fetch(&path("json")).json();
    assert_eq!((&after["Running"], &after["ExitCode"]), (&false.into(), &6.into()), "{after}");
    assert_eq!(after["ProcessConfig"]["arguments"], serde_json::json!(["-c", "exit 6"]));
    assert_eq!(admin.request("POST", &path("start"), Some(&serde_json::json!({}))).status, 409);
    assert_eq!(admin.fetch("/v1.50/exec/nothing/json").status, 404);
    let other = world.client("casemate://other/bob?groups=admin");
    assert_eq!(other.fetch(&path("json")).status, 404, "another tenant's");
    end(world);
}

#[test]
fn execs_outlive_the_daemon() {
    let mut world = world();
    let create = |world: &World, script: &str| {
        let asked = serde_json::json!({ "Cmd": ["sh", "-c", script], "User": "12", "Env": ["A=b"] });
        let answer = world.client(ADMIN).request("POST", "/v1.50/containers/co/exec", Some(&asked)).json();
        answer["Id"].as_str().expect("an id").to_owned()
    };
    let start = |world: &World, id: &str| {
        let asked = serde_json::json!({ "Detach": true });
        world.client(ADMIN).request("POST", &format!("/v1.50/exec/{id}/start"), Some(&asked)).status
    };
    let state = |world: &World, id: &str| {
        let found = world.client(ADMIN).fetch(&format!("/v1.50/exec/{id}/json"));
        assert_eq!(found.status, 200, "{id}");
        let found = found.json();
        assert_eq!(
            (&found["ProcessConfig"]["user"], &found["ProcessConfig"]["entrypoint"]),
            (&"12".into(), &"sh".into())
        );
        (found["Running"] == true, found["ExitCode"].as_i64(), found["Pid"].as_i64().expect("a number"))
    };
    let [before, long, meanwhile, later] = [
        create(&world, "exit 4"),
        create(&world, "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 5"),
        create(&world, "while [ ! -e /tmp/now ]; do sleep 0.05; done; exit 6"),
        create(&world, "exit 7"),
    ];
    for id in [&before, &long, &meanwhile] {
        assert_eq!(start(&world, id), 200);
    }
    casemate_tests::wait_until("the first has ended", || state(&world, &before).1 == Some(4));
    let (runs, code, pid) = state(&world, &long);
    assert!(runs && code.is_none() && pid > 0);
    world.ok(&["exec", "co", "sh", "-c", "(sleep 0.1; touch /tmp/now) &"]);
    world.crash_daemon();
    assert_eq!(state(&world, &before).1, Some(4));
    casemate_tests::wait_until("it is known to run", || state(&world, &long) == (true, None, pid));
    casemate_tests::wait_until("it has ended meanwhile", || state(&world, &meanwhile).1 == Some(6));
    assert_eq!(state(&world, &later), (false, None, 0));
    assert_eq!(start(&world, &later), 200);
    casemate_tests::wait_until("it has run", || state(&world, &later).1 == Some(7));
    world.crash_and_restart_broker();
    casemate_tests::wait_until("it is known to run", || state(&world, &long) == (true, None, pid));
    world.ok(&["exec", "co", "touch", "/tmp/go"]);
    casemate_tests::wait_until("it has ended", || state(&world, &long) == (false, Some(5), pid));
    let again = world.client(ADMIN).request(
        "POST",
        &format!("/v1.50/exec/{long}/start"),
        Some(&serde_json::json!({})),
    );
    assert_eq!(again.status, 409);
    world.ok(&["rm", "-f", "co"]);
    assert_eq!(world.client(ADMIN).fetch(&format!("/v1.50/exec/{long}/json")).status, 404);
    world.stop();
}

#[test]
fn only_what_runs_takes_an_exec() {
    let world = world();
    let mut hanging = world.docker(["exec", "co", "sleep", "1000"]).spawn();
    std::thread::sleep(Duration::from_millis(500));
    world.ok(&["kill", "co"]);
    casemate_tests::wait_until("the exec ends with its container", || hanging.ended());
    world.docker(["exec", "co", "true"]).run().fails_saying(&["is not running"]);
    end(world);
}
