//! A container's birth as plain data: what will be done, in order, and nothing that is not listed here.
//!
//! The runtime makes a [`Plan`] from an admitted configuration, prints it for a reviewer, and hands it to
//! [`crate::birth`]. Each stage has step types of its own, so a step cannot stand in the wrong stage.

use std::ffi::CStr;

mod furnish;
mod house;
mod process;
mod spaces;

pub use furnish::Furnish;
pub use house::{At, Device, From, House, Link, Mount, Node, Source};
pub use process::{
    Capabilities, Filter, Groups, Hook, Identity, IoPriority, Label, Landlock, Limit, MemoryPolicy, Process,
    Program, Terminal,
};
pub use spaces::{IdMap, Maps, Space, Spaces};

/// All steps from the birth of a process to its `execve(2)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The namespaces it lives in.
    pub spaces: Spaces,
    /// The process is moved to its control groups from outside, and waits for that: systemd makes a scope around a
    /// process that is there already.
    pub adopted: bool,
    /// Mount trees opened on the host before the birth; steps refer to them by index.
    pub sources: Vec<Source>,
    /// What is set up before the root is entered.
    pub house: Vec<House>,
    /// The runtime has hooks to run between housing and entering (`prestart`, `createRuntime`).
    pub pause_for_hooks: bool,
    /// Run by the child before it enters its root (`createContainer`).
    pub create_hooks: Vec<Hook>,
    /// How the root is entered.
    pub enter: Enter,
    /// What is set up inside the root.
    pub furnish: Vec<Furnish>,
    /// Run by the child when it is told to start (`startContainer`).
    pub start_hooks: Vec<Hook>,
    /// Who the process becomes and what it runs.
    pub process: Process,
}

impl Plan {
    /// Whether a kernel parameter belongs to a network namespace that the container's user namespace does not own: it is
    /// set before the container's ids are taken on.
    pub fn is_set_early(&self, parameter: &CStr) -> bool {
        let foreign = self.spaces.makes(Space::User) && self.spaces.joins(Space::Network);
        foreign && parameter.to_bytes().starts_with(b"sys/net/")
    }
}

/// How the new root is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enter {
    /// pivot_root(2), the old root detached.
    Pivot,
    /// The new root moved over `/` and chroot(2): for hosts whose root is an initramfs (`--no-pivot`).
    Move,
    /// chroot(2) alone: a container without a mount namespace of its own.
    Chroot(Root),
    /// Nothing: the joined mount namespace brings its root.
    Stay,
}

/// Marks the container's root directory: the first of the plan's sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root;
