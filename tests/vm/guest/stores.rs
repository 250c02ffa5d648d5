//! What a broker asks for: roots of a store's layers, on a kernel that takes no layer by descriptor, and parent control
//! groups, on a hierarchy that shares controllers out.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use casemate_tests::{Value, json, make_rootfs};

use crate::Case;
use crate::fixture::{Container, Group};
use crate::host::Host;

pub const CASES: &[Case] = &[
    Case { name: "root_of_layers", place: ours_as_root, run: root_of_layers },
    Case { name: "parent_limits", place: ours_as_root, run: parent_limits },
];

/// The host id that stands for id 0 on the disk.
const S: u32 = 1_073_676_288;

fn ours_as_root(host: &Host) -> bool {
    host.is_root() && !host.peer
}

fn shift(tree: &Path) {
    for entry in fs::read_dir(tree).expect("walk a layer").flatten() {
        match entry.file_type().expect("its type").is_dir() {
            true => shift(&entry.path()),
            false => lchown(entry.path(), Some(S), Some(S)).expect("shift an owner"),
        }
    }
    lchown(tree, Some(S), Some(S)).expect("shift an owner");
}

/// Layers with nothing in them, named as long as those of images are.
fn many(data: &Path) -> Vec<String> {
    let names = (0..100).map(|number| format!("layer-{number:0>58}")).collect::<Vec<_>>();
    for name in &names {
        fs::create_dir(data.join(name)).expect("make a layer");
        lchown(data.join(name), Some(S), Some(S)).expect("shift its owner");
    }
    names
}

fn root_of_layers(host: &Host) {
    for (policy, upper) in [("baseline", true), ("oci", true), ("oci", false)] {
        let script = "cat /etc/motd; echo x >/mine; stat -c %u:%g /mine /bin/busybox 2>&1";
        let mut container = Container::sh(host, script);
        let data = container.bundle.dir().join("data");
        for dir in ["base", "top/etc", "own/fs", "own/work", "vol"] {
            fs::create_dir_all(data.join(dir)).expect("make a directory of the store");
        }
        make_rootfs(&data.join("base"));
        fs::write(data.join("top/etc/motd"), "of the top\n").expect("write a file of a layer");
        shift(&data);
        fs::create_dir(container.bundle.bundle_dir().join("empty")).expect("make the empty root");
        let at = |path: &str| data.join(path).display().to_string();
        // More than a page of names; or one layer alone.
        let layers = match upper {
            true => [vec!["top".to_owned()], many(&data), vec!["base".to_owned()]].concat(),
            false => vec!["base".to_owned()],
        };
        let lowers = layers.iter().map(|layer| at(layer)).collect::<Vec<_>>();
        let fs_and_work = upper.then(|| json!({"fs": at("own/fs"), "work": at("own/work")}));
        let overlays = json!({"/": {"lowers": lowers, "upper": fs_and_work}});
        let document =
            json!({"ids": S, "overlays": overlays, "binds": if upper { json!(["/vol"]) } else { json!([]) }});
        let file = container.bundle.file("store.json", document.to_string()).display().to_string();
        container.bundle.policy(policy).edit(|config| config["root"]["path"] = json!("empty"));
        if upper {
            container.bundle.mount("/vol", "bind", &at("vol"), &["bind"]);
        }
        let output = container.bundle.command(["--store", &file, "run", container.bundle.id()]).run();
        if upper {
            assert_eq!(output.ok().text(), "of the top\n0:0\n0:0", "{policy}");
            let mine = fs::metadata(data.join("own/fs/mine")).expect("what it wrote");
            assert_eq!((mine.uid(), mine.gid()), (S, S), "{policy}");
        } else {
            assert!(output.stdout().contains("0:0") && output.stderr().contains("Read-only"), "{output}");
        }
        container.bundle.assert_clean();
    }
}

fn parent_limits(host: &Host) {
    let (parent, beneath) = match host.systemd {
        true => ("vm.slice::vm-tenant.slice", "vm-tenant.slice:vm:"),
        false => ("/vm/tenant", "/vm/tenant/"),
    };
    let mut container = Container::sleeping(host);
    let path = format!("{beneath}{}", container.bundle.id());
    container.bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(path));
    let set = |limits: Value| {
        let text = limits.to_string();
        let call = container.bundle.command(["cgroup", "set", parent, "--resources", "-"]);
        call.stdin(text.as_bytes()).run().ok();
    };
    set(
        json!({"pids": {"limit": 20}, "memory": {"limit": 64 << 20}, "cpu": {"quota": 50_000, "period": 100_000}}),
    );
    set(json!({"pids": {"limit": 21}}));
    let group = container.up();
    let above = Group(group.0.parent().expect("a parent").to_owned());
    above.expect(&[("pids.max", "21"), ("memory.max", "67108864"), ("cpu.max", "50000 100000")]);
    for controller in ["pids", "memory", "cpu"] {
        assert!(above.read("cgroup.subtree_control").contains(controller), "{controller} is not passed on");
    }
    container.bundle.command(["cgroup", "remove", parent]).run().fails_saying(&["it holds others"]);
    container.down();
    for _ in 0..2 {
        container.bundle.command(["cgroup", "remove", parent]).run().ok();
    }
    assert!(!above.0.exists());
}
