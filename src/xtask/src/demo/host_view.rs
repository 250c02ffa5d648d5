//! A container as `/proc` and the control groups of the host show it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Doing as _, Outcome};

/// Files that hold a limit, on cgroup v1 and v2.
const LIMITS: [(&str, &str, &str); 2] =
    [("memory", "memory.limit_in_bytes", "memory.max"), ("pids", "pids.max", "pids.max")];

/// Prints namespaces, ids, privileges, limits, masks and descriptors of the process.
pub fn print(pid: u64) -> Outcome {
    let process = PathBuf::from(format!("/proc/{pid}"));
    println!("  namespaces        {}", namespaces(&process));
    println!("  root inside       is {}", root_inside(&process)?);
    let status = read(&process.join("status"))?;
    for (field, words) in
        [("CapEff:", "capabilities"), ("NoNewPrivs:", "no new privileges"), ("Seccomp:", "seccomp")]
    {
        let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("?").trim();
        println!("  {words:<17} {}", meaning(field, value));
    }
    for (controller, v1, v2) in LIMITS {
        println!("  {controller:<17} {}", limit(&process, controller, v1, v2));
    }
    let mounts = read(&process.join("mountinfo"))?;
    println!("  root              {}", if has_read_only_root(&mounts) { "read-only" } else { "writable" });
    println!("  masked            {}", points(&mounts, is_mask));
    println!("  read-only         {}", points(&mounts, is_only_read));
    let descriptors = fs::read_dir(process.join("fd")).doing("descriptors")?.count();
    println!("  descriptors       {descriptors} (stdin, stdout, stderr)");
    Ok(())
}

/// How many control groups bear the name, in every hierarchy.
pub fn groups_named(name: &str) -> usize {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let hierarchies = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        words.next().filter(|kind| kind.starts_with("cgroup")).map(|_| place)
    });
    hierarchies.filter(|place| Path::new(place).join(name).exists()).count()
}

/// How many ranges of ids containers of this state directory have.
pub fn ranges_of(state: &Path) -> usize {
    let pool = fs::read_dir("/run/casemate/@ids").into_iter().flatten().flatten();
    let owners = pool.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()));
    owners.filter(|owner| owner.contains(&state.display().to_string())).count()
}

fn root_inside(process: &Path) -> Outcome<String> {
    let map = read(&process.join("uid_map"))?;
    let mut fields = map.split_whitespace().skip(1);
    Ok(match (fields.next(), fields.next()) {
        (Some("0"), Some(_)) => "root on the host".to_owned(),
        (Some(first), Some(count)) => {
            format!("user {first} on the host, the first of {count} that it alone has")
        }
        _ => "nobody on the host".to_owned(),
    })
}

/// Its own kinds, and those it shares with us.
fn namespaces(process: &Path) -> String {
    let kinds = ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user", "time"];
    let link = |process: &Path, kind: &str| fs::read_link(process.join("ns").join(kind)).ok();
    let (own, shared): (Vec<&str>, Vec<&str>) =
        kinds.into_iter().partition(|kind| link(process, kind) != link(Path::new("/proc/self"), kind));
    format!("own: {}; the host's: {}", own.join(" "), shared.join(" "))
}

fn meaning(field: &str, value: &str) -> String {
    match (field, value) {
        ("CapEff:", value) if value.trim_matches('0').is_empty() => "none".into(),
        ("NoNewPrivs:", "1") => "on".into(),
        ("Seccomp:", "2") => "filtered".into(),
        _ => value.into(),
    }
}

fn limit(process: &Path, controller: &str, v1: &str, v2: &str) -> String {
    let groups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
    let places = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        if controllers.split(',').any(|name| name == controller) {
            return Some(Path::new("/sys/fs/cgroup").join(controller).join(path).join(v1));
        }
        let unified =
            ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(|place| Path::new(place).join(path).join(v2));
        unified.into_iter().find(|file| controllers.is_empty() && file.exists())
    });
    let found = places.filter_map(|file| Some((fs::read_to_string(&file).ok()?, file))).next();
    found.map_or("no limit found".into(), |(value, file)| format!("{} ({})", value.trim(), file.display()))
}

fn has_read_only_root(mounts: &str) -> bool {
    mounts.lines().any(|line| point(line) == Some("/") && is_read_only(line))
}

fn points(mounts: &str, fits: impl Fn(&str) -> bool) -> String {
    let inside = |line: &&str| {
        point(line).is_some_and(|point| point.starts_with("/proc/") || point.starts_with("/sys/"))
    };
    let points: Vec<&str> =
        mounts.lines().filter(inside).filter(|line| fits(line)).filter_map(point).collect();
    points.join(" ")
}

fn is_only_read(line: &str) -> bool {
    is_read_only(line) && !is_mask(line) && !line.contains(" - cgroup")
}

/// A file is masked by the null device, a folder by an empty read-only tmpfs; the folder that holds the cgroup v1
/// hierarchies is such a tmpfs too, but not empty.
fn is_mask(line: &str) -> bool {
    let is_empty_folder = line.contains(" - tmpfs ") && point(line) != Some("/sys/fs/cgroup");
    is_empty_folder && is_read_only(line) || line.split(' ').nth(3) == Some("/null")
}

fn is_read_only(line: &str) -> bool {
    line.split(' ').nth(5).is_some_and(|options| options.split(',').any(|option| option == "ro"))
}

/// Where it is mounted: field 5 of proc_pid_mountinfo(5).
fn point(line: &str) -> Option<&str> {
    line.split(' ').nth(4)
}

fn read(file: &Path) -> Outcome<String> {
    fs::read_to_string(file).doing(file.display())
}
