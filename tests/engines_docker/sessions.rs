//! exec, terminals, attach, top, cp: everything that goes into a running container.

use casemate_tests::engine::Case;
use casemate_tests::engine_docker::Docker;
use casemate_tests::{cases, wait_until};

pub const CASES: &[Case<Docker>] = cases![
    exec_gives_output_and_exit_code,
    exec_as_user_in_directory_with_environment,
    exec_detached,
    exec_privileged,
    exec_of_nothing_says_why,
    exec_on_a_terminal,
    exec_ends_with_the_container,
    run_on_a_terminal,
    terminal_hangs_up_and_interrupts,
    terminal_detach_and_attach,
    top_lists_processes,
    cp_both_ways,
    many_execs_at_once,
];

fn exec_gives_output_and_exit_code(docker: &Docker) {
    let container = docker.sleeper("exec", &[]);
    let output = container.exec(&[], &["sh", "-c", "echo out; echo err >&2; exit 4"]).fails_with(4);
    assert_eq!((output.stdout().as_str(), output.stderr().as_str()), ("out\n", "err\n"));
    let echoed = docker.command(["exec", "-i", "exec", "cat"]).stdin(b"to the inside\n").run().ok();
    assert_eq!(echoed.stdout(), "to the inside\n");
    container.exec(&[], &["sh", "-c", "kill -9 $$"]).fails_with(137);
    let lines = container.sh("seq 1 20000 | md5sum; cat /proc/self/cgroup | cut -d: -f3 | sort -u | wc -l");
    assert!(lines.ends_with("\n1"), "not in one control group: {lines}");
}

fn exec_as_user_in_directory_with_environment(docker: &Docker) {
    let container = docker.sleeper("exec-as", &["-e", "OF_THE_CONTAINER=1"]);
    let show = &["sh", "-c", "id -u; id -g; id -G; pwd; echo $A; echo $OF_THE_CONTAINER; echo $HOME"];
    let flags = &["-u", "user", "-w", "/var/tmp", "-e", "A=b c"];
    let output = container.exec(flags, show).ok();
    assert_eq!(output.text(), "1000\n1000\n1000 1001\n/var/tmp\nb c\n1\n/home/user");
    assert_eq!(container.exec(&["-u", "4321:765"], &["id"]).ok().text(), "uid=4321 gid=765 groups=765");
    let caps = container.exec(&["-u", "user"], &["grep", "CapEff", "/proc/self/status"]).ok().text();
    assert_eq!(caps, "CapEff:\t0000000000000000");
}

fn exec_detached(docker: &Docker) {
    let container = docker.sleeper("exec-detached", &[]);
    container.exec(&["-d"], &["sh", "-c", "sleep 0.1; echo done >/tmp/done"]).ok();
    wait_until("the detached process ended", || container.exec(&[], &["test", "-s", "/tmp/done"]).success());
}

fn exec_privileged(docker: &Docker) {
    let container = docker.sleeper("exec-privileged", &[]);
    let bits = |flags: &[&str]| {
        let text = container.exec(flags, &["grep", "CapEff", "/proc/self/status"]).ok().text();
        u64::from_str_radix(text.trim_start_matches("CapEff:\t"), 16).expect("a mask").count_ones()
    };
    assert_eq!(bits(&[]), 14, "Docker's default set");
    if docker.grants_all() {
        assert!(bits(&["--privileged"]) > 30);
    }
}

fn exec_of_nothing_says_why(docker: &Docker) {
    let container = docker.sleeper("exec-nothing", &[]);
    // dockerd 20.10 makes 126 of every exec that does not start, and prints the runtime's words on standard output.
    let refused = |flags: &[&str], command: &str, words: &str| {
        let output = container.exec(flags, &[command]).fails_with(126);
        assert!(output.stdout().contains(words), "{output}");
    };
    refused(&[], "nosuch", "exec: \"nosuch\": executable file not found in $PATH");
    refused(&[], "/nosuch", "no such file or directory");
    refused(&[], "/etc/passwd", "permission denied");
    refused(&["-w", "/nosuch"], "true", "no such file or directory");
    refused(&["-u", "nobody-knows"], "true", "unable to find user nobody-knows");
    container.exec(&[], &["true"]).ok();
}

fn exec_on_a_terminal(docker: &Docker) {
    let _container = docker.sleeper("exec-tty", &[]);
    let (client, mut terminal) = docker.on_terminal(["exec", "-it", "exec-tty", "sh"]);
    terminal.expect("#");
    terminal.send("tty; test -t 0 -a -t 1 -a -t 2 && echo all''three\n");
    let text = terminal.expect("allthree");
    assert!(text.contains("/dev/pts/"), "{text}");
    // The client asks for its own size after the start.
    terminal.send("while test \"$(stty size)\" != '30 100'; do sleep 0.05; done; echo siz''ed\n");
    terminal.expect("sized");
    terminal.send("sleep 100\n");
    std::thread::sleep(std::time::Duration::from_millis(100));
    terminal.send("\x03");
    terminal.send("echo code $''?; exit 8\n");
    terminal.rest();
    client.wait().fails_with(8);
}

fn exec_ends_with_the_container(docker: &Docker) {
    let container = docker.sleeper("exec-ends", &[]);
    let session = docker.command(["exec", "exec-ends", "sh", "-c", "echo in; exec sleep 1000"]).spawn();
    wait_until("the session runs", || session.stdout().contains("in"));
    container.does("kill", &[]);
    session.wait().fails_with(137);
}

fn run_on_a_terminal(docker: &Docker) {
    let (client, mut terminal) = docker.on_terminal(docker.run_args(&["-it"], &["sh"]));
    terminal.expect("#");
    terminal.send("tty; ls -l /dev/console /proc/self/fd/0; echo e''nd\n");
    let text = terminal.expect("end");
    assert!(text.contains("/dev/pts/0") && text.contains("/dev/console"), "{text}");
    terminal.send("while test \"$(stty size)\" != '30 100'; do sleep 0.05; done; echo siz''ed\n");
    terminal.expect("sized");
    terminal.resize(132, 43);
    terminal.send("while test \"$(stty size)\" != '43 132'; do sleep 0.05; done; echo resiz''ed\n");
    terminal.expect_doing("resized", || client.signal(rustix::process::Signal::WINCH));
    terminal.send("exit 9\n");
    terminal.rest();
    client.wait().fails_with(9);
}

fn terminal_hangs_up_and_interrupts(docker: &Docker) {
    let script = "trap 'echo interrup''ted; exit 3' INT; echo rea''dy; while :; do sleep 0.05; done";
    let (client, mut terminal) = docker.on_terminal(docker.run_args(&["-it"], &["sh", "-c", script]));
    terminal.expect("ready");
    terminal.send("\x03");
    terminal.expect("interrupted");
    client.wait().fails_with(3);
}

fn terminal_detach_and_attach(docker: &Docker) {
    let (client, mut terminal) = docker.on_terminal(docker.run_args(&["-it", "--name", "detach"], &["sh"]));
    terminal.expect("#");
    terminal.send("\x10");
    std::thread::sleep(std::time::Duration::from_millis(50));
    terminal.send("\x11");
    client.wait().ok();
    assert_eq!(docker.ok(&["inspect", "--format", "{{.State.Status}}", "detach"]), "running");
    let (client, mut terminal) = docker.on_terminal(["attach", "detach"]);
    // The shell has printed its prompt long ago.
    terminal.send("echo attach''ed; exit 2\n");
    terminal.expect("attached");
    terminal.rest();
    client.wait().fails_with(2);
}

fn top_lists_processes(docker: &Docker) {
    let container = docker.background("top", &[], "sleep 1111 & sleep 2222 & wait");
    wait_until("both processes are listed", || {
        let top = container.does("top", &[]);
        top.starts_with("UID") && top.contains("sleep 1111") && top.contains("sleep 2222")
    });
    let custom = docker.ok(&["top", "top", "-o", "pid,comm"]);
    assert_eq!(custom.lines().count(), 4, "{custom}");
}

fn cp_both_ways(docker: &Docker) {
    let container = docker.sleeper("cp", &["--tmpfs", "/scratch"]);
    let file = docker.world().dir().join("cp.txt");
    std::fs::write(&file, "copied\n").expect("write a file");
    docker.ok(&["cp", &file.to_string_lossy(), "cp:/var/tmp/in"]);
    assert_eq!(container.sh("cat /var/tmp/in"), "copied");
    container.sh("echo inside >/tmp/out");
    let back = docker.world().dir().join("cp.back");
    docker.ok(&["cp", "cp:/tmp/out", &back.to_string_lossy()]);
    assert_eq!(std::fs::read_to_string(&back).expect("read the copy"), "inside\n");
    container.does("stop", &["-t", "0"]);
    docker.ok(&["cp", "cp:/tmp/out", &back.to_string_lossy()]);
}

fn many_execs_at_once(docker: &Docker) {
    let _container = docker.sleeper("execs", &[]);
    let running: Vec<_> = (0..16)
        .map(|n| docker.command(["exec", "execs", "sh", "-c", &format!("exit {n}")]).spawn())
        .collect();
    for (n, run) in running.into_iter().enumerate() {
        run.wait().fails_with(n as i32);
    }
}
