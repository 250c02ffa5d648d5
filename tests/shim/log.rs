//! The log: Docker's form, rotation, a disk that fills up.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use casemate_spec::wire::{LogOrder, Streams};
use casemate_tests::{Bundle, ours};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::broker::{IDENTITY, Shim, json_file, log_dir, log_lines, log_text, plain, stand_in, wait_gone};

fn run(bundle: &Bundle, script: &str, log: LogOrder) {
    let streams = Streams { log, ..plain() };
    let (mut shim, connection, _) = Shim::started(bundle, stand_in(script), streams);
    assert_eq!(connection.rest().exited.code, 0, "{script}");
    assert_eq!(shim.wait(), 0);
}

#[test]
fn lines_have_dockers_form() {
    let bundle = Bundle::new(&ours());
    run(&bundle, r#"printf 'a "b" \\ <c>&\t\377\342\200\250é\r\n\nno end'"#, json_file());
    let text = std::fs::read_to_string(log_dir(&bundle).join("json.log")).unwrap();
    // As dockerd 20.10 has written the same output.
    let logs = [
        r#"{"log":"a \"b\" \\ \u003cc\u003e\u0026\u0009\ufffd\u2028é\r\n","stream":"stdout","time":""#,
        r#"{"log":"\n","stream":"stdout","time":""#,
        r#"{"log":"no end","stream":"stdout","time":""#,
    ];
    assert_eq!(text.lines().count(), 3, "{text}");
    for (line, expected) in text.lines().zip(logs) {
        let time = line.strip_prefix(expected).expect(line).strip_suffix("Z\"}").expect(line);
        // RFC 3339 with nanoseconds, without zeros at their end.
        let (second, fraction) = time.split_once('.').unwrap_or((time, "1"));
        assert_eq!(second.len(), "2026-01-01T00:00:00".len(), "{time}");
        assert!(fraction.len() <= 9 && !fraction.ends_with('0'), "{time}");
    }
}

#[test]
fn long_lines_are_cut_at_16_kib() {
    let bundle = Bundle::new(&ours());
    let script = "for n in 16383 16384 40000; do head -c $n /dev/zero | tr '\\0' x; echo; done";
    run(&bundle, script, json_file());
    let lines = log_lines(&bundle, "json.log");
    let lengths: Vec<_> = lines.iter().map(|line| line["log"].as_str().unwrap().len()).collect();
    assert_eq!(lengths, [16384, 16384, 1, 16384, 16384, 40_000 - 2 * 16384 + 1]);
    assert_eq!(lines[3]["time"], lines[5]["time"], "pieces bear one time");
}

#[test]
fn files_belong_to_the_shim_and_are_its_groups_to_read() {
    let bundle = Bundle::new(&ours());
    run(&bundle, "seq 1 2000", LogOrder::JsonFile { max_size: 20_000, max_files: 3 });
    for name in ["json.log", "json.log.1", "json.log.2"] {
        let file = log_dir(&bundle).join(name).metadata().unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (IDENTITY.0, IDENTITY.1, 0o640), "{name}");
    }
}

#[test]
fn rotation_loses_no_line_and_keeps_the_count() {
    let bundle = Bundle::new(&ours());
    let max_size = 50_000;
    run(&bundle, "seq 1 20000", LogOrder::JsonFile { max_size, max_files: 100 });
    let mut files: Vec<_> = std::fs::read_dir(log_dir(&bundle)).unwrap().flatten().collect();
    files.sort_by_key(|file| {
        let name = file.file_name().into_string().unwrap();
        std::cmp::Reverse(name.strip_prefix("json.log.").map_or(0, |number| number.parse::<u32>().unwrap()))
    });
    let names: Vec<_> = files.iter().map(|file| file.file_name().into_string().unwrap()).collect();
    assert!(names.len() > 20 && names.last().unwrap() == "json.log", "{names:?}");
    let text: String = names.iter().map(|name| log_text(&bundle, name)).collect();
    assert_eq!(text, (1..=20_000).map(|n| format!("{n}\n")).collect::<String>());
    for file in &files {
        // A line longer at most, as Docker's.
        assert!(file.metadata().unwrap().len() < max_size + 100, "{file:?}");
    }
}

#[test]
fn the_oldest_files_go() {
    for (max_files, names) in [(1, &["json.log"][..]), (3, &["json.log", "json.log.1", "json.log.2"])] {
        let bundle = Bundle::new(&ours());
        run(&bundle, "seq 1 20000", LogOrder::JsonFile { max_size: 10_000, max_files });
        let entries = std::fs::read_dir(log_dir(&bundle)).unwrap().flatten();
        let mut found: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        found.sort();
        assert_eq!(found, names);
        assert!(log_text(&bundle, "json.log").ends_with("20000\n"));
    }
}

#[test]
fn a_log_goes_on_where_the_last_shim_left_it() {
    let bundle = Bundle::new(&ours());
    run(&bundle, "echo first", json_file());
    run(&bundle, "echo second", json_file());
    assert_eq!(log_text(&bundle, "json.log"), "first\nsecond\n");
}

#[test]
fn the_part_of_a_line_that_a_crash_left_is_taken_away() {
    let bundle = Bundle::new(&ours());
    run(&bundle, "echo first", json_file());
    let path = log_dir(&bundle).join("json.log");
    let mut text = std::fs::read(&path).unwrap();
    text.extend(br#"{"log":"half a li"#);
    std::fs::write(&path, text).unwrap();
    run(&bundle, "echo second", json_file());
    assert_eq!(log_text(&bundle, "json.log"), "first\nsecond\n");
}

#[test]
fn a_full_disk_loses_lines_and_says_how_many() {
    let bundle = Bundle::new(&ours());
    let small = Tmpfs::mount(&log_dir(&bundle));
    let script = format!(
        "seq 1 30000; echo full >{0}/full; while [ ! -e {0}/room ]; do sleep 0.02; done; echo after",
        bundle.dir().display()
    );
    let streams = Streams { log: json_file(), ..plain() };
    let (mut shim, connection, _) = Shim::started(&bundle, stand_in(&script), streams);
    while !bundle.dir().join("full").exists() {
        connection.take();
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    // Something else frees room.
    std::fs::remove_file(small.0.join("ballast")).unwrap();
    std::fs::write(bundle.dir().join("room"), "").unwrap();
    assert_eq!(connection.rest().exited.code, 0);
    assert_eq!(shim.wait(), 0);
    let lines = log_lines(&bundle, "json.log");
    let texts: Vec<_> = lines.iter().map(|line| line["log"].as_str().unwrap()).collect();
    let [kept @ .., note, after] = texts.as_slice() else { panic!("{texts:?}") };
    assert_eq!(*after, "after\n");
    assert!(kept.len() > 100, "{}", kept.len());
    assert!(kept.iter().enumerate().all(|(at, line)| *line == format!("{}\n", at + 1)));
    let missing = 30_000 - kept.len();
    let expected =
        format!("casemate-shim: {missing} lines are missing here: no space left on device (ENOSPC)\n");
    assert_eq!(*note, expected);
}

#[test]
fn a_log_that_cannot_be_opened_stops_nobody() {
    let bundle = Bundle::new(&ours());
    std::fs::create_dir_all(log_dir(&bundle).join("json.log")).unwrap();
    let streams = Streams { log: json_file(), ..plain() };
    let (mut shim, connection, _) = Shim::started(&bundle, stand_in("echo there"), streams);
    assert_eq!(connection.rest().stdout, b"there\n");
    assert_eq!(shim.wait(), 0);
    let errors = std::fs::read_to_string(bundle.dir().join("errors")).unwrap();
    assert!(errors.contains("casemate-shim: open the log: "), "{errors}");
}

#[test]
fn a_killed_shim_leaves_at_most_one_partial_line_which_the_next_one_mends() {
    for _ in 0..2 {
        let bundle = Bundle::new(&ours());
        let streams = Streams { log: json_file(), ..plain() };
        let (mut shim, connection, pid) = Shim::started(&bundle, stand_in("seq 1 10000000"), streams);
        drop(connection);
        std::thread::sleep(std::time::Duration::from_millis(50));
        shim.signal(rustix::process::Signal::KILL);
        shim.wait();
        // Nobody reads any more.
        wait_gone(pid);
        run(&bundle, "echo after", json_file());
        let lines = log_text(&bundle, "json.log");
        let kept = lines.strip_suffix("after\n").expect("the next one's line");
        let count = kept.lines().count();
        assert!(count > 1000 && kept == (1..=count).map(|n| format!("{n}\n")).collect::<String>());
    }
}

/// A small disk, half of it taken.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir(at).unwrap();
        mount("tmpfs", at, "tmpfs", MountFlags::empty(), Some(c"size=1m,mode=750")).unwrap();
        chown(at, Some(IDENTITY.0), Some(IDENTITY.1)).unwrap();
        std::fs::write(at.join("ballast"), vec![0; 512 << 10]).unwrap();
        Self(at.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}
