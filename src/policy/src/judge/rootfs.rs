//! The root file system: read-only, with private places to write where images need them.

use oci_spec::runtime::Mount;

use super::{Case, plain};
use crate::schema::is_beneath;

const RULE: &str = "rootfs";

/// Places that belong to nobody, as every system has them (file-hierarchy(7)).
const STICKY: [&str; 2] = ["/tmp", "/var/tmp"];

pub(super) fn apply(case: &mut Case<'_>) {
    if !case.rules.rootfs.read_only {
        return;
    }
    if let Some(root) = case.config.spec.root_mut()
        && root.readonly() != Some(true)
    {
        root.set_readonly(Some(true));
        case.change(RULE, "root.readonly", "writable", "read-only");
    }
    let taken: Vec<String> =
        case.config.spec.mounts().iter().flatten().map(|mount| plain(mount.destination())).collect();
    let free = |path: &&str| !taken.iter().any(|taken| taken != "/" && is_beneath(path, taken));
    let places: Vec<&str> = case.rules.rootfs.tmpfs.iter().map(|path| path.0.as_str()).collect();
    let mut places: Vec<&str> = places.into_iter().filter(|path| free(path)).collect();
    places.sort_unstable();
    if places.is_empty() {
        return;
    }
    let made: Vec<Mount> = places.iter().map(|path| tmpfs(case, path)).collect();
    // Before all others: an engine mounts single files beneath /run.
    case.config.spec.mounts_mut().get_or_insert_with(Vec::new).splice(0..0, made);
    let size = case.rules.rootfs.tmpfs_size;
    case.change(RULE, "mounts", "nothing there", format!("private tmpfs of {size} at {}", places.join(" ")));
}

fn tmpfs(case: &Case<'_>, path: &str) -> Mount {
    let rule = &case.rules.rootfs;
    let mode = if STICKY.contains(&path) { "mode=1777" } else { "mode=0755" };
    let mut words: Vec<String> = ["nosuid", "nodev"].map(str::to_owned).into();
    if !rule.tmpfs_exec || case.rules.mounts.writable_noexec {
        words.push("noexec".to_owned());
    }
    // What the image has there is kept: packages bring directories of their daemons beneath /run.
    words.extend([mode.to_owned(), format!("size={}", rule.tmpfs_size.0), "tmpcopyup".to_owned()]);
    let mut mount = Mount::default();
    mount
        .set_destination(path.into())
        .set_typ(Some("tmpfs".to_owned()))
        .set_source(Some("tmpfs".into()))
        .set_options(Some(words));
    mount
}
