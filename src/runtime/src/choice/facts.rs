//! What of this host a policy depends on; asked on the way to every container, so nothing here costs more than a
//! system call.

use casemate_core::sys::landlock;
use casemate_policy::HostFacts;
use casemate_spec::Host;
use rustix::thread::sched_getaffinity;

use crate::cli::Global;

/// The host's facts; `host` is what the specification's own rules depend on.
pub fn facts(global: &Global, host: Host) -> HostFacts {
    HostFacts {
        host,
        landlock_abi: landlock::abi(),
        kernel: kernel(),
        in_user_namespace: global.is_confined(),
        // A host that does not tell leaves the policy's limits on CPU time to be what they are without it.
        cpus: sched_getaffinity(None).map_or(0, |set| set.count()),
    }
}

fn kernel() -> (u32, u32) {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
