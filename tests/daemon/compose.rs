//! Debian's docker-compose with a stack of real servers: a web server, an application and a database.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use casemate_tests::{Invocation, Output, skip};

use crate::{ADMIN, World};

/// What the servers do not read and what would triple the image: a compiler, an interpreter, a compiler of queries.
const UNUSED: [&str; 6] = [
    "./usr/lib/gcc",
    "./usr/include",
    "./usr/lib/x86_64-linux-gnu/libnode*",
    "./usr/lib/x86_64-linux-gnu/libLLVM*",
    "./usr/lib/postgresql/15/lib/*jit*",
    "./usr/share/nodejs",
];
/// A stack whose databases are being initialised, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(150);

/// A world with the image, and a project in it.
struct Stack {
    world: World,
    policy: &'static str,
}

fn here() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/daemon/compose"))
}

/// The image as an archive: Debian's servers, made as `engines_software` makes them, and what is ours.
fn image(to: &Path) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = tests.join("../target/software");
    let status = Command::new(tests.join("engines_software/prepare.sh")).arg(&made).status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "prepare.sh: {status:?}");
    let archive = to.join("stack.tar");
    let tar = |words: &[&str]| {
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "--owner=0", "--group=0", "--file"]).arg(&archive).args(words);
        assert!(tar.status().expect("run tar").success(), "{words:?}");
    };
    let root = made.join("root").display().to_string();
    let left_out: Vec<String> = UNUSED.iter().map(|path| format!("--exclude={path}")).collect();
    let words: Vec<&str> =
        left_out.iter().map(String::as_str).chain(["--create", "-C", &root, "."]).collect();
    tar(&words);
    tar(&["--append", "-C", &here().join("image").display().to_string(), "."]);
    archive
}

impl Stack {
    fn new(policy: &'static str) -> Option<Self> {
        if Command::new("docker-compose").arg("version").output().is_err() {
            skip("docker-compose is not here");
            return None;
        }
        let world = World::prepared("", |etc| {
            fs::write(etc.join("runtime.toml"), "selectable = [\"baseline\"]\n").expect("write runtime.toml");
        });
        let archive = image(world.dir());
        world.docker(["import", &archive.to_string_lossy(), "stack"]).timeout(LIMIT).run().ok();
        fs::remove_file(archive).expect("remove the archive");
        Some(Self { world, policy })
    }

    fn compose(&self, words: &[&str]) -> Invocation {
        let client = self.world.environment(ADMIN, self.world.outside("docker-compose"));
        // Left to itself it speaks TLS 1.2 and nothing else.
        let client = client.env("COMPOSE_TLS_VERSION", "TLS").env("POLICY", self.policy);
        let client = client.env("COMPOSE_PROJECT_NAME", "shop").env("COMPOSE_HTTP_TIMEOUT", "120");
        // By any value, an empty one too, these take the place of the certificates that the client is given.
        let client = client.via(["env", "-u", "REQUESTS_CA_BUNDLE", "-u", "CURL_CA_BUNDLE"]);
        client.args(["-f", &here().join("docker-compose.yml").to_string_lossy()]).args(words).timeout(LIMIT)
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> Output {
        self.compose(words).run().ok()
    }

    /// Where the web server is published; nothing where it does not run.
    fn address(&self) -> String {
        self.compose(&["port", "web", "80"]).run().text().trim().to_owned()
    }

    /// Waits for an answer of the web server, and gives it.
    #[track_caller]
    fn visited(&self) -> (String, u64) {
        let address = self.address();
        patiently("the stack answers", || visit(&address))
    }

    fn ids(&self, service: &str) -> BTreeSet<String> {
        self.ok(&["ps", "-q", service]).text().lines().map(|id| id[..12].to_owned()).collect()
    }
}

/// What the web server at an address answers: who counted, and the count.
fn visit(address: &str) -> Option<(String, u64)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (host, count) = text.trim_end().rsplit('\n').next()?.split_once(' ')?;
    Some((host.to_owned(), count.parse().ok()?))
}

/// What comes within a minute.
#[track_caller]
fn patiently<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// From the first `up` to `down -v`.
fn a_stack_lives(policy: &'static str) {
    let Some(stack) = Stack::new(policy) else { return };
    let up = stack.ok(&["up", "-d"]);
    assert!(up.stderr().contains("Creating shop_web_1"), "{up}");
    let (host, count) = stack.visited();
    assert!(stack.ids("app").contains(&host), "{host}");
    assert!(stack.visited().1 > count, "the database remembers");
    let used = "{{.HostConfig.Runtime}} {{.State.Health.Status}}";
    assert_eq!(stack.world.ok(&["inspect", "--format", used, "shop_db_1"]), format!("{policy} healthy"));

    networks_part_and_join(&stack);
    scaled_services_take_turns(&stack);
    commands_do_what_they_say(&stack);

    // The volume outlives the containers.
    let before = stack.visited().1;
    stack.ok(&["down"]);
    assert_eq!(stack.world.ok(&["ps", "-aq"]), "");
    stack.ok(&["up", "-d"]);
    assert!(stack.visited().1 > before);
    stack.ok(&["down", "-v"]);
    assert_eq!(stack.world.ok(&["volume", "ls", "-q"]), "");
    assert_eq!(stack.world.ok(&["network", "ls", "-q", "--filter", "type=custom"]), "");
    assert_eq!(stack.world.ok(&["ps", "-aq"]), "");
    stack.world.stop();
}

/// The web server does not know the database, and the database nobody but the application.
fn networks_part_and_join(stack: &Stack) {
    let finds = |from: &str, name: &str| {
        stack.compose(&["exec", "-T", from, "getent", "hosts", name]).run().success()
    };
    assert!(finds("app", "db") && finds("app", "web") && finds("web", "application"));
    assert!(!finds("web", "db") && !finds("db", "web"));
    let ways = stack.ok(&["exec", "-T", "db", "cat", "/proc/net/route"]).text();
    assert!(!ways.lines().any(|line| line.split_whitespace().nth(1) == Some("00000000")), "{ways}");
}

fn scaled_services_take_turns(stack: &Stack) {
    stack.ok(&["up", "-d", "--scale", "app=3"]);
    let wanted = stack.ids("app");
    assert_eq!(wanted.len(), 3);
    let (address, mut seen) = (stack.address(), BTreeSet::new());
    patiently("each of them has answered", || {
        seen.extend(visit(&address).map(|(host, _)| host));
        seen.is_superset(&wanted).then_some(())
    });
    stack.ok(&["up", "-d", "--scale", "app=1"]);
    assert_eq!(stack.ids("app").len(), 1);
}

fn commands_do_what_they_say(stack: &Stack) {
    let count = "select count(*) > 0 from visits";
    let asked = ["psql", "-qAtX", "-h", "db", "-U", "postgres", "-c", count];
    assert_eq!(stack.ok(&[&["exec", "-T", "db"], &asked[..]].concat()).text(), "t");
    assert_eq!(stack.ok(&[&["run", "--rm", "-T", "app"], &asked[..]].concat()).text(), "t");
    let failed = stack.compose(&["exec", "-T", "app", "sh", "-c", "exit 7"]).run();
    assert_eq!(failed.code(), 7, "{failed}");

    let follow = stack.compose(&["logs", "-f", "--no-color", "web"]).spawn();
    let logged = |follow: &casemate_tests::Running| follow.stdout().contains("GET / HTTP").then_some(());
    patiently("the log is followed", || logged(&follow));
    let lines = |follow: &casemate_tests::Running| follow.stdout().matches("GET / HTTP").count();
    let before = lines(&follow);
    stack.visited();
    patiently("the log goes on", || (lines(&follow) > before).then_some(()));
    follow.signal(rustix::process::Signal::INT);
    follow.wait();

    let started = || stack.world.ok(&["inspect", "--format", "{{.State.StartedAt}}", "shop_app_1"]);
    let before = started();
    stack.ok(&["restart", "app"]);
    assert_ne!(started(), before);
    stack.visited();
    assert!(stack.ok(&["logs", "--no-color", "app"]).text().contains("ending"), "its own signal ended it");
    let address = stack.address();
    stack.ok(&["stop", "web"]);
    assert!(visit(&address).is_none());
    stack.ok(&["start", "web"]);
    stack.visited();
    assert!(stack.ok(&["ps"]).text().contains("shop_web_1"));
    assert!(stack.ok(&["top", "db"]).text().contains("postgres"));
}

#[test]
fn a_stack_lives_under_hardened() {
    a_stack_lives("hardened");
}

#[test]
fn a_stack_lives_under_baseline() {
    a_stack_lives("baseline");
}
