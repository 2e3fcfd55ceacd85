//! The plain way: records arrive, once, in order, in the right session, with evidence.

use std::time::Duration;

use spooldir::{Dir, State};

use crate::support::{Bench, INTERNAL, ROUTED};

#[tokio::test]
async fn a_record_reaches_its_session_and_its_chat_once() {
    let b = Bench::new().await;
    let id = b.put(ROUTED, "the build is done", "");
    let ((), summary) = b.run(b.until_done(1)).await;
    assert_eq!(summary.delivered, 1);
    assert_eq!(b.commits(&id), 1);
    assert_eq!(b.fake.chat_messages("telegram", "telegram:77001").len(), 1);
    assert_eq!(b.evidence(&id).as_deref(), Some("sent"));
    b.audit();
}

#[tokio::test]
async fn a_session_without_a_channel_is_delivered_when_it_is_committed() {
    let b = Bench::new().await;
    let id = b.put(INTERNAL, "x", "");
    b.run(b.until_done(1)).await;
    assert_eq!(b.commits(&id), 1);
    assert_eq!(b.evidence(&id).as_deref(), Some("committed"));
}

#[tokio::test]
async fn a_record_dropped_while_the_agent_runs_is_noticed_by_the_doorbell() {
    let mut b = Bench::new().await;
    b.options.sweep = Duration::from_secs(3600);
    b.run(async {
        b.until("connected", |b| b.fake.connected() == 1).await;
        std::fs::write(b.spool.root().join("tmp/x"), format!(r#"{{"sessionKey":"{ROUTED}","text":"x"}}"#))
            .unwrap();
        #[expect(clippy::disallowed_methods, reason = "a stranger's producer")]
        std::fs::rename(b.spool.root().join("tmp/x"), b.spool.root().join("new/x.json")).unwrap();
        b.until_done(1).await;
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_one_session_goes_out_as_one_digest_in_order_with_failures_first() {
    let b = Bench::new().await;
    let mut ids: Vec<_> = (0..20).map(|n| b.put(ROUTED, &format!("job {n}"), "")).collect();
    let failed = b.put(ROUTED, "job 20", r#","status":"failed""#);
    b.run(b.until_done(21)).await;
    let rows = b.fake.transcript(ROUTED);
    let texts: Vec<&str> = rows.iter().map(|r| r.text.as_str()).filter(|t| t.starts_with("[spool")).collect();
    assert_eq!(texts.len(), 1, "one delivery");
    ids.insert(0, failed);
    let places: Vec<usize> = ids.iter().map(|id| texts[0].find(id.as_str()).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    b.audit();
}

#[tokio::test]
async fn a_hundred_records_of_one_session_arrive_exactly_once_in_order() {
    let b = Bench::new().await;
    let ids: Vec<_> = (0..100).map(|n| b.put(ROUTED, &format!("job {n}"), "")).collect();
    b.run(b.until_done(100)).await;
    let all: String = b.fake.all_commits().into_iter().map(|(_, _, text)| text).collect();
    let places: Vec<usize> = ids.iter().map(|id| all.find(id.as_str()).unwrap()).collect();
    assert!(places.is_sorted());
    assert!(ids.iter().all(|id| b.commits(id) == 1));
    assert_eq!(b.fake.peak().by_session[ROUTED], 1, "one in flight for a session");
}

#[tokio::test]
async fn many_sessions_share_a_bounded_window() {
    let b = Bench::new().await;
    b.fake.configure(|o| o.turn_duration = Duration::from_millis(60));
    let mut ids = Vec::new();
    for n in 0..12 {
        let session = format!("agent:main:s{n}");
        b.fake.add_session(&session, None);
        ids.push((session.clone(), b.put(&session, "x", "")));
    }
    b.run(b.until_done(12)).await;
    for (session, id) in ids {
        assert!(b.fake.transcript(&session).iter().any(|row| row.text.contains(id.as_str())));
    }
    assert!(b.fake.peak().overall <= 4, "{:?}", b.fake.peak());
}

#[tokio::test]
async fn a_message_goes_straight_to_the_chat_without_a_turn() {
    let b = Bench::new().await;
    let id = b.put(ROUTED, "x", r#","deliver":"message""#);
    b.run(b.until_done(1)).await;
    assert_eq!(b.fake.requests_of("agent").len(), 0);
    let told = b.fake.chat_messages("telegram", "telegram:77001");
    assert_eq!(told.len(), 1);
    assert!(told[0].text.contains(id.as_str()));
    assert_eq!(b.evidence(&id).as_deref(), Some("sent"));
}

#[tokio::test]
async fn the_reply_goes_where_the_record_says_when_the_session_is_shared() {
    let b = Bench::new().await;
    b.put(ROUTED, "x", r#","route":{"channel":"telegram","to":"telegram:77009"}"#);
    b.run(b.until_done(1)).await;
    assert_eq!(b.fake.chat_messages("telegram", "telegram:77009").len(), 1);
    assert_eq!(b.fake.chat_messages("telegram", "telegram:77001").len(), 0);
}

#[tokio::test]
async fn memory_stays_bounded_and_all_is_drained_all_the_same() {
    let mut b = Bench::new().await;
    b.options.max_known = 10;
    for n in 0..100 {
        b.put(if n % 2 == 0 { ROUTED } else { INTERNAL }, "x", "");
    }
    let ((), summary) = b.run(b.until_done(100)).await;
    assert_eq!((summary.delivered, summary.left), (100, 0));
    b.audit();
}

#[tokio::test]
async fn a_run_with_once_ends_when_all_is_done_and_says_what_is_left() {
    let b = Bench::new().await;
    b.put(ROUTED, "x", "");
    b.put("agent:main:nobody", "x", "");
    let summary = b.once().await;
    assert_eq!((summary.delivered, summary.dead, summary.left), (1, 1, 0));
    b.fake.kill().await;
    b.put(ROUTED, "x", "");
    let summary = b.once().await;
    assert_eq!((summary.delivered, summary.left), (0, 1));
    assert!(summary.gateway.is_some());
    assert_eq!(b.entries(Dir::New)[0].state, State::Pending);
}

#[tokio::test]
async fn a_second_agent_is_refused() {
    let b = Bench::new().await;
    b.run(async {
        b.until("connected", |b| b.fake.connected() == 1).await;
        let error = spooldir::lock::AgentLock::take(&b.spool).unwrap_err();
        assert_eq!(error.exit(), spooldir::exit::UNAVAILABLE);
    })
    .await;
}

#[tokio::test]
async fn the_rungs_of_a_long_turn_are_in_the_journal_before_its_end_and_in_their_order() {
    let b = Bench::new().await;
    b.fake.configure(|o| o.turn_duration = Duration::from_millis(500));
    let id = b.put(ROUTED, "x", "");
    let is_evidence = |line: &spooldir::journal::Line| line.id == id.as_str() && line.evidence.is_some();
    b.run(async {
        let has = |b: &Bench, word: &str| {
            b.lines().iter().any(|line| is_evidence(line) && line.evidence.as_deref() == Some(word))
        };
        b.until("it is committed", |b| has(b, "committed")).await;
        assert_eq!(b.count(Dir::Sending), 1, "the turn goes on");
        b.until_done(1).await;
        b.until("it is proved", |b| has(b, "sent")).await;
    })
    .await;
    let lines: Vec<_> = b.lines().into_iter().filter(is_evidence).collect();
    let told: Vec<_> =
        lines.iter().map(|line| (line.event.as_str(), line.evidence.as_deref().unwrap())).collect();
    let (last, rungs) = told.split_last().unwrap();
    assert_eq!(*last, ("prove", "sent"));
    assert!(rungs.starts_with(&[("evidence", "accepted"), ("evidence", "committed")]), "{rungs:?}");
    let key = lines[0].key.as_deref().unwrap();
    assert!(key.starts_with("sp-") && lines[..rungs.len()].iter().all(|l| l.key.as_deref() == Some(key)));
}
