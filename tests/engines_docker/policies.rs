//! What people do to the letter of the bundle and no longer under a policy, case by case, each with the reason.

const NEW_CAPABILITY: &str = "asks for a capability that Docker does not give by default";
const SECCOMP: &str = "asks for no seccomp filter";
const EVERYTHING: &str = "asks for everything";
const NODES: &str = "makes device nodes, which no user namespace but the host's lets anyone do";
const OPEN: &str = "asks for the kernel's files without masks";
const READ_ONLY: &str = "writes to the root filesystem, which is read-only";
const HOST: &str = "shares a namespace of the host";

/// Baseline is what Docker gives, in ids of the container's own.
pub const NOT_UNDER_BASELINE: &[(&str, &str)] = &[
    ("capabilities_added", NEW_CAPABILITY),
    ("seccomp_unconfined", SECCOMP),
    ("privileged_gets_everything", EVERYTHING),
    ("masked_paths_laid_open", OPEN),
    ("devices_withheld", NODES),
    ("exec_privileged", EVERYTHING),
    ("propagation", "mounts from inside, into the host"),
    ("pid_of_the_host", HOST),
    ("all_of_the_host", HOST),
    ("unlimited_by_default", "expects no limit"),
];

/// Hardened besides keeps the root filesystem as it is.
pub const NOT_UNDER_HARDENED: &[(&str, &str)] = &[
    ("capabilities_by_default_and_dropped", "expects Docker's capabilities"),
    ("capabilities_added", NEW_CAPABILITY),
    ("no_new_privileges", "expects no_new_privs to be off"),
    ("seccomp_unconfined", SECCOMP),
    ("privileged_gets_everything", EVERYTHING),
    ("masked_paths_laid_open", OPEN),
    ("devices_given", "asks for a device of the host"),
    ("devices_withheld", NODES),
    ("exec_privileged", EVERYTHING),
    ("propagation", "mounts from inside, into the host"),
    ("unlimited_by_default", "expects no limit"),
    ("restart_and_start_again", READ_ONLY),
    ("build_runs_its_steps", READ_ONLY),
    ("commit_and_rename", READ_ONLY),
    ("mounts_over_symlinks_stay_inside", READ_ONLY),
    ("cp_both_ways", "copies below a tmpfs, of which the daemon does not know"),
    ("cgroup_namespaces", HOST),
    ("cgroup_parent_is_used", "looks at control groups from within a namespace of the host"),
    ("net_host", HOST),
    ("pid_of_the_host", HOST),
    ("ipc_host", HOST),
    ("uts_host", HOST),
    ("all_of_the_host", HOST),
];

/// A daemon with ids of its own for containers: they are kept, and root of the host is still not given.
pub const NOT_REMAPPED: &[(&str, &str)] = &[
    ("network_is_administered", NEW_CAPABILITY),
    ("users_of_the_host_on_request", "asks for the host's ids"),
];
