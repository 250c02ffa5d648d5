//! Processes of others: what enters the container, the init of another container, a process of the host's.

use casemate_tests::{Bundle, install_probe, wait_until};

use crate::attack::{FROM_BASELINE, Fate, fate, is_denied, permissive, table};
use crate::survey::{Findings, install_survey};

const LIBERTIES: [&str; 5] = [
    "aimed:process signal",
    "aimed:process trace",
    "aimed:process root",
    "aimed:process environment",
    "aimed:process memory",
];

fn aim(bundle: &mut Bundle, pid: i32) {
    install_survey(bundle);
    bundle.args(&[&["/survey"], &LIBERTIES[..]].concat());
    bundle.edit(|c| {
        let told = format!("SURVEY_AIM={pid}");
        c["process"]["env"].as_array_mut().expect("a list").push(told.into());
    });
}

/// How many of the liberties a container took with a process.
fn taken(bundle: &Bundle) -> Fate {
    let output = bundle.run();
    if is_denied(&output) {
        return Fate::Denied;
    }
    let found = Findings::of(&output);
    let taken: Vec<_> = LIBERTIES.into_iter().filter(|name| found.reaches(name)).collect();
    eprintln!("{taken:?}");
    if taken.is_empty() { Fate::Stopped } else { Fate::Succeeds }
}

/// The host's pid namespace, and a process of the host's in it.
#[test]
fn a_process_of_the_host() {
    table([Fate::Succeeds, Fate::Denied, Fate::Denied, Fate::Denied], |policy| {
        let mut bundle = permissive("");
        let victim = bundle.tool("sleep", &["100"]).spawn();
        aim(&mut bundle, victim.pid());
        bundle.without_namespace("pid").policy(policy);
        let fate = taken(&bundle);
        drop(victim);
        fate
    });
}

/// `--pid container:X`: one pid namespace, two containers, each with ids of its own.
#[test]
fn the_init_of_another_container() {
    table(FROM_BASELINE, |policy| {
        let mut first = permissive("");
        first.args(&["/bin/sleep", "1000"]).policy(policy);
        first.run_detached().ok();
        let mut second = permissive("");
        aim(&mut second, 1);
        second.namespace("pid", Some(&format!("/proc/{}/ns/pid", first.pid()))).policy(policy);
        taken(&second)
    });
}

/// Root of the container, with the capability to trace whomever it sees, waits for who enters.
#[test]
fn what_enters_is_traced() {
    table(FROM_BASELINE, |policy| {
        let mut bundle = permissive("");
        install_probe(&bundle);
        bundle.args(&["/probe", "hunt", "60000"]).policy(policy);
        let output = bundle.run_detached().ok();
        wait_until("it hunts", || output.stdout().contains("hunting"));
        for _ in 0..60 {
            bundle.exec(&["/bin/true"]);
            // Its program, root or directories, and not those of the container that it becomes.
            if output.text() != "hunting" {
                return Fate::Succeeds;
            }
        }
        Fate::Stopped
    });
}

/// A file that another container's root has closed to others, seen through that container's process.
#[test]
fn files_of_another_container() {
    table(FROM_BASELINE, |policy| {
        let mut first =
            permissive("echo of the first >/tmp/closed && chmod 600 /tmp/closed && echo made; sleep 1000");
        first.policy(policy);
        let output = first.run_detached().ok();
        wait_until("the file is there", || output.stdout().contains("made"));
        let look = "cat /proc/1/root/tmp/closed 2>/dev/null | grep -q . && echo won; echo tried";
        let mut second = permissive(look);
        second.namespace("pid", Some(&format!("/proc/{}/ns/pid", first.pid()))).policy(policy);
        fate(&second.run())
    });
}
