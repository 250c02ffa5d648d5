//! The end of a broker, and of what was under way: networks go when nothing runs any more, and stay while something does.

use std::fs;

use casemate_spec::wire::{Answer, Ask, VERSION};
use casemate_tests::wait_until;

use crate::networks::{Host, SERVE, endpoint, greeting, make_network, network, port, said, start};
use crate::rig::{Rig, exec_of, id, make};

fn links() -> String {
    said("ip -br link")
}

fn tables() -> String {
    said("nft list tables")
}

#[test]
fn nothing_of_networks_stays_where_nothing_runs_though_nobody_has_asked_how_it_ended() {
    let _host = Host::enter();
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    make_network(&mut rig, network('a', "t", 50)).expect("made");
    make_network(&mut rig, network('b', "t", 51)).expect("made");
    start(&mut rig, &one, &["sh", "-c", "exit 7"], endpoint('e', 'a', 2, port("0.0.0.0:8080")))
        .expect("started");
    // The kernel takes the interface along when the process ends; the broker's rules go when it has heard of that.
    let heard = || !links().contains("cmv") && !said("nft list ruleset").contains("10.50.0.2");
    wait_until("it has ended", heard);
    assert!(links().contains("cmb") && tables().contains("casemate-"));
    rig.leave();
    assert!(!links().contains("cmb") && !links().contains("cmv"), "{}", links());
    assert_eq!(tables(), "");
    // How it ended is not lost, and networks are there again for whoever comes next.
    rig.again();
    let answer = rig.ask(Ask::Hello { version: VERSION }).0.expect("hello");
    let Answer::Hello { running, .. } = answer else { panic!("{answer:?}") };
    let ended: Vec<_> = running.iter().filter_map(|one| one.exited.as_ref()).map(|end| end.code).collect();
    assert_eq!(ended, [7]);
    rig.ask(Ask::Release { id: one.clone() }).0.expect("released");
    start(&mut rig, &one, &SERVE, endpoint('e', 'a', 2, port("0.0.0.0:8080"))).expect("started again");
    wait_until("it serves", || greeting(8080).is_some());
    rig.end();
    assert_eq!((tables(), links().contains("cmb")), (String::new(), false));
}

#[test]
fn the_network_of_what_runs_on_goes_on_working() {
    let _host = Host::enter();
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    make_network(&mut rig, network('a', "t", 50)).expect("made");
    start(&mut rig, &one, &SERVE, endpoint('e', 'a', 2, port("0.0.0.0:8080"))).expect("started");
    wait_until("it serves", || greeting(8080).is_some());
    rig.leave();
    wait_until("it serves without a broker", || greeting(8080).is_some());
    rig.again();
    rig.ask(Ask::Hello { version: VERSION }).0.expect("hello");
    wait_until("it serves on", || greeting(8080).is_some());
    rig.end();
    assert_eq!((tables(), links().contains("cmb")), (String::new(), false));
}

/// Health checks and clients start processes until the very end: what they have started goes with the container, and
/// nobody is told of files that are missing.
#[test]
fn processes_that_are_being_started_end_with_their_container() {
    let mut rig = Rig::greeted();
    let one = id('1');
    rig.ask(make(&one)).0.expect("made");
    for round in 0..30 {
        rig.start(&one, &["sleep", "1000"]);
        let exec = |digit: char| exec_of(&one, &id(digit), &["sleep", "1000"]);
        let asked: Vec<u64> = ['2', '3', '4'].map(|digit| rig.send(exec(digit), &[])).to_vec();
        rig.ask(Ask::Signal { id: one.clone(), exec: None, signal: 9, all: true }).0.expect("killed");
        wait_until("it has ended", || rig.ask(Ask::Release { id: one.clone() }).0.is_ok());
        // Each is answered, one way or the other.
        for number in asked {
            rig.reply(number).0.map(drop).unwrap_or_default();
        }
        let log = fs::read_to_string(rig.dir.join("broker.log")).expect("what it says");
        assert!(!log.contains("no such file"), "round {round}: {log}");
    }
    rig.ask(Ask::RemoveContainer { id: one }).0.expect("removed");
    rig.end();
}
