//! `spool export` and `spool import`: entries as JSON lines, from one spool to another.
//!
//! One line an entry: `v`, `id`, `state`, `attempts`, the bytes of the file as `record` (a string, so that they come back
//! byte for byte) or, where they are not UTF-8, as `recordHex`, and `why`. What it keeps true:
//!
//! - an export changes nothing; an import adds, and changes nothing that is here already, so it can be repeated;
//! - what may have been sent is not sent again by itself: it is held;
//! - a line that is no good keeps no other from being taken in; the exit number is that of the first failure.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};
use spooldir::journal::Line;
use spooldir::moves::Why;
use spooldir::publish::Published;
use spooldir::record::MAX_BYTES;
use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Id, Spool, State, exit};

use crate::Failure;
use crate::args::Args;
use crate::filter::Filter;
use crate::history::History;
use crate::list;
use crate::operate::{Outcome, note};
use crate::view;

/// The longest line of an export: each byte of a record may be written as six (`\u0000`).
const MAX_LINE: u64 = MAX_BYTES * 6 + 64 * 1024;
/// The version of the lines.
const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    v: u32,
    id: String,
    state: String,
    #[serde(default)]
    attempts: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record_hex: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<Why>,
}

/// Writes the entries that were asked for.
///
/// # Errors
/// What the spool says when it cannot be read; those of writing.
pub fn export(spool: &Spool, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let filter = Filter::of(args);
    let (entries, inbox) = list::collect(spool, args.state)?;
    let mut unread = 0;
    for entry in entries {
        let Some(seen) = view::look(spool, entry)? else { continue };
        if !filter.wants(&seen.view(&History::default()), &seen.document) {
            continue;
        }
        let Some(bytes) = &seen.document.bytes else {
            unread += 1;
            continue;
        };
        let text = std::str::from_utf8(bytes).ok();
        let item = Item {
            v: VERSION,
            id: seen.entry.id.to_string(),
            state: seen.entry.state.word().to_owned(),
            attempts: seen.entry.state.attempts(),
            record: text.map(ToOwned::to_owned),
            record_hex: text.is_none().then(|| hex(bytes)),
            why: seen.why,
        };
        serde_json::to_writer(&mut *out, &item).map_err(io::Error::from)?;
        writeln!(out)?;
    }
    if !inbox.nameless.is_empty() && args.state.is_none_or(|dir| dir == Dir::New) {
        let n = inbox.nameless.len();
        crate::complain(&format!(
            "{n} dropped files have no id yet and are left out; the agent gives them one"
        ));
    }
    if unread > 0 {
        crate::complain(&format!("{unread} entries cannot be read and are left out; spool list names them"));
        return Ok(exit::IO);
    }
    Ok(exit::OK)
}

/// Takes in the lines of an export.
///
/// # Errors
/// When the file cannot be read; those of writing. What fails for one line is said on stderr.
pub fn import(spool: &Spool, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let name = args.ids.first().map_or("-", String::as_str);
    let unreadable = |e: &io::Error| Failure::new(exit::IO, format!("cannot read {name}: {e}"));
    let mut input: Box<dyn BufRead> = match name {
        "-" => Box::new(io::stdin().lock()),
        path => Box::new(BufReader::new(File::open(path).map_err(|e| unreadable(&e))?)),
    };
    let (mut outcomes, mut first_failure) = (Vec::new(), exit::OK);
    for number in 1_u64.. {
        let mut line = Vec::new();
        (&mut input).take(MAX_LINE).read_until(b'\n', &mut line).map_err(|e| unreadable(&e))?;
        if line.is_empty() {
            break;
        }
        if line.len() as u64 == MAX_LINE {
            let why =
                format!("cannot import {name}: line {number} is longer than any entry; it is no export");
            return Err(Failure::new(exit::DATA, why));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match take_in(spool, &line, args.dry_run) {
            Ok(outcome) if args.json => outcomes.push(outcome),
            Ok(outcome) => tell(&outcome, out)?,
            Err(failure) => {
                crate::complain(&format!("{name}, line {number}: {}", failure.message));
                first_failure = if first_failure == exit::OK { failure.exit } else { first_failure };
            }
        }
    }
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &outcomes).map_err(io::Error::from)?;
        writeln!(out)?;
    }
    Ok(first_failure)
}

fn tell(outcome: &Outcome, out: &mut dyn Write) -> Result<(), Failure> {
    let Outcome { id, was, state, dry_run, .. } = outcome;
    match (*was, dry_run) {
        ("", true) => writeln!(out, "{id} would be {state}")?,
        ("", false) => writeln!(out, "{id} {state}")?,
        _ => writeln!(out, "{id} is here already and is {state}")?,
    }
    Ok(())
}

fn take_in(spool: &Spool, line: &[u8], is_dry: bool) -> Result<Outcome, Failure> {
    let bad = |why: &str| Failure::new(exit::DATA, format!("it is no line of an export: {why}"));
    let item: Item = serde_json::from_slice(line).map_err(|e| {
        bad(if e.is_data() { "a member is missing or of another type" } else { "it is no JSON" })
    })?;
    if item.v != VERSION {
        return Err(bad("it is of a later version; update spool"));
    }
    let id = Id::new(&item.id)?;
    let dir = Dir::from_state_word(&item.state).ok_or_else(|| bad("its state is unknown"))?;
    let bytes = match (item.record, item.record_hex) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(hex)) => unhex(&hex).ok_or_else(|| bad("recordHex is no hexadecimal"))?,
        _ => return Err(bad("it has not one of record and recordHex")),
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(bad("its record is longer than any record"));
    }
    let (state, why) = match dir {
        Dir::New | Dir::Deferred => (State::Pending, None),
        Dir::Sending => {
            let reason =
                "it was being sent when it was exported and may have arrived; spool release sends it again";
            let why = Why { reason: reason.into(), at: now_ms(), attempts: item.attempts, ..Why::default() };
            (State::Held, Some(why))
        }
        Dir::Hold => (State::Held, item.why),
        Dir::Dead => (State::Dead, item.why),
        Dir::Done => (State::Done, None),
        _ => (State::Dismissed, item.why),
    };
    let entry = Entry::new(id, state);
    let outcome = |was: &'static str, state: &'static str| Outcome {
        id: entry.id.to_string(),
        was,
        state,
        new_id: None,
        dry_run: is_dry,
    };
    if is_dry {
        let before = spool.find(&entry.id)?.map(|entry| entry.state.word());
        return Ok(outcome(before.unwrap_or_default(), before.unwrap_or(entry.state.word())));
    }
    let published = match entry.state {
        State::Pending => spool.publish(&entry.id, &bytes, false)?,
        _ => spool.restore(&entry, &bytes, why.as_ref())?,
    };
    Ok(match published {
        Published::Before(state) => outcome(state.word(), state.word()),
        Published::New(_) => {
            if entry.state != State::Pending {
                // The agent writes down what it takes in; this it never will.
                note(spool, &Line::about("accept", &entry));
            }
            outcome("", entry.state.word())
        }
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}").is_ok();
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit)).collect())
}
