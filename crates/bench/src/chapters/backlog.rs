//! `backlog`: a put with its flushes while ever more records wait in `new/`.
//!
//! The directory grows in one spool per size; what waits is written without flushes, as fast as it goes, and is no part of
//! the measurement. A million names take some minutes to make, so the quick form stops at a hundred thousand.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use spooldir::{Dir, Id, Spool};

use crate::bench::{Bench, Outcome};
use crate::chapters::record;
use crate::checks::{Aim, Check};
use crate::plot::{Axis, Lines, Series};
use crate::report::{Chapter, Findings};
use crate::rounds::{Contest, Effort, timed};

/// See the head of this file.
pub const CHAPTER: Chapter =
    Chapter { name: "backlog", about: "a synced put with 10^3 to 10^6 pending", run };

/// Names in `new/` as producers leave them, without a flush. Each is a file of its own, for a shared one would be none
/// to the reader.
fn fill(dir: &Path, count: usize) -> Outcome<()> {
    for _ in 0..count {
        let mut file = std::fs::OpenOptions::new();
        drop(file.write(true).create_new(true).mode(0o600).open(dir.join(format!("{}.json", Id::mint())))?);
    }
    Ok(())
}

fn run(bench: &Bench) -> Outcome<Findings> {
    let mut findings = Findings::default();
    let sizes = bench.pick(&[1_000, 10_000, 100_000, 1_000_000][..], &[1_000, 30_000][..]);
    let record = record();
    let mut spools = Vec::new();
    for size in sizes {
        let spool = Spool::create(&bench.place.fresh("backlog")?)?;
        fill(&spool.dir(Dir::New), *size)?;
        // What fills it is on the disk before anything is measured, and no part of it.
        rustix::fs::syncfs(std::fs::File::open(spool.root())?)?;
        spools.push((format!("{size} pending"), *size, spool));
    }
    let mut contest = Contest::new();
    for (name, _, spool) in &spools {
        let record = &record;
        contest.enter(name.as_str(), move |_| {
            timed(10, |_| Ok(spool.publish(&Id::mint(), record, true).map(drop)?))
        });
    }
    let rounds = contest.run(Effort::of(bench, 60, 10), bench.chance("backlog"))?;
    let Some((least, ..)) = spools.first() else { return Err("there are no sizes".into()) };
    findings.table(rounds.table("cost", "A synced put by the library", least)?);
    let mut points = Vec::new();
    for (name, size, _) in &spools {
        points.push((*size as f64, rounds.cost(name)?.median));
    }
    findings.plot(Lines {
        name: "cost".to_owned(),
        title: "Cost of a synced put against records pending".to_owned(),
        x: Axis::log("records pending"),
        y: Axis::even("µs a put (median)"),
        series: vec![Series { name: "Spool::publish".to_owned(), points }],
    });
    if let Some((most, ..)) = spools.last() {
        let ratio = rounds.cost_ratio(most, least)?.median;
        let name = format!("synced put, {most} / {least}");
        findings.check(Check::new(name, Aim::AtMost(1.2), ratio).limit(Aim::AtMost(4.0)));
    }
    Ok(findings)
}
