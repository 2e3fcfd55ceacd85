//! The operator's verbs beyond those of `cli.rs`: choosing entries, telling before doing, doing twice, clearing away,
//! and moving to another machine. Without an agent, and beside one.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use spool_gateway::fake::{FakeThread, Options};
use spooldir::moves::Why;
use spooldir::{Dir, Entry, Event, Id, Key};

use crate::support::TempSpool;
use crate::support::programs::{Agent, Cli, bring, state, wait_until, write_token};

const DAY: u64 = 86_400_000;

/// An entry of a session, made so many days after 2026-11-01, brought where `events` bring it.
fn put(spool: &TempSpool, id: &str, session: &str, status: &str, day: u64, events: &[Event]) -> Entry {
    let created = 1_793_491_200_000 + day * DAY;
    let record = json!({"v": 1, "id": id, "sessionKey": session, "status": status, "label": format!("Build {id}"),
        "text": format!("text of {id}"), "createdAt": created});
    bring(spool, id, &record, events)
}

fn take() -> Event {
    Event::Take { key: Key::mint() }
}

/// A spool with something to choose from.
fn some() -> TempSpool {
    let spool = TempSpool::new();
    put(&spool, "job-c", "agent:main:a", "ok", 1, &[]);
    put(&spool, "job-a", "agent:main:b", "failed", 3, &[]);
    put(&spool, "job-b", "agent:main:a", "failed", 2, &[Event::Condemn]);
    put(&spool, "job-d", "agent:main:c", "lost", 0, &[Event::Hold]);
    spool
}

fn listed(spool: &TempSpool, options: &[&str]) -> String {
    let ran = Cli::new(spool, &[&["list", "--ids"], options].concat()).run().exits(0);
    ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// What the directories of a spool hold: each file with its bytes.
fn content(spool: &TempSpool) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for dir in Dir::STATES {
        for name in spool.names(dir) {
            let bytes = std::fs::read(spool.spool.dir(dir).join(&name)).unwrap();
            files.push((format!("{}/{name}", dir.name()), bytes));
        }
    }
    files
}

#[test]
fn list_chooses_and_sorts() {
    let spool = some();
    for (options, ids) in [
        (&[][..], "job-a job-c job-d job-b"),
        (&["--status", "failed"], "job-a job-b"),
        (&["--session", "agent:main:a"], "job-c job-b"),
        (&["--session", "agent:main:a", "--status", "failed"], "job-b"),
        (&["--since", "2026-11-03"], "job-a job-b"),
        (&["--since", "2026-11-03T00:00:01Z"], "job-a"),
        (&["--since", "0s"], ""),
        (&["--grep", "TEXT OF JOB-D"], "job-d"),
        (&["--grep", "no such session"], "job-d job-b"),
        (&["--grep", "build"], "job-a job-c job-d job-b"),
        (&["--sort", "age"], "job-d job-c job-b job-a"),
        (&["--sort", "session"], "job-c job-b job-a job-d"),
        (&["--sort", "attempts"], "job-d job-b job-a job-c"),
        (&["--state", "dead", "--status", "ok"], ""),
    ] {
        assert_eq!(listed(&spool, options), ids, "{options:?}");
    }
    let shown = json_of(&Cli::new(&spool, &["list", "--status", "lost", "--json"]).run().exits(0).stdout);
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["id"]), (1, &json!("job-d")));
}

/// `spool VERB` with something on its standard input.
fn with_input(spool: &TempSpool, args: &[&str], input: &[u8]) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_spool"))
        .args(args)
        .env_clear()
        .env("SPOOL_DIR", spool.spool.root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who has heard enough hangs up.
    let _all = child.stdin.take().unwrap().write_all(input).is_ok();
    let out = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[test]
fn ids_come_from_standard_input_too() {
    let spool = some();
    let (code, out, _) = with_input(&spool, &["hold", "job-b", "-"], b"job-a  and more\n\n  job-c\n");
    assert_eq!((code, out.lines().count()), (0, 3), "{out}");
    for id in ["job-a", "job-b", "job-c"] {
        assert_eq!(state(&spool.spool, id), "held", "{id}");
    }
    let (code, out, err) = with_input(&spool, &["release", "-"], b"job-a\nnobody\njob-c");
    assert_eq!((code, out.lines().count()), (65, 2), "{out}");
    assert!(err.contains("there is no entry \"nobody\""), "{err}");
    let (code, _, err) = with_input(&spool, &["hold", "-"], b"");
    assert!(code == 0 && err.contains("no ids were given"), "{err}");
    let (code, _, err) = with_input(&spool, &["hold", "-"], &[b'x'; 100_000]);
    assert!(code == 65 && err.contains("one a line"), "{err}");
}

#[test]
fn a_dry_run_says_what_would_be_and_moves_nothing() {
    let spool = some();
    put(&spool, "job-s", "agent:main:a", "ok", 1, &[take()]);
    std::fs::write(spool.spool.dir(Dir::New).join("dropped.json"), br#"{"sessionKey":"k","text":"x"}"#)
        .unwrap();
    let before = content(&spool);
    for (line, code, says) in [
        (&["hold", "job-a"][..], 0, "job-a would be held (is pending)"),
        (&["hold", "dropped"], 0, "dropped would be held (is pending)"),
        (&["withdraw", "job-c"], 0, "job-c would be dismissed (is pending)"),
        (&["dismiss", "job-b", "--reason", "r"], 0, "job-b would be dismissed (is dead)"),
        (&["release", "job-d"], 0, "job-d would be pending (is held)"),
        (&["retry", "job-b"], 0, "job-b would be pending (is dead)"),
        (&["retry", "--all"], 0, "job-b would be pending (is dead)"),
        (&["retry", "job-b", "--session", "agent:main:x"], 0, "job-b would be dismissed (is dead)"),
        (&["withdraw", "job-b"], 65, "spool dismiss"),
        (&["withdraw", "job-s"], 65, "may already have arrived"),
        (&["hold", "job-s"], 65, "wait for the verdict"),
        (&["retry", "job-s", "--session", "agent:main:x"], 65, "being sent"),
        (&["release", "job-b"], 65, "not held"),
    ] {
        let ran = Cli::new(&spool, &[line, &["--dry-run"]].concat()).run().exits(code);
        assert!(ran.stdout.contains(says) || ran.stderr.contains(says), "{line:?}: {ran:?}");
        assert_eq!(content(&spool), before, "{line:?}");
    }
    let report = json_of(&Cli::new(&spool, &["hold", "job-a", "--dry-run", "--json"]).run().exits(0).stdout);
    let expected = json!([{"id": "job-a", "was": "pending", "state": "held", "newId": null, "dryRun": true}]);
    assert_eq!(report, expected);
}

#[test]
fn what_is_done_already_is_said_again() {
    let spool = some();
    for (line, id, now) in [
        (&["hold", "job-a"][..], "job-a", "held"),
        (&["release", "job-a"], "job-a", "pending"),
        (&["retry", "job-b"], "job-b", "pending"),
        (&["withdraw", "job-a"], "job-a", "dismissed"),
        (&["dismiss", "job-c", "--reason", "r"], "job-c", "dismissed"),
        (&["withdraw", "job-c"], "job-c", "dismissed"),
    ] {
        for _time in 0..2 {
            let ran = Cli::new(&spool, line).run().exits(0);
            assert!(ran.stdout.starts_with(&format!("{id} {now}")), "{line:?}: {ran:?}");
            assert_eq!(state(&spool.spool, id), now, "{line:?}");
        }
    }
    Cli::new(&spool, &["audit"]).run().exits(0);
}

#[test]
fn prune_clears_old_receipts_away_and_never_what_waits_for_a_person() {
    let spool = some();
    for n in 0..5 {
        put(&spool, &format!("done-{n}"), "agent:main:a", "ok", 1, &[take(), Event::Prove]);
    }
    Cli::new(&spool, &["withdraw", "job-c"]).run().exits(0);
    let prune = |options: &[&str]| {
        Cli::new(&spool, &[&["prune"], options].concat()).run().exits(0).stdout.trim().to_owned()
    };
    assert_eq!(prune(&["--done", "--older", "1h"]), "0 receipts pruned");
    assert_eq!(prune(&["--done", "--older", "0s", "--dry-run"]), "5 receipts would be pruned");
    assert_eq!(spool.names(Dir::Done).len(), 5);
    assert_eq!(prune(&["--done", "--older", "0s"]), "5 receipts pruned");
    assert_eq!(prune(&["--done", "--older", "0s"]), "0 receipts pruned");
    assert_eq!(spool.names(Dir::Dismissed), ["job-c.json", "job-c.why.json"]);
    let report =
        json_of(&Cli::new(&spool, &["prune", "--dismissed", "--older", "0s", "--json"]).run().stdout);
    assert_eq!(report, json!({"pruned": 1, "dryRun": false}));
    assert_eq!(spool.names(Dir::Dismissed), [""; 0]);
    assert_eq!(listed(&spool, &[]), "job-a job-d job-b");
    let audit = Cli::new(&spool, &["audit"]).run().exits(0);
    assert!(
        audit.stdout.contains("9 accepted = 1 pending") && audit.stdout.contains("6 pruned"),
        "{audit:?}"
    );
}

#[test]
fn an_export_is_taken_in_byte_for_byte_and_once() {
    let here = some();
    put(&here, "job-s", "agent:main:a", "ok", 1, &[take()]);
    put(
        &here,
        "job-f",
        "agent:main:a",
        "ok",
        1,
        &[take(), Event::Fail { due_ms: 4_000_000_000_000, alone: true }],
    );
    put(&here, "job-x", "agent:main:a", "ok", 1, &[take(), Event::Prove]);
    // What is no record, and no text, is kept too.
    std::fs::write(here.spool.dir(Dir::New).join("garbage.json"), b"\xff\0{").unwrap();
    let why = Why { reason: "it is no JSON".into(), ..Why::default() };
    let garbage = here.spool.bury("garbage.json".as_ref(), &why).unwrap();
    let before = content(&here);
    let lines = Cli::new(&here, &["export"]).run().exits(0).stdout;
    assert_eq!((lines.lines().count(), content(&here)), (8, before));

    let there = TempSpool::new();
    let file = there.home().join("export.jsonl");
    std::fs::write(&file, &lines).unwrap();
    let file = file.to_str().unwrap();
    let ran = Cli::new(&there, &["import", file, "--dry-run"]).run().exits(0);
    assert!(ran.stdout.contains("job-s would be held") && content(&there).is_empty(), "{ran:?}");
    let ran = Cli::new(&there, &["import", file]).run().exits(0);
    assert_eq!(ran.stdout.lines().count(), 8, "{ran:?}");
    for (id, now) in [
        ("job-a", "pending"),
        ("job-c", "pending"),
        ("job-f", "pending"),
        ("job-s", "held"),
        ("job-d", "held"),
        ("job-b", "dead"),
        ("job-x", "done"),
        (garbage.as_str(), "dead"),
    ] {
        assert_eq!(state(&there.spool, id), now, "{id}");
        let entry = |spool: &TempSpool| spool.spool.find(&Id::new(id).unwrap()).unwrap().unwrap();
        let bytes = |spool: &TempSpool| std::fs::read(spool.spool.path(&entry(spool))).unwrap();
        assert_eq!(bytes(&here), bytes(&there), "{id}");
        let why = |spool: &TempSpool| spool.spool.why(&entry(spool)).map(|why| why.reason);
        if matches!(now, "held" | "dead") && id != "job-s" {
            assert_eq!(why(&here), why(&there), "{id}");
        }
    }
    let all = content(&there);
    let ran = Cli::new(&there, &["import", file]).run().exits(0);
    assert!(ran.stdout.contains("job-a is here already and is pending"), "{ran:?}");
    assert_eq!(content(&there), all);
    Cli::new(&there, &["audit"]).run().exits(0);
}

#[test]
fn a_line_that_is_no_export_costs_only_itself() {
    let there = TempSpool::new();
    put(&there, "taken", "agent:main:a", "ok", 1, &[]);
    let line = |id: &str, state: &str| {
        json!({"v": 1, "id": id, "state": state, "record": r#"{"sessionKey":"k","text":"x"}"#}).to_string()
    };
    let input = [
        "{".to_owned(),
        "{}".to_owned(),
        line("../x", "pending"),
        line("a", "asleep"),
        line("taken", "dead"),
        json!({"v": 2, "id": "b", "state": "held", "record": "{}"}).to_string(),
        json!({"v": 1, "id": "b", "state": "held", "recordHex": "zz"}).to_string(),
        line("good", "held"),
    ]
    .join("\n");
    let (code, out, err) = with_input(&there, &["import", "-"], input.as_bytes());
    assert_eq!((code, out.as_str()), (65, "good held\n"), "{err}");
    for says in
        ["line 1: ", "line 2: ", "line 3: ", "state is unknown", "line 5: ", "later version", "hexadecimal"]
    {
        assert!(err.contains(says), "{says}: {err}");
    }
    assert_eq!(listed(&there, &[]), "taken good");
}

/// The verbs are renames: an agent that runs sees them, and does not get in their way.
#[test]
fn the_verbs_work_beside_an_agent() {
    let spool = TempSpool::new();
    write_token(&spool, "secret");
    let gateway = FakeThread::start(Options::with_token("secret")).unwrap();
    gateway.add_session("agent:main:a", None);
    put(&spool, "held-1", "agent:main:a", "ok", 1, &[Event::Hold]);
    put(&spool, "held-2", "agent:main:a", "ok", 1, &[Event::Hold]);
    put(&spool, "dead-1", "agent:main:gone", "ok", 1, &[Event::Condemn]);
    let agent = Agent::start(&spool, &gateway);
    put(&spool, "job-1", "agent:main:a", "ok", 1, &[]);
    wait_until("the first delivery", || state(&spool.spool, "job-1") == "done");
    Cli::new(&spool, &["withdraw", "held-1"]).run().exits(0);
    Cli::new(&spool, &["release", "held-2"]).run().exits(0);
    wait_until("what was released", || state(&spool.spool, "held-2") == "done");
    Cli::new(&spool, &["retry", "dead-1", "--session", "agent:main:a"]).run().exits(0);
    wait_until("what was sent on", || state(&spool.spool, "dead-1.2") == "done");
    Cli::new(&spool, &["prune", "--done", "--older", "0s"]).run().exits(0);
    let export = Cli::new(&spool, &["export", "--state", "dismissed"]).run().exits(0).stdout;
    assert_eq!(export.lines().count(), 2, "{export}");
    let (code, out, _) = with_input(&spool, &["import", "-"], export.as_bytes());
    assert_eq!((code, out.matches("is here already").count()), (0, 2), "{out}");
    assert_eq!(state(&spool.spool, "held-1"), "dismissed");
    Cli::new(&spool, &["audit"]).run().exits(0);
    assert_eq!(agent.stop(), 0);
}
