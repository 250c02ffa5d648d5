//! `bench --engines`: `casemated` and dockerd side by side, asked by the same docker client for the same image.
//!
//! Both run while either is measured, and take turns within every round.

mod cases;
mod engine;
mod memory;
pub mod networks;
mod table;

use std::collections::BTreeMap;
use std::fs;

use crate::failure::{Doing as _, Outcome};
use crate::{setup, workspace};
use cases::Case;
use engine::Engine;
use table::Row;

/// Values by case and engine.
type Values = BTreeMap<(Case, &'static str), Vec<f64>>;

/// Measures, prints, and cleans up.
pub fn run(rounds: usize, build: bool, write: bool) -> Outcome {
    setup::packages(setup::ENGINES)?;
    let programs = if build { workspace::programs_under_test()? } else { workspace::programs() };
    let stage = workspace::scratch("bench-engines")?;
    let images = cases::Images::make(&stage)?;
    let ours = Engine::casemate(&stage, &programs)?;
    let peer = Engine::dockerd(&stage, false)?;
    let engines = [ours, peer];
    let measured = measure(&engines, &images, rounds);
    let [ours, peer] = engines;
    let stopped = ours.stop().and(peer.stop());
    fs::remove_dir_all(&stage).doing(stage.display())?;
    let values = measured?;
    stopped?;
    let rows = Case::ALL.map(|case| Row {
        name: case.name(),
        unit: case.unit(),
        wanted: case.wanted(),
        values: [engine::OURS, engine::PEER]
            .map(|name| values.get(&(case, name)).cloned().unwrap_or_default()),
    });
    table::show("engines", &rows, &format!("Medians of at most {rounds} rounds"), write)
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
