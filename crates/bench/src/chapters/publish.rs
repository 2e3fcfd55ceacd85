//! `publish`: the library in programs with many writers. Each for itself, in threads and in processes, against threads
//! that share the flush of the directory ([`spooldir::Publisher`]).

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use spooldir::{Id, Publisher, Spool};

use crate::bench::{Bench, Outcome};
use crate::chapters::record;
use crate::checks::{Aim, Check};
use crate::counts::wait;
use crate::plot::{Axis, Lines, Series};
use crate::report::{Chapter, Findings, Table, micros, number};
use crate::rounds::{Contest, Effort, Rounds, Sample, percentile};

/// See the head of this file.
pub const CHAPTER: Chapter =
    Chapter { name: "publish", about: "the library with many writers, flushing alone and together", run };

const ALONE: &str = "threads, each for itself";
const PROCESSES: &str = "processes, each for itself";
const TOGETHER: &str = "threads, one Publisher";

/// How many records a writer publishes in a turn, on average.
fn records(writers: usize) -> usize {
    (256 / writers).max(32)
}

/// Lets `writers` threads publish, all from the same moment, until there are enough records: a thread that the scheduler
/// forgets leaves its share to the others, as it would in a program that goes on.
fn threads(writers: usize, publish: impl Fn(&[u8]) -> Outcome<()> + Sync) -> Outcome<Sample> {
    let (record, start) = (record(), Barrier::new(writers + 1));
    let left = AtomicI64::new(i64::try_from(records(writers) * writers)?);
    std::thread::scope(|scope| {
        let work = || -> Outcome<Vec<Duration>> {
            let mut each = Vec::new();
            start.wait();
            while left.fetch_sub(1, Ordering::Relaxed) > 0 {
                let start = Instant::now();
                publish(&record)?;
                each.push(start.elapsed());
            }
            Ok(each)
        };
        let workers: Vec<_> = (0..writers).map(|_| scope.spawn(work)).collect();
        start.wait();
        let began = Instant::now();
        let mut sample = Sample::default();
        for worker in workers {
            sample.each.extend(worker.join().map_err(|_| "a writer panicked")??);
        }
        sample.took = began.elapsed();
        sample.count = sample.each.len() as u64;
        Ok(sample)
    })
}

/// Lets so many processes publish, all from the same moment.
fn processes(bench: &Bench, writers: usize, spool: &Spool) -> Outcome<Sample> {
    let mut crowd: Vec<(Child, ChildStdin, BufReader<ChildStdout>)> = Vec::new();
    for _ in 0..writers {
        let mut command = bench.program("writer");
        command.arg(spool.root()).arg(records(writers).to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a writer has no pipes".into());
        };
        crowd.push((child, stdin, BufReader::new(stdout)));
    }
    for (_, _, stdout) in &mut crowd {
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        if line != "ready\n" {
            return Err("a writer could not begin".into());
        }
    }
    let began = Instant::now();
    // A closed stdin is the sign to begin.
    let waiting: Vec<_> = crowd.into_iter().map(|(child, _stdin, stdout)| (child, stdout)).collect();
    let mut sample = Sample::default();
    for (mut child, mut stdout) in waiting {
        let mut said = String::new();
        stdout.read_to_string(&mut said)?;
        if !wait(&mut child, Duration::from_secs(60))?.success() {
            return Err("a writer failed".into());
        }
        for line in said.lines() {
            sample.each.push(Duration::from_micros(line.parse()?));
        }
    }
    sample.took = began.elapsed();
    sample.count = sample.each.len() as u64;
    Ok(sample)
}

fn rounds(bench: &Bench, writers: usize, effort: Effort) -> Outcome<Rounds> {
    let fresh = || -> Outcome<Spool> { Ok(Spool::create(&bench.place.fresh("publish")?)?) };
    let mut contest = Contest::new();
    contest.enter(ALONE, move |_| {
        let spool = fresh()?;
        threads(writers, |record| Ok(spool.publish(&Id::mint(), record, true).map(drop)?))
    });
    contest.enter(TOGETHER, move |_| {
        let publisher = Publisher::new(fresh()?);
        threads(writers, |record| Ok(publisher.publish(&Id::mint(), record, true).map(drop)?))
    });
    if !bench.quick {
        contest.enter(PROCESSES, move |_| processes(bench, writers, &fresh()?));
    }
    contest.run(effort, bench.chance(&format!("publish {writers}")))
}

fn run(bench: &Bench) -> Outcome<Findings> {
    let mut findings = Findings::default();
    let mut table = Table::new(
        "rates",
        "Records of 1 KiB published a second",
        &["", "writers", "records/s", "p50 µs", "p99 µs", "× alone", "quartiles"],
    );
    let mut series: Vec<Series> = Vec::new();
    for writers in bench.pick(&[1, 4, 8, 16, 64][..], &[1, 64][..]) {
        let rounds = rounds(bench, *writers, Effort::of(bench, 20, 8))?;
        for name in rounds.names() {
            let (rate, ratio) = (rounds.rate(name)?, rounds.rate_ratio(name, ALONE)?);
            let each = rounds.each(name)?;
            table.row(vec![
                name.clone(),
                writers.to_string(),
                number(rate.median.round()),
                micros(percentile(&each, 0.5)),
                micros(percentile(&each, 0.99)),
                number(ratio.median),
                format!("{}..{}", number(ratio.q1), number(ratio.q3)),
            ]);
            let point = (*writers as f64, rate.median);
            match series.iter_mut().find(|series| series.name == *name) {
                Some(series) => series.points.push(point),
                None => series.push(Series { name: name.clone(), points: vec![point] }),
            }
        }
        let ratio = rounds.rate_ratio(TOGETHER, ALONE)?.median;
        let name = format!("shared flush / alone, {writers} writers");
        match writers {
            // It must not cost anything either. The limits are for a machine without a core left, where whoever waits
            // for another thread waits for the scheduler.
            1 => findings.check(Check::new(name, Aim::AtLeast(0.95), ratio).limit(Aim::AtLeast(0.3))),
            64 => {
                let check = Check::new(name, Aim::AtLeast(1.4), ratio).limit(Aim::AtLeast(0.2));
                findings.check(check.because(
                    "the flush of each file, which is not shared, is most of what is left; and whoever waits for \
                     another thread's flush needs a core to wake up on",
                ));
            }
            _ => {}
        }
    }
    findings.table(table);
    findings.plot(Lines {
        name: "writers".to_owned(),
        title: "Published records a second against writers".to_owned(),
        x: Axis::log("writers"),
        y: Axis::even("records/s"),
        series,
    });
    Ok(findings)
}
