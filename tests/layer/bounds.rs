//! Bombs, and streams that end or break where they should not: a clear word, in a bounded time and memory.

use std::time::{Duration, Instant};

use crate::archive::{Archive, through};
use crate::program::Helper;

/// The header of a file of 2 GiB, and that many zeros: a stream of its own for each 64 MiB, made once.
fn bomb(program: &str, options: &[&str]) -> Vec<u8> {
    let header = Archive::new().header(b'0', "zeros", "", 2 << 30).open();
    let zeros = through(program, options, &vec![0; 64 << 20]);
    [through(program, options, &header), zeros.repeat(32)].concat()
}

#[test]
fn a_bomb_is_refused_before_it_has_grown() {
    for (program, options) in [("gzip", &["-9"][..]), ("zstd", &["-3"]), ("xz", &["-1"])] {
        let helper = Helper::new();
        let failed = helper.unpack(&bomb(program, options));
        assert!(failed.failure().contains("more than 500 times"), "{program}: {}", failed.failure());
        let written = helper.at("target/zeros").metadata().expect("the file").len();
        assert!(written <= 1 << 30, "{program}: {written}");
    }
}

#[test]
fn headers_that_promise_too_much() {
    let cases = [
        ("an extended header", Archive::new().header(b'x', "pax", "", 1 << 30), "longer than"),
        ("a long name", Archive::new().header(b'L', "long", "", 1 << 30), "longer than"),
        ("a file", Archive::new().header(b'0', "file", "", 0o77_777_777_777), "ends in the middle"),
        ("a name", Archive::new().pax(&[("path", &[b'x'; 5000])]).file("x", b""), "too long"),
        ("a part of a name", Archive::new().pax(&[("path", &[b'x'; 300])]).file("x", b""), "name too long"),
        ("depth", Archive::new().pax(&[("path", "d/".repeat(300).as_bytes())]).file("x", b""), "too deeply"),
        (
            "a sparse file",
            Archive::new()
                .pax(&[
                    ("GNU.sparse.major", b"0"),
                    ("GNU.sparse.map", b"0,0"),
                    ("GNU.sparse.size", b"9000000000000000000"),
                ])
                .file("x", b""),
            "longer than",
        ),
        (
            "pieces that overlap",
            Archive::new()
                .pax(&[("GNU.sparse.map", b"0,4,2,4"), ("GNU.sparse.size", b"8")])
                .file("x", b"12345678"),
            "overlap",
        ),
        ("an unknown kind", Archive::new().entry(b'M', "x", "", b""), "not understood"),
    ];
    for (what, archive, why) in cases {
        let helper = Helper::new();
        let began = Instant::now();
        let failed = helper.unpack(&archive.end());
        assert!(failed.failure().contains(why), "{what}: {}", failed.failure());
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
    }
}

#[test]
fn streams_that_end_too_early_say_so() {
    let content = vec![7; 100_000];
    let whole = Archive::new().pax(&[("mtime", b"1.5")]).file("file", &content).file("last", b"x").end();
    for length in [1, 100, 512, 1000, 1024, 1600, 50_000, 102_000] {
        let failed = Helper::new().unpack(&whole[..length]);
        let said = failed.failure();
        assert!(said.contains("ends in the middle") || said.contains("ends after"), "{length}: {said}");
    }
    for program in ["gzip", "zstd", "bzip2", "xz"] {
        let packed = through(program, &[], &whole);
        for cut in [1, 9, packed.len() / 2] {
            Helper::new().unpack(&packed[..packed.len() - cut]).failure();
        }
        let mut broken = packed.clone();
        let middle = packed.len() / 2;
        broken[middle] ^= 0xff;
        Helper::new().unpack(&broken).failure();
    }
    // Without its end, but at the end of an entry: Docker takes it, and so do we.
    Helper::new().unpack(&whole[..whole.len() - 1024]).ok();
    Helper::new().unpack(b"").ok();
    assert!(Helper::new().unpack(&[b'x'; 1024]).failure().contains("no tar archive"));
}

#[test]
fn what_follows_the_end_is_hashed_and_not_unpacked() {
    let helper = Helper::new();
    let archive =
        [Archive::new().file("one", b"1").end(), vec![0; 512], Archive::new().file("two", b"2").end()]
            .concat();
    let done = helper.unpack(&archive);
    let digest = through("sha256sum", &[], &archive);
    assert_eq!(done.ok()["unpacked"]["digest"].as_str().expect("a digest").as_bytes(), &digest[..64]);
    assert!(helper.at("target/one").exists() && !helper.at("target/two").exists());
}
