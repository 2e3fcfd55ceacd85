//! `spool-put --wait`, and records that name no session: from the producer to the chat and back, with the real programs.

use std::time::{Duration, Instant};

use serde_json::Value;
use spool_gateway::fake::FakeThread;
use spooldir::Dir;

use crate::support::programs::{Agent, Cli, LIMIT, state, wait_until, with_gateway};
use crate::support::{Put, Ran, TempSpool};

const TOKEN: &str = "correct-token";
const CHAT: &str = "agent:main:telegram:direct:77001";
const INTERNAL: &str = "agent:main:internal";
const MISSING: &str = "agent:main:telegram:direct:99999";

fn bench() -> (TempSpool, FakeThread) {
    let (spool, gateway) = with_gateway(TOKEN, CHAT);
    gateway.add_session(INTERNAL, None);
    (spool, gateway)
}

fn put(spool: &TempSpool, session: &str, id: &str, args: &[&str]) -> Ran {
    let args = [&["--session", session, "--id", id, "--timeout", "30s"], args, &["done"]].concat();
    Put::into(spool, &args).run()
}

#[test]
fn a_wait_ends_with_the_evidence() {
    let (spool, gateway) = bench();
    let _agent = Agent::start(&spool, &gateway);
    let ran = put(&spool, CHAT, "a", &["--wait"]).exits(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("delivered a (sent)\n", ""));
    assert_eq!(gateway.chat_messages("telegram", "telegram:77001").len(), 1);
    // Again: it was delivered before, and the journal knows how.
    let ran = put(&spool, CHAT, "a", &["--wait=sent", "--json"]).exits(0).says("queued before and is done");
    let said: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((said["state"].as_str(), said["evidence"].as_str()), (Some("done"), Some("sent")));
    assert!(std::path::Path::new(said["path"].as_str().unwrap()).exists());
}

#[test]
fn a_rung_is_seen_before_the_turn_has_ended() {
    for (level, words) in [("accepted", &["accepted", "committed"][..]), ("committed", &["committed"])] {
        let (spool, gateway) = bench();
        gateway.configure(|o| o.turn_duration = LIMIT);
        let _agent = Agent::start(&spool, &gateway);
        let ran = put(&spool, CHAT, "a", &[&format!("--wait={level}")]).exits(0);
        assert!(words.iter().any(|word| ran.stdout == format!("sending a ({word})\n")), "{ran:?}");
    }
}

#[test]
fn a_session_without_a_channel_ends_at_committed_and_that_is_all_there_is() {
    let (spool, gateway) = bench();
    let _agent = Agent::start(&spool, &gateway);
    let ran =
        put(&spool, INTERNAL, "a", &["--wait=sent"]).exits(0).says("committed is all there will be for a");
    assert_eq!(ran.stdout, "delivered a (committed)\n");
}

#[test]
fn nobody_there_is_a_time_out_and_the_record_is_safe() {
    let spool = TempSpool::new();
    let started = Instant::now();
    let ran =
        Put::into(&spool, &["--session", CHAT, "--id", "a", "--wait", "--timeout", "200ms", "done"]).run();
    let ran = ran.exits(75).says("a is queued and safe, but not yet delivered").says("no agent is running");
    assert_eq!(ran.stdout, "queued a\n");
    assert!(started.elapsed() >= Duration::from_millis(200));
    assert_eq!(state(&spool.spool, "a"), "pending");
}

#[test]
fn what_cannot_be_delivered_ends_the_wait_with_the_reason() {
    let (spool, gateway) = bench();
    let _agent = Agent::start(&spool, &gateway);
    let ran =
        put(&spool, MISSING, "a", &["--wait"]).exits(69).says("a is queued, but dead: there is no session");
    assert_eq!(ran.stdout, "dead a\n");
    let unrouted = ["--allow-unrouted", "--id", "b", "--wait", "--timeout", "30s", "done"];
    let ran = Put::into(&spool, &unrouted).run().exits(69).says("b is queued, but held");
    assert_eq!(ran.stdout, "held b\n");
}

#[test]
fn a_hook_that_waits_is_still_a_hook() {
    let spool = TempSpool::new();
    let claude = r#"{"session_id":"s","prompt_id":"p","hook_event_name":"Stop"}"#;
    let put = Put::into(&spool, &["--from", "claude", "--wait", "--timeout", "10ms"]);
    let ran = put.env("SPOOL_SESSION", CHAT).stdin(claude).run().exits(0).says("queued and safe");
    assert_eq!(ran.stdout, "");
    let status = Cli::new(&spool, &["status", "--json"]).run();
    assert_eq!(serde_json::from_str::<Value>(&status.stdout).unwrap()["hookTrouble"], Value::Null);
}

#[test]
fn what_names_no_session_is_visible_before_and_after_an_agent_saw_it_and_can_be_routed() {
    let (spool, gateway) = bench();
    Put::into(&spool, &["done"]).run().exits(78).says("--session KEY");
    Put::into(&spool, &["--allow-unrouted", "--id", "lone", "done"]).run().exits(0);
    let codex =
        r#"{"type":"agent-turn-complete","thread-id":"t","turn-id":"u","last-assistant-message":"x"}"#;
    Put::into(&spool, &["--from", "codex"]).arg(codex).run().exits(0);
    let status = |code: i32| {
        let ran = Cli::new(&spool, &["status", "--json"]).run().exits(code);
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    assert_eq!(status(3)["unrouted"], 2, "no agent has run yet");
    let _agent = Agent::start(&spool, &gateway);
    wait_until("both are held", || {
        spool.names(Dir::Hold).iter().filter(|n| !n.ends_with(".why.json")).count() == 2
    });
    // The agent says how it is a moment later.
    wait_until("the agent is known", || status(1)["agent"] != Value::Null);
    let seen = status(1);
    assert_eq!((&seen["unrouted"], &seen["counts"]["held"]), (&2.into(), &2.into()));
    let shown = Cli::new(&spool, &["status"]).run().exits(1).stdout;
    assert!(shown.contains("2 name no session; spool retry ID --session KEY"), "{shown}");

    let retry =
        |id: &str| Cli::new(&spool, &["retry", id, "--session", CHAT, "--json"]).run().exits(0).stdout;
    for id in ["lone", "codex:t:u"] {
        let moved: Value = serde_json::from_str(&retry(id)).unwrap();
        let new = moved[0]["newId"].as_str().unwrap().to_owned();
        wait_until("it is delivered", || state(&spool.spool, &new) == "done");
        assert_eq!(gateway.commits_containing(&new), 1);
    }
    assert_eq!(status(0)["unrouted"], 0);
}
