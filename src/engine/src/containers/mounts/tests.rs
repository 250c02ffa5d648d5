use proptest::prelude::*;

use super::*;
use crate::containers::{BindOptions, MountAsked, TmpfsOptions, VolumeOptions};

fn host(binds: &[&str]) -> HostConfig {
    let binds = Some(binds.iter().map(|bind| (*bind).to_owned()).collect());
    HostConfig { binds, ..HostConfig::default() }
}

fn read(binds: &[&str]) -> Result<Vec<Wanted>> {
    wanted(&Config::default(), &host(binds), Vec::new())
}

fn volume(binds: &[&str]) -> VolumeWanted {
    match read(binds).expect("mounts").remove(0) {
        Wanted::Volume(volume) => volume,
        Wanted::Point(point) => panic!("{point:?}"),
    }
}

fn point(binds: &[&str]) -> MountPoint {
    match read(binds).expect("mounts").remove(0) {
        Wanted::Point(point) => point,
        Wanted::Volume(volume) => panic!("{volume:?}"),
    }
}

#[test]
fn the_short_form_is_read() {
    let bind = point(&["/srv/../srv//data/:/data/./x/:ro,rslave,Z"]);
    let PointKind::Bind { source, create, recursive, propagation } = bind.kind else { panic!("a bind") };
    assert_eq!(
        (source.as_str(), create, recursive, propagation.as_str()),
        ("/srv/data", true, true, "rslave")
    );
    assert_eq!((bind.destination.as_str(), bind.read_only), ("/data/x", true));
    let named = volume(&["cache:/cache:nocopy"]);
    assert_eq!((named.name.as_deref(), named.copy, named.read_only), (Some("cache"), false, false));
    assert_eq!(volume(&["cache:/cache"]).mode, "z");
    assert_eq!(volume(&["/cache"]).name, None);
}

#[test]
fn what_docker_refuses_is_refused_in_its_words() {
    for (bad, words) in [
        ("", "invalid volume specification: ''"),
        (":/a", "invalid volume specification: ':/a'"),
        ("/a:", "invalid volume specification: '/a:'"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        ("/a:/b:rw:x", "invalid volume specification: '/a:/b:rw:x'"),
        ("/a:/b:wo", "invalid mode: wo"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        ("/a:/b:nocopy", "invalid mode: nocopy"),
        ("vol:/b:rshared", "invalid mode: rshared"),
        ("/a:/b:shared,slave", "invalid mode: shared,slave"),
        ("/a:/", "destination can't be '/'"),
        ("/a:/b/..", "destination can't be '/'"),
        ("/a:b", "mount path must be absolute"),
        ("../a:/b", "includes invalid characters for a local volume name"),
        ("v:/b", "includes invalid characters for a local volume name"),
    ] {
        let failure = read(&[bad]).expect_err(bad);
        assert!(failure.message.contains(words), "{bad}: {}", failure.message);
    }
    assert_eq!(read(&["/a:/x", "/b:/x/"]).expect_err("twice").message, "Duplicate mount point: /x");
}

fn long(kind: &str, source: &str, target: &str, change: impl FnOnce(&mut MountAsked)) -> Result<Wanted> {
    let mut asked = MountAsked {
        kind: kind.to_owned(),
        source: source.to_owned(),
        target: target.to_owned(),
        ..MountAsked::default()
    };
    change(&mut asked);
    long::read(&asked)
}

#[test]
fn the_long_form_is_read() {
    let Wanted::Point(bind) = long("bind", "/a", "/b", |asked| asked.read_only = true).expect("a bind")
    else {
        panic!("a point")
    };
    assert!(matches!(bind.kind, PointKind::Bind { create: false, recursive: true, .. }) && bind.read_only);
    let options = TmpfsOptions { size_bytes: 1 << 20, mode: 0o1777, ..Default::default() };
    let tmpfs = long("tmpfs", "", "/t", |asked| asked.tmpfs_options = Some(options)).expect("a tmpfs");
    let Wanted::Point(tmpfs) = tmpfs else { panic!("a point") };
    let expected = ["noexec", "nosuid", "nodev", "mode=1777", "size=1048576"].map(str::to_owned).to_vec();
    assert_eq!(tmpfs.kind, PointKind::Tmpfs { options: expected });
    let sub = VolumeOptions { subpath: "a/b".to_owned(), ..Default::default() };
    let Wanted::Volume(volume) =
        long("volume", "vv", "/v", |asked| asked.volume_options = Some(sub)).expect("one")
    else {
        panic!("a volume")
    };
    assert_eq!(volume.subpath.as_deref(), Some("a/b"));
}

#[test]
fn what_the_long_form_cannot_mean_is_refused() {
    let nothing = |_: &mut MountAsked| {};
    for (kind, source, target, words) in [
        ("", "", "/x", "mount type unknown: \"\""),
        ("npipe", "x", "/x", "mount type unknown: \"npipe\""),
        ("bind", "", "/x", "invalid mount config for type \"bind\": field Source must not be empty"),
        ("bind", "/a", "", "invalid mount config for type \"bind\": field Target must not be empty"),
        ("bind", "a", "/x", "mount path must be absolute"),
        ("tmpfs", "/a", "/x", "field Source must not be specified"),
        ("volume", "a/b", "/x", "includes invalid characters"),
        ("volume", "ab", "/", "destination can't be '/'"),
    ] {
        let failure = long(kind, source, target, nothing).expect_err(kind);
        assert!(failure.message.contains(words), "{}", failure.message);
    }
    let bind = BindOptions::default();
    assert!(long("volume", "ab", "/x", |asked| asked.bind_options = Some(bind)).is_err());
    for path in ["/a", "../a", "a/../b", "a//b", "a\0"] {
        let options = VolumeOptions { subpath: path.to_owned(), ..Default::default() };
        assert!(
            long("volume", "ab", "/x", |asked| asked.volume_options = Some(options)).is_err(),
            "{path:?}"
        );
    }
}

#[test]
fn options_of_a_tmpfs_are_kept_to() {
    assert_eq!(tmpfs_options("exec,size=64m").expect("good"), ["nosuid", "nodev", "exec", "size=64m"]);
    assert_eq!(tmpfs_options("").expect("good"), ["noexec", "nosuid", "nodev"]);
    for bad in ["bind", "size", "size=", "lowerdir=/", "remount", "shared", "huge=always\0", "x"] {
        assert!(tmpfs_options(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn what_is_lent_gives_way() {
    let lent = lend(&[point(&["/srv:/data"]), point(&["/srv:/other"])], true);
    assert!(lent.iter().all(|point| point.read_only));
    let volumes = ["/data", "/new"].map(|path| (path.to_owned(), Default::default()));
    let config = Config { volumes: Some(volumes.into()), ..Config::default() };
    let list = wanted(&config, &host(&["/mine:/data"]), lent).expect("mounts");
    let places: Vec<&str> = list.iter().map(Wanted::destination).collect();
    assert_eq!(places, ["/data", "/other", "/new"]);
    assert!(matches!(&list[0], Wanted::Point(MountPoint { read_only: false, .. })));
    assert_eq!(volumes_from("web:ro"), Ok(("web", true)));
    assert!(volumes_from("").is_err() && volumes_from("web:x").is_err());
}

proptest! {
    #[test]
    fn nothing_leads_upwards(text in "[/a.:b,ro]{0,24}") {
        for mount in read(&[&text]).unwrap_or_default() {
            let place = mount.destination();
            prop_assert!(place.starts_with('/') && place != "/");
            prop_assert!(place[1..].split('/').all(|name| !matches!(name, "" | "." | "..")));
        }
    }

    #[test]
    fn no_text_is_too_odd(text in ".{0,40}") {
        drop(read(&[&text]));
        drop(tmpfs_options(&text));
        drop(volumes_from(&text));
    }
}
