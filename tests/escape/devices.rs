//! Device nodes: made inside, brought by the image, asked for by the bundle, and asked for under a false name.

use casemate_tests::{Bundle, Value, json};

use crate::attack::{REFUSED, operations_in, script};

fn all_devices(bundle: &mut Bundle) {
    bundle.edit(|c| c["linux"]["resources"] = json!({"devices": [{"allow": true, "access": "rwm"}]}));
}

/// The rule that lets every device be used is what `--privileged` writes.
#[test]
fn every_device_allowed() {
    script(REFUSED, "echo won", all_devices);
}

/// With the capability, and rules that let nodes be made and used: kernel log, disks, loop devices, FUSE.
#[test]
fn made_inside() {
    let names = [
        "device:make and open kernel log",
        "device:make and open hwrng",
        "device:make and open fuse",
        "device:make and open loop control",
        "device:make and open loop0",
    ];
    operations_in(REFUSED, &names, all_devices);
    operations_in([crate::attack::Fate::Stopped; 4], &names, |_| ());
}

/// A node in a layer needs nobody to make it.
#[test]
fn brought_by_the_image() {
    let names = [
        "device:node of the image, kernel log",
        "device:node of the image, disk",
        "device:node of the image, fuse",
    ];
    operations_in(REFUSED, &names, all_devices);
    operations_in([crate::attack::Fate::Stopped; 4], &names, |_| ());
}

/// A node on a volume of the host's, bound into the container.
#[test]
fn bound_from_the_host() {
    for place in ["/dev/disk", "/disk"] {
        script(REFUSED, &format!("head -c 1 {place} >/dev/null && echo won"), |bundle| {
            let node = bundle.dir().join("node");
            let path = node.to_str().expect("printable").to_owned();
            bundle.tool("mknod", &[&path, "b", "7", "0"]).run().ok();
            bundle.mount(place, "bind", &path, &["bind"]);
            // Only the rule for this one: to the device controller it is an ordinary request.
            let rule = json!({"allow": true, "type": "b", "major": 7, "minor": 0, "access": "r"});
            bundle.edit(|c| c["linux"]["resources"] = json!({"devices": [rule]}));
        });
    }
}

fn with_device(device: Value) -> impl Fn(&mut Bundle) {
    move |bundle| {
        let device = device.clone();
        let mut rule = device.clone();
        let fields = rule.as_object_mut().expect("an object");
        fields.retain(|name, _| ["type", "major", "minor"].contains(&name.as_str()));
        fields.extend([("allow".to_owned(), true.into()), ("access".to_owned(), "rwm".into())]);
        bundle.edit(|c| {
            c["linux"]["devices"] = json!([device]);
            c["linux"]["resources"] = json!({"devices": [rule]});
        });
    }
}

#[test]
fn asked_for_by_the_bundle() {
    let log = json!({"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666});
    script(REFUSED, "(: </dev/kmsg) && echo won", with_device(log));
    let loops = json!({"path": "/dev/loop0", "type": "b", "major": 7, "minor": 0, "fileMode": 0o666});
    script(REFUSED, "(: </dev/loop0) && echo won", with_device(loops));
}

/// A device is its numbers, not its name.
#[test]
fn asked_for_under_a_false_name() {
    for name in ["/dev/null", "/dev/zero", "/dev/../dev/harmless", "/tmp/null"] {
        let log = json!({"path": name, "type": "c", "major": 1, "minor": 11, "fileMode": 0o666});
        script(REFUSED, &format!("(: <{name}) && echo won"), with_device(log));
    }
}
