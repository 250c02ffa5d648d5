//! `docker create` and `docker run`: what becomes of each option, inside the container and in what is told.

use std::fs;

use casemate_tests::Output;

use crate::World;

/// A world whose host lets clients choose `baseline` as well.
fn world() -> World {
    let world = World::prepared("", |etc| {
        fs::write(etc.join("runtime.toml"), "selectable = [\"baseline\"]\n").expect("write runtime.toml");
    });
    world.import();
    world
}

/// Runs a script with these flags, under the default policy or another; it has to succeed.
#[track_caller]
fn inside(world: &World, flags: &[&str], script: &str) -> String {
    let output = world.run(flags, &["sh", "-c", script]);
    assert!(output.success(), "{flags:?}: {output:?}\n{}", world.log());
    output.text()
}

/// What `docker run` with these flags is told when it is refused, and that nothing is left of it.
#[track_caller]
fn refused(world: &World, flags: &[&str], words: &str) {
    let output = world.run(flags, &["true"]).fails_with(125);
    assert!(output.stderr().contains(words), "{flags:?}: {}", output.stderr());
}

#[track_caller]
fn told(output: &Output, words: &str) {
    assert!(output.stderr().contains(words), "{}", output.stderr());
}

#[test]
fn processes_are_what_was_asked_for() {
    let world = world();
    let run = |flags: &[&str], script: &str| inside(&world, flags, script);
    let env = run(&["-e", "A=1", "-e", "PATH=/bin", "-e", "HOME=/h"], "env");
    assert!(env.contains("A=1\n") && env.contains("PATH=/bin\n") && env.contains("HOME=/h"), "{env}");
    assert!(run(&[], "env").contains("HOME=/root"));
    assert_eq!(
        run(&["-u", "user"], "id; echo $HOME"),
        "uid=1000(user) gid=1000(user) groups=1001(extra)\n/home/user"
    );
    assert_eq!(run(&["-u", "1000:1001"], "id -u; id -g"), "1000\n1001");
    assert_eq!(run(&["-u", "77", "--group-add", "extra"], "id"), "uid=77 gid=0(root) groups=1001(extra)");
    assert_eq!(run(&["-w", "/made/on/the/way"], "pwd"), "/made/on/the/way");
    assert_eq!(
        run(&["-h", "web.example"], "hostname; cat /etc/hostname; echo $HOSTNAME"),
        "web.example\nweb.example\nweb.example"
    );
    assert_eq!(run(&["--domainname", "example.org"], "cat /proc/sys/kernel/domainname"), "example.org");
    assert_eq!(run(&["-t"], "echo $TERM; tty").replace('\r', ""), "xterm\n/dev/pts/0");
    assert_eq!(run(&["--init"], "cat /proc/1/comm"), "docker-init");
    assert_eq!(run(&["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn"), "100\n200");
    assert_eq!(run(&["--oom-score-adj", "77"], "cat /proc/self/oom_score_adj"), "77");
    let command =
        world.docker(["run", "--rm", "--net", "none", "--entrypoint", "/bin/echo", "busybox", "a", "b"]);
    assert_eq!(command.run().ok().text(), "a b");
    let nothing = world.docker(["run", "--rm", "--net", "none", "busybox"]).run().fails_with(125);
    told(&nothing, "no command specified");
    refused(
        &world,
        &["-u", "nobody-here"],
        "unable to find user nobody-here: no matching entries in passwd file",
    );
    refused(
        &world,
        &["--group-add", "nothing"],
        "unable to find group nothing: no matching entries in group file",
    );
    refused(
        &world,
        &["-w", "relative"],
        "the working directory 'relative' is invalid, it needs to be an absolute path",
    );
    refused(&world, &["--stop-signal", "SIGNOT"], "invalid signal: SIGNOT");
    assert_eq!(world.ok(&["ps", "-aq"]), "", "what was refused is not there");
    world.stop();
}

#[test]
fn small_files_say_what_was_asked_for() {
    let world = world();
    let run = |flags: &[&str], script: &str| inside(&world, flags, script);
    let hosts =
        run(&["--add-host", "db:10.1.1.1", "--add-host", "six=[fd00::1]", "-h", "web"], "cat /etc/hosts");
    assert!(hosts.ends_with("10.1.1.1\tdb\nfd00::1\tsix\n127.0.0.1\tweb"), "{hosts}");
    let flags = ["--dns", "1.2.3.4", "--dns-search", "example.org", "--dns-option", "ndots:3"];
    let expected = "nameserver 1.2.3.4\nsearch example.org\noptions ndots:3";
    assert_eq!(run(&flags, "cat /etc/resolv.conf"), expected);
    refused(&world, &["--add-host", "gw:host-gateway"], "unable to derive the IP value for host-gateway");
    let host = world.docker([
        "run",
        "--rm",
        "--net",
        "host",
        "--runtime",
        "baseline",
        "busybox",
        "cat",
        "/etc/hosts",
    ]);
    assert_eq!(host.run().ok().stdout().trim(), fs::read_to_string("/etc/hosts").expect("the host's").trim());
    world.stop();
}

#[test]
fn limits_hold() {
    let world = world();
    // Where each is: a hierarchy of version 1, or the only one of version 2.
    let script = |names: [&str; 2]| {
        format!(
            "cat /sys/fs/cgroup/*/{0} /sys/fs/cgroup/{0} /sys/fs/cgroup/{1} 2>/dev/null | head -n1",
            names[0], names[1]
        )
    };
    let run = |flags: &[&str], names: [&str; 2]| inside(&world, flags, &script(names));
    let memory = ["memory.limit_in_bytes", "memory.max"];
    assert_eq!(run(&["-m", "64m"], memory), (64 << 20).to_string());
    assert_eq!(run(&[], memory), (1 << 30).to_string(), "what hardened gives");
    assert_eq!(run(&["--pids-limit", "33"], ["pids.max", "pids.max"]), "33");
    assert!(matches!(
        run(&["--cpus", "0.5"], ["cpu.cfs_quota_us", "cpu.max"]).as_str(),
        "50000" | "50000 100000"
    ));
    assert_eq!(run(&["--cpuset-cpus", "0"], ["cpuset.cpus", "cpuset.cpus"]), "0");
    assert_eq!(inside(&world, &["--shm-size", "1m"], "df /dev/shm | tail -n1 | awk '{print $2}'"), "1024");
    let dead = world.run(&["-m", "16m"], &["sh", "-c", "tail /dev/zero"]);
    dead.fails_with(137);
    for (flags, words) in [
        (&["-m", "1m"][..], "Minimum memory limit allowed is 6MB"),
        (
            &["--memory-swap", "64m"],
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (&["--cpus", "9999"], "range of CPUs is from 0.01 to"),
        (&["--cpuset-cpus", "x"], "Invalid value x for cpuset cpus"),
        (&["--blkio-weight", "5"], "Range of blkio weight is from 10 to 1000"),
        (&["--storage-opt", "size=none"], "invalid size in storage-opt"),
        (&["--cgroup-parent", "/mine"], "cgroup-parent is not available"),
    ] {
        refused(&world, flags, words);
    }
    world.stop();
}

#[test]
fn rights_are_asked_for_and_the_policy_decides() {
    let world = world();
    let effective =
        |flags: &[&str]| inside(&world, flags, "grep CapEff /proc/self/status").replace("CapEff:\t", "");
    assert_eq!(effective(&[]), "00000000000004fb");
    assert_eq!(effective(&["--runtime", "baseline"]), "00000000a80425fb");
    assert_eq!(effective(&["--cap-drop", "ALL"]), "0000000000000000");
    assert_eq!(effective(&["--cap-drop", "ALL", "--cap-add", "chown"]), "0000000000000001");
    assert_eq!(effective(&["--runtime", "baseline", "--cap-drop", "MKNOD"]), "00000000a00425fb");
    assert_eq!(effective(&["--runtime", "baseline", "-u", "user"]), "0000000000000000");
    let more = world.run(&["--cap-add", "SYS_ADMIN"], &["true"]);
    told(&more, "WARNING: policy hardened: --cap-add is not granted: CAP_SYS_ADMIN");
    let plain = world.run(&[], &["true"]);
    assert_eq!(plain.stderr(), "", "what the policy does to everybody is no warning");
    let seccomp = "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"mkdir\",\"mkdirat\"],\
                   \"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":38}]}";
    let profile = world.dir().join("profile.json");
    fs::write(&profile, seccomp).expect("write a profile");
    let option = format!("seccomp={}", profile.display());
    let output = world.run(&["--security-opt", &option], &["mkdir", "/tmp/x"]).fails_with(1);
    told(&output, "Function not implemented");
    assert_eq!(
        inside(&world, &["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status"),
        "Seccomp:\t2"
    );
    let privileges = "grep NoNewPrivs /proc/self/status";
    assert_eq!(inside(&world, &["--runtime", "baseline"], privileges), "NoNewPrivs:\t0");
    let flags = ["--runtime", "baseline", "--security-opt", "no-new-privileges"];
    assert_eq!(inside(&world, &flags, privileges), "NoNewPrivs:\t1");
    world.run(&[], &["touch", "/x"]).fails_with(1);
    assert_eq!(inside(&world, &["--runtime", "baseline"], "touch /x && echo made"), "made");
    world.run(&["--runtime", "baseline", "--read-only"], &["touch", "/x"]).fails_with(1);
    for (flags, words) in [
        (&["--cap-add", "MAGIC"][..], "invalid CapAdd: unknown capability: \"CAP_MAGIC\""),
        (&["--security-opt", "apparmor=mine"], "AppArmor profile \"mine\" cannot be applied"),
        (&["--security-opt", "label=type:x"], "SELinux labels cannot be applied"),
        (&["--runtime", "runc"], "unknown or invalid runtime name: runc"),
        (&["--runtime", "oci"], "unknown or invalid runtime name: oci"),
        (&["--security-opt", "casemate.policy=oci"], "unknown or invalid policy name: oci"),
        (&["--gpus", "all"], "could not select device driver"),
    ] {
        refused(&world, flags, words);
    }
    world.stop();
}

#[test]
fn what_is_shared_is_shared() {
    let world = world();
    for (flags, words) in [
        (&["--pid", "host"][..], "the host's pid namespace"),
        (&["--uts", "host"], "the host's uts namespace"),
        (&["-v", "/:/host"], "denied by policy \"hardened\""),
        (&["-v", "/etc/shadow:/shadow"], "denied by policy \"hardened\""),
        (&["--device", "/dev/fuse"], "linux.devices: /dev/fuse"),
        (&["--pid", "host", "-v", "/:/host"], "\n  mounts["),
    ] {
        refused(&world, flags, words);
    }
    let network =
        |mode: &str| world.docker(["run", "--rm", "--net", mode, "busybox", "true"]).run().fails_with(125);
    let link = world.docker(["run", "--rm", "--link", "a:b", "busybox", "true"]).run().fails_with(125);
    told(&link, "could not get container for a: No such container: a");
    told(&network("mine"), "failed to set up container networking: network mine not found");
    told(&network("host"), "the host's network namespace");
    told(&network("container:nobody"), "No such container: nobody");

    world.ok(&[
        "run",
        "-d",
        "--net",
        "none",
        "--ipc",
        "shareable",
        "--name",
        "one",
        "-h",
        "uno",
        "busybox",
        "sleep",
        "60",
    ]);
    let namespace = |name: &str, flags: &[&str]| {
        let link = format!("/proc/self/ns/{name}");
        let words = [&["run", "--rm"], flags, &["busybox", "readlink", &link]].concat();
        world.docker(words).run().ok().text()
    };
    let of_one = |name: &str| world.ok(&["exec", "one", "readlink", &format!("/proc/self/ns/{name}")]);
    assert_eq!(namespace("net", &["--net", "container:one"]), of_one("net"));
    assert_eq!(namespace("pid", &["--net", "none", "--pid", "container:one"]), of_one("pid"));
    assert_eq!(namespace("ipc", &["--net", "none", "--ipc", "container:one"]), of_one("ipc"));
    assert_ne!(namespace("ipc", &["--net", "none"]), of_one("ipc"));
    let name = world.docker(["run", "--rm", "--net", "container:one", "busybox", "hostname"]);
    assert_eq!(name.run().ok().text(), "uno");
    world.ok(&["stop", "-t", "0", "one"]);
    let stopped =
        world.docker(["run", "--rm", "--net", "container:one", "busybox", "true"]).run().fails_with(125);
    told(&stopped, "cannot join network namespace of a non running container");
    world.ok(&["rm", "one"]);
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    world.stop();
}

#[test]
fn what_is_mounted_is_there() {
    let world = world();
    let run = |flags: &[&str], script: &str| inside(&world, flags, script);
    assert_eq!(run(&["--tmpfs", "/x:size=1m"], "df /x | tail -n1 | awk '{print $2}'"), "1024");
    let tmpfs = "type=tmpfs,dst=/y,tmpfs-size=2m,tmpfs-mode=1750";
    assert_eq!(run(&["--mount", tmpfs], "stat -c %a /y; df /y | tail -n1 | awk '{print $2}'"), "1750\n2048");
    run(&["-v", "keep:/keep"], "echo kept > /keep/file");
    assert_eq!(
        run(&["-v", "keep:/other:ro"], "cat /other/file; touch /other/x 2>/dev/null || echo no"),
        "kept\nno"
    );
    assert_eq!(run(&["-v", "home:/home"], "ls -d /home/user"), "/home/user", "the image's content");
    assert_eq!(run(&["-v", "bare:/home:nocopy"], "ls /home | wc -l"), "0");
    run(&["-v", "/anonymous"], "touch /anonymous/file");
    assert_eq!(
        world.ok(&["volume", "ls", "-q"]),
        "bare\nhome\nkeep",
        "an anonymous one goes with its container"
    );
    let place = world.dir().join("lent");
    fs::create_dir(&place).expect("a directory of the host");
    fs::write(place.join("file"), "lent\n").expect("write a file");
    let bind = format!("{}:/lent", place.display());
    assert_eq!(
        run(&["-v", &format!("{bind}:ro")], "cat /lent/file; touch /lent/x 2>/dev/null || echo no"),
        "lent\nno"
    );
    let missing = world.dir().join("made/on/the/way");
    run(&["-v", &format!("{}:/made", missing.display())], "test -d /made");
    assert!(missing.is_dir());
    world.ok(&["create", "--net", "none", "--name", "lender", "-v", "keep:/keep", "busybox", "true"]);
    assert_eq!(
        run(&["--volumes-from", "lender:ro"], "cat /keep/file; touch /keep/x 2>/dev/null || echo no"),
        "kept\nno"
    );
    for (flags, words) in [
        (&["-v", "keep:/"][..], "destination can't be '/'"),
        (&["-v", "sub/up:/x"], "includes invalid characters for a local volume name"),
        (&["-v", "keep:/x", "--tmpfs", "/x"], "Duplicate mount point: /x"),
        (&["--volumes-from", "nobody"], "No such container: nobody"),
        (&["--tmpfs", "/x:bind"], "invalid tmpfs option"),
        (&["--volume-driver", "nfs", "-v", "xx:/x"], "plugin \"nfs\" not found"),
    ] {
        refused(&world, flags, words);
    }
    world.ok(&["rm", "lender"]);
    world.stop();
}

#[test]
fn names_are_a_tenants_own() {
    let world = world();
    let create = |uri: &str, name: &str| {
        world.docker_as(uri, ["create", "--net", "none", "--name", name, "busybox", "true"]).run()
    };
    let admin = "casemate://default/root?groups=admin";
    let id = create(admin, "web").ok().text();
    let again = create(admin, "web").fails_with(1);
    told(&again, &format!("Conflict. The container name \"/web\" is already in use by container \"{id}\""));
    let odd = create(admin, "a b").fails_with(1);
    told(&odd, "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    let other = "casemate://other/root?groups=admin";
    let archive = world.rootfs_archive();
    world.docker_as(other, ["import", &archive.to_string_lossy(), "busybox"]).run().ok();
    create(other, "web").ok();
    world.docker_as(other, ["inspect", &id]).run().fails_with(1);
    let listed = world.docker_as(other, ["ps", "-aq", "--no-trunc"]).run().ok().text();
    assert!(!listed.contains(&id) && listed.lines().count() == 1, "{listed}");
    let named = world.ok(&["create", "--net", "none", "busybox", "true"]);
    let name = world.ok(&["inspect", "-f", "{{.Name}}", &named]);
    assert!(name.strip_prefix('/').is_some_and(|name| name.split('_').count() == 2), "{name}");
    world.stop();
}

#[test]
fn a_crash_leaves_no_place_behind() {
    let mut world = world();
    let id = world.ok(&["create", "--net", "none", "--name", "kept", "busybox", "true"]);
    world.crash_daemon();
    assert_eq!(world.ok(&["inspect", "-f", "{{.Id}}", "kept"]), id);
    let places = world.data().join("store/containers");
    world.ok(&["rm", "kept"]);
    assert_eq!(fs::read_dir(&places).expect("places").count(), 0);
    world.stop();
}
