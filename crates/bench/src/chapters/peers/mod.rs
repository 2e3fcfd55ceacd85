//! `peers`: one record of 1 KiB handed over by one program, to ours and to others that keep things, on the same disk in
//! the same rounds.
//!
//! A peer that cannot be had is named with the reason, never left out in silence. In the quick form only those take part
//! that need no package fetched.

mod contestants;
mod packages;

use std::time::Duration;

use crate::bench::{Bench, Outcome};
use crate::chapters::put::{once, put};
use crate::chapters::record;
use crate::checks::{Aim, Check};
use crate::counts::Counts;
use crate::plot::{Axis, Bars};
use crate::report::{Chapter, Findings, Table, micros, number};
use crate::rounds::{Contest, Effort, percentile, timed};

use contestants::{ALL, Peer, hand_over};

/// See the head of this file.
pub const CHAPTER: Chapter =
    Chapter { name: "peers", about: "one spool-put against other ways to keep 1 KiB", run };

const OURS: &str = "spool-put (static)";
/// What is aimed at: at most this much of what the peer takes. The limit is for a machine that does something else, too.
const AIMS: [(&str, f64, f64); 4] = [
    ("sqlite3 CLI", 0.55, 1.2),
    ("nullmailer-inject", 0.42, 1.2),
    ("postfix sendmail", 0.25, 1.0),
    ("sh recipe", 0.40, 1.0),
];

fn run(bench: &Bench) -> Outcome<Findings> {
    let mut findings = Findings::default();
    let mut peers: Vec<Peer> = Vec::new();
    for (name, is_quick, prepare) in ALL {
        if bench.quick && !is_quick {
            continue;
        }
        let prepared = prepare(bench, &bench.place.fresh("peer")?);
        match prepared.and_then(|peer| hand_over(&peer).map(|()| peer)) {
            Ok(peer) => peers.push(peer),
            Err(error) => findings.say(format!("Not measured: {name}: {error}.")),
        }
    }
    let log = bench.place.fresh("strace")?.join("log");
    let mut flushed: Vec<(String, String, String)> = Vec::new();
    for peer in &peers {
        let counts = Counts::of(&(peer.command)(), &peer.input, &log);
        // Under strace what changes its user does not run; then it is not counted.
        let count = counts.map_or("–".to_owned(), |counts| counts.flushes().to_string());
        flushed.push((peer.name.to_owned(), count, peer.flushes.to_owned()));
    }

    let (dir, input) = (bench.place.fresh("put")?, record());
    once(&mut put(bench.static_program("spool-put"), &dir), &input)?;
    let (dir, input) = (&dir, &input);
    let mut contest = Contest::new();
    contest.enter(OURS, move |_| timed(3, |_| once(&mut put(bench.static_program("spool-put"), dir), input)));
    contest.enter("spool-put (dynamic)", move |_| {
        timed(3, |_| once(&mut put(bench.program("spool-put"), dir), input))
    });
    for peer in peers.iter().filter(|peer| !peer.is_slow) {
        contest.enter(peer.name, move |_| timed(3, |_| hand_over(peer)));
    }
    let mut contests = vec![contest.run(Effort::of(bench, 60, 12), bench.chance("peers"))?];
    // A call that takes a second and more is known well enough from few, and would cost the others their rounds.
    for peer in peers.iter().filter(|peer| peer.is_slow) {
        let mut contest = Contest::new();
        contest.enter(OURS, move |_| {
            timed(3, |_| once(&mut put(bench.static_program("spool-put"), dir), input))
        });
        contest.enter(peer.name, move |_| timed(1, |_| hand_over(peer)));
        let effort = Effort { rounds: 5, within: Duration::from_secs(60) };
        contests.push(contest.run(effort, bench.chance(peer.name))?);
    }

    let mut table = Table::new(
        "peers",
        "One record of 1 KiB, one program from start to exit",
        &["", "p50 µs", "p99 µs", "× spool-put", "quartiles", "flushes", "what is flushed"],
    );
    let mut bars = Vec::new();
    let rows = contests.iter().enumerate();
    let rows = rows.flat_map(|(at, rounds)| rounds.names().iter().map(move |name| (at, rounds, name)));
    for (_, rounds, name) in rows.filter(|(at, _, name)| *at == 0 || *name != OURS) {
        let (each, ratio) = (rounds.each(name)?, rounds.cost_ratio(name, OURS)?);
        let none = (name.clone(), "2".to_owned(), "file, directory".to_owned());
        let (_, count, what) = flushed.iter().find(|row| row.0 == *name).unwrap_or(&none);
        table.row(vec![
            name.clone(),
            micros(percentile(&each, 0.5)),
            micros(percentile(&each, 0.99)),
            number(ratio.median),
            format!("{}..{}", number(ratio.q1), number(ratio.q3)),
            count.clone(),
            what.clone(),
        ]);
        bars.push((name.clone(), ratio.median, ratio.q1, ratio.q3));
    }
    let Some(rounds) = contests.first() else { return Err("nothing was measured".into()) };
    table.note = format!("{} rounds. Flushes are those of the program and its children.", rounds.count());
    findings.table(table);
    bars.sort_by(|one, other| one.1.total_cmp(&other.1));
    findings.plot(Bars {
        name: "put".to_owned(),
        title: "Keeping 1 KiB, in times of a spool-put".to_owned(),
        x: Axis::log("times of a static spool-put (median and quartiles)"),
        rows: bars,
    });
    for (name, aim, limit) in AIMS {
        if rounds.of(name).is_ok() {
            let ratio = rounds.cost_ratio(OURS, name)?.median;
            let check = Check::new(format!("spool-put / {name}"), Aim::AtMost(aim), ratio);
            findings.check(check.limit(Aim::AtMost(limit)));
        }
    }
    Ok(findings)
}
