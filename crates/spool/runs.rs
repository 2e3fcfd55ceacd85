//! Jobs in progress, as `spool list --state running`, `spool show` and `spool status` tell of them.
//!
//! A run is no entry yet: it becomes one when its completion is published, under the same id, and from then on only
//! that is shown. Whether it is under way is asked of its lease. What it printed last is shown stripped of everything
//! that a terminal would obey.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};
use spooldir::run::{Intent, Standing, TAIL_BYTES, TAIL_LINES, tail};
use spooldir::time::now_ms;
use spooldir::{Dir, Id, Spool, exit};

use crate::Failure;
use crate::args::Args;
use crate::verbs::RUNNING;
use crate::view::brief;
use crate::when;

/// How much of a log is looked at for its last line.
const LINE_BYTES: usize = 1024;
/// The longest last line that is shown for people.
const MAX_LINE: usize = 100;

/// A run, as `spool list --state running --json` shows it. What is not known is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// Its id, and later its completion's.
    pub id: String,
    /// `running`, or `over` when it has ended and nobody has reported it yet.
    pub state: &'static str,
    /// The session that will hear of it.
    pub session_key: Option<String>,
    /// A short name.
    pub label: Option<String>,
    /// What was started.
    pub command: Vec<String>,
    /// When, in milliseconds since 1970.
    pub started_at: u64,
    /// On which machine.
    pub host: Option<String>,
    /// What it printed last.
    pub last_line: Option<String>,
    /// The file that takes what it prints.
    pub log: Option<String>,
}

/// How many runs there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Under way.
    pub running: u64,
    /// Ended, and not reported yet.
    pub over: u64,
}

/// The runs that have no completion yet, with what was started.
fn open(spool: &Spool) -> Result<Vec<(Id, Intent)>, Failure> {
    let mut open = Vec::new();
    for id in spool.runs()? {
        match spool.intent(&id) {
            Ok(Some(intent)) if spool.find(&id)?.is_none() => open.push((id, intent)),
            Ok(_) => {}
            Err(e) => crate::complain(&e.to_string()),
        }
    }
    Ok(open)
}

/// Counts them.
///
/// # Errors
/// What the spool says when it cannot be read.
pub fn count(spool: &Spool) -> Result<Count, Failure> {
    let mut count = Count::default();
    for (id, intent) in open(spool)? {
        match spool.standing(&id, &intent) {
            Standing::Running => count.running += 1,
            Standing::Over => count.over += 1,
        }
    }
    Ok(count)
}

/// `spool list --state running`.
///
/// # Errors
/// What the spool says when it cannot be read; those of writing.
pub fn list(spool: &Spool, args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut views = Vec::new();
    for (id, intent) in open(spool)? {
        if args.session.is_none() || intent.session_key == args.session {
            views.push(view(spool, &id, intent));
        }
    }
    if args.json {
        for (i, view) in views.iter().enumerate() {
            let line = serde_json::to_string(view).map_err(std::io::Error::from)?;
            write!(out, "{}\n  {line}", if i == 0 { "[" } else { "," })?;
        }
        writeln!(out, "{}", if views.is_empty() { "[]" } else { "\n]" })?;
        return Ok(exit::OK);
    }
    if views.is_empty() {
        crate::complain("no jobs are in progress");
        return Ok(exit::OK);
    }
    let now = now_ms();
    writeln!(out, "{:<9}  {:<36}  {:>7}  SESSION  LABEL  LAST LINE", "STATE", "ID", "AGE")?;
    for view in views {
        writeln!(
            out,
            "{:<9}  {:<36}  {:>7}  {}  {}  {}",
            view.state,
            view.id,
            when::age(view.started_at, now),
            brief(view.session_key.as_deref().unwrap_or("-"), 60),
            brief(&view.name(), 40),
            brief(view.last_line.as_deref().unwrap_or("-"), MAX_LINE),
        )?;
    }
    Ok(exit::OK)
}

/// The runs whose id is this, or begins with it.
///
/// # Errors
/// What the spool says when it cannot be read.
pub fn find(spool: &Spool, text: &str) -> Result<Vec<Id>, Failure> {
    let ids = open(spool)?.into_iter().map(|(id, _)| id);
    let mut found: Vec<Id> = ids.filter(|id| id.as_str().starts_with(text)).collect();
    if let Some(at) = found.iter().position(|id| id.as_str() == text) {
        found = vec![found.swap_remove(at)];
    }
    Ok(found)
}

/// `spool show ID` of a run. `None` when it has been closed meanwhile.
///
/// # Errors
/// What the spool says when it cannot be read; those of writing.
pub fn show(spool: &Spool, id: &Id, json: bool, out: &mut dyn Write) -> Result<Option<u8>, Failure> {
    let Some(intent) = spool.intent(id)? else { return Ok(None) };
    let (cwd, log) = (intent.cwd.clone(), spool.log_path(id));
    let path = spool.dir(Dir::Runs).join(format!("{id}.json"));
    let (end, is_cut) = tail(&log, TAIL_LINES, TAIL_BYTES).unwrap_or_default();
    let view = view(spool, id, intent);
    if json {
        let mut shown = serde_json::to_value(&view).map_err(std::io::Error::from)?;
        let more = json!({"cwd": cwd, "path": path.to_string_lossy(), "tail": end, "truncated": is_cut});
        if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
            shown.extend(more);
        }
        writeln!(out, "{shown:#}")?;
        return Ok(Some(exit::OK));
    }
    let age = when::age(view.started_at, now_ms());
    let rows = [
        ("id", Some(view.id.clone())),
        ("state", Some(view.state.to_owned())),
        ("session", view.session_key.clone()),
        ("label", view.label.clone()),
        ("command", Some(view.command.join(" "))),
        ("cwd", cwd),
        ("host", view.host.clone()),
        ("started", Some(format!("{}, {age} ago", when::utc(view.started_at)))),
        ("log", view.log.clone()),
        ("file", Some(path.display().to_string())),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            writeln!(out, "{name:<10}  {}", brief(&value, 600))?;
        }
    }
    if !end.is_empty() {
        writeln!(out, "\noutput{}:\n{end}", if is_cut { ", its end" } else { "" })?;
    }
    Ok(Some(exit::OK))
}

fn view(spool: &Spool, id: &Id, intent: Intent) -> RunView {
    let state = match spool.standing(id, &intent) {
        Standing::Running => RUNNING,
        Standing::Over => "over",
    };
    let log: PathBuf = spool.log_path(id);
    let last = tail(&log, 1, LINE_BYTES).ok();
    RunView {
        id: id.to_string(),
        state,
        session_key: intent.session_key,
        label: intent.label,
        command: intent.command,
        started_at: intent.started_at,
        host: intent.host,
        log: last.is_some().then(|| log.to_string_lossy().into_owned()),
        last_line: last.map(|(line, _)| line).filter(|line| !line.is_empty()),
    }
}

impl RunView {
    fn name(&self) -> String {
        self.label.clone().unwrap_or_else(|| self.command.join(" "))
    }
}
