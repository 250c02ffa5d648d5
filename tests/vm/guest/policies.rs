//! Policies on Linux 6.1: Landlock ABI 2, and overlays that take no layer by descriptor.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::Case;
use crate::fixture::Container;
use crate::host::Host;

pub const CASES: &[Case] = &[
    Case { name: "the_default_policy_holds", place: ours_as_root, run: the_default_policy_holds },
    Case {
        name: "an_overlay_is_assembled_by_path",
        place: ours_as_root,
        run: an_overlay_is_assembled_by_path,
    },
    Case { name: "what_landlock_lacks_is_told", place: ours_as_root, run: what_landlock_lacks_is_told },
];

fn ours_as_root(host: &Host) -> bool {
    host.is_root() && !host.peer
}

const SHOW: &str = "cut -c1-11 /proc/self/uid_map; grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; \
                    touch /x 2>/dev/null || echo refused; touch /tmp/x && echo written";

fn the_default_policy_holds(host: &Host) {
    let mut container = Container::sh(host, SHOW);
    container.bundle.without_policy();
    let text = container.bundle.run().ok().text();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        lines,
        [vec!["0"], vec!["NoNewPrivs:", "1"], vec!["Seccomp:", "2"], vec!["refused"], vec!["written"]],
        "{text}"
    );
    container.bundle.assert_clean();
}

fn an_overlay_is_assembled_by_path(host: &Host) {
    let script = "cat /proc/self/uid_map; echo new >/new; echo more >>/below; stat -c %u:%g /new /below /bin";
    let mut container = Container::sh(host, script);
    container.bundle.policy("baseline");
    let dir = container.bundle.bundle_dir();
    let [lower, upper, work] = ["lower", "upper", "work"].map(|name| dir.join(name));
    let root = container.bundle.rootfs();
    fs::rename(&root, &lower).expect("make the root a layer");
    fs::write(lower.join("below"), "text\n").expect("write to the layer");
    for place in [&root, &upper, &work] {
        fs::create_dir(place).expect("make a directory");
    }
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let mount = |program: &str, args: &[&str]| {
        let status = Command::new(program).args(args).arg(&root).status().expect("run mount");
        assert!(status.success(), "{program} failed");
    };
    mount("mount", &["-t", "overlay", "overlay", "-o", &options]);
    let output = container.bundle.run();
    mount("umount", &[]);
    let text = output.ok().text();
    let (map, owners) = text.split_once('\n').expect("a map");
    assert!(!map.split_whitespace().eq(["0", "0", "4294967295"]), "not a range of its own: {map}");
    assert_eq!(owners, "0:0\n0:0\n0:0");
    // On the disk as in the layer below: an engine finds what it expects.
    for name in ["new", "below"] {
        let file = fs::metadata(upper.join(name)).expect("the upper layer has it");
        assert_eq!((file.uid(), file.gid()), (0, 0), "{name}");
    }
    assert_eq!(fs::read_to_string(lower.join("below")).expect("read"), "text\n");
    container.bundle.assert_clean();
}

/// Abstract sockets and ports can be restricted since Linux 6.12 and 6.7: `check` says that they are not.
fn what_landlock_lacks_is_told(host: &Host) {
    let container = Container::sleeping(host);
    let bundle = container.bundle.bundle_dir();
    let check = container.bundle.tool(
        &container.bundle.runtime().path().to_string_lossy(),
        &["--policy", "hardened", "check", &bundle.to_string_lossy()],
    );
    let text = check.run().ok().text();
    let row = text.lines().skip_while(|line| !line.starts_with("landlock")).take(4).collect::<String>();
    assert!(row.contains("abstract sockets") && row.contains("not"), "{text}");
}
