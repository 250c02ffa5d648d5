//! dockerd under `baseline`: Docker's own defaults, in ids of the container's own, and what stays refused.

use std::fs;

use casemate_tests::cases;
use casemate_tests::engine::Case;
use casemate_tests::engine_docker::Docker;

pub const CASES: &[Case<Docker>] = cases![
    ids_of_its_own_and_capabilities_of_docker,
    what_was_written_is_the_engines,
    a_low_port_in_a_joined_network,
    devices_as_asked,
    everything_is_refused_in_words,
];

fn ids_of_its_own_and_capabilities_of_docker(docker: &Docker) {
    let map = docker.sh(&[], "tr -s ' ' </proc/self/uid_map");
    let first = map.split_whitespace().nth(1).and_then(|id| id.parse::<u32>().ok());
    assert!(first.is_some_and(|first| first > 65535) && map.ends_with(" 65536"), "{map}");
    let status =
        docker.sh(&["--cap-add", "SYS_ADMIN"], "grep -E '^(CapBnd|NoNewPrivs):' /proc/self/status | cut -f2");
    assert_eq!(status, "00000000a80425fb\n0");
    assert_eq!(
        docker.sh(&["--security-opt", "seccomp=unconfined"], "grep -c 'Seccomp:.2' /proc/self/status"),
        "1"
    );
}

/// The root filesystem is put together anew from the engine's layers, and yet what the container writes is where the engine
/// looks for it.
fn what_was_written_is_the_engines(docker: &Docker) {
    let container = docker.sleeper("written", &[]);
    container.sh("set -e; echo kept >/etc/kept; rm /bin/wget; mkdir -p /srv/deep; chown -R user:user /srv");
    let listed = container.does("diff", &[]);
    for line in ["A /etc/kept", "D /bin/wget", "A /srv/deep"] {
        assert!(listed.lines().any(|entry| entry == line), "no {line}: {listed}");
    }
    let back = docker.world().dir().join("written.back");
    docker.ok(&["cp", "written:/etc/kept", &back.to_string_lossy()]);
    assert_eq!(fs::read_to_string(&back).expect("read the copy"), "kept\n");
    container.does("stop", &["-t", "0"]);
    container.does("start", &[]);
    assert_eq!(container.sh("cat /etc/kept; ls /bin/wget 2>/dev/null; stat -c %U /srv/deep"), "kept\nuser");
    docker.ok(&["commit", "written", "written-image"]);
    let seen =
        docker.ok(&["run", "--rm", "written-image", "sh", "-c", "cat /etc/kept; stat -c %u:%g /srv/deep"]);
    assert_eq!(seen, "kept\n1000:1000");
}

fn a_low_port_in_a_joined_network(docker: &Docker) {
    let _owner = docker.sleeper("port-owner", &[]);
    let script = "echo low >/tmp/index.html; httpd -p 81 -h /tmp; wget -q -O- http://127.0.0.1:81/";
    assert_eq!(docker.sh(&["--net", "container:port-owner"], script), "low");
}

fn devices_as_asked(docker: &Docker) {
    let flags = ["--device", "/dev/null:/dev/also-null:rwm", "--device", "/dev/fuse"];
    let script =
        "stat -c %t:%T /dev/also-null; echo x >/dev/also-null; stat -c %u /dev/fuse /dev/null | sort -u";
    assert_eq!(docker.sh(&flags, script), "1:3\n0");
}

fn everything_is_refused_in_words(docker: &Docker) {
    for (flags, word) in [
        (&["--privileged"][..], "baseline"),
        (&["--pid", "host"], "pid"),
        (&["-v", "/var/run/docker.sock:/docker.sock"], "docker.sock"),
        (&["-v", "/:/host"], "\"/\" of the host"),
    ] {
        let output = docker.run(flags, &["true"]).fails_with(125);
        let said = output.stderr();
        let sentence = said.lines().find(|line| line.contains("policy baseline denies")).unwrap_or_default();
        assert!(sentence.contains(word) && sentence.contains("to allow it: "), "{flags:?}: {output}");
    }
}
