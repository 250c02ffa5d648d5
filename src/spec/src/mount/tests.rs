//! What the words mean, and that the last one wins.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> MountOptions {
    MountOptions::parse(&text.split(' ').collect::<Vec<_>>())
}

fn key(name: &str, value: Option<&str>) -> (String, Option<String>) {
    (name.to_owned(), value.map(str::to_owned))
}

#[test]
fn docker_s_shm() {
    let options = read("nosuid noexec nodev mode=1777 size=65536k");
    assert_eq!(options.set, attr::NOSUID | attr::NOEXEC | attr::NODEV);
    assert_eq!(options.data, [key("mode", Some("1777")), key("size", Some("65536k"))]);
    assert_eq!((options.clear, options.fs_flags, options.bind), (0, 0, None));
}

#[test]
fn docker_s_volume() {
    let options = read("rbind rprivate ro");
    assert_eq!(options.bind, Some(Bind::Recursive));
    assert_eq!(options.propagation, [Propagation { kind: PropagationKind::Private, recursive: true }]);
    assert_eq!((options.set, options.rec_set), (attr::RDONLY, 0));
}

#[test]
fn read_only_concerns_the_mount_and_the_superblock() {
    let options = read("ro");
    assert_eq!((options.set, options.fs_flags), (attr::RDONLY, superblock::RDONLY));
    assert_eq!(options.fs_keys().collect::<Vec<_>>(), ["ro"]);
    let options = read("ro rw");
    assert_eq!((options.set, options.clear), (0, attr::RDONLY));
    assert_eq!((options.fs_flags, options.fs_clear), (0, superblock::RDONLY));
}

#[test]
fn access_time_modes_are_one_field() {
    let field = attr::ATIME_FIELD;
    let cases = [
        ("noatime", attr::NOATIME, field),
        ("strictatime", attr::STRICTATIME, field),
        ("relatime", 0, field),
        ("noatime strictatime", attr::STRICTATIME, field),
        ("strictatime noatime", attr::NOATIME, field),
        ("noatime atime", 0, field),
        ("strictatime atime", attr::STRICTATIME, field),
        ("strictatime nostrictatime", 0, field),
        ("noatime nostrictatime", attr::NOATIME, field),
        ("norelatime", 0, 0),
        ("noatime norelatime", attr::NOATIME, field),
        ("nodiratime", attr::NODIRATIME, 0),
        ("nodiratime diratime", 0, attr::NODIRATIME),
    ];
    for (words, set, clear) in cases {
        let options = read(words);
        assert_eq!((options.set, options.clear), (set, clear), "{words}");
        let recursive: Vec<String> = words.split(' ').map(|word| format!("r{word}")).collect();
        let options = MountOptions::parse(&recursive);
        assert_eq!((options.rec_set, options.rec_clear), (set, clear), "{recursive:?}");
        assert_eq!((options.set, options.clear), (0, 0), "{recursive:?}");
    }
}

#[test]
fn recursive_and_plain_words_do_not_meet() {
    let options = read("ro rrw nosuid rsuid");
    assert_eq!((options.set, options.clear), (attr::RDONLY | attr::NOSUID, 0));
    assert_eq!((options.rec_set, options.rec_clear), (0, attr::RDONLY | attr::NOSUID));
}

#[test]
fn options_of_the_file_system_keep_their_order_and_values() {
    let options = read("lowerdir=/a:/b upperdir=/c=d volatile");
    let expected = [key("lowerdir", Some("/a:/b")), key("upperdir", Some("/c=d")), key("volatile", None)];
    assert_eq!(options.data, expected);
}

#[test]
fn one_word_may_hold_several_but_not_inside_quotes() {
    let options = read("size=1m,mode=755,ro context=\"system_u:object_r:x_t:s0:c1,c2\",nosuid");
    let context = key("context", Some("system_u:object_r:x_t:s0:c1,c2"));
    assert_eq!(options.data, [key("size", Some("1m")), key("mode", Some("755")), context]);
    assert_eq!(options.set, attr::RDONLY | attr::NOSUID);
}

#[test]
fn every_word_that_runc_1_1_knows_is_known() {
    let runc = "acl async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noacl noatime \
        nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private \
        ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime \
        rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid \
        rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable \
        idmap ridmap";
    for word in runc.split_whitespace() {
        assert_eq!(read(word).data, [], "{word} was taken for the file system's own");
    }
}

fn any_word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(option_names().collect::<Vec<_>>())
}

proptest! {
    #[test]
    fn no_bit_is_on_both_sides(words in proptest::collection::vec(any_word(), 0..12)) {
        let o = MountOptions::parse(&words);
        prop_assert_eq!(o.set & o.clear & !attr::ATIME_FIELD, 0);
        prop_assert_eq!(o.rec_set & o.rec_clear & !attr::ATIME_FIELD, 0);
        prop_assert_eq!(o.fs_flags & o.fs_clear, 0);
        // mount_setattr(2) refuses a mode without the whole field cleared, and the two modes together.
        for (set, clear) in [(o.set, o.clear), (o.rec_set, o.rec_clear)] {
            prop_assert!([0, attr::NOATIME, attr::STRICTATIME].contains(&(set & attr::ATIME_FIELD)));
            prop_assert!([0, attr::ATIME_FIELD].contains(&(clear & attr::ATIME_FIELD)));
            prop_assert!(set & attr::ATIME_FIELD == 0 || clear & attr::ATIME_FIELD != 0);
        }
    }

    /// What a word does alone, it does as the last of many.
    #[test]
    fn the_last_word_wins(words in proptest::collection::vec(any_word(), 0..8), last in any_word()) {
        let alone = MountOptions::parse(&[last]);
        let mut all = words;
        all.push(last);
        let all = MountOptions::parse(&all);
        let flags = !attr::ATIME_FIELD;
        prop_assert_eq!(all.set & alone.set, alone.set);
        prop_assert_eq!(all.clear & alone.clear & flags, alone.clear & flags);
        prop_assert_eq!(all.set & alone.clear & flags, 0);
        prop_assert_eq!(all.rec_set & alone.rec_set, alone.rec_set);
        prop_assert_eq!(all.rec_set & alone.rec_clear & flags, 0);
        prop_assert_eq!(all.fs_flags & alone.fs_flags, alone.fs_flags);
        prop_assert_eq!(all.fs_flags & alone.fs_clear, 0);
        prop_assert!(alone.bind.is_none() || all.bind == alone.bind);
        prop_assert!(alone.propagation.is_empty() || all.propagation.last() == alone.propagation.last());
    }

    #[test]
    fn text_of_any_kind_is_taken(words in proptest::collection::vec(".*", 0..6)) {
        let options = MountOptions::parse(&words);
        prop_assert!(options.data.iter().all(|(key, value)| !key.is_empty() || value.is_some()));
    }
}
