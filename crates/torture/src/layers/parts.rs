//! Layers of many parts that mostly wait: some of them run side by side, each with a report of its own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use spool_seeded::Bug;

use crate::ground::Ground;
use crate::layer::{Outcome, Report};

/// A part of a layer.
pub(super) struct Part {
    pub(super) name: &'static str,
    /// The bugs it can see.
    pub(super) sees: &'static [Bug],
    /// Whether it is quick enough to look for the bugs of other layers.
    pub(super) quick: bool,
    pub(super) run: fn(&Ground, &mut Report) -> Outcome<()>,
}

/// Runs all parts, so many at a time; with a bug alive only those that can see it.
pub(super) fn run(ground: &Ground, all: &[Part], wide: usize) -> Outcome<Report> {
    let is_ours = |bug: Bug| all.iter().any(|part| part.sees.contains(&bug));
    let parts: Vec<&Part> = match ground.bug {
        Some(bug) if is_ours(bug) => all.iter().filter(|part| part.sees.contains(&bug)).collect(),
        Some(_) => all.iter().filter(|part| part.quick).collect(),
        None => all.iter().collect(),
    };
    let whole = Mutex::new(Report::default());
    let failed = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..wide.min(parts.len()) {
            scope.spawn(|| {
                while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let mut report = Report::default();
                    let ended = (part.run)(ground, &mut report);
                    report.count("parts", 1);
                    report.fact(format!("{}: {:.1} s", part.name, start.elapsed().as_secs_f64()));
                    if let Ok(mut whole) = whole.lock() {
                        whole.absorb(report);
                    }
                    if let (Err(e), Ok(mut failed)) = (ended, failed.lock()) {
                        failed.push(format!("{}: {e}", part.name));
                    }
                }
            });
        }
    });
    let mut whole = whole.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let failed = failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    match failed.first() {
        // What was found counts, whatever else did not work.
        Some(_) if whole.violated() > 0 => whole.fact(format!("could not be done: {}", failed.join("; "))),
        Some(_) => return Err(failed.join("; ").into()),
        None => {}
    }
    if !ground.hunts() {
        whole.at_least("parts", parts.len() as u64);
    }
    Ok(whole)
}
