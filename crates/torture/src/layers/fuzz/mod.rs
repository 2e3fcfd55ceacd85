//! What parses, fed with everything: the targets of `crates/fuzz`, driven two ways.
//!
//! - By libFuzzer, which keeps what reaches new edges ([`engine`]): each target in a process of its own, as many at a
//!   time as there are cores. It works on a copy of the corpus in the scratch directory.
//! - In this process ([`hunt`]): the corpus as it is, then changed at random, without any coverage. This is what sees
//!   the seeded bugs, and without one it must find nothing.
//!
//! The fuzzer steps back where another layer wants the processor. `--full` gives it twenty minutes, the last four of
//! them with the address sanitizer: no line of ours is unsafe, some below us are.
//!
//! What counts as a violation: a panic (of what is fed, or of a promise in the target), a report of the sanitizer, more
//! memory than a gigabyte, ten seconds for one input. Each is said with the input, so that it can be fed again:
//! `SPOOL_FUZZ_TARGET=NAME cargo run -p spool-fuzz FILE`.

mod engine;
mod hunt;

use std::time::Duration;

use crate::ground::Ground;
use crate::layer::{Outcome, Report};

/// What the part in this process may take where there is no bug to hunt.
const REPLAY: Duration = Duration::from_secs(5);
/// What `--full` takes at least: some 10^8 inputs on two cores that do nothing else.
const FULL: Duration = Duration::from_secs(1200);
/// What a hunt may take.
const HUNT: Duration = Duration::from_secs(25);

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let mut report = Report::default();
    let room = room(ground)?;
    spool_fuzz::set_room(&room.path().join("here"));
    if ground.hunts() {
        hunt::run(ground, HUNT.min(ground.left()), &mut report)?;
        return Ok(report);
    }
    hunt::run(ground, REPLAY.min(ground.budget / 8), &mut report)?;
    report.at_least("inputs in process", 1_000);
    // This process is the layer's own, and what it starts inherits this.
    rustix::process::nice(5)?;
    let time = if ground.full { ground.left().max(FULL) } else { ground.left() };
    engine::run(ground, room.path(), time, &mut report)?;
    // A hundredth of what a quiet machine does.
    let seconds = time.as_secs();
    report.at_least("executions", 1_000 * seconds);
    if ground.full {
        report.at_least("ASan executions", 10 * seconds);
    }
    Ok(report)
}

/// Where targets that need files have them: in memory if that can be had, for they need them often.
fn room(ground: &Ground) -> Outcome<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("torture-fuzz-");
    Ok(builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir_in(&ground.scratch))?)
}

/// An input as it can be read and typed; what is long is cut.
fn printable(input: &[u8]) -> String {
    const SHOWN: usize = 600;
    let shown = input.get(..SHOWN).unwrap_or(input).escape_ascii();
    let rest = input.len().saturating_sub(SHOWN);
    if rest == 0 { format!("b\"{shown}\"") } else { format!("b\"{shown}\" and {rest} bytes more") }
}
