//! `spool retry`, `dismiss`, `hold` and `release`: what a person decides about entries.
//!
//! Each is a rename through `spooldir`, so it works with the agent up or down, and whoever renames first wins: when the
//! agent has moved the entry meanwhile, the verb looks again and judges the new state. What it keeps true:
//!
//! - an entry that is being sent is left alone, for it may already have arrived;
//! - an entry keeps its id: what the agent would bury or hold again at once is not given back to it, but refused with
//!   the reason;
//! - one id that fails does not keep the others from being done; the exit number is that of the first failure;
//! - every move is in the journal with `"by":"operator"`.

use std::ffi::OsStr;
use std::io::Write;
use std::time::Instant;

use serde::Serialize;
use spooldir::entry::{Illegal, next};
use spooldir::intake::{Desk, Intake};
use spooldir::journal::Line;
use spooldir::moves::Why;
use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Event, Id, Spool, State, exit};

use crate::Failure;
use crate::args::Args;
use crate::find;
use crate::reroute;
use crate::view;

/// What a verb did to an entry, as `--json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The entry.
    pub id: String,
    /// Its state before.
    pub was: &'static str,
    /// Its state now.
    pub state: &'static str,
    /// The entry that took its place, if it was sent to another session.
    pub new_id: Option<String>,
}

/// Does `verb` to each entry that is named.
///
/// # Errors
/// Those of writing, and of finding out what `--all` is. What fails for one id is said on stderr.
pub fn run(verb: &str, spool: &Spool, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut names = args.ids.clone();
    if args.all {
        spool.each_entry(Dir::Dead, |entry, _| names.push(entry.id.to_string()))?;
        names.sort();
        if names.is_empty() {
            crate::complain("nothing is dead");
        }
    }
    let mut first_failure = exit::OK;
    let mut outcomes = Vec::new();
    for name in &names {
        match persist(verb, spool, name, args) {
            Ok(outcome) if args.json => outcomes.push(outcome),
            Ok(outcome) => outcome.tell(args, out)?,
            Err(failure) => {
                crate::complain(&failure.message);
                first_failure = if first_failure == exit::OK { failure.exit } else { first_failure };
            }
        }
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &outcomes).map_err(std::io::Error::from)?;
        writeln!(out)?;
    }
    Ok(first_failure)
}

impl Outcome {
    fn tell(&self, args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
        match (&self.new_id, &args.session) {
            (Some(new), Some(key)) => {
                writeln!(
                    out,
                    "{} {} (was {}); sent on as {new} to {}",
                    self.id,
                    self.state,
                    self.was,
                    view::brief(key, 80)
                )?;
            }
            _ => writeln!(out, "{} {} (was {})", self.id, self.state, self.was)?,
        }
        Ok(())
    }
}

/// Does it, and looks again when somebody else moved the entry in between.
fn persist(verb: &str, spool: &Spool, name: &str, args: &Args) -> Result<Outcome, Failure> {
    let mut last = None;
    for _pass in 0..3 {
        let mut entry = find::resolve(spool, name)?;
        // A crash may have left it with two names. Then it is where the agent would say that it is.
        let meta = spool.fs().stat(&spool.path(&entry)).ok().flatten();
        if meta.is_some_and(|meta| meta.nlink > 1) && spool.mend(&entry.id)? {
            entry = find::resolve(spool, name)?;
        }
        let entry = confirm(verb, spool, entry)?;
        match once(verb, spool, &entry, args) {
            // What a disk refuses to flush has moved all the same, and that is no other's doing.
            Err(e) if e.exit == exit::DATA && is_elsewhere(spool, &entry) => last = Some(e),
            other => return other,
        }
    }
    Err(last.unwrap_or_else(|| {
        Failure::new(exit::TEMPORARY, format!("cannot {verb} {name}: it keeps moving; try again"))
    }))
}

fn is_elsewhere(spool: &Spool, entry: &Entry) -> bool {
    matches!(spool.fs().stat(&spool.path(entry)), Ok(None))
        && !matches!(&entry.state, State::Held | State::Dismissed)
}

fn once(verb: &str, spool: &Spool, entry: &Entry, args: &Args) -> Result<Outcome, Failure> {
    match (verb, &args.session) {
        ("retry", Some(key)) => return reroute::run(spool, entry, key),
        ("retry" | "release", _) => return release(verb, spool, entry),
        _ => {}
    }
    let event = if verb == "dismiss" { Event::Dismiss } else { Event::Hold };
    if event == Event::Hold && entry.state == State::Held {
        return Ok(outcome(entry, entry));
    }
    let reason = args.reason.as_deref().unwrap_or("held by a person; spool release gives it back");
    Ok(outcome(entry, &put_aside(spool, entry, &event, reason)?))
}

/// Holds or dismisses an entry with a reason.
///
/// # Errors
/// As [`Spool::advance`]; an entry that is being sent is refused for a person, whatever the agent may do with it.
pub fn put_aside(spool: &Spool, entry: &Entry, event: &Event, reason: &str) -> Result<Entry, Failure> {
    if matches!(entry.state, State::Sending { .. }) {
        let illegal = Illegal { state: entry.state.word(), event: event.word() };
        return Err(refusal(event.word(), &entry.id, &illegal.to_string()));
    }
    let before = spool.why(entry).unwrap_or_default();
    let why = Why {
        reason: reason.to_owned(),
        at: now_ms(),
        attempts: before.attempts.max(entry.state.attempts()),
        key: entry.state.key().map(ToString::to_string).or(before.key),
        dropped_as: before.dropped_as,
    };
    let to = spool.advance_why(entry, event, &why)?;
    spool.flush_move(entry, &to)?;
    note(spool, &Line::moved(event, &to).because(reason));
    Ok(to)
}

/// Gives an entry back to the agent as it is.
///
/// # Errors
/// When its state does not allow it, or the agent would only bury or hold it again.
pub fn release(verb: &str, spool: &Spool, entry: &Entry) -> Result<Outcome, Failure> {
    let refuse = |why: &str| Err(refusal(verb, &entry.id, why));
    if verb == "release" && entry.state != State::Held {
        let word = entry.state.word();
        return refuse(&format!(
            "it is {word}, not held; spool retry is for entries that are dead, deferred or dismissed"
        ));
    }
    match &entry.state {
        State::Pending => return refuse("it is pending already; the agent takes it when it comes to it"),
        State::Done => return refuse("it is done: the session has it"),
        _ => {}
    }
    next(&entry.state, &Event::Retry).map_err(|e| refusal(verb, &entry.id, &e.to_string()))?;
    let Some(seen) = view::look(spool, entry.clone())? else {
        return refuse("it is not there any more");
    };
    seen.must_be_read(verb)?;
    match &seen.document.record {
        Err(flaw) if seen.document.is_later => return refuse(flaw),
        Err(flaw) => {
            return refuse(&format!(
                "it is not a good record ({flaw}); queue a mended one and dismiss this one"
            ));
        }
        Ok(record) if !keeps_its_id(record, &entry.id) => {
            return refuse(
                "its own id belongs to another record; spool retry ID --session KEY sends it under a new one",
            );
        }
        Ok(record) if record.session_key.is_none() => {
            return refuse("it names no session; spool retry ID --session KEY sends it to one");
        }
        Ok(_) => {}
    }
    let to = spool.release(entry)?;
    note(spool, &Line::moved(&Event::Retry, &to));
    Ok(outcome(entry, &to))
}

/// Whether intake would leave the record under this id.
fn keeps_its_id(record: &spooldir::Record, id: &Id) -> bool {
    match &record.id {
        Some(own) => own == id,
        None => Id::is_unique(id.as_str()),
    }
}

/// Takes in a file that was only dropped so far, as the agent would, so that it has its own id before it moves.
fn confirm(verb: &str, spool: &Spool, entry: Entry) -> Result<Entry, Failure> {
    if entry.state != State::Pending {
        return Ok(entry);
    }
    let name = entry.file_name();
    let refuse = |why: &str| Err(refusal(verb, &entry.id, why));
    match Desk::new().look(spool, OsStr::new(&name), &|_| true, Instant::now()) {
        Intake::Ready(taken) => Ok(taken.entry),
        Intake::Held(held, reason) => {
            note(spool, &Line::moved(&Event::Hold, &held).because(reason));
            Ok(held)
        }
        Intake::Buried(id, reason) => {
            let dead = Entry::new(id.clone(), State::Dead);
            note(spool, &Line::moved(&Event::Condemn, &dead).because(reason.clone()));
            refuse(&format!("it was no good record ({reason}) and is dead now, as {id}"))
        }
        Intake::Duplicate(id) => refuse(&format!("it was the record {id} once more, and is gone")),
        Intake::Later(why) => refuse(&format!("it may not be complete yet: {why}; try again")),
        Intake::Foreign(why) => refuse(&why),
        Intake::Gone => spool.find(&entry.id)?.map_or_else(|| refuse("it is not there any more"), Ok),
        Intake::Trouble(e) => Err(e.into()),
    }
}

/// What became of an entry.
pub fn outcome(was: &Entry, now: &Entry) -> Outcome {
    Outcome { id: now.id.to_string(), was: was.state.word(), state: now.state.word(), new_id: None }
}

/// A refusal to do `verb` to an entry.
pub fn refusal(verb: &str, id: &Id, why: &str) -> Failure {
    Failure::new(exit::DATA, format!("cannot {verb} {id}: {why}"))
}

/// Writes a line to the journal, as a person's doing. The move is made; a journal that cannot be written is only said.
pub fn note(spool: &Spool, line: &Line) {
    if let Err(e) = spool.note(&[line.clone().by("operator")]) {
        crate::complain(&format!("{e}; it is done nevertheless"));
    }
}
