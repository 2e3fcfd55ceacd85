//! `spool-format.md`, executed: its examples are parsed, its tables compared with the code, its recipes run.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use spool_gateway::fake::{FakeThread, Options};
use spooldir::intake::{Desk, Intake, PATIENCE, is_candidate};
use spooldir::journal::{KEEP_DAYS, Line};
use spooldir::moves::Why;
use spooldir::name::Purpose;
use spooldir::record::{Flaw, MAX_BYTES, MAX_LABEL, MAX_SESSION_KEY, VERSION};
use spooldir::run::{Intent, RunRoute, Standing, TAIL_BYTES, TAIL_LINES};
use spooldir::upkeep::{LOG_AGE, TMP_AGE};
use spooldir::{Dir, Entry, Event, Id, Key, Record, Spool, State};

use crate::support::programs::{Cli, drain_args, write_token};
use crate::support::{TempSpool, project, which};

fn document() -> String {
    std::fs::read_to_string(project().join("spool-format.md")).unwrap()
}

/// The fenced blocks with this info string. At least one, or the document was changed without its tests.
fn blocks(info: &str) -> Vec<String> {
    let document = document();
    let mut lines = document.lines();
    let mut blocks = Vec::new();
    while let Some(line) = lines.next() {
        if line.strip_prefix("```") == Some(info) {
            let block: Vec<&str> = lines.by_ref().take_while(|l| !l.starts_with("```")).collect();
            blocks.push(block.join("\n"));
        }
    }
    assert!(!blocks.is_empty(), "no block ```{info}");
    blocks
}

/// The rows of the table after the marker `<!-- test: NAME -->`, the head among them.
fn table(name: &str) -> Vec<Vec<String>> {
    let document = document();
    let marker = format!("<!-- test: {name} -->");
    let rest = document.split_once(&marker).unwrap_or_else(|| panic!("no {marker}")).1;
    let rows: Vec<Vec<String>> = rest
        .trim_start()
        .lines()
        .take_while(|l| l.starts_with('|'))
        .filter(|l| !l.starts_with("|-"))
        .map(|l| l.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect())
        .collect();
    assert!(rows.len() > 2, "the table {name} is empty");
    assert!(rows.iter().all(|r| r.len() == rows[0].len()), "the table {name} is ragged");
    rows
}

fn code(cell: &str) -> &str {
    code_of(cell).unwrap_or_else(|| panic!("no code in {cell:?}"))
}

/// What stands between the first two backticks, if the cell begins with one.
fn code_of(cell: &str) -> Option<&str> {
    Some(cell.strip_prefix('`')?.split_once('`')?.0)
}

#[test]
fn the_records_are_good_and_say_what_they_show() {
    for text in blocks("json record") {
        let record = Record::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert!(record.session_key.is_some(), "{text}");
    }
    let full = blocks("json record").into_iter().max_by_key(String::len).unwrap();
    let record = Record::parse(full.as_bytes()).unwrap();
    assert_eq!(record.route.unwrap().thread_id.as_deref(), Some("7"));
    assert_eq!(record.task.unwrap().duration_ms(), Some(65_000));
    for text in blocks("json later") {
        assert!(matches!(Record::parse(text.as_bytes()), Err(Flaw::Version(v)) if v > VERSION), "{text}");
    }
}

#[test]
fn what_is_called_bad_is_bad_for_the_reason_given() {
    for row in &table("bad records")[1..] {
        let (text, reason) = (code(&row[0]), code(&row[1]));
        match Record::parse(text.as_bytes()) {
            Err(Flaw::Bad(why)) => assert!(why.contains(reason), "{text}: {why:?} is not {reason:?}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

/// Each member in the tables of section 4.1 is known to the code, which refuses a wrong type for it by its name; and
/// the full example shows each of them but the few that exclude others.
#[test]
fn every_member_of_the_schema_is_one_the_code_knows() {
    let document = document();
    let section = document.split_once("### 4.1").unwrap().1.split_once("### 4.2").unwrap().0;
    let mut members = BTreeSet::new();
    let mut prefix = String::new();
    for line in section.lines().filter(|l| l.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        match cells[0] {
            "member" => prefix.clear(),
            "member of `task`" => "task.".clone_into(&mut prefix),
            "member of" => "?".clone_into(&mut prefix),
            cell if cell.starts_with('`') && prefix == "?" => {
                for name in cells[1].split(", ") {
                    members.insert(format!("{}.{}", code(cell), code(name)));
                }
            }
            cell if cell.starts_with('`') => {
                members.extend(cell.split(", ").map(|name| format!("{prefix}{}", code(name))));
            }
            _ => {}
        }
    }
    assert!(members.len() > 30, "{members:?}");
    for member in &members {
        let text = match member.split_once('.') {
            Some((outer, inner)) => {
                format!(r#"{{"text":"x","{outer}":{{"channel":"c","to":"t","{inner}":[1]}}}}"#)
            }
            None => format!(r#"{{"text":"x","{member}":[1]}}"#),
        }
        .replace(r#""text":"x","text""#, r#""text""#)
        .replace(r#""channel":"c","to":"t","channel""#, r#""to":"t","channel""#)
        .replace(r#""to":"t","to""#, r#""to""#);
        match Record::parse(text.as_bytes()) {
            Err(Flaw::Bad(why)) => assert!(why.contains(&format!("\"{member}\"")), "{text}: {why}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let full = blocks("json record").into_iter().max_by_key(String::len).unwrap();
    let Value::Object(full) = serde_json::from_str(&full).unwrap() else { panic!() };
    for member in members.iter().filter(|m| !m.contains('.')) {
        assert!(full.contains_key(member), "the full example lacks {member}");
    }
}

#[test]
fn the_limits_are_those_of_the_code() {
    let document = document().split_whitespace().collect::<Vec<_>>().join(" ");
    let bytes = format!("at most {} {} bytes", MAX_BYTES / 1000, MAX_BYTES % 1000);
    for said in [
        bytes,
        format!("At most {MAX_SESSION_KEY} bytes, no control characters"),
        format!("at most {MAX_LABEL} characters"),
        format!("nests deeper than {}", spooldir::json::MAX_DEPTH),
        format!("older than {} hours", TMP_AGE.as_secs() / 3600),
        format!("journal files older than {KEEP_DAYS} days"),
        format!("logs that nobody has written to for {} days", LOG_AGE.as_secs() / 86_400),
        format!("lines and at most {} KiB, the default", TAIL_BYTES / 1024),
        format!("\"tailLines\": {TAIL_LINES}"),
    ] {
        assert!(document.contains(&said), "the document does not say {said:?}");
    }
    assert_eq!(PATIENCE.as_secs(), 10, "the document says ten seconds");
    let deep = |n: usize| format!(r#"{{"text":"x","a":{}1{}}}"#, "[".repeat(n - 1), "]".repeat(n - 1));
    assert!(Record::parse(deep(spooldir::json::MAX_DEPTH).as_bytes()).is_ok());
    assert!(Record::parse(deep(spooldir::json::MAX_DEPTH + 1).as_bytes()).is_err());
}

#[test]
fn the_directories_are_those_of_the_code() {
    let rows = table("layout");
    let listed: Vec<&str> = rows.iter().filter_map(|r| code_of(&r[0])?.strip_suffix('/')).collect();
    assert_eq!(listed, Dir::ALL.map(Dir::name));
    for row in &table("places")[1..] {
        let dir = code(&row[1].replace("any name in ", "")).trim_end_matches('/').to_owned();
        if row[0] != "staged" {
            assert_eq!(Dir::from_state_word(&row[0]).map(Dir::name), Some(dir.as_str()), "{row:?}");
        }
    }
    assert_eq!(table("places").len() - 2, Dir::STATES.len());
    let spool = TempSpool::new();
    assert_eq!(std::fs::read_to_string(spool.spool.root().join("format")).unwrap(), "spool 1\n");
}

#[test]
fn the_names_mean_what_the_table_says() {
    for row in &table("names")[1..] {
        let (dir, name, what) = (code(&row[0]), code(&row[1]), row[2].as_str());
        let dir = Dir::ALL.into_iter().find(|d| d.name() == dir).unwrap();
        let entry = Entry::from_name(dir, name);
        let candidate = dir == Dir::New && is_candidate(OsStr::new(name));
        match what {
            "foreign" => assert!(entry.is_none() && !candidate, "{name}: {entry:?}"),
            "dropped name" => assert!(entry.is_none() && candidate, "{name}: {entry:?}"),
            _ if what.starts_with("the reason of") => assert_eq!(entry, None, "{name}"),
            _ => {
                let id = code(what.strip_prefix("id ").unwrap());
                let entry = entry.unwrap_or_else(|| panic!("{name} is not {what}"));
                assert_eq!((entry.id.as_str(), entry.file_name().as_str()), (id, name));
                let is_plain = dir == Dir::New && !Id::is_unique(id);
                assert_eq!(is_plain, what.ends_with("else a dropped name"), "{name}");
            }
        }
    }
}

/// The state in a row or cell of the table, and the events in its head.
fn state(word: &str) -> State {
    let key: Key = "sp-01929f3e000070008000000000000001".parse().unwrap();
    match word {
        "pending" => State::Pending,
        "sending" => State::Sending { key, attempts: 2 },
        "sending ~tell" => State::Sending { key: key.tell(), attempts: 2 },
        "deferred" => State::Deferred { key: Some(key), attempts: 2, due_ms: 5 },
        "held" => State::Held,
        "dead" => State::Dead,
        "done" => State::Done,
        "dismissed" => State::Dismissed,
        other => panic!("no state {other:?}"),
    }
}

fn events() -> Vec<Event> {
    let key = Key::mint();
    vec![
        Event::Take { key },
        Event::Postpone { due_ms: 9 },
        Event::Rekey,
        Event::Tell,
        Event::Prove,
        Event::Quiet,
        Event::Fail { due_ms: 9, alone: true },
        Event::Condemn,
        Event::Hold,
        Event::Retry,
        Event::Dismiss,
    ]
}

#[test]
fn the_transitions_are_those_of_the_code() {
    let rows = table("transitions");
    let events = events();
    assert_eq!(rows[0][1..], events.iter().map(|e| e.word().to_owned()).collect::<Vec<_>>());
    assert_eq!(rows.len() - 1, Dir::STATES.len() + 1, "one row for each state, and one for ~tell");
    for row in &rows[1..] {
        let from = state(&row[0]);
        for (event, expected) in events.iter().zip(&row[1..]) {
            let found = match spooldir::entry::next(&from, event) {
                Err(_) => "–".to_owned(),
                Ok(to)
                    if to.key().is_some_and(|k| k.purpose() == Purpose::Tell) && to.dir() == Dir::Sending =>
                {
                    "sending ~tell".to_owned()
                }
                Ok(to) => to.word().to_owned(),
            };
            assert_eq!(&found, expected, "{} {}", row[0], event.word());
        }
    }
}

#[test]
fn reasons_and_journal_lines_are_read_as_shown() {
    for text in blocks("json why") {
        let why: Why = serde_json::from_str(&text).unwrap();
        let (shown, again): (Value, Value) =
            (serde_json::from_str(&text).unwrap(), serde_json::to_value(&why).unwrap());
        assert_eq!(shown, again);
    }
    for text in blocks("json line") {
        let line: Line = serde_json::from_str(&text).unwrap();
        assert!(events().iter().any(|e| e.word() == line.event));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), serde_json::to_value(&line).unwrap());
    }
}

#[test]
fn intents_are_read_and_written_as_shown() {
    for text in blocks("json intent") {
        let intent: Intent = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), serde_json::to_value(&intent).unwrap());
        let bare: Intent = serde_json::from_str(r#"{"id":"a","command":["make"],"startedAt":1}"#).unwrap();
        let expected =
            Intent { id: "a".into(), command: vec!["make".into()], started_at: 1, ..Intent::default() };
        assert_eq!(bare, expected);
    }
}

#[test]
fn the_files_of_a_run_are_those_of_the_table_and_say_whether_it_is_over() {
    let temp = TempSpool::new();
    let id = Id::new("build:42").unwrap();
    let intent = Intent { id: id.to_string(), boot_id: spooldir::run::boot_id(), ..Intent::default() };
    let lease = temp.spool.open_run(&id, &intent).unwrap();
    let route = RunRoute { channel: "c".into(), to: "t".into(), account_id: None, thread_id: None };
    temp.spool.remember_route(&id, &route).unwrap();
    temp.spool.name_main(&id, std::process::id()).unwrap();
    std::fs::write(temp.spool.log_path(&id), "x").unwrap();
    let mut found: Vec<String> = Vec::new();
    for dir in [Dir::Runs, Dir::Logs] {
        found.extend(temp.names(dir).iter().map(|name| format!("{}/{name}", dir.name())));
    }
    let rows = table("run files");
    let name = |row: &Vec<String>| row[0].replace("` id `", "build:42").trim_matches('`').to_owned();
    let mut listed: Vec<String> = rows[1..].iter().map(name).collect();
    listed.sort();
    found.sort();
    assert_eq!(found, listed);
    assert_eq!(temp.spool.standing(&id, &intent), Standing::Running);
    drop(lease);
    assert_eq!(temp.spool.standing(&id, &intent), Standing::Running, "the named process is there");
    std::fs::remove_file(temp.spool.dir(Dir::Runs).join("build:42.pid")).unwrap();
    assert_eq!(temp.spool.standing(&id, &intent), Standing::Over);
    temp.spool.close_run(&id).unwrap();
    assert!(temp.names(Dir::Runs).is_empty());
    assert_eq!(temp.names(Dir::Logs), ["build:42.log"], "the log stays");
}

/// Each row of the table that the agent ends is played: what is left is made, an agent comes, and what it reports is
/// counted. The others need real wrappers and jobs, and are played where those are tested.
#[test]
fn what_a_crash_leaves_of_a_run_is_reported_as_the_table_says() {
    let gateway = FakeThread::start(Options::with_token("t")).unwrap();
    gateway.add_chat("agent:main:main", 1);
    let mut played = 0;
    for row in &table("run crashes")[1..] {
        let temp = TempSpool::new();
        let id = Id::mint();
        let session_key = Some("agent:main:main".to_owned());
        let mut intent = Intent { id: id.to_string(), session_key, ..Intent::default() };
        intent.boot_id = spooldir::run::boot_id();
        let open = |intent: &Intent| drop(temp.spool.open_run(&id, intent).unwrap());
        match row[1].as_str() {
            "a lease that nobody holds" | "nothing, or a lease" => {
                std::fs::write(temp.spool.dir(Dir::Runs).join(format!("{id}.lock")), "").unwrap();
            }
            "an open run, over" => open(&intent),
            "an open run with another `bootId`" => {
                intent.boot_id = Some("before".into());
                open(&intent);
            }
            "an open run and its completion" | "the same" => {
                open(&intent);
                let record =
                    format!(r#"{{"id":"{id}","sessionKey":"agent:main:main","status":"ok","text":"x"}}"#);
                temp.spool.publish(&id, record.as_bytes(), false).unwrap();
            }
            left if left.starts_with("an open run") || left == "open runs" => continue,
            other => panic!("a row that is not played: {other}"),
        }
        played += 1;
        let (url, token) = (gateway.url(), write_token(&temp, "t"));
        let args = drain_args(&url);
        let args = [&args[..1], &["--once"], &args[1..], &[token.to_str().unwrap()]].concat();
        Cli::new(&temp, &args).run().exits(0);
        assert!(temp.spool.runs().unwrap().is_empty(), "{row:?}");
        let entry = temp.spool.find(&id).unwrap();
        if row[2].starts_with("nothing: ") {
            assert_eq!(entry, None, "{row:?}");
            continue;
        }
        let bytes = std::fs::read(temp.spool.path(&entry.unwrap())).unwrap();
        let status = Record::parse(&bytes).unwrap().status.as_str();
        assert_eq!(status, if row[2].starts_with("`lost`") { "lost" } else { "ok" }, "{row:?}");
        assert_eq!(gateway.commits_containing(id.as_str()), 1, "{row:?}");
    }
    assert_eq!(played, 8);
}

fn take_in(spool: &Spool) -> Vec<Intake> {
    let mut desk = Desk::new();
    crate::support::names(&spool.dir(Dir::New))
        .iter()
        .map(|name| desk.look(spool, OsStr::new(name), &|_| false, Instant::now()))
        .collect()
}

#[test]
fn the_shell_recipe_publishes() {
    for script in blocks("sh recipe") {
        assert!(script.lines().count() <= 5, "five lines were promised");
        let temp = TempSpool::new();
        for text in ["one", "two"] {
            let output = Command::new("sh")
                .args(["-eu", "-c", &script])
                .env("SPOOL_DIR", temp.spool.root())
                .env("session", "agent:main:main")
                .env("text", text)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        assert!(temp.names(Dir::Tmp).is_empty());
        let mut texts = Vec::new();
        for taken in take_in(&temp.spool) {
            let Intake::Ready(taken) = taken else { panic!("{taken:?}") };
            assert_eq!(taken.record.session_key.as_deref(), Some("agent:main:main"));
            assert!(Id::is_unique(taken.entry.id.as_str()), "an id was minted: {:?}", taken.entry);
            texts.extend(taken.record.text);
        }
        texts.sort();
        assert_eq!(texts, ["one", "two"]);
    }
}

#[test]
fn the_shell_recipe_says_so_when_it_did_not_publish() {
    for script in blocks("sh recipe") {
        let temp = TempSpool::new();
        std::fs::remove_dir(temp.spool.dir(Dir::New)).unwrap();
        let output = Command::new("sh")
            .args(["-eu", "-c", &script])
            .env("SPOOL_DIR", temp.spool.root())
            .env("session", "s")
            .env("text", "x")
            .output()
            .unwrap();
        assert!(!output.status.success(), "{output:?}");
    }
}

/// People paste it into scripts that do not stop at the first error.
#[test]
fn the_shell_recipe_says_so_without_set_e() {
    for script in blocks("sh recipe") {
        for missing in ["tmp", "new", "format"] {
            let temp = TempSpool::new();
            let path = temp.spool.root().join(missing);
            if missing == "format" {
                std::fs::write(path, "spool 2\n").unwrap();
            } else {
                std::fs::remove_dir(path).unwrap();
            }
            let output = Command::new("sh")
                .args(["-c", &script])
                .env("SPOOL_DIR", temp.spool.root())
                .env("session", "s")
                .env("text", "x")
                .output()
                .unwrap();
            assert!(!output.status.success(), "{missing}: {output:?}");
        }
    }
}

#[test]
fn the_python_recipe_publishes_once() {
    let Some(python) = which("python3") else {
        eprintln!("skipped: no python3 here");
        return;
    };
    for script in blocks("python recipe") {
        let temp = TempSpool::new();
        let run = |text: &str| {
            Command::new(&python)
                .args(["-c", &script])
                .arg(temp.spool.root())
                .args(["job-1", "agent:main:main", text])
                .output()
                .unwrap()
        };
        assert!(run("done").status.success());
        assert!(run("done").status.success(), "a retry with the same bytes is no error");
        assert!(!run("other").status.success(), "other bytes under the same id are");
        assert_eq!((temp.names(Dir::New), temp.names(Dir::Tmp)), (vec!["job-1.json".to_owned()], vec![]));
        let taken = take_in(&temp.spool);
        assert!(matches!(&taken[..], [Intake::Ready(t)] if t.entry.id.as_str() == "job-1"), "{taken:?}");
    }
}
