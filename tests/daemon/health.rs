//! Health checks.

use casemate_tests::wait_until;

use crate::World;

#[test]
fn health_is_found_out_and_told() {
    let world = World::start();
    let words = [
        "run",
        "-d",
        "--net",
        "none",
        "--name",
        "he",
        "--health-cmd",
        "cat /tmp/well",
        "--health-interval",
        "300ms",
        "--health-retries",
        "2",
        "--health-timeout",
        "5s",
        "busybox",
        "sleep",
        "1000",
    ];
    world.ok(&words);
    let status = || world.ok(&["inspect", "--format", "{{.State.Health.Status}}", "he"]);
    wait_until("it is unhealthy", || status() == "unhealthy");
    assert!(world.ok(&["ps"]).contains("(unhealthy)"));
    let said = world.ok(&["inspect", "--format", "{{(index .State.Health.Log 0).Output}}", "he"]);
    assert!(said.contains("No such file"), "{said}");
    world.ok(&["exec", "he", "touch", "/tmp/well"]);
    wait_until("it is healthy", || status() == "healthy");
    assert_eq!(world.ok(&["inspect", "--format", "{{.State.Health.FailingStreak}}", "he"]), "0");
    world.ok(&["rm", "-f", "he"]);
    world.stop();
}

#[test]
fn a_probe_that_takes_too_long_is_killed() {
    let mut world = World::start();
    // The first hangs, and everything after it is well.
    let probe = "if [ -e /tmp/once ]; then exit 0; fi; touch /tmp/once; exec sleep 1234";
    let run = |name: &str, timeout: &str, probe: &str| {
        let words = ["run", "-d", "--net", "none", "--name", name, "--health-interval", "200ms"];
        let health = ["--health-timeout", timeout, "--health-cmd", probe, "busybox", "sleep", "1000"];
        world.ok(&[&words[..], &health].concat());
    };
    run("hangs", "500ms", probe);
    run("long", "1000s", "exec sleep 4321");
    let inspect = |template: &str| world.ok(&["inspect", "--format", template, "hangs"]);
    wait_until("it is healthy again", || inspect("{{.State.Health.Status}}") == "healthy");
    let first = inspect("{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}");
    assert_eq!(first, "-1 Health check exceeded timeout (500ms)");
    let inside = |name: &str| world.ok(&["top", name, "-eo", "pid,args"]);
    assert!(!inside("hangs").contains("sleep 1234"), "{}", inside("hangs"));
    // Nor does one outlive the daemon that wanted to know.
    let process =
        || inside("long").lines().find_map(|line| line.trim().strip_suffix("sleep 4321").map(str::to_owned));
    wait_until("the probe is at it", || process().is_some());
    let before = process();
    world.crash_daemon();
    let inside = |name: &str| world.ok(&["top", name, "-eo", "pid,args"]);
    wait_until("another is at it alone", || {
        let said = inside("long");
        let probes: Vec<_> = said.lines().filter_map(|line| line.trim().strip_suffix("sleep 4321")).collect();
        probes.len() == 1 && probes.first().copied() != before.as_deref()
    });
    world.ok(&["rm", "-f", "hangs", "long"]);
    world.stop();
}
