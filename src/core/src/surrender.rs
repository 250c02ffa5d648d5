//! Giving privilege away for good: what a program that helps does before it takes a stranger's word.

use std::os::fd::BorrowedFd;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, Scope, make_bitflags,
};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgid, getuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, capabilities, clear_ambient_capability_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::child::{drop_bounding, reason, restrict};
use crate::sys::landlock::abi;

/// Becomes this user and group, with no capability but these, and none to be had from another program. Whoever is that
/// already keeps its groups.
///
/// # Errors
/// The kernel's, credentials(7); `EINVAL` for an id that the user namespace does not have; `EPERM` also when all was
/// done and the kernel, asked, says otherwise. The caller must not go on, but may try to be somebody else.
pub fn give_up(user: u32, group: u32, kept: CapabilitySet) -> Result<(), Errno> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    let is_done = || (getuid(), geteuid(), getgid(), getegid()) == (user, user, group, group);
    set_no_new_privs(true)?;
    if capabilities(None)?.permitted.contains(CapabilitySet::SETPCAP) {
        drop_bounding(0)?;
    }
    clear_ambient_capability_set()?;
    let same = is_done();
    // The change of the user would take those that are kept, too. The saved ids are changed even where it stays.
    set_keep_capabilities(true)?;
    set_thread_res_gid(group, group, group)?;
    if !same {
        set_thread_groups(&[])?;
    }
    set_thread_res_uid(user, user, user)?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)?;
    // A step that was forgotten would not fail.
    if is_done() && capabilities(None)? == sets { Ok(()) } else { Err(Errno::PERM) }
}

/// Leaves all files but those beneath these directories, which may be made, removed and written, and what else Landlock
/// knows, but for TCP ports where they are still to be bound. Where the kernel has none, nothing is done.
///
/// # Errors
/// The kernel's, landlock(7). What it knows is enforced, or nothing goes on.
pub fn leave_files(kept: &[BorrowedFd<'_>], binds: bool) -> Result<(), Errno> {
    let Ok(abi @ 1..) = i32::try_from(abi()) else { return Ok(()) };
    let abi = ABI::from(abi);
    let files = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | MakeReg | RemoveFile});
    let ports = AccessNet::from_all(abi) & !(if binds { AccessNet::BindTcp.into() } else { BitFlags::EMPTY });
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset = ruleset.handle_access(AccessFs::from_all(abi)).map_err(reason)?;
    if !ports.is_empty() {
        ruleset = ruleset.handle_access(ports).map_err(reason)?;
    }
    if !Scope::from_all(abi).is_empty() {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(reason)?;
    }
    let mut rules = ruleset.create().map_err(reason)?;
    for place in kept {
        rules = rules.add_rule(PathBeneath::new(place, files & AccessFs::from_all(abi))).map_err(reason)?;
    }
    restrict(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody without files, and somebody else.
    const NOBODY: u32 = 0x7000_0001;
    const OTHER: u32 = 0x7000_0002;

    /// On a thread of its own: credentials and domains are a thread's.
    fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join()).expect("it ran")
    }

    fn is_root() -> bool {
        geteuid().is_root() || {
            eprintln!("skipped: only root has something to give away");
            false
        }
    }

    #[test]
    fn what_is_kept_is_all_that_is_left() {
        if !is_root() {
            return;
        }
        let kept = CapabilitySet::NET_ADMIN | CapabilitySet::SETUID;
        let (sets, bounding, groups) = apart(|| {
            give_up(NOBODY, NOBODY, kept).expect("given up");
            let bounding = rustix::thread::capability_is_in_bounding_set(CapabilitySet::CHOWN);
            (capabilities(None).expect("sets"), bounding, rustix::process::getgroups().expect("groups"))
        });
        assert_eq!((sets.permitted, sets.effective), (kept, kept));
        assert_eq!(sets.inheritable, CapabilitySet::empty());
        assert_eq!(bounding, Ok(false), "a program with a capability of its own would get it");
        assert_eq!(groups, Vec::<Gid>::new());
    }

    #[test]
    fn there_is_no_way_back_and_no_second_way() {
        if !is_root() {
            return;
        }
        let back = apart(|| {
            give_up(NOBODY, NOBODY, CapabilitySet::empty()).expect("given up");
            let none = CapabilitySet::empty();
            // The same once more is no error; anybody else is, and so is what was given up.
            (
                give_up(NOBODY, NOBODY, none),
                give_up(0, 0, none),
                give_up(OTHER, OTHER, none),
                give_up(NOBODY, NOBODY, CapabilitySet::NET_ADMIN),
            )
        });
        let refused = Err(Errno::PERM);
        assert_eq!(back, (Ok(()), refused, refused, refused));
    }

    #[test]
    fn files_are_left_but_for_those_that_are_kept() {
        if abi() == 0 {
            return eprintln!("skipped: the kernel has no Landlock");
        }
        let home = std::env::temp_dir().join(format!("cms-surrender-{}", std::process::id()));
        let (kept, left) = (home.join("kept"), home.join("left"));
        std::fs::create_dir_all(&kept).expect("a directory");
        std::fs::create_dir_all(&left).expect("a directory");
        let dir = std::fs::File::open(&kept).expect("opened");
        let write = |dir: &std::path::Path| std::fs::write(dir.join("file"), "x").is_ok();
        let before = (write(&kept), write(&left));
        let after = apart(|| {
            set_no_new_privs(true).expect("no_new_privs");
            leave_files(&[std::os::fd::AsFd::as_fd(&dir)], false).expect("left");
            (write(&kept), write(&left))
        });
        std::fs::remove_dir_all(&home).expect("removed");
        assert_eq!((before, after), ((true, true), (true, false)));
    }
}
