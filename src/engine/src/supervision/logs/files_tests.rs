//! Logs that rotate, break off and grow while they are read.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::super::render::Render;
use super::*;

/// A log's folder, gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("casemate-logs-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn append(&self, bytes: &[u8]) {
        let path = self.0.join(NAME);
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).expect("the log");
        file.write_all(bytes).expect("written");
    }

    /// As the shim does it.
    fn rotate(&self, keep: u32) {
        let name = |number: u32| self.0.join(format!("{NAME}.{number}"));
        for number in (1..keep.saturating_sub(1)).rev() {
            fs::rename(name(number), name(number + 1)).ok();
        }
        if keep > 1 {
            fs::remove_file(name(1)).ok();
            fs::hard_link(self.0.join(NAME), name(1)).ok();
        }
        fs::write(self.0.join(".json.log"), b"").expect("a file");
        fs::rename(self.0.join(".json.log"), self.0.join(NAME)).expect("renamed");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn line(text: &str, stderr: bool, second: usize) -> Vec<u8> {
    let stream = if stderr { "stderr" } else { "stdout" };
    let time = format!("2026-01-01T00:{:02}:{:02}.5Z", second / 60 % 60, second % 60);
    let entry = serde_json::json!({ "log": text, "stream": stream, "time": time });
    let mut bytes = serde_json::to_vec(&entry).expect("JSON");
    bytes.push(b'\n');
    bytes
}

fn everything(tail: Option<usize>) -> Asked {
    Asked { stdout: true, stderr: true, tail, ..Asked::default() }
}

/// Reads to the present end.
fn drain(files: &mut Files, texts: &mut Vec<String>) {
    let mut take = |entry: &Entry<'_>| {
        texts.push(entry.text.clone().into_owned());
    };
    while !files.read(&mut take).expect("read") {}
}

#[derive(Debug, Clone)]
enum Step {
    Line(String),
    Piece(String),
    Torn(u8),
    Rotate,
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => "[a-zü\"\\\\{}: ]{0,30}".prop_map(Step::Line),
        2 => "[a-z{\"]{1,30}".prop_map(Step::Piece),
        1 => (1_u8..40).prop_map(Step::Torn),
        1 => Just(Step::Rotate),
        1 => Just(Step::Look),
    ]
}

proptest! {
    /// Whoever follows sees every entry once and in order, however the files are rotated, and nothing of a torn one.
    #[test]
    fn following_misses_nothing(steps in proptest::collection::vec(step(), 1..60)) {
        let folder = Folder::new();
        folder.append(b"");
        let mut files = Files::open(&folder.0, &everything(None)).expect("opened");
        let (mut seen, mut expected) = (Vec::new(), Vec::new());
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Line(text) | Step::Piece(text) => {
                    let end = if matches!(step, Step::Line(_)) { "\n" } else { "" };
                    expected.push(format!("{text}{end}"));
                    folder.append(&line(&format!("{text}{end}"), number % 3 == 0, number));
                }
                // The beginning of an entry, which a later one follows at once.
                Step::Torn(length) => {
                    let torn = line("this was never whole\n", false, number);
                    folder.append(&torn[..usize::from(*length)]);
                }
                Step::Rotate => folder.rotate(100),
                Step::Look => drain(&mut files, &mut seen),
            }
        }
        drain(&mut files, &mut seen);
        prop_assert_eq!(seen, expected);
    }

    /// The last lines are those that reading everything shows last.
    #[test]
    fn the_tail_is_the_end_of_the_whole(
        lines in proptest::collection::vec(("[a-z]{0,4000}", 0_u8..3), 0..80),
        rotations in proptest::collection::vec(0_usize..80, 0..4),
        tail in 0_usize..90,
    ) {
        let folder = Folder::new();
        let mut whole = Vec::new();
        for (number, (text, kind)) in lines.iter().enumerate() {
            if rotations.contains(&number) {
                folder.rotate(100);
            }
            // A line in two pieces, now and then.
            if *kind == 2 {
                folder.append(&line(text, false, number));
            }
            folder.append(&line(&format!("{text}\n"), *kind == 1, number));
            whole.push(if *kind == 2 { format!("{text}{text}\n") } else { format!("{text}\n") });
        }
        let mut seen = Vec::new();
        drain(&mut Files::open(&folder.0, &everything(Some(tail))).expect("opened"), &mut seen);
        let expected = whole[whole.len().saturating_sub(tail)..].concat();
        prop_assert_eq!(seen.concat(), expected);
    }
}

#[test]
fn a_log_that_was_rotated_away_goes_on_with_what_is_there() {
    let folder = Folder::new();
    folder.append(&line("1\n", false, 1));
    let (mut files, mut seen) = (Files::open(&folder.0, &everything(None)).expect("opened"), Vec::new());
    drain(&mut files, &mut seen);
    folder.append(&line("2\n", false, 2));
    for number in 3..6 {
        folder.rotate(2);
        folder.append(&line(&format!("{number}\n"), false, number));
    }
    drain(&mut files, &mut seen);
    assert_eq!(seen, ["1\n", "2\n", "4\n", "5\n"], "what we hold is read to its end, 3 is gone");
}

#[test]
fn what_a_shim_mends_is_read_once() {
    let folder = Folder::new();
    folder.append(&line("1\n", false, 1));
    let whole = fs::metadata(folder.0.join(NAME)).expect("a file").len();
    folder.append(b"{\"log\":\"tor");
    let (mut files, mut seen) = (Files::open(&folder.0, &everything(None)).expect("opened"), Vec::new());
    drain(&mut files, &mut seen);
    let log = fs::OpenOptions::new().write(true).open(folder.0.join(NAME)).expect("the log");
    log.set_len(whole).expect("truncated");
    drain(&mut files, &mut seen);
    folder.append(&line("2\n", false, 2));
    drain(&mut files, &mut seen);
    assert_eq!(seen, ["1\n", "2\n"]);
}

#[test]
fn a_log_that_is_not_there_is_empty() {
    let folder = Folder::new();
    let mut seen = Vec::new();
    drain(&mut Files::open(&folder.0.join("no"), &everything(Some(5))).expect("opened"), &mut seen);
    assert!(seen.is_empty());
}

fn shown(asked: Asked) -> String {
    let folder = Folder::new();
    for bytes in [
        line("one\n", false, 1),
        line("lo", false, 2),
        line("err\n", true, 3),
        line("ng\n", false, 4),
        line("last\n", false, 5),
    ] {
        folder.append(&bytes);
    }
    let (mut files, mut out) = (Files::open(&folder.0, &asked).expect("opened"), Vec::new());
    let mut render = Render::new(&asked, String::new());
    while !files.read(&mut |entry| render.add(entry, &mut out)).expect("read") {}
    String::from_utf8(out).expect("text")
}

/// After a step of an hour that was taken back, what is written in time comes behind what was not.
#[test]
fn a_clock_that_was_set_back_hides_nothing() {
    let folder = Folder::new();
    for (text, second) in [("one\n", 1), ("ahead\n", 3599), ("two\n", 2), ("three\n", 3)] {
        folder.append(&line(text, false, second));
    }
    let base = 1_767_225_600_000_000_000;
    let shown = |asked: Asked| {
        let (mut files, mut out) = (Files::open(&folder.0, &asked).expect("opened"), Vec::new());
        let mut render = Render::new(&asked, String::new());
        while !files.read(&mut |entry| render.add(entry, &mut out)).expect("read") {}
        String::from_utf8(out).expect("text")
    };
    let all = everything(None);
    assert_eq!(shown(Asked { until: Some(base + 60_000_000_000), ..all }), "one\ntwo\nthree\n");
    assert_eq!(shown(Asked { since: Some(base + 2_000_000_000), ..all }), "ahead\ntwo\nthree\n");
}

#[test]
fn lines_are_shown_as_asked() {
    let base = 1_767_225_600_000_000_000;
    let all = everything(None);
    assert_eq!(shown(all), "one\nloerr\nng\nlast\n");
    assert_eq!(shown(Asked { stderr: false, tail: Some(2), ..all }), "long\nlast\n");
    assert_eq!(shown(Asked { stdout: false, tail: Some(1), ..all }), "err\n");
    assert_eq!(shown(Asked { since: Some(base + 4_500_000_000), ..all }), "ng\nlast\n");
    assert_eq!(shown(Asked { until: Some(base + 3_500_000_000), ..all }), "one\nloerr\n");
    assert_eq!(
        shown(Asked { stderr: false, timestamps: true, tail: Some(2), ..all }),
        "2026-01-01T00:00:02.500000000Z long\n2026-01-01T00:00:05.500000000Z last\n"
    );
    assert_eq!(shown(Asked { framed: true, stdout: false, ..all }), "\u{2}\0\0\0\0\0\0\u{4}err\n");
}
