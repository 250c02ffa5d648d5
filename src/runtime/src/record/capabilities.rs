//! Which capabilities a workload needs: what the kernel asked for, or, where that cannot be traced, what its calls are
//! known to need.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::calls::NAMESPACES;
use super::seen::Seen;
use super::trace::{Event, Trace};
use casemate_spec::capability::NAMES;

const CAP_SYS_ADMIN: u8 = 21;

/// Calls that fail without CAP_SYS_ADMIN. The kernel asks for it in many more, such as every mmap(2), only to decide
/// whether memory kept back for administrators may be used.
const ADMINISTRATION: &[&str] = &[
    "bpf",
    "clone",
    "fanotify_init",
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "fsetxattr",
    "ioctl",
    "keyctl",
    "lsetxattr",
    "mount",
    "mount_setattr",
    "move_mount",
    "msgctl",
    "name_to_handle_at",
    "open_tree",
    "perf_event_open",
    "pivot_root",
    "prctl",
    "ptrace",
    "quotactl",
    "seccomp",
    "semctl",
    "setdomainname",
    "setns",
    "sethostname",
    "setxattr",
    "shmctl",
    "swapoff",
    "swapon",
    "syslog",
    "umount",
    "umount2",
    "unshare",
];

/// After so many calls the tracer is asked what it has to tell.
const BATCH: usize = 2048;
/// Threads that are remembered before those that are gone are forgotten.
const MANY: usize = 16_384;

/// Attributes what the tracer tells to the call that each thread was in.
#[derive(Debug, Default)]
pub struct Watch {
    trace: Option<Trace>,
    /// For each thread, when it made which call, oldest first.
    history: HashMap<u32, Vec<(u64, &'static str)>>,
    calls: usize,
}

impl Watch {
    /// With a tracer, or without one: then [`infer`] has to do.
    pub fn new(trace: Option<Trace>) -> Self {
        Self { trace, ..Self::default() }
    }

    /// Watches a process and all it starts.
    pub fn follow(&mut self, process: u32, seen: &mut Seen) {
        if let Some(trace) = &mut self.trace
            && let Err(error) = trace.follow(process)
        {
            seen.note(error.to_string());
            self.trace = None;
        }
    }

    /// Whether there is a tracer.
    pub fn traces(&self) -> bool {
        self.trace.is_some()
    }

    /// From `at`, in microseconds of the monotonic clock, `thread` is in the call `name`.
    pub fn enter(&mut self, at: u64, thread: u32, name: &'static str, value: Option<u64>, seen: &mut Seen) {
        if self.trace.is_none() {
            return;
        }
        // Without new namespaces clone(2) needs no capability.
        let name = if name == "clone" && value == Some(0) { "fork" } else { name };
        self.history.entry(thread).or_default().push((at, name));
        self.calls += 1;
        if self.calls >= BATCH {
            self.collect(seen);
        }
    }

    /// Takes in what the tracer has told since.
    pub fn collect(&mut self, seen: &mut Seen) {
        let Some(trace) = &mut self.trace else { return };
        let events = match trace.events() {
            Ok(events) => events,
            Err(error) => {
                seen.note(format!("{error}: capabilities may be missing"));
                self.trace = None;
                return;
            }
        };
        for event in events {
            match event {
                Event::Capability { at, thread, number } => {
                    let calls = self.history.get(&thread).map(Vec::as_slice).unwrap_or_default();
                    let call = calls.iter().rev().find(|(since, _)| *since <= at).map(|(_, name)| *name);
                    let call = call.unwrap_or("a call before it was watched");
                    if number != CAP_SYS_ADMIN || ADMINISTRATION.contains(&call) {
                        seen.capabilities.entry(number).or_insert(call);
                    }
                }
                Event::Lost => seen.note("the kernel lost trace events: capabilities may be missing"),
            }
        }
        self.forget();
    }

    /// What was told is told; a thread may still be in its last call.
    fn forget(&mut self) {
        self.calls = 0;
        if self.history.len() > MANY {
            self.history.retain(|thread, _| std::fs::exists(format!("/proc/{thread}")).unwrap_or(false));
        }
        for calls in self.history.values_mut() {
            calls.drain(..calls.len().saturating_sub(1));
        }
    }
}

/// What calls are known to need, for kernels that cannot tell. Too much rather than too little.
pub fn infer(seen: &Seen) -> BTreeMap<u8, &'static str> {
    #[rustfmt::skip]
    const KNOWN: &[(&[&str], &[&str])] = &[
        (&["chown", "lchown", "fchown", "fchownat", "chown32", "lchown32", "fchown32"], &["CAP_CHOWN", "CAP_FOWNER", "CAP_FSETID"]),
        (&["chmod", "fchmod", "fchmodat", "fchmodat2", "utimensat", "utime", "utimes"], &["CAP_FOWNER", "CAP_FSETID"]),
        (&["setuid", "setreuid", "setresuid", "setfsuid", "setuid32", "setresuid32"], &["CAP_SETUID"]),
        (&["setgid", "setregid", "setresgid", "setgroups", "setgid32", "setgroups32"], &["CAP_SETGID"]),
        (&["open", "openat", "openat2", "mkdir", "mkdirat", "unlink", "unlinkat", "rename"], &["CAP_DAC_OVERRIDE"]),
        (&["kill", "tkill", "tgkill", "rt_sigqueueinfo", "pidfd_send_signal"], &["CAP_KILL"]),
        (&["mknod", "mknodat"], &["CAP_MKNOD"]),
        (&["chroot"], &["CAP_SYS_CHROOT"]),
        (&["setxattr", "fsetxattr", "lsetxattr"], &["CAP_SETFCAP"]),
        (&["capset"], &["CAP_SETPCAP"]),
        (&["sched_setscheduler", "sched_setaffinity", "setpriority", "ioprio_set"], &["CAP_SYS_NICE"]),
        (&["setrlimit", "prlimit64"], &["CAP_SYS_RESOURCE"]),
        (&["mlock", "mlock2", "mlockall"], &["CAP_IPC_LOCK"]),
        (&["mount", "umount2", "pivot_root", "sethostname", "setdomainname", "unshare", "setns"], &["CAP_SYS_ADMIN"]),
        (&["ptrace", "process_vm_readv", "process_vm_writev"], &["CAP_SYS_PTRACE"]),
    ];
    let mut needed = BTreeMap::new();
    for (calls, capabilities) in KNOWN {
        let Some((made, _)) = seen.calls.iter().find(|(made, _)| calls.contains(made)) else { continue };
        needed.extend(capabilities.iter().filter_map(|name| Some((number(name)?, *made))));
    }
    // Families of packet(7) and raw(7); a port below 1024.
    let families = seen.calls.get("socket").map(|uses| &uses.values);
    if families.is_some_and(|families| [2, 10, 17].iter().any(|family| families.contains(family))) {
        needed.extend(number("CAP_NET_RAW").map(|raw| (raw, "socket")));
    }
    if seen.bound.iter().any(|port| (1..1024).contains(port)) {
        needed.extend(number("CAP_NET_BIND_SERVICE").map(|bind| (bind, "bind")));
    }
    if seen.calls.get("clone").is_some_and(|uses| uses.values.iter().any(|flags| flags & NAMESPACES != 0)) {
        needed.insert(CAP_SYS_ADMIN, "clone");
    }
    needed
}

/// The names of the capabilities that were needed, of those that the bundle gives.
pub fn names(
    needed: &BTreeMap<u8, &'static str>,
    given: &BTreeSet<String>,
) -> BTreeMap<&'static str, &'static str> {
    needed
        .iter()
        .filter_map(|(number, call)| Some((*NAMES.get(usize::from(*number))?, *call)))
        .filter(|(name, _)| given.contains(*name))
        .collect()
}

fn number(name: &str) -> Option<u8> {
    NAMES.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inferring_needs_the_call_and_the_gift() {
        let mut seen = Seen::default();
        seen.call("chown", None, String::new);
        seen.bound.insert(80);
        let given = ["CAP_CHOWN", "CAP_NET_BIND_SERVICE", "CAP_KILL"].map(str::to_owned).into();
        let names = names(&infer(&seen), &given);
        assert_eq!(names, BTreeMap::from([("CAP_CHOWN", "chown"), ("CAP_NET_BIND_SERVICE", "bind")]));
    }
}
