//! The unit that is shipped: started, restarted, stopped by systemd, with containers that do not mind.

use std::fs;
use std::path::Path;
use std::process::Command;

use casemate_tests::wait_until;

use crate::Case;
use crate::fixture::Group;
use crate::host::Host;
use crate::site::{
    COUNTING, IMAGE, assert_counts, client, docker, inspect, run, succeeds, systemctl, try_docker, up,
    wait_for_daemon,
};

pub const CASES: &[Case] = &[
    Case { name: "unit_is_in_order", place: |h| h.daemon, run: unit_is_in_order },
    Case { name: "unit_serves_clients", place: |h| h.daemon, run: unit_serves_clients },
    Case { name: "restart_keeps_containers", place: |h| h.daemon, run: restart_keeps_containers },
];
/// It ends what the others need.
pub const LAST: &[Case] =
    &[Case { name: "stop_ends_everything", place: |h| h.daemon, run: stop_ends_everything }];

fn unit_is_in_order(_: &Host) {
    let analyze = |args: &[&str]| {
        let output = Command::new("systemd-analyze").args(args).output().expect("run systemd-analyze");
        let said = succeeds(&args.join(" "), &output);
        (said, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let unit = "/etc/systemd/system/casemate.service";
    let (said, errors) = analyze(&["verify", "--man=no", unit]);
    assert_eq!((said.as_str(), errors.as_str()), ("", ""));
    let (said, errors) = analyze(&["security", "--offline=yes", "--no-pager", unit]);
    assert!(
        said.contains("Overall exposure level for casemate.service") && errors.is_empty(),
        "{said}{errors}"
    );
}

fn unit_serves_clients(_: &Host) {
    up();
    assert_eq!(docker(&["run", "--rm", "--net", "none", IMAGE, "echo", "by docker"]), "by docker");
    let output = client("casemate", &["run", "--rm", IMAGE, "echo", "by casemate"]).output();
    assert_eq!(succeeds("casemate run", &output.expect("run casemate")), "by casemate");
    let template = "{{.CgroupVersion}} {{.CgroupDriver}} {{.LiveRestoreEnabled}}";
    assert_eq!(docker(&["info", "--format", template]), "2 cgroupfs true");
    // Whoever shows no certificate is not spoken to.
    let output = client("docker", &["version"]).env("DOCKER_CERT_PATH", "/nowhere").output();
    assert!(!output.expect("run docker").status.success());
}

/// One container, with limits, that writes: through all that systemd may do to the unit.
fn restart_keeps_containers(_: &Host) {
    up();
    let limits = ["--memory", "64m", "--pids-limit", "50", "--cpus", "0.5", "--cpuset-cpus", "0"];
    run("kept", &[&limits[..], &["--restart", "always"]].concat(), COUNTING);
    let pid = inspect("kept", "{{.State.Pid}}");
    let group = Group::of(pid.parse().expect("a pid"));
    let expected =
        [("memory.max", "67108864"), ("pids.max", "50"), ("cpu.max", "50000 100000"), ("cpuset.cpus", "0")];
    group.expect(&expected);
    // systemd keeps the root of the hierarchy, and sets its controllers up anew whenever units come and go.
    systemctl(&["daemon-reload"]);
    let words = ["--wait", "--quiet", "-p", "MemoryMax=100M", "true"];
    succeeds("systemd-run", &Command::new("systemd-run").args(words).output().expect("run systemd-run"));
    group.expect(&expected);

    let main = || systemctl(&["show", "--property", "MainPID", "--value", "casemate"]);
    let as_it_was = format!("running {pid} 0");
    let is_kept =
        || assert_eq!(inspect("kept", "{{.State.Status}} {{.State.Pid}} {{.RestartCount}}"), as_it_was);
    let before = main();
    systemctl(&["restart", "casemate"]);
    wait_for_daemon();
    assert_ne!(main(), before);
    is_kept();
    // Killed, as the kernel does when memory is short: systemd starts it again.
    let before = main();
    systemctl(&["kill", "--kill-who=main", "--signal=KILL", "casemate"]);
    wait_until("another one runs", || !["0", &before].contains(&main().as_str()));
    wait_for_daemon();
    is_kept();
    assert_counts(&docker(&["logs", "kept"]));
    assert_eq!(docker(&["exec", "kept", "echo", "inside"]), "inside");
    docker(&["rm", "-f", "kept"]);
}

fn stop_ends_everything(_: &Host) {
    up();
    run("last", &[], "trap 'exit 0' TERM; while :; do sleep 0.1; done");
    let pid = inspect("last", "{{.State.Pid}}");
    systemctl(&["stop", "casemate"]);
    assert!(Path::new("/proc").join(&pid).exists(), "live-restore keeps it");
    assert!(!try_docker(&["version"]).status.success());
    fs::write("/etc/casemate/casemate.toml", "live-restore = false\n").expect("write the configuration");
    systemctl(&["start", "casemate"]);
    wait_for_daemon();
    assert_eq!(inspect("last", "{{.State.Status}} {{.State.Pid}}"), format!("running {pid}"));
    systemctl(&["stop", "casemate"]);
    assert!(!Path::new("/proc").join(&pid).exists(), "live-restore is off");
    assert_eq!(systemctl(&["show", "--property", "Result", "--value", "casemate"]), "success");
    let names = |dir: &str| -> Vec<String> {
        let entries = fs::read_dir(dir).expect("read a directory").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    assert!(!names("/sys/fs/cgroup").iter().any(|name| name.starts_with("casemate-")));
    let programs =
        names("/proc").into_iter().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    let left: Vec<String> = programs.filter(|name| name.starts_with("casemate")).collect();
    assert!(left.is_empty(), "{left:?}");
}
