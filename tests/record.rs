//! `record`: what a workload did becomes a policy under which it runs again, and under which nothing more is possible.

use std::fs;
use std::path::{Path, PathBuf};

use casemate_tests::{Bundle, Invocation, Output, Value, install_probe, json, ours, skip, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// A bundle that is recorded, and then run under what was recorded.
struct Case {
    bundle: Bundle,
}

impl Case {
    fn sh(script: &str) -> Self {
        let mut bundle = Bundle::sh(&ours(), script);
        bundle.without_policy();
        install_probe(&bundle);
        Self { bundle }
    }

    fn directory(&self) -> PathBuf {
        self.bundle.dir().join("recorded")
    }

    fn recording(&self) -> Invocation {
        let bundle = self.bundle.bundle_dir();
        self.bundle.command(["record", "--output"]).arg(self.directory()).arg(bundle)
    }

    /// Records, and says on failure what was recorded.
    fn record(&self) -> Output {
        self.recording().run()
    }

    fn policy(&self) -> String {
        fs::read_to_string(self.directory().join("policy.toml")).expect("a recorded policy")
    }

    fn seen(&self) -> Value {
        let text = fs::read(self.directory().join("recording.json")).expect("a recording");
        serde_json::from_slice(&text).expect("a recording in JSON")
    }

    /// Whether the recorded policy has this line.
    fn says(&self, line: &str) {
        let policy = self.policy();
        assert!(policy.lines().any(|said| said == line), "no line {line:?} in\n{policy}");
    }

    /// Runs the bundle, or another program in it, under the recorded policy.
    fn again(&mut self, script: Option<&str>) -> Output {
        if let Some(script) = script {
            self.bundle.args(&["/bin/sh", "-c", script]);
        }
        let policy = self.directory().join("policy.toml");
        self.bundle.policy(policy.to_str().expect("a path in UTF-8"));
        let output = self.bundle.run();
        self.bundle.assert_clean();
        self.bundle.without_policy();
        output
    }
}

fn capabilities(bundle: &mut Bundle, names: &[&str]) {
    bundle.capabilities(names);
}

#[test]
fn a_pipeline_runs_again_as_it_was_recorded() {
    let mut case = Case::sh("echo one two | cat | grep two | wc -w; cat /etc/passwd > /dev/null");
    let recorded = case.record().ok();
    assert_eq!(recorded.text(), "2", "{recorded}");
    assert!(recorded.stderr().contains("system calls"), "{recorded}");
    case.bundle.assert_clean();
    let seen = case.seen();
    assert!(seen["calls"]["pipe2"]["count"].as_u64() > Some(2), "{seen}");
    assert_eq!(seen["files"]["/etc/passwd"]["read"], true, "{seen}");
    assert_eq!(seen["files"]["/bin/busybox"]["executed"], true, "{seen}");
    case.says("extends = \"strict\"");
    case.says("capabilities.at_most = []");
    case.says("landlock.writable = [\"/dev/null\"]");
    assert_eq!(case.again(None).ok().text(), "2");
}

#[test]
fn one_call_more_is_refused() {
    let mut case = Case::sh("/probe syscall 39 > /dev/null; /probe syscall 41 1 1 0 > /dev/null");
    case.record().ok();
    case.again(None).ok();
    for (what, more) in [
        ("mkdir", "/probe syscall 83 /tmp/more 511"),
        ("socket(AF_INET)", "/probe syscall 41 2 1 0"),
        ("unshare(CLONE_NEWUSER)", "/probe syscall 272 268435456"),
        ("mmap of what is writable and executable", "/probe syscall 9 0 4096 7 34 -1 0"),
    ] {
        let refused = case.again(Some(&format!("{more}; /probe syscall 39 > /dev/null && echo went on")));
        assert_eq!(refused.text(), "errno 1\nwent on", "{what}: {refused}");
    }
    let admitted = case.again(Some("/probe syscall 41 1 1 0 > /dev/null && echo socket"));
    assert_eq!(admitted.text(), "socket", "{admitted}");
}

#[test]
fn what_is_refused_afterwards_worked_before() {
    let case = Case::sh("/probe syscall 83 /tmp/more 511");
    assert_eq!(case.record().ok().text(), "0");
}

#[test]
fn writes_are_kept_to_where_they_were() {
    let mut case =
        Case::sh("echo kept > /data/file; rm -f /data/old; mkdir -p /tmp/a/b; echo x > /tmp/a/b/c");
    for name in ["data", "spare"] {
        let source = case.bundle.dir().join(name);
        fs::create_dir(&source).expect("make a volume");
        fs::write(source.join("old"), "old").expect("write to a volume");
        let source = source.to_str().expect("a path in UTF-8").to_owned();
        fs::create_dir(case.bundle.rootfs().join(name)).expect("make a mount point");
        case.bundle.mount(&format!("/{name}"), "bind", &source, &["bind", "rw"]);
    }
    case.record().ok();
    case.says("landlock.writable = [\"/data\", \"/tmp\"]");
    case.says("rootfs.tmpfs = [\"/tmp\"]");
    assert!(!case.policy().contains("rootfs.read_only"), "{}", case.policy());
    assert_eq!(fs::read_to_string(case.bundle.dir().join("data/file")).ok().as_deref(), Some("kept\n"));
    fs::remove_dir_all(case.bundle.rootfs().join("tmp/a")).expect("clean up after the recording");
    case.again(None).ok();
    for place in ["/spare/file", "/srv", "/var/tmp/file", "/run/file", "/etc/passwd"] {
        let refused = case.again(Some(&format!("echo x > {place}; echo y > /data/file && echo went on")));
        assert!(refused.stderr().contains(place), "{place}: {refused}");
        assert_eq!(refused.text(), "went on", "{place}: {refused}");
    }
}

#[test]
fn a_root_that_is_written_to_is_opened_there_alone() {
    let mut case = Case::sh("echo x > /home/user/note; echo y >> /etc/group");
    case.record().ok();
    case.says("rootfs.read_only = false");
    case.says("landlock.writable = [\"/etc/group\", \"/home/user\"]");
    case.again(None).ok();
    let refused = case.again(Some("echo x > /etc/passwd; echo x > /home/user/note && echo went on"));
    assert!(refused.stderr().contains("/etc/passwd"), "{refused}");
    assert_eq!(refused.text(), "went on", "{refused}");
}

#[test]
fn programs_made_by_the_workload_run_again() {
    let mut case = Case::sh("printf '#!/bin/sh\necho made\n' > /tmp/tool; chmod 755 /tmp/tool; /tmp/tool");
    assert_eq!(case.record().ok().text(), "made");
    case.says("landlock.write_xor_execute = false");
    case.says("rootfs.tmpfs_exec = true");
    fs::remove_file(case.bundle.rootfs().join("tmp/tool")).expect("clean up after the recording");
    assert_eq!(case.again(None).ok().text(), "made");
}

#[test]
fn set_user_id_programs_keep_working() {
    use std::os::unix::fs::PermissionsExt;
    let mut case = Case::sh("/taking syscall 107; echo went on");
    let program = case.bundle.rootfs().join("taking");
    fs::copy(case.bundle.rootfs().join("probe"), &program).expect("copy the probe");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("make it set-user-ID");
    case.bundle.edit(|c| {
        c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        c["process"]["noNewPrivileges"] = json!(false);
    });
    assert_eq!(case.record().ok().text(), "0\nwent on");
    case.says("no_new_privs = \"as-asked\"");
    assert_eq!(case.again(None).ok().text(), "0\nwent on");
}

#[test]
fn a_server_keeps_its_port_and_gets_no_other() {
    let serve = |port: u16| {
        format!("httpd -p {port} -h /etc; sleep 0.2; wget -q -O - http://127.0.0.1:{port}/group | head -n 1")
    };
    let mut case = Case::sh(&serve(8080));
    assert_eq!(case.record().ok().text(), "root:x:0:");
    case.says("landlock.bind_tcp = [8080]");
    case.says("landlock.connect_tcp = [8080]");
    assert_eq!(case.again(None).ok().text(), "root:x:0:");
    if !landlock_has_ports() {
        return skip("this kernel's Landlock has no rules for ports (Linux 6.7)");
    }
    let refused = case.again(Some(&serve(8081)));
    assert_eq!(refused.text(), "", "{refused}");
    assert!(refused.stderr().contains("ermission denied"), "{refused}");
}

/// ABI 4 or later.
fn landlock_has_ports() -> bool {
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

#[test]
fn the_capabilities_that_were_used_remain() {
    let mut case = Case::sh("touch /tmp/f; chown 5 /tmp/f; grep CapBnd /proc/self/status");
    capabilities(&mut case.bundle, &["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"]);
    let recorded = case.record().ok();
    if !case.seen()["traced"].as_bool().unwrap_or(false) {
        return skip("this kernel does not tell which capabilities are used (Linux 6.14)");
    }
    assert!(recorded.text().ends_with("a1"), "{recorded}");
    case.says("capabilities.at_most = [\"CAP_CHOWN\"]");
    case.says("# CAP_CHOWN: chown");
    let again = case.again(None).ok();
    assert!(again.text().ends_with("0000000000000001"), "{again}");
}

#[test]
fn a_failure_is_recorded_up_to_there() {
    let case = Case::sh("cat /etc/group > /dev/null; exit 7");
    let recorded = case.record().fails_with(7);
    assert!(recorded.stderr().contains("exit status: 7"), "{recorded}");
    assert!(case.seen()["files"]["/etc/group"]["read"].as_bool().unwrap_or(false));
}

#[test]
fn other_arguments_are_recorded_in_the_bundles_place() {
    let case = Case::sh("exit 9");
    let recorded = case.recording().args(["--", "/bin/sh", "-c", "echo instead"]).run().ok();
    assert_eq!(recorded.text(), "instead");
    assert!(case.policy().contains("echo instead"), "{}", case.policy());
}

#[test]
fn nothing_is_written_of_what_did_not_start() {
    let case = Case::sh("true");
    let failed = case.recording().args(["--", "/bin/no-such-program"]).run().fails_with(1);
    assert!(failed.stderr().contains("did not start"), "{failed}");
    assert!(!case.directory().join("policy.toml").exists());
    case.bundle.assert_clean();
}

#[test]
fn a_place_where_others_write_is_refused_at_once() {
    use std::os::unix::fs::PermissionsExt;
    let case = Case::sh("echo ran");
    fs::create_dir(case.directory()).expect("make a directory");
    fs::set_permissions(case.directory(), fs::Permissions::from_mode(0o777)).expect("open it to all");
    let refused = case.record().fails_with(1);
    assert_eq!(refused.text(), "", "{refused}");
    assert!(refused.stderr().contains("would not be taken"), "{refused}");
    assert!(fs::read_dir(case.directory()).expect("list it").next().is_none(), "something was left");
}

#[test]
fn what_the_bundles_filter_refuses_stays_refused_and_unrecorded() {
    let mut case =
        Case::sh("/probe syscall 83 /tmp/a 511; /probe syscall 90 /etc 493; /probe syscall 39 > /dev/null");
    case.bundle.edit(|c| {
        c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 99},
        ]});
    });
    assert_eq!(case.record().ok().text(), "errno 99\n0");
    let seen = case.seen();
    assert!(seen["calls"]["mkdir"].is_null() && !seen["calls"]["chmod"].is_null(), "{seen}");
    // Both filters are loaded then.
    assert_eq!(case.again(None).ok().text(), "errno 99\n0");
}

#[test]
fn a_bundle_with_a_listener_of_its_own_is_not_recorded() {
    let mut case = Case::sh("true");
    case.bundle.edit(|c| {
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock",
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
        });
    });
    case.bundle.policy("oci");
    case.record().fails_saying(&["listener of its own"]);
    case.bundle.assert_clean();
}

#[test]
fn a_server_is_recorded_until_it_is_stopped() {
    for signal in [Signal::INT, Signal::TERM] {
        let case = Case::sh("cat /etc/group > /dev/null; echo up; while :; do sleep 0.1; done");
        let running = case.recording().spawn();
        wait_until("the server is up", || running.stdout().contains("up"));
        running.signal(signal);
        let recorded = running.wait().ok();
        assert!(recorded.stderr().contains("when it was asked to"), "{recorded}");
        assert!(case.seen()["files"]["/etc/group"]["read"].as_bool().unwrap_or(false));
        case.bundle.assert_clean();
    }
}

#[test]
fn a_handler_has_its_say_before_the_end() {
    let case = Case::sh("trap 'echo bye > /tmp/bye; exit 0' TERM; echo up; while :; do sleep 0.1; done");
    let running = case.recording().spawn();
    wait_until("the server is up", || running.stdout().contains("up"));
    running.signal(Signal::TERM);
    running.wait().ok();
    case.says("landlock.writable = [\"/tmp\"]");
}

#[test]
fn nothing_is_left_of_a_recorder_that_is_killed() {
    let case = Case::sh("echo up; while :; do sleep 0.1; done");
    let running = case.recording().spawn();
    wait_until("the workload is up", || running.stdout().contains("up"));
    let stem = format!("casemate-record-{}-", running.pid());
    let directory = std::env::temp_dir();
    assert!(holds(&directory, &stem), "a recording works in {}", directory.display());
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code(), 128 + 9);
    wait_until("the keeper has cleaned up", || {
        !holds(&directory, &stem) && !holds(&case.bundle.state_dir(), &stem)
    });
    wait_until("the workload is gone", || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.bundle.assert_clean())).is_ok()
    });
}

#[test]
fn a_keeper_that_is_killed_is_not_missed() {
    let case = Case::sh("echo up; while :; do sleep 0.1; done");
    let running = case.recording().spawn();
    wait_until("the workload is up", || running.stdout().contains("up"));
    let parent = running.pid().to_string();
    let children =
        fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("its children");
    let keeper = children.split_whitespace().find(|child| {
        fs::read(format!("/proc/{child}/cmdline"))
            .is_ok_and(|line| line.windows(8).any(|word| word == b"--keeper"))
    });
    let keeper = keeper.and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw).expect("a keeper");
    kill_process(keeper, Signal::KILL).expect("kill the keeper");
    running.signal(Signal::TERM);
    running.wait().ok();
    assert!(!holds(&std::env::temp_dir(), &format!("casemate-record-{parent}-")));
    case.bundle.assert_clean();
}

fn holds(directory: &Path, stem: &str) -> bool {
    let entries = fs::read_dir(directory).expect("list a directory");
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(stem))
}

#[test]
fn processes_that_enter_are_recorded_too() {
    let case = Case::sh("echo up; while [ ! -e /tmp/stop ]; do sleep 0.05; done");
    let running = case.recording().spawn();
    wait_until("the workload is up", || running.stdout().contains("up"));
    let states = fs::read_dir(case.bundle.state_dir()).expect("list containers");
    let names = states.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let id = names.into_iter().find(|name| name.starts_with("casemate-record-")).expect("a container");
    let output =
        case.bundle.command(["exec", &id, "/bin/sh", "-c", "cat /etc/passwd; touch /tmp/stop"]).run();
    assert!(output.ok().text().contains("root"));
    running.wait().ok();
    assert_eq!(case.seen()["files"]["/etc/passwd"]["read"], true);
}

#[test]
fn what_the_bundle_asks_for_is_admitted_and_said() {
    let mut case = Case::sh("true");
    case.bundle.without_namespace("network");
    let recorded = case.record().ok();
    assert!(recorded.stderr().contains("namespaces.shared_with_host"), "{recorded}");
    case.again(None).ok();
}

#[test]
fn i386_entries_are_recorded_as_such() {
    let mut case = Case::sh("/probe i386 20 > /dev/null; echo went on");
    case.bundle.policy("oci");
    case.record().ok();
    assert_eq!(case.seen()["i386"], true);
    assert_eq!(case.again(None).ok().text(), "went on");
    let refused = case.again(Some("/probe i386 39; echo went on"));
    assert_eq!(refused.text(), "errno 1\nwent on", "mkdir by the 32-bit entry: {refused}");
    let mut native = Case::sh("/probe syscall 39 > /dev/null; echo recorded");
    native.record().ok();
    let killed = native.again(Some("/probe i386 20; /probe syscall 39 > /dev/null && echo went on"));
    assert_eq!(killed.text(), "went on", "a 32-bit entry where none was recorded: {killed}");
}

#[test]
fn limits_are_wide_enough_for_what_was_used() {
    let mut case =
        Case::sh("dd if=/dev/zero of=/dev/null bs=600M count=1 2> /dev/null && echo done; sleep 0.3");
    assert_eq!(case.record().ok().text(), "done");
    if case.seen()["memory_peak"] == 0 {
        return skip("this host has no memory controller");
    }
    let limit = case.policy().lines().find(|line| line.starts_with("limits.memory = ")).map(str::to_owned);
    assert!(limit.is_some(), "{}", case.policy());
    assert_eq!(case.again(None).ok().text(), "done");
}

#[test]
fn shells_that_mind_every_child_are_not_disturbed() {
    // A handler without SA_RESTART for SIGCHLD: a call that is interrupted while it waits for the recorder fails.
    let script =
        "i=0; while [ $i -lt 40 ]; do echo x | cat | grep -q x || echo broken; i=$((i+1)); done; echo done";
    let case = Case::sh(script);
    let recorded = case.record().ok();
    assert_eq!(recorded.text(), "done", "{recorded}");
}

#[test]
fn threads_and_programs_of_python_run_again() {
    let Some(python) = ["/usr/bin/python3"].iter().map(Path::new).find(|path| path.exists()) else {
        return skip("python3 is not installed");
    };
    let mut case = Case::sh(&format!("{} /work.py", python.display()));
    for host in ["/usr", "/lib", "/lib64"].iter().filter(|path| Path::new(path).exists()) {
        fs::create_dir_all(case.bundle.rootfs().join(&host[1..])).expect("make a mount point");
        case.bundle.mount(host, "bind", host, &["rbind", "ro"]);
    }
    let script = "import threading, subprocess, socket\n\
        def work(): open('/tmp/t', 'a').write('x')\n\
        ts = [threading.Thread(target=work) for _ in range(4)]\n\
        [t.start() for t in ts]; [t.join() for t in ts]\n\
        s = socket.create_server(('127.0.0.1', 9000)); s.close()\n\
        print(subprocess.run(['/bin/echo', 'child'], capture_output=True, text=True).stdout.strip())\n";
    fs::write(case.bundle.rootfs().join("work.py"), script).expect("write a script");
    assert_eq!(case.record().ok().text(), "child");
    case.says("landlock.bind_tcp = [9000]");
    let seen = case.seen();
    let files = seen["files"].as_object().expect("files");
    let code = files.iter().any(|(path, done)| path.contains("libc.so") && done["executed"] == true);
    assert!(code, "no library was seen to be mapped as code: {seen}");
    fs::remove_file(case.bundle.rootfs().join("tmp/t")).ok();
    assert_eq!(case.again(None).ok().text(), "child");
}
