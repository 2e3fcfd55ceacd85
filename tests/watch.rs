//! `spool watch` where nobody looks at a terminal: a JSON line for each thing that happens, until the reader hangs up.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use spooldir::journal::Line;
use spooldir::{Entry, Id, State};

use crate::support::TempSpool;
use crate::support::programs::{Cli, state, wait_until};

/// What `docs/json.md` promises of a line of the journal.
const MEMBERS: [&str; 11] =
    ["type", "at", "event", "id", "to", "sessionKey", "key", "attempts", "evidence", "reason", "by"];

#[test]
fn what_happens_is_told_in_lines_until_the_reader_hangs_up() {
    let spool = TempSpool::new();
    let old = Entry::new(Id::new("before").unwrap(), State::Pending);
    spool.spool.note(&[Line::about("accept", &old)]).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_spool"))
        .arg("watch")
        .env_clear()
        .env("SPOOL_DIR", spool.spool.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!(
        (&first["type"], &first["health"], &first["counts"]["pending"]),
        (&json!("status"), &json!("no-agent"), &json!(0))
    );
    let record = json!({"id": "job-1", "sessionKey": "agent:main:a", "text": "x"});
    let id = Id::new("job-1").unwrap();
    spool.spool.publish(&id, record.to_string().as_bytes(), false).unwrap();
    let changed = next();
    assert_eq!((&changed["type"], &changed["counts"]["pending"]), (&json!("status"), &json!(1)));
    Cli::new(&spool, &["dismiss", "job-1", "--reason", "a\u{1b}[31m\nb"]).run().exits(0);
    let told = std::iter::from_fn(|| Some(next())).find(|line| line["type"] == "journal").unwrap();
    assert_eq!(
        (&told["event"], &told["id"], &told["by"]),
        (&json!("dismiss"), &json!("job-1"), &json!("operator"))
    );
    let mut members: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
    let mut promised = MEMBERS;
    members.sort_unstable();
    promised.sort_unstable();
    assert_eq!(members, promised);
    assert_eq!(state(&spool.spool, "job-1"), "dismissed");
    drop(lines);
    let mut code = None;
    wait_until("it ends when nobody reads it", || {
        code = child.try_wait().unwrap();
        code.is_some()
    });
    assert_eq!(code.unwrap().code(), Some(0));
}

#[test]
fn a_spool_that_is_not_there_cannot_be_watched() {
    let spool = TempSpool::new();
    let nowhere = spool.home().join("nowhere");
    Cli::new(&spool, &["watch"]).env("SPOOL_DIR", nowhere).run().exits(78).says("no such directory");
}
