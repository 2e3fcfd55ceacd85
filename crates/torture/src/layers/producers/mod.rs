//! Hostile producers, as the same and as another user.
//!
//! A spool is read as a stranger's. Each named case (see `cases/`) leaves something in it that a producer should not
//! leave, once as the agent's own user and once as another one, and beside each an honest record for a session of its
//! own. Many cases share one real agent and one fake gateway. Then every piece must be where `spool-format.md` has it,
//! with its bytes; every honest record must have arrived, once; and in all of it
//!
//! - no word of a record is in another session, no secret at the gateway, and nothing beside the spool has changed;
//! - the agent lives, with as many descriptors as before, and has never held much memory;
//! - what the commands and the log show can be shown: no control character, no forged line;
//! - the audit holds.
//!
//! Then what no single file shows: floods of them (`floods.rs`), files that change while they are looked at (`races.rs`)
//! and directories that are open to others (`doors.rs`).

mod bench;
mod case;
mod cases;
mod doors;
mod floods;
mod judge;
mod plant;
mod races;
mod round;

use spool_seeded::Bug;

use crate::ground::{Ground, is_ci, is_root};
use crate::layer::{Outcome, Report};

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let mut report = Report::default();
    if !is_root() {
        if is_ci() {
            return Err("another user's files need root; run it as root".into());
        }
        report.fact("skipped: what another user plants, devices and locked files (they need root)");
    }
    let named = ground.bug.map(hunted);
    for by_other in [false, true] {
        let is_seen_by_other = ground.bug == Some(Bug::ForeignOwnerOk);
        if (by_other && !is_root()) || (ground.hunts() && by_other != is_seen_by_other) {
            continue;
        }
        report.absorb(round::play(ground, by_other, named)?);
    }
    if !ground.hunts() {
        report.absorb(doors::play(ground)?);
        report.absorb(races::play(ground)?);
        report.absorb(floods::play(ground)?);
        report.at_least("cases", 150);
        if is_root() {
            report.at_least("cases by another user", 150);
        }
    }
    Ok(report)
}

/// The cases that can see a bug; all of them when it is none of ours.
fn hunted(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::FollowSymlink => &["symlink to a good record", "symlink to a secret"],
        Bug::HardlinkOk => &["hardlink to a file elsewhere", "hardlinks, two in new and one elsewhere"],
        Bug::ForeignOwnerOk => &["id is not the name", "version null"],
        Bug::SpecialOpened => &["fifo without a writer"],
        Bug::SizeUnchecked => &["sparse file of 64 MB", "one byte over the limit"],
        Bug::IntakeClobber => &["id of a waiting neighbour, other bytes"],
        Bug::DropDead | Bug::DeadWithoutReason => &["plain words", "cut in a key", "garbage in sending"],
        Bug::FutureDropped => &["version 2", "version 2^63"],
        Bug::DuplicateMembers => &["text twice", "session twice", "key twice in what nobody knows"],
        Bug::ControlsPass => &["colours", "right to left", "zero-width"],
        Bug::FixedFence => &["our fence, fixed"],
        Bug::SlashFirst => &["slash first"],
        Bug::DeepJson => &["depth 33", "depth 100"],
        Bug::QuotedKey => &["the key of a delivery", "keys in every shape"],
        _ => &[],
    }
}
