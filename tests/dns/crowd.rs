//! Many containers, and many questions. `$CASEMATE_LOAD` is for how many seconds each load lasts.

use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType::A;

use crate::rig::{Container, Rig, Server, exchange, question};

/// A hundred containers on one network.
fn crowd(rig: &Rig) -> Vec<Container> {
    let names: Vec<(String, String)> =
        (0..100).map(|number| (format!("c{number}"), format!("10.1.0.{}", number + 2))).collect();
    let addresses: Vec<[&str; 1]> = names.iter().map(|(_, address)| [address.as_str()]).collect();
    let names: Vec<(&str, &[&str])> =
        names.iter().zip(&addresses).map(|((name, _), address)| (name.as_str(), &address[..])).collect();
    rig.network(1, "front", &names);
    (0..100).map(|number| rig.container(100 + number, &[1], |_| ())).collect()
}

#[test]
fn a_hundred_containers_find_each_other() {
    let rig = Rig::new();
    let containers = crowd(&rig);
    for container in &containers {
        let socket = container.udp();
        for number in 0..100 {
            let asked = question(&format!("c{number}.front."), A).to_vec().expect("a packet");
            let answer = exchange(&socket, &asked).expect("an answer");
            assert_eq!(answer.answers[0].data.to_string(), format!("10.1.0.{}", number + 2));
        }
    }
}

/// Asks `rate` questions a second for `time`, each when it is due; how long the answers took, sorted.
fn load(containers: &[Container], name: &str, rate: u32, time: Duration) -> Vec<Duration> {
    let share = Duration::from_secs(1) * u32::try_from(containers.len()).expect("few") / rate;
    let mut all: Vec<Duration> = std::thread::scope(|scope| {
        let asking = containers.iter().map(|container| {
            scope.spawn(move || {
                let (socket, mut taken) = (container.udp(), Vec::new());
                let asked = question(name, A).to_vec().expect("a packet");
                let begun = Instant::now();
                let mut due = begun;
                while begun.elapsed() < time {
                    due += share;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let sent = Instant::now();
                    assert!(exchange(&socket, &asked).is_some());
                    taken.push(sent.elapsed());
                }
                taken
            })
        });
        let asking: Vec<_> = asking.collect();
        asking.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect()
    });
    all.sort_unstable();
    all
}

/// Prints how fast, and asserts only that everything is answered: how long that takes is the machine's matter.
#[test]
fn a_load_is_answered_whole() {
    let rig = Rig::new();
    let containers = crowd(&rig);
    let server = Server::usual(&rig.outside, "127.0.0.53");
    let outward = rig.container(90, &[1], |client| client.upstream = vec![server.address]);
    let time =
        Duration::from_secs(std::env::var("CASEMATE_LOAD").map_or(1, |text| text.parse().expect("seconds")));
    let cases = [
        ("ours, 8 containers", &containers[..8], "c7.", 5000),
        ("ours, 1 container, as fast as answers come", &containers[..1], "c7.", 1_000_000),
        ("ours, 8 containers, as fast as answers come", &containers[..8], "c7.", 1_000_000),
        ("others', 1 container", std::slice::from_ref(&outward), "www.example.org.", 500),
    ];
    for (what, containers, name, rate) in cases {
        let taken = load(containers, name, rate, time);
        let at = |share: usize| taken[(taken.len() - 1) * share / 1000];
        eprintln!(
            "{what}: {:.0}/s; median {:?}, 99 % {:?}, 99.9 % {:?}, longest {:?}",
            f64::from(u32::try_from(taken.len()).expect("few")) / time.as_secs_f64(),
            at(500),
            at(990),
            at(999),
            at(1000),
        );
    }
    eprintln!("{} KiB resident with 101 containers", rig.memory());
}
