//! Daemon, broker and shims killed at random moments, while containers start, run, write, are entered and end.
//!
//! Every test tells the number its moments came from; `CASEMATE_SEED` repeats them as far as a machine repeats anything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use casemate_tests::Output;
use rustix::process::{Pid, Signal, kill_process};

use crate::World;
use crate::dice::Dice;

/// How long whatever was begun may take to come to its end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// Writes so many numbered lines, a pause between them, and ends with this status.
fn counting(lines: u32, pause: &str, code: i32) -> String {
    format!("i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line-$i; {pause}; done; exit {code}")
}

/// What that writes.
fn counted(lines: u32) -> String {
    (1..=lines).map(|number| format!("line-{number}\n")).collect()
}

fn detach(world: &World, name: &str, flags: &[&str], script: &str) -> Output {
    let words =
        [&["run", "-d", "--net", "none", "--name", name], flags, &["busybox", "sh", "-c", script]].concat();
    world.docker(words).run()
}

fn inspect(world: &World, name: &str, template: &str) -> String {
    world.ok(&["inspect", "--type", "container", "--format", template, name])
}

fn status(world: &World, name: &str) -> String {
    inspect(world, name, "{{.State.Status}} {{.State.ExitCode}}")
}

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < until, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// It has ended so, and every line is there, once and in order.
#[track_caller]
fn complete(world: &World, name: &str, lines: u32, code: i32) {
    let expected = format!("exited {code}");
    let mut last = String::new();
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !last.starts_with("exited") {
        std::thread::sleep(Duration::from_millis(50));
        last = status(world, name);
    }
    assert_eq!(last, expected, "{name}: {}", inspect(world, name, "{{json .State}}"));
    let said = world.docker(["logs", name]).run().ok().stdout();
    assert!(said == counted(lines), "{name}: {} lines of {lines}: …{:?}", said.lines().count(), tail(&said));
}

fn tail(text: &str) -> String {
    let last: Vec<&str> = text.lines().rev().take(3).collect();
    last.join(" | ")
}

fn parent(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn kill(pid: i32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: i32, signal: Signal) {
    // It may have ended by itself: moments are random.
    Pid::from_raw(pid).map(|pid| kill_process(pid, signal).ok());
}

/// A container's shim: its first process's parent.
#[track_caller]
fn shim_of(world: &World, name: &str) -> i32 {
    let pid = inspect(world, name, "{{.State.Pid}}").parse().expect("a number");
    let shim = parent(pid).expect("it runs");
    let comm = std::fs::read_to_string(format!("/proc/{shim}/comm")).expect("a shim");
    assert_eq!(comm.trim(), "casemate-shim", "{name}: {shim} is the parent of {pid}");
    shim
}

/// Children of a process whose name begins so.
fn children(of: i32, name: &str) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    let pids = list.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
    let named = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with(name))
    };
    pids.filter(named).collect()
}

/// Nothing is left of any container: neither in the list nor on the disk.
#[track_caller]
fn clear(world: World) {
    let all = world.ok(&["ps", "-aq", "--no-trunc"]);
    let ids: Vec<&str> = all.lines().collect();
    if !ids.is_empty() {
        world.docker([&["rm", "-f", "-v"][..], &ids].concat()).run().ok();
    }
    assert_eq!(world.ok(&["ps", "-aq"]), "");
    for place in ["store/containers", "store/staging", "store/trash", "logs"] {
        let kept = || {
            let entries = std::fs::read_dir(world.data().join(place)).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect::<Vec<_>>()
        };
        let until = Instant::now() + Duration::from_secs(20);
        while !kept().is_empty() {
            assert!(Instant::now() < until, "still kept: {:#?}", kept());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    world.stop();
}

/// A container that somebody tried to run while everything was being killed.
struct Tried {
    name: String,
    code: i32,
    /// The client was told that it runs.
    told: bool,
}

/// Ends what others do, whatever becomes of the thread that holds it: they would go on for ever.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lines and pauses of those that run long enough to see several crashes.
const LONG: u32 = 700;
const SHORT: u32 = 60;

/// One client after another runs, enters and lists containers, until it is over.
fn bother(world: &World, who: usize, over: &AtomicBool, tried: &Mutex<Vec<Tried>>) {
    for turn in 0.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let (name, code) = (format!("quick-{who}-{turn}"), 20 + turn % 100);
        let told = detach(world, &name, &[], &counting(SHORT, ":", code)).success();
        tried.lock().unwrap_or_else(PoisonError::into_inner).push(Tried { name, code, told });
        let script = "echo a; echo b; exit 9";
        let entered = world.docker(["exec", &format!("long-{who}"), "sh", "-c", script]).run();
        // A client that lost its daemon says so; it never takes a part for the whole.
        assert!(entered.code() != 0, "{entered}");
        assert!(entered.code() != 9 || entered.stdout() == "a\nb\n", "{entered}");
        let front = world.run(&[], &["sh", "-c", &counting(SHORT, ":", 7)]);
        assert!(front.code() != 0, "{front}");
        assert!(front.code() != 7 || front.stdout() == counted(SHORT), "{front}");
    }
}

#[test]
fn nothing_is_lost_when_daemon_and_broker_are_killed() {
    let world = World::start();
    let mut dice = Dice::thrown();
    for (number, code) in (0..3).zip(3..) {
        detach(&world, &format!("long-{number}"), &[], &counting(LONG, "sleep 0.02", code)).ok();
    }
    detach(&world, "goes", &["--rm"], "sleep 3").ok();
    let (over, tried) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for who in 0..3 {
            let (world, over, tried) = (&world, &over, &tried);
            scope.spawn(move || bother(world, who, over, tried));
        }
        let ends = Ends(&over);
        for round in 0..8 {
            std::thread::sleep(dice.up_to(Duration::from_millis(900)));
            if round % 2 == 0 {
                world.kill_daemon();
            } else {
                world.kill_broker();
                std::thread::sleep(dice.up_to(Duration::from_millis(200)));
                world.restart_broker();
            }
            world.wait();
        }
        let told =
            || tried.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|one| one.told).count();
        eventually("something was begun", || told() > 3);
        drop(ends);
    });
    let tried = tried.into_inner().unwrap_or_else(PoisonError::into_inner);
    for one in &tried {
        settle(&world, one);
    }
    for (number, code) in (0..3).zip(3..) {
        complete(&world, &format!("long-{number}"), LONG, code);
    }
    eventually("what removes itself is gone", || {
        !world.ok(&["ps", "-a", "--format", "{{.Names}}"]).lines().any(|name| name == "goes")
    });
    clear(world);
}

/// Whatever became of it, it is whole, and its name can be used.
fn settle(world: &World, one: &Tried) {
    let names = world.ok(&["ps", "-a", "--format", "{{.Names}}"]);
    if !names.lines().any(|name| name == one.name) {
        assert!(!one.told, "{} is gone", one.name);
        detach(world, &one.name, &[], &counting(SHORT, ":", one.code)).ok();
    } else if status(world, &one.name).starts_with("created") {
        assert!(!one.told, "{} was never started", one.name);
        world.ok(&["start", &one.name]);
    }
    complete(world, &one.name, SHORT, one.code);
    assert_eq!(inspect(world, &one.name, "{{.State.Pid}} {{.State.Running}}"), "0 false");
}

#[test]
fn a_killed_shim_takes_its_own_container_and_no_other() {
    let world = World::start();
    let mut dice = Dice::thrown();
    for (number, code) in (0..5).zip(3..) {
        detach(&world, &format!("co-{number}"), &[], &counting(250, "sleep 0.02", code)).ok();
    }
    detach(&world, "again", &["--restart", "on-failure:2"], "echo up; exec sleep 1000").ok();
    let entered = world.docker(["exec", "co-4", "sh", "-c", "echo in; exec sleep 321"]).spawn();
    eventually("it is in", || entered.stdout() == "in\n");
    let victims = [dice.below(4), 4 + dice.below(4)].map(|n| format!("co-{}", n % 4));
    for victim in &victims {
        std::thread::sleep(dice.up_to(Duration::from_millis(400)));
        if status(&world, victim).starts_with("running") {
            kill(shim_of(&world, victim));
        }
    }
    kill(shim_of(&world, "again"));
    // The shim of an exec, too: that ends, and its container runs on.
    let inside = world.ok(&["top", "co-4", "-eo", "pid,args"]);
    let inside = inside.lines().find_map(|line| line.trim().strip_suffix("sleep 321")?.trim().parse().ok());
    kill(parent(inside.expect("an exec")).expect("a shim"));
    entered.wait().fails_with(137);
    for victim in &victims {
        eventually("its end is told", || status(&world, victim) == "exited 137");
        // What it wrote before is there, from the beginning and without a gap.
        let said = world.docker(["logs", victim]).run().ok().stdout();
        assert!(counted(250).starts_with(&said) && said.lines().count() > 0, "{victim}: {:?}", tail(&said));
        assert_eq!(world.ok(&["wait", victim]), "137");
        world.docker(["exec", victim, "true"]).run().fails_saying(&["is not running"]);
    }
    for (number, code) in (0..5).zip(3..) {
        let name = format!("co-{number}");
        if !victims.contains(&name) {
            complete(&world, &name, 250, code);
        }
    }
    eventually("its policy starts it again", || {
        inspect(&world, "again", "{{.State.Status}} {{.RestartCount}}") == "running 1"
    });
    // Names and ids are what they were.
    let id = inspect(&world, &victims[0], "{{.Id}}");
    world.docker(["start", "-a", &id]).run();
    assert!(["exited 3", "exited 4", "exited 5", "exited 6"].contains(&&*status(&world, &victims[0])));
    assert!(world.docker(["logs", &victims[0]]).run().ok().stdout().ends_with(&counted(250)));
    clear(world);
}

#[test]
fn a_start_that_is_killed_half_way_leaves_nothing() {
    let world = World::start();
    let mut dice = Dice::thrown();
    let broker = i32::try_from(world.broker_pid()).expect("a process id");
    for round in 0..12 {
        let name = format!("start-{round}");
        let words = [
            "run",
            "-d",
            "--net",
            "none",
            "--name",
            &name,
            "busybox",
            "sh",
            "-c",
            "echo up; exec sleep 1000",
        ];
        let mut client = world.docker(words).spawn();
        let mut shims = Vec::new();
        while shims.is_empty() && !client.ended() {
            shims = children(broker, "casemate-shim");
        }
        std::thread::sleep(dice.up_to(Duration::from_millis(60)));
        // Sometimes whoever it has started to do the work, instead.
        let runtimes = shims.iter().flat_map(|shim| children(*shim, "runtime")).collect();
        let victims: Vec<i32> = if dice.below(3) == 0 { runtimes } else { shims };
        victims.into_iter().for_each(kill);
        let told = client.wait();
        assert!(told.success() || told.stderr().contains("Error response from daemon: "), "{told}");
        eventually("it has ended or runs", || {
            let status = status(&world, &name);
            let runs = status.starts_with("running") && children(broker, "casemate-shim").len() == 1;
            runs || status == "exited 137" || (status.starts_with("created") && !told.success())
        });
        if !status(&world, &name).starts_with("running") {
            world.ok(&["start", &name]);
        }
        assert_eq!(status(&world, &name), "running 0");
        assert!(world.ok(&["logs", &name]).lines().count() <= 2);
        world.ok(&["rm", "-f", &name]);
        assert_eq!(children(broker, "casemate-shim"), [0; 0]);
    }
    clear(world);
}

#[test]
fn a_start_whose_daemon_or_broker_is_killed_is_called_off_or_goes_on() {
    let world = World::start();
    let mut dice = Dice::thrown();
    for (round, kills_broker) in [false, true, false, true].into_iter().enumerate() {
        let name = format!("cut-{round}");
        let broker = i32::try_from(world.broker_pid()).expect("a process id");
        let words = ["run", "-d", "--net", "none", "--restart", "always", "--name", &name, "busybox"];
        let mut client = world.docker([&words[..], &["sleep", "1000"]].concat()).spawn();
        // The start is not answered as long as its shim stands still. The runtime does not: it may hold a lock that
        // the whole host waits for.
        let mut shims = Vec::new();
        while shims.is_empty() && !client.ended() {
            shims = children(broker, "casemate-shim");
        }
        std::thread::sleep(dice.up_to(Duration::from_millis(15)));
        shims.iter().for_each(|pid| signal(*pid, Signal::STOP));
        if kills_broker {
            world.kill_broker();
            world.restart_broker();
        } else {
            let daemon = world.daemon_pid();
            world.kill_daemon();
            eventually("there is another daemon", || {
                world.daemon_pid().is_some_and(|pid| Some(pid) != daemon)
            });
        }
        world.wait();
        shims.iter().for_each(|pid| signal(*pid, Signal::CONT));
        let told = client.wait().success();
        eventually("what is said of it is true", || {
            let processes =
                children(i32::try_from(world.broker_pid()).expect("a process id"), "casemate-shim");
            let status = status(&world, &name);
            let runs = world.docker(["exec", &name, "true"]).run().success();
            match &*status {
                "created 0" => !told && !runs && processes.is_empty(),
                "running 0" => runs,
                _ => false,
            }
        });
        if status(&world, &name) == "created 0" {
            let why = inspect(&world, &name, "{{.State.Error}}");
            assert_eq!(why.contains("called off"), kills_broker, "{why}");
            world.ok(&["start", &name]);
        }
        world.ok(&["exec", &name, "true"]);
        world.ok(&["rm", "-f", &name]);
    }
    clear(world);
}

#[test]
fn when_all_is_dead_policies_start_again_what_they_should() {
    let world = World::start();
    let run = |name: &str, policy: &str, script: &str| {
        detach(&world, name, &["--restart", policy], &format!("echo up; {script}")).ok();
    };
    run("always", "always", "exec sleep 1000");
    run("stopped", "unless-stopped", "exec sleep 1000");
    run("unless", "unless-stopped", "exec sleep 1000");
    run("failure", "on-failure:5", "exec sleep 1000");
    run("never", "no", "exec sleep 1000");
    world.ok(&["stop", "-t", "0", "stopped"]);
    let running = ["always", "unless", "failure", "never"];
    let shims = running.map(|name| shim_of(&world, name));
    let processes = running.map(|name| inspect(&world, name, "{{.State.Pid}}").parse().expect("a number"));
    world.kill_broker();
    shims.into_iter().chain(processes).for_each(kill);
    world.restart_broker();
    world.wait();
    for name in ["always", "unless", "failure"] {
        eventually("its policy starts it again", || status(&world, name) == "running 0");
        eventually("it is up twice", || world.ok(&["logs", name]) == "up\nup");
    }
    assert_eq!(status(&world, "never"), "exited 137");
    assert_eq!(status(&world, "stopped"), "exited 137");
    assert_eq!(world.ok(&["logs", "stopped"]), "up");
    clear(world);
}

#[test]
fn the_next_process_finds_its_shim_waiting_and_does_without_when_that_is_killed() {
    let world = World::start();
    detach(&world, "co", &[], "exec sleep 1000");
    let broker = || i32::try_from(world.broker_pid()).expect("a process id");
    let spare = || {
        let mut found = Vec::new();
        eventually("a shim and its runtime wait for the next order", || {
            found = children(broker(), "casemate-spare");
            found.len() == 1 && found.iter().all(|spare| children(*spare, "runtime").len() == 1)
        });
        found.into_iter().next().expect("one")
    };
    let waiting = spare();
    world.ok(&["exec", "-d", "co", "sleep", "999"]);
    assert!(children(broker(), "casemate-shim").contains(&waiting), "it was taken");
    assert_eq!(children(waiting, "sleep").len(), 1, "the process is its own");
    let next = spare();
    assert_ne!(next, waiting);
    kill(next);
    assert_eq!(world.ok(&["exec", "co", "echo", "one"]), "one");
    children(spare(), "runtime").into_iter().for_each(kill);
    assert_eq!(world.ok(&["exec", "co", "echo", "two"]), "two");
    // It is the broker's: with it, it goes.
    let last = spare();
    world.kill_broker();
    eventually("nobody waits for a broker that is gone", || parent(last).is_none());
    world.restart_broker();
    world.wait();
    assert_eq!(world.ok(&["exec", "co", "echo", "three"]), "three");
    clear(world);
}
