//! Names on networks, where the programs that answer them die.

use casemate_tests::wait_until;
use rustix::process::{Pid, Signal, kill_process};

use crate::World;

/// Whether a container finds another by its name.
fn finds(world: &World, from: &str, name: &str) -> bool {
    world.docker(["exec", from, "nslookup", "-type=a", name, "127.0.0.11"]).run().success()
}

#[test]
fn names_are_answered_again_whichever_program_has_died() {
    let world = World::start();
    world.ok(&["network", "create", "yard"]);
    for name in ["one", "two"] {
        world.ok(&["run", "-d", "--name", name, "--network", "yard", "busybox", "sleep", "1000"]);
    }
    wait_until("names are answered", || finds(&world, "one", "two") && finds(&world, "two", "one.yard"));
    let kill = |program: &str| {
        let pid = world.pid_of(program).expect("it runs");
        let process = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
        kill_process(process, Signal::KILL).expect("kill it");
        wait_until("it is another", || world.pid_of(program).is_some_and(|now| now != pid));
    };
    kill("casemate-dns");
    wait_until("another resolver answers", || finds(&world, "one", "two"));
    kill("casemated");
    world.wait();
    assert!(finds(&world, "two", "one"), "the resolver knows what it knew");
    world.ok(&["run", "-d", "--name", "three", "--network", "yard", "busybox", "sleep", "1000"]);
    wait_until("another daemon says names", || {
        finds(&world, "one", "three") && finds(&world, "three", "one")
    });
    world.ok(&["rm", "-f", "one", "two", "three"]);
    world.ok(&["network", "rm", "yard"]);
    world.stop();
}
