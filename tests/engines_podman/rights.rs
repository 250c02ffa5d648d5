//! What only root gets from Podman, and what a user gets instead.

use std::path::Path;

use casemate_tests::engine::Case;
use casemate_tests::{cases, wait_until};

use crate::Podman;

pub const OF_ROOT: &[Case<Podman>] = cases![
    limits_reach_the_control_group,
    out_of_memory_kills,
    users_are_mapped,
    stats_are_counted,
    bridge_network,
    privileged_mounts,
    checkpoint_is_refused_in_words,
];

/// Podman opens its storage to other users while it starts these, and closes it while it starts any other.
pub const ALONE: &[Case<Podman>] = cases![users_are_kept];

pub const OF_A_USER: &[Case<Podman>] = cases![its_ids_are_the_users, slirp_network];

fn limits_reach_the_control_group(podman: &Podman) {
    let flags = ["--memory", "64m", "--pids-limit", "77", "--cpus", "0.5"];
    podman.background("limits", &flags, "exec sleep 1000");
    let read = |file: &str| {
        let dirs = podman.world.cgroups(|name| name.starts_with("libpod-"));
        let id = podman.inspect("limits", "{{.Id}}");
        let own = dirs.into_iter().filter(|dir| dir.ends_with(format!("libpod-{id}")));
        own.filter_map(|dir| std::fs::read_to_string(dir.join(file)).ok())
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    assert_eq!(read("memory.limit_in_bytes") + &read("memory.max"), "67108864");
    assert_eq!(read("pids.max"), "77");
    assert!((read("cpu.cfs_quota_us") + &read("cpu.max")).starts_with("50000"));
    podman.remove("limits");
}

fn out_of_memory_kills(podman: &Podman) {
    podman.run(&["--memory", "32m", "--memory-swap", "32m"], &["tail", "/dev/zero"]).fails_with(137);
}

fn users_are_mapped(podman: &Podman) {
    let flags = ["--uidmap", "0:300000:5000", "--gidmap", "0:300000:5000"];
    assert_eq!(
        podman.sh(&flags, "id -u; tr -s ' ' </proc/self/uid_map; stat -c %u /bin"),
        "0\n 0 300000 5000\n0"
    );
    podman.background("mapped", &flags, "exec sleep 1000");
    assert_eq!(podman.ok(&["exec", "-u", "user", "mapped", "id", "-u"]), "1000");
    podman.remove("mapped");
}

fn stats_are_counted(podman: &Podman) {
    podman.background(
        "stats",
        &["--memory", "64m"],
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=8; exec sleep 1000",
    );
    let line = || podman.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}};{{.PIDS}}", "stats"]);
    wait_until("its memory is counted", || {
        line().split('.').next().is_some_and(|mib| mib.parse::<u32>().is_ok_and(|mib| mib >= 8))
    });
    assert!(line().ends_with(";1"), "{}", line());
    podman.remove("stats");
}

fn bridge_network(podman: &Podman) {
    podman.background(
        "server",
        &["--network", "podman"],
        "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp",
    );
    let address = podman.inspect("server", "{{.NetworkSettings.IPAddress}}");
    let script =
        format!("for i in 1 2 3 4 5 6 7 8 9; do wget -q -O- http://{address}/ && break; sleep 0.2; done");
    assert_eq!(podman.sh(&["--network", "podman"], &script), "hello");
    podman.remove("server");
}

fn privileged_mounts(podman: &Podman) {
    podman.sh(&["--cap-add", "SYS_ADMIN"], "mount -t tmpfs none /tmp");
    podman.sh(&["--privileged"], "mount -t tmpfs none /tmp && grep -q ' /sys sysfs rw' /proc/mounts");
}

fn checkpoint_is_refused_in_words(podman: &Podman) {
    podman.background("checkpoint", &[], "exec sleep 1000");
    podman.command(["container", "checkpoint", "checkpoint"]).run().fails_saying(&["checkpoint"]);
    assert_eq!(podman.inspect("checkpoint", "{{.State.Status}}"), "running");
    podman.remove("checkpoint");
}

fn its_ids_are_the_users(podman: &Podman) {
    assert_eq!(podman.sh(&[], "id -u; tr -s ' ' </proc/self/uid_map"), "0\n 0 4711 1\n 1 400000 65536");
    podman.background("outside", &[], "exec sleep 1000");
    let pid = podman.inspect("outside", "{{.State.Pid}}");
    let status = podman.world.inside(["cat", &format!("/proc/{pid}/status")]).run().ok().text();
    assert!(status.contains("Uid:\t4711\t4711"), "{status}");
    podman.remove("outside");
}

fn users_are_kept(podman: &Podman) {
    assert_eq!(podman.sh(&["--userns", "keep-id"], "id -u; id -g"), "4711\n4711");
    assert_eq!(podman.sh(&["--userns", "nomap"], "id -u"), "0");
}

fn slirp_network(podman: &Podman) {
    if !Path::new("/dev/net/tun").exists() {
        return casemate_tests::skip("no /dev/net/tun");
    }
    let text = podman.sh(
        &["--network", "slirp4netns"],
        "ls /sys/class/net | tr '\\n' ' '; ip -4 -o addr show tap0 | wc -l",
    );
    assert_eq!(text, "lo tap0 1");
}
