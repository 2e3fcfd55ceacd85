//! Jobs whose wrapper is gone.

use std::sync::Arc;

use spool_gateway::fake;
use spooldir::fault::FaultyFs;
use spooldir::run::{Intent, boot_id};
use spooldir::{Dir, Id};

use crate::support::{Bench, ROUTED};

fn intent(id: &Id) -> Intent {
    Intent {
        v: 1,
        id: id.to_string(),
        session_key: Some(ROUTED.into()),
        command: vec!["make".into(), "all".into()],
        boot_id: boot_id(),
        started_at: 1,
        ..Intent::default()
    }
}

#[tokio::test]
async fn a_run_that_nobody_is_left_to_report_is_told_as_lost_once_with_the_end_of_its_log() {
    let b = Bench::new().await;
    let id = Id::mint();
    let lease = b.spool.open_run(&id, &intent(&id)).unwrap();
    std::fs::write(b.spool.log_path(&id), "compiling\nlinking\n").unwrap();
    b.run(async {
        b.until("connected", |b| b.fake.connected() == 1).await;
        assert_eq!(b.count(Dir::New), 0, "it is running");
        drop(lease);
        b.until_done(1).await;
    })
    .await;
    assert_eq!(b.commits(&id), 1);
    let texts: Vec<String> = b.fake.all_commits().into_iter().map(|(_, _, text)| text).collect();
    assert!(texts[0].contains("LOST") && texts[0].contains("linking"), "{}", texts[0]);
    assert!(b.spool.runs().unwrap().is_empty());
    b.run(b.until("it stays at one", |b| b.fake.connections() >= 2)).await;
    assert_eq!(b.count(Dir::Done), 1);
    b.audit();
}

#[tokio::test]
async fn a_run_whose_completion_is_there_is_only_closed() {
    let b = Bench::new().await;
    let id = Id::mint();
    drop(b.spool.open_run(&id, &intent(&id)).unwrap());
    let record = format!(r#"{{"sessionKey":"{ROUTED}","text":"done","id":"{id}"}}"#);
    b.spool.publish(&id, record.as_bytes(), true).unwrap();
    b.run(async {
        b.until_done(1).await;
        b.until("the run is closed", |b| b.spool.runs().unwrap().is_empty()).await;
    })
    .await;
    assert_eq!(b.commits(&id), 1);
    assert!(!b.lines().iter().any(|l| l.event == "lost"));
}

#[tokio::test]
async fn a_reboot_releases_all_runs() {
    let b = Bench::new().await;
    let id = Id::mint();
    let _lease = b.spool.open_run(&id, &Intent { boot_id: Some("another".into()), ..intent(&id) }).unwrap();
    b.run(b.until_done(1)).await;
    let (_, _, text) = b.fake.all_commits().remove(0);
    assert!(text.contains("restarted"), "{text}");
}

#[tokio::test]
async fn the_route_of_the_conversation_is_remembered_when_the_run_is_first_seen() {
    let b = Bench::new().await;
    let id = Id::mint();
    let lease = b.spool.open_run(&id, &intent(&id)).unwrap();
    b.run(async {
        b.until("the route is known", |b| b.spool.route_of(&id, &intent(&id)).is_some()).await;
        // Somebody else writes to the shared session meanwhile.
        b.fake.add_chat(ROUTED, 77002);
        drop(lease);
        b.until_done(1).await;
    })
    .await;
    assert_eq!(b.fake.chat_messages("telegram", "telegram:77001").len(), 1);
    assert_eq!(b.fake.chat_messages("telegram", "telegram:77002").len(), 0);
}

/// The wrapper died between the name of the completion and its flush: without the intent, and with a power cut now,
/// nobody would know of the run any more.
#[tokio::test]
async fn a_run_is_closed_only_when_its_completion_is_on_the_disk() {
    let fs = FaultyFs::default();
    let b = Bench::with(fake::Options::with_token("secret"), Arc::new(fs.clone())).await;
    let id = Id::mint();
    drop(b.spool.open_run(&id, &intent(&id)).unwrap());
    let record = format!(r#"{{"text":"done","id":"{id}"}}"#);
    fs.fail_verb("sync_dir", 5, 1);
    assert!(b.spool.publish(&id, record.as_bytes(), true).is_err());
    let before = fs.steps().len();
    b.run(b.until("the run is closed", |b| b.spool.runs().unwrap().is_empty())).await;
    let steps = fs.steps().split_off(before);
    let flushed = steps.iter().position(|s| s.starts_with("sync_dir") && s.ends_with("/new"));
    let closed = steps.iter().position(|s| s.starts_with("remove") && s.contains("/runs/"));
    assert!(flushed.is_some() && flushed < closed, "{steps:?}");
}
