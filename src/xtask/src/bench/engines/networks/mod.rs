//! `bench --networks`: the networks of `casemated` beside dockerd's, asked by the same docker client, under the same load.
//!
//! Each has a host to itself, which is a network namespace: what dockerd writes into iptables is in nobody's way, and gone
//! with it. They take turns.

mod api;
mod case;
mod load;
mod names;
mod place;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::cases::{SMALL, busybox, import};
use super::engine::{self, Engine};
use super::table::{self, Row};
use crate::command;
use crate::failure::{Doing as _, Outcome};
use crate::{setup, workspace};
use case::Case;
use load::Server;
use place::{HOST, Place, Space};

/// Turns of each engine, at most.
const TURNS: usize = 3;
/// How often the quick ones are measured in one turn.
const EACH: usize = 7;
/// The same of traffic.
const STREAMS: usize = 3;
/// Names of what is made on an engine.
const NETWORK: &str = "bench-net";
const SECOND: &str = "bench-second";
const SERVER: &str = "bench-server";
const CLIENT: &str = "bench-client";
const GUEST: &str = "bench-guest";
/// In the container, and on the host.
const PORT: u16 = 8080;
const PUBLISHED: u16 = 18080;

/// Values by case and engine.
type Values = BTreeMap<(Case, &'static str), Vec<f64>>;

/// Measures, prints, and cleans up.
pub fn run(rounds: usize, build: bool, write: bool) -> Outcome {
    setup::packages(setup::NETWORKS)?;
    let programs = if build { workspace::programs_under_test()? } else { workspace::programs() };
    let stage = workspace::scratch("bench-networks")?;
    let image = busybox(&stage.join("rootfs"))?;
    let turns = rounds.min(TURNS);
    let mut values = Values::new();
    let measured = (0..turns * 2).try_for_each(|turn| {
        // Ours, theirs, theirs, ours: neither is always the one after the other.
        let name = if matches!(turn % 4, 0 | 3) { engine::OURS } else { engine::PEER };
        eprintln!("{name}, turn {} of {turns}", turn / 2 + 1);
        on_a_host(name, &stage, &programs, &image, &mut values)
    });
    fs::remove_dir_all(&stage).doing(stage.display())?;
    measured?;
    let rows = Case::ALL.map(|case| Row {
        name: case.name(),
        unit: case.unit(),
        wanted: case.wanted(),
        values: [engine::OURS, engine::PEER].map(|name| values.remove(&(case, name)).unwrap_or_default()),
    });
    table::show("networks", &rows, &format!("Medians of {turns} turns of each"), write)
}

/// One turn of one engine.
fn on_a_host(name: &str, stage: &Path, programs: &Path, image: &Path, values: &mut Values) -> Outcome {
    let place = Place::enter()?;
    let started = match name {
        engine::OURS => Engine::casemate(stage, programs),
        _ => Engine::dockerd(stage, true),
    };
    let measured = started.and_then(|engine| {
        let measured = import(&engine, image).and_then(|()| measure(&engine, &place, values));
        let gone = measured.and(clear(&engine));
        gone.and(engine.stop())
    });
    measured.and(place.leave())
}

fn measure(engine: &Engine, place: &Place, values: &mut Values) -> Outcome {
    let mut keep = |case, some: Vec<f64>| values.entry((case, engine.name)).or_default().extend(some);
    engine.time(&["network", "create", NETWORK])?;
    engine.time(&["network", "create", SECOND])?;
    let run = ["run", "--rm", SMALL, "true"];
    let named = ["run", "--rm", "--net", NETWORK, SMALL, "true"];
    // The first of each makes what the others find.
    for (case, words) in [(Case::Run, &run[..]), (Case::RunNamed, &named[..])] {
        engine.time(words)?;
        keep(case, (0..EACH).map(|_| engine.time(words)).collect::<Outcome<_>>()?);
    }
    let published = format!("0.0.0.0:{PUBLISHED}:{PORT}");
    for (name, flags) in [(SERVER, &["--publish", published.as_str()][..]), (CLIENT, &[])] {
        let start = [&["run", "--detach", "--net", NETWORK, "--name", name], flags, &[SMALL, "sleep", "600"]];
        engine.time(&start.concat())?;
    }
    let connect = || {
        let taken = engine.time(&["network", "connect", SECOND, CLIENT])?;
        engine.time(&["network", "disconnect", SECOND, CLIENT]).map(|_| taken)
    };
    keep(Case::Connect, (0..EACH).map(|_| connect()).collect::<Outcome<_>>()?);
    // To as many networks: a disconnect just before would have its share of the next connect.
    let others: Vec<String> = (0..EACH).map(|number| format!("{SECOND}-{number}")).collect();
    others.iter().try_for_each(|name| engine.time(&["network", "create", name]).map(drop))?;
    engine.time(&["run", "--detach", "--net", NETWORK, "--name", GUEST, SMALL, "sleep", "600"])?;
    keep(Case::Connecting, api::connect(engine, &others, GUEST)?);
    engine.time(&["rm", "--force", GUEST])?;
    let (server, client) = (space(engine, SERVER)?, space(engine, CLIENT)?);
    let listening = Server::start(&server, PORT)?;
    let outside = SocketAddr::from((HOST, PUBLISHED));
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, PUBLISHED));
    let between = SocketAddr::from((address(engine, SERVER)?, PORT));
    for _ in 0..STREAMS {
        keep(Case::OutsideRate, vec![load::rate(place.outside(), outside)?]);
        keep(Case::OutsideConnections, vec![load::connections(place.outside(), outside)?]);
        keep(Case::LocalRate, vec![load::rate(place.host(), local)?]);
        keep(Case::LocalConnections, vec![load::connections(place.host(), local)?]);
        keep(Case::BetweenRate, vec![load::rate(&client, between)?]);
        keep(Case::BetweenTrip, vec![load::round_trip(&client, between)?]);
    }
    drop(listening);
    let names = names::ask(&client, SERVER)?;
    keep(Case::NamesMedian, vec![names.median]);
    keep(Case::NamesSlowest, vec![names.slowest]);
    Ok(())
}

/// Whatever of it there is.
fn clear(engine: &Engine) -> Outcome {
    let all = command::output(&mut engine.docker(&["ps", "--all", "--quiet"]))?;
    let all: Vec<&str> = all.lines().collect();
    if !all.is_empty() {
        engine.time(&[&["rm", "--force"], &all[..]].concat())?;
    }
    engine.time(&["network", "prune", "--force"]).map(drop)
}

fn inspect(engine: &Engine, container: &str, format: &str) -> Outcome<String> {
    let said = command::output(&mut engine.docker(&["inspect", "--format", format, container]))?;
    Ok(said.trim().to_owned())
}

fn space(engine: &Engine, container: &str) -> Outcome<Space> {
    Space::of(inspect(engine, container, "{{.State.Pid}}")?)
}

fn address(engine: &Engine, container: &str) -> Outcome<Ipv4Addr> {
    let format = format!("{{{{(index .NetworkSettings.Networks \"{NETWORK}\").IPAddress}}}}");
    inspect(engine, container, &format)?.parse().doing(container)
}
