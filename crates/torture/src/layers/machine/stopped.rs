//! An agent is stopped (SIGSTOP: a suspended laptop, a frozen container), the world goes on, and it wakes.
//!
//! Every moment of a delivery is crossed with everything that may happen meanwhile: nothing but time, a gateway that
//! restarts and forgets what it knew, a person who decides otherwise, and a spool that was moved away, whose copy
//! another agent has drained. Whatever it was, the record is delivered once or stands where the person put it, and an
//! agent that does not own the spool any more ends and touches nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use spool_gateway::fake::{Fault, Rule};
use spooldir::Dir;

use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::layers::rig::{Agent, Rig, Sent, chat, names};

/// Where the delivery is when the agent is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// In its lane; the gateway is down.
    Waiting,
    /// The gateway has it, and has not committed it.
    Accepted,
    /// It is in the transcript, and the turn goes on.
    Committed,
    /// It failed, and waits to be tried again.
    Deferred,
}

/// What happens while the agent is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// Ten minutes pass: the gateway has forgotten its keys.
    Time,
    /// The gateway dies and comes back, ten minutes later.
    Restart,
    /// A person puts it on hold, where it may be.
    Hold,
    /// A person dismisses it, where it may be.
    Dismiss,
    /// A person has it tried again at once, where it may be.
    Retry,
    /// The spool is moved away, and another agent drains a copy in its place.
    Copy,
}

const MOMENTS: [Moment; 4] = [Moment::Waiting, Moment::Accepted, Moment::Committed, Moment::Deferred];
const MEANWHILE: [Meanwhile; 6] = [
    Meanwhile::Copy,
    Meanwhile::Time,
    Meanwhile::Restart,
    Meanwhile::Hold,
    Meanwhile::Dismiss,
    Meanwhile::Retry,
];

pub(super) fn run(ground: &Ground, report: &mut Report) -> Outcome<()> {
    for meanwhile in MEANWHILE {
        for moment in MOMENTS {
            let name = format!("stopped-{moment:?}-{meanwhile:?}").to_lowercase();
            let rig = Rig::new(ground, &name)?;
            one(&rig, report, moment, meanwhile).map_err(|e| format!("{name}: {e}"))?;
            report.count("stops", 1);
            if ground.hunts() && report.violated() > 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn one(rig: &Rig<'_>, report: &mut Report, moment: Moment, meanwhile: Meanwhile) -> Outcome<()> {
    let what = format!("stopped when {moment:?}, meanwhile {meanwhile:?}");
    let mut agent = rig.agent()?;
    let sent = bring_to(rig, &mut agent, moment)?;
    rig.fake.clear_rules();
    let id = sent.0.as_str();
    let was_sent = matches!(moment, Moment::Accepted | Moment::Committed);
    let mut stays = None;
    let mut other = None;
    let away = rig.home.join("away");
    match meanwhile {
        Meanwhile::Time => rig.fake.advance(Duration::from_secs(600)),
        Meanwhile::Restart => {
            rig.fake.advance(Duration::from_secs(600));
            rig.fake.restart()?;
        }
        Meanwhile::Hold | Meanwhile::Dismiss | Meanwhile::Retry => {
            let (verb, place) = match meanwhile {
                Meanwhile::Hold => ("hold", "held"),
                Meanwhile::Dismiss => ("dismiss", "dismissed"),
                _ => ("retry", "pending"),
            };
            let (code, said) = rig
                .verb(&[verb, id, "--reason", "a person says so"][..if verb == "dismiss" { 4 } else { 2 }])?;
            // What may have arrived is nobody's to move; what is pending already is said to be.
            let refused = was_sent;
            report
                .check((code != 0) == refused, || format!("{what}: spool {verb} ended with {code}: {said}"));
            if !refused {
                report.check(rig.places(&sent.0) == [place], || {
                    format!("{what}: it is {:?}", rig.places(&sent.0))
                });
                stays = (place != "pending").then_some(place);
            }
        }
        Meanwhile::Copy => {
            copy(&rig.root, &away)?;
            rig.fake.restart()?;
            let second = rig.agent()?;
            report.check(rig.until_done(1), || {
                format!("{what}: the other agent does not deliver: {}", second.log())
            });
            other = Some(second);
        }
    }
    if !rig.fake.is_up() {
        rig.fake.restart()?;
    }
    let before = listing(&away);
    agent.wake()?;
    if let Some(second) = &mut other {
        let ended = agent.ended(rig.limit());
        report.check(ended.and_then(|status| status.code()) == Some(69), || {
            format!(
                "{what}: two agents on one spool: the one that woke ended with {ended:?}: {}",
                agent.log()
            )
        });
        report.check(second.lives(), || format!("{what}: the other agent ended: {}", second.log()));
        report.check(listing(&away) == before, || format!("{what}: what was moved away was touched"));
    }
    match stays {
        Some(place) => {
            // The next record of the session shows that the agent is done with this one.
            let next = rig.put(&sent.1)?;
            report.check(rig.until_done(1), || format!("{what}: the session stands still"));
            report
                .check(rig.places(&sent.0) == [place], || format!("{what}: it is {:?}", rig.places(&sent.0)));
            let commits = rig.fake.commits_containing(id);
            report.check(commits == 0, || format!("{what}: sent {commits} times though a person said no"));
            rig.all_delivered(report, &what, &[next]);
        }
        None => {
            report.check(rig.until_done(1), || {
                format!("{what}: not done, {:?}: {}", rig.places(&sent.0), agent.log())
            });
            rig.all_delivered(report, &what, &[sent]);
        }
    }
    Ok(())
}

/// Puts a record and stops the agent where it is wanted.
fn bring_to(rig: &Rig<'_>, agent: &mut Agent, moment: Moment) -> Outcome<Sent> {
    let must =
        |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("never {what}: {}", agent.log())) };
    match moment {
        Moment::Waiting => {
            must(rig.until_connected(), "connected")?;
            rig.fake.kill();
            let sent = rig.put(&chat(0))?;
            // It is in the journal once it stands in its lane.
            must(rig.until(rig.limit(), || journal(rig).contains(sent.0.as_str())), "taken in")?;
            agent.stop()?;
            Ok(sent)
        }
        Moment::Accepted | Moment::Committed => {
            let (commit, turn) = if moment == Moment::Accepted { (1500, 2000) } else { (1, 1500) };
            rig.fake.configure(|options| {
                options.commit_delay = Duration::from_millis(commit);
                options.turn_duration = Duration::from_millis(turn);
            });
            let sent = rig.put(&chat(0))?;
            let id = sent.0.as_str();
            must(
                rig.until(rig.limit(), || {
                    if moment == Moment::Accepted {
                        !rig.fake.requests_of("agent").is_empty()
                    } else {
                        rig.fake.commits_containing(id) > 0
                    }
                }),
                "sent",
            )?;
            agent.stop()?;
            rig.fake.configure(|options| {
                options.commit_delay = Duration::from_millis(10);
                options.turn_duration = Duration::from_millis(20);
            });
            Ok(sent)
        }
        Moment::Deferred => {
            let error = json!({"code": "INVALID_REQUEST", "message": "this one is not to my taste"});
            rig.fake.rule(Rule::on("agent").times(8).then(Fault::Error(error)));
            let sent = rig.put(&chat(0))?;
            // It is tried again soon, so it may take some tries to stop it there.
            for _ in 0..50 {
                must(rig.until(rig.limit(), || rig.count(Dir::Deferred) > 0), "deferred")?;
                agent.stop()?;
                if rig.count(Dir::Deferred) > 0 {
                    return Ok(sent);
                }
                agent.wake()?;
            }
            Err("it was never stopped with a deferred entry".into())
        }
    }
}

fn journal(rig: &Rig<'_>) -> String {
    let dir = rig.spool.dir(Dir::Journal);
    names(&dir).iter().filter_map(|name| fs::read_to_string(dir.join(name)).ok()).collect()
}

/// Moves the spool away and puts a copy in its place, as a restored backup would be.
fn copy(root: &Path, away: &Path) -> Outcome<()> {
    fs::rename(root, away)?;
    let done = Command::new("cp").arg("-a").arg(away).arg(root).status()?;
    if done.success() { Ok(()) } else { Err("cp -a failed".into()) }
}

/// Every name below a directory.
fn listing(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for state in Dir::STATES {
        all.extend(names(&dir.join(state.name())).into_iter().map(|name| format!("{}/{name}", state.name())));
    }
    all
}
