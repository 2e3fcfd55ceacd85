//! Golden records and names: what was ever good stays good, and means the same.
//!
//! `tests/golden/v1/NAME.json` is a record as some producer wrote it, `NAME.txt` what is read of it. Files are added and never
//! changed. `BLESS=1` writes a summary that is missing; it does not overwrite one.

use std::ffi::OsStr;
use std::fmt::Write;

use spooldir::intake::is_candidate;
use spooldir::{Dir, Entry, Record, State};

use crate::support::{names, project};

/// Every member that is read, one a line, what is absent left out.
fn summary(record: &Record) -> String {
    let mut text = String::new();
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            writeln!(text, "{name}: {}", value.escape_debug()).unwrap();
        }
    };
    let number = |n: Option<u64>| n.map(|n| n.to_string());
    say("id", record.id.as_ref().map(ToString::to_string));
    say("sessionKey", record.session_key.clone());
    say("status", Some(record.status.to_string()));
    say("label", record.label.clone());
    say("text", record.text.clone());
    if let Some(task) = &record.task {
        say("task.runner", task.runner.clone());
        say("task.command", (!task.command.is_empty()).then(|| task.command.join(" ")));
        say("task.cwd", task.cwd.clone());
        say("task.host", task.host.clone());
        say("task.exitCode", task.exit_code.map(|n| n.to_string()));
        say("task.signal", task.signal.clone());
        say("task.startedAt", number(task.started_at));
        say("task.endedAt", number(task.ended_at));
        say("task.durationMs", number(task.duration_ms()));
    }
    if let Some(output) = &record.output {
        say("output.tail", output.tail.clone());
        say("output.truncated", Some(output.truncated.to_string()));
        say("output.path", output.path.clone());
    }
    say("createdAt", number(record.created_at));
    say("notBefore", number(record.not_before));
    say("expiresAt", number(record.expires_at));
    say("deliver", Some(record.deliver.to_string()));
    if let Some(route) = &record.route {
        say("route.channel", Some(route.channel.clone()));
        say("route.to", Some(route.to.clone()));
        say("route.accountId", route.account_id.clone());
        say("route.threadId", route.thread_id.clone());
    }
    say("notify", Some(record.notify.to_string()));
    say("told", Some(record.is_told().to_string()));
    say("urgent", Some(record.urgent.to_string()));
    say("supersedes", record.supersedes.as_ref().map(ToString::to_string));
    say("traceparent", record.traceparent.clone());
    text
}

#[test]
fn records_that_were_good_stay_good() {
    let dir = project().join("tests/golden/v1");
    let bless = std::env::var_os("BLESS").is_some();
    let mut count = 0;
    for name in names(&dir).iter().filter_map(|n| n.strip_suffix(".json")) {
        let bytes = std::fs::read(dir.join(format!("{name}.json"))).unwrap();
        let record = Record::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let beside = dir.join(format!("{name}.txt"));
        if bless && !beside.exists() {
            std::fs::write(&beside, summary(&record)).unwrap();
        }
        let expected =
            std::fs::read_to_string(&beside).unwrap_or_else(|e| panic!("{}: {e}", beside.display()));
        assert_eq!(summary(&record), expected, "{name}");
        count += 1;
    }
    assert!(count >= 20, "golden records are missing: {count} are there");
}

#[test]
fn names_mean_what_they_meant() {
    let list = std::fs::read_to_string(project().join("tests/golden/names.txt")).unwrap();
    let mut count = 0;
    for line in list.lines().filter(|l| !l.starts_with('#')) {
        let (dir, rest) = line.split_once(' ').unwrap();
        let (name, expected) = rest.trim_start().split_once(" | ").unwrap();
        let dir = Dir::ALL.into_iter().find(|d| d.name() == dir).unwrap();
        let meaning = match Entry::from_name(dir, name) {
            Some(entry) => {
                assert_eq!((entry.dir(), entry.file_name().as_str()), (dir, name), "{line}");
                let mut text = format!("id={} state={}", entry.id, entry.state.word());
                if let Some(key) = entry.state.key() {
                    write!(text, " key={key}").unwrap();
                }
                if matches!(entry.state, State::Sending { .. } | State::Deferred { .. }) {
                    write!(text, " attempts={}", entry.state.attempts()).unwrap();
                }
                if let State::Deferred { due_ms, .. } = entry.state {
                    write!(text, " due={due_ms}").unwrap();
                }
                text
            }
            None if dir == Dir::New && is_candidate(OsStr::new(name)) => "dropped".to_owned(),
            None => "foreign".to_owned(),
        };
        assert_eq!(meaning, expected, "{line}");
        count += 1;
    }
    assert!(count >= 30, "names are missing: {count} are there");
}
