//! A hundred containers on one network, each of which finds all the others by their names.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use casemate_tests::engine::wait_patiently;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::World;
use crate::crowd::share;
use crate::inside::inside;
use crate::networks::inspect;

const COUNT: usize = 100;

fn name(number: usize) -> String {
    format!("co-{number}")
}

/// What a container is told of each of these names, by the address that its `resolv.conf` has; none where one is not answered.
fn look_up(pid: &str, names: &[String]) -> Option<Vec<Vec<Ipv4Addr>>> {
    inside(pid, || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        socket.connect("127.0.0.11:53").expect("a way");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("patience");
        names.iter().enumerate().map(|(number, name)| ask(&socket, number, name)).collect()
    })
}

fn ask(socket: &UdpSocket, number: usize, name: &str) -> Option<Vec<Ipv4Addr>> {
    let id = u16::try_from(number).expect("small");
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(Name::from_ascii(format!("{name}.")).expect("a name"), RecordType::A));
    socket.send(&message.to_vec().expect("a packet")).ok()?;
    let mut bytes = [0; 1500];
    let read = socket.recv(&mut bytes).ok()?;
    let answer = Message::from_vec(&bytes[..read]).expect("a message");
    assert_eq!(answer.metadata.id, id, "{name}");
    let addresses = answer.answers.iter().filter_map(|record| match &record.data {
        RData::A(address) => Some(address.0),
        _ => None,
    });
    Some(addresses.collect())
}

#[test]
fn a_hundred_find_each_other_by_name() {
    let mut world = World::start();
    world.ok(&["network", "create", "crowd"]);
    // Each serves its name, and fetches that of the one after it by that one's name.
    let script = "echo $0 >/tmp/index.html; httpd -p 80 -h /tmp; \
        until timeout 5 wget -q -O /tmp/next http://$1/; do sleep 0.2; done; cat /tmp/next; \
        trap 'exit 0' TERM; mkfifo /tmp/f; read x <>/tmp/f";
    share(COUNT, |number| {
        let (own, next) = (name(number), name((number + 1) % COUNT));
        let words = ["run", "-d", "--network", "crowd", "--memory", "16m", "--name", &own, "busybox"];
        let words = [&words[..], &["sh", "-c", script, &own, &next]].concat();
        world.docker(words).timeout(Duration::from_secs(60)).run().ok();
    });
    let template = "{{.Name}} {{.State.Pid}} {{.NetworkSettings.Networks.crowd.IPAddress}}";
    let all: Vec<String> = (0..COUNT).map(name).collect();
    let words = ["inspect", "--format", template].map(str::to_owned);
    let shown = world.docker(words.iter().chain(&all)).run().ok().text();
    let rows: BTreeMap<&str, (&str, Ipv4Addr)> = shown
        .lines()
        .filter_map(|line| {
            let [name, pid, address] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
            Some((name.trim_start_matches('/'), (pid, address.parse().ok()?)))
        })
        .collect();
    let addresses: std::collections::BTreeSet<Ipv4Addr> =
        rows.values().map(|(_, address)| *address).collect();
    assert_eq!((rows.len(), addresses.len()), (COUNT, COUNT), "{shown}");

    let expected: Vec<Vec<Ipv4Addr>> = all.iter().map(|name| vec![rows[name.as_str()].1]).collect();
    let told = |number: usize| look_up(rows[name(number).as_str()].0, &all);
    share(COUNT, |number| assert_eq!(told(number).as_ref(), Some(&expected), "{number}"));
    for number in 0..COUNT {
        let next = name((number + 1) % COUNT);
        let mut said = String::new();
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while said != next {
            assert!(std::time::Instant::now() < until, "{} fetched {said:?}, not {next}", name(number));
            said = world.docker(["logs", &name(number)]).run().ok().text();
        }
    }
    let members = world.ok(&["network", "inspect", "--format", "{{len .Containers}}", "crowd"]);
    assert_eq!(members, COUNT.to_string());

    // Whoever answers has ended, and so has who told it: all of it is known again.
    let resolver = world.pid_of("casemate-dns").expect("the resolver");
    let resolver = i32::try_from(resolver).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(resolver, rustix::process::Signal::KILL).expect("killed");
    world.crash_daemon();
    share(COUNT, |number| {
        wait_patiently("all is answered again", || told(number).as_ref() == Some(&expected))
    });

    assert_eq!(inspect(&world, "co-50", "{{.State.Status}}"), "running");
    let words = ["rm", "-f"].map(str::to_owned);
    world.docker(words.iter().chain(&all)).timeout(Duration::from_secs(120)).run().ok();
    world.ok(&["network", "rm", "crowd"]);
    world.stop();
}
