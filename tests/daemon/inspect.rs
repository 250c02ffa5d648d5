//! `docker inspect`, `rename`, `update`, `rm` and `container prune`.

use crate::World;

const INSPECTED: &str = include_str!("inspected.txt");

fn inspect(world: &World, name: &str, template: &str) -> String {
    world.ok(&["inspect", "--format", template, name])
}

#[test]
fn everything_that_docker_shows_is_there() {
    let world = World::start();
    let flags = "create --net none --name web -l a=b -e X=1 -m 64m -v data:/data --mount type=tmpfs,dst=/t --expose 80 \
                 --health-cmd true --stop-signal INT busybox sh -c";
    let words: Vec<&str> = flags.split_whitespace().chain(["sleep 1"]).collect();
    world.ok(&words);
    let document = world.ok(&["inspect", "web"]);
    let value: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    let value = &value[0];
    for path in INSPECTED.lines() {
        assert!(value.pointer(path).is_some(), "{path} is missing: {document}");
    }
    for (template, expected) in [
        ("{{.Name}} {{.Path}} {{.Args}}", "/web sh [-c sleep 1]"),
        (
            "{{.State.Status}} {{.State.Running}} {{.State.Pid}} {{.State.StartedAt}}",
            "created false 0 0001-01-01T00:00:00Z",
        ),
        ("{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}", "67108864 134217728"),
        (
            "{{.HostConfig.NetworkMode}} {{.HostConfig.IpcMode}} {{.HostConfig.Runtime}}",
            "none private casemate",
        ),
        (
            "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.LogConfig.Type}} {{.HostConfig.ShmSize}}",
            "no json-file 67108864",
        ),
        ("{{.Config.Labels.a}} {{.Config.Env}} {{.Config.StopSignal}}", "b [X=1] INT"),
        (
            "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}};{{end}}",
            "volume data /data true;tmpfs  /t true;",
        ),
        ("{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{end}}", "none"),
        ("{{len .HostConfig.MaskedPaths}} {{json .ExecIDs}} {{json .NetworkSettings.Ports}}", "11 null {}"),
        ("{{json .Config.Cmd}} {{json .Config.Entrypoint}}", r#"["sh","-c","sleep 1"] null"#),
    ] {
        assert_eq!(inspect(&world, "web", template), expected, "{template}");
    }
    assert_eq!(value["Casemate"]["Policy"], "hardened");
    assert_eq!(value["Casemate"]["Verdict"], "admitted");
    let id = inspect(&world, "web", "{{.Id}}");
    for name in ["web", "/web", &id, &id[..12], &id[..3]] {
        assert_eq!(inspect(&world, name, "{{.Id}}"), id);
    }
    let missing = world.docker(["container", "inspect", "nobody"]).run().fails_with(1);
    assert!(missing.stderr().contains("No such container: nobody"), "{}", missing.stderr());
    let sized = world.ok(&["inspect", "--size", "-f", "{{.SizeRw}} {{len (print .SizeRootFs)}}", "web"]);
    assert!(sized.starts_with("0 ") && sized != "0 1", "{sized}");
    world.ok(&["rm", "-v", "web"]);
    world.stop();
}

#[test]
fn names_and_limits_are_changed() {
    let world = World::start();
    world.ok(&["run", "-d", "--net", "none", "--name", "one", "-m", "64m", "busybox", "sleep", "60"]);
    world.ok(&["create", "--net", "none", "--name", "two", "busybox", "true"]);
    world.ok(&["rename", "one", "uno"]);
    assert_eq!(inspect(&world, "uno", "{{.Name}}"), "/uno");
    for (name, words) in [
        ("two", "Error when allocating new name: Conflict. The container name \"/two\" is already in use"),
        ("uno", "Renaming a container with the same name as its current name"),
        ("a b", "Invalid container name (a b)"),
    ] {
        let output = world.docker(["rename", "uno", name]).run().fails_with(1);
        assert!(output.stderr().contains(words), "{}", output.stderr());
    }
    // The old name is free.
    world.ok(&["rename", "two", "one"]);
    world.ok(&[
        "update",
        "-m",
        "96m",
        "--memory-swap",
        "192m",
        "--pids-limit",
        "44",
        "--restart",
        "on-failure:2",
        "uno",
    ]);
    let shown = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.RestartPolicy.Name}}";
    assert_eq!(inspect(&world, "uno", shown), format!("{} 44 on-failure", 96 << 20));
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
    assert_eq!(
        world.docker(["exec", "uno", "sh", "-c", script]).run().stdout().trim(),
        (96 << 20).to_string()
    );
    for (flags, words) in [
        (&["-m", "1m"][..], "Minimum memory limit allowed is 6MB"),
        (&["-m", "1g"], "Memory limit should be smaller than already set memoryswap limit"),
        (&["--restart", "sometimes"], "unknown policy 'sometimes'"),
    ] {
        let output = world.docker([&["update"], flags, &["uno"]].concat()).run().fails_with(1);
        assert!(output.stderr().contains(words), "{}", output.stderr());
    }
    assert_eq!(
        inspect(&world, "uno", shown),
        format!("{} 44 on-failure", 96 << 20),
        "what failed changed nothing"
    );
    world.ok(&["rm", "-f", "uno", "one"]);
    world.stop();
}

#[test]
fn what_is_removed_is_gone() {
    let mut world = World::start();
    world.ok(&["run", "-d", "--net", "none", "--name", "runs", "-v", "/anonymous", "busybox", "sleep", "60"]);
    let output = world.docker(["rm", "runs"]).run().fails_with(1);
    let words = "cannot remove container \"/runs\": container is running: stop the container before removing or force remove";
    assert!(output.stderr().contains(words), "{}", output.stderr());
    world.ok(&["pause", "runs"]);
    let output = world.docker(["rm", "runs"]).run().fails_with(1);
    assert!(
        output.stderr().contains("container is paused and must be unpaused first"),
        "{}",
        output.stderr()
    );
    world.ok(&["rm", "-f", "-v", "runs"]);
    assert_eq!(world.ok(&["volume", "ls", "-q"]), "");
    let output = world.docker(["rm", "runs"]).run().fails_with(1);
    assert!(output.stderr().contains("No such container: runs"), "{}", output.stderr());
    world.docker(["rm", "--link", "runs"]).run().fails_with(1);
    for name in ["aa", "bb"] {
        world.ok(&["create", "--net", "none", "--name", name, "-l", name, "busybox", "true"]);
    }
    world.ok(&["run", "-d", "--net", "none", "--name", "runs", "busybox", "sleep", "60"]);
    let pruned = world.ok(&["container", "prune", "-f", "--filter", "label=aa"]);
    assert!(pruned.starts_with("Deleted Containers:\n") && pruned.lines().count() == 4, "{pruned}");
    world.ok(&["container", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(world.ok(&["ps", "-a", "--format", "{{.Names}}"]), "runs\nbb");
    world.ok(&["container", "prune", "-f"]);
    assert_eq!(world.ok(&["ps", "-a", "--format", "{{.Names}}"]), "runs");
    world.crash_daemon();
    world.ok(&["rm", "-f", "runs"]);
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    for folder in ["store/containers", "logs"] {
        assert_eq!(std::fs::read_dir(world.data().join(folder)).expect(folder).count(), 0, "{folder}");
    }
    world.stop();
}
