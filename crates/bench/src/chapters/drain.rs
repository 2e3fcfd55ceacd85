//! `drain`: what the agent makes of a receiver that does no work, against the same client without files.
//!
//! Four contestants deliver records of 1 KiB, one a delivery, with a window of 256: the client alone (from memory), the
//! client that reads each record from a file, and the agent, which also takes each (a rename that is flushed before the
//! send), proves it by evidence and retires it. The receiver is a process of its own; so are they. Then the same window
//! against a receiver that needs a time for each delivery, and the agent at other windows.

use std::time::Duration;

use crate::bench::{Bench, Outcome};
use crate::checks::{Aim, Check};
use crate::counts::Counts;
use crate::lean::Pace;
use crate::plot::{Axis, Lines, Series};
use crate::report::{Chapter, Findings, Table, number};
use crate::roles::{Ran, Receiver, fill, ran, role};
use crate::rounds::{Contest, Effort, Rounds, Sample};

/// See the head of this file.
pub const CHAPTER: Chapter =
    Chapter { name: "drain", about: "delivering a backlog, against the same client without files", run };

/// The window of the targets.
const WINDOW: &str = "256";

/// Calls that name files or work on them.
const FILE: [&str; 12] = [
    "open",
    "openat",
    "close",
    "statx",
    "newfstatat",
    "fstat",
    "renameat2",
    "renameat",
    "fsync",
    "getdents64",
    "pread64",
    "unlink",
];
/// Calls on the connection.
const SOCKET: [&str; 4] = ["sendto", "recvfrom", "writev", "readv"];

fn client(port: &str, window: &str, records: usize) -> Outcome<Ran> {
    ran(role(&["client", port, window, &records.to_string()], &[])?)
}

/// The agent on a fresh spool, a lane for each record.
fn agent(bench: &Bench, port: &str, window: &str, records: usize) -> Outcome<Ran> {
    let dir = bench.place.fresh("drain")?;
    fill(&dir, records, records)?;
    ran(role(&["agent", port, window, "1"], &[&dir])?)
}

/// A turn of a contest: a receiver of its own each time, so that none profits from an earlier one.
fn turn(pace: Pace, act: impl Fn(&str) -> Outcome<Ran>) -> Outcome<Sample> {
    let receiver = Receiver::start(pace)?;
    Ok(act(&receiver.port)?.sample())
}

fn idle_receiver(bench: &Bench) -> Outcome<Rounds> {
    let records = bench.pick(20_000, 1_000);
    let mut contest = Contest::new();
    let pace = Pace::default();
    contest.enter("client alone", move |_| turn(pace, |port| client(port, WINDOW, records)));
    contest.enter("client that reads", move |_| {
        let dir = bench.place.fresh("drain")?;
        fill(&dir, records, records)?;
        turn(pace, |port| ran(role(&["reader", port, WINDOW], &[&dir])?))
    });
    contest.enter("agent", move |_| turn(pace, |port| agent(bench, port, WINDOW, records)));
    contest.run(Effort::of(bench, 9, 12), bench.chance("drain"))
}

fn run(bench: &Bench) -> Outcome<Findings> {
    let mut findings = Findings::default();
    counts(bench, &mut findings)?;
    let rounds = idle_receiver(bench)?;
    let mut table = Table::new(
        "idle-receiver",
        "1 KiB records, one a delivery, window 256, a receiver that does no work",
        &["", "records/s", "quartiles", "× client alone", "× client that reads"],
    );
    for name in rounds.names() {
        let rate = rounds.rate(name)?;
        let ratio = |floor| rounds.rate_ratio(name, floor);
        table.row(vec![
            name.clone(),
            number(rate.median),
            format!("{}..{}", number(rate.q1), number(rate.q3)),
            number(ratio("client alone")?.median),
            number(ratio("client that reads")?.median),
        ]);
    }
    table.note = format!("{} rounds.", rounds.count());
    findings.table(table);
    let ratio = |floor| rounds.rate_ratio("agent", floor).map(|spread| spread.median);
    let alone = Check::new("agent / client alone", Aim::AtLeast(0.10), ratio("client alone")?);
    findings.check(alone.limit(Aim::AtLeast(0.005)));
    let reads = Check::new("agent / client that reads", Aim::AtLeast(0.40), ratio("client that reads")?);
    findings.check(reads.limit(Aim::AtLeast(0.02)).because("two renames a record bound it"));
    paced(bench, &mut findings)?;
    if !bench.quick {
        windows(bench, &mut findings)?;
    }
    Ok(findings)
}

/// Calls a record, of which the kinds that each record makes do not depend on the load. What is shared by all that a turn
/// of the loop finds ready does: a starved receiver answers one by one. So its limits lie just below what each record
/// would cost if nothing were shared.
fn counts(bench: &Bench, findings: &mut Findings) -> Outcome<()> {
    let records = bench.pick(2_000_usize, 1_000);
    let receiver = Receiver::start(Pace::default())?;
    let dir = bench.place.fresh("drain")?;
    fill(&dir, records, records)?;
    let log = bench.place.fresh("strace")?.join("log");
    let counts = Counts::of(&role(&["agent", &receiver.port, WINDOW, "1"], &[&dir])?, b"", &log)?;
    let mut table = Table::new("calls", "System calls of the agent a record, window 256", &["", "a record"]);
    for (name, count) in counts.each() {
        let share = count as f64 / records as f64;
        if share >= 0.005 {
            table.row(vec![name.to_owned(), format!("{share:.3}")]);
        }
    }
    findings.table(table);
    let share = |names: &[&str]| counts.sum(names) as f64 / records as f64;
    let whole = |names: &[&str]| share(names).floor();
    // One into sending/, one into done/; anything below a whole one is the agent's own (its status).
    findings.check(
        Check::new("renames a record", Aim::Exactly(2.0), whole(&["renameat2"])).limit(Aim::Exactly(2.0)),
    );
    let files = Check::new("file calls a record", Aim::AtMost(4.1), share(&FILE)).limit(Aim::AtMost(24.0));
    findings.check(files.because(
        "nothing is opened that may be no file (4), the same record is not sent twice (1), what waited is what was \
         read (1), the key is known after a crash (1), a receipt (1), and a second reading of what came too early",
    ));
    let sockets =
        Check::new("socket calls a record", Aim::AtMost(0.03), share(&SOCKET)).limit(Aim::AtMost(5.0));
    findings.check(sockets.because("four requests and six answers a record instead of one and one"));
    let flushes = counts.flushes() as f64 / records as f64;
    findings.check(Check::new("flushes a record", Aim::AtMost(0.05), flushes).limit(Aim::AtMost(1.5)));
    Ok(())
}

/// A receiver that needs its time: the agent must not add to it.
fn paced(bench: &Bench, findings: &mut Findings) -> Outcome<()> {
    let mut table = Table::new(
        "paced",
        "A receiver that needs a time for each delivery, one after the other, window 256",
        &["a delivery", "client alone/s", "agent/s", "ratio", "quartiles"],
    );
    for micros in bench.pick(&[100, 200, 500, 1000][..], &[1000][..]) {
        let pace = Pace { each: Duration::from_micros(*micros), ..Pace::default() };
        let records = usize::try_from(bench.pick(2_000_000, 300_000) / micros)?.max(200);
        let mut contest = Contest::new();
        contest.enter("client", move |_| turn(pace, |port| client(port, WINDOW, records)));
        contest.enter("agent", move |_| turn(pace, |port| agent(bench, port, WINDOW, records)));
        let effort = Effort { rounds: bench.pick(7, 3), within: Duration::from_secs(bench.pick(60, 8)) };
        let rounds = contest.run(effort, bench.chance("paced"))?;
        let ratio = rounds.rate_ratio("agent", "client")?;
        table.row(vec![
            format!("{micros} µs"),
            number(rounds.rate("client")?.median),
            number(rounds.rate("agent")?.median),
            number(ratio.median),
            format!("{}..{}", number(ratio.q1), number(ratio.q3)),
        ]);
        let name = format!("agent / client, {micros} µs a delivery");
        let check = Check::new(name, Aim::AtLeast(0.95), ratio.median).because(
            "the start of the agent, with its connection and a window that opens step by step, is part of a run of \
             two seconds; at 100 µs a delivery also its own rate",
        );
        findings.check(if *micros == 1000 { check.limit(Aim::AtLeast(0.02)) } else { check });
    }
    findings.table(table);
    Ok(())
}

fn windows(bench: &Bench, findings: &mut Findings) -> Outcome<()> {
    let windows = ["1", "4", "16", "64", "256"];
    let records = 4_000;
    let mut contest = Contest::new();
    for window in windows {
        contest.enter(format!("client {window}"), move |_| {
            turn(Pace::default(), |port| client(port, window, records))
        });
        contest.enter(format!("agent {window}"), move |_| {
            turn(Pace::default(), |port| agent(bench, port, window, records))
        });
    }
    let rounds = contest.run(Effort::of(bench, 7, 0), bench.chance("windows"))?;
    let mut table = Table::new(
        "windows",
        "Deliveries under way at once, a receiver that does no work",
        &["window", "client/s", "agent/s", "agent / client"],
    );
    let mut series =
        ["client alone", "agent"].map(|name| Series { name: name.to_owned(), points: Vec::new() });
    for window in windows {
        let names = [format!("client {window}"), format!("agent {window}")];
        let rates = [rounds.rate(&names[0])?.median, rounds.rate(&names[1])?.median];
        for (series, rate) in series.iter_mut().zip(rates) {
            series.points.push((window.parse()?, rate));
        }
        let ratio = rounds.rate_ratio(&names[1], &names[0])?.median;
        table.row(vec![window.to_owned(), number(rates[0]), number(rates[1]), number(ratio)]);
    }
    findings.table(table);
    findings.plot(crate::plot::Plot::Lines(Lines {
        name: "drain-window".to_owned(),
        title: "Deliveries a second against the window".to_owned(),
        x: Axis::log("deliveries under way at once"),
        y: Axis::log("deliveries a second"),
        series: series.into(),
    }));
    Ok(())
}
