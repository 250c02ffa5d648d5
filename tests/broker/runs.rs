//! Containers and files through the broker: the real shim, the real runtime, the real helper.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use casemate_spec::wire::{Answer, Ask, Exited, RefusalKind, TaskReply, VERSION};
use casemate_tests::{Value, json};

use crate::rig::{Rig, ask, exec_of, id, layer, make, names, start_of};

fn released(rig: &mut Rig, container: &casemate_spec::wire::HexId) -> Exited {
    match rig.ask(Ask::Release { id: container.clone() }).0 {
        Ok(Answer::Exited(exited)) => exited,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_container_is_made_started_released_and_removed() {
    let mut rig = Rig::greeted();
    let one = id('1');
    let process = rig.run(&one, &["sh", "-c", "cat /etc/hosts; id -u; exit 7"]);
    let (text, exited) = process.wait();
    assert_eq!(text, "127.0.0.1 localhost\n0\n");
    assert_eq!(exited.map(|exited| exited.code), Some(7));
    assert_eq!(released(&mut rig, &one).code, 7);
    // Again, with what it wrote.
    let process = rig.start(&one, &["sh", "-c", "hostname"]);
    assert_eq!(process.wait().0, "h\n");
    released(&mut rig, &one);
    assert!(
        matches!(rig.ask(Ask::DropLayer { layer: layer() }).0, Err(refusal) if refusal.kind == RefusalKind::Conflict)
    );
    rig.ask(Ask::RemoveContainer { id: one.clone() }).0.expect("removed");
    rig.ask(Ask::RemoveContainer { id: one }).0.expect("as good");
    rig.ask(Ask::DropLayer { layer: layer() }).0.expect("dropped");
    assert!(names(&rig.store("containers")).is_empty());
    rig.end();
}

#[test]
fn a_process_joins_and_signals_arrive() {
    let mut rig = Rig::greeted();
    let (one, two) = (id('1'), id('2'));
    let first = rig.run(&one, &["sleep", "1000"]);
    let (answer, mut descriptors) = rig.ask(exec_of(&one, &two, &["sh", "-c", "echo $$; exit 3"]));
    assert!(matches!(answer, Ok(Answer::Started { .. })), "{answer:?}");
    let exec = crate::rig::Process { socket: descriptors.remove(0), pid: 0 };
    let (text, exited) = exec.wait();
    assert_eq!(exited.map(|exited| exited.code), Some(3), "{text}");
    let (answer, _) = rig.ask(exec_of(&one, &id('3'), &["nothing-of-this-name"]));
    assert!(matches!(&answer, Err(refusal) if refusal.kind == RefusalKind::NoProgram), "{answer:?}");
    let (answer, _) = rig.ask(exec_of(&one, &id('3'), &["/etc"]));
    assert!(matches!(&answer, Err(refusal) if refusal.kind == RefusalKind::NotExecutable), "{answer:?}");
    let (answer, mut descriptors) = rig.ask(Ask::Connect { id: one.clone(), exec: None });
    assert!(matches!(answer, Ok(Answer::Connected)), "{answer:?}");
    let second = crate::rig::Process { socket: descriptors.remove(0), pid: 0 };
    rustix::io::ioctl_fionbio(&second.socket, false).expect("blocking");
    rig.ask(Ask::Signal { id: one.clone(), exec: None, signal: 9, all: false }).0.expect("signalled");
    for connection in [&first, &second] {
        assert_eq!(connection.wait().1.map(|exited| exited.code), Some(137));
    }
    assert_eq!(released(&mut rig, &one).code, 137);
    rig.end();
}

#[test]
fn a_layer_is_unpacked_kept_and_read() {
    let mut rig = Rig::greeted();
    let (staging, kept) = (id('a'), id('b'));
    let archive =
        std::process::Command::new("tar").args(["-C", "/etc", "-c", "hostname"]).output().expect("run tar");
    let (answers, theirs) = rustix::pipe::pipe().expect("a pipe");
    let (data, mut ours) =
        rustix::pipe::pipe().map(|(read, write)| (read, File::from(write))).expect("a pipe");
    let number = rig.send(Ask::Unpack { staging: staging.clone() }, &[data.as_fd(), theirs.as_fd()]);
    drop((data, theirs));
    ours.write_all(&archive.stdout).expect("written");
    drop(ours);
    rig.reply(number).0.expect("unpacked");
    let mut text = String::new();
    File::from(answers).read_to_string(&mut text).expect("read");
    assert!(matches!(serde_json::from_str(text.trim_end()), Ok(TaskReply::Unpacked { .. })), "{text}");
    rig.ask(Ask::KeepLayer { staging, layer: kept.clone() }).0.expect("kept");
    let stat =
        help(&mut rig, json!({ "view": { "layers": [kept] }, "task": { "stat": { "path": "/hostname" } } }));
    assert!(matches!(stat, TaskReply::Stat(stat) if stat.name == "hostname" && stat.size > 0));
    rig.end();
}

fn help(rig: &mut Rig, asked: Value) -> TaskReply {
    let (answers, theirs) = rustix::pipe::pipe().expect("a pipe");
    let null: OwnedFd = File::options().write(true).open("/dev/null").expect("/dev/null").into();
    let answer = rig.ask_with(ask(json!({ "help": asked })), &[null.as_fd(), theirs.as_fd()]).0;
    drop(theirs);
    let mut text = String::new();
    File::from(answers).read_to_string(&mut text).expect("read");
    serde_json::from_str(text.trim_end()).unwrap_or_else(|error| panic!("{error}: {text:?}, {answer:?}"))
}

#[test]
fn files_are_read_whether_it_runs_or_not() {
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    let view = json!({ "container": { "id": one, "root": { "layers": [layer()], "readOnly": false }, "mounts": [] } });
    let asked = json!({ "view": view, "task": { "user": { "user": "user", "groups": [] } } });
    for runs in [false, true] {
        if runs {
            rig.start(&one, &["sleep", "1000"]);
        }
        let reply = help(&mut rig, asked.clone());
        assert!(matches!(&reply, TaskReply::User(user) if user.uid == 1000), "{runs}: {reply:?}");
    }
    rig.end();
}

#[test]
fn a_program_that_is_not_there_leaves_nothing() {
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    let (answer, _) = rig.ask(start_of(&one, &["nothing-of-this-name"], |_| {}));
    assert!(matches!(&answer, Err(refusal) if refusal.kind == RefusalKind::NoProgram), "{answer:?}");
    let (answer, _) = rig.ask(start_of(&one, &["/etc/passwd"], |_| {}));
    assert!(matches!(&answer, Err(refusal) if refusal.kind == RefusalKind::NotExecutable), "{answer:?}");
    let denied =
        start_of(&one, &["true"], |start| start["container"]["namespaces"]["network"] = json!("host"));
    let (answer, _) = rig.ask(denied);
    assert!(matches!(&answer, Err(refusal) if refusal.kind == RefusalKind::Denied), "{answer:?}");
    assert!(
        matches!(rig.ask(Ask::Release { id: one.clone() }).0, Err(refusal) if refusal.kind == RefusalKind::NotFound)
    );
    assert_eq!(rig.start(&one, &["true"]).wait().1.map(|exited| exited.code), Some(0));
    rig.end();
}

#[test]
fn a_restart_finds_what_runs() {
    let mut rig = Rig::greeted();
    let (one, two) = (id('1'), id('2'));
    rig.run(&one, &["sleep", "1000"]);
    let quick = rig.run(&two, &["sh", "-c", "exit 5"]);
    quick.wait();
    rig.restart();
    let (answer, _) = rig.ask(Ask::Hello { version: VERSION });
    let Ok(Answer::Hello { running, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(running.len(), 2, "{running:?}");
    assert!(running[0].pid.is_some() && running[0].exited.is_none());
    assert_eq!(running[1].exited.as_ref().map(|exited| exited.code), Some(5));
    assert_eq!(released(&mut rig, &two).code, 5);
    rig.ask(Ask::Signal { id: one.clone(), exec: None, signal: 9, all: false }).0.expect("signalled");
    rig.end();
}

#[test]
fn what_runs_is_measured_listed_and_limited() {
    let mut rig = Rig::greeted();
    let (one, volume) = (id('1'), id('3'));
    rig.ask(ask(json!({ "makeVolume": { "volume": volume, "tenant": "t" } }))).0.expect("made");
    rig.ask(ask(
        json!({ "limit": { "tenant": "t", "limits": { "memory": 512 << 20, "cpu": 1500, "pids": 500 } } }),
    ))
    .0
    .expect("limited");
    rig.ask(make(&one)).0.expect("made");
    let mount = json!({ "destination": "/data", "readOnly": false,
        "kind": { "volume": { "volume": volume, "subpath": null } } });
    let asked =
        start_of(&one, &["sh", "-c", "echo kept > /data/file; ls -l /proc/1/exe; sleep 1000"], |start| {
            start["container"]["mounts"] = json!([mount]);
            start["container"]["init"] = json!(true);
        });
    rig.ask(asked).0.expect("started");
    let written = |rig: &mut Rig, verb: Value| {
        let (output, theirs) = rustix::pipe::pipe().expect("a pipe");
        rig.ask_with(ask(verb), &[theirs.as_fd()]).0.expect("written");
        drop(theirs);
        let mut text = String::new();
        File::from(output).read_to_string(&mut text).expect("read");
        text
    };
    let stats = written(&mut rig, json!({ "stats": { "id": one, "every": null } }));
    let stats: Value = serde_json::from_str(&stats).expect("a document");
    assert_eq!(stats["type"], "stats");
    let processes = written(&mut rig, json!({ "processes": { "id": one, "options": ["-eo", "pid,args"] } }));
    assert!(processes.contains("docker-init") && processes.contains("sleep 1000"), "{processes}");
    rig.ask(ask(json!({ "update": { "id": one, "resources": { "pids": { "limit": 50 } } } })))
        .0
        .expect("updated");
    let busy = rig.ask(ask(json!({ "removeVolume": { "volume": volume } }))).0;
    assert!(matches!(busy, Err(refusal) if refusal.kind == RefusalKind::Conflict));
    assert_eq!(
        std::fs::read(rig.store("volumes").join(volume.as_str()).join("_data/file")).expect("kept"),
        b"kept\n"
    );
    rig.ask(Ask::Signal { id: one.clone(), exec: None, signal: 9, all: true }).0.expect("signalled");
    rig.end();
}

#[test]
fn a_terminal_and_a_log_are_the_shims() {
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    let asked = start_of(&one, &["sh", "-c", "stty size; echo said"], |start| {
        start["streams"] = json!({ "tty": true, "size": [33, 99], "stdin": true, "stdinOnce": false,
            "log": { "jsonFile": { "max_size": 0, "max_files": 1 } } });
    });
    let (answer, mut descriptors) = rig.ask(asked);
    assert!(answer.is_ok(), "{answer:?}");
    let (text, _) = crate::rig::Process { socket: descriptors.remove(0), pid: 0 }.wait();
    assert_eq!(text, "33 99\r\nsaid\r\n");
    let log = std::fs::read_to_string(rig.dir.join("data/logs").join(one.as_str()).join("json.log"))
        .expect("a log");
    assert!(log.contains("said"), "{log}");
    rig.end();
}

#[test]
fn a_namespace_of_another_container_is_joined() {
    let mut rig = Rig::greeted();
    let (one, two) = (id('1'), id('2'));
    let first = rig.run(&one, &["sleep", "1000"]);
    rig.ask(make(&two)).0.expect("made");
    let asked = start_of(&two, &["readlink", "/proc/self/ns/net"], |start| {
        start["container"]["namespaces"]["network"] = json!({ "container": one });
    });
    let (answer, mut descriptors) = rig.ask(asked);
    assert!(answer.is_ok(), "{answer:?}");
    let (text, _) = crate::rig::Process { socket: descriptors.remove(0), pid: 0 }.wait();
    let theirs = std::fs::read_link(format!("/proc/{}/ns/net", first.pid)).expect("a namespace");
    assert_eq!(text.trim_end(), theirs.to_string_lossy());
    rig.end();
}

/// Not a bound, since machines differ; it is printed for whoever wonders what a start costs.
#[test]
fn many_start_and_end_at_once() {
    let mut rig = Rig::greeted();
    let ids: Vec<casemate_spec::wire::HexId> =
        (0..20).map(|number| format!("{number:064x}").parse().expect("an id")).collect();
    let began = std::time::Instant::now();
    let numbers: Vec<u64> = ids
        .iter()
        .map(|id| {
            rig.ask(make(id)).0.expect("made");
            rig.send(start_of(id, &["true"], |_| {}), &[])
        })
        .collect();
    for number in numbers {
        let (answer, mut descriptors) = rig.reply(number);
        assert!(answer.is_ok(), "{answer:?}");
        let process = crate::rig::Process { socket: descriptors.remove(0), pid: 0 };
        assert_eq!(process.wait().1.map(|exited| exited.code), Some(0));
    }
    let numbers: Vec<u64> = ids.iter().map(|id| rig.send(Ask::Release { id: id.clone() }, &[])).collect();
    for number in numbers {
        rig.reply(number).0.expect("released");
    }
    eprintln!("20 containers in {:?}", began.elapsed());
    rig.end();
}
