//! Mount options: never a flag and its opposite, and words mean the same one by one and in a list.
#![no_main]

use casemate_spec::mount::{MountOptions, attr};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let words: Vec<&str> = text.split('\n').collect();
    let options = MountOptions::parse(&words);
    for (set, clear) in [(options.set, options.clear), (options.rec_set, options.rec_clear)] {
        let both = set & clear;
        assert_eq!(both & !attr::ATIME_FIELD, 0, "{options:?}");
        // An access time mode is changed as a whole or not at all.
        assert!(
            clear & attr::ATIME_FIELD == 0 || clear & attr::ATIME_FIELD == attr::ATIME_FIELD,
            "{options:?}"
        );
        assert!(set & attr::ATIME_FIELD == 0 || clear & attr::ATIME_FIELD != 0, "{options:?}");
    }
    assert_eq!(options.fs_flags & options.fs_clear, 0, "{options:?}");
    // Quotes hold a list together.
    if !text.contains('"') {
        assert_eq!(MountOptions::parse(&[words.join(",")]), options);
    }
});
