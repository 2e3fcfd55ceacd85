//! The conformance kit, turned on itself: producers that are right must pass all of its rules, also when they are killed
//! and the power is cut, and careless ones must fail the rules that their heads name, and no other.
//!
//! The producers are the references that come with the kit, in four languages, and `spool-put`. With a seeded bug only
//! `spool-put` is judged, and any rule that it fails is a catch.

use std::ffi::OsString;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use spool_conformance::cast::{self, Actor};
use spool_conformance::{Judgement, Options, RULES, judge};

use crate::ground::{Ground, is_ci};
use crate::layer::{Outcome, Report};

/// What one run of a producer may take, on a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who is judged: one that comes with the kit, or `spool-put`.
enum Part {
    Actor(Box<Actor>),
    SpoolPut,
}

impl Part {
    fn name(&self) -> &str {
        match self {
            Part::Actor(actor) => &actor.name,
            Part::SpoolPut => "spool-put",
        }
    }

    fn is_careless(&self) -> bool {
        matches!(self, Part::Actor(actor) if actor.is_careless())
    }
}

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let mut parts = vec![Part::SpoolPut];
    if !ground.hunts() {
        let mut actors = cast::all()?;
        // Those that take longest first: they run side by side.
        actors.sort_by_key(Actor::is_careless);
        parts.extend(actors.into_iter().map(|actor| Part::Actor(Box::new(actor))));
    }
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    let cores = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(part) = parts.get(at) else { break };
                    let report = play(ground, part, at).map_err(|e| format!("{}: {e}", part.name()));
                    if let Ok(mut reports) = reports.lock() {
                        reports.push(report);
                    }
                }
            });
        }
    });
    let mut report = Report::default();
    for one in reports.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
        report.absorb(one?);
    }
    if ground.hunts() {
        report.at_least("rules judged", 1);
    } else {
        report.at_least("producers", 3);
        report.at_least("careless producers", 5);
        report.at_least("rules judged", 120);
        report.at_least("kills", 150);
    }
    Ok(report)
}

/// Judges one, and the judgement.
fn play(ground: &Ground, part: &Part, at: usize) -> Outcome<Report> {
    let mut report = Report::default();
    let room = ground.room(&format!("on-{}", part.name().replace('/', "-")))?;
    let (command, options) = match part {
        Part::SpoolPut => (spool_put(ground), spool_put_options(ground)),
        Part::Actor(actor) => {
            if let Some(program) = actor.lacks() {
                if is_ci() {
                    return Err(format!("there is no {program}; install it").into());
                }
                report.fact(format!("skipped: {}, there is no {program}", actor.name));
                return Ok(report);
            }
            (actor.command(&room)?, actor.options(&options(ground, actor, at)))
        }
    };
    let judgement = judge(&command, &options, &room)?;
    report.count("runs", judgement.runs);
    report.count("kills", judgement.kills);
    report.count("rules judged", (judgement.passed().len() + judgement.failed().len()) as u64);
    report.count(if part.is_careless() { "careless producers" } else { "producers" }, 1);
    weigh(part, &judgement, options.id, &mut report)?;
    Ok(report)
}

/// Whether the judgement is what it should be.
fn weigh(part: &Part, judgement: &Judgement, has_id: bool, report: &mut Report) -> Outcome<()> {
    if !part.is_careless() {
        // All can be tried but what needs an id; a careless one may spoil a rule for others.
        let lacking: Vec<String> = judgement
            .findings
            .iter()
            .filter(|finding| judgement.not_tried().contains(&finding.rule.name))
            .filter(|finding| has_id || !finding.to_string().contains("--no-id"))
            .map(ToString::to_string)
            .collect();
        if let Some(first) = lacking.first() {
            if is_ci() {
                return Err(format!("a rule cannot be tried: {first}").into());
            }
            report.fact(format!(
                "skipped: {}, {} of {} rules: {first}",
                part.name(),
                lacking.len(),
                RULES.len()
            ));
        }
        for finding in judgement.findings.iter().filter(|f| judgement.failed().contains(&f.rule.name)) {
            report.violation(format!("{}: {finding}", part.name()));
        }
        return Ok(());
    }
    if let Part::Actor(actor) = part {
        if let Some(wrong) = actor.wrong(judgement) {
            report.violation(wrong);
        }
        report.count("mistakes seen", judgement.failed().len() as u64);
    }
    Ok(())
}

/// In CI a third of the careless ones, by turns, are tried on all rules, to see that they fail no other; each is tried on
/// those that it must fail.
fn options(ground: &Ground, actor: &Actor, at: usize) -> Options {
    let is_turn = ground.full || !actor.is_careless() || (at as u64 + ground.seed).is_multiple_of(3);
    let only = if is_turn {
        Vec::new()
    } else {
        ["published", "id"].into_iter().map(str::to_owned).chain(actor.must_fail.clone()).collect()
    };

    // A compiled program lives for a millisecond, an interpreter for fifty.
    let kills = match (ground.full, actor.is_careless(), actor.name.starts_with("producers/c")) {
        (true, false, _) => 1000,
        (true, true, _) => 30,
        (false, false, true) => 150,
        (false, false, false) => 50,
        (false, true, _) => 4,
    };
    let races = if ground.full { 20 } else { 2 };
    Options { kills, races, only, seed: ground.seed, patience: PATIENCE, ..Options::default() }
}

fn spool_put(ground: &Ground) -> Vec<OsString> {
    let script = r#"exec "$0" --id "$SPOOL_ID" -- "$SPOOL_TEXT""#;
    vec!["sh".into(), "-c".into(), script.into(), ground.programs.join("spool-put").into()]
}

fn spool_put_options(ground: &Ground) -> Options {
    let kills = match (ground.hunts(), ground.full) {
        (true, _) => 10,
        (false, true) => 2000,
        (false, false) => 200,
    };
    let env = ground.bug.map(|bug| ("SPOOL_SEEDED_BUG".into(), bug.name().into()));
    let env = env.into_iter().collect();
    let races = if ground.hunts() { 1 } else { 10 };
    Options { kills, races, seed: ground.seed, cuts: true, env, patience: PATIENCE, ..Options::default() }
}
