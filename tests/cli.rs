//! What a person does with a spool: the real `spool` on spools made by hand, without an agent.

use serde_json::{Value, json};
use spool_drain::status::{AgentStatus, GatewayStatus};
use spooldir::journal::Line;
use spooldir::lock::AgentLock;
use spooldir::moves::Why;
use spooldir::{Dir, Entry, Event, Id, Key};

use crate::support::TempSpool;
use crate::support::programs::{Cli, bring, drop_record, state};

/// An entry with a label that would play tricks on a terminal.
fn put(spool: &TempSpool, id: &str, events: &[Event]) -> Entry {
    let record = json!({"v": 1, "id": id, "sessionKey": "agent:main:a", "status": "failed",
        "label": "n\u{1b}[31mightly", "text": "it broke\u{1b}]0;x\u{7}", "createdAt": 1_700_000_000_000_u64});
    bring(spool, id, &record, events)
}

/// One entry in each state, called after it.
fn one_of_each() -> TempSpool {
    let spool = TempSpool::new();
    let take = Event::Take { key: Key::mint() };
    put(&spool, "pending-1", &[]);
    put(&spool, "sending-1", std::slice::from_ref(&take));
    put(&spool, "deferred-1", &[take.clone(), Event::Fail { due_ms: 1_800_000_000_000, alone: true }]);
    put(&spool, "held-1", &[Event::Hold]);
    put(&spool, "dead-1", &[Event::Condemn]);
    let done = put(&spool, "done-1", &[take, Event::Prove]);
    put(&spool, "dismissed-1", &[Event::Dismiss]);
    let proved = Line { evidence: Some("sent".into()), ..Line::moved(&Event::Prove, &done) };
    spool.spool.note(&[proved]).unwrap();
    spool
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn ids(listed: &Value) -> Vec<&str> {
    listed.as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()).collect()
}

#[test]
fn list_has_the_promised_members_and_no_others() {
    let spool = one_of_each();
    let ran = Cli::new(&spool, &["list", "--json"]).run().exits(0);
    let listed = json_of(&ran.stdout);
    let expected = ["pending-1", "sending-1", "deferred-1", "held-1", "dead-1", "done-1", "dismissed-1"];
    assert_eq!(ids(&listed), expected);
    let entry =
        |state: &str| listed.as_array().unwrap().iter().find(|e| e["state"] == state).unwrap().clone();
    let base = json!({"id": "pending-1", "state": "pending", "sessionKey": "agent:main:a", "status": "failed",
        "label": "n\u{1b}[31mightly", "attempts": 0, "createdAt": 1_700_000_000_000_u64, "dueAt": null,
        "lastError": null, "evidence": null});
    assert_eq!(entry("pending"), base);
    let with = |changes: Value| {
        let mut all = base.clone();
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        all
    };
    let deferred =
        json!({"id": "deferred-1", "state": "deferred", "attempts": 1, "dueAt": 1_800_000_000_000_u64});
    assert_eq!(entry("deferred"), with(deferred));
    let dead =
        json!({"id": "dead-1", "state": "dead", "attempts": 3, "lastError": "there is no such session"});
    assert_eq!(entry("dead"), with(dead));
    assert_eq!(entry("done"), with(json!({"id": "done-1", "state": "done", "evidence": "sent"})));
}

#[test]
fn list_can_be_narrowed_and_is_safe_to_look_at() {
    let spool = one_of_each();
    drop_record(&spool, "by hand.json", br#"{"sessionKey":"agent:main:b","text":"x"}"#);
    let of = |args: &[&str]| Cli::new(&spool, args).run().exits(0).stdout;
    assert_eq!(ids(&json_of(&of(&["list", "--state", "held", "--json"]))), ["held-1"]);
    let b = json_of(&of(&["list", "--session", "agent:main:b", "--json"]));
    assert_eq!(b[0]["id"], Value::Null);
    assert_eq!((b[0]["state"].as_str(), b.as_array().unwrap().len()), (Some("pending"), 1));
    assert_eq!(of(&["list", "--session", "nobody", "--json"]), "[]\n");
    let shown = of(&["list"]);
    assert_eq!(shown.lines().count(), 9, "{shown}");
    assert!(shown.contains("(there is no such session)") && shown.contains("nightly"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    Cli::new(&spool, &["list", "--state", "asleep"]).run().exits(64).says("pending, sending, deferred");
    let nobody = Cli::new(&spool, &["list"]).run_to_nobody().exits(0);
    assert_eq!(nobody.stderr, "");
}

#[test]
fn show_tells_all_of_one_entry() {
    let spool = one_of_each();
    let shown = Cli::new(&spool, &["show", "dead"]).run().exits(0).stdout;
    for part in ["dead-1", "there is no such session", "agent:main:a", "it broke", "condemn", "attempts    3"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
    let json = json_of(&Cli::new(&spool, &["show", "deferred-1", "--json"]).run().exits(0).stdout);
    let members: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "attempts",
        "createdAt",
        "dueAt",
        "evidence",
        "flaw",
        "id",
        "journal",
        "key",
        "label",
        "lastError",
        "path",
        "reason",
        "record",
        "sessionKey",
        "state",
        "status",
    ];
    let mut sorted = members.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(json["record"]["id"], "deferred-1");
    assert!(json["key"].as_str().unwrap().starts_with("sp-"));
    let events: Vec<&str> =
        json["journal"].as_array().unwrap().iter().map(|l| l["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["accept", "take", "fail"]);
}

#[test]
fn an_id_is_whole_or_a_beginning_that_only_one_has() {
    let spool = TempSpool::new();
    put(&spool, "build-1", &[]);
    put(&spool, "build-12", &[]);
    put(&spool, "other-1", &[]);
    let id = |name: &str| {
        json_of(&Cli::new(&spool, &["show", name, "--json"]).run().exits(0).stdout)["id"].clone()
    };
    assert_eq!(id("build-1"), "build-1");
    assert_eq!(id("othe"), "other-1");
    Cli::new(&spool, &["show", "build"]).run().exits(65).says("build-1, build-12");
    Cli::new(&spool, &["show", "oth"]).run().exits(65).says("four characters");
    Cli::new(&spool, &["show", "nothing"]).run().exits(65).says("there is no entry \"nothing\"");
    Cli::new(&spool, &["show", "../../etc/passwd"]).run().exits(65).says("there is no entry");
}

#[test]
fn retry_gives_a_dead_entry_back_without_its_reason() {
    let spool = one_of_each();
    let ran = Cli::new(&spool, &["retry", "dead-1", "deferred-1", "dismissed-1", "held-1", "--json"])
        .run()
        .exits(0);
    let expected = json!([
        {"id": "dead-1", "was": "dead", "state": "pending", "newId": null, "dryRun": false},
        {"id": "deferred-1", "was": "deferred", "state": "pending", "newId": null, "dryRun": false},
        {"id": "dismissed-1", "was": "dismissed", "state": "pending", "newId": null, "dryRun": false},
        {"id": "held-1", "was": "held", "state": "pending", "newId": null, "dryRun": false},
    ]);
    assert_eq!(json_of(&ran.stdout), expected);
    assert_eq!(spool.names(Dir::Dead), [""; 0]);
    assert_eq!(spool.names(Dir::Hold), [""; 0]);
    let shown = json_of(&Cli::new(&spool, &["show", "dead-1", "--json"]).run().exits(0).stdout);
    let last = shown["journal"].as_array().unwrap().last().unwrap();
    assert_eq!((last["event"].as_str(), last["by"].as_str()), (Some("retry"), Some("operator")));
    Cli::new(&spool, &["audit"]).run().exits(0);
}

/// A crash between the two halves of a retry, on a file system that kept only the first: the person, who was told
/// nothing, says it again.
#[test]
fn retry_mends_what_a_crash_cut_in_half_and_then_does_it() {
    let spool = one_of_each();
    let (dead, new) = (spool.spool.dir(Dir::Dead), spool.spool.dir(Dir::New));
    std::fs::hard_link(dead.join("dead-1.json"), new.join("dead-1.json")).unwrap();
    let ran = Cli::new(&spool, &["retry", "dead-1"]).run().exits(0);
    assert_eq!(ran.stdout, "dead-1 pending (was dead)\n");
    assert_eq!(spool.names(Dir::Dead), [""; 0]);
    Cli::new(&spool, &["audit"]).run().exits(0);
}

#[test]
fn retry_refuses_what_it_must_and_does_the_rest() {
    let spool = one_of_each();
    drop_record(&spool, "unrouted.json", br#"{"id":"unrouted-1","text":"x"}"#);
    let ran = Cli::new(&spool, &["retry", "sending-1", "unknown-1", "done-1", "pending-1", "dead-1"])
        .run()
        .exits(65);
    assert_eq!(ran.stdout, "pending-1 pending (was pending)\ndead-1 pending (was dead)\n");
    for part in ["may already have arrived; wait for the verdict", "\"unknown-1\"", "it is done"] {
        assert!(ran.stderr.contains(part), "{part}: {ran:?}");
    }
    assert_eq!(state(&spool.spool, "sending-1"), "sending");
    Cli::new(&spool, &["hold", "unrouted"]).run().exits(0);
    assert_eq!(state(&spool.spool, "unrouted-1"), "held");
    Cli::new(&spool, &["retry", "unrouted-1"]).run().exits(65).says("--session KEY");
    Cli::new(&spool, &["retry", "unrouted-1", "--session", "agent:main:a"]).run().exits(0);
    assert_eq!(state(&spool.spool, "unrouted-1.2"), "pending");
    Cli::new(&spool, &["audit"]).run().exits(0);
}

#[test]
fn retry_all_is_all_that_is_dead() {
    let spool = one_of_each();
    put(&spool, "dead-2", &[Event::Condemn]);
    let ran = Cli::new(&spool, &["retry", "--all"]).run().exits(0);
    assert_eq!(ran.stdout, "dead-1 pending (was dead)\ndead-2 pending (was dead)\n");
    assert_eq!(state(&spool.spool, "held-1"), "held");
    Cli::new(&spool, &["retry", "--all"]).run().exits(0).says("nothing is dead");
}

#[test]
fn retry_with_a_session_publishes_anew_and_names_both_ids() {
    let spool = one_of_each();
    let before = std::fs::read(spool.spool.dir(Dir::Dead).join("dead-1.json")).unwrap();
    let ran = Cli::new(&spool, &["retry", "dead-1", "--session", "agent:main:b"]).run().exits(0);
    assert_eq!(ran.stdout, "dead-1 dismissed (was dead); sent on as dead-1.2 to agent:main:b\n");
    let new = json_of(&std::fs::read_to_string(spool.spool.dir(Dir::New).join("dead-1.2.json")).unwrap());
    let mut expected = json_of(std::str::from_utf8(&before).unwrap());
    expected["id"] = "dead-1.2".into();
    expected["sessionKey"] = "agent:main:b".into();
    expected["reroutes"] = "dead-1".into();
    assert_eq!(new, expected);
    assert_eq!(std::fs::read(spool.spool.dir(Dir::Dismissed).join("dead-1.json")).unwrap(), before);
    let shown = json_of(&Cli::new(&spool, &["show", "dead-1", "--json"]).run().exits(0).stdout);
    assert_eq!(shown["reason"], "rerouted to agent:main:b as dead-1.2");
    let refused = ["retry", "sending-1", "--session", "agent:main:b"];
    Cli::new(&spool, &refused).run().exits(65).says("wait for the verdict");
    assert_eq!(spool.names(Dir::New).len(), 2);
    Cli::new(&spool, &["audit"]).run().exits(0);
}

#[test]
fn what_is_no_record_is_not_given_back() {
    let spool = TempSpool::new();
    std::fs::write(spool.spool.dir(Dir::New).join("x.json"), "{garbage").unwrap();
    let id =
        spool.spool.bury("x.json".as_ref(), &Why { reason: "not JSON".into(), ..Why::default() }).unwrap();
    for args in [&["retry", id.as_str()][..], &["retry", id.as_str(), "--session", "agent:main:a"]] {
        Cli::new(&spool, args).run().exits(65).says("not a good record");
    }
    let shown = json_of(&Cli::new(&spool, &["show", id.as_str(), "--json"]).run().exits(0).stdout);
    assert_eq!((&shown["record"], &shown["status"]), (&Value::Null, &Value::Null));
    assert!(shown["flaw"].as_str().unwrap().contains("not JSON"), "{shown}");
    assert_eq!(spool.names(Dir::New), [""; 0]);
    assert_eq!(std::fs::read(spool.spool.dir(Dir::Dead).join(format!("{id}.json"))).unwrap(), b"{garbage");
}

#[test]
fn dismiss_wants_a_reason_and_keeps_it() {
    let spool = one_of_each();
    Cli::new(&spool, &["dismiss", "dead-1"]).run().exits(64).says("--reason");
    let ran = Cli::new(&spool, &["dismiss", "dead-1", "held-1", "pending-1", "--reason", "old news"])
        .run()
        .exits(0);
    assert_eq!(ran.stdout.lines().count(), 3);
    for id in ["dead-1", "held-1", "pending-1"] {
        let shown = json_of(&Cli::new(&spool, &["show", id, "--json"]).run().exits(0).stdout);
        assert_eq!(
            (shown["state"].as_str(), shown["reason"].as_str()),
            (Some("dismissed"), Some("old news"))
        );
    }
    assert_eq!(spool.names(Dir::Dead), [""; 0]);
    let refused = ["dismiss", "sending-1", "done-1", "--reason", "x"];
    Cli::new(&spool, &refused).run().exits(65).says("wait for the verdict").says("it is done");
    Cli::new(&spool, &["audit"]).run().exits(0);
}

#[test]
fn a_dropped_file_gets_its_id_before_it_is_moved() {
    let spool = TempSpool::new();
    drop_record(&spool, "build.json", br#"{"sessionKey":"agent:main:a","text":"x"}"#);
    let ran = Cli::new(&spool, &["hold", "build", "--json"]).run().exits(0);
    let id = json_of(&ran.stdout)[0]["id"].as_str().unwrap().to_owned();
    assert!(Id::is_unique(&id), "{id}");
    assert_eq!(state(&spool.spool, &id), "held");
    Cli::new(&spool, &["release", &id]).run().exits(0);
    assert_eq!(spool.names(Dir::New), [format!("{id}.json")]);
    drop_record(&spool, "half.json", b"{\"sess");
    Cli::new(&spool, &["hold", "half"]).run().exits(65).says("younger than ten seconds");
    assert_eq!(spool.names(Dir::New).len(), 2);
}

#[test]
fn hold_and_release_are_the_way_there_and_back() {
    let spool = one_of_each();
    Cli::new(&spool, &["hold", "pending-1", "held-1", "--reason", "not today"]).run().exits(0);
    let held = json_of(&Cli::new(&spool, &["list", "--state", "held", "--json"]).run().exits(0).stdout);
    assert_eq!(ids(&held), ["held-1", "pending-1"]);
    assert_eq!(held[1]["lastError"], "not today");
    Cli::new(&spool, &["hold", "sending-1"]).run().exits(65).says("wait for the verdict");
    Cli::new(&spool, &["release", "pending-1", "held-1"]).run().exits(0);
    assert_eq!(spool.names(Dir::New), ["held-1.json", "pending-1.json"]);
    assert_eq!(spool.names(Dir::Hold), [""; 0]);
    Cli::new(&spool, &["release", "dead-1"]).run().exits(65).says("not held; spool retry");
}

#[test]
fn audit_tells_whether_the_books_are_right() {
    let spool = one_of_each();
    let ran = Cli::new(&spool, &["audit"]).run().exits(0);
    let expected = "7 accepted = 1 pending + 1 sending + 1 deferred + 1 held + 1 dead + 1 done + 1 dismissed + 0 pruned\n";
    assert_eq!(ran.stdout, expected);
    std::fs::remove_file(spool.spool.dir(Dir::Dead).join("dead-1.json")).unwrap();
    let ran = Cli::new(&spool, &["audit"]).run().exits(1).says("does not hold");
    assert!(ran.stdout.contains("lost: dead-1"), "{ran:?}");
    let report = json_of(&Cli::new(&spool, &["audit", "--json"]).run().exits(1).stdout);
    assert_eq!((&report["holds"], &report["lost"]), (&json!(false), &json!(["dead-1"])));
    assert_eq!((&report["accepted"], &report["states"]["done"]), (&json!(7), &json!(1)));
}

#[test]
fn status_without_an_agent_is_three() {
    let spool = one_of_each();
    std::fs::write(spool.spool.dir(Dir::New).join("README"), "x").unwrap();
    let report = json_of(&Cli::new(&spool, &["status", "--json"]).run().exits(3).stdout);
    let expected =
        json!({"pending": 1, "sending": 1, "deferred": 1, "held": 1, "dead": 1, "done": 1, "dismissed": 1});
    assert_eq!(report["counts"], expected);
    assert_eq!((&report["health"], &report["agentRunning"]), (&json!("no-agent"), &json!(false)));
    assert_eq!((&report["foreign"], &report["foreignCount"]), (&json!(["README"]), &json!(1)));
    assert!(report["oldestPendingAgeMs"].as_u64().unwrap() < 60_000, "{report}");
    let problems = report["problems"].as_array().unwrap();
    assert!(problems.len() == 4 && problems[0].as_str().unwrap().contains("spool drain"), "{report}");
    let shown = Cli::new(&spool, &["status"]).run().exits(3).stdout;
    assert!(shown.contains("1 dead") && shown.contains("README") && shown.contains("not running"), "{shown}");
}

#[test]
fn a_file_of_another_user_is_foreign_and_no_pending_record() {
    let spool = TempSpool::new();
    let path = spool.spool.dir(Dir::New).join("theirs.json");
    std::fs::write(&path, r#"{"sessionKey":"s","text":"x"}"#).unwrap();
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_err() {
        return; // Only root may give a file away.
    }
    let report = Cli::new(&spool, &["status", "--json"]).run().stdout;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["foreign"], &report["counts"]["pending"]), (&json!(["theirs.json"]), &json!(0)));
}

#[test]
fn what_is_foreign_is_named() {
    let spool = TempSpool::new();
    std::fs::create_dir(spool.spool.dir(Dir::New).join("directory.json")).unwrap();
    std::fs::write(spool.spool.dir(Dir::New).join("notes.txt"), "mine").unwrap();
    let report = json_of(&Cli::new(&spool, &["status", "--json"]).run().exits(3).stdout);
    let foreign: Vec<_> = report["foreign"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for name in ["directory.json", "notes.txt"] {
        assert!(foreign.iter().any(|path| path.ends_with(name)), "{foreign:?}");
    }
}

#[test]
fn status_with_an_agent_is_zero_or_one() {
    let spool = TempSpool::new();
    let _lock = AgentLock::take(&spool.spool).unwrap();
    let now = spooldir::time::now_ms();
    let tell = |state: &str, updated_at: u64| {
        let reason = (state != "up").then(|| "why it is so".to_owned());
        let gateway = GatewayStatus { state: state.into(), since: now, reason, ..GatewayStatus::default() };
        let status = AgentStatus { pid: 7, updated_at, gateway, ..AgentStatus::default() };
        assert!(spool_drain::status::write(&spool.spool, &status));
    };
    let health = |code: i32| {
        let report = json_of(&Cli::new(&spool, &["status", "--json"]).run().exits(code).stdout);
        assert_eq!(report["agentRunning"], true);
        (report["health"].as_str().unwrap().to_owned(), report["problems"].to_string())
    };
    tell("up", now);
    assert_eq!(health(0), ("healthy".to_owned(), "[]".to_owned()));
    for (state, updated_at, says) in [
        ("down", now, "the gateway is down: why it is so"),
        ("refused", now, "the gateway refuses the agent: why it is so"),
        ("up", now - 120_000, "is it stopped?"),
    ] {
        tell(state, updated_at);
        let (health, problems) = health(1);
        assert!(health == "degraded" && problems.contains(says), "{problems}");
    }
    tell("up", now);
    put(&spool, "dead-1", &[Event::Condemn]);
    assert!(health(1).1.contains("1 dead"));
}

#[test]
fn a_missing_spool_and_a_wrong_command_line_are_one_sentence() {
    let spool = TempSpool::new();
    let nowhere = spool.home().join("nowhere");
    for verb in ["list", "status", "audit"] {
        let ran =
            Cli::new(&spool, &[verb]).env("SPOOL_DIR", &nowhere).run().exits(78).says("no such directory");
        assert!(ran.stderr.starts_with("spool: ") && ran.stderr.lines().count() == 1, "{ran:?}");
    }
    assert!(!nowhere.exists());
    for args in [&[][..], &["frobnicate"], &["list", "--once"], &["show"], &["retry"]] {
        let ran = Cli::new(&spool, args).run().exits(64).says("--help");
        assert!(ran.stderr.starts_with("spool: ") && ran.stderr.lines().count() == 1, "{ran:?}");
    }
}

#[test]
fn the_help_mentions_every_verb_and_every_option() {
    let spool = TempSpool::new();
    let of = |args: &[&str]| Cli::new(&spool, args).run().exits(0).stdout;
    let all = of(&["--help"]);
    for (verb, options) in [
        ("drain", &["--once", "--gateway URL", "--token-file FILE", "--spool DIR"][..]),
        ("list", &["--state STATE", "--session KEY", "--json", "--spool DIR"]),
        ("show", &["--json"]),
        ("status", &["--json"]),
        ("retry", &["--all", "--session KEY", "--json"]),
        ("dismiss", &["--reason TEXT"]),
        ("hold", &["--reason TEXT"]),
        ("release", &["--json"]),
        ("audit", &["--json"]),
        ("demo", &["--stay"]),
        ("put", &[]),
    ] {
        assert!(all.contains(&format!("\n  {verb} ")), "{verb}");
        if verb == "put" {
            continue;
        }
        let own = of(&[verb, "--help"]);
        for option in options {
            assert!(all.contains(option) && own.contains(option), "{verb} {option}: {own}");
        }
    }
    assert_eq!(of(&["--version"]), format!("spool {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn put_is_the_same_as_spool_put() {
    let spool = TempSpool::new();
    let ran = Cli::new(&spool, &["put", "--session", "agent:main:a", "--id", "job-1", "done"]).run().exits(0);
    assert_eq!(ran.stdout, "queued job-1\n");
    assert_eq!(state(&spool.spool, "job-1"), "pending");
}

#[test]
fn the_documented_members_are_those_that_are_printed() {
    let spool = one_of_each();
    let page = std::fs::read_to_string(crate::support::project().join("docs/json.md")).unwrap();
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let (_, example) = page.split_once("```json\n").unwrap();
    let example = json_of(example.split_once("```").unwrap().0);
    let listed = json_of(&Cli::new(&spool, &["list", "--json"]).run().exits(0).stdout);
    assert_eq!(members(&listed[0]), members(&example));
    for (heading, printed) in [
        ("## `spool show ID --json`", Cli::new(&spool, &["show", "dead-1", "--json"]).run().exits(0)),
        ("## `spool status --json`", Cli::new(&spool, &["status", "--json"]).run().exits(3)),
        ("## `spool audit --json`", Cli::new(&spool, &["audit", "--json"]).run().exits(0)),
    ] {
        let section = page.split_once(heading).unwrap().1.split("\n## ").next().unwrap();
        for member in members(&json_of(&printed.stdout)) {
            let is_entrys = heading.contains("show") && example.get(&member).is_some();
            assert!(
                is_entrys || section.contains(&format!("`{member}`")),
                "{heading} does not name {member}"
            );
        }
    }
}
