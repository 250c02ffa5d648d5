//! A root filesystem from Debian's static busybox.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Makes a root filesystem at `root`: busybox with all its applets, `/etc/passwd`, `/etc/group` and the usual
/// directories. Every file is its own copy, so that a container that breaks one breaks no other test.
///
/// # Panics
/// When busybox-static is not installed, or the files cannot be made.
pub fn make_rootfs(root: &Path) {
    for dir in ["bin", "dev", "etc", "home/user", "proc", "root", "run", "sys", "tmp", "var/tmp"] {
        fs::create_dir_all(root.join(dir)).expect("make a directory of the root filesystem");
    }
    let busybox = root.join("bin/busybox");
    fs::copy("/bin/busybox", &busybox).expect("copy /bin/busybox (package busybox-static)");
    for applet in applets() {
        symlink("/bin/busybox", root.join("bin").join(applet)).expect("link an applet");
    }
    for dir in ["tmp", "var/tmp"] {
        fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o1777))
            .expect("open a directory to all");
    }
    let write = |path: &str, text: &str| fs::write(root.join(path), text).expect("write a file");
    write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n");
    write("etc/group", "root:x:0:\nuser:x:1000:\nextra:x:1001:user\n");
}

fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let list = Command::new("/bin/busybox").arg("--list").output().expect("run /bin/busybox --list");
        let list = String::from_utf8_lossy(&list.stdout);
        list.lines().filter(|name| *name != "busybox").map(str::to_owned).collect()
    })
}
