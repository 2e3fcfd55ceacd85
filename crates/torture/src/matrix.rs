//! The proof that the layers can fail: each seeded bug, hunted by the layers that must catch it.
//!
//! In CI a bug is hunted by the layers it is meant for; with `--full` by all of them, to show which see it too. The
//! table has a row for each bug and a column for each layer: `X` caught, `-` not seen, `!` must be caught and was not.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use spool_seeded::Bug;

use crate::command::{CAUGHT, Wish};
use crate::layer::Outcome;
use crate::layers::ALL;
use crate::work;

/// Hunts all bugs and prints the table.
pub(crate) fn run(wish: &Wish) -> Outcome<ExitCode> {
    let start = Instant::now();
    let mut hunts = Vec::new();
    let mut commands = Vec::new();
    for bug in Bug::all() {
        for layer in ALL {
            if bug.layers().contains(&layer.name) || wish.full {
                let mut command = wish.again(layer.name)?;
                command.arg("--bug").arg(bug.name());
                commands.push(command);
                hunts.push((bug, layer.name));
            }
        }
    }
    let cells: Mutex<BTreeMap<(&str, &str), char>> = Mutex::default();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    work::side_by_side(commands, cores, &|at, ended| {
        let Some((bug, layer)) = hunts.get(at) else { return };
        let is_due = bug.layers().contains(layer);
        let (cell, words) = match ended {
            Ok(output) if output.status.code() == Some(i32::from(CAUGHT)) => ('X', String::new()),
            Ok(output) => {
                let both = [output.stdout, output.stderr].concat();
                (if is_due { '!' } else { '-' }, String::from_utf8_lossy(&both).into_owned())
            }
            Err(error) => ('!', error.to_string()),
        };
        if cell == '!' {
            println!("matrix: NOT CAUGHT: {} by {layer}: {}", bug.name(), words.trim());
        }
        if let Ok(mut cells) = cells.lock() {
            cells.insert((bug.name(), layer), cell);
        }
    });
    let cells = cells.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    print(&cells);
    let caught = cells.values().filter(|cell| **cell == 'X').count();
    let missed = cells.values().filter(|cell| **cell == '!').count();
    let bugs = Bug::all()
        .filter(|bug| bug.layers().iter().any(|l| cells.get(&(bug.name(), *l)) == Some(&'X')))
        .count();
    println!(
        "matrix: {bugs} of {} bugs caught, {caught} cells, {missed} missed, {:.0} s",
        Bug::all().count(),
        start.elapsed().as_secs_f64()
    );
    Ok(if missed == 0 && caught > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(cells: &BTreeMap<(&str, &str), char>) {
    let used: Vec<&str> =
        ALL.iter().map(|layer| layer.name).filter(|layer| cells.keys().any(|(_, l)| l == layer)).collect();
    println!("{:<22} {}", "bug", used.join(" "));
    for bug in Bug::all() {
        let row: Vec<String> = used
            .iter()
            .map(|layer| {
                let cell = cells.get(&(bug.name(), layer)).copied().unwrap_or(' ');
                format!("{cell:<width$}", width = layer.len())
            })
            .collect();
        println!("{:<22} {}", bug.name(), row.join(" ").trim_end());
    }
}
