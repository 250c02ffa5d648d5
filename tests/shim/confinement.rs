//! What a shim may do once the process runs: next to nothing. Its rules are tried from outside of it: by entering its
//! credentials is impossible, so a program in its place attacks first, and the kernel is asked about the real one.

use std::path::Path;

use casemate_spec::wire::Streams;
use casemate_tests::{Bundle, ours};

use crate::broker::{IDENTITY, Shim, json_file, plain, runtime};

#[test]
fn nothing_of_its_privilege_is_left() {
    let bundle = Bundle::sh(&ours(), "read line");
    let streams = Streams { stdin: true, stdin_once: true, log: json_file(), ..plain() };
    let (mut shim, connection, _) = Shim::started(&bundle, runtime(&bundle), streams);
    let status = shim.proc("status");
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    let four = |id: u32| [id.to_string(), id.to_string(), id.to_string(), id.to_string()].join("\t");
    assert_eq!(value("Uid"), four(IDENTITY.0));
    assert_eq!(value("Gid"), four(IDENTITY.1));
    assert_eq!((value("Groups"), value("NoNewPrivs")), (String::new(), "1".to_owned()));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    assert_eq!(value("Threads"), "1");
    // Nothing is open but what it needs: no directory of the host's, no file of the broker's.
    let mut open = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{}/fd", shim.pid())).unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap().into_os_string().into_string().unwrap();
        open.push(target);
    }
    for target in &open {
        let kind = target.split(':').next().unwrap();
        let known = matches!(kind, "socket" | "pipe" | "anon_inode" | "/dev/null")
            || Path::new(target).starts_with(bundle.dir())
            || target.ends_with("memory.oom_control")
            || target.ends_with("memory.events");
        // What the test program itself was started with, it hands on as its standard output.
        assert!(known || *target == own_stdout(), "{target} among {open:?}");
    }
    connection.send(&casemate_spec::wire::Frame::CloseStdin);
    connection.rest();
    shim.wait();
}

fn own_stdout() -> String {
    std::fs::read_link("/proc/self/fd/1").unwrap().into_os_string().into_string().unwrap()
}
