//! The store on a real filesystem, with real processes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use casemate_spec::ContainerId;

use super::{Container, InitRecord, Phase, Record, Root, Status, missing, start_time};
use crate::cli::{self, Global};

struct Scratch {
    path: PathBuf,
    global: Global,
}

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("casemate-store-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let line = ["runtime".into(), "--root".into(), path.clone().into(), "list".into()];
        let (global, _) = cli::parse(line).expect("it parses");
        Self { path, global }
    }

    fn made(&self, id: &str) -> Container {
        let reserved = Root::open(&self.global).expect("root").reserve(&name(id)).expect("reserve");
        let record = record(id);
        reserved.home().save(&record).expect("save");
        reserved.into_container(record)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).unwrap_or_default();
    }
}

fn name(id: &str) -> ContainerId {
    id.parse().expect("an id")
}

fn record(id: &str) -> Record {
    serde_json::from_value(serde_json::json!({
        "version": Record::VERSION, "id": id, "ociVersion": "1.3.0", "bundle": "/b", "rootfs": "/b/rootfs",
        "created": "2026-01-01T00:00:00.000000000Z", "owner": 0, "phase": "creating", "systemdCgroup": false,
        "rootless": false, "policy": "oci",
    }))
    .expect("a record")
}

#[test]
fn of_many_creates_one_wins() {
    let scratch = Scratch::new();
    let won = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| match Root::open(&scratch.global).expect("root").reserve(&name("c1")) {
                Ok(reserved) => {
                    won.fetch_add(1, Ordering::Relaxed);
                    reserved.home().save(&record("c1")).expect("save");
                }
                Err(error) => {
                    assert_eq!(error.to_string(), "c1: container with given ID already exists");
                }
            });
        }
    });
    assert_eq!(won.load(Ordering::Relaxed), 1);
    assert_eq!(std::fs::metadata(&scratch.path).expect("root").permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_root_that_others_can_write_is_refused() {
    let scratch = Scratch::new();
    drop(scratch.made("c1"));
    std::fs::set_permissions(&scratch.path, PermissionsExt::from_mode(0o770)).expect("chmod");
    let error = Root::container(&scratch.global, &name("c1")).expect_err("others may write");
    assert!(error.to_string().contains("others may write"), "{error}");
}

#[test]
fn what_is_not_there_does_not_exist() {
    let scratch = Scratch::new();
    let error = Root::container(&scratch.global, &name("c1")).expect_err("no root at all");
    assert_eq!(error, missing(&name("c1")));
    assert!(Root::list(&scratch.global).expect("list").is_empty());
    assert!(!scratch.path.exists(), "reading made the root directory");
}

#[test]
fn malformed_state_is_an_error_and_not_the_end() {
    let scratch = Scratch::new();
    let home = scratch.path.join("c1");
    for bad in ["", "{", "[]", "{\"version\":1}", "\0", &serde_json::to_string(&record("c2")).expect("json")]
    {
        drop(scratch.made("c1"));
        std::fs::write(home.join("state.json"), bad).expect("write");
        let error = Root::container(&scratch.global, &name("c1")).expect_err("it is malformed");
        assert!(error.to_string().starts_with("c1: state.json: ") && error.remedy().is_some(), "{error}");
        Root::home(&scratch.global, &name("c1"))
            .expect("open")
            .expect("it is there")
            .remove()
            .expect("remove");
        assert!(!home.exists());
    }
}

#[test]
fn removing_follows_no_link() {
    let scratch = Scratch::new();
    let container = scratch.made("c1");
    let home = container.home().path().to_owned();
    let outside = scratch.path.join("outside");
    std::fs::create_dir(&outside).expect("mkdir");
    std::fs::write(outside.join("kept"), "").expect("write");
    symlink(&outside, home.join("link")).expect("symlink");
    std::fs::create_dir_all(home.join("a/b/c")).expect("mkdir");
    symlink(&outside, home.join("a/b/link")).expect("symlink");
    std::fs::write(home.join("a/b/c/file"), "").expect("write");
    container.home().remove().expect("remove");
    assert!(!home.exists() && outside.join("kept").exists());
    container.home().remove().expect("nothing left to do is success");
}

#[test]
fn a_home_that_was_replaced_is_not_locked() {
    let scratch = Scratch::new();
    let container = scratch.made("c1");
    let old = Root::home(&scratch.global, &name("c1")).expect("open").expect("it is there");
    container.home().remove().expect("remove");
    drop(container);
    assert_eq!(old.lock().expect_err("it is gone"), missing(&name("c1")));
    let new = scratch.made("c1");
    assert_eq!(old.lock().expect_err("it is another's"), missing(&name("c1")));
    assert!(new.home().is_locked().expect("ask"));
}

#[test]
fn status_is_what_the_kernel_says() {
    let scratch = Scratch::new();
    let mut creator = scratch.made("c1");
    let status = || Root::container(&scratch.global, &name("c1")).expect("load").status().expect("ask");
    assert_eq!(status(), Status::Creating);

    let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().expect("spawn");
    let pid = i32::try_from(child.id()).expect("a pid");
    let init = InitRecord { pid, start_time: start_time(pid).expect("ask").expect("it runs") };
    let waiting = creator.home().make_waiting().expect("waiting");
    creator.save(Record { init: Some(init), phase: Phase::Created, ..record("c1") }).expect("save");
    creator.unlock();
    assert_eq!(status(), Status::Created);
    drop(waiting);
    assert_eq!(status(), Status::Running);

    let other = InitRecord { start_time: init.start_time + 1, ..init };
    let right = creator.record().clone();
    creator.save(Record { init: Some(other), ..right.clone() }).expect("save");
    assert_eq!(status(), Status::Stopped, "another process with the same number was taken for init");
    creator.save(right).expect("save");
    child.kill().expect("kill");
    child.wait().expect("reap");
    assert_eq!(status(), Status::Stopped);
}

#[test]
fn a_creator_that_died_leaves_a_stopped_container() {
    let scratch = Scratch::new();
    drop(scratch.made("c1"));
    let container = Root::locked(&scratch.global, &name("c1")).expect("nobody holds the lock");
    assert_eq!(container.status().expect("ask"), Status::Stopped);
    assert!(Path::new(container.home().path()).ends_with("c1"));
}
