//! `start`: the agent's start on a backlog, and what it remembers of one.
//!
//! A start must not open what it finds. So from the start of the process to its first delivery on the wire is compared
//! with a process that only lists the directory; the first delivery takes a listing, a few opened files and a
//! connection. And the memory of an agent whose gateway is away, once it has taken in all that it remembers.

use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use spooldir::Spool;

use crate::bench::{Bench, Outcome};
use crate::checks::{Aim, Check};
use crate::lean::{self, Pace};
use crate::plot::{Axis, Lines, Plot, Series};
use crate::report::{Chapter, Findings, Table, number};
use crate::roles::{Alive, LIMIT, fill, memory, ran, role};
use crate::rounds::Spread;

/// See the head of this file.
pub const CHAPTER: Chapter =
    Chapter { name: "start", about: "the start on a backlog, and the memory it takes", run };

/// How many pending entries an agent remembers at once.
const KNOWN: usize = 229_376;

/// From the start of the process to the first frame of a delivery.
fn first_delivery(dir: &Path) -> Outcome<Duration> {
    let (tell, told) = mpsc::channel();
    // It never answers a delivery, so that the backlog stays.
    let never = Pace { each: LIMIT, ..Pace::default() };
    let port = lean::start(never, Some(tell))?.port().to_string();
    let mut command = role(&["resident", &port, "1"], &[dir])?;
    let start = Instant::now();
    let _agent = Alive { child: command.stdin(Stdio::piped()).spawn()? };
    let arrival = told.recv_timeout(LIMIT)?;
    Ok(arrival.at.duration_since(start))
}

/// Memory of an agent that has taken in what it can, KiB.
fn remembered(dir: &Path, records: usize) -> Outcome<u64> {
    let spool = Spool::create(dir)?;
    let mut command = role(&["resident", "1", "1"], &[dir])?;
    let agent = Alive { child: command.stdin(Stdio::piped()).spawn()? };
    let pid = agent.child.id().to_string();
    let deadline = Instant::now() + LIMIT;
    // It says of itself that it is there when its first turn is over.
    let is_there = || spool_drain::status::read(&spool).is_some_and(|status| status.pid.to_string() == pid);
    let wanted = records.min(KNOWN);
    let mut read = Journal::default();
    while !is_there() || read.accepted(&spool)? < wanted {
        if Instant::now() > deadline {
            return Err(format!("only {} of {wanted} records were taken in", read.lines).into());
        }
        // It is the processor of somebody who works; the next look is soon enough.
        std::thread::park_timeout(Duration::from_millis(20));
    }
    memory(&pid, "VmRSS")
}

/// The lines that the journal has got so far.
#[derive(Default)]
struct Journal {
    lines: usize,
    at: u64,
}

impl Journal {
    fn accepted(&mut self, spool: &Spool) -> Outcome<usize> {
        use std::io::{Read, Seek, SeekFrom};
        for path in spool.journal_files()? {
            let mut file = std::fs::File::open(path)?;
            file.seek(SeekFrom::Start(self.at))?;
            let mut text = Vec::new();
            self.at += file.read_to_end(&mut text)? as u64;
            self.lines += text.windows(8).filter(|window| window == b"\"accept\"").count();
        }
        Ok(self.lines)
    }
}

fn run(bench: &Bench) -> Outcome<Findings> {
    let mut findings = Findings::default();
    let sizes = bench.pick(&[1_000, 10_000, 100_000, 1_000_000][..], &[1_000, 20_000][..]);
    let mut table = Table::new(
        "start",
        "Start on a backlog (one lane for each ten records)",
        &[
            "pending",
            "only listed, ms",
            "first delivery on the wire, ms",
            "ratio",
            "memory, KiB",
            "B a record",
        ],
    );
    let mut series =
        ["only listed", "first delivery"].map(|name| Series { name: name.to_owned(), points: Vec::new() });
    let empty = remembered(&bench.place.fresh("start")?, 0)?;
    let mut last = (0.0, 0.0);
    for size in sizes {
        let dir = bench.place.fresh("start")?;
        fill(&dir, *size, size / 10)?;
        let (mut listed, mut first, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.pick(5, 3) {
            let start = Instant::now();
            ran(role(&["list"], &[&dir])?)?;
            let list = start.elapsed().as_secs_f64() * 1e3;
            let wire = first_delivery(&dir)?.as_secs_f64() * 1e3;
            // What it had taken goes back, so that the next one starts like this one.
            put_back(&dir)?;
            listed.push(list);
            first.push(wire);
            ratios.push(wire / list);
        }
        let (listed, first) = (Spread::of(listed)?.median, Spread::of(first)?.median);
        let ratio = Spread::of(ratios)?.median;
        let taken = remembered(&dir, *size)?;
        let bytes = taken.saturating_sub(empty) as f64 * 1024.0 / *size as f64;
        table.row(vec![
            size.to_string(),
            number(listed),
            number(first),
            number(ratio),
            taken.to_string(),
            number(bytes),
        ]);
        for (series, ms) in series.iter_mut().zip([listed, first]) {
            series.points.push((*size as f64, ms));
        }
        last = (ratio, bytes);
    }
    table.note = format!(
        "The agent remembers at most {KNOWN} entries; more stay on the disk until there is room. Without any it has \
         {empty} KiB."
    );
    findings.table(table);
    findings.plot(Plot::Lines(Lines {
        name: "start".to_owned(),
        title: "Start against the backlog".to_owned(),
        x: Axis::log("pending records"),
        y: Axis::log("milliseconds"),
        series: series.into(),
    }));
    let name = format!("first delivery / listing, {} pending", sizes.last().copied().unwrap_or_default());
    let check = Check::new(name, Aim::AtMost(1.3), last.0);
    findings.check(check.because(
        "a connection, a look and a flush before the first frame; a listing with a choice of the lowest names",
    ));
    let (name, limit) =
        (format!("B a record, {} pending", sizes.last().copied().unwrap_or_default()), 2500.0);
    let memory = Check::new(name, Aim::AtMost(100.0), last.1).limit(Aim::AtMost(limit));
    findings.check(
        memory.because("the entries that are remembered, a bounded number, and a hundred thousand lanes"),
    );
    Ok(findings)
}

/// Moves what an agent had taken back to `new/`.
fn put_back(dir: &Path) -> Outcome<()> {
    let spool = Spool::create(dir)?;
    let mut taken = Vec::new();
    spool.each_entry(spooldir::Dir::Sending, |entry, _| taken.push(entry))?;
    for entry in taken {
        let back = spooldir::Entry::new(entry.id.clone(), spooldir::State::Pending);
        spool.fs().rename(&spool.path(&entry), &spool.path(&back))?;
    }
    Ok(())
}
