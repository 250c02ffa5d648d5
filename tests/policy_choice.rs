//! Which policy applies: the command line's, the host's, the annotation's, the ceiling; and files nobody may have
//! written but the operator.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use casemate_tests::{Bundle, Output, Value, json, ours};

/// A bundle with a configuration directory of its own, in which `runtime.toml` says `config`.
fn host(config: &str) -> (Bundle, PathBuf) {
    let mut bundle = Bundle::new(&ours());
    bundle.without_policy();
    let etc = bundle.dir().join("etc");
    fs::create_dir_all(etc.join("policies")).unwrap();
    for directory in [&etc, &etc.join("policies")] {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    // Lines of tests that try policies are these tests' own.
    let log = bundle.dir().join("audit.jsonl");
    write(&etc.join("runtime.toml"), &format!("audit_log = {:?}\n{config}", log.display().to_string()));
    (bundle, etc)
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
}

fn call(bundle: &Bundle, etc: &Path, args: &[&str]) -> Output {
    bundle.command(["--config-dir", etc.to_str().unwrap()]).args(args).run()
}

/// What `check` says was chosen, as (name, who chose).
fn chosen(bundle: &Bundle, etc: &Path, args: &[&str]) -> String {
    let output = call(bundle, etc, &[&["check", "--format", "json"], args].concat());
    assert!([0, 3].contains(&output.code()), "{output}");
    output.json()["policy"]["chosen"].as_str().unwrap().to_owned()
}

fn annotate(bundle: &mut Bundle, policy: &str) {
    bundle.edit(|c| c["annotations"] = json!({"io.casemate.policy": policy}));
}

/// A way to spoil a file, and what is said of it.
struct Fault(&'static str, fn(&Path));

const FAULTS: &[Fault] = &[
    Fault("belongs to user 1000", |path| chown(path, Some(1000), None).unwrap()),
    Fault("its group may write to it", |path| {
        fs::set_permissions(path, Permissions::from_mode(0o664)).unwrap()
    }),
    Fault("everybody may write to it", |path| {
        fs::set_permissions(path, Permissions::from_mode(0o646)).unwrap()
    }),
    Fault("a symbolic link", |path| {
        let target = path.with_extension("moved");
        fs::rename(path, &target).unwrap();
        symlink(&target, path).unwrap();
    }),
    Fault("not a regular file", |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    Fault("not a regular file", |path| {
        fs::remove_file(path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
    }),
    Fault("larger than 1 MiB", |path| write(path, &"#".repeat((1 << 20) + 1))),
    Fault("not UTF-8 at byte 2", |path| fs::write(path, b"# \xff\n").unwrap()),
];

const DIRECTORY_FAULTS: &[Fault] = &[
    Fault("belongs to user 1000", |path| chown(path, Some(1000), None).unwrap()),
    Fault("its group may write to it", |path| {
        fs::set_permissions(path, Permissions::from_mode(0o775)).unwrap()
    }),
    Fault("everybody may write to it", |path| {
        fs::set_permissions(path, Permissions::from_mode(0o1777)).unwrap()
    }),
];

#[test]
fn files_somebody_else_could_have_written_are_refused() {
    for (file, args) in [
        ("runtime.toml", &["create", "c1"][..]),
        ("policies/site.toml", &["--policy", "site", "create", "c1"]),
        ("elsewhere/site.toml", &["--policy", "ELSEWHERE", "create", "c1"]),
    ] {
        for Fault(said, spoil) in FAULTS {
            let (bundle, etc) = host("");
            fs::create_dir(etc.join("elsewhere")).unwrap();
            fs::set_permissions(etc.join("elsewhere"), Permissions::from_mode(0o755)).unwrap();
            let path = etc.join(file);
            if !path.exists() {
                write(&path, "extends = \"oci\"\n");
            }
            let full = path.to_str().unwrap();
            let args: Vec<_> = args.iter().map(|arg| if *arg == "ELSEWHERE" { full } else { arg }).collect();
            let sound = call(&bundle, &etc, &[&["check"], &args[..args.len() - 2]].concat());
            assert_eq!(sound.code(), 0, "{sound}");
            spoil(&path);
            let refused = call(&bundle, &etc, &args).fails_with(1);
            assert!(refused.stderr().contains(said) && refused.stderr().contains(full), "{said}: {refused}");
            bundle.assert_clean();
        }
    }
}

#[test]
fn directories_somebody_else_could_have_written_to_are_refused() {
    for (directory, args) in
        [("", &["create", "c1"][..]), ("policies", &["--policy", "site", "create", "c1"])]
    {
        for Fault(said, spoil) in DIRECTORY_FAULTS {
            let (bundle, etc) = host("");
            write(&etc.join("policies/site.toml"), "extends = \"oci\"\n");
            let path = etc.join(directory);
            spoil(&path);
            let refused = call(&bundle, &etc, args).fails_with(1);
            assert!(refused.stderr().contains(said) && refused.stderr().contains("hint: ch"), "{refused}");
            bundle.assert_clean();
        }
    }
}

/// Nobody but its owner can replace a file in a directory like /tmp.
#[test]
fn a_policy_named_on_the_command_line_may_lie_where_others_add_files() {
    let (bundle, etc) = host("");
    let shared = bundle.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    let path = shared.join("site.toml");
    write(&path, "extends = \"oci\"\n");
    call(&bundle, &etc, &["check", "--policy", path.to_str().unwrap()]).ok();
    fs::set_permissions(&shared, Permissions::from_mode(0o777)).unwrap();
    call(&bundle, &etc, &["check", "--policy", path.to_str().unwrap()])
        .fails_saying(&["everybody may write"]);
    chown(&shared, Some(1000), None).unwrap();
    call(&bundle, &etc, &["check", "--policy", path.to_str().unwrap()]).fails_saying(&["user 1000"]);
}

/// Who has no rights over the host may be told by its own files, and by the host's.
#[test]
fn a_user_trusts_root_and_itself() {
    const USER: u32 = 1000;
    let (mut bundle, etc) = host("policy = \"oci\"\n");
    bundle.as_user(USER, USER);
    let shared = bundle.dir().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
    let path = shared.join("site.toml");
    write(&path, "extends = \"oci\"\n");
    let show = |prefix: &[&str]| {
        let args = ["--config-dir", etc.to_str().unwrap(), "policy", "show", path.to_str().unwrap()];
        bundle.command(args).via(prefix).run()
    };
    // A root of its own namespace, too, to whom the host's root is nobody.
    for prefix in [&[][..], &["unshare", "--map-root-user"]] {
        for owner in [0, USER] {
            chown(&path, Some(owner), None).unwrap();
            show(prefix).ok();
        }
    }
    chown(&path, Some(USER + 1), None).unwrap();
    show(&[]).fails_saying(&["belongs to user 1001"]);
}

#[test]
fn a_link_on_the_way_is_not_followed() {
    let (bundle, etc) = host("");
    write(&etc.join("policies/site.toml"), "extends = \"oci\"\n");
    symlink(&etc, bundle.dir().join("link")).unwrap();
    let through = bundle.dir().join("link/policies/site.toml");
    call(&bundle, &etc, &["check", "--policy", through.to_str().unwrap()]).fails_saying(&["symbolic link"]);
    call(&bundle, &bundle.dir().join("link"), &["check"]).fails_saying(&["symbolic link"]);
    // By another way to the same place.
    let around = etc.join("policies/../policies/site.toml");
    call(&bundle, &etc, &["check", "--policy", around.to_str().unwrap()]).ok();
}

#[test]
fn faults_are_shown_where_they_stand() {
    for (text, place, said) in [
        ("audti = true\n", ":2:1", "unknown field `audti`"),
        ("policy = 5\n", ":2:10", "expected a string"),
        ("policy = \"oci\n", ":2:", "string"),
        ("policy = \"oci\"\npolicy = \"oci\"\n", ":3:1", "duplicate key"),
        ("[ids]\nbse = 1\n", ":3:1", "unknown field `bse`"),
    ] {
        let (bundle, etc) = host(text);
        let output = call(&bundle, &etc, &["create", "c1"]).fails_with(1);
        let file = etc.join("runtime.toml").display().to_string();
        let said_it = output.stderr();
        assert!(said_it.contains(&format!("{file}{place}")) && said_it.contains(said), "{output}");
        assert!(said_it.lines().last().is_some_and(|line| line.trim_start().starts_with('^')), "{output}");
        bundle.assert_clean();
    }
}

#[test]
fn a_policy_that_is_not_there_is_an_error_with_those_that_are() {
    let (mut bundle, etc) = host("");
    write(&etc.join("policies/site.toml"), "extends = \"strict\"\n");
    let missing =
        call(&bundle, &etc, &["check", "--policy", "nope"]).fails_saying(&["nope", "no such policy"]);
    assert!(missing.stderr().contains("strict, hardened, baseline, oci"), "{missing}");
    call(&bundle, &etc, &["check", "--policy", "./nope"]).fails_saying(&["./nope: no such file"]);
    for odd in ["", "..", "a b", "nope\n"] {
        call(&bundle, &etc, &["check", "--policy", odd]).fails_saying(&["not a policy's name"]);
    }
    write(&etc.join("policies/odd.toml"), "extends = 5\n");
    let listed = call(&bundle, &etc, &["policy", "list"]).ok().stdout();
    let names: Vec<_> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
    assert_eq!(names, ["POLICY", "baseline", "hardened", "oci", "odd", "site", "strict"], "{listed}");
    assert!(listed.contains("no good: ") && listed.contains("odd.toml:1:11"), "{listed}");
    call(&bundle, &etc, &["policy", "show", "site"]).ok();
    call(&bundle, &etc.join("nowhere"), &["check"]).fails_saying(&["nowhere", "no such directory"]);
    for (key, said) in
        [("policy", "no such policy"), ("ceiling", "no such policy"), ("audit_log", "absolute")]
    {
        let (bundle, etc) = host("");
        write(&etc.join("runtime.toml"), &format!("{key} = \"nope\"\n"));
        call(&bundle, &etc, &["create", "c1"]).fails_saying(&["runtime.toml: ", key, said]);
        bundle.assert_clean();
    }
    annotate(&mut bundle, "nope");
    call(&bundle, &etc, &["create", "c1"]).fails_saying(&["annotation io.casemate.policy", "no such policy"]);
    // Whoever writes a request must not have files read for them.
    for file in ["/etc/shadow", "site.toml", "../policies/site"] {
        annotate(&mut bundle, file);
        call(&bundle, &etc, &["create", "c1"])
            .fails_saying(&["annotation io.casemate.policy", "not a policy's"]);
    }
    bundle.assert_clean();
}

#[test]
fn a_host_may_replace_a_policy_by_one_that_extends_it() {
    let (bundle, etc) = host("");
    write(&etc.join("policies/hardened.toml"), "extends = \"hardened\"\nno_new_privs = \"as-asked\"\n");
    let shown = call(&bundle, &etc, &["policy", "show", "hardened"]).ok().stdout();
    assert!(shown.contains("no_new_privs = \"as-asked\""), "{shown}");
    // One of the host's own by name, and one beside the file that extends it.
    write(&etc.join("policies/site.toml"), "extends = \"hardened\"\n");
    write(&etc.join("policies/web.toml"), "extends = \"./site.toml\"\n");
    let shown = call(&bundle, &etc, &["policy", "show", "web"]).ok().stdout();
    assert!(shown.contains("no_new_privs = \"as-asked\""), "{shown}");
}

#[test]
fn policies_that_extend_each_other_for_ever_are_refused() {
    let (bundle, etc) = host("");
    write(&etc.join("policies/a.toml"), "extends = \"b\"\n");
    write(&etc.join("policies/b.toml"), "extends = \"./a.toml\"\n");
    write(&etc.join("policies/self.toml"), "extends = \"self\"\n");
    call(&bundle, &etc, &["check", "--policy", "a"]).fails_saying(&["extends itself", "b.toml"]);
    call(&bundle, &etc, &["check", "--policy", "self"]).fails_saying(&["\"self\"", "no such policy"]);
    for number in 0..10 {
        let text = format!("extends = \"deep{}\"\n", number + 1);
        write(&etc.join(format!("policies/deep{number}.toml")), &text);
    }
    call(&bundle, &etc, &["check", "--policy", "deep0"]).fails_saying(&["more than 8 policies"]);
}

#[test]
fn whoever_is_nearest_to_the_host_chooses() {
    let (mut bundle, etc) = host("policy = \"baseline\"\nselectable = [\"oci\"]\n");
    assert_eq!(chosen(&bundle, &etc, &[]), "baseline (host configuration)");
    assert_eq!(chosen(&bundle, &etc, &["--policy", "strict"]), "strict (command line)");
    annotate(&mut bundle, "strict");
    assert_eq!(chosen(&bundle, &etc, &[]), "baseline (host configuration) and strict (annotation)");
    annotate(&mut bundle, "oci");
    assert_eq!(chosen(&bundle, &etc, &["--policy", "strict"]), "oci (annotation)");
    let nothing = bundle.dir().join("nothing");
    fs::create_dir(&nothing).unwrap();
    bundle.edit(|c| c["annotations"] = json!({}));
    assert_eq!(chosen(&bundle, &nothing, &[]), "hardened (default)");
}

/// The value of NoNewPrivs inside, where the bundle asks for none.
fn new_privileges(bundle: &Bundle, etc: &Path, args: &[&str]) -> Output {
    call(bundle, etc, &[args, &["run", bundle.id()]].concat())
}

fn ask_for_new_privileges(bundle: &mut Bundle) {
    bundle.args(&["/bin/grep", "NoNewPrivs", "/proc/self/status"]);
    bundle.edit(|c| c["process"]["noNewPrivileges"] = json!(false));
}

#[test]
fn an_annotation_tightens_and_never_loosens() {
    let (mut bundle, etc) = host("policy = \"baseline\"\n");
    ask_for_new_privileges(&mut bundle);
    assert_eq!(new_privileges(&bundle, &etc, &[]).ok().text(), "NoNewPrivs:\t0");
    annotate(&mut bundle, "hardened");
    assert_eq!(new_privileges(&bundle, &etc, &[]).ok().text(), "NoNewPrivs:\t1");
    annotate(&mut bundle, "oci");
    assert_eq!(new_privileges(&bundle, &etc, &["--policy", "hardened"]).ok().text(), "NoNewPrivs:\t1");
    // Unless the host lets it.
    let (mut bundle, etc) = host("selectable = [\"oci\"]\n");
    ask_for_new_privileges(&mut bundle);
    annotate(&mut bundle, "oci");
    assert_eq!(new_privileges(&bundle, &etc, &["--policy", "hardened"]).ok().text(), "NoNewPrivs:\t0");
}

#[test]
fn nothing_lifts_the_ceiling() {
    let (mut bundle, etc) = host("policy = \"oci\"\nceiling = \"hardened\"\nselectable = [\"oci\"]\n");
    ask_for_new_privileges(&mut bundle);
    write(&etc.join("policies/mine.toml"), "extends = \"oci\"\nno_new_privs = \"as-asked\"\n");
    let mine = etc.join("policies/mine.toml");
    for args in [
        &[][..],
        &["--policy", "oci"],
        &["--policy", mine.to_str().unwrap()],
        &["--policy", "mine"],
        &["--audit"],
    ] {
        assert_eq!(new_privileges(&bundle, &etc, args).ok().text(), "NoNewPrivs:\t1", "{args:?}");
    }
    annotate(&mut bundle, "oci");
    assert_eq!(new_privileges(&bundle, &etc, &[]).ok().text(), "NoNewPrivs:\t1");
    bundle.without_namespace("network");
    for args in [&["--policy", "oci"][..], &["--audit"]] {
        call(&bundle, &etc, &[args, &["create", "c1"]].concat())
            .fails_saying(&["network", "shared_with_host"]);
    }
    bundle.assert_clean();
}

fn audited(bundle: &Bundle) -> Vec<Value> {
    let text = fs::read_to_string(bundle.dir().join("audit.jsonl")).unwrap_or_default();
    text.lines().map(parsed).collect()
}

fn parsed(line: &str) -> Value {
    line.parse().unwrap_or_else(|error| panic!("not JSON: {error}: {line}"))
}

#[test]
fn what_is_only_tried_is_logged_and_changes_nothing() {
    let (mut bundle, etc) = host("audit = true\n");
    ask_for_new_privileges(&mut bundle);
    assert_eq!(new_privileges(&bundle, &etc, &[]).ok().text(), "NoNewPrivs:\t0");
    let lines = audited(&bundle);
    let told = |lines: &[Value], action: &str, field: &str| {
        lines.iter().any(|line| {
            line["action"] == action
                && line["field"].as_str().is_some_and(|said| said.starts_with(field))
                && line["container"] == bundle.id()
                && line["policy"] == "hardened"
                && line["command"] == "create"
                && ["time", "rule", "asked", "allowed"].iter().all(|key| line[*key].is_string())
        })
    };
    assert!(told(&lines, "would-tighten", "process.noNewPrivileges"), "{lines:#?}");
    assert!(lines.iter().all(|line| line["action"] == "would-tighten"), "{lines:#?}");
    let mut told_once: Vec<_> =
        lines.iter().map(|line| format!("{} {}", line["field"], line["asked"])).collect();
    told_once.sort_unstable();
    told_once.dedup();
    assert_eq!(told_once.len(), lines.len(), "told more than once: {lines:#?}");
    // What would be denied passes too.
    fs::remove_file(bundle.dir().join("audit.jsonl")).unwrap();
    let (id, seen) = (bundle.id().to_owned(), bundle.dir().join("audit.jsonl"));
    bundle.without_namespace("network");
    let output = new_privileges(&bundle, &etc, &[]).ok();
    assert!(output.stderr().contains(seen.to_str().unwrap()), "{output}");
    let lines = audited(&bundle);
    let denied = lines.iter().find(|line| line["action"] == "would-deny").expect("a line for the denial");
    assert_eq!(denied["container"], id.as_str());
    assert!(denied["remedy"].as_str().is_some_and(|remedy| remedy.contains("network")), "{denied:#}");
    // Neither check nor plan is a container.
    let before = audited(&bundle).len();
    call(&bundle, &etc, &["plan"]).ok();
    call(&bundle, &etc, &["check"]).fails_with(3);
    assert_eq!(audited(&bundle).len(), before);
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let (mut bundle, etc) = host("audit = true\n");
    ask_for_new_privileges(&mut bundle);
    let victim = bundle.file("victim", "");
    symlink(&victim, bundle.dir().join("audit.jsonl")).unwrap();
    let output = new_privileges(&bundle, &etc, &[]).ok();
    assert!(output.stderr().contains("audit log"), "{output}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "", "the log was written through a link");
}

#[test]
fn exec_keeps_to_the_policy_that_the_container_was_made_under() {
    let (mut bundle, etc) = host("");
    bundle.args(&["/bin/sleep", "1000"]).edit(|c| c["process"]["noNewPrivileges"] = json!(false));
    let file = etc.join("site.toml");
    write(&file, "extends = \"oci\"\nno_new_privs = \"on\"\n");
    call(&bundle, &etc, &["--policy", file.to_str().unwrap(), "run", "-d", bundle.id()]).ok();
    let inside = |args: &[&str]| {
        let rest = ["exec", bundle.id(), "/bin/grep", "NoNewPrivs", "/proc/self/status"];
        call(&bundle, &etc, &[args, &rest].concat())
    };
    assert_eq!(inside(&[]).ok().text(), "NoNewPrivs:\t1");
    write(&file, "extends = \"oci\"\n");
    for args in [&[][..], &["--policy", "oci"], &["--policy", file.to_str().unwrap()], &["--audit"]] {
        assert_eq!(inside(args).ok().text(), "NoNewPrivs:\t1", "{args:?}");
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(inside(&[]).ok().text(), "NoNewPrivs:\t1");
    let state = call(&bundle, &etc, &["state", bundle.id()]).ok().json();
    assert!(state["casemate"]["chosen"].as_str().unwrap().contains("site.toml (command line)"), "{state:#}");
}

#[test]
fn exec_is_tried_where_its_container_was() {
    let (mut bundle, etc) = host("");
    bundle.args(&["/bin/sleep", "1000"]).edit(|c| c["process"]["noNewPrivileges"] = json!(false));
    call(&bundle, &etc, &["--audit", "run", "-d", bundle.id()]).ok();
    let said = call(&bundle, &etc, &["exec", bundle.id(), "/bin/grep", "NoNewPrivs", "/proc/self/status"]);
    assert_eq!(said.ok().text(), "NoNewPrivs:\t0");
    let lines = audited(&bundle);
    assert!(lines.iter().any(|line| line["command"] == "exec"), "{lines:#?}");
    let state = call(&bundle, &etc, &["state", bundle.id()]).ok().json();
    assert_eq!(state["casemate"]["audit"], true, "{state:#}");
}

/// A ceiling that came after the container holds for what is done to it now.
#[test]
fn exec_is_under_todays_ceiling() {
    let (mut bundle, etc) = host("policy = \"oci\"\n");
    bundle.args(&["/bin/sleep", "1000"]).edit(|c| c["process"]["noNewPrivileges"] = json!(false));
    call(&bundle, &etc, &["run", "-d", bundle.id()]).ok();
    let inside =
        || call(&bundle, &etc, &["exec", bundle.id(), "/bin/grep", "NoNewPrivs", "/proc/self/status"]);
    assert_eq!(inside().ok().text(), "NoNewPrivs:\t0");
    write(&etc.join("policies/floor.toml"), "extends = \"oci\"\nno_new_privs = \"on\"\n");
    write(&etc.join("runtime.toml"), "policy = \"oci\"\nceiling = \"floor\"\n");
    assert_eq!(inside().ok().text(), "NoNewPrivs:\t1");
}

/// What a policy bounds at `create`, `update` does not raise.
#[test]
fn new_limits_are_bounded_by_the_policy_too() {
    let (mut bundle, etc) = host("");
    bundle.args(&["/bin/sleep", "1000"]);
    bundle.edit(|c| c["linux"]["resources"] = json!({"pids": {"limit": 20}, "memory": {"limit": 32 << 20}}));
    let file = etc.join("site.toml");
    write(&file, "extends = \"oci\"\n[limits]\npids = 50\npids_max = 100\nmemory_max = \"64MiB\"\n");
    call(&bundle, &etc, &["--policy", file.to_str().unwrap(), "run", "-d", bundle.id()]).ok();
    let update = |flags: &[&str]| call(&bundle, &etc, &[&["update"], flags, &[bundle.id()]].concat()).ok();
    let groups = bundle.cgroups();
    let pids = || groups.read("pids", "pids.max");
    let memory = if groups.is_v1("memory") { "memory.limit_in_bytes" } else { "memory.max" };
    let memory = || groups.read("memory", memory);
    assert_eq!((pids(), memory()), ("20".to_owned(), (32 << 20).to_string()));
    // Within the bounds: as asked, and nothing else is touched.
    assert_eq!(update(&["--pids-limit", "70"]).stderr(), "");
    assert_eq!(update(&["--memory", "48m"]).stderr(), "");
    assert_eq!((pids(), memory()), ("70".to_owned(), (48 << 20).to_string()));
    // Beyond: as much as may be, and it is said. None at all is the policy's own.
    for (asked, got) in [("1000", "100"), ("-1", "50")] {
        let output = update(&["--pids-limit", asked]);
        assert!(output.stderr().contains("linux.resources.pids.limit"), "{output}");
        assert_eq!(pids(), got);
    }
    update(&["--memory", "1g"]);
    assert_eq!(memory(), (64 << 20).to_string());
    let resources =
        bundle.file("resources.json", r#"{"pids": {"limit": 5000}, "unified": {"pids.max": "max"}}"#);
    update(&["--resources", resources.to_str().unwrap()]);
    assert_eq!(pids(), "100");
    // As dockerd writes what it leaves alone.
    let zeros =
        r#"{"pids": {"limit": 0}, "memory": {"limit": 0, "swap": 0}, "cpu": {"quota": 0, "period": 0}}"#;
    let zeros = bundle.file("zeros.json", zeros);
    assert_eq!(update(&["--resources", zeros.to_str().unwrap()]).stderr(), "");
    assert_eq!((pids(), memory()), ("100".to_owned(), (64 << 20).to_string()));
}

/// The default is for users too: what only root could give is left out, and said.
#[test]
fn a_user_without_control_groups_runs_under_the_default() {
    const USER: u32 = 54_321;
    let (mut bundle, etc) = host("");
    bundle.args(&["/bin/grep", "NoNewPrivs", "/proc/self/status"]).namespace("user", None);
    bundle.edit(|c| {
        c["process"]["noNewPrivileges"] = json!(false);
        c["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
        c["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    });
    bundle.as_user(USER, USER);
    assert_eq!(chosen(&bundle, &etc, &[]), "hardened (default)");
    assert_eq!(new_privileges(&bundle, &etc, &[]).ok().text(), "NoNewPrivs:\t1");
    let report = call(&bundle, &etc, &["check", "--format", "json"]).ok().json();
    let rows = report["protections"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap()["enforced"].to_string();
    for name in ["memory", "pids"] {
        assert!(row(name).contains("no permission on control groups"), "{}", row(name));
    }
}
