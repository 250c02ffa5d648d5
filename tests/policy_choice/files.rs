//! Files that decide: only where nobody but the operator can have written them, and their faults shown in place.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use super::{call, host, write};

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
