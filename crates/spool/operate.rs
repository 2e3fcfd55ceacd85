//! `spool retry`, `dismiss`, `withdraw`, `hold` and `release`: what a person decides about entries.
//!
//! Each is a rename through `spooldir`, so it works with the agent up or down, and whoever renames first wins: when the
//! agent has moved the entry meanwhile, the verb looks again and judges the new state. What it keeps true:
//!
//! - an entry that is being sent is left alone, for it may already have arrived;
//! - an entry keeps its id: what the agent would bury or hold again at once is not given back to it, but refused with
//!   the reason;
//! - what is done already is flushed and said again: the first try may have died before its flush;
//! - with `--dry-run` nothing is moved, not even a dropped file into its place;
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
use crate::progress::{self, Progress};
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
    /// Whether it was only asked what would be done.
    pub dry_run: bool,
}

/// Does `verb` to each entry that is named.
///
/// # Errors
/// Those of writing, and of finding out what `--all` is. What fails for one id is said on stderr.
pub fn run(verb: &str, spool: &Spool, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let names = find::names(spool, &args.ids, args.all, &mut std::io::stdin().lock())?;
    if names.is_empty() {
        crate::complain(if args.all { "nothing is dead" } else { "no ids were given" });
    }
    let mut first_failure = exit::OK;
    let mut outcomes = Vec::new();
    let mut progress = Progress::new("moving");
    for (n, name) in names.iter().enumerate() {
        progress.at(n as u64, Some(names.len() as u64));
        match persist(verb, spool, name, args) {
            Ok(outcome) if args.json => outcomes.push(outcome),
            Ok(outcome) => progress::beside(|| outcome.tell(args, out))?,
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
            _ if self.dry_run => writeln!(out, "{} would be {} (is {})", self.id, self.state, self.was)?,
            _ => writeln!(out, "{} {} (was {})", self.id, self.state, self.was)?,
        }
        Ok(())
    }
}

/// Does it, and looks again when somebody else moved the entry in between.
///
/// # Errors
/// When there is no such entry, its state does not allow it, or the disk refuses it.
pub fn persist(verb: &str, spool: &Spool, name: &str, args: &Args) -> Result<Outcome, Failure> {
    let mut last = None;
    for _pass in 0..3 {
        let mut entry = find::resolve(spool, name)?;
        if args.dry_run {
            return rehearse(verb, spool, &entry, args);
        }
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
    let (event, reason) = aside(verb);
    must_allow(verb, entry)?;
    if is_done_already(verb, entry) {
        flush_all_moves_to(spool, entry)?;
        return Ok(outcome(entry, entry));
    }
    let reason = args.reason.as_deref().unwrap_or(reason);
    Ok(outcome(entry, &put_aside(spool, entry, &event, reason)?))
}

/// What the verbs that put an entry aside do, and why if no reason is given.
fn aside(verb: &str) -> (Event, &'static str) {
    match verb {
        "hold" => (Event::Hold, "held by a person; spool release gives it back"),
        "withdraw" => (Event::Dismiss, "withdrawn before it was sent"),
        _ => (Event::Dismiss, "dismissed by a person"),
    }
}

/// Whether a verb has nothing left to do, or was done by a try that died before its flush.
fn is_done_already(verb: &str, entry: &Entry) -> bool {
    match verb {
        "hold" => entry.state == State::Held,
        "retry" | "release" => entry.state == State::Pending,
        _ => entry.state == State::Dismissed,
    }
}

/// What a verb refuses whatever the record says.
fn must_allow(verb: &str, entry: &Entry) -> Result<(), Failure> {
    let refuse = |why: &str| Err(refusal(verb, &entry.id, why));
    match (verb, &entry.state) {
        ("withdraw", State::Sending { .. }) => refuse("it is being sent and may already have arrived"),
        ("withdraw", State::Done) => refuse("it is done: the session has it"),
        ("withdraw", State::Dead) => {
            refuse("it is dead, so nothing will send it; spool dismiss puts it aside")
        }
        ("release", state) if !matches!(state, State::Held | State::Pending) => refuse(&format!(
            "it is {}, not held; spool retry is for entries that are dead, deferred or dismissed",
            state.word()
        )),
        ("retry" | "release", State::Done) => refuse("it is done: the session has it"),
        _ => Ok(()),
    }
}

/// Tells what [`once`] would do, as far as that is known before.
fn rehearse(verb: &str, spool: &Spool, entry: &Entry, args: &Args) -> Result<Outcome, Failure> {
    must_allow(verb, entry)?;
    let event = match verb {
        "retry" | "release" => {
            if args.session.is_none() && entry.state != State::Pending {
                fit_for_release(verb, spool, entry)?;
            }
            Event::Retry
        }
        other => aside(other).0,
    };
    let now = if is_done_already(verb, entry) {
        entry.clone()
    } else if args.session.is_some() {
        if matches!(entry.state, State::Sending { .. } | State::Done) {
            return Err(refusal(verb, &entry.id, "it is being sent, or done"));
        }
        Entry::new(entry.id.clone(), State::Dismissed)
    } else {
        must_not_be_sending(entry, &event)?;
        let state = next(&entry.state, &event).map_err(|e| refusal(verb, &entry.id, &e.to_string()))?;
        Entry::new(entry.id.clone(), state)
    };
    Ok(Outcome { dry_run: true, ..outcome(entry, &now) })
}

/// Flushes wherever an entry may have come from to where it stands: which way it came is not known any more.
fn flush_all_moves_to(spool: &Spool, entry: &Entry) -> Result<(), Failure> {
    for dir in [entry.dir()].into_iter().chain(Dir::STATES) {
        let path = spool.dir(dir);
        spool.fs().sync_dir(&path).map_err(|source| spooldir::Error::Io { verb: "flush", path, source })?;
    }
    Ok(())
}

fn must_not_be_sending(entry: &Entry, event: &Event) -> Result<(), Failure> {
    if matches!(entry.state, State::Sending { .. }) {
        let illegal = Illegal { state: entry.state.word(), event: event.word() };
        return Err(refusal(event.word(), &entry.id, &illegal.to_string()));
    }
    Ok(())
}

/// Holds or dismisses an entry with a reason.
///
/// # Errors
/// As [`Spool::advance`]; an entry that is being sent is refused for a person, whatever the agent may do with it.
pub fn put_aside(spool: &Spool, entry: &Entry, event: &Event, reason: &str) -> Result<Entry, Failure> {
    must_not_be_sending(entry, event)?;
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
    must_allow(verb, entry)?;
    if is_done_already(verb, entry) {
        flush_all_moves_to(spool, entry)?;
        return Ok(outcome(entry, entry));
    }
    fit_for_release(verb, spool, entry)?;
    let to = spool.release(entry)?;
    note(spool, &Line::moved(&Event::Retry, &to));
    Ok(outcome(entry, &to))
}

/// Refuses what the agent would only bury or hold again.
fn fit_for_release(verb: &str, spool: &Spool, entry: &Entry) -> Result<(), Failure> {
    let refuse = |why: &str| Err(refusal(verb, &entry.id, why));
    next(&entry.state, &Event::Retry).map_err(|e| refusal(verb, &entry.id, &e.to_string()))?;
    let Some(seen) = view::look(spool, entry.clone())? else {
        return refuse("it is not there any more");
    };
    seen.must_be_read(verb)?;
    match &seen.document.record {
        Err(flaw) if seen.document.is_later => refuse(flaw),
        Err(flaw) => {
            refuse(&format!("it is not a good record ({flaw}); queue a mended one and dismiss this one"))
        }
        Ok(record) if !keeps_its_id(record, &entry.id) => refuse(
            "its own id belongs to another record; spool retry ID --session KEY sends it under a new one",
        ),
        Ok(record) if record.session_key.is_none() => {
            refuse("it names no session; spool retry ID --session KEY sends it to one")
        }
        Ok(_) => Ok(()),
    }
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
    Outcome {
        id: now.id.to_string(),
        was: was.state.word(),
        state: now.state.word(),
        new_id: None,
        dry_run: false,
    }
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

#[cfg(test)]
mod tests;
