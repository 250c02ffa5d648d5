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
