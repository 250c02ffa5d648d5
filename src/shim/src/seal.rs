//! Giving privilege away: another user, no capabilities, no_new_privs, a Landlock domain of two directories.

use std::os::fd::AsFd as _;

use casemate_core::surrender::{give_up, leave_files};
use casemate_spec::{Error, Result};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::umask;
use rustix::thread::CapabilitySet;

use crate::order::Given;

/// Becomes `identity` with nothing but the two directories to write to. There is no way back.
///
/// # Errors
/// The kernel refuses a step: the caller must not go on.
pub fn enter(identity: (u32, u32), given: &Given) -> Result<()> {
    let failed = |what: &'static str| move |errno: Errno| Error::os(what, errno.raw_os_error());
    umask(Mode::from_raw_mode(0o027));
    give_up(identity.0, identity.1, CapabilitySet::empty()).map_err(failed("give privilege away"))?;
    let kept: Vec<_> =
        std::iter::once(&given.exit_dir).chain(&given.log_dir).map(|dir| dir.as_fd()).collect();
    leave_files(&kept, false).map_err(failed("enter the Landlock domain"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::{chown, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::{Path, PathBuf};

    use casemate_spec::wire::{DAEMON, SHIM, STORE_IDS};
    use rustix::process::{Pid, Signal, geteuid, kill_process};
    use rustix::thread::{Uid, set_thread_res_uid};

    use super::*;

    const IDENTITY: (u32, u32) = (STORE_IDS + SHIM, STORE_IDS + DAEMON);

    /// What an attacker in the shim's place tries; each names itself where it works.
    fn attacks(home: &Path) -> Vec<&'static str> {
        let shared = home.join("shared");
        let tries: [(&str, &dyn Fn() -> bool); 9] = [
            ("become root", &|| set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_ok()),
            ("read a file of everybody's", &|| fs::read("/etc/passwd").is_ok()),
            ("list a directory of everybody's", &|| fs::read_dir("/").is_ok()),
            ("write where everybody may", &|| fs::write(shared.join("x"), "x").is_ok()),
            ("run a program", &|| std::process::Command::new("/bin/true").status().is_ok()),
            ("leave its directory by a link", &|| fs::read(home.join("log/link")).is_ok()),
            ("make a directory in its own", &|| fs::create_dir(home.join("log/dir")).is_ok()),
            ("signal another", &|| kill_process(Pid::INIT, Signal::CONT).is_ok()),
            ("reach a network", &|| {
                let refused =
                    std::net::TcpStream::connect("127.0.0.1:1").err().and_then(|e| e.raw_os_error());
                refused == Some(Errno::CONNREFUSED.raw_os_error())
            }),
        ];
        tries.iter().filter(|(_, attack)| attack()).map(|(name, _)| *name).collect()
    }

    fn home() -> PathBuf {
        let home = std::env::temp_dir().join(format!("cms-seal-{}", std::process::id()));
        for (dir, mode) in [("", 0o755), ("shared", 0o1777), ("exit", 0o755), ("log", 0o755)] {
            let dir = home.join(dir);
            fs::create_dir(&dir).expect("a directory");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(dir, mode).expect("a mode");
        }
        symlink("/etc/passwd", home.join("log/link")).expect("a link");
        home
    }

    #[test]
    fn what_works_before_fails_afterwards() {
        if !geteuid().is_root() {
            return eprintln!("skipped: only root has something to give away");
        }
        let home = home();
        let before = attacks(&home);
        assert_eq!(before.len(), 9, "an attack that never works proves nothing: {before:?}");
        fs::remove_dir(home.join("log/dir")).expect("removed");
        for dir in ["exit", "log"] {
            chown(home.join(dir), Some(IDENTITY.0), Some(IDENTITY.1)).expect("given away");
        }
        let open = |name: &str| OwnedFd::from(fs::File::open(home.join(name)).expect("a directory"));
        let socket = UnixListener::bind(home.join("socket")).expect("a socket");
        let given = Given {
            exit_dir: open("exit"),
            first: socket.try_clone().expect("a copy").into(),
            listener: socket.into(),
            log_dir: Some(open("log")),
        };
        // On a thread of its own: credentials and domains are a thread's.
        let place = home.clone();
        let after = std::thread::spawn(move || {
            enter(IDENTITY, &given).expect("sealed");
            fs::write(place.join("log/json.log"), "x").expect("its own files it may write");
            fs::rename(place.join("log/json.log"), place.join("log/json.log.1")).expect("and rename");
            fs::write(place.join("exit/exit.json"), "x").expect("there too");
            attacks(&place)
        });
        let after = after.join();
        fs::remove_dir_all(&home).expect("removed");
        assert_eq!(after.expect("it ran"), Vec::<&str>::new());
    }
}
