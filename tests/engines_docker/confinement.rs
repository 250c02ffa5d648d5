//! Who the process is and what it may: users, capabilities, seccomp, no_new_privs, devices, masked paths.

use casemate_tests::cases;
use casemate_tests::engine::Case;
use casemate_tests::engine_docker::Docker;

pub const CASES: &[Case<Docker>] = cases![
    user_and_groups,
    capabilities_by_default_and_dropped,
    capabilities_added,
    no_new_privileges,
    seccomp_default_and_file,
    seccomp_unconfined,
    privileged_gets_everything,
    read_only_root,
    masked_and_read_only_paths,
    masked_paths_laid_open,
    devices_given,
    devices_withheld,
    ulimits,
    sysctls,
    oom_score,
    only_three_descriptors,
];

fn status(docker: &Docker, flags: &[&str], field: &str) -> String {
    let text = docker.run(flags, &["grep", &format!("^{field}:"), "/proc/self/status"]).ok().text();
    text.rsplit(['\t', ' ']).next().unwrap_or_default().to_owned()
}

fn user_and_groups(docker: &Docker) {
    let id = |flags: &[&str]| docker.sh(flags, "echo $(id -u) $(id -g) $(id -G)");
    assert_eq!(id(&["--user", "user"]), "1000 1000 1000 1001");
    assert_eq!(id(&["--user", "1234:99"]), "1234 99 99");
    assert_eq!(
        id(&["--user", "1234:99", "--group-add", "777", "--group-add", "extra"]),
        "1234 99 99 777 1001"
    );
    assert_eq!(
        docker.sh(&["--user", "user"], "echo $HOME; echo x 2>/dev/null >/etc/x || echo refused"),
        "/home/user\nrefused"
    );
    docker.run(&["--user", "user"], &["sh", "-c", "echo x >/dev/stdout; echo y >/proc/self/fd/2"]).ok();
}

fn capabilities_by_default_and_dropped(docker: &Docker) {
    assert_eq!(status(docker, &[], "CapEff"), "00000000a80425fb");
    assert_eq!(status(docker, &[], "CapBnd"), "00000000a80425fb");
    assert_eq!(status(docker, &["--cap-drop", "ALL"], "CapBnd"), "0000000000000000");
    assert_eq!(status(docker, &["--cap-drop", "ALL", "--cap-add", "CHOWN"], "CapPrm"), "0000000000000001");
    let refused =
        docker.sh(&[], "mount -t tmpfs none /tmp 2>&1 || echo refused; chown 1 /etc/passwd && echo owned");
    assert!(refused.ends_with("refused\nowned"), "{refused}");
    docker.run(&["--cap-drop", "CHOWN"], &["chown", "1", "/etc/passwd"]).fails_with(1);
}

fn capabilities_added(docker: &Docker) {
    assert_eq!(
        status(docker, &["--cap-add", "SYS_ADMIN", "--cap-drop", "KILL"], "CapEff"),
        "00000000a82425db"
    );
    docker.sh(&["--cap-add", "SYS_ADMIN"], "mount -t tmpfs none /tmp && umount /tmp");
}

fn no_new_privileges(docker: &Docker) {
    assert_eq!(status(docker, &[], "NoNewPrivs"), "0");
    let flags = &["--security-opt", "no-new-privileges", "--user", "user"];
    assert_eq!(status(docker, flags, "NoNewPrivs"), "1");
    assert_eq!(status(docker, &["--security-opt", "no-new-privileges"], "Seccomp"), "2");
}

fn seccomp_default_and_file(docker: &Docker) {
    assert_eq!(status(docker, &[], "Seccomp"), "2");
    // Docker's default profile refuses unshare(CLONE_NEWUSER) to those without CAP_SYS_ADMIN.
    let unshare = ["unshare", "-U", "true"];
    docker.run(&[], &unshare).fails_with(1).fails_saying(&["Operation not permitted"]);
    let profile = docker.world().dir().join("profile.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28},
        {"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":10,"op":"SCMP_CMP_EQ"}]}]}"#;
    std::fs::write(&profile, text).expect("write a profile");
    let option = format!("seccomp={}", profile.display());
    let flags = ["--security-opt", option.as_str()];
    docker.run(&flags, &["mkdir", "/x"]).fails_saying(&["No space left on device"]);
    let said =
        docker.sh(&flags, "trap 'echo usr2' USR2; kill -USR1 $$ 2>/dev/null || echo refused; kill -USR2 $$");
    assert_eq!(said, "refused\nusr2");
}

fn seccomp_unconfined(docker: &Docker) {
    let unconfined = ["--security-opt", "seccomp=unconfined"];
    assert_eq!(status(docker, &unconfined, "Seccomp"), "0");
    docker.run(&unconfined, &["unshare", "-U", "true"]).ok();
}

fn privileged_gets_everything(docker: &Docker) {
    let privileged = ["--privileged"];
    if !docker.grants_all() {
        return;
    }
    // dockerd 20.10 knows no capability after CAP_AUDIT_READ (37).
    let known = Docker::bounding_set() & ((1 << 38) - 1);
    assert_eq!(status(docker, &privileged, "CapEff"), format!("{known:016x}"));
    assert_eq!(status(docker, &privileged, "Seccomp"), "0");
    docker
        .sh(&privileged, "mount -t tmpfs none /mnt 2>/dev/null || { mkdir /mnt; mount -t tmpfs none /mnt; }");
    docker.sh(&privileged, "test -c /dev/kmsg -a -c /dev/loop-control && head -c 0 /dev/kmsg");
    docker.sh(&privileged, "grep -q ' /sys sysfs rw' /proc/mounts && ! grep -q ' /proc/sys ' /proc/mounts");
    docker.sh(&privileged, "mknod /tmp/kmsg c 1 11 && head -c 0 /tmp/kmsg");
}

fn read_only_root(docker: &Docker) {
    let flags = ["--read-only", "--tmpfs", "/tmp", "-v", "/data"];
    let script = "echo x 2>/dev/null >/file || echo refused; echo x >/tmp/file; echo y >/data/file; echo z >/dev/shm/f";
    assert_eq!(docker.sh(&flags, script), "refused");
}

fn masked_and_read_only_paths(docker: &Docker) {
    let script = "head -c 1 /proc/kcore | wc -c; ls /proc/acpi /sys/firmware 2>/dev/null | grep -v : | grep -c .; \
                  echo x 2>/dev/null >/proc/sys/kernel/domainname || echo refused; cat /proc/keys | wc -c";
    let text = docker.run(&[], &["sh", "-c", script]).text();
    assert_eq!(text, "0\n0\nrefused\n0");
}

fn masked_paths_laid_open(docker: &Docker) {
    let bare =
        docker.sh(&["--security-opt", "systempaths=unconfined"], "grep -c ' /proc/' /proc/mounts || true");
    assert_eq!(bare, "0");
}

fn devices_given(docker: &Docker) {
    let listed = docker.sh(&[], "ls /dev | tr '\\n' ' '");
    for name in [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ] {
        assert!(listed.split(' ').any(|n| n == name), "no /dev/{name} in {listed}");
    }
    docker.sh(&["--user", "user"], "echo x >/dev/null; head -c 4 /dev/urandom | wc -c; head -c 1 /dev/zero");
    let given = ["--device", "/dev/fuse:/dev/renamed:rw"];
    assert_eq!(
        docker.sh(&given, "stat -c %t:%T /dev/renamed; : <>/dev/renamed && echo opened"),
        "a:e5\nopened"
    );
}

fn devices_withheld(docker: &Docker) {
    // A node may be made with CAP_MKNOD, which Docker gives; the device controller refuses its use.
    let script = "mknod /tmp/loop c 10 237; (: </tmp/loop) 2>&1 | grep -o 'Operation not permitted'";
    assert_eq!(docker.sh(&[], script), "Operation not permitted");
    let rule = ["--device-cgroup-rule", "c 10:237 rwm"];
    docker.sh(&rule, "mknod /tmp/loop c 10 237; : </tmp/loop");
    let read_only = ["--device", "/dev/fuse:/dev/fuse:r"];
    assert_eq!(
        docker.sh(&read_only, "(: >/dev/fuse) 2>&1 | grep -o 'Operation not permitted'"),
        "Operation not permitted"
    );
}

fn ulimits(docker: &Docker) {
    let flags = ["--ulimit", "nofile=321:654", "--ulimit", "core=0", "--ulimit", "nproc=99"];
    let text = docker.sh(&flags, "ulimit -Sn; ulimit -Hn; ulimit -c; ulimit -u");
    assert_eq!(text, "321\n654\n0\n99");
}

fn sysctls(docker: &Docker) {
    let flags = ["--sysctl", "net.ipv4.ip_forward=0", "--sysctl", "kernel.msgmax=9999"];
    let text = docker.sh(&flags, "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax");
    assert_eq!(text, "0\n9999");
    let missing = docker.run(&["--sysctl", "net.ipv4.nosuch=1"], &["true"]);
    assert!((125..=127).contains(&missing.code()), "{missing}");
    missing.fails_saying(&["net/ipv4/nosuch"]);
}

fn oom_score(docker: &Docker) {
    assert_eq!(docker.sh(&["--oom-score-adj", "321"], "cat /proc/self/oom_score_adj"), "321");
}

fn only_three_descriptors(docker: &Docker) {
    // The fourth is the directory `ls` itself reads.
    assert_eq!(docker.run(&[], &["ls", "/proc/self/fd"]).ok().text(), "0\n1\n2\n3");
    let container = docker.sleeper("descriptors", &[]);
    assert_eq!(container.exec(&[], &["ls", "/proc/self/fd"]).ok().text(), "0\n1\n2\n3");
    assert_eq!(container.sh("ls /proc/1/fd | tr '\\n' ' '"), "0 1 2");
}
