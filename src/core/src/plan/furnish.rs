//! Furnishing: what is set after the root has been entered.

use std::ffi::CString;

use super::At;

/// A step of furnishing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Furnish {
    /// sethostname(2).
    Hostname(CString),
    /// setdomainname(2).
    Domainname(CString),
    /// A namespaced kernel parameter, written beneath a procfs proven genuine.
    Sysctl {
        /// Beneath `/proc`: `sys/net/ipv4/ip_forward`.
        path: CString,
        /// The value.
        value: CString,
    },
    /// A path becomes read-only; one that is not there is passed over.
    ReadonlyPath(At),
    /// A path is hidden: a file beneath the null device, a directory beneath an empty read-only filesystem.
    MaskedPath(At),
    /// The propagation of the root mount (`linux.rootfsPropagation`): `MS_*`, and for the tree beneath too.
    Propagation(u64, bool),
    /// The root mount becomes read-only.
    ReadonlyRoot,
}
