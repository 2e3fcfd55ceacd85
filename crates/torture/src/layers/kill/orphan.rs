//! A wrapper that is killed while its job lives on.
//!
//! The job works until it is let go. At each stop of the wrapper from the job's start to the moment when it waits for
//! the job's end, it is killed; then an agent looks, and must say nothing, for the run is under way. Then the job is let
//! go, ends, and is reported as lost, once.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{ENOUGH, Work};
use crate::layer::Outcome;
use crate::layers::random::reader::names;
use crate::layers::random::stage;
use crate::layers::scenes::{LIMIT, ORPHAN, Place};
use crate::trace::{Act, Ended};
use crate::wait::wait_for;

/// So often the wrapper waits for the job before the job is let go.
const WAITS: u64 = 3;

pub(super) fn run(work: &Work<'_>) -> Outcome<()> {
    let (next, ended) = (AtomicU64::new(1), AtomicU64::new(0));
    work.both(&|| {
        if ended.load(Ordering::Relaxed) >= ENOUGH {
            return Ok(false);
        }
        let number = next.fetch_add(1, Ordering::Relaxed);
        if kill_at(work, number)? {
            ended.store(0, Ordering::Relaxed);
        } else {
            ended.fetch_add(1, Ordering::Relaxed);
        }
        Ok(true)
    })
}

/// Kills the wrapper at this stop after its job has begun; whether there was such a stop.
fn kill_at(work: &Work<'_>, number: u64) -> Outcome<bool> {
    let (home, mut place) = work.place()?;
    let go = place.home.join("go");
    // Counted from the first stop that follows the start of the job.
    let (mut since, mut has_job) = (0, false);
    let (mut waits, mut is_let_go) = (0, false);
    let ended = ORPHAN.play(&mut place, &mut |stop| {
        // The call that starts the job does not return before the job's exec.
        has_job |= !stop.is_entry && matches!(stop.name(), "clone" | "clone3" | "vfork" | "fork") && {
            let children = format!("/proc/{0}/task/{0}/children", stop.tid);
            std::fs::read_to_string(children).is_ok_and(|children| !children.trim().is_empty())
        };
        since += u64::from(has_job);
        if has_job && since == number && !is_let_go {
            return Ok(Act::Kill);
        }
        waits += u64::from(has_job && is_waiting(stop));
        // Far enough: from here on it is the scene of an ordinary run.
        if waits >= WAITS && !is_let_go {
            is_let_go = true;
            std::fs::write(&go, "")?;
        }
        Ok(Act::Go)
    })?;
    if ended != Ended::Killed {
        drop(place);
        std::fs::remove_dir_all(home)?;
        return Ok(false);
    }
    let broken = while_it_lives(&place)?;
    std::fs::write(&go, "")?;
    work.with(|report| {
        report.count("points", 1);
        report.count("wrappers killed while the job lived on", 1);
        for what in &broken {
            report.violation(format!("run-orphan killed at stop {number} of the job's life: {what}"));
        }
    });
    work.over.fetch_or(work.ground.hunts() && !broken.is_empty(), Ordering::Relaxed);
    let at = format!("run-orphan killed at stop {number} of the job's life, which then ended");
    work.judge(&ORPHAN, place, &home, ended, &at)?;
    Ok(true)
}

/// Whether the wrapper is about to wait for something.
fn is_waiting(stop: &crate::trace::Stop) -> bool {
    stop.is_entry && matches!(stop.name(), "futex" | "poll" | "ppoll" | "wait4" | "waitid")
}

/// What an agent makes of a run whose job is alive.
fn while_it_lives(place: &Place<'_>) -> Outcome<Vec<String>> {
    let started = place.home.join("started");
    wait_for("the job to start", LIMIT, || Ok(started.exists().then_some(())))?;
    let mut broken = Vec::new();
    let ended = place.run(place.agent())?;
    if ended != stage::Ended::Code(0) {
        broken.push(format!("the agent ended with {ended:?}: {}", place.last_words()));
    }
    for dir in ["new", "sending", "done"] {
        for name in names(&place.spool.join(dir))? {
            broken.push(format!("{dir}/{name} although the job is alive"));
        }
    }
    if !place.spool.join("runs/run-1.json").exists() {
        broken.push("the run is closed although its job is alive".to_owned());
    }
    Ok(broken)
}
