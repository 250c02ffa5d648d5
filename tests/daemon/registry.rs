//! Registries: Debian's, on this host, with and without credentials.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use casemate_tests::Value;

use super::World;
use super::harness::IMAGE;

/// What an image's manifest is called.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry, which ends when it is dropped.
pub struct Registry {
    process: Child,
    /// Host and port.
    pub address: String,
}

impl Registry {
    /// Starts one that keeps everything in `folder`.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn start(folder: &Path, auth: Option<&Path>) -> Self {
        Self::at(IpAddr::from([127, 0, 0, 1]), folder, auth, "")
    }

    /// The same at another address, and with more said of how it speaks HTTP.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn at(address: IpAddr, folder: &Path, auth: Option<&Path>, http: &str) -> Self {
        let port = TcpListener::bind((address, 0)).and_then(|free| free.local_addr()).expect("a port");
        let root = folder.join("registry");
        fs::create_dir_all(&root).expect("folder");
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n\
             http: {{addr: {port}{http}}}\n",
            root.display()
        );
        if let Some(file) = auth {
            config += &format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", file.display());
        }
        let file = folder.join("registry.yml");
        fs::write(&file, config).expect("configuration");
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry, see tests/harness/packages.txt");
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(port).is_err() {
            assert!(Instant::now() < until, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { process, address: port.to_string() }
    }

    /// A repository of it.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// An image, as it is inspected.
///
/// # Panics
/// When there is none.
pub fn image(world: &World, name: &str) -> Value {
    let text = world.ok(&["image", "inspect", name]);
    serde_json::from_str::<Value>(&text).expect("json")[0].clone()
}

/// The digest that a push or a pull tells.
///
/// # Panics
/// When it tells none.
pub fn digest(said: &str) -> String {
    let at = said.find("sha256:").unwrap_or_else(|| panic!("no digest in {said}"));
    said[at..at + 71].to_owned()
}

#[test]
fn pushed_and_pulled_is_the_same() {
    let world = World::start();
    let registry = Registry::start(world.dir(), None);
    let (one, two) = (registry.name("t/bb:1"), registry.name("u/bb:2"));
    world.ok(&["tag", IMAGE, &one]);
    let pushed = world.ok(&["push", &one]);
    for words in [
        format!("The push refers to repository [{}]", registry.name("t/bb")),
        "Pushed".into(),
        "size: ".into(),
    ] {
        assert!(pushed.contains(&words), "{pushed}");
    }
    assert!(world.ok(&["push", &one]).contains("Layer already exists"));
    world.ok(&["tag", IMAGE, &two]);
    assert!(world.ok(&["push", &two]).contains("Mounted from t/bb"));

    let before = image(&world, IMAGE);
    world.ok(&["rmi", "-f", IMAGE, &one, &two]);
    let pulled = world.ok(&["pull", &one]);
    for words in [
        "1: Pulling from t/bb",
        "Pulling fs layer",
        "Verifying Checksum",
        "Download complete",
        "Pull complete",
    ] {
        assert!(pulled.contains(words), "{words}: {pulled}");
    }
    assert!(pulled.contains(&format!("Status: Downloaded newer image for {one}")), "{pulled}");
    assert_eq!(digest(&pulled), digest(&pushed));
    let after = image(&world, &one);
    assert_eq!((&before["Id"], &before["Config"]), (&after["Id"], &after["Config"]));
    let by_digest = format!("{}@{}", registry.name("t/bb"), digest(&pushed));
    assert_eq!(after["RepoDigests"], serde_json::json!([by_digest]));
    assert!(world.ok(&["pull", &one]).contains(&format!("Status: Image is up to date for {one}")));
    world.ok(&["pull", &by_digest]);
    assert_eq!(image(&world, &by_digest)["Id"], before["Id"]);

    // Pulled and pushed elsewhere, it keeps its digest.
    let three = registry.name("v/bb:3");
    world.ok(&["tag", &one, &three]);
    assert_eq!(digest(&world.ok(&["push", &three])), digest(&pushed));
    world.docker(["run", "--rm", "--net", "none", &one, "echo", "it runs"]).run().ok();
    world.ok(&["pull", "-a", &registry.name("t/bb")]);
    let distribution = world
        .client("casemate://default/root?groups=admin")
        .fetch(&format!("/v1.51/distribution/{one}/json"));
    assert_eq!(distribution.json()["Descriptor"]["digest"], Value::from(digest(&pushed)));
    drop(registry);
    world.stop();
}

#[test]
fn what_is_not_there_is_told_in_dockers_words() {
    let world = World::start();
    let registry = Registry::start(world.dir(), None);
    let name = registry.name("t/bb:1");
    world.ok(&["tag", IMAGE, &name]);
    world.ok(&["push", &name]);
    let tag = registry.name("t/bb:none");
    let words = format!("manifest for {tag} not found: manifest unknown: manifest unknown");
    world.docker(["pull", &tag]).run().fails_saying(&[&words]);
    world.docker(["pull", &registry.name("none:1")]).run().fails_saying(&["not found"]);
    let other = ["pull", "--platform", "linux/s390x", &name];
    world.docker(other).run().fails_saying(&["does not match the specified platform (linux/s390x)"]);
    world
        .docker(["push", &registry.name("t/none:1")])
        .run()
        .fails_saying(&["An image does not exist locally"]);
    world.docker(["pull", "127.0.0.1:1/x"]).run().fails_saying(&[
        "Get \"http",
        "127.0.0.1:1/v2/",
        "onnection refused",
    ]);
    world.docker(["search", &registry.name("bb")]).run().fails_saying(&["cannot be searched"]);
    drop(registry);
    world.stop();
}

/// User `u`, password `p`.
const HTPASSWD: &str = "u:$2b$04$NIcIp4kXbMUv7GGdCupMy.GnnmYBVnbAFGmY4ep.lk./fTYgFWZ7S\n";

#[test]
fn credentials_are_asked_for_and_used() {
    let world = World::start();
    let file = world.dir().join("htpasswd");
    fs::write(&file, HTPASSWD).expect("write");
    let registry = Registry::start(world.dir(), Some(&file));
    let name = registry.name("t/bb:1");
    world.ok(&["tag", IMAGE, &name]);
    world.docker(["push", &name]).run().fails_saying(&["no basic auth credentials"]);
    world.docker(["pull", &name]).run().fails_saying(&["no basic auth credentials"]);
    let login = |password: &str| {
        world
            .docker(["login", "-u", "u", "--password-stdin", &registry.address])
            .stdin(password.as_bytes())
            .run()
    };
    login("wrong").fails_saying(&["unauthorized"]);
    let said = login("p").ok().text();
    assert!(said.contains("Login Succeeded"), "{said}");
    world.ok(&["push", &name]);
    world.ok(&["rmi", "-f", IMAGE, &name]);
    world.ok(&["pull", &name]);
    drop(registry);
    world.stop();
}

#[test]
fn a_pull_that_is_broken_off_leaves_nothing() {
    let world = World::start();
    let registry = Registry::start(world.dir(), None);
    let name = registry.name("t/bb:1");
    world.ok(&["tag", IMAGE, &name]);
    world.ok(&["push", &name]);
    world.ok(&["rmi", "-f", IMAGE, &name]);
    // Damage what the registry keeps of the layer: the digest is wrong then.
    let blobs = world.dir().join("registry/docker/registry/v2/blobs/sha256");
    let find = world.outside("find").arg(&blobs).args(["-name", "data", "-size", "+100k"]).run().ok().text();
    let data = PathBuf::from(find.lines().next().expect("a layer"));
    let mut bytes = fs::read(&data).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&data, bytes).expect("write");
    world
        .docker(["pull", &name])
        .run()
        .fails_saying(&["filesystem layer verification failed for digest sha256:"]);
    let count = |path: &str| fs::read_dir(world.data().join(path)).map_or(0, Iterator::count);
    casemate_tests::wait_until("nothing is left", || {
        (count("store/layers"), count("store/staging"), count("daemon/blobs/sha256"), count("daemon/tmp"))
            == (0, 0, 0, 0)
    });
    world.docker(["image", "inspect", &name]).run().fails_saying(&["No such image"]);
    drop(registry);
    world.stop();
}

/// Puts a manifest or an index under a tag or digest of `t/bb`.
///
/// # Panics
/// When the registry does not take it.
pub fn put_manifest(registry: &Registry, name: &str, manifest: &Value) {
    let target = format!("/v2/t/bb/manifests/{name}");
    let kind = manifest["mediaType"].as_str().expect("a kind");
    let done = ask(registry, "PUT", &target, kind, manifest.to_string().as_bytes());
    assert!(done.contains(" 201 "), "{done}");
}

/// The manifest of a tag.
///
/// # Panics
/// When there is none.
pub fn manifest(registry: &Registry, name: &str) -> Value {
    let target = format!("/v2/t/bb/manifests/{name}");
    let mut stream = std::net::TcpStream::connect(&registry.address).expect("connect");
    let head =
        format!("GET {target} HTTP/1.0\r\nHost: {}\r\nAccept: {DOCKER_MANIFEST}\r\n\r\n", registry.address);
    stream.write_all(head.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// One request to the registry, and its answer.
///
/// # Panics
/// When there is none.
pub fn ask(registry: &Registry, method: &str, target: &str, kind: &str, body: &[u8]) -> String {
    let mut stream = std::net::TcpStream::connect(&registry.address).expect("connect");
    let address = &registry.address;
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).expect("send");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Puts a blob; its digest.
///
/// # Panics
/// When the registry does not take it.
pub fn put_blob(world: &World, registry: &Registry, body: &[u8]) -> String {
    let file = world.dir().join("blob");
    fs::write(&file, body).expect("write");
    let sum = world.outside("sha256sum").arg(&file).run().ok().text();
    let digest = format!("sha256:{}", sum.split_whitespace().next().expect("a digest"));
    let begun = ask(registry, "POST", "/v2/t/bb/blobs/uploads/", "text/plain", b"");
    let location = begun.lines().find_map(|line| line.strip_prefix("Location: ")).expect("a location");
    let target = location.split(&registry.address).last().expect("a path");
    let done = ask(registry, "PUT", &format!("{target}&digest={digest}"), "application/octet-stream", body);
    assert!(done.contains(" 201 "), "{done}");
    digest
}

#[test]
fn an_uncompressed_layer_is_compressed_once_for_a_registry() {
    let mut world = World::start();
    let registry = Registry::start(world.dir(), None);
    let layer = image(&world, IMAGE)["RootFS"]["Layers"][0].as_str().expect("a layer").to_owned();
    let plain = world.data().join("daemon/blobs/sha256").join(layer.trim_start_matches("sha256:"));
    assert_eq!(fs::metadata(&plain).expect("as it came").len() % 512, 0);
    // One that stands on it: what is pushed of the one is there for the other.
    let container = world.ok(&["create", "--net", "none", IMAGE, "true"]);
    world.ok(&["commit", &container, "child"]);
    world.ok(&["rm", &container]);

    let (one, two) = (registry.name("t/bb:1"), registry.name("t/bb:2"));
    world.ok(&["tag", IMAGE, &one]);
    let pushed = digest(&world.ok(&["push", &one]));
    let sent = manifest(&registry, "1");
    let gzip = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    assert_eq!(sent["layers"][0]["mediaType"], gzip);
    casemate_tests::wait_until("the uncompressed one is gone", || !plain.exists());
    world.ok(&["tag", "child", &two]);
    let said = world.ok(&["push", &two]);
    assert!(said.contains("Layer already exists"), "{said}");
    assert_eq!(manifest(&registry, "2")["layers"][0], sent["layers"][0]);

    // It stays what it has become, whoever asks.
    world.crash_daemon();
    assert_eq!(digest(&world.ok(&["push", &one])), pushed);
    world.run(&[], &["true"]).ok();
    let archive = world.dir().join("saved.tar");
    world.ok(&["save", "-o", &archive.to_string_lossy(), &one]);
    world.ok(&["load", "-i", &archive.to_string_lossy()]);
    world.ok(&["rmi", "-f", IMAGE, "child", &one, &two]);
    let blobs = world.data().join("daemon/blobs/sha256");
    casemate_tests::wait_until("nothing is left", || fs::read_dir(&blobs).is_ok_and(|all| all.count() == 0));
    world.ok(&["load", "-i", &archive.to_string_lossy()]);
    assert_eq!(digest(&world.ok(&["push", &one])), pushed);
    drop(registry);
    world.stop();
}
