//! Failures of a birth in words: the child reports a place and a number, the plan has the words.

use casemate_core::birth::Failure;
use casemate_core::plan::Plan;
use casemate_core::report::{Fault, Stage};
use casemate_spec::Error;
use rustix::io::Errno;

use crate::log::{Cause, caused};
use crate::plan::describe;

/// What failed, in the words that engines look for.
pub fn explain(plan: &Plan, failure: Failure) -> Error {
    let error = match failure {
        Failure::Host { what, errno } => hinted(Error::os(what, errno.raw_os_error()), errno.raw_os_error()),
        Failure::IdMap { path, errno } => {
            let error = Error::os(format!("id-map mount source {path}"), errno.raw_os_error());
            match errno {
                // mount_setattr(2): what the filesystem must bring.
                Errno::INVAL => error.hint(
                    "its filesystem does not take id-maps on this kernel: ext4 and xfs do since Linux 5.12, \
                     btrfs 5.15, overlayfs layers 5.19, tmpfs 6.3",
                ),
                other => hinted(error, other.raw_os_error()),
            }
        }
        Failure::Child(fault) => of_fault(plan, &fault),
        Failure::Gone => Error::new("container init", "it died without a report")
            .hint("the kernel's log says whether it was killed for want of memory: the limit may be too low"),
    };
    error.within("unable to start container process")
}

fn of_fault(plan: &Plan, fault: &Fault) -> Error {
    let error = worded(plan, fault);
    match (fault.stage, Errno::from_raw_os_error(fault.errno.max(1))) {
        (Stage::Exec, Errno::NOENT | Errno::NOTDIR) => caused(error, Cause::NoProgram),
        (
            Stage::Exec,
            Errno::ACCESS | Errno::PERM | Errno::NOEXEC | Errno::ISDIR | Errno::TXTBSY | Errno::LOOP,
        ) => caused(error, Cause::NotExecutable),
        _ => error,
    }
}

fn worded(plan: &Plan, fault: &Fault) -> Error {
    let what = describe(plan, fault);
    match fault.stage {
        Stage::Exec if plan.process.program.searched && fault.errno == Errno::NOENT.raw_os_error() => {
            Error::new(what, "executable file not found in $PATH")
        }
        // The kernel says it of a script's interpreter and of a dynamic loader too.
        Stage::Exec if fault.errno == Errno::NOEXEC.raw_os_error() => Error::os(what, fault.errno)
            .hint("the file is neither a program for this machine nor a script with #!"),
        Stage::CreateHook | Stage::StartHook if fault.errno <= 0 => {
            Error::new(what, format!("exit status {}", fault.errno.unsigned_abs()))
        }
        Stage::Seal if fault.errno == Errno::ACCESS.raw_os_error() => Error::os(what, fault.errno)
            .hint("without noNewPrivileges a filter needs CAP_SYS_ADMIN over the container"),
        _ => hinted(Error::os(what, fault.errno), fault.errno),
    }
}

fn hinted(error: Error, errno: i32) -> Error {
    match Errno::from_raw_os_error(errno) {
        Errno::NOSYS => {
            error.hint("this kernel lacks the system call: docs/kernel-features.md says since when it exists")
        }
        _ => error,
    }
}
