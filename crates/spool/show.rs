//! `spool show ID`: all that is known of one entry, or of one job in progress (`runs`).
//!
//! `--json` prints the members of `spool list --json` and, beside them, `reason`, `key`, `path`, `record` (the document
//! itself, null when it is no JSON), `flaw` (why it is no good record, else null) and `journal` (its lines).

use std::io::Write;

use serde_json::{Value, json};
use spooldir::journal::Line;
use spooldir::{Spool, exit};

use crate::Failure;
use crate::args::Args;
use crate::find;
use crate::history::{self, History};
use crate::operate::refusal;
use crate::runs;
use crate::view::{self, Seen, View, brief};
use crate::when;

/// The longest line of an entry's journal that is shown.
const MAX_REASON: usize = 300;

/// Shows an entry.
///
/// # Errors
/// When there is none, or not just one; what the spool says when it cannot be read; those of writing.
pub fn run(spool: &Spool, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let text = args.ids.first().map_or("", String::as_str);
    let entry = match (find::resolve(spool, text), runs::find(spool, text)?.as_slice()) {
        (Ok(entry), runs) if runs.is_empty() || entry.id.as_str() == text => entry,
        (Err(none), []) => return Err(none),
        (Err(none), [run]) if none.exit == exit::DATA => {
            return runs::show(spool, run, args.json, out)?
                .ok_or_else(|| refusal("show", run, "it has just been reported; try again"));
        }
        _ => {
            let why = format!("{text:?} is the beginning of more than one id; add characters");
            return Err(Failure::new(exit::DATA, why));
        }
    };
    let id = entry.id.clone();
    let Some(seen) = view::look(spool, entry)? else {
        return Err(refusal("show", &id, "it is not there any more"));
    };
    let (mut history, mut lines) = (History::default(), Vec::new());
    history::each_line(spool, |line| {
        if line.id == id.as_str() {
            history.add(&line);
            lines.push(line);
        }
    });
    let view = seen.view(&history);
    if args.json {
        writeln!(out, "{:#}", as_json(spool, &seen, &view, &history, &lines)?)?;
    } else {
        tell(spool, &seen, &view, &history, &lines, out)?;
    }
    Ok(exit::OK)
}

fn as_json(
    spool: &Spool,
    seen: &Seen,
    view: &View,
    history: &History,
    lines: &[Line],
) -> Result<Value, Failure> {
    let io = |e: serde_json::Error| Failure::from(std::io::Error::from(e));
    let mut shown = serde_json::to_value(view).map_err(io)?;
    let record: Option<Value> = seen.document.bytes.as_deref().and_then(|b| spooldir::json::parse(b).ok());
    let more = json!({
        "reason": seen.why.as_ref().map(|w| &w.reason),
        "key": key(seen, history),
        "path": spool.path(&seen.entry).to_string_lossy(),
        "record": record,
        "flaw": seen.document.record.as_ref().err(),
        "journal": serde_json::to_value(lines).map_err(io)?,
    });
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    Ok(shown)
}

fn key(seen: &Seen, history: &History) -> Option<String> {
    let now = seen.entry.state.key().map(ToString::to_string);
    now.or_else(|| seen.why.as_ref().and_then(|w| w.key.clone())).or_else(|| history.key.clone())
}

fn tell(
    spool: &Spool,
    seen: &Seen,
    view: &View,
    history: &History,
    lines: &[Line],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let record = seen.document.record.as_ref().ok();
    let time = |ms: Option<u64>| ms.map(when::utc);
    let attempts = (view.attempts > 0).then(|| view.attempts.to_string());
    let rows = [
        ("id", view.id.clone()),
        ("state", Some(view.state.to_owned())),
        ("reason", seen.why.as_ref().map(|w| w.reason.clone()).filter(|r| !r.is_empty())),
        ("session", view.session_key.clone()),
        ("status", view.status.map(str::to_owned)),
        ("label", view.label.clone()),
        ("deliver", record.map(|r| r.deliver.to_string())),
        ("created", time(view.created_at)),
        ("due", time(view.due_at)),
        ("attempts", attempts),
        ("last error", view.last_error.clone().filter(|e| seen.why.as_ref().is_none_or(|w| w.reason != *e))),
        ("evidence", view.evidence.clone()),
        ("key", key(seen, history)),
        ("dropped as", seen.why.as_ref().and_then(|w| w.dropped_as.clone())),
        ("flaw", seen.document.record.as_ref().err().cloned()),
        ("file", Some(spool.path(&seen.entry).display().to_string())),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            writeln!(out, "{name:<10}  {}", brief(&value, 600))?;
        }
    }
    if let Some(text) = record.and_then(|r| r.text.as_deref()) {
        writeln!(out, "\n{}", spool_drain::sanitize::text(text))?;
    }
    if let Some(tail) = record.and_then(|r| r.output.as_ref()).and_then(|o| o.tail.as_deref()) {
        writeln!(out, "\noutput:\n{}", spool_drain::sanitize::output(tail))?;
    }
    if !lines.is_empty() {
        writeln!(out)?;
    }
    for line in lines {
        writeln!(out, "{}", in_words(line))?;
    }
    Ok(())
}

/// A line of the journal for people.
fn in_words(line: &Line) -> String {
    let mut words = format!("{}  {:<9}", when::utc(line.at), line.event);
    let parts = [
        line.to.as_ref().map(|to| format!("-> {to}")),
        line.evidence.clone(),
        line.attempts.map(|n| format!("attempt {n}")),
        line.key.clone(),
        line.by.as_ref().map(|who| format!("by {who}")),
        line.reason.as_ref().map(|why| format!("({})", brief(why, MAX_REASON))),
    ];
    for part in parts.into_iter().flatten() {
        words.push_str("  ");
        words.push_str(&part);
    }
    words
}
