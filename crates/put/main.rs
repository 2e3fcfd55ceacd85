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
mod text;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use spooldir::publish::Published;
use spooldir::{Entry, Error, Spool, State, locate};

use crate::args::{Args, Command};
use crate::compose::Composed;

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
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&failure.sentence);
            ExitCode::from(failure.exit)
        }
    }
}

fn run() -> Result<(), Failure> {
    match args::parse(lexopt::Parser::from_env())? {
        Command::Help => print(args::HELP),
        Command::Version => print(concat!("spool-put ", env!("CARGO_PKG_VERSION"), "\n")),
        Command::Put(args) => put(*args)?,
    }
    Ok(())
}

fn put(args: Args) -> Result<(), Failure> {
    let dir = locate::spool_dir(args.spool.as_deref(), &locate::process_env)?;
    let composed = compose::compose(&args, &locate::process_env, &mut std::io::stdin().lock())?;
    for note in &composed.notes {
        say(note);
    }
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    let spool = Spool::create(&dir)?;
    let Composed { id, bytes, is_fresh, .. } = &composed;
    let state = match spool.publish(id, bytes, *is_fresh)? {
        Published::New(_) => State::Pending,
        Published::Before(state) => {
            say(&format!("the same record was queued before and is {}", state.word()));
            state
        }
    };
    let entry = Entry::new(id.clone(), state);
    if args.json {
        print(&json(&composed, &entry, &spool.path(&entry)))
    } else {
        print(&format!("queued {id}\n"))
    }
    Ok(())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Queued<'a> {
    id: &'a str,
    session_key: Option<&'a str>,
    state: &'static str,
    path: std::borrow::Cow<'a, str>,
}

fn json(composed: &Composed, entry: &Entry, path: &Path) -> String {
    let queued = Queued {
        id: entry.id.as_str(),
        session_key: composed.session_key.as_deref(),
        state: entry.state.word(),
        path: path.to_string_lossy(),
    };
    // Strings only: nothing in it can fail.
    serde_json::to_string(&queued).unwrap_or_default() + "\n"
}

/// Words for a person. A stderr that nobody reads is no reason to fail.
fn say(sentence: &str) {
    let _heard = writeln!(std::io::stderr(), "spool-put: {sentence}").is_ok();
}

/// Data. The record is queued by now, whether this arrives or not.
fn print(text: &str) {
    let mut stdout = std::io::stdout();
    let _heard = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok();
}
