//! Errors of the disk: every call about the spool fails once in every way it can, comes back short, or finds the disk full.
//!
//! - [`calls`]: each call about the spool, in each scene, fails once with each errno it can give ([`rules`]); each read
//!   and write is cut short. The program then carries on or ends with the number for that errno; what it said is kept,
//!   what it did not say is absent or whole; trying again afterwards succeeds; nobody is dead for an error of ours, and
//!   nothing was sent twice. A witness of all flushes sees to it that a yes stands on flushes that succeeded, and that
//!   a file whose flush failed is thrown away ([`witness`]).
//! - [`lasting`]: a living agent for which a kind of call fails for some time: it neither spins nor gives up, and comes
//!   back.
//! - [`full`]: the disk is full, of blocks or of inodes, from each call on; and what must work on a full disk.

mod calls;
mod full;
mod lasting;
mod rules;
mod witness;

use spool_seeded::Bug;

use super::kill::Work;
use super::scenes;
use crate::ground::Ground;
use crate::layer::{Outcome, Report};

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let work = Work::new(ground)?;
    match ground.bug {
        Some(bug) => {
            for scene in scenes::named(seen_in(bug)) {
                calls::run(&work, scene)?;
            }
        }
        None => whole(&work)?,
    }
    Ok(work.into_report())
}

/// Where a bug can be seen.
fn seen_in(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::FsyncRetry
        | Bug::WriteErrorIgnored
        | Bug::ShortWrite
        | Bug::DirsyncErrorIgnored
        | Bug::LeavesTmp => &["put"],
        _ => &["put", "drain-one"],
    }
}

fn whole(work: &Work<'_>) -> Outcome<()> {
    // The agents that must come back mostly wait: beside the rest.
    std::thread::scope(|scope| {
        let lasting = scope.spawn(|| lasting::run(work));
        let rest = full::run(work).and_then(|()| {
            for scene in scenes::all() {
                let start = std::time::Instant::now();
                calls::run(work, scene)?;
                work.with(|report| {
                    report.fact(format!("{}: {:.1} s", scene.name, start.elapsed().as_secs_f64()));
                });
            }
            Ok(())
        });
        let lasting = lasting.join().unwrap_or_else(|_| Err("a thread panicked".into()));
        rest.and(lasting)
    })?;
    work.with(|report| {
        report.at_least("calls that failed", 700);
        report.at_least("calls cut short", 40);
        report.at_least("agents that came back", 3);
    });
    Ok(())
}
