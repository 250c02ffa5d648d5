//! `docker logs`.

use std::time::Duration;

use crate::World;

#[test]
fn logs_are_cut_and_chosen_as_asked() {
    let world = World::start();
    // Two pipes have no order: what is to be later is written when the other has come.
    let script = "for i in 1 2 3 4; do echo out-$i; done; read go; echo err >&2; read go; echo last";
    world.ok(&["run", "-di", "--net", "none", "--name", "lo", "busybox", "sh", "-c", script]);
    let logs = || world.docker(["logs", "lo"]).run();
    let go = || world.docker(["attach", "lo"]).stdin(b"go\n").spawn();
    casemate_tests::wait_until("the output", || logs().stdout().ends_with("out-4\n"));
    let first = go();
    casemate_tests::wait_until("the error", || logs().stderr() == "err\n");
    for client in [first, go()] {
        client.wait().ok();
    }
    world.ok(&["wait", "lo"]);
    let all = world.docker(["logs", "lo"]).run().ok();
    assert_eq!((all.text().as_str(), all.stderr().as_str()), ("out-1\nout-2\nout-3\nout-4\nlast", "err\n"));
    assert_eq!(world.ok(&["logs", "--tail", "2", "lo"]), "last");
    assert_eq!(world.ok(&["logs", "--tail", "0", "lo"]), "");
    let stamped = world.ok(&["logs", "-t", "--tail", "1", "lo"]);
    let (stamp, text) = stamped.split_once(' ').expect("a time and a text");
    assert!(stamp.len() == 30 && stamp.ends_with('Z'), "{stamp}");
    assert_eq!(text, "last");
    let since = world.docker(["logs", "--since", stamp, "lo"]).run().ok();
    assert_eq!((since.text().as_str(), since.stderr().as_str()), ("last", ""));
    let first = world.ok(&["logs", "-t", "lo"]);
    let until = first.lines().nth(3).and_then(|line| line.split(' ').next()).expect("a time").to_owned();
    assert_eq!(world.ok(&["logs", "--until", &until, "lo"]), "out-1\nout-2\nout-3\nout-4");
    world.docker(["logs", "nobody"]).run().fails_saying(&["No such container: nobody"]);
    world.stop();
}

#[test]
fn following_misses_nothing_across_rotations() {
    let world = World::start();
    let script = "i=0; while [ $i -lt 20000 ]; do echo line-$i; i=$((i+1)); done";
    let words = [
        "run",
        "-d",
        "--net",
        "none",
        "--name",
        "fo",
        "--log-opt",
        "max-size=100k",
        "--log-opt",
        "max-file=100",
        "busybox",
        "sh",
        "-c",
        script,
    ];
    world.ok(&words);
    let text = world.docker(["logs", "-f", "fo"]).timeout(Duration::from_secs(60)).run().ok().stdout();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 20_000, "{:?} … {:?}", lines.first(), lines.last());
    assert!(lines.iter().enumerate().all(|(number, line)| *line == format!("line-{number}")));
    assert_eq!(world.ok(&["logs", "fo"]), text.trim_end());
    world.stop();
}

#[test]
fn following_shows_lines_as_they_come() {
    let world = World::start();
    let script = "echo one; read line; echo two";
    world.ok(&["run", "-di", "--net", "none", "--name", "fo", "busybox", "sh", "-c", script]);
    let follower = world.docker(["logs", "-f", "fo"]).spawn();
    casemate_tests::wait_until("the first line", || follower.stdout() == "one\n");
    world.docker(["attach", "fo"]).stdin(b"go\n").run();
    assert_eq!(follower.wait().text(), "one\ntwo");
    world.stop();
}

#[test]
fn long_lines_are_one_line_again() {
    let world = World::start();
    let script = "head -c 50000 /dev/zero | tr '\\0' x; echo; echo short";
    world.ok(&["run", "-d", "--net", "none", "--name", "lo", "busybox", "sh", "-c", script]);
    world.ok(&["wait", "lo"]);
    let text = world.ok(&["logs", "-t", "--tail", "2", "lo"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{}", text.len());
    assert_eq!(lines[0].len(), 31 + 50_000, "one time at its beginning alone");
    world.stop();
}

#[test]
fn what_is_kept_nowhere_cannot_be_read() {
    let world = World::start();
    let words = ["run", "--net", "none", "--name", "no", "--log-driver", "none", "busybox", "echo", "seen"];
    assert_eq!(world.ok(&words), "seen");
    world.docker(["logs", "no"]).run().fails_saying(&["configured logging driver does not support reading"]);
    world.stop();
}

#[test]
fn details_are_what_the_log_options_name() {
    let world = World::start();
    let words =
        ["run", "-d", "--net", "none", "--name", "de", "--label", "team=red blue", "-e", "STAGE=test"];
    let options = ["--log-opt", "labels=team", "--log-opt", "env=STAGE", "busybox", "echo", "line"];
    world.ok(&[&words[..], &options].concat());
    world.ok(&["wait", "de"]);
    assert_eq!(world.ok(&["logs", "--details", "de"]), "STAGE=test,team=red+blue line");
    assert_eq!(world.ok(&["logs", "de"]), "line");
    world.stop();
}

/// What comes to the journal is tried with the shim; here, what is said of it, and that a container runs where there is none.
#[test]
fn the_journals_lines_are_read_with_its_own_tool() {
    let world = World::start();
    let words = ["run", "-d", "--net", "none", "--name", "jo", "--log-driver", "journald"];
    let id = world.ok(&[&words[..], &["--log-opt", "tag={{.Name}}", "busybox", "echo", "out"]].concat());
    assert_eq!(world.ok(&["wait", "jo"]), "0");
    let words = format!("journalctl CONTAINER_ID_FULL={id}");
    world.docker(["logs", "jo"]).run().fails_saying(&["logs are read of the json-file driver alone", &words]);
    let shown = world.ok(&["inspect", "-f", "{{.HostConfig.LogConfig.Type}}:{{.LogPath}}", "jo"]);
    assert_eq!(shown, "journald:", "no file of ours");
    let words = ["run", "--net", "none", "--log-driver", "journald", "--log-opt", "max-size=1m", "busybox"];
    world.docker(words).run().fails_saying(&["unknown log opt 'max-size' for journald log driver"]);
    world.ok(&["rm", "jo"]);
    world.stop();
}

#[test]
fn details_are_escaped_and_a_space_where_there_are_none() {
    let world = World::start();
    let words = ["run", "--net", "none", "--name", "de", "-e", "STAGE=x=ü", "--log-opt", "env=STAGE,ABSENT"];
    let options = ["--log-opt", "tag={{.Name}}/{{.ImageName}}", "busybox", "echo", "out"];
    world.ok(&[&words[..], &options].concat());
    let stamped = world.ok(&["logs", "--details", "-t", "de"]);
    assert!(stamped.ends_with("Z STAGE=x%3D%C3%BC,tag=de%2Fbusybox out"), "{stamped}");
    world.ok(&["run", "--net", "none", "--name", "plain", "busybox", "echo", "out"]);
    assert_eq!(world.docker(["logs", "--details", "plain"]).run().ok().stdout(), " out\n");
    world.ok(&["rm", "de", "plain"]);
    world.stop();
}
