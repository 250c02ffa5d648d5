//! Mounts: which file systems, with which rights, and whom their events reach.

use casemate_spec::mount::{MountOptions, PropagationKind, attr};
use oci_spec::runtime::Mount;

use super::{Case, adding, plain, sources};
use crate::rules::{MountsRule, Reach};
use crate::schema::{FsType, quoted};

const RULE: &str = "mounts";

/// Views of the kernel: nothing in them is a program or a device of the container's.
const VIEWS: [&str; 5] = ["proc", "sysfs", "mqueue", "cgroup", "cgroup2"];

/// Whether the mount shows what is there already.
pub(crate) fn is_bind(mount: &Mount) -> bool {
    mount.typ().as_deref() == Some("bind") || options(mount).bind.is_some()
}

pub(crate) fn options(mount: &Mount) -> MountOptions {
    MountOptions::parse(mount.options().as_deref().unwrap_or_default())
}

pub(super) fn apply(case: &mut Case<'_>) {
    let rule = &case.rules.mounts;
    let recursive = case.host.kernel == (0, 0) || case.host.kernel >= (5, 12);
    let mut mounts = case.config.spec.mounts_mut().take();
    for (index, mount) in mounts.iter_mut().flatten().enumerate() {
        let read = options(mount);
        check_type(case, index, mount, &read);
        let reach = read.propagation.iter().map(|p| reach(p.kind)).max();
        check_reach(case, &format!("mounts[{index}].options"), reach);
        let read_only = sources::is_read_only(case, mount);
        let added = missing(rule, mount, &read, recursive, read_only);
        if !added.is_empty() {
            let field = format!("mounts[{index}].options");
            let words = mount.options().as_deref().unwrap_or_default().join(",");
            let asked = format!(
                "{} with {}",
                plain(mount.destination()),
                if words.is_empty() { "none" } else { &words }
            );
            case.change(RULE, field, asked, added.join(","));
            let mut words = mount.options().clone().unwrap_or_default();
            words.extend(added.into_iter().map(str::to_owned));
            mount.set_options(Some(words));
        }
    }
    case.config.spec.set_mounts(mounts);
    let root = case.linux().and_then(|linux| linux.rootfs_propagation().as_deref()).map(|word| match word {
        "shared" | "rshared" => Reach::Shared,
        "slave" | "rslave" => Reach::Slave,
        _ => Reach::Private,
    });
    check_reach(case, "linux.rootfsPropagation", root);
}

/// Changing what is mounted already could undo what the others add: `remount` counts as a type of its own.
fn check_type(case: &mut Case<'_>, index: usize, mount: &Mount, read: &MountOptions) {
    let kind = if read.remount { "remount" } else { mount.typ().as_deref().unwrap_or_default() };
    let nothing_new = matches!(kind, "" | "none" | "bind");
    let bind = read.bind.is_some() && !read.remount;
    // Made of the store's layers, whatever is mounted so elsewhere.
    let given = kind == "overlay" && case.host.store.overlays.contains(&plain(mount.destination()));
    if nothing_new || bind || given || case.rules.mounts.types.admits(|known| known.0 == kind) {
        return;
    }
    let known = case.rules.mounts.types.list().unwrap_or_default();
    let known: Vec<&str> = known.iter().map(|known| known.0.as_str()).collect();
    case.deny(
        RULE,
        format!("mounts[{index}].type"),
        quoted(kind),
        format!("one of {}", known.join(", ")),
        adding("mounts.types", &[FsType(kind.to_owned())]),
    );
}

fn reach(kind: PropagationKind) -> Reach {
    match kind {
        PropagationKind::Shared => Reach::Shared,
        PropagationKind::Slave => Reach::Slave,
        PropagationKind::Private | PropagationKind::Unbindable => Reach::Private,
    }
}

fn check_reach(case: &mut Case<'_>, field: &str, asked: Option<Reach>) {
    let most = case.rules.mounts.propagation;
    let Some(asked) = asked.filter(|asked| *asked > most) else { return };
    let allowed = match most {
        Reach::Private => "private propagation",
        Reach::Slave | Reach::Shared => "private or slave propagation",
    };
    let remedy = format!("mounts.propagation = {}", quoted(asked.word()));
    case.deny(RULE, field, format!("{} propagation", asked.word()), allowed, remedy);
}

/// The words that this mount lacks.
fn missing(
    rule: &MountsRule,
    mount: &Mount,
    read: &MountOptions,
    recursive: bool,
    shown_only: bool,
) -> Vec<&'static str> {
    let kind = mount.typ().as_deref().unwrap_or_default();
    let bind = is_bind(mount);
    let read_only = read.set & attr::RDONLY != 0;
    let mut words = Vec::new();
    let mut want = |bit: u64, word: &'static str, deep: &'static str| {
        if read.set & bit == 0 {
            words.push(word);
        }
        // What is mounted beneath the source comes along.
        if read.bind == Some(casemate_spec::mount::Bind::Recursive) && recursive && read.rec_set & bit == 0 {
            words.push(deep);
        }
    };
    let view = VIEWS.contains(&kind) && !bind;
    if shown_only || (rule.read_only_types.iter().any(|known| known.0 == kind) && !bind) {
        want(attr::RDONLY, "ro", "rro");
    }
    if rule.nosuid_nodev && (bind || view || matches!(kind, "tmpfs" | "overlay" | "devpts" | "ramfs")) {
        want(attr::NOSUID, "nosuid", "rnosuid");
        if !brings_devices(mount, bind) {
            want(attr::NODEV, "nodev", "rnodev");
        }
    }
    let written = (bind || matches!(kind, "tmpfs" | "overlay" | "ramfs")) && !read_only;
    // Where every container can write, and no engine's tmpfs is for programs.
    let dev = kind == "tmpfs" && plain(mount.destination()) == "/dev";
    if (rule.nosuid_nodev && (view || dev || kind == "devpts") && !bind) || (rule.writable_noexec && written)
    {
        want(attr::NOEXEC, "noexec", "rnoexec");
    }
    words
}

/// `/dev` itself, its terminals, and a single device of the host's.
fn brings_devices(mount: &Mount, bind: bool) -> bool {
    let destination = plain(mount.destination());
    let device = bind && mount.source().as_ref().is_some_and(|source| source.starts_with("/dev"));
    destination == "/dev" || mount.typ().as_deref() == Some("devpts") || device
}
