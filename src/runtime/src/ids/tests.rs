//! The pool on a real filesystem.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Pool, Range, Settings};

const BASE: u32 = 0x4000_0000;

struct Scratch {
    path: PathBuf,
    settings: Settings,
}

impl Scratch {
    fn new(count: u32) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("casemate-ids-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("etc")).expect("mkdir");
        let settings = Settings { base: BASE, count, directory: path.join("pool") };
        Self { path, settings }
    }

    fn pool(&self) -> Pool {
        Pool::with_users(&self.settings, &self.path.join("etc")).expect("the pool opens")
    }

    /// A container's home as `create` leaves it.
    fn home(&self, id: &str, range: Option<&Range>) -> PathBuf {
        let home = self.path.join(id);
        fs::create_dir_all(&home).expect("mkdir");
        File::create(home.join("lock")).expect("lock");
        let record = serde_json::json!({ "id": id, "ids": range });
        fs::write(home.join("state.json"), record.to_string()).expect("record");
        home
    }

    fn created(&self, id: &str) -> (PathBuf, Range) {
        let home = self.home(id, None);
        let range = self.pool().allocate(&home).expect("a range");
        (self.home(id, Some(&range)), range)
    }

    fn number(range: &Range) -> u32 {
        (range.first - BASE) / Range::SIZE
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).unwrap_or_default();
    }
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("read");
    entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8")).collect()
}

#[test]
fn ranges_are_disjoint_and_what_was_given_back_rests() {
    let scratch = Scratch::new(4);
    let (home, first) = scratch.created("a");
    assert_eq!((first.first, first.size), (BASE, 65_536));
    first.release(&home).expect("release");
    first.release(&home).expect("once more changes nothing");
    let numbers: Vec<u32> = ["b", "c", "d", "e"].map(|id| Scratch::number(&scratch.created(id).1)).into();
    assert_eq!(numbers, [1, 2, 3, 0]);
    let error = scratch.pool().allocate(&scratch.home("f", None)).expect_err("no range is left");
    assert!(error.to_string().contains("none of the 4 ranges"), "{error}");
    assert!(error.remedy().is_some());
}

#[test]
fn of_rivals_each_gets_its_own() {
    let scratch = Scratch::new(400);
    let ranges = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (scratch, ranges) = (&scratch, &ranges);
            scope.spawn(move || {
                for turn in 0..50 {
                    let (home, range) = scratch.created(&format!("{worker}-{turn}"));
                    // Some come and go, so that claims are void while others look at them.
                    match turn % 5 {
                        0 => fs::remove_dir_all(&home).expect("a home vanishes"),
                        1 => range.release(&home).expect("release"),
                        _ => ranges.lock().expect("lock").push(range.first),
                    }
                }
            });
        }
    });
    let ranges = ranges.into_inner().expect("lock");
    assert_eq!(ranges.len(), 240);
    assert_eq!(ranges.iter().collect::<BTreeSet<_>>().len(), 240, "a range was handed out twice");
}

#[test]
fn what_a_killed_create_left_is_taken_back_and_nothing_else() {
    let scratch = Scratch::new(1);
    let mine = scratch.home("mine", None);
    let (home, range) = scratch.created("c1");
    let taken = |why: &str| assert!(scratch.pool().allocate(&mine).is_err(), "taken back although {why}");
    taken("its record names it");

    fs::remove_file(home.join("state.json")).expect("remove");
    let lock = File::open(home.join("lock")).expect("open");
    lock.try_lock().expect("lock");
    taken("a create is at work");
    drop(lock);
    fs::write(home.join("state.json"), "{").expect("write");
    taken("its record cannot be read");

    fs::remove_file(home.join("state.json")).expect("remove");
    let again = scratch.pool().allocate(&mine).expect("create died before it wrote a record");
    assert_eq!(again, range);
    range.release(&home).expect("it is another's by now");
    again.release(&mine).expect("release");

    scratch.created("c2");
    scratch.home("c2", Some(&Range { first: BASE + 65_536, ..range }));
    let again = scratch.pool().allocate(&mine).expect("its record names another range");
    again.release(&mine).expect("release");

    let (home, _) = scratch.created("c3");
    fs::remove_dir_all(home).expect("remove");
    scratch.pool().allocate(&mine).expect("its home is gone");
}

#[test]
fn a_home_without_a_record_gives_back_what_it_has() {
    let scratch = Scratch::new(4);
    let (home, _) = scratch.created("c1");
    let (_, kept) = scratch.created("c2");
    scratch.pool().allocate(&home).expect("a second one, of a create that was killed");
    super::release_all(&scratch.settings.directory, &home).expect("release");
    let mut left = names(&scratch.settings.directory);
    assert!(left.remove("next"));
    assert_eq!(left, BTreeSet::from([kept.first.to_string()]));
}

#[test]
fn what_another_mount_namespace_may_see_is_left_alone() {
    let scratch = Scratch::new(1);
    let (home, range) = scratch.created("c1");
    let link = range.pool.join(range.first.to_string());
    fs::remove_file(&link).expect("remove");
    symlink(format!("1:{}", home.display()), &link).expect("symlink");
    fs::remove_dir_all(&home).expect("remove");
    assert!(scratch.pool().allocate(&scratch.home("c2", None)).is_err());
}

#[test]
fn foreign_entries_are_neither_followed_nor_removed() {
    let scratch = Scratch::new(4);
    drop(scratch.pool());
    let place = |number: u32| scratch.settings.directory.join((BASE + number * Range::SIZE).to_string());
    fs::write(place(0), "no link").expect("write");
    fs::create_dir(place(1)).expect("mkdir");
    symlink("elsewhere", place(2)).expect("symlink");
    fs::write(scratch.settings.directory.join("next"), "nonsense!").expect("write");
    let (home, range) = scratch.created("c1");
    assert_eq!(Scratch::number(&range), 3);
    range.release(&home).expect("release");
    let mut left = names(&scratch.settings.directory);
    assert!(left.remove("next"));
    assert_eq!(left.len(), 3);
    let stranger = Range { first: BASE, ..range };
    stranger.release(&home).expect("not ours to remove");
    assert!(place(0).is_file());
}

#[test]
fn ids_of_somebody_are_not_handed_out() {
    let scratch = Scratch::new(4);
    let etc = scratch.path.join("etc");
    fs::write(etc.join("subuid"), format!("u:{BASE}:65536\n")).expect("write");
    fs::write(etc.join("passwd"), format!("u:x:{}:0::/:/bin/sh\n", BASE + 65_536)).expect("write");
    fs::write(etc.join("group"), format!("g:x:{}:\n", BASE + 4 * 65_536)).expect("write");
    fs::write(etc.join("subgid"), format!("u:{}:1\n", BASE + 3 * 65_536 - 1)).expect("write");
    assert_eq!(Scratch::number(&scratch.created("c1").1), 3);
    assert!(scratch.pool().allocate(&scratch.home("c2", None)).is_err());
}

#[test]
fn a_directory_that_others_reach_is_refused() {
    let scratch = Scratch::new(4);
    let directory = &scratch.settings.directory;
    drop(scratch.pool());
    assert_eq!(fs::metadata(directory).expect("stat").permissions().mode() & 0o7777, 0o700);
    for mode in [0o770, 0o701, 0o1777] {
        fs::set_permissions(directory, PermissionsExt::from_mode(mode)).expect("chmod");
        let error = Pool::open(&scratch.settings).expect_err("others reach it");
        assert!(error.to_string().contains("open to others"), "{error}");
    }
    fs::remove_dir_all(directory).expect("remove");
    symlink(scratch.path.join("etc"), directory).expect("symlink");
    assert!(Pool::open(&scratch.settings).is_err(), "a link was followed");
    fs::remove_file(directory).expect("remove");
    if rustix::process::geteuid().is_root() {
        fs::create_dir(directory).expect("mkdir");
        fs::set_permissions(directory, PermissionsExt::from_mode(0o700)).expect("chmod");
        std::os::unix::fs::chown(directory, Some(1), None).expect("chown");
        let error = Pool::open(&scratch.settings).expect_err("it is another's");
        assert!(error.to_string().contains("another user"), "{error}");
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let scratch = Scratch::new(4);
    let open = |base, count| Pool::open(&Settings { base, count, ..scratch.settings.clone() });
    for (base, count) in [(0, 1), (BASE + 1, 1), (BASE, 0), (BASE, 49_152), (u32::MAX - 65_535, 1)] {
        assert!(open(base, count).is_err(), "{base} and {count} were accepted");
    }
    assert!(open(BASE, 49_151).is_ok());
    let relative = Settings { directory: PathBuf::from("ids"), ..scratch.settings.clone() };
    assert!(Pool::open(&relative).is_err());
    assert!(scratch.pool().allocate(Path::new("c1")).is_err(), "a relative home was accepted");
}

#[test]
fn the_last_range_ends_before_the_id_that_means_none() {
    let scratch = Scratch::new(1);
    let settings = Settings { base: u32::MAX - 2 * 65_536 + 1, ..scratch.settings.clone() };
    let pool = Pool::with_users(&settings, &scratch.path).expect("the pool opens");
    let range = pool.allocate(&scratch.home("c1", None)).expect("a range");
    assert_eq!(range.first.checked_add(range.size), Some(u32::MAX - 65_535));
}
