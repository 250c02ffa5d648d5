//! Policies as people write them, and what they are told.

use super::*;

#[track_caller]
fn refused(text: &str, what: &str, shown: &str) {
    let error = load(text, "web.toml", &mut Builtin).unwrap_err();
    assert_eq!(error.to_string(), what);
    assert_eq!(error.remedy().unwrap_or_default(), shown);
}

#[test]
fn a_wrong_key_is_shown_where_it_stands() {
    refused(
        "extends = \"hardened\"\n\n[landlock]\nbind_tpc = [80]\n",
        "web.toml:4:1: unknown field `bind_tpc`, expected one of `profile`, `mode`, `writable`, \
         `write_xor_execute`, `bind_tcp`, `connect_tcp`, `scope`, `missing`",
        "\nbind_tpc = [80]\n^^^^^^^^",
    );
}

#[test]
fn a_wrong_value_is_shown_where_it_stands() {
    refused(
        "[capabilities]\nat_most = [\"CAP_KILL\", \"CAP_FLY\"]",
        "web.toml:2:24: \"CAP_FLY\" is no capability: they are written as CAP_CHOWN",
        "\nat_most = [\"CAP_KILL\", \"CAP_FLY\"]\n                       ^^^^^^^^^",
    );
    refused(
        "\t[limits]\n\tmemory = \"1GB\"",
        "web.toml:2:11: \"1GB\": expected a size such as \"64MiB\" or \"1GiB\", a number of bytes, or \"as-asked\"",
        "\n\tmemory = \"1GB\"\n\t         ^^^^^",
    );
    refused(
        "capabilities.profile = \"dokcer\"",
        "web.toml:1:24: no capability set of that name; there are none, hardened, docker",
        "\ncapabilities.profile = \"dokcer\"\n                       ^^^^^^^^",
    );
    refused(
        "paths.masked = [\"*\"]",
        "web.toml:1:17: \"*\" has no meaning in this list",
        "\npaths.masked = [\"*\"]\n                ^^^",
    );
    refused(
        "extends = \"nobody\"",
        "web.toml:1:11: policy \"nobody\": there is no such policy",
        "known: strict, hardened, baseline, oci",
    );
}

#[test]
fn every_kind_of_value_is_checked() {
    for text in [
        "x = 1",
        "no_new_privs = true",
        "name = \"a\"\nname = \"b\"",
        "[seccomp]\nallow = [\"open_the_door\"]",
        "seccomp.profile = \"nowhere.json\"",
        "seccomp.json = \"{}\"",
        "seccomp.also = [{ profile = \"docker\" }]",
        "[user_namespace]\nmode = \"mine\"",
        "landlock.scope = [\"everything\"]",
        "landlock.bind_tcp = [65536]",
        "landlock.bind_tcp = [-1]",
        "landlock.bind_tcp = \"all\"",
        "rootfs.tmpfs = [\"tmp\"]",
        "rootfs.tmpfs = [\"/tmp/../etc\"]",
        "rootfs.tmpfs_size = \"as-asked\"",
        "rootfs.tmpfs_size = 0",
        "devices.allow = [\"/dev/sda\"]",
        "devices.allow = [\"c 1:x\"]",
        "mounts.propagation = \"rshared\"",
        "mounts.types = [\"a b\"]",
        "mounts.deny_sources = [\"docker.sock\"]",
        "limits.cpus = 0",
        "limits.cpus = 0.001",
        "limits.cpus = nan",
        "limits.pids = -1",
        "limits.memory = \"99999999TiB\"",
        "rlimits.files = 1",
        "sysctl.allow = [\"..\"]",
        "extends = 5",
        "[[[",
    ] {
        let error = load(text, "bad.toml", &mut Builtin).expect_err(text);
        assert!(error.to_string().starts_with("bad.toml"), "{text}: {error}");
        assert!(!error.to_string().contains('\n'), "{text}: {error}");
    }
    let long = "#".repeat(crate::document::MAX_BYTES + 1);
    assert!(load(&long, "long.toml", &mut Builtin).is_err());
}

#[test]
fn those_compiled_in_are_good() {
    for name in Policy::BUILTIN {
        let read = crate::policy::read_builtin(name).unwrap().unwrap();
        assert_eq!(read, Policy::builtin(name).unwrap());
        assert_eq!(read.name(), name);
        assert!(!read.description().is_empty());
    }
    assert!(Policy::oci().is_as_asked() && !policy("baseline").is_as_asked());
    assert_eq!(Policy::builtin("strictest"), None);
}

/// Of hardened's rules, those of the product's own programs give way in what they are for, and in nothing else.
#[test]
fn those_of_our_own_programs_are_hardened_and_have_no_name() {
    let hardened = policy("hardened");
    for (program, lax) in [("casemated", "namespaces"), ("layer", "capabilities")] {
        assert_eq!(Policy::builtin(program), None);
        let mut own = written(own_text(program).unwrap());
        assert!(own.name() == program && !own.description().is_empty());
        match lax {
            "namespaces" => own.rules.namespaces = hardened.rules.namespaces.clone(),
            _ => own.rules.capabilities = hardened.rules.capabilities.clone(),
        }
        // Places to write to are fewer, where the meeting of two has the places of both.
        own.rules.rootfs = hardened.rules.rootfs.clone();
        assert_eq!(own.meet(&hardened).rules, own.rules, "{program} is laxer than hardened elsewhere, too");
    }
    assert_eq!(own_text("hardened"), None);
}

/// `hardened` is beneath every other: a key it lacked would be whatever the code says.
#[test]
fn hardened_says_everything() {
    let text = builtin_text("hardened").unwrap();
    let says = |section: &str, key: &str| {
        let head = format!("\n[{section}]\n");
        let from = if section.is_empty() { 0 } else { text.find(&head).unwrap() + 1 };
        let body = text[from..].split("\n[").next().unwrap();
        body.lines().any(|line| line.starts_with(&format!("{key} =")))
    };
    let mut section = "";
    for line in Policy::oci().to_toml().lines().map(str::to_owned).collect::<Vec<_>>().iter() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ") {
            // Named by a profile, or one of sixteen.
            let elsewhere = ["capabilities", "landlock", "rlimits"].contains(&section);
            assert!(elsewhere || says(section, key), "[{section}] {key}");
        }
    }
}

#[test]
fn stricter_ones_are_stricter() {
    for pair in Policy::BUILTIN.windows(2) {
        let [strict, lax] = [policy(pair[0]), policy(pair[1])];
        let met = strict.meet(&lax).rules;
        assert_eq!(met.capabilities, strict.rules.capabilities);
        assert_eq!(met.seccomp, strict.rules.seccomp);
        assert_eq!(met.landlock, strict.rules.landlock);
        assert_eq!(met.namespaces, strict.rules.namespaces);
        assert_eq!(met.limits, strict.rules.limits);
        assert_eq!(met.rlimits, strict.rules.rlimits);
        assert_eq!(met.devices, strict.rules.devices);
        assert_eq!(met.sysctl, strict.rules.sysctl);
        assert_eq!(met.user_namespace, strict.rules.user_namespace);
    }
}

#[test]
fn one_policy_over_another() {
    let web = written("extends = \"strict\"\nlandlock.bind_tcp = [443, 80, 80]");
    assert_eq!(web.rules.landlock.bind_tcp, Some(vec![80, 443]));
    assert!(web.rules.landlock.write_xor_execute);
    assert_eq!(web.name(), "test");
    assert_eq!(written("name = \"mine\"").name(), "mine");
    // Without a word about it, hardened lies beneath.
    assert_eq!(written("").rules, policy("hardened").rules);
    let more = written("capabilities.at_most = [\"...\", \"CAP_NET_RAW\"]");
    assert_eq!(more.rules.capabilities.list().unwrap().len(), 9);
    let less = written("capabilities.at_most = [\"CAP_NET_RAW\"]");
    assert_eq!(less.rules.capabilities.list().unwrap().len(), 1);
    let free = written("landlock.profile = \"strict\"\nlandlock.missing = \"report\"");
    assert_eq!(free.rules.landlock.missing, Missing::Report);
}

#[test]
fn sources_give_policies_and_profiles() {
    struct Files;
    impl Sources for Files {
        fn policy(&mut self, name: &str) -> Result<Policy, Error> {
            assert_eq!(name, "house");
            load("extends = \"strict\"\nrlimits.nofile = 7", "house.toml", &mut Builtin)
        }

        fn profile(&mut self, name: &str) -> Result<String, Error> {
            assert_eq!(name, "mine.json");
            Ok(crate::seccomp::Profile::builtin("strict").unwrap().to_json())
        }
    }
    let read = load("extends = \"house\"\nseccomp.profile = \"mine.json\"", "web.toml", &mut Files).unwrap();
    assert_eq!(read.rules.seccomp.len(), 1);
    assert_eq!(read.rules.rlimits.len(), 2);
    // The profile's text goes along: nothing is to be found later.
    assert_eq!(load(&read.to_toml(), "state.toml", &mut Builtin).unwrap(), read);
}

/// Where ports and writable places are listed, they are what is left of what could be had.
#[test]
fn landlock_by_lists() {
    let narrow = written("landlock.writable = [\"/srv/data\", \"/run\"]\nlandlock.connect_tcp = []");
    let asked = docker_with(|c| add_mount(c, bind("/srv/d", "/srv", &["bind"])));
    let admitted = judge(asked, &narrow, &host()).unwrap();
    let landlock = admitted.confinement().landlock.as_ref().unwrap();
    let expected = ["/dev", "/dev/mqueue", "/dev/pts", "/dev/shm", "/proc", "/run", "/srv/data"];
    assert_eq!(landlock.writable, expected);
    assert_eq!((landlock.bind_tcp.as_ref(), landlock.connect_tcp.as_deref()), (None, Some(&[][..])));
    let open = written("extends = \"baseline\"\nlandlock.writable = [\"/var/lib/app\"]");
    let admitted = judge(config(&docker()), &open, &host()).unwrap();
    let landlock = admitted.confinement().landlock.as_ref().unwrap();
    assert_eq!(landlock.writable, ["/dev", "/proc", "/var/lib/app"]);
}

/// Every key of the schema, every protection of the report, is explained.
#[test]
fn everything_is_documented() {
    let page = include_str!("../../../../docs/policy.md");
    let full = Policy::oci().to_toml();
    let mut section = String::new();
    for line in full.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some((key, _)) = line.split_once(" = ") {
            let documented = page.contains(&format!("`{section}{key}`"));
            assert!(
                documented || section == "rlimits." && page.contains(&format!("`{key}`")),
                "{section}{key}"
            );
        }
    }
    for key in
        ["`extends`", "`capabilities.profile`", "`landlock.profile`", "`seccomp.json`", "`seccomp.also`"]
    {
        assert!(page.contains(key), "{key}");
    }
    for (protection, _) in crate::protections::ALL {
        assert!(page.contains(&format!("`{protection}`")), "{protection}");
    }
}
