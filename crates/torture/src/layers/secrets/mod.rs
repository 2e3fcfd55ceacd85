//! A canary token, a canary key and a canary text on every way through the programs: none of them may come out where it
//! does not belong.
//!
//! - [`paths`]: the agent with good, refused, wrong and missing credentials, against gateways that repeat what they got,
//!   at the most talkative level there is; every verb of every program. Afterwards every byte of every output and of
//!   every file is searched; only the token's own file, the device's key and the device's token may hold one.
//! - [`abroad`]: the token goes to this machine or nowhere; it follows no redirect and stands in no address.
//! - [`dumps`]: a crash leaves no core, and no other process of the same user may look into the agent.
//! - [`strangers`]: names of sessions and texts that try to reach another session, to be a command, or to leave their
//!   fence.

mod abroad;
mod dumps;
mod paths;
mod search;
mod strangers;

use spool_seeded::Bug;

use super::parts::{self, Part};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};

/// The longest first.
#[rustfmt::skip]
static PARTS: &[Part] = &[
    Part { name: "paths", sees: &[Bug::TokenInLog, Bug::TokenInStatus, Bug::TextInJournal], quick: true, run: paths::run },
    Part { name: "abroad", sees: &[Bug::TokenAbroad], quick: false, run: abroad::run },
    Part { name: "strangers", sees: &[Bug::SlashFirst, Bug::FixedFence], quick: true, run: strangers::run },
    Part { name: "dumps", sees: &[Bug::DumpsCore], quick: true, run: dumps::run },
];

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let mut report = parts::run(ground, PARTS, PARTS.len())?;
    if !ground.hunts() {
        report.at_least("checks", 500);
        report.at_least("files searched", 50);
    }
    Ok(report)
}
