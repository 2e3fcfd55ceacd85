//! What the agent says of what it does: a line for each end of a record, in each form, and nothing of what a record says.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spool_gateway::fake::FakeThread;
use spooldir::Id;

use crate::support::TempSpool;
use crate::support::programs::{Cli, drain_args, with_gateway};

const TOKEN: &str = "canary-of-the-token";
const TEXT: &str = "canary-of-the-text";
const SESSION: &str = "agent:main:telegram:direct:77001";
const MISSING: &str = "agent:main:telegram:direct:99999";

fn put(spool: &TempSpool, session: &str) -> String {
    let id = Id::mint();
    let record = json!({"sessionKey": session, "text": TEXT, "label": TEXT, "output": {"tail": TEXT}});
    spool.spool.publish(&id, record.to_string().as_bytes(), true).unwrap();
    id.to_string()
}

/// What an agent says that delivers all there is.
fn said(spool: &TempSpool, gateway: &FakeThread, options: &[&str], env: &[(&str, &str)]) -> String {
    let token = spool.home().join("token");
    let url = gateway.url();
    let words = [&drain_args(&url)[..], &[token.to_str().unwrap(), "--once"], options].concat();
    let cli = env.iter().fold(Cli::new(spool, &words), |cli, (name, value)| cli.env(name, value));
    let ran = cli.run().exits(0);
    assert!(!ran.stderr.contains(TOKEN) && !ran.stderr.contains(TEXT), "{ran:?}");
    ran.stderr
}

fn bench() -> (TempSpool, FakeThread) {
    with_gateway(TOKEN, SESSION)
}

#[test]
fn each_end_of_a_record_is_an_object_with_id_session_and_verdict() {
    let (spool, gateway) = bench();
    let delivered = [put(&spool, SESSION), put(&spool, SESSION)];
    let dead = put(&spool, MISSING);
    let held = put(&spool, " ");
    let log = said(&spool, &gateway, &["--log", "json", "--verbose"], &[]);
    let mut ends: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["at"].is_u64() && line["level"].is_string() && line["message"].is_string(), "{line}");
        if line["verdict"].is_string() {
            ends.entry(line["id"].as_str().unwrap().to_owned()).or_default().push(line);
        }
    }
    let end = |id: &str| ends[id].last().unwrap();
    for id in &delivered {
        assert_eq!((&end(id)["verdict"], &end(id)["session"]), (&"sent".into(), &SESSION.into()), "{log}");
        assert!(end(id)["key"].as_str().unwrap().starts_with("sp-"), "{log}");
    }
    assert_eq!((&end(&dead)["verdict"], &end(&dead)["session"]), (&"dead".into(), &MISSING.into()), "{log}");
    assert_eq!(end(&held)["verdict"], "held", "{log}");
}

#[test]
fn what_repeats_itself_is_counted() {
    let (spool, gateway) = bench();
    let ids: Vec<String> = (0..60).map(|_| put(&spool, MISSING)).collect();
    let log = said(&spool, &gateway, &["--log", "human"], &[]);
    let told = log.lines().filter(|line| line.contains("no session") && line.contains(" id=")).count();
    assert!((20..=60).contains(&told), "{told}: {log}");
    let more: usize = log
        .lines()
        .filter_map(|line| line.split_once("… ")?.1.split_once(" more: condemn")?.0.parse::<usize>().ok())
        .sum();
    assert_eq!(told + more, ids.len(), "{log}");
}

#[test]
fn a_log_that_only_looks_like_that_of_the_journal_is_for_people() {
    let (spool, gateway) = bench();
    put(&spool, SESSION);
    let log = said(&spool, &gateway, &[], &[("JOURNAL_STREAM", "1:2")]);
    let line = log.lines().find(|line| line.contains("delivered: sent")).unwrap();
    assert!(
        line.contains("Z  INFO delivered: sent id=") && line.contains(&format!("session={SESSION}")),
        "{log}"
    );
    // The configuration says the form as well, and the option stands above it.
    crate::config::configure(&spool, "[log]\nformat = \"json\"\n");
    put(&spool, SESSION);
    let log = said(&spool, &gateway, &[], &[]);
    assert!(
        log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|l| l["at"].is_u64())),
        "{log}"
    );
    for form in ["human", "auto"] {
        put(&spool, SESSION);
        let log = said(&spool, &gateway, &["--log", form], &[]);
        assert!(log.contains("Z  INFO delivered: sent id="), "{log}");
    }
    let wrong = Cli::new(&spool, &["drain", "--log", "xml"]).run().exits(64);
    assert!(wrong.stderr.contains("human, json, journald"), "{wrong:?}");
}
