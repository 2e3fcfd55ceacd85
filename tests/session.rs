//! `spool session`: which session a record would be for and why, and a ping that goes all the way or says how far.

use std::path::Path;

use serde_json::{Value, json};
use spool_gateway::fake::{FakeThread, Options};
use spooldir::{Dir, Id};

use crate::support::programs::{Agent, Cli, state, wait_until, write_token};
use crate::support::{Ran, TempSpool, names};

const TOKEN: &str = "correct-token";
const SESSION: &str = "agent:main:telegram:direct:77001";

fn session(home: &Path, env: &[(&str, &str)], args: &[&str]) -> Ran {
    let cli = Cli::without_spool(home, &[&["session"], args].concat());
    env.iter().fold(cli, |cli, (name, value)| cli.env(name, value)).run()
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
}

#[test]
fn the_session_and_what_named_it_are_told() {
    let home = tempfile::tempdir().unwrap();
    let both = [("SPOOL_SESSION", "s"), ("OPENCLAW_SESSION_KEY", "o")];
    for (env, args, key, source, passed_over) in [
        (
            &both[..],
            &["--session", "f"][..],
            "f",
            "--session",
            json!(["SPOOL_SESSION", "OPENCLAW_SESSION_KEY"]),
        ),
        (&both[..], &[], "s", "SPOOL_SESSION", json!(["OPENCLAW_SESSION_KEY"])),
        (&both[1..], &[], "o", "OPENCLAW_SESSION_KEY", json!([])),
        (&[("SPOOL_SESSION", " "), both[1]], &[], "o", "OPENCLAW_SESSION_KEY", json!([])),
        (&[("SPOOL_SESSION", "s"), ("OPENCLAW_SESSION_KEY", "s")], &[], "s", "SPOOL_SESSION", json!([])),
    ] {
        let told = json_of(&session(home.path(), env, &[args, &["--json"]].concat()).exits(0));
        assert_eq!((&told["session"], &told["source"]), (&key.into(), &source.into()), "{env:?}");
        assert_eq!(told["passedOver"], passed_over, "{env:?} {args:?}");
        assert_eq!(
            (&told["spoolExists"], &told["agentRunning"], &told["ping"]),
            (&false.into(), &false.into(), &Value::Null)
        );
        let ran = session(home.path(), env, args).exits(0);
        assert!(ran.stdout.contains(&format!("session   {key}, ")) && ran.stdout.contains(source), "{ran:?}");
        assert!(ran.stdout.contains("not there yet"), "{ran:?}");
    }
    assert!(names(home.path()).is_empty(), "looking makes nothing");
}

#[test]
fn no_session_is_said_and_a_bad_one_refused() {
    let home = tempfile::tempdir().unwrap();
    let ran = session(home.path(), &[], &[]).exits(78).says("SPOOL_SESSION").says("never guessed");
    assert!(ran.stdout.contains("session   none"), "{ran:?}");
    let told = json_of(&session(home.path(), &[], &["--json", "--ping"]).exits(78));
    assert_eq!((&told["session"], &told["source"]), (&Value::Null, &Value::Null));
    session(home.path(), &[], &["--session", " k"]).exits(64).says("--session must not be blank");
    session(home.path(), &[("SPOOL_SESSION", "a\nb")], &["--ping"])
        .exits(78)
        .says("SPOOL_SESSION must not hold");
    assert!(names(home.path()).is_empty(), "nothing was sent");
}

#[test]
fn the_spool_and_what_named_it_are_told() {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    let flag = home.path().join("flag");
    let env = [("XDG_STATE_HOME", state.to_str().unwrap()), ("SPOOL_DIR", "/nowhere/spool")];
    let with_flag = ["--spool", flag.to_str().unwrap()];
    for (env, args, spool, source) in [
        (&env[..], &with_flag[..], flag.clone(), "--spool"),
        (&env[..], &[], "/nowhere/spool".into(), "SPOOL_DIR"),
        (&env[..1], &[], state.join("spool"), "XDG_STATE_HOME"),
        (&[("XDG_STATE_HOME", "relative")], &[], home.path().join(".local/state/spool"), "HOME"),
    ] {
        let told =
            json_of(&session(home.path(), env, &[&["--session", "k", "--json"], args].concat()).exits(0));
        assert_eq!((&told["spool"], &told["spoolSource"]), (&spool.to_str().unwrap().into(), &source.into()));
    }
}

#[test]
fn a_ping_arrives_and_its_evidence_is_told() {
    let spool = TempSpool::new();
    write_token(&spool, TOKEN);
    let gateway = FakeThread::start(Options::with_token(TOKEN)).unwrap();
    gateway.add_chat(SESSION, 77001);
    let _agent = Agent::start(&spool, &gateway);
    wait_until("the agent has the spool", || {
        let ran = Cli::new(&spool, &["session", "--session", SESSION, "--json"]).run().exits(0);
        json_of(&ran)["agentRunning"] == true
    });
    let ran = Cli::new(&spool, &["session", "--session", SESSION, "--ping", "--json"]).run().exits(0);
    let ping = json_of(&ran)["ping"].clone();
    assert_eq!(
        (&ping["delivered"], &ping["state"], &ping["evidence"]),
        (&true.into(), &"done".into(), &"sent".into())
    );
    assert_eq!(gateway.commits_containing(ping["id"].as_str().unwrap()), 1);
    let ran = Cli::new(&spool, &["session", "--ping"]).env("SPOOL_SESSION", SESSION).run().exits(0);
    assert!(ran.stdout.contains("ping      delivered") && ran.stdout.contains("evidence: sent"), "{ran:?}");
    // A session that the gateway does not know: dead, with the reason.
    let ran =
        Cli::new(&spool, &["session", "--session", "agent:main:telegram:direct:9", "--ping"]).run().exits(69);
    assert!(ran.stdout.contains("ping      dead"), "{ran:?}");
    assert!(ran.stdout.contains("no session agent:main:telegram:direct:9"), "{ran:?}");
}

#[test]
fn a_ping_that_nobody_takes_waits_safely() {
    let spool = TempSpool::new();
    let args = ["session", "--session", SESSION, "--ping", "--timeout", "0s"];
    let ran = Cli::new(&spool, &args).run().exits(75).says("no agent is running");
    assert!(ran.stdout.contains("pending and safe"), "{ran:?}");
    let (name, bytes) = spool.only(Dir::New);
    let record: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((&record["sessionKey"], &record["status"]), (&SESSION.into(), &"info".into()));
    assert_eq!(state(&spool.spool, name.strip_suffix(".json").unwrap()), "pending");
    assert!(Id::is_unique(name.strip_suffix(".json").unwrap()));
    let told = json_of(&Cli::new(&spool, &[&args[..], &["--json"]].concat()).run().exits(75));
    assert_eq!((&told["ping"]["delivered"], &told["ping"]["state"]), (&false.into(), &"pending".into()));
}
