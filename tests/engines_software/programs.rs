//! The programs: each is started as its images start it, and has to do its real work.

use casemate_tests::cases;
use casemate_tests::engine::Case;

use crate::host::{Host, Program};

/// Each by the name under which `relaxed.rs` knows it.
pub const CASES: &[Case<Host>] = cases![
    nginx,
    redis,
    postgresql,
    python,
    nodejs,
    compiler,
    compiler_in_tmp,
    package_manager,
    shell_session,
    unprivileged_user,
];

const GET: &str = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).read().decode())";

/// Asks from inside, and from the host where the network is one that the host reaches.
fn get(service: &crate::host::Service<'_>, host: &Host, port: u16, expected: &str) {
    service.answers(&["python3", "-c", GET, &format!("http://127.0.0.1:{port}/")], expected);
    if let (Some(address), Some(docker)) = (service.address(), host.daemon()) {
        let url = format!("http://{address}:{port}/");
        let answer = docker.world().inside(["busybox", "wget", "-q", "-O-", &url]).run().ok().text();
        assert!(answer.contains(expected), "{answer}");
    }
}

fn nginx(host: &Host) {
    let command = ["nginx", "-g", "daemon off;"];
    let server = host.service(Program { name: "nginx", command: &command, volumes: &[], user: None });
    get(&server, host, 80, "made by tests");
    // The master is root and binds port 80; who answers is a worker of no rights.
    let workers = server.exec(&["ps", "-o", "user:20=", "-C", "nginx"]).output;
    assert!(workers.contains("root") && workers.contains("www-data"), "{workers}");
    assert!(server.log().contains("GET / HTTP/1.1"), "the log is not on standard output: {}", server.log());
    server.exec(&["nginx", "-s", "reload"]);
    get(&server, host, 80, "made by tests");
    server.stops();
}

fn redis(host: &Host) {
    let command = ["redis-entrypoint"];
    let server = host.service(Program { name: "redis", command: &command, volumes: &["/data"], user: None });
    server.answers(&["redis-cli", "ping"], "PONG");
    server.answers(&["redis-cli", "set", "key", "a word"], "OK");
    server.answers(&["redis-cli", "get", "key"], "a word");
    // A child writes the snapshot, into the volume.
    server.answers(&["redis-cli", "save"], "OK");
    server.answers(&["redis-cli", "bgrewriteaof"], "rewriting started");
    server.answers(&["stat", "-c", "%U", "/data/dump.rdb"], "redis");
    server.stops();
}

fn postgresql(host: &Host) {
    let command = ["postgres-entrypoint"];
    let server =
        host.service(Program { name: "postgresql", command: &command, volumes: &["/data"], user: None });
    let sql = |text: &str, expected: &str| {
        server.answers(&["psql", "-U", "postgres", "-h", "127.0.0.1", "-Atc", text], expected);
    };
    sql("select 6 * 7", "42");
    sql("create table if not exists t (n integer primary key, word text)", "CREATE TABLE");
    sql(
        "insert into t select n, 'word ' || n from generate_series(1, 10000) n on conflict do nothing",
        "INSERT 0 10000",
    );
    sql("select count(*), max(word) from t", "10000|word 9999");
    // Parallel workers share memory below /dev/shm; the compiler of queries maps what it made executable.
    sql(
        "set max_parallel_workers_per_gather = 2; set parallel_setup_cost = 0; set parallel_tuple_cost = 0; \
         set min_parallel_table_scan_size = 0; set jit_above_cost = 0; select sum(n) from t where n % 2 = 0",
        "25005000",
    );
    let unix =
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "psql", "-Atc", "select 'peer'"];
    server.answers(&unix, "peer");
    server.stops();
}

fn python(host: &Host) {
    let done =
        host.job(Program { name: "python", command: &["python3", "/srv/work.py"], volumes: &[], user: None });
    assert!(done.code == 0 && done.output.contains("python did it all"), "{done:?}");
}

fn nodejs(host: &Host) {
    let command = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "node", "/srv/server.js"];
    let server = host.service(Program { name: "nodejs", command: &command, volumes: &[], user: None });
    get(&server, host, 8080, "node: written child worker");
    server.stops();
}

fn compiler(host: &Host) {
    let command = ["make", "-C", "/srv", "OUT=/data"];
    let done = host.job(Program { name: "compiler", command: &command, volumes: &["/data"], user: None });
    assert!(done.code == 0 && done.output.contains("compiled 42"), "{done:?}");
}

fn compiler_in_tmp(host: &Host) {
    let command = ["make", "-C", "/srv", "OUT=/tmp"];
    let done = host.job(Program { name: "compiler_in_tmp", command: &command, volumes: &[], user: None });
    assert!(done.code == 0 && done.output.contains("compiled 42"), "{done:?}");
}

fn package_manager(host: &Host) {
    let command = [
        "sh",
        "-c",
        "set -e; apt-get -q install -y /srv/hello.deb; hello; apt-get -q purge -y hello; ! test -e /usr/bin/hello",
    ];
    let done = host.job(Program { name: "package_manager", command: &command, volumes: &[], user: None });
    assert!(done.code == 0 && done.output.contains("Hello, world!"), "{done:?}");
}

/// Job control, pipes, redirections, an editor, another user: what a person does.
fn shell_session(host: &Host) {
    let program = Program { name: "shell_session", command: &["bash", "--norc"], volumes: &[], user: None };
    let mut session = host.on_terminal(program);
    let terminal = &mut session.terminal;
    terminal.expect("#");
    terminal.send("tty; id -un; stty size; echo en''d\n");
    let text = terminal.expect("end");
    assert!(text.contains("/dev/pts/0") && text.contains("root"), "{text}");
    terminal.send("cd /tmp; seq 1 100 | sort -rn | head -3 | tr '\\n' ' ' >list; cat list; ls -l list | wc -l; echo en''d\n");
    let text = terminal.expect("end");
    assert!(text.contains("100 99 98 1"), "{text}");
    terminal.send("mkdir -p a/b && cp -a /etc/hostname a/b && find a -type f && tar -cf a.tar a && rm -r a && tar -xf a.tar && du -s a >/dev/null && echo en''d\n");
    assert!(terminal.expect("end").contains("a/b/hostname"));
    // Each says itself that it runs, so that a key does not come before who it is for.
    let runs = "sh -c 'echo run''ning; exec sleep 100'";
    terminal.send(&format!("{runs}\n"));
    terminal.expect("running");
    terminal.send("\x1a");
    terminal.expect("Stopped");
    terminal.send("kill -CONT %1; kill %1; wait; ps -e | grep -c sle''ep; echo en''d\n");
    let text = terminal.expect("end");
    assert!(text.lines().any(|line| line.trim() == "0"), "{text}");
    terminal.send(&format!("{runs}\n"));
    terminal.expect("running");
    terminal.send("\x03");
    terminal.send("echo co''de $?\n");
    terminal.expect("code 130");
    terminal.send("vi -u NONE note\n");
    terminal.expect("[New");
    terminal.send("iedited\x1b:wq\r");
    terminal.expect("written");
    terminal.send("cat note; echo en''d\n");
    let text = terminal.expect("end");
    assert!(text.contains("edited"), "{text}");
    terminal.send("su user -c 'id -un; cd; pwd; cat /etc/shadow'; echo en''d\n");
    let text = terminal.expect("end");
    assert!(text.contains("/home/user") && text.contains("Permission denied"), "{text}");
    terminal.send("exit 7\n");
    terminal.rest();
    session.running.wait().fails_with(7);
}

/// A container started as another user from the beginning writes to its own standard output, by name too.
fn unprivileged_user(host: &Host) {
    let script = "echo named >>/dev/stdout && echo again >>/proc/self/fd/1 && echo wrong >>/dev/stderr && touch /tmp/mine && stat -c %U /tmp/mine";
    let command = ["sh", "-c", script];
    let done = host.job(Program {
        name: "unprivileged_user",
        command: &command,
        volumes: &[],
        user: Some((1000, 1000)),
    });
    assert!(done.code == 0 && done.output == "named\nagain\nuser\n" && done.errors == "wrong\n", "{done:?}");
}
