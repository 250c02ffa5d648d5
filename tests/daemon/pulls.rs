//! Pulls that meet more than a registry on this host: mirrors, authorities of its own, several platforms, a client that goes,
//! a disk that is full.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use casemate_tests::{skip, wait_until};
use rustix::process::Signal;
use serde_json::json;

use super::World;
use super::harness::IMAGE;
use super::registry::{DOCKER_MANIFEST, Registry, digest, image, manifest, put_blob, put_manifest};

/// Of the store: layers, staging places, blobs, drafts.
fn stored(world: &World) -> [usize; 4] {
    let count = |path: &str| fs::read_dir(world.data().join(path)).map_or(0, Iterator::count);
    [count("store/layers"), count("store/staging"), count("daemon/blobs/sha256"), count("daemon/tmp")]
}

/// A folder that is there before the world is, and goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn make(name: &str) -> Self {
        let folder = PathBuf::from(format!("/tmp/cmt-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("folder");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_for_what_it_lacks() {
    let folder = Folder::make("mirror");
    let mirror = Registry::start(&folder.0, None);
    // The first of the two has gone.
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let config = format!("registry-mirrors = [\"http://{gone}\", \"http://{}\"]\n", mirror.address);
    let world = World::configured(&config);
    world.import();
    let name = mirror.name("library/bb:1");
    world.ok(&["tag", IMAGE, &name]);
    let pushed = digest(&world.ok(&["push", &name]));
    world.ok(&["rmi", "-f", IMAGE, &name]);

    let pulled = world.ok(&["pull", "bb:1"]);
    assert!(pulled.contains("Status: Downloaded newer image for bb:1"), "{pulled}");
    assert_eq!(image(&world, "bb:1")["RepoDigests"], json!([format!("bb@{pushed}")]));
    world.ok(&["run", "--rm", "--net", "none", "bb:1", "true"]);

    // It is there, and does not have it: docker.io is asked, with what it says or that it cannot be reached.
    let lacked = world.docker(["pull", "casemate-test/lacked:1"]).timeout(Duration::from_secs(120)).run();
    assert!(!lacked.success(), "{lacked}");
    let said = lacked.stderr();
    assert!(said.contains("registry-1.docker.io") || said.contains("pull access denied"), "{said}");
    drop(mirror);
    world.stop();
}

/// This host's address towards the world, which nobody may do without TLS at.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only says from where it would be.
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|own| own.ip()).filter(|own| !own.is_loopback())
}

/// An authority `NAME.crt`, and the address's certificate `NAME.leaf.crt` with its key.
fn certify(folder: &Path, name: &str, address: IpAddr) {
    let openssl = |line: String| {
        let mut openssl = Command::new("openssl");
        let output = openssl.args(line.split_whitespace()).current_dir(folder).output().expect("openssl");
        assert!(output.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let fresh = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(format!(
        "req -x509 {fresh} -keyout {name}.key -out {name}.crt -days 2 -subj /CN=authority-{name}"
    ));
    openssl(format!("req {fresh} -keyout {name}.leaf.key -out {name}.csr -subj /CN=registry"));
    fs::write(folder.join("extensions"), format!("subjectAltName=IP:{address}\n")).expect("write");
    openssl(format!(
        "x509 -req -in {name}.csr -CA {name}.crt -CAkey {name}.key -CAcreateserial -days 2 -extfile extensions \
         -out {name}.leaf.crt"
    ));
}

#[test]
fn a_registry_has_an_authority_of_its_own() {
    let Some(address) = own_address() else { return skip("this host has no address but loopback") };
    let folder = Folder::make("authority");
    certify(&folder.0, "right", address);
    certify(&folder.0, "wrong", address);
    let file = |name: &str| folder.0.join(name).display().to_string();
    let tls = format!(", tls: {{certificate: {}, key: {}}}", file("right.leaf.crt"), file("right.leaf.key"));
    let registry = Registry::at(address, &folder.0, None, &tls);
    let world = World::start();
    let name = registry.name("t/bb:1");
    world.ok(&["tag", IMAGE, &name]);
    world.docker(["push", &name]).run().fails_saying(&["certificate"]);
    let own = world.data().join("etc/certs.d").join(&registry.address);
    fs::create_dir_all(&own).expect("folder");
    fs::copy(folder.0.join("wrong.crt"), own.join("ca.crt")).expect("copy");
    world.docker(["push", &name]).run().fails_saying(&["certificate"]);
    fs::copy(folder.0.join("right.crt"), own.join("ca.crt")).expect("copy");
    world.ok(&["push", &name]);
    world.ok(&["rmi", "-f", IMAGE, &name]);
    world.ok(&["pull", &name]);
    // It speaks for this registry alone.
    fs::rename(&own, own.with_file_name("elsewhere.example")).expect("rename");
    world.docker(["pull", &name]).run().fails_saying(&["certificate"]);
    drop(registry);
    world.stop();
}

#[test]
fn of_several_platforms_the_one_that_fits_is_pulled() {
    let world = World::start();
    let registry = Registry::start(world.dir(), None);
    let name = registry.name("t/bb:1");
    world.ok(&["tag", IMAGE, &name]);
    let native = digest(&world.ok(&["push", &name]));
    // The same files as another machine's image, and an index over the two.
    let mut other = manifest(&registry, "1");
    let config = json!({ "architecture": "riscv64", "os": "linux", "config": { "Cmd": ["true"] },
        "rootfs": image(&world, &name)["RootFS"].clone() });
    let layers = image(&world, &name)["RootFS"]["Layers"].clone();
    let mut config = config;
    config["rootfs"] = json!({ "type": "layers", "diff_ids": layers });
    let config = config.to_string();
    other["config"]["digest"] = put_blob(&world, &registry, config.as_bytes()).into();
    other["config"]["size"] = config.len().into();
    put_manifest(&registry, "foreign", &other);
    let text = other.to_string();
    let sum = world.outside("sha256sum").stdin(text.as_bytes()).run().ok().text();
    let foreign = format!("sha256:{}", sum.split_whitespace().next().expect("a digest"));
    let own = image(&world, &name)["Architecture"].as_str().expect("an architecture").to_owned();
    let size = manifest_size(&registry, "1");
    let entry = |digest: &str, size: usize, architecture: &str| {
        json!({ "mediaType": DOCKER_MANIFEST, "digest": digest, "size": size,
            "platform": { "os": "linux", "architecture": architecture } })
    };
    let index = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifests": [entry(&foreign, text.len(), "riscv64"), entry(&native, size, &own)]
    });
    put_manifest(&registry, "all", &index);
    let all = registry.name("t/bb:all");
    let before = image(&world, &name)["Id"].clone();
    world.ok(&["rmi", "-f", IMAGE, &name]);

    world.ok(&["pull", &all]);
    assert_eq!(image(&world, &all)["Id"], before);
    world.ok(&["run", "--rm", "--net", "none", &all, "true"]);
    world.ok(&["pull", "--platform", "linux/riscv64", &all]);
    assert_eq!(image(&world, &all)["Architecture"], "riscv64");
    let native = format!("linux/{own}");
    world.ok(&["pull", "--platform", &native, &all]);
    assert_eq!(image(&world, &all)["Id"], before);
    world
        .docker(["pull", "--platform", "linux/s390x", &all])
        .run()
        .fails_saying(&["no matching manifest for linux/s390x in the manifest list entries"]);
    drop(registry);
    world.stop();
}

/// Bytes of a tag's manifest, as the registry has it.
fn manifest_size(registry: &Registry, tag: &str) -> usize {
    let head =
        super::registry::ask(registry, "GET", &format!("/v2/t/bb/manifests/{tag}"), DOCKER_MANIFEST, b"");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
    length.trim().parse().expect("a number")
}

/// Stands before a registry, and passes on so many bytes of each connection until it is opened.
struct Gate {
    address: String,
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    const SHUT_AFTER: usize = 200_000;

    fn before(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address").to_string();
        let open = Arc::new((Mutex::new(false), Condvar::new()));
        let (to, gate) = (registry.address.clone(), Arc::clone(&open));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&to) else { return };
                let (from, into) = (client.try_clone().expect("clone"), server.try_clone().expect("clone"));
                std::thread::spawn(move || pass(from, into, None));
                let gate = Arc::clone(&gate);
                std::thread::spawn(move || pass(server, client, Some(&gate)));
            }
        });
        Self { address, open }
    }

    fn open(&self) {
        *self.open.0.lock().expect("lock") = true;
        self.open.1.notify_all();
    }
}

fn pass(mut from: TcpStream, mut into: TcpStream, gate: Option<&(Mutex<bool>, Condvar)>) {
    let mut passed = 0;
    let mut buffer = [0; 16 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        if let (Some((open, changed)), true) = (gate, passed > Gate::SHUT_AFTER) {
            let open = open.lock().expect("lock");
            drop(changed.wait_while(open, |open| !*open).expect("wait"));
        }
        if read == 0 || into.write_all(&buffer[..read]).is_err() {
            break;
        }
        passed += read;
    }
    into.shutdown(Shutdown::Write).ok();
}

#[test]
fn a_client_that_goes_in_the_midst_of_a_pull_leaves_nothing() {
    let world = World::start();
    let registry = Registry::start(world.dir(), None);
    let gate = Gate::before(&registry);
    let (direct, name) = (registry.name("t/bb:1"), format!("{}/t/bb:1", gate.address));
    world.ok(&["tag", IMAGE, &direct]);
    world.ok(&["push", &direct]);
    world.ok(&["rmi", "-f", IMAGE, &direct]);
    assert_eq!(stored(&world), [0; 4]);

    let first = world.docker(["pull", &name]).spawn();
    wait_until("a part of it has come", || stored(&world)[3] > 0);
    // Another who wants the same waits, and is none the worse for it.
    let second = world.docker(["pull", &name]).spawn();
    first.signal(Signal::KILL);
    first.wait();
    second.signal(Signal::INT);
    second.wait();
    wait_until("nothing is left", || stored(&world) == [0; 4]);
    world.docker(["image", "inspect", &name]).run().fails_saying(&["No such image"]);

    let third = world.docker(["pull", &name]).spawn();
    wait_until("a part of it has come", || stored(&world)[3] > 0);
    gate.open();
    third.wait().ok();
    world.ok(&["run", "--rm", "--net", "none", &name, "true"]);
    drop(registry);
    world.stop();
}

/// An image in an archive, with so many bytes that do not compress.
fn noisy(world: &World, bytes: u64) -> PathBuf {
    let stage = world.dir().join("noisy");
    fs::create_dir_all(stage.join("files")).expect("folder");
    let mut noise = fs::File::open("/dev/urandom").expect("noise").take(bytes);
    let mut file = fs::File::create(stage.join("files/noise")).expect("create");
    std::io::copy(&mut noise, &mut file).expect("write");
    let tar = |into: &str, from: &str, names: &[&str]| {
        let tar = world.outside("tar").arg("-cf").arg(stage.join(into)).arg("-C").arg(stage.join(from));
        tar.args(names.iter().copied()).run().ok();
    };
    tar("layer.tar", "files", &["noise"]);
    let sum = world.outside("sha256sum").arg(stage.join("layer.tar")).run().ok().text();
    let diff = format!("sha256:{}", sum.split_whitespace().next().expect("a digest"));
    let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Cmd": ["true"] },
        "rootfs": { "type": "layers", "diff_ids": [diff] } });
    let manifest = json!([{ "Config": "config.json", "RepoTags": ["noisy:1"], "Layers": ["layer.tar"] }]);
    fs::write(stage.join("config.json"), config.to_string()).expect("write");
    fs::write(stage.join("manifest.json"), manifest.to_string()).expect("write");
    tar("noisy.tar", "", &["manifest.json", "config.json", "layer.tar"]);
    stage.join("noisy.tar")
}

#[test]
fn a_pull_for_which_there_is_no_room_leaves_nothing() {
    let world = match World::on_a_disk(96) {
        Ok(world) => world,
        Err(why) => return skip(&format!("no small disk can be mounted: {why}")),
    };
    let registry = Registry::start(world.dir(), None);
    let archive = noisy(&world, 70_000_000);
    let (small, large) = (registry.name("t/bb:1"), registry.name("t/noisy:1"));
    let copy = world.outside("skopeo").args(["--insecure-policy", "copy", "--dest-tls-verify=false"]);
    copy.arg(format!("docker-archive:{}", archive.display())).arg(format!("docker://{large}")).run().ok();
    world.ok(&["tag", IMAGE, &small]);
    world.ok(&["push", &small]);
    world.ok(&["rmi", "-f", IMAGE, &small]);
    let before = stored(&world);

    // The blob has room, its files beside it have not; then neither has, beside what else is on the disk.
    for others in [0, 60_000_000] {
        fs::write(world.data().join("others"), vec![1; others]).expect("write");
        let pulled = world.docker(["pull", &large]).run();
        assert!(!pulled.success(), "{pulled}");
        assert!(pulled.stderr().to_lowercase().contains("no space left on device"), "{pulled}");
        wait_until("nothing is left", || stored(&world) == before);
        world.docker(["image", "inspect", &large]).run().fails_saying(&["No such image"]);
    }
    fs::remove_file(world.data().join("others")).expect("remove");
    world.ok(&["pull", &small]);
    world.ok(&["run", "--rm", "--net", "none", &small, "true"]);
    drop(registry);
    world.stop();
}
