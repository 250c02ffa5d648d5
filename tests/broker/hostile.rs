//! A daemon that was taken over: nothing it can say makes the broker wait, grow, or do what it should not.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;

use casemate_spec::wire::{Answer, Ask, HexId, IN_MEMFD, INLINE, LONGEST, Refusal, RefusalKind, VERSION};
use casemate_tests::{Value, json};
use rustix::process::{Pid, Signal, kill_process};

use crate::rig::{Rig, ask, container, exec_of, id, layer, make, names, raw, sealed, start_of, streams};

/// Every verb, about what is not there.
fn verbs() -> Vec<Value> {
    let (one, two) = (id('1'), id('2'));
    let view =
        json!({ "container": { "id": one, "root": { "layers": [], "readOnly": false }, "mounts": [] } });
    let process = json!({ "user": { "uid": 0, "gid": 0 }, "args": ["true"], "cwd": "/" });
    vec![
        json!("list"),
        json!({ "unpack": { "staging": one } }),
        json!({ "keepLayer": { "staging": two, "layer": one } }),
        json!({ "dropLayer": { "layer": one } }),
        json!({ "dropStaging": { "staging": one } }),
        json!({ "makeContainer": { "id": one, "tenant": "t", "layers": [two], "quota": null } }),
        json!({ "removeContainer": { "id": one } }),
        json!({ "check": { "id": one, "container": container(&["true"]) } }),
        json!({ "start": { "id": one, "container": container(&["true"]), "streams": streams(),
            "files": { "hosts": null, "hostname": null, "resolvConf": null } } }),
        json!({ "exec": { "id": one, "exec": two, "process": process, "privileged": true, "streams": streams() } }),
        json!({ "connect": { "id": one, "exec": null } }),
        json!({ "connect": { "id": one, "exec": two } }),
        json!({ "signal": { "id": one, "signal": 9, "all": true } }),
        json!({ "pause": { "id": one } }),
        json!({ "resume": { "id": one } }),
        json!({ "update": { "id": one, "resources": {} } }),
        json!({ "release": { "id": one } }),
        json!({ "stats": { "id": one, "every": null } }),
        json!({ "processes": { "id": one, "options": [] } }),
        json!({ "help": { "view": view, "task": "size" } }),
        json!({ "makeVolume": { "volume": one, "tenant": "t" } }),
        json!({ "removeVolume": { "volume": one } }),
        json!({ "limit": { "tenant": "t", "limits": { "memory": null, "cpu": null, "pids": null } } }),
        json!({ "audit": { "who": "w", "tenant": "t", "action": "a", "object": "o", "verdict": "v", "reason": "r" } }),
        json!({ "farewell": { "keep": false } }),
    ]
}

fn pipes() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe().expect("a pipe")
}

/// As many descriptors as the verb wants, of the right kind.
fn right(ask: &Value) -> (Vec<OwnedFd>, Vec<OwnedFd>) {
    let (read, write) = pipes();
    match ask.as_object().and_then(|verb| verb.keys().next()).map(String::as_str) {
        Some("unpack") => (vec![File::open("/dev/null").expect("/dev/null").into(), write], vec![read]),
        Some("help") => (
            vec![File::options().write(true).open("/dev/null").expect("/dev/null").into(), write],
            vec![read],
        ),
        Some("stats" | "processes") => (vec![write], vec![read]),
        _ => (Vec::new(), Vec::new()),
    }
}

fn kind(answer: Result<Answer, Refusal>) -> Option<RefusalKind> {
    answer.err().map(|refusal| refusal.kind)
}

#[test]
fn nothing_is_done_before_hello() {
    let mut rig = Rig::new();
    // Its places are made by the time it answers.
    assert_eq!(kind(rig.ask(Ask::List).0), Some(RefusalKind::Invalid));
    let before = tree(&rig);
    for verb in verbs() {
        let (given, _ends) = right(&verb);
        let given: Vec<BorrowedFd<'_>> = given.iter().map(AsFd::as_fd).collect();
        let answer = rig.ask_with(ask(verb.clone()), &given).0;
        assert_eq!(kind(answer), Some(RefusalKind::Invalid), "{verb}");
    }
    assert_eq!(kind(rig.ask(Ask::Hello { version: VERSION + 1 }).0), Some(RefusalKind::Unsupported));
    assert_eq!(tree(&rig), before);
    rig.ask(Ask::Hello { version: VERSION }).0.expect("hello");
    assert_eq!(kind(rig.ask(Ask::Hello { version: VERSION }).0), Some(RefusalKind::Invalid));
    rig.end();
}

#[test]
fn what_is_not_there_is_refused() {
    let mut rig = Rig::greeted();
    let fine = [
        "unpack",
        "list",
        "dropLayer",
        "dropStaging",
        "removeContainer",
        "makeVolume",
        "removeVolume",
        "limit",
        "audit",
    ];
    for verb in verbs() {
        let name = verb
            .as_object()
            .and_then(|verb| verb.keys().next().cloned())
            .unwrap_or_else(|| "list".to_owned());
        if name == "farewell" {
            continue;
        }
        let (given, _ends) = right(&verb);
        let given: Vec<BorrowedFd<'_>> = given.iter().map(AsFd::as_fd).collect();
        let answer = rig.ask_with(ask(verb.clone()), &given).0;
        assert_eq!(answer.is_ok(), fine.contains(&name.as_str()), "{verb}: {answer:?}");
    }
    rig.end();
}

#[test]
fn every_state_admits_its_own_verbs() {
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    let asks = |one: &HexId| {
        let wants = |verb: Value| (verb.clone(), ask(verb));
        [
            wants(json!({ "connect": { "id": one, "exec": null } })),
            wants(json!({ "signal": { "id": one, "signal": 28, "all": false } })),
            wants(json!({ "resume": { "id": one } })),
            wants(json!({ "update": { "id": one, "resources": { "pids": { "limit": 100 } } } })),
            wants(json!({ "pause": { "id": one } })),
        ]
    };
    for (verb, asked) in asks(&one) {
        assert_eq!(kind(rig.ask(asked).0), Some(RefusalKind::Conflict), "still: {verb}");
    }
    assert_eq!(kind(rig.ask(make(&one)).0), Some(RefusalKind::Conflict));
    let process = rig.start(&one, &["sleep", "1000"]);
    assert_eq!(kind(rig.ask(start_of(&one, &["true"], |_| {})).0), Some(RefusalKind::Conflict));
    assert_eq!(kind(rig.ask(Ask::RemoveContainer { id: one.clone() }).0), Some(RefusalKind::Conflict));
    assert_eq!(kind(rig.ask(Ask::Release { id: one.clone() }).0), Some(RefusalKind::Conflict));
    for (verb, asked) in asks(&one) {
        let wanted = verb.get("resume").map(|_| RefusalKind::Conflict);
        assert_eq!(kind(rig.ask(asked).0), wanted, "running: {verb}");
    }
    // It is frozen now.
    assert_eq!(kind(rig.ask(exec_of(&one, &id('2'), &["true"])).0), Some(RefusalKind::Conflict));
    assert_eq!(kind(rig.ask(Ask::Pause { id: one.clone() }).0), Some(RefusalKind::Conflict));
    rig.ask(Ask::Resume { id: one.clone() }).0.expect("resumed");
    rig.ask(Ask::Signal { id: one.clone(), exec: None, signal: 9, all: false }).0.expect("signalled");
    process.wait();
    rig.ask(Ask::Release { id: one.clone() }).0.expect("released");
    assert_eq!(kind(rig.ask(Ask::Release { id: one }).0), Some(RefusalKind::NotFound));
    rig.end();
}

#[test]
fn descriptors_are_counted_and_looked_at() {
    let mut rig = Rig::greeted();
    let directory: OwnedFd = File::open("/").expect("/").into();
    let block = File::open("/dev/full").expect("/dev/full");
    let (read, write) = pipes();
    let before = tree(&rig);
    for verb in
        [json!({ "unpack": { "staging": id('1') } }), json!({ "help": { "view": "empty", "task": "size" } })]
    {
        let wrong: [&[BorrowedFd<'_>]; 7] = [
            &[],
            &[read.as_fd()],
            &[directory.as_fd(), write.as_fd()],
            &[block.as_fd(), write.as_fd()],
            &[read.as_fd(), read.as_fd()],
            &[read.as_fd(), directory.as_fd()],
            &[read.as_fd(), write.as_fd(), write.as_fd()],
        ];
        for (index, given) in wrong.iter().enumerate() {
            assert_eq!(
                kind(rig.ask_with(ask(verb.clone()), given).0),
                Some(RefusalKind::Invalid),
                "{verb} {index}"
            );
        }
    }
    // Superfluous ones are refused, too: what is kept by mistake would be handed to a child.
    assert_eq!(kind(rig.ask_with(Ask::List, &[read.as_fd()]).0), Some(RefusalKind::Invalid));
    assert_eq!(tree(&rig), before);
    rig.end();
}

#[test]
fn a_path_is_no_name() {
    let mut rig = Rig::greeted();
    let before = tree(&rig);
    let paths = [
        "../../etc",
        "/etc/passwd",
        "..",
        "",
        "a/../b",
        &format!("{}/", "a".repeat(63)),
        &"A".repeat(64),
        "a\0b",
    ];
    for (number, path) in (1000..).zip(paths) {
        for verb in [
            json!({ "dropLayer": { "layer": path } }),
            json!({ "unpack": { "staging": path } }),
            json!({ "removeContainer": { "id": path } }),
            json!({ "removeVolume": { "volume": path } }),
            json!({ "makeContainer": { "id": id('1'), "tenant": path, "layers": [], "quota": null } }),
            json!({ "makeContainer": { "id": id('1'), "tenant": "t", "layers": [path], "quota": null } }),
            json!({ "help": { "view": { "volume": path }, "task": "size" } }),
            json!({ "limit": { "tenant": path, "limits": { "memory": 1, "cpu": null, "pids": null } } }),
        ] {
            rig.send_raw(json!({ "number": number, "ask": verb }).to_string().as_bytes(), &[]);
            assert_eq!(kind(rig.reply(number).0), Some(RefusalKind::Invalid), "{verb}");
        }
    }
    assert_eq!(tree(&rig), before);
    rig.end();
}

#[test]
fn words_that_are_none_end_the_conversation_or_nothing() {
    let rig = Rig::greeted();
    for message in
        [&b"\xff\xfe"[..], b"{}", b"[]", b"null", &[b'['; 60_000], b"{\"number\":-1,\"ask\":\"list\"}"]
    {
        rig.send_raw(message, &[]);
        let (reply, _) = rig.receive().expect("an answer");
        assert_eq!((reply.number, kind(reply.answer)), (0, Some(RefusalKind::Invalid)));
    }
    // Long, and deep; both in memory.
    let deep = [vec![b'['; LONGEST / 2], vec![b']'; LONGEST / 2]].concat();
    rig.send_raw(&deep, &[]);
    assert_eq!(kind(rig.receive().expect("an answer").0.answer), Some(RefusalKind::Invalid));
    rig.end();
}

#[test]
fn a_channel_that_is_misused_is_closed() {
    let memory = |length| sealed(&vec![b' '; length]);
    let unsealed = || {
        let file = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::ALLOW_SEALING).expect("memory");
        rustix::fs::ftruncate(&file, 1 << 20).expect("sized");
        file
    };
    let ways: [(&str, Vec<u8>, Vec<OwnedFd>); 5] = [
        ("too long", vec![IN_MEMFD], vec![memory(LONGEST + 1)]),
        ("not sealed", vec![IN_MEMFD], vec![unsealed()]),
        ("no memory", vec![IN_MEMFD], Vec::new()),
        ("a pipe that never ends", vec![IN_MEMFD], vec![pipes().0]),
        ("a packet too long", vec![b' '; INLINE + 1], Vec::new()),
    ];
    for (way, packet, descriptors) in ways {
        let mut rig = Rig::greeted();
        let given: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
        raw(&rig.socket, &packet, &given).expect("sent");
        assert!(rig.receive().is_none(), "{way}");
        assert!(rig.broker.wait().expect("wait").success(), "{way}");
        assert!(rig.audit().iter().any(|line| line["event"] == "channel.misused"), "{way}");
    }
}

#[test]
fn a_daemon_that_does_not_listen_is_not_waited_for() {
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.run(&one, &["sh", "-c", "sleep 1; exit 9"]);
    rustix::io::ioctl_fionbio(&rig.socket, true).expect("not blocking");
    let message = json!({ "number": 7, "ask": "list" }).to_string();
    let mut sent = 0;
    // Until the broker has stopped reading, and both buffers are full.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(3);
    while std::time::Instant::now() < until {
        match raw(&rig.socket, message.as_bytes(), &[]) {
            Ok(_) => sent += 1,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    }
    assert!(sent > 64, "{sent}");
    let status = fs::read_to_string(format!("/proc/{}/status", rig.broker.id())).expect("its status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kilobytes < 64 << 10, "{kilobytes} kB");
    // Meanwhile it saw to what runs.
    assert!(rig.audit().iter().any(|line| line["event"] == "container.exited" && line["code"] == 9));
    rustix::io::ioctl_fionbio(&rig.socket, false).expect("blocking");
    for _ in 0..sent {
        assert!(rig.receive().expect("an answer").0.answer.is_ok());
    }
    rig.end();
}

#[test]
fn a_shim_that_is_killed_takes_its_container_along() {
    let mut rig = Rig::greeted();
    let one = id('1');
    let process = rig.run(&one, &["sleep", "1000"]);
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).expect("the process");
    let shim = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
    kill_process(Pid::from_raw(shim.expect("its parent")).expect("a pid"), Signal::KILL).expect("killed");
    assert_eq!(process.wait().1, None, "the shim said something");
    let exited = loop {
        match rig.ask(Ask::Release { id: one.clone() }).0 {
            Ok(Answer::Exited(exited)) => break exited,
            Err(refusal) if refusal.kind == RefusalKind::Conflict => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(exited.lost && exited.code == 137, "{exited:?}");
    assert!(
        !std::path::Path::new(&format!("/proc/{}/ns/pid", process.pid)).exists() || is_zombie(process.pid)
    );
    assert!(rig.audit().iter().any(|line| line["event"] == "container.lost"));
    assert_eq!(rig.start(&one, &["true"]).wait().1.map(|exited| exited.code), Some(0));
    rig.end();
}

fn is_zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn tenants_have_nothing_of_each_others() {
    let mut rig = Rig::greeted();
    let (one, two, volume) = (id('1'), id('2'), id('3'));
    rig.ask(ask(json!({ "makeVolume": { "volume": volume, "tenant": "other" } }))).0.expect("made");
    rig.ask(ask(
        json!({ "makeContainer": { "id": two, "tenant": "other", "layers": [layer()], "quota": null } }),
    ))
    .0
    .expect("made");
    let others = start_of(&two, &["sleep", "1000"], |start| start["container"]["tenant"] = json!("other"));
    rig.ask(others).0.expect("started");
    rig.ask(make(&one)).0.expect("made");
    let mount = json!({ "destination": "/data", "readOnly": false,
        "kind": { "volume": { "volume": volume, "subpath": null } } });
    for (what, expected, change) in [
        ("tenant", RefusalKind::Invalid, json!({ "tenant": "other" })),
        ("root", RefusalKind::Invalid, json!({ "root": { "layers": [], "readOnly": false } })),
        ("mounts", RefusalKind::NotFound, json!({ "mounts": [mount] })),
        ("policy", RefusalKind::Denied, json!({ "policy": "oci" })),
    ] {
        let asked = start_of(&one, &["true"], |start| start["container"][what] = change[what].clone());
        assert_eq!(kind(rig.ask(asked).0), Some(expected), "{what}");
    }
    for space in ["network", "pid", "ipc", "uts", "cgroup", "user"] {
        let joined = json!({ "container": two });
        let asked = start_of(&one, &["true"], |start| start["container"]["namespaces"][space] = joined);
        assert_eq!(kind(rig.ask(asked).0), Some(RefusalKind::Conflict), "{space}");
    }
    let mine = start_of(&one, &["true"], |start| start["container"]["policy"] = json!("baseline"));
    rig.ask(mine).0.expect("the operator lists it");
    rig.end();
}

#[test]
fn nothing_of_the_brokers_own_is_shown() {
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    symlink(rig.dir.join("data"), rig.dir.join("link")).expect("linked");
    for place in ["data", "data/pki", "data/store", "config", "link", "link/audit", ""] {
        let source = rig.dir.join(place).to_string_lossy().trim_end_matches('/').to_owned();
        let bind = json!({ "source": source, "create": false, "recursive": true, "propagation": "private" });
        let mount = json!({ "destination": "/x", "readOnly": true, "kind": { "bind": bind } });
        let asked = start_of(&one, &["true"], |start| {
            start["container"]["mounts"] = json!([mount]);
            start["container"]["policy"] = json!("baseline");
        });
        assert_eq!(kind(rig.ask(asked).0), Some(RefusalKind::Denied), "{place:?}");
    }
    rig.end();
}

#[test]
fn a_missing_directory_is_made_where_the_policy_admits_it() {
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    symlink("/etc", rig.dir.join("link")).expect("linked");
    let started = |rig: &mut Rig, source: String| {
        let bind = json!({ "source": source, "create": true, "recursive": true, "propagation": "private" });
        let mount = json!({ "destination": "/x", "readOnly": false, "kind": { "bind": bind } });
        let asked = start_of(&one, &["true"], |start| start["container"]["mounts"] = json!([mount]));
        kind(rig.ask(asked).0)
    };
    let inside = |rig: &Rig, place: &str| rig.dir.join(place).to_string_lossy().into_owned();
    assert_eq!(started(&mut rig, "/boot/casemate-test/x".to_owned()), Some(RefusalKind::Denied));
    assert!(!std::path::Path::new("/boot/casemate-test").exists());
    let through = inside(&rig, "link/casemate-test");
    assert!(started(&mut rig, through).is_some());
    assert!(!std::path::Path::new("/etc/casemate-test").exists());
    let fine = inside(&rig, "made/for/it");
    assert_eq!(started(&mut rig, fine), None);
    assert!(rig.dir.join("made/for/it").is_dir());
    rig.end();
}

/// Everything in the data root but the audit log.
fn tree(rig: &Rig) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![rig.dir.join("data")];
    while let Some(dir) = open.pop() {
        for name in names(&dir) {
            let path = dir.join(name);
            if path.is_dir() && !path.is_symlink() && !path.ends_with("audit") {
                open.push(path.clone());
            }
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn a_flood_of_work_is_bounded() {
    let mut rig = Rig::greeted();
    let mut ends = Vec::new();
    let mut numbers = Vec::new();
    // Archives that never come: each holds a helper. One of nothing at all would be whole when it ends.
    for number in 0..300 {
        let (data, hold) = pipes();
        File::from(hold.try_clone().expect("a copy")).write_all(b"x").expect("a byte");
        let (answers, theirs) = pipes();
        let staging: HexId = format!("{number:064x}").parse().expect("an id");
        numbers.push(rig.send(Ask::Unpack { staging }, &[data.as_fd(), theirs.as_fd()]));
        ends.push((hold, answers));
    }
    let refused = numbers.split_off(256);
    for number in refused {
        assert_eq!(kind(rig.reply(number).0), Some(RefusalKind::Failed));
    }
    // It still hears what is said; there is only no room for more work.
    assert_eq!(kind(rig.ask(Ask::List).0), Some(RefusalKind::Failed));
    drop(ends);
    for number in numbers {
        rig.reply(number).0.expect_err("an archive without an end");
    }
    rig.ask(Ask::List).0.expect("there is room again");
    rig.end();
}
