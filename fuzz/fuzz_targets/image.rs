//! What registries and archives say of images: manifests, lists, configurations, archives of `docker save`, packed or
//! not. Whatever the bytes are, nothing panics, and what is accepted keeps the bounds that everything behind relies on.
#![no_main]

use std::io::Cursor;
use std::sync::LazyLock;

use casemate_engine::images::config::MOST_LAYERS;
use casemate_engine::images::manifest::{Document, choose};
use casemate_engine::images::registry::Credentials;
use casemate_engine::images::{Blobs, Config, Platform, Reference, contents, entries};
use libfuzzer_sys::fuzz_target;

static BLOBS: LazyLock<Blobs> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("fuzz-image-{}", std::process::id()));
    Blobs::open(&folder).expect("a folder for drafts")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = Config::parse(bytes) {
        assert!(config.diff_ids().is_ok_and(|ids| ids.len() <= MOST_LAYERS));
    }
    match Document::parse(bytes, "") {
        Ok(Document::Image(manifest)) => {
            assert!(manifest.layers.len() <= MOST_LAYERS);
            assert!(manifest.config.hex().is_ok() && manifest.layers.iter().all(|layer| layer.hex().is_ok()));
        }
        Ok(Document::List(_, list)) => drop(choose(&list, &Platform::host())),
        Err(_) => {}
    }
    drop(entries(bytes));
    drop(contents(&BLOBS, Cursor::new(bytes.to_vec()), &Platform::host()));
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(Credentials::parse(text));
        if let Ok(reference) = Reference::parse(text) {
            assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference));
        }
    }
});
