//! The other way: gateways that die, forget, refuse and half succeed; agents that are killed; disks that fail.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use spool_gateway::fake::{self, At, Fault, Model, Rule};
use spooldir::fault::FaultyFs;
use spooldir::{Dir, Entry, Event, Id, Key, State};

use crate::support::{Bench, INTERNAL, ROUTED};

#[tokio::test]
async fn an_outage_costs_no_attempt_and_ends_in_one_digest() {
    let b = Bench::new().await;
    b.fake.kill().await;
    let ids: Vec<_> = (0..5).map(|_| b.put(ROUTED, "x", "")).collect();
    b.run(async {
        b.until("it was tried in vain", |b| {
            spool_drain::status::read(&b.spool).is_some_and(|s| s.gateway.state == "down")
        })
        .await;
        assert_eq!(b.count(Dir::New), 5, "untouched while the gateway is away");
        b.fake.restart().await.unwrap();
        b.until_done(5).await;
    })
    .await;
    assert!(ids.iter().all(|id| b.commits(id) == 1));
    assert_eq!(b.fake.all_commits().len(), 1);
}

#[tokio::test]
async fn a_gateway_that_dies_at_any_point_of_a_turn_gets_it_once() {
    for at in [At::Frame, At::Accepted, At::Committed, At::Told, At::Final] {
        let b = Bench::new().await;
        b.fake.rule(Rule::on("agent").then(Fault::Crash(at, Some(Duration::from_millis(50)))));
        let id = b.put(ROUTED, "x", "");
        b.run(b.until_done(1)).await;
        assert_eq!(b.commits(&id), 1, "{at:?}");
        b.audit();
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_at_any_point_of_a_turn_costs_nothing() {
    for at in [At::Frame, At::Accepted, At::Committed, At::Told, At::Final] {
        let b = Bench::new().await;
        b.fake.rule(Rule::on("agent").then(Fault::Drop(at)));
        let id = b.put(ROUTED, "x", "");
        b.run(b.until_done(1)).await;
        assert_eq!(b.commits(&id), 1, "{at:?}");
        assert_eq!(b.fake.chat_messages("telegram", "telegram:77001").len(), 1, "{at:?}");
    }
}

#[tokio::test]
async fn an_agent_that_is_killed_at_any_point_of_a_turn_asks_before_it_sends_again() {
    for commit_ms in [0, 40] {
        let b = Bench::new().await;
        b.fake.configure(|o| {
            o.commit_delay = Duration::from_millis(commit_ms);
            o.turn_duration = Duration::from_millis(100);
        });
        let id = b.put(ROUTED, "x", "");
        b.run_and_kill(b.until("it is sent", |b| !b.fake.requests_of("agent").is_empty())).await;
        assert!(matches!(b.entries(Dir::Sending)[0].state, State::Sending { .. }));
        b.run(b.until_done(1)).await;
        assert_eq!((b.commits(&id), b.fake.requests_of("agent").len()), (1, 1));
        assert_eq!(b.fake.chat_messages("telegram", "telegram:77001").len(), 1);
        b.audit();
    }
}

#[tokio::test]
async fn a_reset_between_commit_and_recovery_does_not_hide_the_delivery() {
    let b = Bench::new().await;
    b.fake.configure(|o| o.turn_duration = Duration::from_millis(100));
    let id = b.put(ROUTED, "x", "");
    b.run_and_kill(b.until("it is committed", |b| b.commits(&id) == 1)).await;
    b.fake.until(Duration::from_secs(5), |f| f.in_flight() == 0).await;
    b.fake.kill().await;
    b.fake.reset(ROUTED);
    b.fake.restart().await.unwrap();
    b.run(b.until_done(1)).await;
    assert_eq!((b.commits(&id), b.fake.requests_of("agent").len()), (1, 1));
}

#[tokio::test]
async fn a_key_that_the_gateway_burnt_is_followed_by_its_next_epoch() {
    let b = Bench::new().await;
    let draining =
        json!({"code": "UNAVAILABLE", "message": "Gateway is draining; new tasks are not accepted"});
    b.fake.rule(Rule::on("agent").then(Fault::AcceptThenError(draining)));
    let id = b.put(ROUTED, "x", "");
    b.run(b.until_done(1)).await;
    assert_eq!(b.commits(&id), 1);
    let key = b.lines().into_iter().rev().find_map(|l| l.key.filter(|_| l.event == "prove")).unwrap();
    assert!(key.ends_with("~2"), "{key}");
}

#[tokio::test]
async fn a_session_that_burns_every_key_is_not_stormed_and_costs_no_attempt() {
    let b = Bench::new().await;
    let busy = fake::errors::unavailable(format!(
        "Session \"{ROUTED}\" has interrupted work pending restart recovery; retry through a healthy Gateway or reset \
         it there with /new or /reset."
    ));
    b.fake.rule(Rule::on("agent").times(4).then(Fault::AcceptThenError(busy)));
    let id = b.put(ROUTED, "x", "");
    let started = std::time::Instant::now();
    b.run(b.until_done(1)).await;
    let requests = b.fake.requests();
    let keys =
        requests.iter().filter(|r| r.method == "agent").map(|r| r.params["idempotencyKey"].to_string());
    let keys: std::collections::BTreeSet<_> = keys.collect();
    assert_eq!(keys.len(), 5, "each time another key: {keys:?}");
    assert!(
        b.lines().iter().all(|line| line.event != "fail"),
        "it was the session's trouble, not the record's"
    );
    // The first new key goes at once, each other waits for the lane: at least the floor of the schedule.
    assert!(started.elapsed() >= 3 * b.options.retry.floor, "{:?}", started.elapsed());
    assert_eq!(b.commits(&id), 1);
}

#[tokio::test]
async fn a_session_that_was_given_up_holds_its_records_though_their_keys_are_burnt() {
    let b = Bench::new().await;
    let given_up = fake::errors::invalid(format!(
        "Session \"{ROUTED}\" ended during restart recovery. Use /new or /reset to start a replacement session."
    ));
    b.fake.rule(Rule::on("agent").then(Fault::AcceptThenError(given_up)));
    let id = b.put(ROUTED, "x", "");
    b.run(b.until("it is held", |b| b.count(Dir::Hold) == 1)).await;
    assert!(b.reason(&id).contains("/reset"), "{}", b.reason(&id));
    assert_eq!(b.fake.requests().iter().filter(|r| r.method == "agent").count(), 1);
    // The person resets the session and releases the record.
    b.spool.advance(&b.entries(Dir::Hold).remove(0), &Event::Retry).unwrap();
    b.run(b.until_done(1)).await;
    assert_eq!(b.commits(&id), 1);
}

#[tokio::test]
async fn a_model_that_fails_after_the_commit_is_told_once_and_never_gets_a_second_turn() {
    let b = Bench::new().await;
    b.fake.set_model(Model::Fails("the provider is out of credit".into()));
    let id = b.put(ROUTED, "the build is done", "");
    b.run(b.until_done(1)).await;
    assert_eq!((b.commits(&id), b.fake.requests_of("agent").len()), (1, 1));
    let told = b.fake.chat_messages("telegram", "telegram:77001");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].text.contains("the build is done"));
    b.audit();
}

#[tokio::test]
async fn a_model_that_fails_where_nobody_can_be_told_is_committed_and_said_so() {
    let b = Bench::new().await;
    b.fake.set_model(Model::Fails("no".into()));
    let id = b.put(INTERNAL, "x", "");
    b.run(b.until_done(1)).await;
    assert_eq!(b.evidence(&id).as_deref(), Some("committed"));
    assert_eq!(b.fake.requests_of("send").len(), 0);
}

#[tokio::test]
async fn a_session_that_is_not_there_is_not_created_and_the_record_is_dead() {
    let b = Bench::new().await;
    let id = b.put("agent:main:nobody", "x", "");
    let other = b.put(ROUTED, "x", "");
    b.run(b.until("one is dead", |b| b.count(Dir::Dead) == 1 && b.count(Dir::Done) == 1)).await;
    assert!(b.reason(&id).contains("no session agent:main:nobody"), "{}", b.reason(&id));
    assert!(!b.fake.sessions().contains(&"agent:main:nobody".to_owned()));
    assert_eq!(b.commits(&other), 1);
    b.audit();
}

#[tokio::test]
async fn archived_and_closed_sessions_hold_their_records() {
    let b = Bench::new().await;
    b.fake.add_session("agent:main:old", None);
    b.fake.archive("agent:main:old", true);
    b.fake.add_session("agent:main:shut", None);
    b.fake.deny("agent:main:shut", true);
    let old = b.put("agent:main:old", "x", "");
    let shut = b.put("agent:main:shut", "x", "");
    b.run(b.until("both are held", |b| b.count(Dir::Hold) == 2)).await;
    assert!(b.reason(&old).contains("archived"));
    assert!(b.reason(&shut).contains("sendPolicy"));
    assert_eq!(b.fake.requests_of("agent").len(), 0);
}

#[tokio::test]
async fn a_wrong_token_touches_nothing_and_is_mended_without_a_restart() {
    let b = Bench::new().await;
    b.write_token("wrong");
    let id = b.put(ROUTED, "x", "");
    b.run(async {
        b.until("refused", |b| {
            spool_drain::status::read(&b.spool).is_some_and(|s| s.gateway.state == "refused")
        })
        .await;
        assert_eq!(b.count(Dir::New), 1);
        let tries = b.fake.connections();
        b.write_token("secret");
        b.until_done(1).await;
        assert!(tries <= 3, "hammered {tries} times");
    })
    .await;
    assert_eq!(b.commits(&id), 1);
    assert!(b.lines().iter().all(|l| l.attempts.is_none()));
}

#[tokio::test]
async fn one_sessions_trouble_delays_no_other() {
    let b = Bench::new().await;
    b.fake.rule(Rule::on("agent").session(ROUTED).then(Fault::Mute(At::Frame)));
    let slow = b.put(ROUTED, "x", "");
    b.run(async {
        b.until("the slow one is under way", |b| b.count(Dir::Sending) == 1).await;
        for n in 0..3 {
            let session = format!("agent:main:s{n}");
            b.fake.add_session(&session, None);
            b.put(&session, "x", "");
        }
        b.until_done(3).await;
        assert_eq!(b.commits(&slow), 0, "the others did not wait");
        b.until_done(4).await;
    })
    .await;
    assert_eq!(b.commits(&slow), 1);
}

#[tokio::test]
async fn sessions_that_are_busy_for_long_do_not_use_up_the_window() {
    let mut b = Bench::new().await;
    b.options.slow = Duration::from_millis(100);
    b.fake
        .rule(Rule::on("agent").containing("slow").always().then(Fault::TurnLasts(Duration::from_secs(60))));
    for n in 0..6 {
        let session = format!("agent:main:s{n}");
        b.fake.add_session(&session, None);
        b.put(&session, "slow", "");
    }
    b.options.grace = Duration::from_millis(10);
    b.run(async {
        b.until("all are under way", |b| b.fake.in_flight() == 6).await;
        let quick = b.put(ROUTED, "x", "");
        b.until("the quick one is through", |b| b.commits(&quick) == 1).await;
        assert!(b.fake.in_flight() >= 6, "the slow ones are still under way");
    })
    .await;
}

#[tokio::test]
async fn waiting_for_a_reply_that_was_lost_sight_of_holds_up_no_other_session() {
    let mut b = Bench::new().await;
    b.options.patience.reply = Duration::from_secs(60);
    b.fake.configure(|o| o.resume = false);
    b.fake.rule(Rule::on("agent").then(Fault::TurnLasts(Duration::from_secs(60))));
    let first = b.put(ROUTED, "x", "");
    b.run_and_kill(b.until("it is committed", |b| b.commits(&first) == 1)).await;
    b.fake.kill().await;
    b.fake.restart().await.unwrap();
    let second = b.put(INTERNAL, "y", "");
    b.options.grace = Duration::from_millis(10);
    b.run(b.until_done(1)).await;
    assert_eq!((b.commits(&first), b.commits(&second)), (1, 1));
    assert_eq!(b.count(Dir::Sending), 1, "the first one still waits for its reply");
}

#[tokio::test]
async fn a_record_that_always_fails_dies_after_its_attempts_and_takes_nobody_along() {
    let mut b = Bench::new().await;
    b.options.retry.attempts = 3;
    let odd = json!({"code": "INTERNAL", "message": "something odd"});
    let bad = b.put(ROUTED, "poison", "");
    b.fake.rule(Rule::on("agent").containing("poison").always().then(Fault::Error(odd)));
    let good: Vec<_> = (0..3).map(|_| b.put(ROUTED, "x", "")).collect();
    b.run(b.until("one is dead, three are done", |b| b.count(Dir::Dead) == 1 && b.count(Dir::Done) == 3))
        .await;
    assert!(b.reason(&bad).contains("gave up after 3 attempts"), "{}", b.reason(&bad));
    assert!(good.iter().all(|id| b.commits(id) == 1));
    b.audit();
}

#[tokio::test]
async fn a_rename_that_fails_after_the_delivery_does_not_make_a_second_one() {
    let fs = FaultyFs::default();
    let b = Bench::with(fake::Options::with_token("secret"), Arc::new(fs.clone())).await;
    let id = b.put(ROUTED, "x", "");
    b.fake.configure(|o| o.turn_duration = Duration::from_millis(100));
    b.run(async {
        b.until("it is committed", |b| b.commits(&id) == 1).await;
        fs.fail_verb("rename", 28, 3);
        b.until_done(1).await;
    })
    .await;
    assert_eq!((b.commits(&id), b.fake.requests_of("agent").len()), (1, 1));
}

#[tokio::test]
async fn a_disk_that_cannot_flush_sends_nothing() {
    let fs = FaultyFs::default();
    let mut b = Bench::with(fake::Options::with_token("secret"), Arc::new(fs.clone())).await;
    b.options.grace = Duration::from_millis(100);
    b.put(ROUTED, "x", "");
    fs.fail_verb("sync_dir", 5, usize::MAX);
    b.run(async {
        let flushes =
            || fs.steps().iter().filter(|s| s.starts_with("sync_dir") && s.ends_with("sending")).count();
        b.until("it was tried to flush", |b| b.count(Dir::Sending) == 1 && flushes() > 0).await;
        // And waits, instead of asking itself all the time whether it may.
        let sweeps =
            || fs.steps().iter().filter(|s| s.starts_with("list") && s.ends_with("deferred")).count();
        let (swept, steps) = (sweeps(), fs.steps().len());
        b.until("it has swept on", |_| sweeps() >= swept + 3).await;
        let steps = fs.steps().len() - steps;
        assert!(steps < 2000, "{steps} calls in three sweeps");
    })
    .await;
    assert_eq!(b.fake.requests_of("agent").len(), 0);
    fs.clear();
    b.run(b.until_done(1)).await;
    assert_eq!(b.fake.requests_of("agent").len(), 1);
}

#[tokio::test]
async fn a_graceful_stop_waits_for_the_verdict() {
    let b = Bench::new().await;
    b.fake.configure(|o| o.turn_duration = Duration::from_millis(300));
    let id = b.put(ROUTED, "x", "");
    let ((), summary) = b.run(b.until("it is committed", |b| b.commits(&id) == 1)).await;
    assert_eq!(summary.delivered, 1);
}

/// Two records in one delivery whose key the gateway has burnt, and an agent that is dead; their order is that of `ids`.
async fn burnt(b: &Bench) -> (Vec<Id>, Vec<Entry>) {
    b.fake.rule(Rule::on("agent").then(Fault::Crash(At::Accepted, None)));
    let ids = vec![b.put(ROUTED, "one", ""), b.put(ROUTED, "two", "")];
    b.run_and_kill(b.until("the gateway is dead", |b| !b.fake.is_up())).await;
    b.fake.restart().await.unwrap();
    let mut taken = b.entries(Dir::Sending);
    taken.sort_by_key(|entry| entry.id.to_string());
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0].state.key(), taken[1].state.key());
    (ids, taken)
}

#[tokio::test]
async fn a_change_of_key_that_a_crash_cut_in_half_is_finished_before_anything_is_sent() {
    for half in [0, 1] {
        let b = Bench::new().await;
        let (ids, taken) = burnt(&b).await;
        b.spool.advance(&taken[half], &Event::Rekey).unwrap();
        b.run(b.until_done(2)).await;
        for id in &ids {
            assert_eq!(b.commits(id), 1, "{id} of {ids:?}, {half}");
        }
        assert_eq!(b.fake.all_commits().len(), 1, "they stay together");
        b.audit();
    }
}

#[tokio::test]
async fn a_change_of_key_that_the_disk_cut_in_half_is_finished_before_anything_is_sent() {
    let fs = FaultyFs::default();
    let b = Bench::with(fake::Options::with_token("secret"), Arc::new(fs.clone())).await;
    let (ids, _) = burnt(&b).await;
    fs.fail_verb("rename", 5, 1);
    b.run(b.until_done(2)).await;
    for id in &ids {
        assert_eq!(b.commits(id), 1, "{id} of {ids:?}");
    }
    b.audit();
}

#[tokio::test]
async fn what_a_dead_agent_took_is_flushed_before_it_is_sent() {
    let fs = FaultyFs::default();
    let b = Bench::with(fake::Options::with_token("secret"), Arc::new(fs.clone())).await;
    let id = b.put(ROUTED, "x", "");
    // It died between the rename and the flush.
    b.spool.advance(&Entry::new(id, State::Pending), &Event::Take { key: Key::mint() }).unwrap();
    let before = fs.steps().len();
    b.run(b.until_done(1)).await;
    let steps = fs.steps().split_off(before);
    let flushed = |dir: &str| steps.iter().position(|s| s.starts_with("sync_dir") && s.ends_with(dir));
    let retired = steps.iter().position(|s| s.starts_with("rename") && s.contains("/sending/"));
    assert!(flushed("/sending").is_some() && flushed("/new").is_some(), "{steps:?}");
    assert!(flushed("/sending") < retired && flushed("/new") < retired, "{steps:?}");
}

#[tokio::test]
async fn what_is_taken_from_deferred_is_flushed_at_both_ends_before_it_is_sent() {
    let fs = FaultyFs::default();
    let b = Bench::with(fake::Options::with_token("secret"), Arc::new(fs.clone())).await;
    let id = b.put(ROUTED, "x", "");
    let taken = b.spool.advance(&Entry::new(id, State::Pending), &Event::Take { key: Key::mint() }).unwrap();
    // On a disk that keeps names in no order it would come back there after a power cut, and be sent under another key.
    b.spool.advance(&taken, &Event::Fail { due_ms: 0, alone: false }).unwrap();
    let before = fs.steps().len();
    b.run(b.until_done(1)).await;
    let steps = fs.steps().split_off(before);
    let flushed = |dir: &str| steps.iter().position(|s| s.starts_with("sync_dir") && s.ends_with(dir));
    let retired = steps.iter().position(|s| s.starts_with("rename") && s.contains("/sending/"));
    for dir in ["/sending", "/deferred"] {
        assert!(flushed(dir).is_some() && flushed(dir) < retired, "{dir}: {steps:?}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_moved_is_left_alone_for_longer_each_time_and_delays_nobody() {
    let fs = FaultyFs::default();
    let b = Bench::with(fake::Options::with_token("secret"), Arc::new(fs.clone())).await;
    let id = b.put(ROUTED, "immutable", "");
    // EPERM.
    fs.fail_verb("rename", 1, usize::MAX);
    let tries = || fs.steps().iter().filter(|step| step.starts_with("rename")).count();
    b.run(async {
        b.until("it was tried", |_| tries() > 0).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(tries() <= 3, "{} tries in two seconds", tries());
        let lines = b.lines();
        let accepted = lines.iter().filter(|line| line.event == "accept" && line.id == id.as_str());
        assert_eq!((accepted.count(), lines.len()), (1, 1));
        fs.clear();
        b.until_done(1).await;
    })
    .await;
    assert_eq!(b.commits(&id), 1);
}

#[tokio::test]
async fn a_run_with_once_says_what_could_not_be_moved() {
    let fs = FaultyFs::default();
    let b = Bench::with(fake::Options::with_token("secret"), Arc::new(fs.clone())).await;
    b.put(ROUTED, "x", "");
    fs.fail_verb("rename", 5, usize::MAX);
    let summary = b.once().await;
    assert_eq!((summary.left, summary.stuck, summary.delivered), (1, 1, 0));
    fs.clear();
    assert_eq!(b.once().await.delivered, 1);
}

#[tokio::test]
async fn a_run_with_once_ends_though_a_file_is_half_written_for_ever_or_vanishes() {
    let b = Bench::new().await;
    let path = b.spool.dir(Dir::New).join("half.json");
    let held = std::fs::File::create(&path).unwrap();
    std::fs::write(&path, "{\"sessionKey\":").unwrap();
    b.put(ROUTED, "whole", "");
    let once = || tokio::time::timeout(Duration::from_secs(20), b.once());
    assert_eq!(once().await.expect("it ends").delivered, 1);
    assert!(path.exists());
    let vanish = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        std::fs::remove_file(&path).unwrap();
    };
    let (ended, ()) = tokio::join!(once(), vanish);
    ended.expect("it ends");
    drop(held);
}
