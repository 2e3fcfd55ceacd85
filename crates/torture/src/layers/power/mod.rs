//! The power goes, at every system call.
//!
//! The scenes of [`super::scenes`], played on real file systems (ext4 and xfs, each a lane of its own) whose power is
//! cut while the program stands at a chosen entry or exit of a system call. The file system forgets what it had not
//! written, log included; it is mounted again, and with that recovers; and then the scene goes on as after a kill: what
//! was accepted is there, whole, whatever can be seen is whole, the producer tries again with the same id, agents
//! deliver, runs are reported.
//!
//! Where the program is a producer, each point is played a second way: the program is killed there, the producer tries
//! again and is told yes, and only then the power goes. So what the first one left unflushed must be made up for by the
//! second.
//!
//! What this cannot show: a disk that lies about flushes, and orders of writing that these file systems do not take.
//! For the second there are the layers that make up their own disks.

mod lane;
mod play;

use std::sync::atomic::AtomicBool;
use std::thread;

use self::lane::Lane;
use super::disk::{self, Kind};
use crate::ground::{Ground, is_ci};
use crate::layer::{Outcome, Report};

/// The file systems whose power can be cut.
const KINDS: [Kind; 2] = [Kind::Ext4, Kind::Xfs];

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let mut report = Report::default();
    if let Some(missing) = disk::missing(&KINDS) {
        if is_ci() {
            return Err(missing.into());
        }
        report.fact(format!("skipped: {missing}"));
        return Ok(report);
    }
    let images = disk::private_mounts(&ground.scratch)?;
    let (at, is_over) = (images.at.as_path(), &AtomicBool::new(false));
    let found: Vec<Outcome<Report>> = thread::scope(|scope| {
        let lanes: Vec<_> = KINDS
            .into_iter()
            .map(|kind| scope.spawn(move || Lane::new(ground, kind, at, is_over)?.run()))
            .collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|_| Err("a lane has panicked".into())))
            .collect()
    });
    for found in found {
        report.absorb(found?);
    }
    if !ground.hunts() {
        report.at_least("cuts", 100);
    }
    Ok(report)
}
