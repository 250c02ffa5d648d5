//! --net, --pid, --ipc, --uts, --cgroupns: none, private, the host's, another container's.

use casemate_tests::cases;
use casemate_tests::engine::Case;
use casemate_tests::engine_docker::Docker;

pub const CASES: &[Case<Docker>] = cases![
    net_none,
    net_host,
    net_bridge_reaches_another,
    net_of_another_container,
    published_port_answers,
    user_defined_network,
    pid_of_the_host,
    pid_of_another_container,
    ipc_host,
    ipc_modes,
    hostname_and_domain,
    uts_host,
    cgroup_namespaces,
    all_of_the_host,
];

const LINKS: &str = "cd /proc/self/ns; for name in net pid ipc uts; do readlink $name; done";

fn host_namespace(docker: &Docker, name: &str) -> String {
    docker.world().inside(["readlink", &format!("/proc/self/ns/{name}")]).run().ok().text()
}

fn net_none(docker: &Docker) {
    assert_eq!(
        docker.sh(&["--net", "none"], "ls /sys/class/net; cat /sys/class/net/lo/operstate"),
        "lo\nunknown"
    );
}

fn net_host(docker: &Docker) {
    assert_eq!(docker.sh(&["--net", "host"], "readlink /proc/self/ns/net"), host_namespace(docker, "net"));
    let shown = docker.sh(&["--net", "host"], "ls /sys/class/net");
    assert!(shown.contains("docker0"), "{shown}");
}

fn net_bridge_reaches_another(docker: &Docker) {
    let server =
        docker.background("net-server", &[], "echo hello >/tmp/index.html; exec httpd -f -p 80 -h /tmp");
    let address = server.inspect("{{.NetworkSettings.IPAddress}}");
    let script =
        format!("for i in 1 2 3 4 5 6 7 8 9; do wget -q -O- http://{address}/ && break; sleep 0.2; done");
    assert_eq!(docker.sh(&[], &script), "hello");
    let own = server.sh("ip -4 -o addr show eth0 | sed 's/.*inet //; s/ .*//'; cat /etc/hosts | tail -1");
    assert!(own.starts_with(&format!("{address}/")) && own.contains(&address), "{own}");
}

fn net_of_another_container(docker: &Docker) {
    let first = docker.sleeper("net-first", &[]);
    let link = first.sh("readlink /proc/self/ns/net");
    assert_eq!(docker.sh(&["--net", "container:net-first"], "readlink /proc/self/ns/net"), link);
}

fn published_port_answers(docker: &Docker) {
    let flags = ["-p", "127.0.0.1:8123:80"];
    let _server = docker.background(
        "published",
        &flags,
        "echo published >/tmp/index.html; exec httpd -f -p 80 -h /tmp",
    );
    let get = || docker.world().inside(["busybox", "wget", "-q", "-O-", "http://127.0.0.1:8123/"]).run();
    casemate_tests::wait_until("the published port answers", || get().text() == "published");
}

fn user_defined_network(docker: &Docker) {
    docker.ok(&["network", "create", "own-net"]);
    let server = docker.background(
        "own-net-server",
        &["--net", "own-net"],
        "echo named >/tmp/index.html; exec httpd -f -p 80 -h /tmp",
    );
    let script =
        "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O- http://own-net-server/ && break; sleep 0.2; done";
    assert_eq!(docker.sh(&["--net", "own-net"], script), "named");
    drop(server);
    let late = docker.sleeper("connected-late", &[]);
    docker.ok(&["network", "connect", "own-net", "connected-late"]);
    assert_eq!(late.sh("ls /sys/class/net | wc -l"), "3");
    drop(late);
    docker.ok(&["network", "rm", "own-net"]);
}

fn pid_of_another_container(docker: &Docker) {
    assert_eq!(docker.sh(&[], "echo $$"), "1");
    let target = docker.background("pid-target", &[], "exec sleep 4321");
    let seen = docker.sh(&["--pid", "container:pid-target"], "tr '\\0' ' ' </proc/1/cmdline");
    assert_eq!(seen.trim(), "sleep 4321");
    drop(target);
}

fn pid_of_the_host(docker: &Docker) {
    assert_eq!(docker.sh(&["--pid", "host"], "readlink /proc/self/ns/pid"), host_namespace(docker, "pid"));
    // Without a pid namespace of its own, a container's processes end with its first one by the control group.
    let host = docker.background("pid-host", &["--pid", "host"], "sleep 5432 & exec sleep 6543");
    host.does("kill", &[]);
    assert_eq!(host.wait(), 137);
    let left = || docker.world().inside(["pgrep", "-f", "sleep 5432"]).run().text();
    casemate_tests::wait_until("its other process is gone", || left().is_empty());
}

fn ipc_host(docker: &Docker) {
    assert_eq!(docker.sh(&["--ipc", "host"], "readlink /proc/self/ns/ipc"), host_namespace(docker, "ipc"));
}

fn ipc_modes(docker: &Docker) {
    let donor = docker.background(
        "ipc-donor",
        &["--ipc", "shareable"],
        "echo shared >/dev/shm/word; exec sleep 1000",
    );
    let joined = ["--ipc", "container:ipc-donor"];
    assert_eq!(
        docker.sh(&joined, "readlink /proc/self/ns/ipc; cat /dev/shm/word"),
        format!("{}\nshared", donor.sh("readlink /proc/self/ns/ipc"))
    );
    assert_eq!(docker.sh(&["--shm-size", "5m"], "df -k /dev/shm | awk 'NR==2 {print $2}'"), "5120");
    docker.sh(&["--ipc", "none"], "! test -w /dev/shm");
}

fn hostname_and_domain(docker: &Docker) {
    let flags = ["--hostname", "casemate-host", "--domainname", "example.org"];
    assert_eq!(docker.sh(&flags, "hostname; cat /proc/sys/kernel/domainname"), "casemate-host\nexample.org");
}

fn uts_host(docker: &Docker) {
    let uts = docker.sh(&["--uts", "host"], "readlink /proc/self/ns/uts");
    assert_eq!(uts, host_namespace(docker, "uts"));
}

fn cgroup_namespaces(docker: &Docker) {
    let script = "grep memory: /proc/self/cgroup";
    assert!(docker.sh(&["--cgroupns", "private"], script).ends_with(":/"));
    assert!(docker.sh(&["--cgroupns", "host"], script).contains(docker.world().id()));
    let mounted = docker.sh(
        &["--cgroupns", "host"],
        "ls -d /sys/fs/cgroup/memory/memory.limit_in_bytes; grep -c cgroup /proc/mounts",
    );
    assert!(mounted.starts_with("/sys/fs/cgroup/memory/memory.limit_in_bytes"), "{mounted}");
    let private = docker.sh(&["--cgroupns", "private"], "cat /sys/fs/cgroup/pids/cgroup.procs | head -1");
    assert_eq!(private, "1");
}

fn all_of_the_host(docker: &Docker) {
    let flags = ["--net", "host", "--pid", "host", "--ipc", "host", "--uts", "host"];
    let expected: Vec<_> =
        ["net", "pid", "ipc", "uts"].iter().map(|name| host_namespace(docker, name)).collect();
    assert_eq!(docker.sh(&flags, LINKS), expected.join("\n"));
}
