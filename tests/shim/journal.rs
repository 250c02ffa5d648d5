//! The journal, played by a socket in its place, in a mount namespace of the shim's own.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use casemate_spec::wire::{Frame, LogOrder, Streams};
use casemate_tests::{Bundle, ours};

use crate::broker::{Connection, Shim, Taken, plain, program, stand_in};

/// Where nobody listens yet.
fn place(bundle: &Bundle) -> PathBuf {
    let place = bundle.dir().join("journal");
    std::fs::create_dir(&place).unwrap();
    place
}

fn listen(place: &Path) -> UnixDatagram {
    let path = place.join("socket");
    let journal = UnixDatagram::bind(&path).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o666)).unwrap();
    journal.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    journal
}

fn start(bundle: &Bundle, place: &Path, script: &str) -> (Shim, Connection) {
    let mut command = Command::new("unshare");
    let mounts = "mount -t tmpfs tmpfs /run/systemd && mkdir /run/systemd/journal && \
                  mount --bind \"$1\" /run/systemd/journal && exec \"$2\"";
    command.args(["--mount", "sh", "-c", mounts, "sh"]).arg(place).arg(program());
    let fields = [("CONTAINER_NAME", "some name"), ("CONTAINER_TAG", "two\nlines")];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let log = LogOrder::Journald { fields };
    let streams = Streams { stdin: true, stdin_once: true, log, ..plain() };
    let (mut shim, connection) = Shim::start_by(command, bundle, stand_in(script), streams);
    shim.outcome();
    assert!(matches!(connection.take(), Taken::Running(_)));
    (shim, connection)
}

/// An entry's fields, each a name, a line end, its value's length and the value.
fn entry(journal: &UnixDatagram) -> BTreeMap<String, String> {
    let mut bytes = vec![0; 64 << 10];
    let read = journal.recv(&mut bytes).expect("an entry");
    let (mut rest, mut fields) = (&bytes[..read], BTreeMap::new());
    while !rest.is_empty() {
        let name = rest.iter().position(|byte| *byte == b'\n').unwrap();
        let (length, value) = rest[name + 1..].split_at(8);
        let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        fields.insert(text(&rest[..name]), text(&value[..length]));
        assert_eq!(value[length], b'\n');
        rest = &value[length + 1..];
    }
    fields
}

#[test]
fn lines_arrive_with_their_fields() {
    let bundle = Bundle::new(&ours());
    let place = place(&bundle);
    let journal = listen(&place);
    let script = "echo out; read x; echo err >&2; read x; head -c 20000 /dev/zero | tr '\\0' x; echo";
    let (mut shim, connection) = start(&bundle, &place, script);
    let out = entry(&journal);
    assert_eq!((out["MESSAGE"].as_str(), out["PRIORITY"].as_str()), ("out", "6"));
    assert_eq!((out["CONTAINER_NAME"].as_str(), out["CONTAINER_TAG"].as_str()), ("some name", "two\nlines"));
    assert!(out["SYSLOG_TIMESTAMP"].ends_with('Z') && !out.contains_key("CONTAINER_PARTIAL_MESSAGE"));
    connection.send(&Frame::Stdin(b"\n"));
    let err = entry(&journal);
    assert_eq!((err["MESSAGE"].as_str(), err["PRIORITY"].as_str()), ("err", "3"));
    connection.send(&Frame::Stdin(b"\n"));
    let (first, last) = (entry(&journal), entry(&journal));
    assert_eq!((first["MESSAGE"].len(), last["MESSAGE"].len()), (16384, 20_000 - 16384));
    assert_eq!(first["CONTAINER_PARTIAL_MESSAGE"], "true");
    assert!(!last.contains_key("CONTAINER_PARTIAL_MESSAGE"));
    connection.rest();
    shim.wait();
}

#[test]
fn a_journal_that_was_away_is_told_what_it_missed() {
    let bundle = Bundle::new(&ours());
    let place = place(&bundle);
    let journal = listen(&place);
    let script = "echo 1; read x; echo 2; echo 3; read x; echo 4";
    let (mut shim, connection) = start(&bundle, &place, script);
    assert_eq!(entry(&journal)["MESSAGE"], "1");
    connection.expect("1");
    drop(journal);
    std::fs::remove_file(place.join("socket")).unwrap();
    connection.send(&Frame::Stdin(b"\n"));
    connection.expect("3");
    let journal = listen(&place);
    connection.send(&Frame::Stdin(b"\n"));
    assert_eq!(entry(&journal)["MESSAGE"], "casemate-shim: 2 lines are missing here");
    assert_eq!(entry(&journal)["MESSAGE"], "4");
    connection.rest();
    shim.wait();
}
