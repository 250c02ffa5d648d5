//! `docs/security-comparison.md`: what the survey reaches under our policies and under other runtimes, from one run.
//!
//! `CASEMATE_BLESS=1` writes the page anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use casemate_tests::engine::World;
use casemate_tests::engine_docker::Docker;
use casemate_tests::{Bundle, EngineRuntime, json, make_rootfs, ours, reference, skip};

use crate::attack::{ALL_CAPABILITIES, POLICIES, is_denied};
use crate::engine::as_docker;
use crate::survey::{Findings, install_at, install_survey};

/// One way to run the same image.
struct Column {
    name: String,
    found: Findings,
}

impl Column {
    fn new(name: &str, found: Findings) -> Self {
        Self { name: name.to_owned(), found }
    }

    fn reached(&self) -> BTreeSet<&str> {
        self.found.names().iter().map(String::as_str).filter(|name| self.found.reaches(name)).collect()
    }
}

/// What Docker asks for, surveyed under one of our policies.
fn under(policy: &str) -> Findings {
    let mut bundle = Bundle::sh(&ours(), "exec /survey");
    as_docker(&mut bundle);
    install_survey(&bundle);
    Findings::of(&bundle.policy(policy).run().ok())
}

/// Nothing withheld, the masks ready to be taken off: what is not reachable here is not on this host.
fn unconfined() -> Findings {
    let mut bundle = Bundle::sh(&ours(), "exec /survey");
    as_docker(&mut bundle);
    install_survey(&bundle);
    bundle.capabilities(ALL_CAPABILITIES);
    bundle.edit(|c| {
        c["linux"]["resources"] = json!({"devices": [{"allow": true, "access": "rwm"}]});
        c["linux"]["maskedPaths"] = json!(["/proc/keys", "/sys/firmware"]);
        c["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
        c["linux"].as_object_mut().expect("an object").remove("seccomp");
        for mount in c["mounts"].as_array_mut().expect("mounts") {
            mount["options"].as_array_mut().expect("options").retain(|option| option != "ro");
        }
    });
    Findings::of(&bundle.run().ok())
}

/// The same bundle under a peer. `None`, counted, where it is not installed or does not run on this host.
fn peer(name: &'static str) -> Option<Findings> {
    let path = match name {
        "runc" => reference().map(|runtime| runtime.path().to_owned()),
        _ => [format!("/usr/bin/{name}")]
            .iter()
            .map(Into::into)
            .find(|path: &std::path::PathBuf| path.is_file()),
    };
    let Some(path) = path else {
        skip(&format!("{name} is not installed"));
        return None;
    };
    let mut bundle = Bundle::sh(&ours(), "exec /survey");
    as_docker(&mut bundle);
    install_survey(&bundle);
    let root = bundle.dir().join("peer");
    let root = root.to_str().expect("a printable path");
    // crun refuses a host with controllers on both versions; here it sees those of v1 alone.
    let hide = "umount -l /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";
    let call = bundle.tool(path.to_str()?, &["--root", root, "run", bundle.id()]).cwd(&bundle.bundle_dir());
    let call = if name == "crun" { call.via(["unshare", "-m", "sh", "-c", hide, "sh"]) } else { call };
    let output = call.run();
    if output.stdout().is_empty() {
        skip(&format!("{name} does not run here: {}", output.stderr().trim()));
        return None;
    }
    Some(Findings::of(&output))
}

/// The same image under a dockerd with the profile that is built into it.
fn docker(runtime: &EngineRuntime) -> Findings {
    let docker = Docker::start(runtime, &[]);
    let world = docker.world();
    import(&docker, world);
    let output = docker.command(["run", "--rm", "--network", "none", "surveyed", "/survey"]).run();
    Findings::of(&output.ok())
}

fn import(docker: &Docker, world: &World) {
    let rootfs = world.make_dir("surveyed");
    make_rootfs(&rootfs);
    install_at(&rootfs);
    let archive = world.dir().join("surveyed.tar");
    world
        .outside("tar")
        .args(["--numeric-owner", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(&rootfs)
        .arg(".")
        .run()
        .ok();
    docker.ok(&["import", archive.to_str().expect("a printable path"), "surveyed"]);
}

fn measure() -> Vec<Column> {
    let mut columns = vec![Column::new("unconfined", unconfined())];
    match EngineRuntime::find("runc") {
        Some(runc) => columns.push(Column::new("dockerd", docker(&runc))),
        None => skip("runc is not to be tried: no dockerd with it"),
    }
    for name in ["runc", "crun"] {
        columns.extend(peer(name).map(|found| Column::new(name, found)));
    }
    columns.extend(POLICIES.map(|policy| Column::new(policy, under(policy))));
    columns
}

fn version(program: &str) -> String {
    let said = std::process::Command::new(program).arg("--version").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let line = said.lines().next().unwrap_or("not installed");
    line.split(", build").next().unwrap_or(line).to_owned()
}

fn host() -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    let versions = ["dockerd", "runc", "crun"].map(version).join(", ");
    format!("Kernel {}, {versions}.", kernel.trim())
}

fn page(columns: &[Column]) -> String {
    let all = &columns[0];
    let here = all.reached();
    let mut text = include_str!("comparison.md").replace("HOST", &host());
    let groups: Vec<&str> =
        all.found.names().iter().map(|name| group(name)).fold(Vec::new(), |mut groups, group| {
            if !groups.contains(&group) {
                groups.push(group);
            }
            groups
        });
    let heads: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    let rule = "|---".repeat(heads.len() + 1);
    write!(text, "\n## Counts\n\n| reachable | {} |\n{rule}|\n", heads.join(" | ")).expect("write");
    let mut row = |title: &str, within: &dyn Fn(&str) -> bool| {
        let counts: Vec<_> = columns
            .iter()
            .map(|column| column.reached().iter().filter(|name| here.contains(*name) && within(name)).count())
            .map(|count| count.to_string())
            .collect();
        writeln!(text, "| {title} | {} |", counts.join(" | ")).expect("write");
    };
    for group in &groups {
        row(group, &|name| self::group(name) == *group);
    }
    row("**all**", &|_| true);
    row("**all but `capability`**", &|name| group(name) != "capability");
    write!(text, "\n## Each operation\n\n| operation | {} |\n{rule}|\n", heads.join(" | ")).expect("write");
    for name in all.found.names().iter().filter(|name| here.contains(name.as_str())) {
        let cells: Vec<_> =
            columns.iter().map(|column| if column.found.reaches(name) { "yes" } else { "" }).collect();
        writeln!(text, "| `{name}` | {} |", cells.join(" | ")).expect("write");
    }
    text.push_str("\n## Not on this host\n\nNot even the unconfined process reaches these here:\n\n");
    let absent: Vec<_> = all.found.names().iter().filter(|name| !here.contains(name.as_str())).collect();
    let absent: Vec<_> = absent.iter().map(|name| format!("`{name}`")).collect();
    text.push_str(&absent.join(", "));
    text.push_str(".\n");
    text
}

fn group(name: &str) -> &str {
    name.split(':').next().unwrap_or_default()
}

/// A policy that is called stricter reaches nothing that the laxer one does not, whatever the host.
#[test]
fn each_policy_reaches_less() {
    let columns = POLICIES.map(|policy| Column::new(policy, under(policy)));
    for pair in columns.windows(2) {
        let (laxer, stricter) = (pair[0].reached(), pair[1].reached());
        let more: Vec<_> = stricter.difference(&laxer).collect();
        assert!(more.is_empty(), "{} reaches what {} does not: {more:?}", pair[1].name, pair[0].name);
        assert!(stricter.len() < laxer.len(), "{} reaches as much as {}", pair[1].name, pair[0].name);
    }
}

/// Docker's configuration without Docker's filter: the policies have their own.
#[test]
fn a_bundle_without_a_filter_reaches_no_more() {
    for policy in ["baseline", "hardened", "strict"] {
        let with = Column::new(policy, under(policy));
        let mut bundle = Bundle::sh(&ours(), "exec /survey");
        as_docker(&mut bundle);
        install_survey(&bundle);
        bundle.edit(|c| {
            c["linux"].as_object_mut().expect("an object").remove("seccomp");
        });
        let without = Column::new(policy, Findings::of(&bundle.policy(policy).run().ok()));
        let (with, without) = (with.reached(), without.reached());
        let more: Vec<_> = without.difference(&with).collect();
        assert!(more.is_empty(), "{policy} without the bundle's filter: {more:?}");
    }
}

/// What `--privileged` asks for is denied, or comes to no more than what the policy has.
#[test]
fn asking_for_everything_gives_no_more() {
    for policy in ["baseline", "hardened", "strict"] {
        let plain = Column::new(policy, under(policy));
        let mut bundle = crate::attack::permissive("exec /survey");
        install_survey(&bundle);
        bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev"]);
        let output = bundle.policy(policy).run();
        if is_denied(&output) {
            continue;
        }
        let everything = Column::new(policy, Findings::of(&output));
        let (plain, everything) = (plain.reached(), everything.reached());
        let more: Vec<_> = everything.difference(&plain).collect();
        assert!(more.is_empty(), "{policy}, asked for everything, gives: {more:?}");
    }
}

#[test]
fn the_page_is_up_to_date() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security-comparison.md");
    let written = fs::read_to_string(&file).unwrap_or_default();
    let bless = std::env::var_os("CASEMATE_BLESS").is_some();
    if !bless && !written.contains(&host()) {
        return skip("the page was measured on another kernel or with other peers");
    }
    let columns = measure();
    if bless {
        assert_eq!(columns.len(), 8, "the page is written from one run of all");
        fs::write(&file, page(&columns)).expect("write the page");
        return;
    }
    // A peer that does not run today has its column on the page all the same.
    for (operation, cells) in operations(&written) {
        for column in &columns {
            let said =
                cells.iter().find(|(name, _)| *name == column.name).is_some_and(|(_, said)| *said == "yes");
            let found = column.found.reaches(operation);
            assert_eq!(found, said, "{operation} under {}: the page says otherwise", column.name);
        }
    }
    let listed: Vec<_> = operations(&written).into_iter().map(|(name, _)| name).collect();
    let reached: Vec<_> =
        columns[0].found.names().iter().filter(|name| columns[0].found.reaches(name)).collect();
    assert_eq!(listed, reached, "the operations that exist here");
}

/// The rows of the page's second table: the operation and its cell for each column.
fn operations(page: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let table = page.lines().skip_while(|line| !line.starts_with("| operation |"));
    let mut rows = table.take_while(|line| line.starts_with('|')).map(|line| {
        let line = line.trim_start_matches('|').trim_end_matches('|');
        line.split('|').map(str::trim).collect::<Vec<_>>()
    });
    let Some(heads) = rows.next() else { return Vec::new() };
    let cells = rows.skip(1).filter_map(|row| {
        let (name, cells) = row.split_first()?;
        Some((name.trim_matches('`'), heads.iter().copied().skip(1).zip(cells.iter().copied()).collect()))
    });
    cells.collect()
}
