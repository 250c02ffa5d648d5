//! Terminals: handed over on a console socket, or relayed from the caller's own.

use casemate_tests::{Bundle, ConsoleSocket, Runtime, Terminal, each, json, wait_until};

const SHELL: &str = "echo ready; while read line; do echo \"got $line\"; done";

fn with_terminal(rt: &Runtime, script: &str) -> Bundle {
    let mut bundle = Bundle::sh(rt, script);
    bundle.edit(|c| c["process"]["terminal"] = json!(true));
    bundle.mount(
        "/dev/pts",
        "devpts",
        "devpts",
        &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
    );
    bundle
}

fn socket(bundle: &Bundle) -> ConsoleSocket {
    ConsoleSocket::listen(&bundle.dir().join("console"))
}

#[test]
fn the_console_socket_receives_the_terminal() {
    each(|rt| {
        let bundle = with_terminal(rt, SHELL);
        let socket = socket(&bundle);
        let path = socket.path().to_str().unwrap();
        bundle.command(["create", "--console-socket", path, bundle.id()]).run().ok();
        let mut terminal = socket.receive();
        bundle.start().ok();
        terminal.expect("ready");
        terminal.send("word\n");
        terminal.expect("got word");
        // Control-D ends the shell's input, and with it the container.
        terminal.send("\u{4}");
        bundle.wait_status("stopped");
        bundle.delete().ok();
        drop(socket);
        bundle.assert_clean();
    });
}

#[test]
fn the_terminal_is_a_real_one() {
    each(|rt| {
        let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; stty size; \
                      cut -d' ' -f5-8 /proc/$$/stat; readlink /proc/self/fd/0; ls -l /dev/console; \
                      ls -l /proc/self/fd | wc -l; echo done; sleep 1000";
        let mut bundle = with_terminal(rt, script);
        bundle.edit(|c| c["process"]["consoleSize"] = json!({"height": 33, "width": 91}));
        let socket = socket(&bundle);
        let path = socket.path().to_str().unwrap();
        bundle.command(["run", "-d", "--console-socket", path, bundle.id()]).run().ok();
        let mut terminal = socket.receive();
        let said = terminal.expect("done");
        assert!(said.contains("/dev/pts/0"), "{said}");
        assert!(said.contains("all"), "{said}");
        assert!(said.contains("33 91"), "{said}");
        assert_eq!(terminal.size(), (91, 33));
        assert!(said.contains("/dev/console"), "{said}");
        // Process group, session, terminal, foreground group: the shell leads its session and is in front.
        assert!(said.lines().any(|l| l.starts_with("1 1 ") && l.trim_end().ends_with(" 1")), "{said}");
    });
}

#[test]
fn a_terminal_needs_a_console_socket_and_the_reverse() {
    each(|rt| {
        let bundle = with_terminal(rt, SHELL);
        bundle.create().fails_with(1);
        bundle.assert_clean();
        bundle.run_detached().fails_with(1);
        bundle.assert_clean();
        let plain = Bundle::sh(rt, "true");
        let socket = socket(&plain);
        let path = socket.path().to_str().unwrap();
        plain.command(["create", "--console-socket", path, plain.id()]).run().fails_with(1);
        drop(socket);
        plain.assert_clean();
    });
}

#[test]
fn run_relays_the_callers_terminal() {
    each(|rt| {
        let bundle = with_terminal(rt, SHELL);
        let (mut terminal, files) = Terminal::open();
        terminal.resize(77, 22);
        // setsid makes the slave side the controlling terminal, as a login shell has it.
        let call = bundle.command(["run", bundle.id()]).via(["setsid", "-cw"]).stdio(files);
        let run = call.spawn();
        terminal.expect("ready");
        terminal.send("word\n");
        terminal.expect("got word");
        terminal.send("\u{4}");
        run.wait().ok();
        bundle.assert_clean();
    });
}

#[test]
fn run_follows_the_callers_window() {
    each(|rt| {
        // runc copies the size while the program begins already.
        let first = match rt.is_ours() {
            true => "stty size",
            false => "until stty size 2>/dev/null | grep -q 77; do sleep 0.01; done; stty size",
        };
        let script =
            format!("trap 'stty size; stty size' WINCH; {first}; echo ready; while :; do sleep 0.02; done");
        let bundle = with_terminal(rt, &script);
        let (mut terminal, files) = Terminal::open();
        terminal.resize(77, 22);
        let run = bundle.command(["run", bundle.id()]).via(["setsid", "-cw"]).stdio(files).spawn();
        let said = terminal.expect("ready");
        assert!(said.contains("22 77"), "{said}");
        terminal.resize(88, 44);
        terminal.expect("44 88");
        bundle.kill("KILL").ok();
        run.wait().fails_with(137);
    });
}

#[test]
fn keys_make_signals() {
    each(|rt| {
        let script = "trap 'echo interrupted; exit 6' INT; echo ready; while :; do sleep 0.02; done";
        let bundle = with_terminal(rt, script);
        let (mut terminal, files) = Terminal::open();
        let run = bundle.command(["run", bundle.id()]).via(["setsid", "-cw"]).stdio(files).spawn();
        terminal.expect("ready");
        terminal.send("\u{3}");
        terminal.expect("interrupted");
        run.wait().fails_with(6);
    });
}

#[test]
fn exec_with_a_terminal() {
    each(|rt| {
        let mut bundle = with_terminal(rt, "sleep 1000");
        bundle.edit(|c| c["process"]["terminal"] = json!(false));
        bundle.run_detached().ok();
        let (mut terminal, files) = Terminal::open();
        let call =
            bundle.command(["exec", "-t", bundle.id(), "sh", "-c", "tty; read a; echo got $a; exit 3"]);
        let exec = call.via(["setsid", "-cw"]).stdio(files).spawn();
        terminal.expect("/dev/pts/0");
        terminal.send("word\n");
        terminal.expect("got word");
        exec.wait().fails_with(3);

        let socket = socket(&bundle);
        let path = socket.path().to_str().unwrap();
        let pid_file = bundle.dir().join("pid");
        let flags = ["exec", "-t", "-d", "--console-socket", path, "--pid-file", pid_file.to_str().unwrap()];
        bundle.command(flags).args([bundle.id(), "sh", "-c", SHELL]).run().ok();
        let mut terminal = socket.receive();
        terminal.expect("ready");
        terminal.send("again\n");
        terminal.expect("got again");
        let pid = std::fs::read_to_string(&pid_file).unwrap();
        terminal.send("\u{4}");
        wait_until("the shell has ended", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.map_or(true, |text| text.contains(") Z"))
        });
    });
}

#[test]
fn the_terminal_belongs_to_the_user() {
    each(|rt| {
        let mut bundle =
            with_terminal(rt, "stat -c '%u %a' $(tty); echo x >$(tty) && echo writable; sleep 1000");
        bundle.edit(|c| c["process"]["user"] = json!({"uid": 1000, "gid": 1000}));
        let socket = socket(&bundle);
        let path = socket.path().to_str().unwrap();
        bundle.command(["run", "-d", "--console-socket", path, bundle.id()]).run().ok();
        let mut terminal = socket.receive();
        let said = terminal.expect("writable");
        assert!(said.contains("1000 6"), "{said}");
    });
}
