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
    rig.ask(Ask::Signal { id: one.clone(), signal: 9, all: false }).0.expect("signalled");
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
    rig.ask(Ask::Signal { id: one.clone(), signal: 9, all: false }).0.expect("signalled");
    rig.end();
}
