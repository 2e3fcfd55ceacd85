//! `spool-put`: one record into the spool, and a promise on exit 0.
//!
//! Small on purpose: it runs at the end of every job, in sandboxes, with a full disk, with nobody reading what it prints. What it
//! keeps true:
//!
//! - exit 0 means that the record is in the spool and survives a power cut, or was there before; whether anybody could
//!   be told so (a closed stdout, a broken pipe) changes nothing about that;
//! - every other exit says in one sentence what was attempted, on what, why it failed and what to do, and never what
//!   the record says;
//! - the same command with the same `--id` publishes the same bytes, so that it can be tried again after any doubt.

mod args;
mod compose;
mod from;
mod hook;
mod streams;
mod text;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use spooldir::publish::Published;
use spooldir::wait::{self, End, Waited};
use spooldir::{Entry, Error, Spool, State, exit, locate};

use crate::args::{Args, Command, Wait};
use crate::compose::Composed;
use crate::from::{Heard, Report};
use crate::hook::Hook;

/// `EX_SOFTWARE` of sysexits.h: a bug.
const SOFTWARE: i32 = 70;

/// Why nothing, or nothing certain, was queued.
#[derive(Debug)]
struct Failure {
    exit: u8,
    sentence: String,
}

impl Failure {
    fn new(exit: u8, sentence: impl Into<String>) -> Failure {
        Failure { exit, sentence: sentence.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(error.exit(), error.to_string())
    }
}

fn main() -> ExitCode {
    let line = hook::command_line(std::env::args_os());
    let hook = Hook::find(&line);
    let is_hook = hook.is_some();
    // No bug of ours is an order to a runner either. Where it was, not what it was about: that may be of the report.
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        say(&format!("a bug at {place}; please report it"));
        std::process::exit(if is_hook { 0 } else { SOFTWARE });
    }));
    match (run(line), hook) {
        (Ok(()), _) => ExitCode::SUCCESS,
        (Err(failure), Some(hook)) => {
            hook.leave(&failure);
            ExitCode::SUCCESS
        }
        (Err(failure), None) => {
            say(&failure.sentence);
            ExitCode::from(failure.exit)
        }
    }
}

fn run(line: Vec<std::ffi::OsString>) -> Result<(), Failure> {
    match args::parse(lexopt::Parser::from_args(line))? {
        Command::Help => print(&spool_pages::put::PAGE.help()),
        Command::Version => print(concat!("spool-put ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Put(args) => put(*args)?,
    }
    Ok(())
}

fn put(args: Args) -> Result<(), Failure> {
    let dir = locate::spool_dir(args.spool.as_deref(), &locate::process_env)?;
    let report = match &args.from {
        None => None,
        Some(runner) => match from::hear(runner, &locate::process_env)? {
            Heard::Report(report) => Some(*report),
            Heard::Nothing => return Ok(()),
        },
    };
    let composed = match &report {
        Some(report) => compose::from_report(&args, &locate::process_env, report, report.id.as_ref())?,
        None => compose::compose(&args, &locate::process_env, &mut streams::Input)?,
    };
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    let spool = Spool::create(&dir)?;
    let (composed, published) = publish(&spool, &args, composed, report.as_ref())?;
    let mut notes = composed.notes.clone();
    let state = match published {
        Published::New(_) => State::Pending,
        Published::Before(state) => {
            notes.push(format!("the same record was queued before and is {}", state.word()));
            state
        }
    };
    if !args.is_hook() {
        notes.iter().for_each(|note| say(note));
    }
    let entry = Entry::new(composed.id.clone(), state);
    match args.wait {
        Some(wait) => match await_evidence(&spool, &args, &composed, entry, wait) {
            // It is queued: nothing that status would have to show.
            Err(failure) if args.is_hook() => {
                say(&failure.sentence);
                Ok(())
            }
            other => other,
        },
        None => {
            tell(&spool, &args, &composed, &entry, "queued", None);
            Ok(())
        }
    }
}

/// Publishes it. A hook whose event has the id of another one (a prompt that was continued by another hook, say) is told
/// under an id that its words give it: a report is not lost because a runner calls two things the same.
fn publish(
    spool: &Spool,
    args: &Args,
    composed: Composed,
    report: Option<&Report>,
) -> Result<(Composed, Published), Failure> {
    let other = match (spool.publish(&composed.id, &composed.bytes, composed.is_fresh), report) {
        (Ok(published), _) => return Ok((composed, published)),
        (Err(error @ Error::Conflict { .. }), Some(report)) if args.id.is_none() => {
            let other = from::other_id(&composed.id, &composed.bytes);
            let Some(other) = other else { return Err(error.into()) };
            compose::from_report(args, &locate::process_env, report, Some(&other))?
        }
        (Err(error), _) => return Err(error.into()),
    };
    let published = spool.publish(&other.id, &other.bytes, false)?;
    Ok((other, published))
}

fn await_evidence(
    spool: &Spool,
    args: &Args,
    composed: &Composed,
    entry: Entry,
    wait: Wait,
) -> Result<(), Failure> {
    let id = &entry.id;
    let Waited { end, state, evidence, reason } = wait::wait(spool, id, wait.level, wait.timeout)?;
    let entry = Entry::new(entry.id.clone(), state);
    let word = if entry.state == State::Done { "delivered" } else { entry.state.word() };
    let because = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    match end {
        End::Reached => {
            tell(spool, args, composed, &entry, word, evidence.map(|e| e.as_str()));
            if entry.state == State::Done && (evidence < wait.level || !because.is_empty()) {
                let all = evidence.map_or("no evidence is known", |e| e.as_str());
                say(&format!("{all} is all there will be for {id}{because}"));
            }
            Ok(())
        }
        End::Stopped => {
            tell(spool, args, composed, &entry, word, evidence.map(|e| e.as_str()));
            let why = format!("{id} is queued, but {word}{because}; spool show {id} tells more");
            Err(Failure::new(exit::UNAVAILABLE, why))
        }
        End::TimedOut => {
            tell(spool, args, composed, &entry, "queued", evidence.map(|e| e.as_str()));
            let agent = match spooldir::lock::AgentLock::is_taken(spool) {
                Ok(false) => "; no agent is running, start spool drain",
                _ => "",
            };
            let why = format!(
                "{id} is queued and safe, but not yet {} after {:?}: it is {word}{agent}",
                wait.level.map_or("delivered", |level| level.as_str()),
                wait.timeout
            );
            Err(Failure::new(exit::TEMPORARY, why))
        }
    }
}

/// Says on stdout what became of it. A hook says nothing there, unless JSON was asked for.
fn tell(spool: &Spool, args: &Args, composed: &Composed, entry: &Entry, word: &str, evidence: Option<&str>) {
    if args.json {
        print(&json(composed, entry, &spool.path(entry), evidence));
    } else if !args.is_hook() {
        let evidence = evidence.map(|evidence| format!(" ({evidence})")).unwrap_or_default();
        print(&format!("{word} {}{evidence}\n", entry.id));
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Queued<'a> {
    id: &'a str,
    session_key: Option<&'a str>,
    state: &'static str,
    path: std::borrow::Cow<'a, str>,
    evidence: Option<&'a str>,
}

fn json(composed: &Composed, entry: &Entry, path: &Path, evidence: Option<&str>) -> String {
    let queued = Queued {
        id: entry.id.as_str(),
        session_key: composed.session_key.as_deref(),
        state: entry.state.word(),
        path: path.to_string_lossy(),
        evidence,
    };
    // Strings only: nothing in it can fail.
    serde_json::to_string(&queued).unwrap_or_default() + "\n"
}

/// Words for a person. A stderr that nobody reads is no reason to fail.
pub(crate) fn say(sentence: &str) {
    let _heard = writeln!(std::io::stderr(), "spool-put: {sentence}").is_ok();
}

/// Data. The record is queued by now, whether this arrives or not.
fn print(text: &str) {
    let _heard = streams::Output.write_all(text.as_bytes()).is_ok();
}
