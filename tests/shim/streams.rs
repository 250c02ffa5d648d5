//! Output and input: everything arrives, in order, whatever anybody does.

use std::time::{Duration, Instant};

use casemate_spec::wire::{Frame, Streams};
use casemate_tests::{Bundle, ours, wait_until};

use crate::broker::{Shim, Taken, json_file, log_text, plain, runtime, stand_in};

fn open() -> Streams {
    Streams { stdin: true, ..plain() }
}

#[test]
fn nothing_of_much_output_is_lost_or_changed() {
    let bundle = Bundle::sh(&ours(), "seq 1 400000; seq 1 400000 >&2");
    let (mut shim, connection, _) = Shim::started(&bundle, runtime(&bundle), plain());
    let rest = connection.rest();
    let expected: String = (1..=400_000).map(|n| format!("{n}\n")).collect();
    assert!(rest.stdout == expected.as_bytes() && rest.stderr == expected.as_bytes());
    shim.wait();
}

#[test]
fn a_line_comes_back() {
    let bundle = Bundle::sh(&ours(), "cat");
    let streams = Streams { stdin_once: true, ..open() };
    let (mut shim, connection, _) = Shim::started(&bundle, runtime(&bundle), streams);
    connection.send(&Frame::Stdin(b"there\n"));
    connection.expect("there\n");
    connection.send(&Frame::CloseStdin);
    let rest = connection.rest();
    assert_eq!((rest.stdout.len(), rest.exited.code), (0, 0));
    shim.wait();
}

#[test]
fn more_than_any_buffer_goes_round() {
    let bundle = Bundle::new(&ours());
    let streams = Streams { stdin_once: true, ..open() };
    let (mut shim, connection, _) = Shim::started(&bundle, stand_in("cat"), streams);
    let sent: Vec<u8> = (0..8_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut seen = Vec::new();
    for chunk in sent.chunks(60_000) {
        // Whoever does not take what comes back waits for ever, here as everywhere.
        while !connection.try_send(&Frame::Stdin(chunk)) {
            if let Taken::Stdout(bytes) = connection.take() {
                seen.extend(bytes);
            }
        }
    }
    while !connection.try_send(&Frame::CloseStdin) {
        if let Taken::Stdout(bytes) = connection.take() {
            seen.extend(bytes);
        }
    }
    seen.extend(connection.rest().stdout);
    assert!(seen == sent, "{} of {} bytes, or others", seen.len(), sent.len());
    shim.wait();
}

#[test]
fn input_has_many_writers() {
    let bundle = Bundle::new(&ours());
    let streams = Streams { stdin_once: true, ..open() };
    let (mut shim, first, _) = Shim::started(&bundle, stand_in("sort"), streams);
    let others: Vec<_> = (0..5).map(|_| shim.connect()).collect();
    for (number, writer) in others.iter().enumerate() {
        assert!(matches!(writer.take(), Taken::Running(_)));
        writer.send(&Frame::Stdin(format!("from {number}\n").as_bytes()));
    }
    // A listener's end is not the input's.
    let listener = shim.connect();
    listener.take();
    drop(listener);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!first.has_something(Duration::ZERO));
    // A writer's is, also where it does not say so.
    drop(others);
    assert_eq!(first.rest().stdout, b"from 0\nfrom 1\nfrom 2\nfrom 3\nfrom 4\n");
    shim.wait();
}

#[test]
fn an_input_that_is_not_once_outlives_its_writers() {
    let bundle = Bundle::new(&ours());
    let (mut shim, connection, _) = Shim::started(&bundle, stand_in("head -n 2"), open());
    let writer = shim.connect();
    writer.send(&Frame::Stdin(b"one\n"));
    writer.send(&Frame::CloseStdin);
    drop(writer);
    std::thread::sleep(Duration::from_millis(50));
    connection.send(&Frame::Stdin(b"two\n"));
    assert_eq!(connection.rest().stdout, b"one\ntwo\n");
    shim.wait();
}

#[test]
fn a_full_input_holds_back_its_writers_alone() {
    let bundle = Bundle::new(&ours());
    let script = "echo ready; while [ ! -e go ]; do echo busy; sleep 0.02; done; wc -c";
    let script = format!("cd {}; {script}", bundle.dir().display());
    let streams = Streams { stdin_once: true, ..open() };
    let (mut shim, connection, _) = Shim::started(&bundle, stand_in(&script), streams);
    let writer = shim.connect();
    let chunk = vec![b'x'; 60_000];
    let mut sent = 0;
    // Refused for a while, not for the moment that the shim takes.
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(300) {
        if writer.try_send(&Frame::Stdin(&chunk)) {
            (sent, last) = (sent + chunk.len(), Instant::now());
        }
        while writer.has_something(Duration::ZERO) {
            writer.take();
        }
        connection.expect("busy\n");
    }
    assert!((100_000..2_000_000).contains(&sent), "{sent} bytes were taken");
    std::fs::write(bundle.dir().join("go"), "").unwrap();
    wait_until("there is room again", || writer.try_send(&Frame::CloseStdin));
    let text = String::from_utf8(connection.rest().stdout).unwrap();
    assert_eq!(text.lines().last().unwrap().trim(), sent.to_string());
    shim.wait();
}

#[test]
fn an_input_that_nobody_reads_stops_nobody() {
    let bundle = Bundle::new(&ours());
    let script = "exec <&-; echo closed; sleep 0.3; echo bye";
    let (mut shim, connection, _) = Shim::started(&bundle, stand_in(script), open());
    connection.expect("closed");
    for _ in 0..100 {
        connection.send(&Frame::Stdin(&[0; 50_000]));
    }
    assert_eq!(connection.rest().stdout, b"bye\n");
    shim.wait();
}

#[test]
fn a_process_without_input_reads_an_end() {
    let bundle = Bundle::sh(&ours(), "cat; echo end");
    let (mut shim, connection, _) = Shim::started(&bundle, runtime(&bundle), plain());
    // It may have ended by now: it waits for nobody.
    connection.try_send(&Frame::Stdin(b"nobody asked"));
    assert_eq!(connection.rest().stdout, b"end\n");
    shim.wait();
}

#[test]
fn a_slow_connection_slows_the_process_and_loses_nothing() {
    let bundle = Bundle::new(&ours());
    let script = format!("seq 1 500000; echo written >{}", bundle.dir().join("done").display());
    let (mut shim, fast, _) = Shim::started(&bundle, stand_in(&script), plain());
    let slow = shim.connect();
    assert!(matches!(slow.take(), Taken::Running(_)));
    let reader = std::thread::spawn(move || fast.rest());
    std::thread::sleep(Duration::from_millis(500));
    assert!(!bundle.dir().join("done").exists(), "the process did not wait for the slow one");
    let (slow, fast) = (slow.rest(), reader.join().unwrap());
    let expected: String = (1..=500_000).map(|n| format!("{n}\n")).collect();
    assert!(fast.stdout == expected.as_bytes());
    // It came later than the process: what it has is the end of it.
    assert!(expected.as_bytes().ends_with(&slow.stdout) && slow.stdout.len() > 1_000_000);
    shim.wait();
}

#[test]
fn a_stuck_connection_keeps_neither_log_nor_report_after_the_end() {
    let bundle = Bundle::new(&ours());
    // What the stuck one has room for, and then the pipe full.
    let script = "trap '' PIPE; (seq 1 500000 & sleep 1; kill $!) 2>/dev/null; exit 9";
    let streams = Streams { log: json_file(), ..plain() };
    let (mut shim, stuck, _) = Shim::started(&bundle, stand_in(script), streams);
    let begun = Instant::now();
    wait_until("the end is reported", || shim.report().is_some());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(shim.report().unwrap().code, 9);
    let late = shim.connect();
    assert!(matches!(late.take(), Taken::Running(_)));
    assert!(matches!(late.take(), Taken::Exited(exited) if exited.code == 9));
    // It is not waited for for ever either.
    assert_eq!(shim.wait(), 0);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    // All that the process has written is in the log, also what the stuck one never took.
    let log = log_text(&bundle, "json.log");
    let mut seen = Vec::new();
    loop {
        match stuck.take() {
            Taken::Stdout(bytes) => seen.extend(bytes),
            Taken::End => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(log.len() > seen.len() && log.as_bytes().starts_with(&seen), "{} {}", log.len(), seen.len());
}

#[test]
fn connections_come_and_go_and_are_bounded() {
    let bundle = Bundle::new(&ours());
    let streams = Streams { stdin: true, stdin_once: true, ..plain() };
    let (mut shim, first, _) = Shim::started(&bundle, stand_in("cat"), streams);
    for _ in 0..300 {
        assert!(matches!(shim.connect().take(), Taken::Running(_)));
    }
    // The last one's end may not have been seen yet.
    std::thread::sleep(Duration::from_millis(50));
    let many: Vec<_> = (0..100).map(|_| shim.connect()).collect();
    let (mut admitted, mut refused) = (Vec::new(), 0);
    for connection in many {
        match connection.take() {
            Taken::Running(_) => admitted.push(connection),
            Taken::End => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((admitted.len(), refused), (63, 37));
    first.send(&Frame::Stdin(b"to all\n"));
    first.send(&Frame::CloseStdin);
    for connection in admitted.iter().chain([&first]) {
        let rest = connection.rest();
        assert_eq!((rest.stdout.as_slice(), rest.exited.code), (&b"to all\n"[..], 0));
    }
    shim.wait();
}

#[test]
fn a_peer_that_talks_nonsense_is_dropped_alone() {
    let bundle = Bundle::new(&ours());
    let (mut shim, first, _) = Shim::started(&bundle, stand_in("head -n 1"), open());
    for frame in [Frame::Stdout(b"x"), Frame::Running(1), Frame::Exited(b"{}")] {
        let odd = shim.connect();
        odd.take();
        odd.send(&frame);
        assert_eq!(odd.take(), Taken::End, "{frame:?}");
    }
    for bytes in [&[9, 9][..], &[3, 1], &[4, 0], &vec![0; 100_000]] {
        let odd = shim.connect();
        odd.take();
        rustix::net::send(&odd.0, bytes, rustix::net::SendFlags::NOSIGNAL).unwrap();
        assert_eq!(odd.take(), Taken::End, "{} bytes", bytes.len());
    }
    first.send(&Frame::Stdin(b"still here\n"));
    assert_eq!(first.rest().stdout, b"still here\n");
    shim.wait();
}

#[test]
fn much_output_takes_little_memory() {
    let bundle = Bundle::new(&ours());
    let script = "yes 'forty characters and a line end, to be sure' | head -c 30000000; head -c 5000000 /dev/urandom; read x";
    let streams = Streams { stdin_once: true, log: json_file(), ..open() };
    let (mut shim, connection, _) = Shim::started(&bundle, stand_in(script), streams);
    let slow = shim.connect();
    slow.take();
    let mut seen = 0;
    while seen < 35_000_000 {
        if let Taken::Stdout(bytes) = connection.take() {
            seen += bytes.len();
        }
        while slow.has_something(Duration::ZERO) {
            slow.take();
        }
    }
    // Pages of the program's own file are dirty for a while after it was built: they are nobody's private memory.
    let rollup = shim.proc("smaps_rollup");
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")?.strip_suffix("kB")).unwrap();
    assert!(kib.trim().parse::<u32>().unwrap() < 1024, "{rollup}");
    connection.send(&Frame::CloseStdin);
    connection.rest();
    shim.wait();
}
