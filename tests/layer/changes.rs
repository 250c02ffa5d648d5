//! What a container changed, by a real overlay as the kernel writes it.

use std::fs;
use std::process::Command;

use casemate_tests::{Value, json};

use crate::program::Helper;

const BENEATH: &str = "mkdir -p etc/app var/lib opt/old gone keep sub/dir && echo 1 > etc/app/conf && echo 1 > etc/passwd \
    && echo 1 > var/lib/data && echo 1 > opt/old/a && echo 1 > opt/old/b && echo 1 > gone/x && echo 1 > keep/same \
    && echo 1 > sub/dir/file && ln -s keep link";

const CHANGES: &str = "echo 2 >> etc/app/conf && rm var/lib/data && rm -r gone && rm -r opt/old && mkdir opt/old \
    && echo 1 > opt/old/new && mkdir -p new/deep && echo 1 > new/deep/file && ln new/deep/file new/second \
    && chmod 700 keep && rm link && mkdir link && ln -s x symlink && mkfifo pipe && mkdir -p mnt/point";

/// Runs `script` over `view` as the own layer at `changes`.
fn change(helper: &Helper, script: &str) {
    let root = helper.at("");
    let mounted = format!(
        "mkdir -p merged work && mount -t overlay overlay -o \
         userxattr,index=off,lowerdir=view,upperdir=changes,workdir=work merged && cd merged && {script}"
    );
    let out = Command::new("unshare")
        .args(["-m", "sh", "-ec", &format!("(cd view && {BENEATH}); {mounted}")])
        .current_dir(&root)
        .output()
        .expect("unshare");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    helper.hand_over();
}

fn list(done: &Value) -> Vec<String> {
    let letter = |kind: &Value| match kind.as_str() {
        Some("modified") => 'C',
        Some("added") => 'A',
        Some("deleted") => 'D',
        other => panic!("{other:?}"),
    };
    let changes = done["changes"].as_array().expect("a list");
    changes
        .iter()
        .map(|c| format!("{} {}", letter(&c["kind"]), c["path"].as_str().expect("a path")))
        .collect()
}

#[test]
fn changes_as_docker_lists_them() {
    let helper = Helper::new();
    change(&helper, CHANGES);
    let done = helper.task("/view", json!({ "changes": { "mounts": ["/mnt/point"] } }), b"");
    let wanted = [
        "C /etc",
        "C /etc/app",
        "C /etc/app/conf",
        "D /gone",
        "C /keep",
        "C /link",
        "A /new",
        "A /new/deep",
        "A /new/deep/file",
        "A /new/second",
        "C /opt",
        "C /opt/old",
        "D /opt/old/a",
        "D /opt/old/b",
        "A /opt/old/new",
        "A /pipe",
        "A /symlink",
        "C /var",
        "C /var/lib",
        "D /var/lib/data",
    ];
    assert_eq!(list(done.ok()), wanted);
    // Without a word about mounts, their points are the container's.
    let done = helper.task("/view", json!({ "changes": { "mounts": [] } }), b"");
    assert!(list(done.ok()).contains(&"A /mnt/point".to_owned()));
    let size = helper.task("/view", json!("size"), b"");
    assert!(size.ok()["size"]["bytes"].as_u64().expect("a size") < 100, "{:?}", size.replies);
}

#[test]
fn a_container_that_did_nothing_changed_nothing() {
    let helper = Helper::new();
    change(&helper, "cat etc/passwd > /dev/null; mkdir -p data/volume");
    let done = helper.task("/view", json!({ "changes": { "mounts": ["/data/volume", "/data"] } }), b"");
    assert_eq!(list(done.ok()), Vec::<String>::new());
    let packed = helper.task("/view", json!({ "packChanges": { "mounts": ["/data/volume"] } }), b"");
    packed.ok();
    assert_eq!(packed.output, [0; 1024]);
}

#[test]
fn packed_changes_are_a_layer() {
    let helper = Helper::new();
    change(&helper, &format!("{CHANGES}; echo x > keep/.wh.forged"));
    let packed = helper.task("/view", json!({ "packChanges": { "mounts": ["/mnt/point"] } }), b"");
    packed.ok();
    fs::write(helper.at("layer.tar"), &packed.output).expect("written");
    let tar = Command::new("tar").arg("-tf").arg(helper.at("layer.tar")).output().expect("tar");
    let names = String::from_utf8(tar.stdout).expect("text");
    // Where a directory takes a removed file's place, the kernel itself makes it opaque.
    let wanted = "etc/\netc/app/\netc/app/conf\n.wh.gone\nkeep/\nlink/\nlink/.wh..wh..opq\nnew/\nnew/deep/\n\
        new/deep/file\nnew/second\nopt/\nopt/old/\nopt/old/.wh..wh..opq\nopt/old/new\npipe\nsymlink\nvar/\n\
        var/lib/\nvar/lib/.wh.data\n";
    assert_eq!(names, wanted);
    // Unpacked again it is the same layer as the kernel wrote.
    let done = helper.unpack(&packed.output);
    assert_eq!(done.ok()["unpacked"]["digest"], packed.ok()["packed"]["digest"]);
    let diff = Command::new("sh")
        .args(["-c", "for d in changes target; do (cd $d; find . -type d -o -printf '%P %y %m %s %l\\n' | sort) > $d.list; done; diff changes.list target.list"])
        .current_dir(helper.at(""))
        .output()
        .expect("diff");
    assert_eq!(String::from_utf8_lossy(&diff.stdout), "3d2\n< keep/.wh.forged f 644 2 \n");
}
