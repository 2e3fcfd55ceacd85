//! What a disk may hold after a crash, on real file systems.
//!
//! The layer `power` cuts the power and takes what the file system has written by then, in the order it chose. A real
//! disk has a cache, and may at that moment have any part of what came after the last flush, torn within a write. So
//! here the disk is ours ([`platter`]): scenes are played on ext4, xfs and btrfs on top of it, it writes down what it is
//! asked to do, and from that log images of what may be left are made ([`crash`]): thousands where `power` has one a
//! point. Each is mounted, which has the file system recover, and judged as after a cut: what was accepted when the
//! crash came is there, whole, and nothing can be seen in part; and for some of them the world goes on.
//!
//! What this cannot show: a disk that lies about flushes. An image that its own file system refuses to mount is
//! counted; what the spool promises, it promises on a file system that comes back.

mod crash;
mod lane;
mod platter;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use self::lane::Lane;
use super::disk::{self, Kind};
use crate::ground::{Ground, is_ci};
use crate::layer::{Outcome, Report};

const KINDS: [Kind; 3] = [Kind::Btrfs, Kind::Xfs, Kind::Ext4];
/// File systems that are worked on at a time: there are few loop devices.
const AT_ONCE: usize = 2;

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let mut report = Report::default();
    let missing = disk::missing(&KINDS)
        .or_else(|| (!Path::new("/dev/fuse").exists()).then(|| "there is no /dev/fuse".to_owned()));
    if let Some(missing) = missing {
        if is_ci() {
            return Err(missing.into());
        }
        report.fact(format!("skipped: {missing}"));
        return Ok(report);
    }
    let images = disk::private_mounts(&ground.scratch)?;
    let is_over = AtomicBool::new(false);
    let kinds = Mutex::new(VecDeque::from(KINDS));
    let next = || kinds.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let found: Vec<Outcome<Report>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    let mut report = Report::default();
                    while let Some(kind) = next() {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        report.absorb(Lane::new(ground, kind, &images.at, &is_over)?.run()?);
                    }
                    Ok(report)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err("a worker has panicked".into())))
            .collect()
    });
    for found in found {
        report.absorb(found?);
    }
    if !ground.hunts() {
        report.at_least("images", 300);
    }
    Ok(report)
}
