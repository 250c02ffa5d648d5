//! Who the process becomes, under which limits, and what it runs.

use std::ffi::CString;
use std::fmt;

use super::house::At;
use crate::sys::sched::SchedAttr;
use crate::sys::seccomp::Instruction;

/// The process of a container, or one that enters it.
#[derive(Debug, Clone, PartialEq)]
pub struct Process {
    /// What it runs.
    pub program: Program,
    /// Its working directory inside the root.
    pub cwd: CString,
    /// A pseudo-terminal as standard streams.
    pub terminal: Option<Terminal>,
    /// User and groups.
    pub identity: Identity,
    /// The five sets, capabilities(7).
    pub capabilities: Capabilities,
    /// setrlimit(2).
    pub limits: Vec<Limit>,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// sched_setattr(2).
    pub scheduler: Option<SchedAttr>,
    /// ioprio_set(2).
    pub io_priority: Option<IoPriority>,
    /// CPUs it may run on while it is set up and joins its control groups (exec only).
    pub affinity_initial: Option<Vec<usize>>,
    /// CPUs it may run on afterwards (exec only).
    pub affinity_final: Option<Vec<usize>>,
    /// set_mempolicy(2).
    pub memory_policy: Option<MemoryPolicy>,
    /// personality(2).
    pub personality: Option<u32>,
    /// The name of its new session keyring.
    pub keyring: Option<CString>,
    /// The security label of the next image.
    pub label: Option<Label>,
    /// The Landlock domain.
    pub landlock: Option<Landlock>,
    /// System call filters, loaded in this order.
    pub filters: Vec<Filter>,
    /// Descriptors from 3 on that it keeps.
    pub preserve_fds: u32,
}

/// The program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// As the configuration names it.
    pub shown: String,
    /// Where to look, in order: one path, or the name in each directory of `PATH`.
    pub candidates: Vec<CString>,
    /// The candidates come from `PATH`.
    pub searched: bool,
    /// Arguments.
    pub argv: Vec<CString>,
    /// Environment.
    pub envp: Vec<CString>,
    /// `HOME` is not in the environment: it is looked up in the container's `/etc/passwd`.
    pub find_home: bool,
}

/// A pseudo-terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Rows and columns in characters, where the configuration gives them.
    pub size: Option<(u16, u16)>,
}

/// User, groups, file mode mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Groups,
    /// umask(2).
    pub umask: Option<u32>,
}

/// Supplementary groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// Exactly these.
    Set(Vec<u32>),
    /// As they are: an unprivileged user's namespace denies setgroups(2), user_namespaces(7).
    Keep,
}

/// Capability sets as bit masks, capability 0 lowest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Upper bound over execve(2).
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// May be made effective.
    pub permitted: u64,
    /// Kept over execve(2) by a file that asks.
    pub inheritable: u64,
    /// Kept over execve(2) without asking.
    pub ambient: u64,
}

/// A resource limit, setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_*`.
    pub resource: rustix::process::Resource,
    /// Its name, as in `RLIMIT_NOFILE`.
    pub name: &'static str,
    /// In force.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}:{}", self.name, self.soft, self.hard)
    }
}

/// I/O scheduling, ioprio_set(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoPriority {
    /// 1 real time, 2 best effort, 3 idle.
    pub class: u8,
    /// 0 (first) to 7.
    pub priority: u8,
}

/// A memory policy, set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// `MPOL_*` with its `MPOL_F_*` flags.
    pub mode: u32,
    /// Nodes, bit 0 the first.
    pub nodes: Vec<u64>,
}

/// A security label, written beneath a procfs proven genuine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// `self/attr/exec`, or a module's own directory.
    pub path: CString,
    /// Its text.
    pub text: CString,
}

/// A Landlock domain: what is beneath the root may be read and executed, and written beneath the named places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landlock {
    /// The ABI whose rights are restricted, 1 to 7; the kernel must have it.
    pub abi: u32,
    /// What may be written, and what is beneath.
    pub writable: Vec<At>,
    /// What may be written may not be executed.
    pub write_xor_execute: bool,
    /// TCP ports that may be bound; all without a list (ABI 4).
    pub bind: Option<Vec<u16>>,
    /// TCP ports that may be connected to; all without a list (ABI 4).
    pub connect: Option<Vec<u16>>,
    /// No abstract Unix sockets of processes outside of the domain (ABI 6).
    pub scope_abstract_sockets: bool,
    /// No signals to processes outside of the domain (ABI 6).
    pub scope_signals: bool,
}

/// A compiled system call filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Classic BPF.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// Some rules notify: the listener is handed to whoever starts the process.
    pub listen: bool,
}

/// A hook that the child runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Absolute path.
    pub path: CString,
    /// Arguments; the path where the configuration gives none.
    pub argv: Vec<CString>,
    /// Environment.
    pub envp: Vec<CString>,
    /// Seconds it may take.
    pub timeout: Option<u32>,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path.to_string_lossy())
    }
}
