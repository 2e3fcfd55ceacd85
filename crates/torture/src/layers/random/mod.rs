//! Producers, agents and gateways killed at random, with a wire between them that breaks.
//!
//! Several stages side by side, each with a spool, a gateway and a wire of its own. On each a producer is killed while
//! it writes, again and again; two agents compete for the spool and are killed wherever they are; the gateway is killed,
//! frozen and scripted to misbehave. After a while all that stops, the gateway comes back, one agent drains, and the
//! books are read by a reader that shares no code with the product ([`reader`], [`judge`]). Then a new round begins on a
//! new spool. What is kept true is said in [`judge`].

pub(super) mod judge;
pub(super) mod ledger;
pub(super) mod producers;
pub(super) mod reader;
pub(super) mod stage;
mod trouble;
pub(super) mod wire;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use self::judge::{Testimony, judge};
use self::producers::{Producer, Sessions};
use self::reader::Books;
use self::stage::{Ended, Owned, Stage};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::wait::wait_for;

/// Stages side by side.
const STAGES: usize = 4;
/// How long a round hurts before it settles.
const ROUND: Duration = Duration::from_secs(25);
/// How long settling may take: people are told of failed turns after half a minute, lanes wait up to one.
const SETTLE: Duration = Duration::from_secs(240);

/// How long a bug is hunted.
const HUNT: Duration = Duration::from_secs(18);
/// A producer waits up to twice so long after each call: there are others on this machine.
const BREATH: u64 = 5;

/// What all stages have done so far, and how much of it is enough.
#[derive(Debug, Default)]
pub(super) struct Tally {
    producers: AtomicU64,
    agents: AtomicU64,
    gateways: AtomicU64,
    /// A bug was seen, or a stage cannot work: the others may stop.
    over: AtomicBool,
}

/// How many kills are enough, of producers, agents and gateways.
struct Enough([u64; 3]);

impl Tally {
    fn counts(&self) -> [u64; 3] {
        [&self.producers, &self.agents, &self.gateways].map(|n| n.load(Ordering::Relaxed))
    }

    fn has(&self, enough: &Enough) -> bool {
        self.counts().iter().zip(enough.0).all(|(n, least)| *n >= least)
    }
}

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let seconds = ground.budget.as_secs();
    let tally = Tally::default();
    // 20,000 kills in CI; the whole form goes on as long as it may.
    let enough =
        if ground.full { Enough([u64::MAX; 3]) } else { Enough([100 * seconds, 2 * seconds, seconds]) };
    let stages = if ground.hunts() { 2 } else { STAGES };
    let mut report = Report::default();
    let reports: Vec<Outcome<Report>> = thread::scope(|scope| {
        let (tally, enough) = (&tally, &enough);
        let works: Vec<_> =
            (0..stages).map(|at| scope.spawn(move || work(ground, at, tally, enough))).collect();
        let gone = || Err("a stage panicked".into());
        works.into_iter().map(|work| work.join().unwrap_or_else(|_| gone())).collect()
    });
    for part in reports {
        report.absorb(part?);
    }
    let [producers, agents, gateways] = tally.counts();
    report.count("kills", producers + agents + gateways);
    report.count("kills of producers", producers);
    report.count("kills of agents", agents);
    report.count("kills of gateways", gateways);
    if !ground.hunts() {
        // What a machine does that is busy with other things as well.
        report.at_least("kills", 40 * seconds);
        report.at_least("kills of agents", seconds / 2);
        report.at_least("kills of gateways", seconds / 3);
        report.at_least("broken connections", seconds / 3);
        report.at_least("done before the calm", seconds);
        report.at_least("delivered once", seconds);
        report.at_least("runs lost and told", seconds / 30);
    }
    Ok(report)
}

/// One round after the other on one stage.
fn work(ground: &Ground, at: usize, tally: &Tally, enough: &Enough) -> Outcome<Report> {
    let mut report = Report::default();
    // The last rounds have to settle within the budget; a hunt is over soon.
    let reserve = if ground.hunts() { ground.budget.saturating_sub(HUNT) } else { ground.budget / 4 };
    for number in 0.. {
        let is_over = ground.left() <= reserve || tally.has(enough);
        if number > 0 && is_over || tally.over.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{at}-{number}");
        let hurt = if ground.hunts() { Duration::from_secs(3) } else { ROUND };
        let until = Instant::now() + hurt.min(ground.left().saturating_sub(reserve));
        let ended = round(ground, &name, until, tally, enough);
        if ground.hunts() || ended.is_err() {
            let is_caught = ended.as_ref().map_or(true, |round| round.violated() > 0);
            tally.over.fetch_or(is_caught, Ordering::Relaxed);
        }
        report.absorb(ended?);
        report.count("rounds", 1);
    }
    Ok(report)
}

/// One round: hurt, settle, judge.
fn round(ground: &Ground, name: &str, until: Instant, tally: &Tally, enough: &Enough) -> Outcome<Report> {
    let mut stage = Stage::build(ground, name, ground.chance(&format!("wire {name}")))?;
    // Chats take long to settle, since people are told late: not on every stage.
    let has_chats = !ground.hunts() && name.starts_with('0');
    let sessions = sessions(&stage, has_chats, ground.hunts());
    // Turns of all lengths, so that some are cut short before and some after the commit.
    let mut speed = ground.chance(&format!("speed {name}"));
    stage.gateway.configure(|options| {
        options.commit_delay = Duration::from_millis(5 + speed.below(60));
        options.turn_duration = options.commit_delay + Duration::from_millis(10 + speed.below(250));
    });
    let stop = AtomicBool::new(false);
    let chance = |what: &str| ground.chance(&format!("{what} {name}"));
    let (promises, mut report, deaths) = thread::scope(|scope| {
        let stage = &stage;
        let (stop, sessions) = (&stop, &sessions);
        let agents = scope.spawn(move || trouble::agents(stage, chance("agents"), stop, tally));
        let gateways = scope.spawn(move || trouble::gateways(stage, chance("gateways"), stop, tally));
        let mut producer = Producer::new(stage, sessions, name, chance("producer"), 6);
        let (mut failed, mut breath) = (None, chance("breath"));
        while Instant::now() < until
            && !tally.has(enough)
            && !producer.has_violation()
            && !tally.over.load(Ordering::Relaxed)
        {
            match producer.step() {
                Ok(kills) => {
                    tally.producers.fetch_add(kills, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(breath.below(2 * BREATH)));
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
        let agents = agents.join().unwrap_or_else(|_| Err("the thread of the agents panicked".into()));
        let gateways = gateways.join().unwrap_or_else(|_| Err("the thread of the gateway panicked".into()));
        let (promises, mut report) = producer.close();
        if let Some(error) = failed {
            return Err(error);
        }
        report.absorb(agents?);
        Ok((promises, report, gateways?))
    })?;
    report.count("broken connections", stage.wire.broken());
    if ground.hunts() && report.violated() > 0 {
        return Ok(report);
    }
    report.count("done before the calm", reader::names(&stage.spool.join("done"))?.len() as u64);
    settle(ground, &mut stage, &mut report)?;
    let books = Books::read(&stage.spool)?;
    let testimony = Testimony::of(&stage.gateway, &mut report);
    judge(&promises, &books, &testimony, deaths + 1, &mut report);
    audit(&stage, &books, &mut report)?;
    if report.violated() > 0 && !ground.hunts() {
        report.fact(format!("round {name}: the agents said: {}", stage.said_of("WARN", 12)));
    }
    // A spool that was judged is of no more use, and there are many.
    let home = stage.home.clone();
    drop(stage);
    std::fs::remove_dir_all(home)?;
    Ok(report)
}

fn sessions(stage: &Stage<'_>, has_chats: bool, hunts: bool) -> Sessions {
    let named = |kind: &str, n: usize| (0..n).map(|i| format!("agent:main:{kind}:{i}")).collect::<Vec<_>>();
    let plain = named("job", if hunts { 3 } else { 8 });
    for key in &plain {
        stage.gateway.add_session(key, None);
    }
    let chats = named("telegram:direct", if has_chats { 2 } else { 0 });
    for (chat, key) in (77_000..).zip(&chats) {
        stage.gateway.add_chat(key, chat);
    }
    let archived = "agent:main:job:archived".to_owned();
    stage.gateway.add_session(&archived, None);
    stage.gateway.archive(&archived, true);
    Sessions { plain, chats, archived: Some(archived), missing: Some("agent:main:job:missing".to_owned()) }
}

/// Everything stops; the gateway comes back without what it remembered, the wire holds, and one agent drains.
fn settle(ground: &Ground, stage: &mut Stage<'_>, report: &mut Report) -> Outcome<()> {
    stage.gateway.clear_rules();
    stage.gateway.freeze(false);
    stage.wire.calm();
    stage.gateway.restart()?;
    let mut agent = Owned(stage.agent()?);
    let limit = if ground.hunts() { Duration::from_secs(12) } else { SETTLE };
    let settled = wait_for("everything to settle", limit, || {
        if let Some(status) = agent.0.try_wait()? {
            return Err(format!("the agent ended: {status}: {}", stage.said_of("", 3)).into());
        }
        Ok((reader::unsettled(&stage.spool)? == 0).then_some(()))
    });
    // What is there all the same is named by the judge.
    report.count("settled rounds", u64::from(settled.is_ok()));
    if let Err(error) = settled {
        report.violation(error.to_string());
    }
    let ended = stage::stop(&mut agent.0)?;
    report.check(ended == Ended::Code(0), || format!("the agent ended with {ended:?}"));
    Ok(())
}

/// `spool audit` says the same as the independent reader; and it sees a loss and a double when there is one.
pub(super) fn audit(stage: &Stage<'_>, books: &Books, report: &mut Report) -> Outcome<()> {
    let audit = || -> Outcome<(Ended, Value)> {
        let (ended, said) = stage::ask(stage.command("spool", &["audit", "--json"]), &stage.home)?;
        Ok((ended, serde_json::from_str(&said)?))
    };
    let (ended, said) = audit()?;
    if report.violated() > 0 {
        return Ok(());
    }
    report.check(ended == Ended::Code(0), || format!("spool audit ended with {ended:?}: {said}"));
    for (state, n) in books.counts() {
        let their = said.pointer(&format!("/states/{state}")).and_then(Value::as_u64);
        report.check(their == Some(n), || format!("spool audit counts {their:?} {state}, there are {n}"));
    }
    let accepted = said.get("accepted").and_then(Value::as_u64);
    let (known, pruned) = books.journalled();
    let all = Some((books.entries.len() + pruned.len()) as u64);
    report.check(accepted == all, || format!("spool audit knows of {accepted:?} accepted, not {all:?}"));
    // Is it able to see anything? Take one away that the journal knows, then have one twice.
    let Some(entry) = books.entries.iter().find(|e| e.state == "done" && known.contains(e.id.as_str()))
    else {
        return Ok(());
    };
    let (there, away) = (stage.spool.join("done").join(&entry.name), stage.home.join("taken-away"));
    std::fs::copy(&there, &away)?;
    std::fs::remove_file(&there)?;
    let (ended, said) = audit()?;
    let is_named = said.get("lost").is_some_and(|lost| lost.to_string().contains(&entry.id));
    report.check(ended == Ended::Code(1) && is_named, || {
        format!("{} was taken away, and spool audit does not miss it: {ended:?} {said}", entry.id)
    });
    std::fs::copy(&away, &there)?;
    std::fs::copy(&away, stage.spool.join("hold").join(&entry.name))?;
    let (ended, said) = audit()?;
    let is_named = said.get("doubled").is_some_and(|doubled| doubled.to_string().contains(&entry.id));
    report.check(ended == Ended::Code(1) && is_named, || {
        format!("{} is there twice, and spool audit does not see it: {ended:?} {said}", entry.id)
    });
    std::fs::remove_file(stage.spool.join("hold").join(&entry.name))?;
    report.count("audits", 3);
    Ok(())
}
