//! Clients at a container's streams: attached, detached, slow, gone.

use std::io::{Read, Write};
use std::time::Duration;

use casemate_tests::{Terminal, wait_until};

use crate::World;

const ADMIN: &str = "casemate://default/root?groups=admin";

#[test]
fn much_output_arrives_whole() {
    let world = World::start();
    let script = "i=0; while [ $i -lt 200000 ]; do echo line-$i; i=$((i+1)); done; echo end >&2";
    let output = world.run(&[], &["sh", "-c", script]).ok();
    let text = output.stdout();
    assert_eq!(text.lines().count(), 200_000);
    assert!(text.lines().enumerate().all(|(number, line)| line == format!("line-{number}")));
    assert_eq!(output.stderr(), "end\n");
    world.stop();
}

#[test]
fn several_clients_each_get_everything() {
    let world = World::start();
    let script = "read go; for i in 1 2 3; do echo $i; done";
    world.ok(&["run", "-di", "--net", "none", "--name", "at", "busybox", "sh", "-c", script]);
    let first = world.docker(["attach", "--no-stdin", "at"]).spawn();
    let second = world.docker(["attach", "--no-stdin", "at"]).spawn();
    std::thread::sleep(Duration::from_millis(700));
    let third = world.docker(["attach", "at"]).stdin(b"go\n").run();
    assert_eq!(first.wait().text(), "1\n2\n3");
    assert_eq!(second.wait().text(), "1\n2\n3");
    drop(third);
    world.stop();
}

#[test]
fn a_client_that_is_killed_takes_nothing_with_it() {
    let world = World::start();
    let script = "i=0; while :; do i=$((i+1)); echo $i; done";
    let mut client =
        world.docker(["run", "--net", "none", "--name", "ki", "busybox", "sh", "-c", script]).spawn();
    wait_until("output", || client.stdout().len() > 100_000);
    client.signal(rustix::process::Signal::STOP);
    std::thread::sleep(Duration::from_millis(500));
    // Whoever stops reading makes the container wait, and nobody else.
    assert_eq!(world.ok(&["inspect", "--format", "{{.State.Running}}", "ki"]), "true");
    client.signal(rustix::process::Signal::KILL);
    wait_until("the client's end", || client.ended());
    let before = world.ok(&["logs", "--tail", "1", "ki"]);
    wait_until("it goes on", || world.ok(&["logs", "--tail", "1", "ki"]) != before);
    world.ok(&["rm", "-f", "ki"]);
    world.stop();
}

#[test]
fn a_stuck_client_does_not_hold_up_a_kill() {
    let world = World::start();
    let client = world.docker(["run", "--net", "none", "--name", "ki", "busybox", "yes"]).spawn();
    wait_until("output", || client.stdout().len() > 100_000);
    client.signal(rustix::process::Signal::STOP);
    std::thread::sleep(Duration::from_millis(500));
    world.docker(["kill", "ki"]).timeout(Duration::from_secs(8)).run().ok();
    assert_eq!(world.ok(&["inspect", "--format", "{{.State.ExitCode}}", "ki"]), "137");
    client.signal(rustix::process::Signal::KILL);
    world.stop();
}

#[test]
fn a_terminal_has_a_size_and_can_be_left() {
    let world = World::start();
    let (mut terminal, files) = Terminal::open();
    terminal.resize(100, 30);
    let script = "while :; do stty size; read line; echo \"got $line\"; done";
    let words = ["run", "-it", "--net", "none", "--name", "te", "busybox", "sh", "-c", script];
    let client = world.docker(words).stdio(files).spawn();
    terminal.expect("30 100");
    terminal.resize(90, 20);
    // The client may not listen for it yet: it has just been told that the container runs.
    std::thread::sleep(Duration::from_millis(700));
    client.signal(rustix::process::Signal::WINCH);
    std::thread::sleep(Duration::from_millis(700));
    terminal.send("x\n");
    terminal.expect("20 90");
    terminal.send("\u{10}\u{11}");
    client.wait();
    assert_eq!(world.ok(&["inspect", "--format", "{{.State.Running}}", "te"]), "true");
    // The daemon knows the keys as well: a client that leaves it to the daemon.
    let admin = world.client(ADMIN);
    let mut connection = admin.connect().expect("a connection");
    let request = "POST /v1.50/containers/te/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,b HTTP/1.1\r\n\
                   Host: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n\u{1}z\n";
    connection.write_all(request.as_bytes()).expect("sent");
    let mut seen = String::new();
    let mut piece = [0_u8; 1024];
    while !seen.contains("got \u{1}z") {
        let read = connection.read(&mut piece).expect("output");
        assert!(read > 0, "no answer to what was typed, but {seen:?}");
        seen += &String::from_utf8_lossy(&piece[..read]);
    }
    assert!(
        seen.starts_with("HTTP/1.1 101 UPGRADED") || seen.starts_with("HTTP/1.1 101 Switching"),
        "{seen}"
    );
    assert!(seen.contains("application/vnd.docker.raw-stream"), "{seen}");
    connection.write_all(b"\x01b").expect("sent");
    connection.read_to_end(&mut Vec::new()).expect("an orderly end");
    world.ok(&["rm", "-f", "te"]);
    world.stop();
}

#[test]
fn half_a_connection_is_enough() {
    let world = World::start();
    world.ok(&[
        "create",
        "-i",
        "--net",
        "none",
        "--name",
        "ha",
        "busybox",
        "sh",
        "-c",
        "cat; echo end; sleep 0.3; echo late",
    ]);
    let output = world.docker(["start", "-ai", "ha"]).stdin(b"first words\n").run().ok();
    assert_eq!(output.text(), "first words\nend\nlate");
    world.stop();
}

#[test]
fn without_an_upgrade_the_answer_is_the_stream() {
    let world = World::start();
    world.ok(&[
        "run",
        "-d",
        "--net",
        "none",
        "--name",
        "lo",
        "busybox",
        "sh",
        "-c",
        "echo one; sleep 1; echo two",
    ]);
    let admin = world.client(ADMIN);
    let reply = admin.request("POST", "/v1.50/containers/lo/attach?stream=1&stdout=1&logs=1", None);
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, b"\x01\0\0\0\0\0\0\x04one\n\x01\0\0\0\0\0\0\x04two\n");
    world.stop();
}

#[test]
fn a_websocket_carries_both_ways() {
    let world = World::start();
    world.ok(&["run", "-di", "--net", "none", "--name", "ws", "busybox", "cat"]);
    let mut connection = world.client(ADMIN).connect().expect("a connection");
    let request = "GET /v1.50/containers/ws/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\
                   Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    connection.write_all(request.as_bytes()).expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0_u8; 1];
        connection.read_exact(&mut byte).expect("a head");
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: websocket"), "{head}");
    assert!(head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    // A text frame of three bytes, masked with zeros.
    connection.write_all(b"\x81\x83\0\0\0\0hi\n").expect("sent");
    let mut frame = [0_u8; 5];
    connection.read_exact(&mut frame).expect("a frame");
    assert_eq!(&frame, b"\x82\x03hi\n");
    world.ok(&["rm", "-f", "ws"]);
    world.stop();
}
