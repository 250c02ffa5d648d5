//! What a policy demands and the OCI configuration has no words for.

use oci_spec::runtime::LinuxSeccomp;

/// Confinement beside the configuration; the runtime enforces it with the configuration or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Confinement {
    /// Whose ids the container's are.
    pub user_namespace: UserNamespace,
    /// Landlock rules of every process of the container (landlock(7)); none where nothing is asked.
    pub landlock: Option<Landlock>,
    /// The policy's filters, to be loaded before the bundle's own: of several answers the kernel takes the strictest.
    pub filters: Vec<LinuxSeccomp>,
}

/// Whose ids the container's are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UserNamespace {
    /// As the configuration says.
    #[default]
    AsAsked,
    /// A range of 65,536 ids that no other container has. The configuration holds a new user namespace without
    /// mappings; whoever allocates the range fills them in.
    Own {
        /// What to do where the kernel or the file system cannot.
        fallback: Fallback,
    },
}

/// What happens where a range of its own cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The container does not start.
    Refuse,
    /// It runs with the host's ids, and its state says so.
    Host,
}

/// What a process may do to files, TCP ports and processes outside (landlock(7)). Reading and executing is free
/// beneath the root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landlock {
    /// Absolute paths inside the container beneath which anything may be written; `/` when the root is writable.
    pub writable: Vec<String>,
    /// What is writable is not executable.
    pub write_xor_execute: bool,
    /// TCP ports that may be bound; not restricted when none.
    pub bind_tcp: Option<Vec<u16>>,
    /// TCP ports that may be connected to; not restricted when none.
    pub connect_tcp: Option<Vec<u16>>,
    /// Abstract UNIX sockets of processes outside cannot be connected to.
    pub scope_abstract_sockets: bool,
    /// Processes outside cannot be sent signals.
    pub scope_signals: bool,
    /// What to do where the kernel lacks one of these.
    pub missing: Missing,
}

/// What happens where the kernel lacks a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The container starts, and its state says what is not enforced.
    Report,
    /// The container does not start.
    Refuse,
}
