//! Podman under policies: what is left out, case by case with the reason, and what `hardened` adds.

use casemate_tests::cases;
use casemate_tests::engine::Case;

use crate::Podman;

const HOST: &str = "shares a namespace of the host";
const READ_ONLY: &str = "writes to the root filesystem, which is read-only";

/// Baseline is what Docker gives, in ids of the container's own.
pub const NOT_UNDER_BASELINE: &[(&str, &str)] =
    &[("seccomp_unconfined", "asks for no seccomp filter"), ("privileged_mounts", "asks for everything")];

/// Hardened besides keeps the root filesystem as it is.
pub const NOT_UNDER_HARDENED: &[(&str, &str)] = &[
    ("seccomp_unconfined", "asks for no seccomp filter"),
    ("privileged_mounts", "asks for everything"),
    ("devices_given", "asks for a device of the host"),
    ("network_modes", HOST),
    ("restart_cp_logs_top", READ_ONLY),
];

/// A user's containers are in the user's own namespace already.
pub const NOT_ROOTLESS_UNDER_BASELINE: &[(&str, &str)] =
    &[("seccomp_unconfined", "asks for no seccomp filter")];

/// The same, with a read-only root filesystem.
pub const NOT_ROOTLESS_UNDER_HARDENED: &[(&str, &str)] = &[
    ("seccomp_unconfined", "asks for no seccomp filter"),
    ("devices_given", "asks for a device of the host"),
    ("network_modes", HOST),
    ("restart_cp_logs_top", READ_ONLY),
];

/// What `hardened` enforces without being asked.
pub const HARDENED: &[Case<Podman>] = cases![
    every_container_has_its_own_ids,
    what_a_process_may_do,
    only_scratch_is_writable,
    volumes_keep_their_owners,
    the_host_is_refused_in_words,
];

fn every_container_has_its_own_ids(podman: &Podman) {
    let first = || {
        let map = podman.sh(&["-u", "user"], "tr -s ' ' </proc/self/uid_map; id -u");
        let [map, user] = map.lines().collect::<Vec<_>>()[..] else { panic!("{map}") };
        assert_eq!(user, "1000");
        map.split_whitespace().nth(1).and_then(|id| id.parse::<u32>().ok()).expect("an id")
    };
    podman.background("ids", &[], "exec sleep 1000");
    let (kept, other) = (podman.ok(&["exec", "ids", "cat", "/proc/self/uid_map"]), first());
    assert!(other > 65535 && !kept.contains(&other.to_string()), "{kept}: {other}");
    podman.remove("ids");
}

fn what_a_process_may_do(podman: &Podman) {
    let fields = |flags: &[&str]| {
        podman.sh(flags, "grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | cut -f2")
    };
    assert_eq!(fields(&["--cap-add", "SYS_ADMIN"]), "00000000000004fb\n1\n2");
    assert_eq!(fields(&["--security-opt", "seccomp=unconfined"]), "00000000000004fb\n1\n2");
}

fn only_scratch_is_writable(podman: &Podman) {
    let script = "for dir in / /etc /bin /root /var; do touch $dir/x 2>/dev/null && echo $dir; done; \
                  for dir in /tmp /run /var/tmp /dev/shm; do touch $dir/x || echo not $dir; done";
    assert_eq!(podman.sh(&[], script), "");
}

fn volumes_keep_their_owners(podman: &Podman) {
    podman.sh(&["-v", "owned:/data"], "chown user:user /data; touch /data/root");
    podman.sh(&["-v", "owned:/data", "-u", "user"], "echo mine >/data/mine");
    assert_eq!(podman.sh(&["-v", "owned:/data"], "cd /data; stat -c %n:%u mine root"), "mine:1000\nroot:0");
}

fn the_host_is_refused_in_words(podman: &Podman) {
    for (flags, word) in [
        (&["--network", "host"][..], "network"),
        (&["--pid", "host"], "pid"),
        (&["--privileged"], "hardened"),
    ] {
        let output = podman.run(flags, &["true"]);
        let said = output.stderr();
        assert!(
            !output.success() && said.contains("policy hardened denies") && said.contains(word),
            "{output}"
        );
    }
}
