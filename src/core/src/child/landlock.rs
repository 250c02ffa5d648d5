//! The Landlock domain: made while this process may still walk everywhere, entered right before the program.

use std::error::Error;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, Scope,
};
use rustix::fs::{FileType, Mode, OFlags, RawDir, fcntl_getfl, openat};
use rustix::io::Errno;

use super::resolve::look;
use crate::plan::{At, Landlock};

/// Where devices are: writing to them and their ioctls are ordinary use, whatever else is read-only.
const DEVICES: &std::ffi::CStr = c"dev";

/// Makes the domain's rules, bound to what is mounted inside the root now.
pub(super) fn prepare(root: BorrowedFd<'_>, plan: &Landlock) -> Result<RulesetCreated, Errno> {
    let abi = ABI::from(i32::try_from(plan.abi).map_err(|_range| Errno::INVAL)?);
    // What the plan promises is enforced, or nothing runs.
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset = ruleset.handle_access(AccessFs::from_all(abi)).map_err(reason)?;
    let ports = [(AccessNet::BindTcp, &plan.bind), (AccessNet::ConnectTcp, &plan.connect)];
    for (access, _) in ports.iter().filter(|(_, ports)| ports.is_some()) {
        ruleset = ruleset.handle_access(*access).map_err(reason)?;
    }
    let scopes =
        [(Scope::AbstractUnixSocket, plan.scope_abstract_sockets), (Scope::Signal, plan.scope_signals)];
    for (scope, _) in scopes.iter().filter(|(_, wanted)| *wanted) {
        ruleset = ruleset.scope(*scope).map_err(reason)?;
    }
    let mut rules = ruleset.create().map_err(reason)?;
    for (access, ports) in ports {
        for port in ports.iter().flatten() {
            rules = rules.add_rule(NetPort::new(*port, access)).map_err(reason)?;
        }
    }
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let all = AccessFs::from_all(abi);
    let everywhere = if plan.write_xor_execute { read } else { read | AccessFs::Execute };
    rules = allow(rules, root, everywhere)?;
    if plan.write_xor_execute {
        rules = execute_beside(rules, root, 0, u64::MAX, &plan.writable)?;
    }
    match look(root, DEVICES, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(devices) => {
            let usable = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
            rules = allow(rules, devices.as_fd(), usable & all)?;
        }
        Err(Errno::NOENT | Errno::NOTDIR) => {}
        Err(errno) => return Err(errno),
    }
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        // What the program was given, a log file for instance, it may open again by name (`/dev/stdout`).
        let Ok(mode) = fcntl_getfl(stream) else { continue };
        let given = match mode & OFlags::RWMODE {
            OFlags::WRONLY => AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev,
            OFlags::RDWR => read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev,
            _read_only => read,
        };
        if matches!(super::resolve::kind(stream)?, FileType::RegularFile | FileType::CharacterDevice) {
            rules = allow(rules, stream, given & all)?;
        }
    }
    let written = if plan.write_xor_execute { all & !BitFlags::from(AccessFs::Execute) } else { all };
    for at in &plan.writable {
        match look(root, at.path(), OFlags::PATH) {
            Ok(place) => rules = allow(rules, place.as_fd(), written)?,
            // A process that enters later may find that the program has removed what it could write to.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(rules)
}

/// Enters the domain. Without no_new_privs the kernel asks for `CAP_SYS_ADMIN`, landlock_restrict_self(2).
pub(crate) fn restrict(rules: RulesetCreated) -> Result<(), Errno> {
    rules.no_new_privs(false).restrict_self().map(drop).map_err(reason)
}

fn allow(
    rules: RulesetCreated,
    place: BorrowedFd<'_>,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, Errno> {
    let directory = super::resolve::kind(place)? == FileType::Directory;
    // Rights over directories' entries mean nothing for a file, and are refused for it.
    let access = if directory { access } else { access & AccessFs::from_file(ABI::V7) };
    rules.add_rule(PathBeneath::new(place, access)).map_err(reason)
}

/// Lets programs run from everything but the writable places: rules only ever add, so that what lies beside the way to a
/// writable place is listed. `among` marks those that lie beneath this directory, `depth` components down.
fn execute_beside(
    mut rules: RulesetCreated,
    directory: BorrowedFd<'_>,
    depth: usize,
    among: u64,
    writable: &[At],
) -> Result<RulesetCreated, Errno> {
    let listing =
        openat(directory, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(listing, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let (mut is_writable, mut beneath) = (false, 0_u64);
        for (index, at) in writable.iter().enumerate() {
            let bit =
                u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index)).ok_or(Errno::TOOBIG)?;
            let mut rest = at.path().to_bytes().split(|byte| *byte == b'/').skip(depth);
            if among & bit != 0 && rest.next() == Some(name.to_bytes()) {
                match rest.next() {
                    None => is_writable = true,
                    Some(_deeper) => beneath |= bit,
                }
            }
        }
        let place =
            openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let kind = super::resolve::kind(place.as_fd())?;
        if is_writable || !matches!(kind, FileType::Directory | FileType::RegularFile) {
            continue;
        }
        rules = if beneath != 0 && kind == FileType::Directory {
            execute_beside(rules, place.as_fd(), depth + 1, beneath, writable)?
        } else {
            allow(rules, place.as_fd(), AccessFs::Execute.into())?
        };
    }
    Ok(rules)
}

/// The kernel's reason at the bottom of the crate's.
pub(crate) fn reason(error: RulesetError) -> Errno {
    let first: &(dyn Error + 'static) = &error;
    let mut causes = std::iter::successors(Some(first), |cause| (*cause).source());
    let errno = |cause: &(dyn Error + 'static)| Errno::from_io_error(cause.downcast_ref::<std::io::Error>()?);
    causes.find_map(errno).unwrap_or(Errno::OPNOTSUPP)
}
