//! Jobs in progress, as `spool list`, `spool show` and `spool status` show them: runs made by hand, without a wrapper.

use serde_json::{Value, json};
use spooldir::run::{Intent, Lease};
use spooldir::time::now_ms;
use spooldir::{Dir, Id};

use crate::support::TempSpool;
use crate::support::programs::Cli;

const STARTED: u64 = 1_700_000_000_000;

fn start(spool: &TempSpool, id: &str, session: Option<&str>, log: Option<&str>) -> Lease {
    let id = Id::new(id).unwrap();
    let intent = Intent {
        v: 1,
        id: id.to_string(),
        session_key: session.map(Into::into),
        command: vec!["make".into(), "te\u{1b}[31mst".into()],
        cwd: Some("/src".into()),
        host: Some("builder".into()),
        boot_id: spooldir::run::boot_id(),
        started_at: STARTED,
        ..Intent::default()
    };
    if let Some(log) = log {
        std::fs::write(spool.spool.log_path(&id), log).unwrap();
    }
    spool.spool.open_run(&id, &intent).unwrap()
}

fn json_of(spool: &TempSpool, args: &[&str]) -> Value {
    let ran = Cli::new(spool, args).run();
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
}

#[test]
fn jobs_are_listed_with_the_promised_members_and_no_others() {
    let spool = TempSpool::new();
    let printed = "first\nat 10%\rat \u{1b}[32m20%\u{1b}[0m\u{1b}]0;x\u{7}\n";
    let _lease = start(&spool, "job-a", Some("agent:main:a"), Some(printed));
    drop(start(&spool, "job-b", None, None));
    let log = spool.spool.log_path(&Id::new("job-a").unwrap());
    let listed = json_of(&spool, &["list", "--state", "running", "--json"]);
    let a = json!({"id": "job-a", "state": "running", "sessionKey": "agent:main:a", "label": null,
        "command": ["make", "te\u{1b}[31mst"], "startedAt": STARTED, "host": "builder", "lastLine": "at 20%", "log": log});
    let b = json!({"id": "job-b", "state": "over", "sessionKey": null, "label": null,
        "command": ["make", "te\u{1b}[31mst"], "startedAt": STARTED, "host": "builder", "lastLine": null, "log": null});
    assert_eq!(listed, json!([a, b]));
    let ran = Cli::new(&spool, &["list", "--state", "running"]).run().exits(0);
    let age = (now_ms() - STARTED) / 86_400_000;
    assert!(ran.stdout.contains("at 20%") && ran.stdout.contains("make test"), "{ran:?}");
    assert!(ran.stdout.contains(&format!("{age} d")) && !ran.stdout.contains('\u{1b}'), "{ran:?}");
    let one = json_of(&spool, &["list", "--state", "running", "--session", "agent:main:a", "--json"]);
    assert_eq!(one.as_array().unwrap().len(), 1);
    Cli::new(&spool, &["list"]).run().exits(0).says("jobs in progress: 2");
    assert_eq!(json_of(&spool, &["list", "--json"]), json!([]));
    let status = json_of(&spool, &["status", "--json"]);
    assert_eq!((&status["running"], &status["runsOver"]), (&1.into(), &1.into()));
    let ran = Cli::new(&spool, &["status"]).run().exits(3);
    assert!(
        ran.stdout.contains("1 running, 1 over") && ran.stdout.contains("1 jobs have ended unreported"),
        "{ran:?}"
    );
}

#[test]
fn a_job_is_shown_until_its_completion_is_there() {
    let spool = TempSpool::new();
    let _lease = start(&spool, "job-a", Some("agent:main:a"), Some("one\ntwo\n"));
    let _other = start(&spool, "job-b", Some("agent:main:a"), None);
    let shown = json_of(&spool, &["show", "job-a", "--json"]);
    let path = spool.spool.dir(Dir::Runs).join("job-a.json");
    assert_eq!(
        (&shown["state"], &shown["cwd"], &shown["tail"]),
        (&"running".into(), &"/src".into(), &"one\ntwo".into())
    );
    assert_eq!((&shown["path"], &shown["truncated"]), (&path.to_str().unwrap().into(), &false.into()));
    let ran = Cli::new(&spool, &["show", "job-a"]).run().exits(0);
    assert!(ran.stdout.contains("command     make test") && ran.stdout.ends_with("one\ntwo\n"), "{ran:?}");
    Cli::new(&spool, &["show", "job-"]).run().exits(65).says("more than one id");
    Cli::new(&spool, &["show", "job-z"]).run().exits(65).says("no entry");
    // Its completion has its id, and is what is meant from then on, before the run is closed and after.
    let id = Id::new("job-a").unwrap();
    spool.spool.publish(&id, br#"{"id":"job-a","sessionKey":"agent:main:a","text":"done"}"#, false).unwrap();
    assert_eq!(json_of(&spool, &["show", "job-a", "--json"])["state"], "pending");
    assert_eq!(json_of(&spool, &["list", "--state", "running", "--json"]).as_array().unwrap().len(), 1);
    Cli::new(&spool, &["show", "job-"]).run().exits(65).says("more than one id");
}

#[test]
fn without_jobs_that_is_said() {
    let spool = TempSpool::new();
    let ran =
        Cli::new(&spool, &["list", "--state", "running"]).run().exits(0).says("no jobs are in progress");
    assert_eq!(ran.stdout, "");
    assert_eq!(json_of(&spool, &["list", "--state", "running", "--json"]), json!([]));
    // A strange file in runs/ is said and hides nothing.
    let _lease = start(&spool, "job-a", None, None);
    std::fs::write(spool.spool.dir(Dir::Runs).join("job-b.json"), "no intent").unwrap();
    let ran = Cli::new(&spool, &["list", "--state", "running", "--json"]).run().exits(0).says("job-b.json");
    assert!(ran.stdout.contains("job-a"), "{ran:?}");
}
