//! Which policy applies: the command line's, the host's, the annotation's, the ceiling.

mod files;
mod later;
mod tried;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use casemate_tests::{Bundle, Output, json, ours};

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
