//! The machine turns against the agent: a second agent, a stop of minutes, a clock that jumps ten years, memory and
//! descriptors that run out, a watch that tells nothing, a disk that is full, and programs of other versions.
//!
//! Each part has its own spool and gateway and checks both at its end: every record delivered once, in its session, or
//! where a person put it; nothing lost; and nothing that the agent must not touch touched. The parts mostly wait, so
//! some of them run side by side.
//!
//! [`agents`] two of them · [`stopped`] SIGSTOP, and the world goes on · [`clock`] jumps, and names written as if ·
//! [`memory`] a huge backlog in little of it · [`limits`] descriptors · [`watch`] overflow, no watch, replaced
//! directories · [`disk`] full, read-only · [`versions`] older, same and newer entries in every state.

mod agents;
mod clock;
mod disk;
mod inside;
mod limits;
mod memory;
mod stopped;
mod versions;
mod watch;

use spool_seeded::Bug;

use super::parts::{self, Part};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};

/// Parts at the same time.
const WIDE: usize = 5;

/// The longest first.
#[rustfmt::skip]
static PARTS: &[Part] = &[
    Part { name: "memory", sees: &[], quick: false, run: memory::run },
    Part { name: "stopped", sees: &[Bug::StaleAgent], quick: false, run: stopped::run },
    Part { name: "limits", sees: &[], quick: false, run: limits::run },
    Part { name: "watch", sees: &[], quick: false, run: watch::run },
    Part { name: "clock jumps", sees: &[], quick: false, run: clock::jumps },
    Part { name: "disk", sees: &[], quick: false, run: disk::run },
    Part { name: "clock names", sees: &[Bug::WallClockDue, Bug::DueIgnored, Bug::TmpSweepLive], quick: false, run: clock::from_names },
    Part { name: "replaced", sees: &[Bug::DoorbellOnly], quick: false, run: watch::replaced },
    Part { name: "agents", sees: &[Bug::NoLock], quick: true, run: agents::run },
    Part { name: "versions", sees: &[Bug::FutureDropped], quick: true, run: versions::run },
];

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let mut report = parts::run(ground, PARTS, WIDE)?;
    if !ground.hunts() {
        report.at_least("checks", 1000);
    }
    Ok(report)
}
