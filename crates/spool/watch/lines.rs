//! A JSON line for each thing that happens: `{"type":"status",…}` at first and whenever more than a clock has changed,
//! `{"type":"journal",…}` for each line that is added to the journal.

use std::io::{self, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use spooldir::exit;
use spooldir::journal::Line;

use super::Eye;
use crate::Failure;
use crate::status::report::Report;

/// Between two looks at the journal.
const PAUSE: Duration = Duration::from_millis(100);

/// Prints lines until the reader hangs up.
pub fn run(mut eye: Eye<'_>, first: Report, out: &mut dyn Write) -> Result<u8, Failure> {
    // What was before is no news.
    drop(eye.lines());
    let mut last = Value::Null;
    let mut seen = Some(Ok(first));
    loop {
        for line in eye.lines() {
            writeln!(out, "{}", journal(&line))?;
        }
        if let Some(report) = seen.take() {
            let report = report?;
            let key = gist(&report);
            if key != last {
                writeln!(out, "{}", status(&report)?)?;
                last = key;
            }
        }
        out.flush()?;
        if has_hung_up(PAUSE) {
            return Ok(exit::OK);
        }
        seen = eye.look();
    }
}

/// What makes a report another one than the last: not its clocks.
fn gist(report: &Report) -> Value {
    let agent = report.agent.as_ref();
    json!([
        report.counts,
        report.health(&report.problems()).word(),
        report.runs.running,
        report.runs.over,
        agent.map(|agent| agent.pid),
        agent.map(|agent| &agent.gateway.state),
        agent.map(|agent| agent.in_flight),
        report.troubled().count(),
    ])
}

fn status(report: &Report) -> Result<Value, Failure> {
    let mut value = report.as_json(&report.problems())?;
    if let Value::Object(members) = &mut value {
        // A day is too long a look to take again and again.
        members.remove("lastDay");
        members.insert("type".into(), "status".into());
        members.insert("at".into(), report.now_ms.into());
    }
    Ok(value)
}

fn journal(line: &Line) -> Value {
    json!({
        "type": "journal",
        "at": line.at,
        "event": line.event,
        "id": Some(&line.id).filter(|id| !id.is_empty()),
        "to": line.to,
        "sessionKey": line.session_key,
        "key": line.key,
        "attempts": line.attempts,
        "evidence": line.evidence,
        "reason": line.reason,
        "by": line.by,
    })
}

/// Waits, and tells whether nobody reads stdout any more.
fn has_hung_up(most: Duration) -> bool {
    let stdout = io::stdout();
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    let timeout = Timespec::try_from(most).ok();
    // A file never hangs up; what cannot be waited for is only slept for.
    match poll(&mut watched, timeout.as_ref()) {
        Ok(0) => false,
        Ok(_) => watched[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL),
        Err(_) => {
            std::thread::sleep(most);
            false
        }
    }
}
