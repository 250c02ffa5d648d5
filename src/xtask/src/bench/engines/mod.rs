//! `bench --engines`: `casemated` and dockerd side by side, asked by the same docker client for the same image.
//!
//! Both run while either is measured, and take turns within every round.

mod cases;
mod engine;
mod memory;

use std::collections::BTreeMap;
use std::fs;

use crate::bench::sample::median;
use crate::failure::{Doing as _, Failure, Outcome};
use crate::{setup, workspace};
use cases::Case;
use engine::Engine;

const BEGIN: &str = "<!-- engines: begin -->";
const END: &str = "<!-- engines: end -->";

/// Values by case and engine.
type Values = BTreeMap<(Case, &'static str), Vec<f64>>;

/// Measures, prints, and cleans up.
pub fn run(rounds: usize, build: bool, write: bool) -> Outcome {
    setup::packages(setup::ENGINES)?;
    let programs = if build { workspace::programs_under_test()? } else { workspace::programs() };
    let stage = workspace::scratch("bench-engines")?;
    let images = cases::Images::make(&stage)?;
    let ours = Engine::casemate(&stage, &programs)?;
    let peer = Engine::dockerd(&stage)?;
    let engines = [ours, peer];
    let measured = measure(&engines, &images, rounds);
    let [ours, peer] = engines;
    let stopped = ours.stop().and(peer.stop());
    fs::remove_dir_all(&stage).doing(stage.display())?;
    let values = measured?;
    stopped?;
    let table = table(&values, rounds);
    print!("{table}");
    if write { put(&table) } else { Ok(()) }
}

fn measure(engines: &[Engine; 2], images: &cases::Images, rounds: usize) -> Outcome<Values> {
    let mut values = Values::new();
    for engine in engines {
        images.import(engine)?;
        values.insert((Case::Idle, engine.name), vec![memory::idle(engine)?]);
    }
    for case in Case::TIMED {
        for round in 0..case.rounds(rounds) {
            eprint!("\r{:<40} round {} of {} ", case.name(), round + 1, case.rounds(rounds));
            for turn in 0..engines.len() {
                let engine = &engines[(turn + round) % engines.len()];
                values.entry((case, engine.name)).or_default().push(case.measure(engine, images)?);
            }
        }
        eprintln!();
    }
    for engine in engines {
        let crowd = cases::Crowd::gather(engine)?;
        values.insert((Case::PerContainer, engine.name), vec![memory::per_container(engine)?]);
        let listed = (0..rounds.max(5)).map(|_| crowd.list()).collect::<Outcome<Vec<f64>>>();
        crowd.dismiss()?;
        values.insert((Case::List, engine.name), listed?);
    }
    Ok(values)
}

fn table(values: &Values, rounds: usize) -> String {
    let mut text =
        "| case | casemated | dockerd | casemated/dockerd | wanted |\n|---|---|---|---|---|\n".to_owned();
    for case in Case::ALL {
        let of = |name| values.get(&(case, name)).and_then(|values| median(values));
        let (Some(ours), Some(peer)) = (of(engine::OURS), of(engine::PEER)) else { continue };
        let row = format!(
            "| {}, {} | {ours:.1} | {peer:.1} | {:.2} | {} |\n",
            case.name(),
            case.unit(),
            ours / peer,
            case.wanted()
        );
        text.push_str(&row);
    }
    let kernel = rustix::system::uname();
    text + &format!(
        "\nMedians of at most {rounds} rounds on Linux {}; docker client {}, dockerd {}.\n",
        kernel.release().to_string_lossy(),
        engine::version(&["docker", "--version"]),
        engine::version(&["dockerd", "--version"]),
    )
}

fn put(table: &str) -> Outcome {
    let file = workspace::root().join("docs/performance.md");
    let page = fs::read_to_string(&file).doing(file.display())?;
    let missing = |mark| Failure::new(file.display(), format!("no line {mark}"));
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| missing(BEGIN))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
    fs::write(&file, format!("{before}{BEGIN}\n{table}{END}{after}")).doing(file.display())
}
