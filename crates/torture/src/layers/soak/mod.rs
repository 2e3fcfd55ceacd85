//! Ten minutes of ordinary work, or a day of it elsewhere (`--full --time 86400`): nothing grows that should not.
//!
//! One agent for the whole time, some twenty records a second for two dozen sessions, a gateway that is restarted now and
//! then, a person with the operator's verbs. The agent's memory, descriptors and threads are looked at all the time and
//! judged at the end ([`vitals`]). From time to time there is a lull: everything settles, the books are read by the
//! independent reader as in the layer `random`, receipts are pruned as if their retention were over, and then the spool
//! must be as small as at the start. The journal must grow in step with the records, and no faster.

mod vitals;

use std::collections::HashMap;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use spool_gateway::fake::Role;
use spooldir::upkeep::LOG_AGE;
use spooldir::{Dir, Spool};

use self::vitals::Vitals;
use super::random::audit;
use super::random::judge::{Testimony, judge};
use super::random::ledger::{Fate, Promise, Said};
use super::random::producers::{Producer, Sessions, now_ms};
use super::random::reader::{self, Books, take_apart};
use super::random::stage::{self, Ended, Owned, Stage};
use crate::chance::Chance;
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::wait::wait_for;

/// Records a second, as long as there are no more than [`RECORDS`] of them.
const RATE: f64 = 20.0;
/// What a day's journal can be read of into memory.
const RECORDS: f64 = 300_000.0;
/// How long a lull may take: people are told of failed turns after half a minute, lanes wait up to one.
const LULL: Duration = Duration::from_secs(240);
/// Longer than the retention of receipts, which is seven days.
const RETENTION: Duration = Duration::from_secs(7 * 86_400);
/// For `spool dismiss`.
const REASON: [&str; 2] = ["--reason", "it was only for a soak"];
const DONE: Ended = Ended::Code(0);

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let mut report = Report::default();
    let mut stage = Stage::build(ground, "soak", ground.chance("wire"))?;
    stage.wire.calm();
    let sessions = sessions(&stage);
    let mut agent = Owned(stage.agent()?);
    let mut vitals = Vitals::of(agent.0.id());
    let mut latencies = Vec::new();
    let mut growth = Vec::new();
    // The last lull comes within the budget; a hunt is for others to win.
    let budget = if ground.hunts() { Duration::from_secs(12) } else { ground.budget };
    let reserve = (budget / 4).min(Duration::from_secs(60));
    let stretch = (budget / 5).clamp(Duration::from_secs(8), Duration::from_secs(1800));
    let end = Instant::now() + budget.saturating_sub(reserve);
    let rate = RATE.min(RECORDS / budget.as_secs_f64().max(1.0));
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        let left = end.saturating_duration_since(Instant::now());
        // No short one at the end.
        let length = if left < stretch * 3 / 2 { left } else { stretch };
        let work = Work { stage: &stage, sessions: &sessions, number, rate, until: Instant::now() + length };
        let (promises, deaths) = work.day(ground, &mut agent.0, &mut vitals, &mut report)?;
        if report.violated() > 0 {
            break;
        }
        lull(&stage, &mut agent.0, &mut report)?;
        let books = Books::read(&stage.spool)?;
        let testimony = Testimony::of(&stage.gateway, &mut report);
        judge(&promises, &books, &testimony, deaths, &mut report);
        audit(&stage, &books, &mut report)?;
        latencies.extend(waits(&stage, &sessions, &promises, &books));
        let journal = sizes(&stage, "journal")?;
        growth.push((promises.len() as u64, journal));
        report.count("records", promises.len() as u64);
        report.count("lulls", 1);
        if report.violated() > 0 {
            report.fact(format!("the agent said: {}", stage.said_of("WARN", 12)));
            break;
        }
        tidy(&stage, &mut report)?;
        stage.replace_gateway()?;
        self::sessions(&stage);
    }
    let ended = stage::stop(&mut agent.0)?;
    report.check(ended == DONE, || format!("the agent ended with {ended:?}"));
    vitals.judge(&mut report);
    judge_growth(&growth, &mut report);
    tell_latency(&mut latencies, &mut report);
    if !ground.hunts() {
        report.at_least("records", budget.as_secs());
        report.at_least("operator's verbs", budget.as_secs() / 10);
    }
    Ok(report)
}

fn sessions(stage: &Stage<'_>) -> Sessions {
    let named = |kind: &str, n: usize| (0..n).map(|i| format!("agent:main:{kind}:{i}")).collect::<Vec<_>>();
    let (plain, chats) = (named("job", 20), named("telegram:direct", 4));
    for key in &plain {
        stage.gateway.add_session(key, None);
    }
    for (chat, key) in (77_000..).zip(&chats) {
        stage.gateway.add_chat(key, chat);
    }
    Sessions { plain, chats, archived: None, missing: None }
}

/// A stretch of work.
struct Work<'a> {
    stage: &'a Stage<'a>,
    sessions: &'a Sessions,
    number: u64,
    rate: f64,
    until: Instant,
}

impl Work<'_> {
    /// Works until it is over; what was promised, and how often the gateway died.
    fn day(
        &self,
        ground: &Ground,
        agent: &mut Child,
        vitals: &mut Vitals,
        report: &mut Report,
    ) -> Outcome<(Vec<Promise>, u64)> {
        let chance = |what: &str| ground.chance(&format!("{what} {}", self.number));
        let name = format!("s{}", self.number);
        // Nobody is killed here.
        let mut producer = Producer::new(self.stage, self.sessions, &name, chance("producer"), 1);
        let (over, deaths) = (AtomicBool::new(false), AtomicU64::new(0));
        let (mut promises, own) = thread::scope(|scope| {
            let restarts = scope.spawn(|| self.restarts(chance("restarts"), &over, &deaths));
            let person = scope.spawn(|| self.person(chance("person"), &over));
            let worked = self.produce(&mut producer, agent, vitals);
            over.store(true, Ordering::Relaxed);
            let panicked = || Err("a thread panicked".into());
            let person = person.join().unwrap_or_else(|_| panicked());
            restarts.join().unwrap_or_else(|_| Err("a thread panicked".into()))?;
            worked?;
            person
        })?;
        report.absorb(own);
        let (made, own) = producer.close();
        report.absorb(own);
        promises.extend(made);
        Ok((promises, deaths.load(Ordering::Relaxed)))
    }

    fn produce(&self, producer: &mut Producer<'_>, agent: &mut Child, vitals: &mut Vitals) -> Outcome<()> {
        let start = Instant::now();
        let mut made = 0.0;
        while Instant::now() < self.until && !producer.has_violation() {
            producer.step()?;
            made += 1.0;
            vitals.look()?;
            if let Some(status) = agent.try_wait()? {
                return Err(format!("the agent ended: {status}: {}", self.stage.said_of("", 3)).into());
            }
            thread::sleep(Duration::from_secs_f64(made / self.rate).saturating_sub(start.elapsed()));
        }
        Ok(())
    }

    /// The gateway is killed or restarted in order, now and then.
    fn restarts(&self, mut chance: Chance, over: &AtomicBool, deaths: &AtomicU64) -> Outcome<()> {
        while sleep(Duration::from_millis(8000 + chance.below(25_000)), over) {
            if chance.one_in(2) {
                self.stage.gateway.kill();
            } else {
                self.stage.gateway.stop();
            }
            deaths.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(200 + chance.below(2000)), &AtomicBool::new(false));
            self.stage.gateway.restart()?;
        }
        Ok(())
    }

    /// A person looks around, and now and then holds a record that is not due yet, releases it and puts it aside.
    fn person(&self, mut chance: Chance, over: &AtomicBool) -> Outcome<(Vec<Promise>, Report)> {
        let (mut report, mut promises) = (Report::default(), Vec::new());
        let run = |args: &[&str]| stage::run(self.stage.command("spool", args), None);
        while sleep(Duration::from_millis(1000 + chance.below(3000)), over) {
            let verb = match chance.below(3) {
                0 => "list",
                1 => "status",
                _ => "audit",
            };
            let ended = run(&[verb])?;
            report.count("operator's verbs", 1);
            // status says with its number that a gateway is away.
            let is_fit = ended == DONE || verb == "status" && ended == Ended::Code(1);
            report.check(is_fit, || format!("spool {verb} ended with {ended:?}"));
            if !chance.one_in(3) {
                continue;
            }
            let nonce = format!("n-p{}-{}", self.number, promises.len());
            let (id, text) = (format!("id:{nonce}"), format!("{nonce} is for later"));
            let session = self.sessions.plain.first().cloned().unwrap_or_default();
            let later = (now_ms() + 3_600_000).to_string();
            let args = ["--session", &session, "--id", &id, "--not-before", &later, &text];
            let put = stage::run(self.stage.command("spool-put", &args), None)?;
            report.check(put == DONE, || format!("spool-put of {id} ended with {put:?}"));
            for verb in ["hold", "release", "dismiss"] {
                let mut args = vec![verb, &id];
                if verb == "dismiss" {
                    args.extend(REASON);
                }
                let ended = run(&args)?;
                report.count("operator's verbs", 1);
                report.check(ended == DONE, || format!("spool {verb} {id} ended with {ended:?}"));
            }
            promises.push(Promise {
                id: Some(id),
                nonce,
                session: Some(session),
                said: Said::Text(text),
                fate: Fate::Dismissed,
                acknowledged: true,
                at: now_ms(),
            });
        }
        Ok((promises, report))
    }
}

/// Sleeps in short pieces. `false` when it is over.
fn sleep(time: Duration, over: &AtomicBool) -> bool {
    let until = Instant::now() + time;
    while Instant::now() < until {
        if over.load(Ordering::Relaxed) {
            return false;
        }
        thread::sleep(Duration::from_millis(50).min(time));
    }
    true
}

/// Nobody produces; the agent finishes what there is.
fn lull(stage: &Stage<'_>, agent: &mut Child, report: &mut Report) -> Outcome<()> {
    let settled = wait_for("everything to settle", LULL, || {
        if let Some(status) = agent.try_wait()? {
            return Err(format!("the agent ended: {status}: {}", stage.said_of("", 3)).into());
        }
        Ok((reader::unsettled(&stage.spool)? == 0).then_some(()))
    });
    if let Err(error) = settled {
        report.violation(error.to_string());
    }
    // The journal is written a moment after the renames.
    thread::sleep(Duration::from_millis(300));
    Ok(())
}

/// Receipts and logs go when their time is over; then nothing is left but the frame.
fn tidy(stage: &Stage<'_>, report: &mut Report) -> Outcome<()> {
    let dead = reader::names(&stage.spool.join("dead"))?;
    let dead = dead.iter().filter(|name| !name.ends_with(".why.json"));
    let dead: Vec<&str> = dead.filter_map(|name| name.strip_suffix(".json")).collect();
    if !dead.is_empty() {
        let mut args = vec!["dismiss"];
        args.extend(REASON);
        args.extend(dead);
        let ended = stage::run(stage.command("spool", &args), None)?;
        report.check(ended == DONE, || format!("spool dismiss of what is dead ended with {ended:?}"));
    }
    let spool = Spool::open(&stage.spool)?;
    let later = |age: Duration| now_ms() + u64::try_from(age.as_millis()).unwrap_or_default() + 60_000;
    let receipts = [Dir::Done, Dir::Dismissed];
    let old = spool.receipts_older(&receipts, later(RETENTION), RETENTION, usize::MAX)?;
    let gone = spool.prune(old, None)?;
    spool.sweep_logs(later(LOG_AGE), LOG_AGE)?;
    spool.sweep_reasons(later(LOG_AGE))?;
    spool.sweep_runs(later(LOG_AGE))?;
    report.count("receipts pruned", gone.len() as u64);
    for dir in ["tmp", "new", "sending", "deferred", "hold", "dead", "done", "dismissed", "runs", "logs"] {
        let left = reader::names(&stage.spool.join(dir))?;
        report.check(left.is_empty(), || {
            format!("left in {dir} when all is over: {:?}", left.get(..5).unwrap_or(&left))
        });
    }
    Ok(())
}

/// The bytes in one of the directories.
fn sizes(stage: &Stage<'_>, dir: &str) -> Outcome<u64> {
    let mut bytes = 0;
    for item in std::fs::read_dir(stage.spool.join(dir))? {
        bytes += item?.metadata()?.len();
    }
    Ok(bytes)
}

/// What a record costs in the journal stays what it was.
fn judge_growth(growth: &[(u64, u64)], report: &mut Report) {
    let mut before = 0;
    let mut costs = Vec::new();
    for (records, bytes) in growth {
        costs.push((bytes - before) / (*records).max(1));
        before = *bytes;
    }
    if let (Some(least), Some(most)) = (costs.iter().min(), costs.iter().max()) {
        report.fact(format!("the journal grew by {least} to {most} bytes a record"));
        report.check(*most <= least * 2, || format!("a record costs {costs:?} bytes of the journal"));
    }
}

/// Milliseconds from each producer's yes to the row in the transcript.
fn waits(stage: &Stage<'_>, sessions: &Sessions, promises: &[Promise], books: &Books) -> Vec<u64> {
    let mut rows = HashMap::new();
    for session in sessions.plain.iter().chain(&sessions.chats) {
        for row in stage.gateway.transcript(session) {
            if row.role == Role::User
                && let Ok((_, ids)) = take_apart(&row.text)
            {
                rows.extend(ids.into_iter().map(|id| (id, row.at)));
            }
        }
    }
    let ids: HashMap<&str, &str> = books
        .entries
        .iter()
        .filter_map(|e| Some((e.says("text").split(' ').next()?, e.id.as_str())))
        .collect();
    let committed = |promise: &Promise| {
        let id = promise.id.as_deref().or_else(|| ids.get(promise.nonce.as_str()).copied())?;
        Some(rows.get(id)?.saturating_sub(promise.at))
    };
    promises.iter().filter_map(committed).collect()
}

fn tell_latency(latencies: &mut [u64], report: &mut Report) {
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
    report.fact(format!(
        "from a producer's yes to the commit, outages of the gateway included: median {} ms, p99 {} ms of {}",
        at(50),
        at(99),
        latencies.len()
    ));
}
