//! `idle`: what the agent costs when there is nothing to do, and when there is but the gateway is away.
//!
//! The one measurement that has to let time pass: `spool drain` as it is shipped is watched from outside for a while.
//! Its processor time is the kernel's count in nanoseconds (`schedstat`), a wake-up is a switch of its own will, of any
//! of its threads. What a day without a gateway brings is computed from that, and from the breaker by a clock of its
//! own.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use spool_drain::breaker::{Breaker, Limits};
use spooldir::Spool;

use crate::bench::{Bench, Outcome};
use crate::checks::{Aim, Check};
use crate::lean::Pace;
use crate::report::{Chapter, Findings, Table, number};
use crate::roles::{Alive, Receiver, fill, memory};

/// See the head of this file.
pub const CHAPTER: Chapter =
    Chapter { name: "idle", about: "the agent with nothing to do, and without a gateway", run };

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Share of a core, percent.
    busy: f64,
    /// Wake-ups a second.
    wakes: f64,
    /// KiB.
    resident: u64,
    /// Bytes that the journal grew.
    journal: u64,
}

/// The processor time of all threads in ns, and the switches of their own will.
fn threads(pid: &str) -> Outcome<(u64, u64)> {
    let (mut busy, mut wakes) = (0, 0);
    for task in std::fs::read_dir(Path::new("/proc").join(pid).join("task"))? {
        let task = task?.path();
        let schedstat = std::fs::read_to_string(task.join("schedstat"))?;
        busy += schedstat.split(' ').next().unwrap_or_default().parse::<u64>()?;
        let status = std::fs::read_to_string(task.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        wakes += line.unwrap_or_default().trim().parse::<u64>()?;
    }
    Ok((busy, wakes))
}

fn journal(spool: &Spool) -> Outcome<u64> {
    let files = spool.journal_files()?;
    files.iter().map(|path| Ok(std::fs::metadata(path)?.len())).sum()
}

/// Watches the agent for a while, once it has settled down.
fn watch(bench: &Bench, dir: &Path, port: &str, accepted: usize) -> Outcome<Seen> {
    let spool = Spool::create(dir)?;
    let mut command = bench.program("spool");
    command.args(["drain", "--gateway", &format!("ws://127.0.0.1:{port}"), "--spool"]).arg(dir);
    // A home of its own: no configuration of this machine.
    command.env("HOME", dir).env("OPENCLAW_GATEWAY_TOKEN", "t").stdin(Stdio::null());
    let agent = Alive { child: command.spawn()? };
    let pid = agent.child.id().to_string();
    let deadline = Instant::now() + Duration::from_secs(30);
    let settled = || -> Outcome<bool> {
        let mut seen = 0;
        spool.each_line(|line| seen += usize::from(line.event == "accept"))?;
        let is_up =
            spool_drain::status::read(&spool).is_some_and(|s| accepted > 0 || s.gateway.state == "up");
        Ok(is_up && seen >= accepted)
    };
    while !settled()? {
        if Instant::now() > deadline {
            return Err("the agent did not settle down within 30 s".into());
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    let (busy, wakes) = threads(&pid)?;
    let (written, start) = (journal(&spool)?, Instant::now());
    let long = Duration::from_secs(bench.pick(60, 6));
    while start.elapsed() < long {
        std::thread::park_timeout(long.saturating_sub(start.elapsed()));
    }
    let (busy_then, wakes_then) = threads(&pid)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Seen {
        busy: (busy_then - busy) as f64 / 1e7 / seconds,
        wakes: (wakes_then - wakes) as f64 / seconds,
        resident: memory(&pid, "VmRSS")?,
        journal: journal(&spool)? - written,
    })
}

/// Attempts to connect in a day without a gateway, by a clock that only this knows.
fn attempts_in_a_day(chance: &mut crate::bench::Chance) -> u64 {
    let start = Instant::now();
    let (mut breaker, mut now, mut attempts) = (Breaker::new(Limits::default(), start), start, 0);
    while now.duration_since(start) < DAY {
        breaker.trying();
        attempts += 1;
        let jitter = (chance.next() >> 11) as f64 / (1u64 << 53) as f64;
        breaker.failed(now, "away".to_owned(), None, jitter);
        match breaker.next_try() {
            Some(next) if next > now => now = next,
            _ => return u64::MAX,
        }
    }
    attempts
}

fn run(bench: &Bench) -> Outcome<Findings> {
    let mut findings = Findings::default();
    let receiver = Receiver::start(Pace::default())?;
    let dir = bench.place.fresh("idle")?;
    let idle = watch(bench, &dir, &receiver.port, 0)?;
    let dir = bench.place.fresh("idle")?;
    let records = 1_000;
    fill(&dir, records, 100)?;
    // A port that nobody listens on.
    let away = watch(bench, &dir, "1", records)?;
    let head = ["", "% of a core", "wake-ups/s", "resident, KiB", "journal, bytes"];
    let mut table = Table::new("idle", "spool drain with nothing to do", &head);
    for (name, seen) in [("idle", idle), ("1,000 records, no gateway", away)] {
        let row =
            [number(seen.busy), number(seen.wakes), seen.resident.to_string(), seen.journal.to_string()];
        table.row([vec![name.to_owned()], row.into()].concat());
    }
    findings.table(table);
    let busy = Check::new("idle: % of a core", Aim::AtMost(0.1), idle.busy).limit(Aim::AtMost(10.0));
    findings.check(busy);
    let memory = Check::new("idle: resident, MB", Aim::AtMost(10.0), idle.resident as f64 * 1024.0 / 1e6);
    findings.check(memory.limit(Aim::AtMost(20.0)));
    findings
        .check(Check::new("idle: wake-ups a second", Aim::AtMost(5.0), idle.wakes).limit(Aim::AtMost(20.0)));
    findings.check(Check::count("no gateway: journal, bytes", 0, away.journal));
    let wakes = Check::new("no gateway: wake-ups a second", Aim::AtMost(5.0), away.wakes);
    findings.check(wakes.limit(Aim::AtMost(20.0)));
    let attempts = attempts_in_a_day(&mut bench.chance("idle")) as f64;
    let check = Check::new("no gateway: attempts to connect in a day", Aim::AtMost(5_760.0), attempts);
    findings.check(check.limit(Aim::AtMost(5_760.0)).because("every 15 to 30 s, by the breaker's own rule"));
    findings.say(format!(
        "A day without a gateway: {} attempts to connect, {} s of processor time, nothing in the journal.",
        number(attempts),
        number(away.busy / 100.0 * DAY.as_secs_f64())
    ));
    Ok(findings)
}
