//! What is said of the end of a run: the completion, published under the run's id, and the line on stderr.
//!
//! Only when a completion is in the spool, and flushed, is the run closed and its lease given up. If it cannot be published the
//! run stays open: the agent will find nobody left and report it as lost, which is less than is known here, but is
//! heard.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use spooldir::publish::Published;
use spooldir::record::{Notify, Status};
use spooldir::run::completion;
use spooldir::time::now_ms;
use spooldir::wait::{self, Waited};
use spooldir::{Error, Id, Spool};

use crate::args::Args;
use crate::intent::Open;
use crate::lift::{Lifted, lift};
use crate::signals::{Events, Task};
use crate::supervise::{End, Outcome};
use crate::{say, signals};

/// How often publishing is tried, and how long is waited in between.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(250);
/// How long `--wait` waits, if it is not told.
const WAIT: Duration = Duration::from_secs(120);

/// Publishes the completion and closes the run.
///
/// # Errors
/// A sentence; then the run is still open.
pub fn report(args: &Args, open: &Open, outcome: &Outcome) -> Result<String, String> {
    let Open { spool, id, .. } = open;
    let (record, status, is_told) = compose(args, open, outcome);
    let kept = |e: &dyn std::fmt::Display| {
        format!("the completion is not queued: {e}. The run stays open: the agent will report it as lost")
    };
    let bytes = serde_json::to_vec(&record).map_err(|e| kept(&e))?;
    let mut tries = 1;
    let published = loop {
        // The same bytes under the same id: after any doubt it can be tried again.
        match spool.publish(id, &bytes, false) {
            Err(Error::Io { .. } | Error::Unknown { .. }) if tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            other => break other,
        }
    };
    let said = match published {
        Ok(Published::New(_) | Published::Before(_)) => {
            let what = if is_told { "queued" } else { "recorded" };
            format!("{what} {id} ({})", facts(status, outcome))
        }
        Err(Error::Conflict { state, .. }) => {
            spool.flush_completion(id).map_err(|e| kept(&e))?;
            format!(
                "{id} was reported before this end of it ({}) could be: as lost, by the agent, or by somebody else \
                 under the same id; that report is {state}",
                facts(status, outcome)
            )
        }
        Err(e) => return Err(kept(&e)),
    };
    if let Err(e) = spool.close_run(id) {
        // It is reported; whoever looks at the run next sees that and closes it.
        say(&e.to_string());
    }
    Ok(said)
}

/// Waits for the evidence that was asked for, and says what became of the completion.
///
/// # Errors
/// A sentence, when it is not known to have arrived.
pub fn wait(args: &Args, spool: &Spool, id: &Id, events: &Events) -> Result<(), String> {
    let Some(level) = args.wait else { return Ok(()) };
    let limit = args.wait_timeout.unwrap_or(WAIT);
    let waiting = Task::default();
    let (of, it, over, woken) = (spool.clone(), id.clone(), waiting.clone(), events.sender());
    let waiter = std::thread::Builder::new().name("wait".into()).spawn(move || {
        let waited = wait::wait(&of, &it, level, limit);
        over.over(&woken);
        waited
    });
    let waiter = waiter.map_err(|e| format!("cannot wait for {id}: {e}"))?;
    if !events.wait_for(&waiting) {
        return Err(format!("{id} is queued; not waited for any longer"));
    }
    let waited = waiter.join().map_err(|_| format!("cannot wait for {id}"))?;
    let Waited { end, state, evidence, reason } = waited.map_err(|e| e.to_string())?;
    let state = state.word();
    let because = reason.map(|why| format!(": {why}")).unwrap_or_default();
    match end {
        wait::End::Reached => {
            let evidence = evidence.map(|level| format!(" ({level})")).unwrap_or_default();
            if !args.quiet {
                say(&format!("{id} is {state}{evidence}"));
            }
            Ok(())
        }
        wait::End::Stopped => Err(format!("{id} is {state}{because}")),
        wait::End::TimedOut => Err(format!("{id} is safe but not delivered yet: it is {state}")),
    }
}

/// The record, its status, and whether anybody is told of it.
fn compose(args: &Args, open: &Open, outcome: &Outcome) -> (BTreeMap<&'static str, Value>, Status, bool) {
    let Open { spool, id, intent, .. } = open;
    let mut record = completion(spool, id, intent);
    let mut status = outcome.status();
    let mut text = sentence(outcome);
    let log = spool.log_path(id);
    if let Some(Lifted { text: said, has_failed }) = args.parse.and_then(|format| lift(format, &log)) {
        text = said;
        // The last lines are the same message again, wrapped in JSON.
        if intent.output.as_deref() != Some("none") {
            record.insert("output", json!({"path": log}));
        }
        if has_failed && status == Status::Ok {
            status = Status::Failed;
        }
    }
    record.insert("status", status.as_str().into());
    record.insert("text", text.into());
    let now = now_ms();
    record.insert("createdAt", now.into());
    if let Some(Value::Object(task)) = record.get_mut("task") {
        task.insert("endedAt".into(), now.into());
        let took = u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX);
        task.insert("durationMs".into(), took.into());
        match &outcome.end {
            End::Exited(code) => task.insert("exitCode".into(), (*code).into()),
            End::Killed(signal) => task.insert("signal".into(), signals::name(*signal).into()),
            End::NotStarted(why) => task.insert("exitCode".into(), why.code.into()),
        };
    }
    let is_short = args.min_duration.is_some_and(|least| outcome.took < least);
    if is_short && args.notify.is_none_or(|notify| notify == Notify::Always) {
        record.insert("notify", Notify::Failure.as_str().into());
    }
    let is_told = match record.get("notify").and_then(Value::as_str).and_then(Notify::from_word) {
        Some(Notify::Never) => false,
        Some(Notify::Failure) => status != Status::Ok,
        Some(Notify::Always) | None => true,
    };
    (record, status, is_told)
}

/// What happened, in a sentence.
fn sentence(outcome: &Outcome) -> String {
    let how = match &outcome.end {
        End::NotStarted(why) => return format!("This did not run: {}.", why.why),
        End::Exited(code) => format!("ended with exit code {code}"),
        End::Killed(signal) => format!("was ended by {}", signals::name(*signal)),
    };
    match (outcome.timed_out, outcome.stopped_by.map(signals::name)) {
        (Some(limit), _) => {
            format!("This was stopped because its time of {} was over; it {how}.", span(limit))
        }
        (None, Some(signal)) => format!("This was asked to stop by {signal} and {how}."),
        (None, None) if matches!(outcome.end, End::Exited(0)) => "This ended well.".into(),
        (None, None) => format!("This {how}."),
    }
}

/// `failed, exit 101, 42 s`
fn facts(status: Status, outcome: &Outcome) -> String {
    let how = match &outcome.end {
        End::Exited(0) => String::new(),
        End::Exited(code) => format!(", exit {code}"),
        End::Killed(signal) => format!(", {}", signals::name(*signal)),
        End::NotStarted(why) => format!(", exit {}", why.code),
    };
    format!("{status}{how}, {}", span(outcome.took))
}

/// `0.4 s`, `42 s`, `3 min 12 s`, `2 h 5 min`, `3 d 1 h`
fn span(took: Duration) -> String {
    let s = took.as_secs();
    match s {
        0..10 => format!("{:.1} s", took.as_secs_f64()),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::sync::Arc;

    use spooldir::Dir;
    use spooldir::fault::FaultyFs;
    use spooldir::run::{Intent, lost_record};

    /// Whoever reported it may have died before the flush, and then the intent is all that a power cut leaves of the run.
    #[test]
    fn a_run_that_somebody_else_reported_is_closed_after_the_flush_of_that_report() {
        let home = tempfile::tempdir().unwrap();
        let fs = FaultyFs::default();
        let spool = Spool::create_on(home.path(), Arc::new(fs.clone())).unwrap();
        let id = Id::new("run-1").unwrap();
        let intent = Intent { started_at: 1, ..Intent::default() };
        let lease = spool.open_run(&id, &intent).unwrap();
        let log = File::create(spool.log_path(&id)).unwrap();
        let lost = serde_json::to_vec(&lost_record(&spool, &id, &intent, 5)).unwrap();
        spool.publish(&id, &lost, false).unwrap();
        let open = Open { spool: spool.clone(), id: id.clone(), intent, lease, log };
        let outcome =
            Outcome { end: End::Exited(0), timed_out: None, stopped_by: None, took: Duration::ZERO };
        let args = Args { command: vec!["true".into()], ..Args::default() };
        fs.fail_verb("sync_dir", 5, 1);
        assert!(report(&args, &open, &outcome).unwrap_err().contains("The run stays open"));
        assert!(spool.intent(&id).unwrap().is_some());
        let before = fs.steps().len();
        assert!(report(&args, &open, &outcome).unwrap().contains("was reported before"));
        let steps = fs.steps().split_off(before);
        let at = |step: String| steps.iter().position(|s| *s == step).unwrap();
        let flushed = at(format!("sync_dir {}", spool.dir(Dir::New).display()));
        assert!(flushed < at(format!("remove {}", spool.dir(Dir::Runs).join("run-1.json").display())));
    }

    #[test]
    fn the_sentence_says_how_it_ended() {
        let of = |end, limit: Option<u64>, stopped_by| {
            let timed_out = limit.map(Duration::from_secs);
            sentence(&Outcome { end, timed_out, stopped_by, took: Duration::ZERO })
        };
        assert_eq!(of(End::Exited(0), None, None), "This ended well.");
        assert_eq!(of(End::Exited(101), None, None), "This ended with exit code 101.");
        assert_eq!(of(End::Killed(9), None, None), "This was ended by SIGKILL.");
        assert_eq!(
            of(End::Killed(15), None, Some(15)),
            "This was asked to stop by SIGTERM and was ended by SIGTERM."
        );
        assert!(of(End::Killed(15), Some(90), None).contains("its time of 1 min 30 s was over"));
    }

    #[test]
    fn durations_are_short() {
        for (ms, said) in [
            (40, "0.0 s"),
            (2450, "2.5 s"),
            (42_900, "42 s"),
            (192_000, "3 min 12 s"),
            (7_500_000, "2 h 5 min"),
            (262_800_000, "3 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), said);
        }
    }
}
