//! How much a container may write: on a file system that has quotas for projects.

use crate::Case;
use crate::host::Host;
use crate::site::{IMAGE, docker, inspect, try_docker, up};

pub const CASES: &[Case] =
    &[Case { name: "size_is_the_kernels", place: |h| h.daemon, run: size_is_the_kernels }];

/// Writes so many mebibytes to a file; says how many bytes are in it, and what went wrong.
fn fill(file: &str, mebibytes: u32) -> String {
    format!(
        "dd if=/dev/zero of={file} bs=1M count={mebibytes} 2>&1 | grep -i -E 'quota|space'; wc -c <{file};"
    )
}

fn written(flags: &[&str], script: &str) -> Vec<String> {
    let words = [&["run", "--net", "none"], flags, &[IMAGE, "sh", "-c", script]].concat();
    docker(&words).lines().map(str::to_owned).collect()
}

fn size_is_the_kernels(_: &Host) {
    const MEBIBYTE: u64 = 1 << 20;
    up();
    assert!(
        docker(&["info", "--format", "{{json .DriverStatus}}"]).contains("[\"Project quotas\",\"true\"]")
    );
    let size = ["--storage-opt", "size=16m"];
    let files = "i=0; while true 2>/dev/null >/file$i; do i=$((i+1)); done; echo $i";
    let script = fill("/a", 12) + &fill("/b", 12) + "rm /a /b; " + files;
    let full = written(&[&size[..], &["--name", "full"]].concat(), &script);
    let [a, refused, b, files] = full.as_slice() else { panic!("{full:?}") };
    assert_eq!(a.parse(), Ok(12 * MEBIBYTE));
    assert!(refused.contains("quota exceeded") || refused.contains("No space"), "{refused}");
    assert!(b.parse::<u64>().is_ok_and(|b| (3 * MEBIBYTE..=4 * MEBIBYTE).contains(&b)), "{b}");
    assert!(files.parse::<u64>().is_ok_and(|files| (4000..4096).contains(&files)), "{files}");
    assert_eq!(inspect("full", "{{.HostConfig.StorageOpt.size}}"), "16m");
    // What one has used up is no other's; it is still there when the container starts again.
    assert_eq!(written(&[&size[..], &["--rm"]].concat(), &fill("/a", 12)), [(12 * MEBIBYTE).to_string()]);
    let again = try_docker(&["start", "-a", "full"]);
    let again = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(again.contains("quota exceeded") || again.contains("No space"), "{again}");
    docker(&["rm", "full"]);
    // The tenant's, where nothing is asked for.
    let default = written(&["--rm"], &(fill("/a", 40) + &fill("/b", 40)));
    assert_eq!(default.len(), 3, "{default:?}");
    let refused = try_docker(&["create", "--storage-opt", "size=0", IMAGE]);
    assert!(!refused.status.success());
}
