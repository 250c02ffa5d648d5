//! Pods, networks, volumes and the process's settings, as root and as a user alike.

use std::path::Path;

use casemate_tests::engine::{Case, IMAGE};
use casemate_tests::{cases, wait_until};

use crate::Podman;

pub const CASES: &[Case<Podman>] = cases![
    a_pod_shares_namespaces,
    network_modes,
    init_reaps,
    healthcheck_runs,
    descriptors_are_preserved,
    process_settings,
    capabilities_are_dropped,
    no_new_privileges,
    seccomp_by_default,
    seccomp_unconfined,
    read_only_root,
    masked_paths,
    devices_given,
    volumes_and_tmpfs,
];

fn a_pod_shares_namespaces(podman: &Podman) {
    let parent = format!("--cgroup-parent=/{}", podman.world.id());
    let infra = ["--infra-image", IMAGE, "--infra-command", "/bin/sleep 1000", "--network", "none"];
    let parent = if podman.rootless { &[][..] } else { &[parent.as_str()][..] };
    podman.ok(&[&["pod", "create", "--name", "pod"], parent, &infra[..]].concat());
    podman.background("pod-first", &["--pod", "pod"], "hostname shared 2>/dev/null; exec sleep 1000");
    let names =
        "cd /proc/self/ns; readlink net ipc uts 2>/dev/null || for n in net ipc uts; do readlink $n; done";
    let first = podman.ok(&["exec", "pod-first", "sh", "-c", names]);
    assert_eq!(podman.sh(&["--pod", "pod"], names), first);
    assert_ne!(podman.sh(&[], names), first);
    assert_eq!(podman.ok(&["pod", "inspect", "--format", "{{.State}}", "pod"]), "Running");
    podman.ok(&["pod", "stop", "-t", "0", "pod"]);
    podman.ok(&["pod", "rm", "-f", "pod"]);
}

fn network_modes(podman: &Podman) {
    assert_eq!(podman.sh(&["--network", "none"], "ls /sys/class/net"), "lo");
    let host = podman.world.inside(["readlink", "/proc/self/ns/net"]).run().ok().text();
    assert_eq!(podman.sh(&["--network", "host"], "readlink /proc/self/ns/net"), host);
    podman.background("net", &[], "exec sleep 1000");
    let own = podman.ok(&["exec", "net", "readlink", "/proc/self/ns/net"]);
    assert_eq!(podman.sh(&["--network", "container:net"], "readlink /proc/self/ns/net"), own);
    podman.remove("net");
}

fn init_reaps(podman: &Podman) {
    let init = ["/usr/bin/docker-init", "/usr/sbin/docker-init", "/usr/libexec/docker/docker-init"];
    let Some(init) = init.into_iter().find(|path| Path::new(path).is_file()) else {
        return casemate_tests::skip("no docker-init");
    };
    let text = podman
        .sh(&["--init", "--init-path", init], "(sleep 0.1 &); sleep 0.3; ps -o stat | grep -c ^Z; echo $$");
    assert!(text.starts_with("0\n") && text != "0\n1", "{text}");
}

fn healthcheck_runs(podman: &Podman) {
    let flags = ["--health-cmd", "test -e /tmp/ok", "--health-interval", "disable"];
    podman.background("health", &flags, "touch /tmp/ok; exec sleep 1000");
    wait_until("it is healthy", || podman.command(["healthcheck", "run", "health"]).run().success());
    podman.ok(&["exec", "health", "rm", "/tmp/ok"]);
    podman.command(["healthcheck", "run", "health"]).run().fails_with(1);
    podman.remove("health");
}

fn descriptors_are_preserved(podman: &Podman) {
    let file = podman.world.dir().join("passed");
    std::fs::write(&file, "through descriptor 3\n").expect("write a file");
    let args =
        podman.run_args(&["--rm", "--preserve-fds", "1"], &["sh", "-c", "cat <&3; ls /proc/self/fd | wc -l"]);
    let prepare = format!("exec 3<{}", file.display());
    let output = podman.command(args).prepared(&prepare).run().ok();
    // 0, 1, 2, the one passed and the directory that ls reads.
    assert_eq!(output.text(), "through descriptor 3\n5");
    assert_eq!(podman.run(&[], &["ls", "/proc/self/fd"]).ok().text(), "0\n1\n2\n3");
}

fn process_settings(podman: &Podman) {
    assert_eq!(podman.sh(&["--umask", "0077"], "umask"), "0077");
    // runc 1.1 reads no personality.
    if podman.runtime.is_ours() {
        assert_eq!(podman.sh(&["--personality", "LINUX32"], "uname -m"), "i686");
    }
    // Left alone, Podman would raise the number of processes beyond what this host may allow.
    let limits = ["--ulimit", "nofile=100:200", "--ulimit", "nproc=50:50"];
    assert_eq!(podman.sh(&limits, "ulimit -Sn; ulimit -Hn; ulimit -u"), "100\n200\n50");
    assert_eq!(podman.sh(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500");
    assert_eq!(podman.sh(&["--hostname", "named", "--workdir", "/tmp"], "hostname; pwd"), "named\n/tmp");
    assert_eq!(podman.sh(&["--user", "1000:1001"], "id -u; id -g"), "1000\n1001");
    assert_eq!(
        podman.sh(&["--sysctl", "net.ipv4.ip_default_ttl=33"], "cat /proc/sys/net/ipv4/ip_default_ttl"),
        "33"
    );
}

fn status(podman: &Podman, flags: &[&str], name: &str) -> String {
    podman.sh(flags, &format!("grep ^{name}: /proc/self/status | cut -f2"))
}

fn capabilities_are_dropped(podman: &Podman) {
    assert_eq!(status(podman, &["--cap-drop", "all"], "CapBnd"), "0000000000000000");
    assert_eq!(status(podman, &["--cap-drop", "all", "--cap-add", "chown"], "CapEff"), "0000000000000001");
}

fn no_new_privileges(podman: &Podman) {
    assert_eq!(status(podman, &["--security-opt", "no-new-privileges"], "NoNewPrivs"), "1");
}

fn seccomp_by_default(podman: &Podman) {
    assert_eq!(status(podman, &[], "Seccomp"), "2");
}

fn seccomp_unconfined(podman: &Podman) {
    assert_eq!(status(podman, &["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
}

fn read_only_root(podman: &Podman) {
    let script = "echo x 2>/dev/null >/x || echo refused; echo y >/tmp/y";
    assert_eq!(podman.sh(&["--read-only"], script), "refused");
}

fn masked_paths(podman: &Podman) {
    assert_eq!(
        podman.sh(&[], "head -c 1 /proc/kcore 2>/dev/null | wc -c; ls /proc/scsi 2>/dev/null | wc -l"),
        "0\n0"
    );
}

fn devices_given(podman: &Podman) {
    assert_eq!(podman.sh(&["--device", "/dev/fuse"], ": <>/dev/fuse && echo opened"), "opened");
}

fn volumes_and_tmpfs(podman: &Podman) {
    let dir = podman.world.make_dir("bind");
    std::fs::write(dir.join("file"), "of the host\n").expect("write a file");
    let mount = format!("{}:/data:ro", dir.display());
    assert_eq!(
        podman.sh(&["-v", &mount], "cat /data/file; touch /data/x 2>/dev/null || echo refused"),
        "of the host\nrefused"
    );
    podman.sh(&["-v", "named:/v"], "echo kept >/v/f");
    assert_eq!(podman.sh(&["-v", "named:/v"], "cat /v/f"), "kept");
    let tmpfs = ["--tmpfs", "/t:size=1m,mode=1770,noexec"];
    let text = podman.sh(&tmpfs, "stat -c %a /t; awk '$2==\"/t\" {print $4}' /proc/mounts");
    assert!(text.starts_with("1770\n") && text.contains("noexec") && text.contains("size=1024k"), "{text}");
    // What lies below the mount point in the image is copied up, which only the runtime can do.
    let copied = podman.sh(&["--mount", "type=tmpfs,dst=/etc/"], "grep -c root: /etc/passwd");
    assert_eq!(copied, "1");
}
