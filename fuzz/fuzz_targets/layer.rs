//! Archives of layers: whatever comes, the reader ends with an entry or a word, and its entries stay within its bounds.
#![no_main]

use casemate_layer::archive::{Kind, Reader};
use casemate_layer::{limits, place};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|archive: &[u8]| {
    let mut reader = Reader::new(archive);
    let mut stored = 0_u64;
    while let Ok(Some(entry)) = reader.entry() {
        assert!(entry.xattrs.iter().all(|xattr| !xattr.name.is_empty() && !xattr.name.contains(&0)));
        if let Ok(path) = place::clean(&entry.path) {
            assert!(!path.starts_with(b"/") && path.len() <= limits::PATH);
            assert!(path.split(|&byte| byte == b'/').all(|part| part != b".." && part != b"."));
        }
        let mut end = 0;
        let read = reader.content(&entry, |offset, piece| {
            assert!(offset >= end, "pieces in their order");
            end = offset + piece.len() as u64;
            stored += piece.len() as u64;
            Ok(())
        });
        if entry.kind == Kind::File && read.is_ok() {
            assert!(end <= entry.size, "{end} of {}", entry.size);
        }
    }
    assert!(stored <= archive.len() as u64, "more content than archive");
});
