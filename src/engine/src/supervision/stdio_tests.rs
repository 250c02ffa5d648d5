//! Clients that are quick, slow, stuck and gone, at a real connection whose far end stands for the shim.

use std::os::fd::OwnedFd;

use casemate_spec::wire::{Answer, HexId, Host, Reply};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

use super::*;
use crate::broker::Broker;

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("sockets")
}

/// A shim that nobody can be connected to any more: its broker says hello, and is gone.
async fn unreachable() -> Shim {
    let (ours, theirs) = pair();
    let hello = Answer::Hello { host: Host::default(), running: Vec::new() };
    let reply = serde_json::to_vec(&Reply { number: 0, answer: Ok(hello) }).expect("JSON");
    send(&theirs, &reply, SendFlags::empty()).expect("sent");
    let (broker, _, _) = Broker::connect(ours).await.expect("a broker");
    drop(theirs);
    Shim { broker, id: HexId::from_bytes([1; 32]), exec: None }
}

struct Run {
    far: OwnedFd,
    pumped: tokio::task::JoinHandle<Option<Exited>>,
}

async fn run(stdio: Arc<Stdio>) -> Run {
    let (near, far) = pair();
    let link = Arc::new(Link::new(near).expect("a link"));
    let shim = unreachable().await;
    stdio.open(&link);
    let pump = Arc::clone(&stdio);
    let pumped = tokio::spawn(async move {
        let exited = pump.pump(&link, &shim).await;
        drop(pump.part());
        exited
    });
    Run { far, pumped }
}

impl Run {
    fn say(&self, frame: &Frame<'_>) {
        send(&self.far, &frame.encode(), SendFlags::NOSIGNAL).expect("said");
    }

    fn exit(&self, code: i32) {
        let exited = Exited { code, at: 1, out_of_memory: false, lost: false };
        self.say(&Frame::Exited(&serde_json::to_vec(&exited).expect("JSON")));
    }

    async fn code(self) -> Option<i32> {
        tokio::time::timeout(Duration::from_secs(60), self.pumped)
            .await
            .expect("an end")
            .expect("no panic")
            .map(|exited| exited.code)
    }
}

async fn all(mut output: mpsc::Receiver<Chunk>) -> String {
    let mut text = String::new();
    while let Some(chunk) = output.recv().await {
        text.push_str(&String::from_utf8_lossy(&chunk.bytes));
    }
    text
}

#[tokio::test]
async fn everybody_gets_everything_from_the_first_byte() {
    let stdio = Arc::new(Stdio::default());
    let (both, errors) = (stdio.attach(true, true), stdio.attach(false, true));
    let run = run(Arc::clone(&stdio)).await;
    let late = stdio.attach(true, false);
    run.say(&Frame::Running(7));
    run.say(&Frame::Stdout(b"out "));
    run.say(&Frame::Stderr(b"err "));
    run.say(&Frame::Stdout(b"end"));
    run.exit(3);
    assert_eq!(run.code().await, Some(3));
    assert_eq!(all(both).await, "out err end");
    assert_eq!(all(errors).await, "err ");
    assert_eq!(all(late).await, "out end");
}

#[tokio::test]
async fn one_that_is_gone_holds_nobody_up() {
    let stdio = Arc::new(Stdio::default());
    let (gone, mut there) = (stdio.attach(true, true), stdio.attach(true, true));
    let run = run(Arc::clone(&stdio)).await;
    drop(gone);
    for _ in 0..BEHIND * 4 {
        run.say(&Frame::Stdout(b"x"));
        assert!(there.recv().await.is_some());
    }
    run.exit(0);
    assert_eq!(run.code().await, Some(0));
}

#[tokio::test]
async fn a_slow_one_makes_the_process_wait_and_gets_everything() {
    let stdio = Arc::new(Stdio::default());
    let slow = stdio.attach(true, true);
    let run = run(Arc::clone(&stdio)).await;
    for number in 0..BEHIND * 3 {
        run.say(&Frame::Stdout(format!("{number} ").as_bytes()));
    }
    run.exit(0);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!run.pumped.is_finished(), "it went on without its client");
    let expected: String = (0..BEHIND * 3).map(|number| format!("{number} ")).collect();
    assert_eq!(all(slow).await, expected);
    assert_eq!(run.code().await, Some(0));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stuck_does_not_hold_up_the_end() {
    let stdio = Arc::new(Stdio::default());
    let stuck = stdio.attach(true, true);
    let run = run(Arc::clone(&stdio)).await;
    for _ in 0..BEHIND * 3 {
        run.say(&Frame::Stdout(b"x"));
    }
    run.exit(9);
    assert_eq!(run.code().await, Some(9));
    assert_eq!(all(stuck).await.len(), BEHIND, "it keeps what it had");
}

#[tokio::test]
async fn who_comes_between_two_runs_gets_the_second() {
    let stdio = Arc::new(Stdio::default());
    let first = run(Arc::clone(&stdio)).await;
    let of_first = stdio.attach(true, true);
    first.say(&Frame::Stdout(b"1"));
    first.exit(0);
    first.code().await;
    let of_second = stdio.attach(true, true);
    let second = run(Arc::clone(&stdio)).await;
    second.say(&Frame::Stdout(b"2"));
    second.exit(0);
    second.code().await;
    assert_eq!((all(of_first).await.as_str(), all(of_second).await.as_str()), ("1", "2"));
}

#[tokio::test]
async fn input_waits_for_the_process() {
    let stdio = Arc::new(Stdio::default());
    let writer = Arc::clone(&stdio);
    let written = tokio::spawn(async move {
        writer.write(&[b'x'; 40_000]).await?;
        writer.close().await
    });
    tokio::task::yield_now().await;
    let run = run(Arc::clone(&stdio)).await;
    written.await.expect("no panic").expect("written");
    let (mut input, mut packet) = (0, vec![0_u8; 65_536]);
    loop {
        let (read, _) = recv(&run.far, packet.as_mut_slice(), RecvFlags::empty()).expect("a packet");
        match Frame::decode(&packet[..read]).expect("a frame") {
            Frame::Stdin(bytes) => input += bytes.len(),
            Frame::CloseStdin => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(input, 40_000);
    stdio.resize(3, 4).await.expect("resized");
    let (read, _) = recv(&run.far, packet.as_mut_slice(), RecvFlags::empty()).expect("a packet");
    assert_eq!(Frame::decode(&packet[..read]).expect("a frame"), Frame::Resize(3, 4));
    drop(run.far);
    assert_eq!(run.pumped.await.expect("no panic"), None, "a shim that is gone says nothing");
    assert!(stdio.resize(1, 1).await.is_err());
}
