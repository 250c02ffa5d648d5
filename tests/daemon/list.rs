//! `docker ps`: filters, limits, columns.

use casemate_tests::wait_until;

use crate::World;

fn names(world: &World, flags: &[&str]) -> Vec<String> {
    let words = [&["ps", "--format", "{{.Names}}"], flags].concat();
    let mut names: Vec<String> = world.ok(&words).lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// Filters, and whom they choose.
const CHOSEN: &[(&[&str], &[&str])] = &[
    (&["label=tier=web"], &["web-1", "web-2"]),
    (&["label=tier=web", "label=x"], &["web-1"]),
    (&["label=tier"], &["job", "web-1", "web-2"]),
    (&["name=web"], &["web-1", "web-2"]),
    (&["name=^web-1$"], &["web-1"]),
    (&["name=^/job$"], &["job"]),
    (&["name=web-[2-9]", "name=jo"], &["job", "web-2"]),
    (&["status=paused"], &["web-1"]),
    (&["status=exited", "status=created"], &["job", "new"]),
    (&["exited=3"], &["job"]),
    (&["exited=0"], &[]),
    (&["before=job"], &["web-1", "web-2"]),
    (&["since=job"], &["new"]),
    (&["volume=data"], &["web-1"]),
    (&["volume=/data"], &["web-1"]),
    (&["network=none", "status=running"], &["web-2"]),
    (&["network=host"], &[]),
    (&["health=healthy"], &["web-2"]),
    (&["ancestor=busybox", "status=created"], &["new"]),
    (&["ancestor=nothing"], &[]),
    (&["expose=80/tcp"], &["web-1"]),
    (&["expose=70-90"], &["web-1"]),
    (&["is-task=false", "status=paused"], &["web-1"]),
];

#[test]
fn filters_choose() {
    let world = World::start();
    let run = |name: &str, flags: &[&str], command: &[&str]| {
        world.ok(&[&["run", "-d", "--net", "none", "--name", name], flags, &["busybox"], command].concat());
    };
    run("web-1", &["-l", "tier=web", "-l", "x", "-v", "data:/data", "--expose", "80"], &["sleep", "60"]);
    run("web-2", &["-l", "tier=web", "--health-cmd", "true", "--health-interval", "100ms"], &["sleep", "60"]);
    run("job", &["-l", "tier=job"], &["sh", "-c", "exit 3"]);
    world.ok(&["create", "--net", "none", "--name", "new", "busybox", "true"]);
    wait_until("the job has ended", || world.ok(&["inspect", "-f", "{{.State.Status}}", "job"]) == "exited");
    wait_until("it is well", || {
        world.ok(&["inspect", "-f", "{{.State.Health.Status}}", "web-2"]) == "healthy"
    });
    world.ok(&["pause", "web-1"]);
    let filtered = |filters: &[&str]| {
        let flags: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        names(&world, &[&["-a"], &flags[..]].concat())
    };
    for (filters, expected) in CHOSEN {
        assert_eq!(filtered(filters), *expected, "{filters:?}");
    }
    for bad in ["status=odd", "nothing=1", "exited=x", "name=[", "health=fine", "is-task=maybe"] {
        world.docker(["ps", "--filter", bad]).run().fails_with(1);
    }
    assert_eq!(names(&world, &[]), ["web-1", "web-2"], "those that run");
    assert_eq!(names(&world, &["-n", "2"]), ["job", "new"], "the newest, whether they run or not");
    assert_eq!(names(&world, &["-l"]), ["new"]);
    let line = |name: &str| {
        let filter = format!("name=^{name}$");
        world.ok(&[
            "ps",
            "-a",
            "--filter",
            &filter,
            "--format",
            "{{.Image}}|{{.Command}}|{{.State}}|{{.Status}}",
        ])
    };
    assert!(line("web-1").starts_with("busybox|\"sleep 60\"|paused|Up "), "{}", line("web-1"));
    assert!(line("web-1").ends_with(" (Paused)"), "{}", line("web-1"));
    assert!(line("web-2").ends_with(" (healthy)"), "{}", line("web-2"));
    assert!(line("job").starts_with("busybox|\"sh -c 'exit 3'\"|exited|Exited (3) "), "{}", line("job"));
    assert_eq!(line("new"), "busybox|\"true\"|created|Created");
    assert!(world.ok(&["ps", "-s", "--format", "{{.Size}}"]).contains("(virtual "));
    world.ok(&["rm", "-f", "web-1", "web-2", "job", "new"]);
    world.stop();
}
