//! What happens to a container later is under the policy that it was made under.

use std::fs;

use casemate_tests::json;

use super::{call, host, write};

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
    // No swap is a word on both.
    write(&etc.join("policies/floor.toml"), "extends = \"oci\"\n[limits]\nswap = false\n");
    write(&etc.join("runtime.toml"), "ceiling = \"floor\"\n");
    let alone = call(&bundle, &etc, &["update", "--memory-swap", "128m", bundle.id()]);
    alone.fails_saying(&["linux.resources.memory.swap", "name both"]);
    // As dockerd writes what it leaves alone.
    let zeros =
        r#"{"pids": {"limit": 0}, "memory": {"limit": 0, "swap": 0}, "cpu": {"quota": 0, "period": 0}}"#;
    let zeros = bundle.file("zeros.json", zeros);
    assert_eq!(update(&["--resources", zeros.to_str().unwrap()]).stderr(), "");
    assert_eq!((pids(), memory()), ("100".to_owned(), (64 << 20).to_string()));
}
