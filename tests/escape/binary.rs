//! CVE-2019-5736: the host's program that enters a container is overwritten through `/proc/PID/exe`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use casemate_tests::{Bundle, Output, install_probe, wait_until};

use crate::attack::{POLICIES, permissive};

/// The container waits for whoever enters, and programs in it lead back to who runs them.
fn trap() -> Bundle {
    let mut bundle = permissive("");
    install_probe(&bundle);
    bundle.args(&["/probe", "hunt", "60000"]);
    let script = bundle.rootfs().join("evil");
    fs::write(&script, "#!/proc/self/exe\n").expect("write the script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("make it a program");
    symlink("/proc/self/exe", bundle.rootfs().join("bin/self")).expect("make the link");
    bundle
}

fn hunting(output: Output) -> Output {
    wait_until("it hunts", || output.stdout().contains("hunting"));
    output
}

/// A careless entrance: the program runs on inside from the host's own file.
#[test]
fn a_program_of_the_hosts_that_enters_is_overwritten() {
    let bundle = trap();
    let output = hunting(bundle.run_detached().ok());
    let copy = bundle.dir().join("entrance");
    fs::copy("/usr/bin/nsenter", &copy).expect("copy nsenter (package util-linux)");
    let before = fs::read(&copy).expect("read the copy");
    let pid = bundle.pid().to_string();
    let libraries = Path::new("/lib/x86_64-linux-gnu");
    assert!(libraries.exists() || cfg!(target_arch = "aarch64"), "nsenter needs its libraries");
    for _ in 0..20 {
        let call = bundle.tool(copy.to_str().expect("printable"), &["-t", &pid, "-m", "-p", "/evil"]);
        call.run();
        // Nobody can write to it before the process has ended; then at once, or this time not at all.
        for _ in 0..20 {
            if fs::read(&copy).expect("read the copy") != before {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    panic!("the attack does not work: {}", output.stdout());
}

#[test]
fn the_runtime_is_not() {
    for policy in POLICIES {
        let bundle = trap();
        let copy = bundle.dir().join("runtime-copy");
        fs::copy(bundle.runtime().path(), &copy).expect("copy the runtime");
        let before = fs::read(&copy).expect("read the copy");
        let root = bundle.state_dir();
        let call = |args: &[&str]| {
            let call =
                bundle.tool(copy.to_str().expect("printable"), &["--policy", policy, "--root"]).arg(&root);
            call.args(args).cwd(&bundle.bundle_dir())
        };
        let output = hunting(call(&["run", "-d", bundle.id()]).run().ok());
        for program in ["/evil", "/proc/self/exe", "self", "/bin/true"] {
            for _ in 0..5 {
                call(&["exec", bundle.id(), program]).run();
            }
        }
        assert!(fs::read(&copy).expect("read the copy") == before, "{policy}: {}", output.stdout());
        assert!(!output.stdout().contains("overwritten"), "{policy}: {}", output.stdout());
        assert!(!output.stdout().contains("writable"), "{policy}: {}", output.stdout());
    }
}
