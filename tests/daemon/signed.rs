//! Of which images containers are made: those that are signed where that is asked for, and those that were judged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::World;
use super::harness::{ADMIN, IMAGE};
use super::registry::{Registry, digest, image, put_blob, put_manifest};

/// Signs an image as cosign does.
fn sign(world: &World, registry: &Registry, image: &str, key: &Path) {
    let statement = serde_json::json!({ "critical": {
        "identity": { "docker-reference": "t/bb" }, "image": { "docker-manifest-digest": image },
        "type": "cosign container image signature" }, "optional": null })
    .to_string();
    let file = world.dir().join("statement");
    fs::write(&file, &statement).expect("write");
    let signature = world.dir().join("signature");
    let openssl = world.outside("openssl").args(["dgst", "-sha256", "-sign"]).arg(key);
    openssl.arg("-out").arg(&signature).arg(&file).run().ok();
    let signature = world.outside("base64").arg("-w0").arg(&signature).run().ok().text();
    let layer = put_blob(world, registry, statement.as_bytes());
    let config = put_blob(world, registry, b"{}");
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": layer,
            "size": statement.len(), "annotations": { "dev.cosignproject.cosign/signature": signature } }]
    });
    put_manifest(registry, &format!("{}.sig", image.replace(':', "-")), &manifest);
}

/// A key pair in a folder: `NAME` and `NAME.pub`.
fn key(folder: &Path, name: &str) -> PathBuf {
    let file = folder.join(name);
    let openssl = |words: &[&str], out: &Path| {
        let mut openssl = Command::new("openssl");
        assert!(openssl.args(words).arg("-out").arg(out).output().expect("openssl").status.success());
    };
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"], &file);
    openssl(&["ec", "-pubout", "-in", &file.to_string_lossy()], &folder.join(format!("{name}.pub")));
    file
}

#[test]
fn what_must_be_signed_is_used_only_when_it_is() {
    let folder = PathBuf::from(format!("/tmp/cmt-signed-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("folder");
    let registry = Registry::start(&folder, None);
    let config = format!("[[signatures]]\nimages = \"{}\"\nkeys = [\"cosign.pub\"]\n", registry.name("t"));
    let (ours, theirs) = (key(&folder, "ours"), key(&folder, "theirs"));
    let public = fs::read(folder.join("ours.pub")).expect("read");
    let mut world =
        World::prepared(&config, |etc| fs::write(etc.join("cosign.pub"), &public).expect("write"));
    world.import();
    let (name, free) = (registry.name("t/bb:1"), registry.name("u/bb:1"));
    for name in [&name, &free] {
        world.ok(&["tag", IMAGE, name]);
    }
    let pushed = digest(&world.ok(&["push", &name]));
    world.ok(&["push", &free]);
    let run = |world: &World, name: &str| world.docker(["run", "--rm", "--net", "none", name, "true"]).run();
    let unsigned = "must be signed, and is not trusted: it was not pulled with a signature";

    // A name is given by whoever likes: by a tag, by an import, by loading.
    run(&world, &free).ok();
    run(&world, &name)
        .fails_saying(&[&format!("{name}: the image {unsigned}"), "hint: pull it from its registry"]);
    let id = image(&world, &name)["Id"].as_str().expect("an id").to_owned();
    run(&world, &id).fails_saying(&[unsigned]);
    let archive = world.dir().join("saved.tar");
    world.ok(&["save", "-o", &archive.to_string_lossy(), &name]);
    world.ok(&["rmi", "-f", IMAGE, &name, &free]);
    world.ok(&["load", "-i", &archive.to_string_lossy()]);
    run(&world, &name).fails_saying(&[unsigned]);
    let rootfs = world.rootfs_archive();
    world.ok(&["import", &rootfs.to_string_lossy(), &registry.name("t/made:1")]);
    run(&world, &registry.name("t/made:1")).fails_saying(&[unsigned]);
    world.ok(&["rmi", "-f", &name]);

    let none = format!("must be signed, and is not trusted: there is no signature of {pushed}");
    world.docker(["pull", &name]).run().fails_saying(&[&none]);
    sign(&world, &registry, &pushed, &theirs);
    world.docker(["pull", &name]).run().fails_saying(&["no key of the operator's has signed"]);
    sign(&world, &registry, &pushed, &ours);
    world.ok(&["pull", &name]);
    world.ok(&["pull", &free]);

    // What was signed stays so under each of its names, and after a crash; what is made of it was not.
    let other = registry.name("t/other:1");
    world.ok(&["tag", &name, &other]);
    world.crash_daemon();
    for name in [&name, &other, &id] {
        run(&world, name).ok();
    }
    let container = world.ok(&["create", "--net", "none", &name, "true"]);
    world.ok(&["commit", &container, &registry.name("t/changed:1")]);
    run(&world, &registry.name("t/changed:1")).fails_saying(&[unsigned]);

    // A key that is trusted no more makes nothing new; what is there goes on.
    fs::copy(folder.join("theirs.pub"), world.data().join("etc/cosign.pub")).expect("exchange");
    world.crash_daemon();
    run(&world, &name).fails_saying(&[unsigned]);
    world.ok(&["start", "-a", &container]);
    world.ok(&["rm", &container]);
    drop(registry);
    fs::remove_dir_all(&folder).expect("remove");
    world.stop();
}

#[test]
fn a_rule_for_all_images_covers_what_has_no_name() {
    let folder = PathBuf::from(format!("/tmp/cmt-unnamed-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("folder");
    key(&folder, "ours");
    let public = fs::read(folder.join("ours.pub")).expect("read");
    let config = "[[signatures]]\nimages = \"\"\nkeys = [\"cosign.pub\"]\n";
    let world = World::prepared(config, |etc| fs::write(etc.join("cosign.pub"), &public).expect("write"));
    let rootfs = world.rootfs_archive();
    let id = world.ok(&["import", &rootfs.to_string_lossy()]);
    for name in [id.as_str(), id.trim_start_matches("sha256:"), &id[7..19]] {
        let run = world.docker(["run", "--rm", "--net", "none", name, "true"]).run();
        run.fails_with(125).fails_saying(&["must be signed"]);
    }
    world.import();
    world.run(&[], &["true"]).fails_saying(&["busybox:latest: the image must be signed"]);
    fs::remove_dir_all(&folder).expect("remove");
    world.stop();
}

/// A policy sees an image's labels by its id alone; the name is all that a client gives.
#[test]
fn a_name_that_moves_does_not_lead_past_a_rule() {
    let world =
        World::prepared("", |etc| fs::create_dir_all(etc.join("policies")).expect("make a directory"));
    world.import();
    let rootfs = world.rootfs_archive();
    let bad = world.ok(&["import", "-c", "LABEL bad=1", &rootfs.to_string_lossy(), "bad"]);
    let good = image(&world, IMAGE)["Id"].as_str().expect("an id").to_owned();
    let rule = format!(
        "@id(\"not-this\") forbid (principal, action == Casemate::Action::\"container.create\", resource) \
         when {{ resource.imageId == \"{bad}\" }};"
    );
    fs::write(world.data().join("etc/policies/own.cedar"), rule).expect("write a policy");
    let mut world = world;
    world.crash_daemon();
    world.docker(["create", "--net", "none", "bad", "true"]).run().fails_saying(&["own.cedar:not-this"]);

    let done = AtomicBool::new(false);
    let (mut made, mut denied) = (0, 0);
    std::thread::scope(|scope| {
        let (world, done) = (&world, &done);
        for from in [&good, &bad] {
            scope.spawn(move || {
                let client = world.client(ADMIN);
                while !done.load(Ordering::Relaxed) {
                    let path = format!("/v1.51/images/{from}/tag?repo=moves&tag=1");
                    assert_eq!(client.request("POST", &path, None).status, 201);
                }
            });
        }
        let client = world.client(ADMIN);
        let body = serde_json::json!({ "Image": "moves:1", "Cmd": ["true"], "HostConfig": { "NetworkMode": "none" } });
        casemate_tests::wait_until("the name is there", || {
            client.fetch("/v1.51/images/moves:1/json").status == 200
        });
        for _ in 0..60 {
            let reply = client.request("POST", "/v1.51/containers/create", Some(&body));
            match reply.status {
                201 => made += 1,
                403 => denied += 1,
                _ => panic!("{}", reply.text()),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    let all = world.ok(&["ps", "-aq", "--no-trunc"]);
    let images = world.ok(&[&["inspect", "-f", "{{.Image}}"][..], &all.lines().collect::<Vec<_>>()].concat());
    assert!(images.lines().all(|image| image == good), "one was made of what is forbidden: {images}");
    assert!(made > 0 && denied > 0, "{made} made, {denied} denied: the name did not move");
    world.ok(&[&["rm"][..], &all.lines().collect::<Vec<_>>()].concat());
    world.stop();
}
