//! `casemate policy`: what confines a container and who may what, explained; expectations held against the policies; and
//! the grade of a container, wherever it is shown.

use std::fs;

use casemate_tests::{Invocation, Value};

use crate::harness::libexec;
use crate::{ADMIN, World};

const DORA: &str = "casemate://default/dora?groups=developer";

/// A world whose host lets clients choose `baseline` as well.
fn world() -> World {
    let world = World::prepared("", |etc| {
        fs::write(etc.join("runtime.toml"), "selectable = [\"baseline\"]\n").expect("write runtime.toml");
    });
    world.import();
    world
}

/// The `casemate` command, as somebody.
fn casemate(world: &World, uri: &str, args: &[&str]) -> Invocation {
    let program = libexec().join("casemate");
    world.environment(uri, world.outside(&program.to_string_lossy())).args(args)
}

fn explained(world: &World, uri: &str, args: &[&str], code: i32) -> Value {
    let words = [&["policy", "explain", "--format", "json"], args].concat();
    let output = casemate(world, uri, &words).run();
    if code == 0 { output.ok().json() } else { output.fails_with(code).json() }
}

fn row<'a>(judgement: &'a Value, name: &str) -> &'a Value {
    let rows = judgement["protections"].as_array().expect("protections");
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no row {name}: {judgement:#}"))
}

#[test]
fn a_grade_is_shown_where_containers_are() {
    let world = world();
    for (name, policy) in [("web", "hardened"), ("loose", "baseline")] {
        world.ok(&[
            "run",
            "-d",
            "--net",
            "none",
            "--runtime",
            policy,
            "--name",
            name,
            "busybox",
            "sleep",
            "100",
        ]);
    }
    let inspect = |name: &str, template: &str| world.ok(&["inspect", "-f", template, name]);
    assert_eq!(inspect("web", "{{.Casemate.Policy}} {{.Casemate.Grade}}"), "hardened safe");
    let exposure = |name: &str| inspect(name, "{{.Casemate.Exposure}}").parse::<f64>().expect("a number");
    assert!(exposure("web") < exposure("loose"), "{} {}", exposure("web"), exposure("loose"));
    assert_eq!(inspect("web", "{{index .Casemate.Protections \"read-only-root\"}}"), "read-only");
    assert_eq!(inspect("loose", "{{index .Casemate.Protections \"read-only-root\"}}"), "writable");
    let top = casemate(&world, ADMIN, &["top", "--once"]).run().ok().stdout();
    let line =
        |name: &str| top.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{top}"));
    let shown = format!("safe ({:.1})", exposure("web"));
    assert!(line("web").contains("hardened") && line("web").contains(&shown), "{top}");
    assert!(line("loose").contains("baseline"), "{top}");
    let metrics = world.client(ADMIN).request("GET", "/metrics", None).text();
    let counted = "casemate_containers{state=\"running\",policy=\"baseline\",tenant=\"default\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    world.ok(&["rm", "-f", "web", "loose"]);
    world.stop();
}

#[test]
fn a_container_that_is_there_is_explained() {
    let world = world();
    world.ok(&["create", "--net", "none", "--name", "web", "--cap-add", "NET_ADMIN", "busybox", "true"]);
    let viewer = "casemate://default/victor?groups=viewer";
    let report = explained(&world, viewer, &["web"], 0);
    assert_eq!(report["Name"], "web");
    let judgement = &report["Judgement"];
    assert_eq!(
        (&judgement["policy"]["name"], &judgement["verdict"]),
        (&"hardened".into(), &"admitted".into())
    );
    assert_eq!(judgement["grade"]["word"], world.ok(&["inspect", "-f", "{{.Casemate.Grade}}", "web"]));
    let capabilities = row(judgement, "capabilities");
    assert!(
        capabilities["asked"].as_str().is_some_and(|asked| asked.contains("NET_ADMIN")),
        "{capabilities:#}"
    );
    assert!(
        !capabilities["enforced"].as_str().is_some_and(|now| now.contains("NET_ADMIN")),
        "{capabilities:#}"
    );
    assert!(capabilities["rule"].as_str().is_some_and(|rule| rule.starts_with("capabilities.at_most")));
    assert!(judgement.get("bundle").is_none(), "where the broker writes is not told");
    let text = casemate(&world, viewer, &["policy", "explain", "web"]).run().ok().stdout();
    for words in
        ["container   web (", "policy      hardened", "grade       safe", "PROTECTION", "seccomp.profile ="]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Another tenant's is not there.
    let other = casemate(&world, "casemate://other/ada?groups=viewer", &["policy", "explain", "web"]).run();
    assert!(!other.success() && other.stderr().contains("No such container: web"), "{other}");
    world.ok(&["rm", "web"]);
    world.stop();
}

#[test]
fn a_container_that_is_to_be_is_explained_and_nothing_is_left() {
    let world = world();
    let flags = ["--", "--policy", "baseline", "-v", "data:/data", "--name", "planned", "busybox", "true"];
    let report = explained(&world, DORA, &flags, 0);
    assert_eq!(report["Authorization"]["By"][0], "roles.cedar:developer-runs");
    assert_eq!(report["Judgement"]["policy"]["name"], "baseline");
    assert_eq!(row(&report["Judgement"], "read-only-root")["enforced"], "writable");

    let denied = explained(&world, ADMIN, &["--", "-v", "/etc:/etc", "busybox", "true"], 3);
    assert_eq!(
        (&denied["Authorization"]["Allowed"], &denied["Judgement"]["verdict"]),
        (&true.into(), &"denied".into())
    );
    assert_eq!(denied["Judgement"]["grade"], Value::Null);
    let violation = &denied["Judgement"]["violations"][0];
    assert_eq!(violation["remedy"], "mounts.allow_sources = [\"...\", \"/etc\"]", "{violation:#}");
    let text =
        casemate(&world, ADMIN, &["policy", "explain", "--", "-v", "/etc:/etc", "busybox", "true"]).run();
    let text = text.fails_with(3).stdout();
    assert!(
        text.contains("client      allowed by roles.cedar:admin") && text.contains("  remedy    mounts"),
        "{text}"
    );

    // Whom authorization denies hears nothing of what the host has.
    let denied = explained(&world, DORA, &["--", "-v", "/etc:/etc", "busybox", "true"], 3);
    assert_eq!(denied["Authorization"]["By"][0], "roles.cedar:host-is-the-administrators");
    assert_eq!(denied["Judgement"], Value::Null);

    let missing = casemate(&world, DORA, &["policy", "explain", "--", "localhost:1/none", "true"]).run();
    assert!(
        !missing.success() && missing.stderr().contains("hint: what becomes of a container"),
        "{missing}"
    );
    let wrong =
        casemate(&world, DORA, &["policy", "explain", "--", "--flies", "busybox"]).run().fails_with(2);
    assert!(wrong.stderr().contains("--flies"), "{wrong}");

    assert_eq!(world.ok(&["ps", "-aq"]) + &world.ok(&["volume", "ls", "-q"]), "");
    let places = fs::read_dir(world.data().join("store/containers")).expect("the store").count();
    assert_eq!(places, 0);
    // Nor is its name taken.
    world.ok(&["run", "--rm", "--net", "none", "--name", "planned", "busybox", "true"]);
    world.stop();
}

#[test]
fn who_may_what_is_explained_to_the_administrator() {
    let world = world();
    world.ok(&["create", "--net", "none", "--name", "web", "-v", "/srv:/srv", "busybox", "true"]);
    let asked =
        |words: &[&str], code: i32| explained(&world, ADMIN, &[&["--as", DORA], words].concat(), code);
    let start = asked(&["container.start", "web"], 0);
    let id = world.ok(&["inspect", "-f", "{{.Id}}", "web"]);
    assert_eq!(start["Resource"], format!("container:{id}"));
    assert_eq!(start["Groups"][0], "developer");
    assert_eq!(start["By"][0], "roles.cedar:developer-runs");
    let create = asked(&["container.create", "--", "--privileged", "busybox"], 3);
    assert_eq!(create["By"][0], "roles.cedar:host-is-the-administrators");
    assert_eq!(asked(&["image.push", "busybox"], 3)["By"], Value::Array(Vec::new()));
    assert_eq!(asked(&["system.info"], 0)["Resource"], "tenant:default");
    assert_eq!(asked(&["tenant.assume", "other"], 3)["Resource"], "tenant:other");
    asked(&["volume.create", "data"], 0);
    let text = casemate(&world, ADMIN, &["policy", "explain", "--as", DORA, "image.push", "busybox"]).run();
    let text = text.fails_with(3).stdout();
    assert!(text.contains("verdict     denied: no policy permits it to casemate://default/dora"), "{text}");
    for (words, said) in [
        (["--as", DORA, "container.fly"], "no action container.fly"),
        (["--as", "dora", "container.list"], "expected casemate://TENANT/USER?groups=A,B"),
    ] {
        let output = casemate(&world, ADMIN, &[&["policy", "explain"], &words[..]].concat()).run();
        assert!(!output.success() && output.stderr().contains(said), "{output}");
    }
    let dora = casemate(&world, DORA, &["policy", "explain", "--as", DORA, "container.list"]).run();
    assert!(!dora.success() && dora.stderr().contains("access denied: policy.explain"), "{dora}");
    world.ok(&["rm", "web"]);
    world.stop();
}

/// Without a daemon, and with policies of one's own.
#[test]
fn expectations_are_held_against_the_policies_of_a_folder() {
    let world = World::configured("");
    let etc = world.dir().join("mine");
    fs::create_dir_all(etc.join("policies")).expect("make a directory");
    let test = |text: &str| {
        let file = world.dir().join("expectations.toml");
        fs::write(&file, text).expect("write expectations");
        let words = ["policy", "test", "--config", &etc.to_string_lossy(), &file.to_string_lossy()];
        casemate(&world, ADMIN, &words).args(["--libexec", &libexec().to_string_lossy()]).run()
    };
    let roles = include_str!("../../policies/cedar/roles.test.toml");
    assert!(test(roles).ok().stdout().contains(" judgements, 0 not as expected"));
    let own = r#"@id("no-ports") forbid (principal, action == Casemate::Action::"container.create", resource)
        when { !resource.ports.isEmpty() };"#;
    fs::write(etc.join("policies/own.cedar"), own).expect("write a policy");
    let output = test(roles).fails_with(1);
    let line = roles.lines().position(|line| line.contains("resource = \"on-a-port\"")).expect("a line");
    let said = format!(
        "expectations.toml:{line}:10: casemate://acme/ci container.create container:on-a-port: expected allow, but \
         forbidden by own.cedar:no-ports"
    );
    assert!(output.stdout().contains(&said), "{said}: {output}");
    assert!(output.stdout().contains(" judgements, 1 not as expected"), "{output}");
    let output =
        test("[[expect]]\nprincipal = \"x\"\naction = \"read\"\nverdict = \"perhaps\"\n").fails_with(2);
    assert!(output.stderr().contains("expectations.toml:4:11: unknown variant `perhaps`"), "{output}");
    fs::write(etc.join("policies/own.cedar"), "permit (principal, action").expect("write a policy");
    let output = test(roles).fails_with(2);
    assert!(output.stderr().contains("own.cedar:1:"), "{output}");
    world.stop();
}
