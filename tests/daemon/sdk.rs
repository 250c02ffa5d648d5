//! Other clients than docker's own: docker-py and dockerode, each with its own idea of streams, hijacking and errors.
//!
//! The cases are written in the clients' languages (`sdk/client.py`, `sdk/client.js`); here they are given a world, and
//! what they print is judged. The clients come from their registries, into the target folder, once.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_tests::{Invocation, skip};
use rustix::fs::{FlockOperation, flock};

use crate::harness::{ADMIN, read_reply};
use crate::registry::Registry;
use crate::{Alone, World};

/// Where the cases are.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("daemon/sdk")
}

/// What the registries' own programs have installed, in a directory named after what was asked for; none, and why, when
/// they cannot.
pub fn installed(list: &str, install: impl Fn(&Path) -> Invocation) -> Result<PathBuf, String> {
    let asked = fs::read(sources().join(list)).expect("what is asked for");
    let sum = asked.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sdk");
    fs::create_dir_all(&home).expect("make a directory");
    // One test at a time, and nothing half done is taken for whole.
    let lock = fs::File::create(home.join("lock")).expect("make a lock");
    flock(&lock, FlockOperation::LockExclusive).expect("lock");
    let (done, half) = (home.join(format!("{list}-{sum:x}")), home.join("half"));
    if done.exists() {
        return Ok(done);
    }
    if half.exists() {
        fs::remove_dir_all(&half).expect("remove what was left half done");
    }
    fs::create_dir_all(&half).expect("make a directory");
    fs::copy(sources().join(list), half.join(list)).expect("copy what is asked for");
    // A program that is missing is one more reason, not a failure.
    let output =
        install(&half).via(["sh", "-c", "exec \"$@\"", "sh"]).timeout(Duration::from_secs(120)).run();
    if !output.success() {
        let said = output.stderr();
        let last =
            said.lines().rev().find(|line| line.to_lowercase().contains("err") || line.contains("not found"));
        return Err(format!("{list} could not be installed: {}", last.unwrap_or("no reason was given")));
    }
    fs::rename(&half, &done).expect("keep what was installed");
    Ok(done)
}

/// Runs the cases, each of which has to be told of as `ok NAME`.
fn judge(world: World, client: Invocation, cases: &[&str]) {
    let registry = Registry::start(world.dir(), None);
    let client = world.environment(ADMIN, client).env("TEST_REGISTRY", &registry.address);
    // By any value, an empty one too, these take the place of the certificates that the client is given.
    let client = client.via(["env", "-u", "REQUESTS_CA_BUNDLE", "-u", "CURL_CA_BUNDLE"]);
    let output = client.timeout(Duration::from_secs(150)).run();
    let said = output.stdout();
    let ok: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("ok ")).collect();
    assert!(output.success() && ok == cases, "{output}");
    drop(registry);
    assert_eq!(world.ok(&["ps", "-aq"]), "", "every case removes what it makes");
    world.stop();
}

#[test]
fn docker_py_does_all_it_can() {
    let world = World::start();
    let packages = installed("requirements.txt", |to| {
        let python = world.outside("python3").args(["-m", "pip", "install", "--quiet", "--no-input"]);
        python.args(["--only-binary", ":all:", "--target"]).arg(to).arg("-r").arg(to.join("requirements.txt"))
    });
    let packages = match packages {
        Ok(packages) => packages,
        Err(why) => return skip(&why),
    };
    let client = world.outside("python3").arg(sources().join("client.py")).env("PYTHONPATH", packages);
    let cases = [
        "system", "runs", "attaches", "executes", "follows", "listens", "copies", "measures", "lives",
        "images", "builds", "volumes",
    ];
    judge(world, client.env("PYTHONDONTWRITEBYTECODE", "1"), &cases);
}

#[test]
fn dockerode_does_all_it_can() {
    let world = World::start();
    let packages = installed("package.json", |to| {
        let npm = world.outside("npm").args(["install", "--ignore-scripts", "--no-audit", "--no-fund"]);
        npm.arg("--prefix").arg(to)
    });
    let packages = match packages {
        Ok(packages) => packages,
        Err(why) => return skip(&why),
    };
    let client = world.outside("node").arg(sources().join("client.js"));
    let cases = [
        "system",
        "runs",
        "attaches",
        "executes",
        "follows",
        "listens",
        "copies",
        "measures",
        "terminals",
        "images",
        "builds",
    ];
    judge(world, client.env("NODE_PATH", packages.join("node_modules")), &cases);
}

/// Some clients send `{}` with everything, and a moment after the head. Whoever answers without it must not end the
/// connection behind an answer that does not say so.
#[test]
fn a_body_that_nobody_wants_does_not_end_the_connection() {
    let alone = Alone::start("");
    let mut connection = alone.client(ADMIN).connect().expect("a connection");
    for path in ["/v1.51/containers/none/start", "/v1.51/nowhere", "/v1.51/containers/prune"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
        );
        connection.write_all(head.as_bytes()).expect("sent");
        std::thread::sleep(Duration::from_millis(100));
        connection.write_all(b"{}").expect("the connection stands");
        let reply = read_reply(&mut connection, false).expect("an answer");
        assert!(reply.status == 404 || reply.status == 200, "{reply:?}");
    }
}
