//! Volumes, bind mounts, tmpfs, propagation.

use std::fs;

use casemate_tests::cases;
use casemate_tests::engine::Case;
use casemate_tests::engine_docker::Docker;

pub const CASES: &[Case<Docker>] = cases![
    bind_mounts,
    named_and_anonymous_volumes,
    tmpfs_with_options,
    propagation,
    mounts_over_symlinks_stay_inside,
];

fn bind_mounts(docker: &Docker) {
    let dir = docker.world().make_dir("bind");
    fs::write(dir.join("file"), "from the host\n").expect("write a file");
    let mount = format!("{}:/data", dir.display());
    assert_eq!(docker.sh(&["-v", &mount], "cat /data/file; echo back >/data/back"), "from the host");
    assert_eq!(fs::read_to_string(dir.join("back")).expect("read what the container wrote"), "back\n");
    let read_only = format!("{mount}:ro");
    assert_eq!(
        docker.sh(&["-v", &read_only], "cat /data/file; echo x 2>/dev/null >/data/x || echo refused"),
        "from the host\nrefused"
    );
    let file = format!("type=bind,src={},dst=/etc/one,readonly", dir.join("file").display());
    assert_eq!(
        docker.sh(&["--mount", &file], "cat /etc/one; echo x 2>/dev/null >/etc/one || echo refused"),
        "from the host\nrefused"
    );
    let missing = "type=bind,src=/nosuch/directory,dst=/x";
    docker.run(&["--mount", missing], &["true"]).fails_with(125);
}

fn named_and_anonymous_volumes(docker: &Docker) {
    docker.ok(&["volume", "create", "kept"]);
    docker.sh(&["-v", "kept:/data"], "echo word >/data/file");
    assert_eq!(docker.sh(&["-v", "kept:/elsewhere/deep:ro"], "cat /elsewhere/deep/file"), "word");
    docker.ok(&["volume", "rm", "kept"]);
    // What the image has at the place of a new volume is copied into it.
    assert_eq!(
        docker.sh(&["-v", "/etc"], "grep -c root /etc/passwd; awk '$2==\"/etc\"' /proc/mounts | wc -l"),
        "1\n1"
    );
}

fn tmpfs_with_options(docker: &Docker) {
    let flags = ["--tmpfs", "/scratch:rw,noexec,nosuid,size=1m,mode=1770"];
    let text = docker.sh(&flags, "stat -c %a /scratch; awk '$2==\"/scratch\" {print $3, $4}' /proc/mounts");
    assert!(text.starts_with("1770\ntmpfs rw,"), "{text}");
    for option in ["nosuid", "nodev", "noexec", "size=1024k"] {
        assert!(text.contains(option), "no {option}: {text}");
    }
    docker.run(&flags, &["sh", "-c", "head -c 2000000 /dev/zero >/scratch/x"]).fails_with(1);
    // Without a mode it has that of what it covers.
    let flags = ["--tmpfs", "/var/tmp", "--tmpfs", "/root:size=1m", "--tmpfs", "/new/one"];
    assert_eq!(docker.sh(&flags, "stat -c %a /var/tmp /root /new/one /new"), "1777\n755\n1777\n755");
    let mount = ["--mount", "type=tmpfs,dst=/new/place,tmpfs-size=65536"];
    assert_eq!(docker.sh(&mount, "df -k /new/place | awk 'NR==2 {print $2}'"), "64");
}

fn propagation(docker: &Docker) {
    let world = docker.world();
    let dir = world.make_dir("shared");
    let path = dir.display().to_string();
    world.inside(["mount", "--bind", &path, &path]).run().ok();
    world.inside(["mount", "--make-shared", &path]).run().ok();
    let shared = format!("{path}:/shared:rshared");
    fs::create_dir_all(dir.join("out")).expect("make a directory");
    docker.sh(
        &["--cap-add", "SYS_ADMIN", "-v", &shared],
        "mount -t tmpfs none /shared/out && echo seen >/shared/out/f",
    );
    assert_eq!(world.inside(["cat", &format!("{path}/out/f")]).run().ok().text(), "seen");
    world.inside(["umount", &format!("{path}/out")]).run().ok();

    let slave = format!("{path}:/slave:rslave");
    let container = docker.sleeper("slave", &["--cap-add", "SYS_ADMIN", "-v", &slave]);
    fs::create_dir_all(dir.join("in")).expect("make a directory");
    world.inside(["mount", "-t", "tmpfs", "none", &format!("{path}/in")]).run().ok();
    assert_eq!(container.sh("grep -c ' /slave/in ' /proc/mounts"), "1");
    container.sh("mkdir /slave/in/x; mount -t tmpfs none /slave/in/x");
    let table = world.inside(["cat", "/proc/mounts"]).run().ok().text();
    assert!(!table.contains("/in/x"), "a slave's mount came back:\n{table}");
    drop(container);
    let private = format!("{path}:/private");
    let container = docker.sleeper("private", &["-v", &private]);
    world.inside(["umount", &format!("{path}/in")]).run().ok();
    assert_eq!(container.sh("grep -c ' /private/in ' /proc/mounts"), "1");
}

fn mounts_over_symlinks_stay_inside(docker: &Docker) {
    let world = docker.world();
    let dir = world.make_dir("symlinks");
    fs::write(dir.join("Dockerfile"), "FROM busybox\nRUN ln -s /../../../../../../tmp/escape /link\n")
        .expect("write a Dockerfile");
    docker.ok(&["build", "-q", "-t", "symlinks", &dir.to_string_lossy()]);
    let mount = format!("{}:/link", dir.display());
    let seen = docker.ok(&["run", "--rm", "-v", &mount, "symlinks", "ls", "/tmp/escape"]);
    assert_eq!(seen, "Dockerfile");
    let file = format!("{}/Dockerfile:/link/../deeper/../file", dir.display());
    assert_eq!(docker.ok(&["run", "--rm", "-v", &file, "symlinks", "head", "-c", "4", "/file"]), "FROM");
    let file = format!("{}/Dockerfile:/link/below", dir.display());
    assert_eq!(
        docker.ok(&["run", "--rm", "-v", &file, "symlinks", "head", "-c", "4", "/tmp/escape/below"]),
        "FROM"
    );
    assert!(!std::path::Path::new("/tmp/escape").exists(), "a mount point was made on the host");
}
