//! What happens to agents and gateways while the producers are killed.

use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use spool_gateway::fake::errors;
use spool_gateway::fake::{At, Fault, Rule};

use super::Tally;
use super::stage::{Ended, Owned, Stage, stop};
use crate::chance::Chance;
use crate::layer::{Outcome, Report};

/// What `spool drain` ends with when another agent has the spool.
const TAKEN: Ended = Ended::Code(69);

/// One of two agents that compete for a spool.
struct Slot {
    agent: Option<(Owned, Instant)>,
    start_at: Instant,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Two agents at a time, each killed wherever it is after a short or a longer life.
pub(super) fn agents(
    stage: &Stage<'_>,
    mut chance: Chance,
    over: &AtomicBool,
    tally: &Tally,
) -> Outcome<Report> {
    let mut report = Report::default();
    let mut slots = [0, 1].map(|_| Slot { agent: None, start_at: Instant::now() });
    while !over.load(Ordering::Relaxed) {
        for slot in &mut slots {
            let now = Instant::now();
            match &mut slot.agent {
                None if now >= slot.start_at => {
                    // From a start cut short to some deliveries.
                    let life =
                        if chance.one_in(2) { 5 + chance.below(250) } else { 250 + chance.below(1500) };
                    slot.agent = Some((Owned(stage.agent()?), now + ms(life)));
                }
                None => {}
                Some((agent, dies_at)) => {
                    let Some(pause) =
                        look_after(&mut agent.0, now >= *dies_at, &mut chance, tally, &mut report)?
                    else {
                        continue;
                    };
                    slot.agent = None;
                    slot.start_at = now + pause;
                }
            }
        }
        thread::sleep(ms(4));
    }
    Ok(report)
}

/// When the next agent takes this one's place; `None` while it lives.
fn look_after(
    agent: &mut Child,
    is_time: bool,
    chance: &mut Chance,
    tally: &Tally,
    report: &mut Report,
) -> Outcome<Option<Duration>> {
    if let Some(status) = agent.try_wait()? {
        let ended = Ended::from(status);
        report.check(ended == TAKEN, || format!("an agent ended by itself with {ended:?}"));
        report.count("agents kept out by the other one", 1);
        return Ok(Some(ms(100 + chance.below(400))));
    }
    if !is_time {
        return Ok(None);
    }
    if chance.one_in(10) {
        let ended = stop(agent)?;
        // SIGTERM may come before it listens.
        let is_fit = matches!(ended, Ended::Code(0) | Ended::Signal(15) | TAKEN);
        report.check(is_fit, || format!("a stopped agent ended with {ended:?}"));
        report.count("agents stopped", 1);
    } else {
        agent.kill()?;
        if Ended::from(agent.wait()?) == Ended::Killed {
            tally.agents.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(Some(ms(chance.below(60))))
}

/// The gateway dies, stands still or misbehaves. Returns how often it died.
pub(super) fn gateways(
    stage: &Stage<'_>,
    mut chance: Chance,
    over: &AtomicBool,
    tally: &Tally,
) -> Outcome<u64> {
    let gateway = &stage.gateway;
    let mut deaths = 0;
    let mut boot = gateway.boot_id();
    while !over.load(Ordering::Relaxed) {
        let now = gateway.boot_id();
        if now != boot {
            // A scripted crash counts like one of ours.
            boot = now;
            deaths += 1;
            tally.gateways.fetch_add(1, Ordering::Relaxed);
        }
        match chance.below(8) {
            0..=2 => {
                gateway.kill();
                pause(chance.below(250), over);
                gateway.restart()?;
            }
            3..=5 => misbehave(stage, &mut chance),
            6 => {
                gateway.freeze(true);
                pause(chance.below(300), over);
                gateway.freeze(false);
            }
            _ if chance.one_in(2) => gateway.cut_connections(),
            _ => gateway.close_connections(1012, "service restart"),
        }
        pause(50 + chance.below(500), over);
    }
    Ok(deaths)
}

fn pause(millis: u64, over: &AtomicBool) {
    let until = Instant::now() + ms(millis);
    while Instant::now() < until && !over.load(Ordering::Relaxed) {
        thread::sleep(ms(millis.min(20)));
    }
}

/// The next request of some kind goes wrong in some way.
fn misbehave(stage: &Stage<'_>, chance: &mut Chance) {
    let points = [At::Frame, At::Accepted, At::Committed, At::Told, At::Final];
    let at = chance.pick(&points).copied().unwrap_or(At::Accepted);
    let fault = match chance.below(12) {
        0..=3 => Fault::Crash(at, Some(ms(chance.below(200)))),
        4 | 5 => Fault::Drop(at),
        6 => Fault::Mute(at),
        7 => Fault::AcceptThenForget,
        8 => Fault::AcceptThenError(errors::draining()),
        9 => Fault::Error(errors::restarting()),
        10 => Fault::NoCommitEvent,
        _ => Fault::AnswerLate(ms(chance.below(400))),
    };
    let methods = ["agent", "agent", "agent", "send", "*"];
    let method = chance.pick(&methods).copied().unwrap_or("agent");
    let skip = u32::try_from(chance.below(3)).unwrap_or(0);
    stage.gateway.clear_rules();
    stage.gateway.rule(Rule::on(method).skip(skip).then(fault));
}
