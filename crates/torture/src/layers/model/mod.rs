//! The protocol, in all its states.
//!
//! A model checker walks through every world that the protocol can get into, within bounds: every order of the steps of
//! producers, agents, gateway, people and fate, every moment of a SIGKILL, every subset of unsynced operations that a
//! power cut leaves. In each world the promises must hold ([`promises`]). The entries move as the product's own state
//! machine says ([`atlas`]).
//!
//! One search over everything would be too large to end; so there are configurations, each deep where the others are
//! shallow ([`configurations`]), a model of its own for runs ([`leases`]), and traces that are replayed on the real
//! programs ([`replay`]), so that the model is about them and not about itself.
//!
//! A seeded bug is a variant of the model: a hunt returns the promise that broke and the shortest way there.

mod agents;
mod atlas;
mod bounds;
mod gateway;
mod leases;
mod producers;
mod promises;
mod protocol;
mod replay;
mod world;

use std::collections::BTreeSet;
use std::hash::Hash;
use std::time::{Duration, Instant};

use spool_seeded::Bug;
use stateright::{Checker, Expectation, HasDiscoveries, Model};

use self::bounds::configurations;
use self::leases::Leases;
use self::protocol::Protocol;
use crate::ground::Ground;
use crate::layer::{Outcome, Report};

/// Traces in CI, in the whole form, and at most in a hunt.
const TRACES: u64 = 120;
const FULL: u64 = 5_000;
const HUNTED: u64 = 60;
/// Traces that are walked whatever the time.
const FLOOR: u64 = 100;
/// Traces walked side by side: they mostly wait.
const WIDE: usize = 4;

/// What a search has shown besides its figures.
#[derive(Default)]
struct Shown {
    /// Promises that a variant of the model breaks.
    broken: BTreeSet<&'static str>,
    /// Worlds that are met ([`promises::reached`]).
    met: BTreeSet<&'static str>,
}

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let mut report = Report::default();
    if ground.hunts() {
        // Only the real programs can show a bug of theirs.
        replay::run(ground, &mut report, HUNTED, 0, 2)?;
        return Ok(report);
    }
    let traces = if ground.full { FULL } else { TRACES };
    let mut replayed = Report::default();
    std::thread::scope(|scope| {
        let walk = scope.spawn(|| replay::run(ground, &mut replayed, traces, FLOOR, WIDE));
        let searched = searches(ground, &mut report);
        walk.join().unwrap_or_else(|_| Err("the replay panicked".into()))?;
        searched
    })?;
    report.absorb(replayed);
    report.at_least("unique", 5_000_000);
    report.at_least("traces", FLOOR);
    report.at_least("compared steps", 1_000);
    report.at_least("replayed kills", 100);
    Ok(report)
}

/// The model, as it is; then each of its variants; then whether every promise can be broken and every world be met.
fn searches(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let mut shown = Shown::default();
    for bounds in configurations(ground.full) {
        report.fact(format!("{}: {}", bounds.name, bounds.about));
        search(ground, report, &mut shown, bounds.name, Protocol::new(bounds, None)?)?;
    }
    let jobs = Leases { bug: None, agent_kills: 2, wrapper_kills: 2, power_cuts: 2 };
    search(ground, report, &mut shown, "leases", jobs.clone())?;
    for (bug, name) in VARIANTS {
        let broken = match configurations(false).into_iter().find(|bounds| bounds.name == *name) {
            Some(bounds) => broken(Protocol::new(bounds, Some(*bug))?),
            None => broken(Leases { bug: Some(*bug), ..jobs.clone() }),
        };
        report.count("variants of the model", 1);
        report.check(!broken.is_empty(), || {
            format!("{name}: no promise is broken by the variant {}", bug.name())
        });
        shown.broken.extend(broken);
    }
    let promises =
        promises::all().iter().map(|p| p.name).chain(jobs.properties().iter().map(|p| p.name)).collect();
    // Of this one the documented exception is met instead.
    shown.broken.insert("told in plain words at most once");
    let unbroken: Vec<&str> = BTreeSet::difference(&promises, &shown.broken).copied().collect();
    report.check(unbroken.is_empty(), || format!("no variant of the model breaks: {unbroken:?}"));
    let worlds = promises::reached().iter().map(|p| p.name).collect();
    let unmet: Vec<&str> = BTreeSet::difference(&worlds, &shown.met).copied().collect();
    report.check(unmet.is_empty(), || format!("no world was met in which {unmet:?}"));
    Ok(())
}

/// The bugs that the model can have as well, and where they show soonest. That they break a promise here proves that
/// the promises of the model are not empty; it says nothing about the programs. Those are hunted by [`replay`].
const VARIANTS: &[(Bug, &str)] = &[
    (Bug::NoFsync, "durability"),
    (Bug::NoDirsync, "durability"),
    (Bug::ExistsIsOk, "durability"),
    (Bug::Clobber, "durability"),
    (Bug::SendBeforeTake, "durability"),
    (Bug::RecoverUnflushed, "durability"),
    (Bug::RetireEarly, "delivery"),
    (Bug::ForgetSending, "delivery"),
    (Bug::RecoverAsNew, "delivery"),
    (Bug::RekeyOnDoubt, "delivery"),
    (Bug::RetireLane, "delivery"),
    (Bug::HalfMoved, "delivery"),
    (Bug::CloseIsSuccess, "refusals"),
    (Bug::DropDead, "refusals"),
    (Bug::LaneMixup, "sessions"),
    (Bug::NoLock, "agents"),
    (Bug::StaleAgent, "agents"),
    (Bug::IntentUnsynced, "leases"),
    (Bug::LeaseNotInherited, "leases"),
    (Bug::LostTwice, "leases"),
    (Bug::LostIgnored, "leases"),
    (Bug::CloseUnflushed, "leases"),
];

/// The promises that a variant breaks.
fn broken<M>(model: M) -> Vec<&'static str>
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: Clone + PartialEq,
{
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).timeout(ENOUGH).spawn_dfs().join();
    let found = checker.discoveries().into_keys();
    found.filter(|name| is_promise(checker.model(), name)).collect()
}

/// Whether a property is a promise, and not a world that is to be met.
fn is_promise<M: Model>(model: &M, name: &str) -> bool {
    model.properties().iter().any(|p| p.name == name && matches!(p.expectation, Expectation::Always))
}

/// No search takes longer than this beyond the layer's budget: then it is said that it did not come to its end.
const ENOUGH: Duration = Duration::from_secs(300);

/// A step in few words: `Take { a: 0, l: 1 }` as `take a0 l1`.
fn words(act: &impl std::fmt::Debug) -> String {
    let text = format!("{act:?}").replace(": ", "");
    let text: String = text.chars().filter(|c| !"{},".contains(*c)).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Walks through all worlds of a model, and reports what was found.
fn search<M>(ground: &Ground, report: &mut Report, shown: &mut Shown, name: &str, model: M) -> Outcome<()>
where
    M: Model + Send + Sync + Clone + 'static,
    M::State: Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: Clone + PartialEq + std::fmt::Debug,
{
    let start = Instant::now();
    let checker = model
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .timeout(ground.left() + ENOUGH)
        // In depth: what is open is a path and not a front of millions of worlds.
        .spawn_dfs()
        .join();
    let took = start.elapsed().as_secs_f64();
    report.count("states", checker.state_count() as u64);
    report.count("unique", checker.unique_state_count() as u64);
    report.fact(format!(
        "{name}: {} states, {} unique, depth {}, {took:.1} s, {:.0} states/s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        checker.unique_state_count() as f64 / took
    ));
    for (name_of, path) in checker.discoveries() {
        if !is_promise(checker.model(), name_of) {
            shown.met.insert(name_of);
            continue;
        }
        let property = checker.model().property(name_of);
        // The checker works in blocks, and may have gone on a little after the first world that breaks it.
        let steps = path.into_vec();
        let is_broken =
            |(world, _): &(M::State, Option<M::Action>)| !(property.condition)(checker.model(), world);
        let length = steps.iter().position(is_broken).unwrap_or(steps.len());
        let acts: Vec<String> = steps.iter().take(length).flat_map(|(_, act)| act).map(words).collect();
        report.violation(format!("{name}: {name_of}: broken after {length} steps: {}", acts.join(", ")));
    }
    if !checker.is_done() {
        report.violation(format!("{name}: the search did not come to its end"));
    }
    Ok(())
}
