//! What a well-formed configuration may still not say: the specification's rules that cross fields.

use oci_spec::runtime::LinuxNamespaceType;

use crate::{Config, Violation};

/// What the rules need to know of the host; gathered by the caller, since this crate does no I/O.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The runtime is not root in its own user namespace (effective uid other than 0).
    pub rootless: bool,
    /// Namespaces the configuration joins by path that are the runtime's own (same device and inode as
    /// `/proc/self/ns/*`): nothing that is per namespace may be changed there.
    pub shared: Vec<LinuxNamespaceType>,
}

/// All rules that `config` breaks; empty when it is good.
pub fn validate(_config: &Config, _host: &Host) -> Vec<Violation> {
    Vec::new()
}
