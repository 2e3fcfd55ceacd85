//! `scale`: what a record costs as there are more of them, in more lanes, from more producers. Nothing may grow faster
//! than the work.
//!
//! What is judged is the agent's processor time for each record, not the time on the clock: it is what would grow, and it
//! depends little on what else the machine does. Beside it stand the rate, the memory, and how long after the agent's
//! start the median record and the last but one in a hundred were on the wire. The receiver does no work.
//!
//! - three ways to grow: a hundred lanes with ever more records, ever more lanes of one record, one lane with ever more;
//! - one session that takes seconds beside a hundred others, which must not notice it;
//! - producers that publish all at once, each record flushed, while the agent drains.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};

use spooldir::{Id, Spool};

use crate::bench::{Bench, Outcome};
use crate::checks::{Aim, Check};
use crate::counts::wait;
use crate::lean::{self, Arrival, Pace};
use crate::plot::{Axis, Lines, Plot, Series};
use crate::report::{Chapter, Findings, Table, micros, number};
use crate::roles::{Alive, LIMIT, Ran, fill, ran, record, role};
use crate::rounds::{Contest, Effort, Sample, Spread, percentile};

/// See the head of this file.
pub const CHAPTER: Chapter =
    Chapter { name: "scale", about: "what a record costs as backlog, lanes and producers grow", run };

const WINDOW: &str = "64";
/// Records that one delivery may carry, as the product has it.
const COALESCED: &str = "50";
/// The session that takes its time.
const SLOW: &str = "agent:main:x-slow";

/// How often one who hears nothing looks whether the agent has ended.
const BREATH: Duration = Duration::from_millis(100);

/// A way to grow.
struct Way {
    name: &'static str,
    title: &'static str,
    /// Records that a delivery may carry.
    entries: &'static str,
    lanes: usize,
    most: usize,
}

const WAYS: [Way; 3] = [
    Way {
        name: "backlog",
        title: "A hundred lanes, up to 50 records a delivery",
        entries: COALESCED,
        lanes: 100,
        most: 1_000_000,
    },
    Way { name: "lanes", title: "As many lanes as records", entries: "1", lanes: usize::MAX, most: 100_000 },
    Way {
        name: "one lane",
        title: "One lane, up to 50 records a delivery",
        entries: COALESCED,
        lanes: 1,
        most: 100_000,
    },
];

/// A drain of a backlog, and when its deliveries were on the wire: microseconds after the agent's start, in order.
fn drain(dir: &Path, pace: Pace, window: &str, entries: &str) -> Outcome<(Ran, Vec<f64>)> {
    let (tell, told) = mpsc::channel::<Arrival>();
    let port = lean::start(pace, Some(tell))?.port().to_string();
    let start = Instant::now();
    let (ran, times) = std::thread::scope(|scope| -> Outcome<(Ran, Vec<f64>)> {
        let worker = scope.spawn(|| ran(role(&["agent", &port, window, entries], &[dir])?));
        // Only the times are kept: the texts of a large backlog are larger than it.
        let mut times = Vec::new();
        loop {
            match told.recv_timeout(BREATH) {
                Ok(arrival) if arrival.text.contains(SLOW) => {}
                Ok(arrival) => times.push(arrival.at.duration_since(start).as_secs_f64() * 1e6),
                // What it was told of came before its end.
                Err(_) if worker.is_finished() => break,
                Err(_) => {}
            }
        }
        Ok((worker.join().map_err(|_| "the agent's thread panicked")??, times))
    })?;
    Ok((ran, times))
}

fn grow(bench: &Bench, way: &Way, findings: &mut Findings) -> Outcome<[Series; 2]> {
    let sizes = bench.pick(&[1_000, 10_000, 100_000, 1_000_000][..], &[1_000, 10_000][..]);
    let head = ["records", "processor µs each", "records/s", "on the wire, p50 ms", "p99 ms", "memory, KiB"];
    let mut table = Table::new(way.name, way.title, &head);
    let [mut busy, mut peak] =
        [way.title, way.title].map(|name| Series { name: name.to_owned(), points: Vec::new() });
    for size in sizes.iter().filter(|size| **size <= way.most) {
        let (mut costs, mut rates, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
        let (mut half, mut most) = (Vec::new(), Vec::new());
        for _ in 0..if *size < 100_000 { 3 } else { 1 } {
            let dir = bench.place.fresh("scale")?;
            fill(&dir, *size, way.lanes.min(*size))?;
            let (ran, times) = drain(&dir, Pace::default(), WINDOW, way.entries)?;
            costs.push(ran.busy / ran.count.max(1) as f64);
            rates.push(ran.count as f64 * 1e6 / ran.took);
            peaks.push(ran.peak as f64);
            half.push(percentile(&times, 0.5) / 1e3);
            most.push(percentile(&times, 0.99) / 1e3);
        }
        let median = |list| Spread::of(list).map(|spread| spread.median);
        let (cost, memory) = (median(costs)?, median(peaks)?);
        let mut row = vec![size.to_string()];
        row.extend([cost, median(rates)?, median(half)?, median(most)?, memory].map(number));
        table.row(row);
        busy.points.push((*size as f64, cost));
        peak.points.push((*size as f64, memory));
    }
    findings.table(table);
    let Some((last, earlier)) = busy.points.split_last() else { return Err("there are no sizes".into()) };
    let least = earlier.iter().map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
    let name = format!("{}: processor time a record, {} / the least of fewer", way.name, number(last.0));
    let check = Check::new(name, Aim::AtMost(1.5), last.1 / least).limit(Aim::AtMost(8.0));
    findings.check(check.because(
        "a rename in a directory of a million names costs the kernel three times as much, and sweeps list it; what is \
         remembered of so many lanes probably fits into no cache",
    ));
    Ok([busy, peak])
}

fn run(bench: &Bench) -> Outcome<Findings> {
    let mut findings = Findings::default();
    let (mut costs, mut memories) = (Vec::new(), Vec::new());
    for way in &WAYS {
        let [busy, peak] = grow(bench, way, &mut findings)?;
        costs.push(busy);
        memories.push(peak);
    }
    for (name, title, unit, series) in [
        ("cost", "Processor time of a record against the backlog", "microseconds a record", costs),
        ("memory", "Memory of the agent against the backlog", "KiB at most", memories),
    ] {
        findings.plot(Plot::Lines(Lines {
            name: name.to_owned(),
            title: title.to_owned(),
            x: Axis::log("records pending at the start"),
            y: Axis::log(unit),
            series,
        }));
    }
    slow_lane(bench, &mut findings)?;
    producers(bench, &mut findings)?;
    Ok(findings)
}

/// One session that takes very long beside a hundred others: the time until all others are on the wire.
fn slow_lane(bench: &Bench, findings: &mut Findings) -> Outcome<()> {
    let (records, slow) = (bench.pick(5_000, 1_000), Duration::from_secs(bench.pick(10, 3)));
    let turn = move |is_slow: bool| -> Outcome<Sample> {
        let dir = bench.place.fresh("scale")?;
        // The first in order: it has its slot before any other.
        let first = format!("{}.json", Id::mint());
        fill(&dir, records, 100)?;
        if is_slow {
            std::fs::write(dir.join("new").join(first), record(SLOW))?;
        }
        let (_, times) = drain(&dir, Pace { slow, ..Pace::default() }, "16", "1")?;
        let last = times.last().copied().unwrap_or_default();
        Ok(Sample { count: times.len() as u64, took: Duration::from_secs_f64(last / 1e6), each: Vec::new() })
    };
    let mut contest = Contest::new();
    contest.enter("without it", move |_| turn(false));
    contest.enter("one slow lane", move |_| turn(true));
    let effort = Effort { rounds: bench.pick(5, 3), within: Duration::from_secs(bench.pick(120, 12)) };
    let rounds = contest.run(effort, bench.chance("slow"))?;
    let title = format!("{records} records in 100 lanes, beside one whose turn takes {} s", slow.as_secs());
    let mut table =
        Table::new("slow", &title, &["", "others/s until the last is on the wire", "× without it"]);
    for name in rounds.names() {
        let ratio = rounds.rate_ratio(name, "without it")?.median;
        table.row(vec![name.clone(), number(rounds.rate(name)?.median), number(ratio)]);
    }
    findings.table(table);
    let ratio = rounds.rate_ratio("one slow lane", "without it")?.median;
    let check = Check::new("one slow lane: rate of the others / without it", Aim::AtLeast(0.9), ratio);
    findings.check(check.limit(Aim::AtLeast(0.05)));
    Ok(())
}

/// What came of producers and an agent side by side.
struct Crowd {
    agent: Ran,
    rate: f64,
    /// Microseconds each publish took, sorted.
    publish: Vec<f64>,
    /// From the call to the wire, sorted.
    wire: Vec<f64>,
    unheard: usize,
}

fn crowd(bench: &Bench, writers: usize, each: usize) -> Outcome<Crowd> {
    let (tell, told) = mpsc::channel::<Arrival>();
    let port = lean::start(Pace::default(), Some(tell))?.port().to_string();
    let dir = bench.place.fresh("scale")?;
    let spool = Spool::create(&dir)?;
    let mut command = role(&["resident", &port, WINDOW], &[&dir])?;
    let mut agent = Alive { child: command.stdin(Stdio::piped()).spawn()? };
    // It is there when it has delivered something.
    spool.publish(&Id::mint(), &record("agent:main:first"), true)?;
    told.recv_timeout(LIMIT)?;
    let (barrier, began) = (Barrier::new(writers + 1), Instant::now());
    let mut starts: HashMap<String, Instant> = HashMap::new();
    let mut publish = Vec::new();
    let mut start = began;
    std::thread::scope(|scope| -> Outcome<()> {
        let (barrier, spool) = (&barrier, &spool);
        let work = move |writer: usize| -> Outcome<Vec<(String, Instant, f64)>> {
            barrier.wait();
            let one = |number: usize| {
                let session = format!("agent:main:p{writer}-{number}");
                let record = record(&session);
                let start = Instant::now();
                spool.publish(&Id::mint(), &record, true)?;
                Ok((session, start, start.elapsed().as_secs_f64() * 1e6))
            };
            (0..each).map(one).collect()
        };
        let workers: Vec<_> = (0..writers).map(|writer| scope.spawn(move || work(writer))).collect();
        barrier.wait();
        start = Instant::now();
        for worker in workers {
            for (session, start, took) in worker.join().map_err(|_| "a producer panicked")?? {
                starts.insert(session, start);
                publish.push(took);
            }
        }
        Ok(())
    })?;
    let (mut wire, mut last) = (Vec::new(), start);
    while !starts.is_empty() {
        let arrival = told.recv_timeout(LIMIT)?;
        let session = arrival.text.split(r#""sessionKey":""#).nth(1).and_then(|rest| rest.split('"').next());
        if let Some(start) = session.and_then(|session| starts.remove(session)) {
            wire.push(arrival.at.duration_since(start).as_secs_f64() * 1e6);
            last = last.max(arrival.at);
        }
    }
    // Its end is a stop in order: what is under way gets its receipt.
    drop(agent.child.stdin.take());
    wait(&mut agent.child, LIMIT)?;
    let mut said = String::new();
    agent.child.stdout.take().ok_or("no stdout")?.read_to_string(&mut said)?;
    publish.sort_by(f64::total_cmp);
    wire.sort_by(f64::total_cmp);
    let rate = wire.len() as f64 / last.duration_since(start).as_secs_f64();
    let agent: Ran = serde_json::from_str(&said)?;
    let unheard = (writers * each + 1).abs_diff(usize::try_from(agent.count)?);
    Ok(Crowd { agent, rate, publish, wire, unheard })
}

/// Producers that publish all at once while the agent drains.
fn producers(bench: &Bench, findings: &mut Findings) -> Outcome<()> {
    let head = [
        "producers",
        "records/s",
        "publish, p50 µs",
        "p99 µs",
        "to the wire, p50 µs",
        "p99 µs",
        "agent's µs each",
        "memory, KiB",
    ];
    let mut table = Table::new("producers", "Producers at once, every record flushed, one a delivery", &head);
    let (mut costs, mut unheard) = (Vec::new(), 0);
    for (writers, each) in bench.pick(&[(1, 600), (8, 250), (64, 100)][..], &[(1, 100), (64, 10)][..]) {
        let crowd = crowd(bench, *writers, *each)?;
        let cost = crowd.agent.busy / crowd.agent.count.max(1) as f64;
        let at = |list: &[f64], share| micros(percentile(list, share));
        table.row(vec![
            writers.to_string(),
            number(crowd.rate),
            at(&crowd.publish, 0.5),
            at(&crowd.publish, 0.99),
            at(&crowd.wire, 0.5),
            at(&crowd.wire, 0.99),
            number(cost),
            crowd.agent.peak.to_string(),
        ]);
        costs.push(cost);
        unheard += crowd.unheard;
    }
    findings.table(table);
    findings.check(Check::count("producers at once: records not delivered once", 0, u64::try_from(unheard)?));
    if let [one, .., many] = costs[..] {
        let check = Check::new("64 producers / 1: the agent's time a record", Aim::AtMost(1.5), many / one);
        findings.check(check.limit(Aim::AtMost(8.0)));
    }
    Ok(())
}
