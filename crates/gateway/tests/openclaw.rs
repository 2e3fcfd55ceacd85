//! The real client against the fake gateway: one test for each rule a client has to keep.

#![expect(clippy::unwrap_used, reason = "in tests a failed unwrap is the failure that should be seen")]

use std::cell::RefCell;
use std::time::Duration;

use serde_json::{Value, json};
use spool_gateway::fake::{At, Channel, Fake, Fault, Model, Options, PendingState, Phase, Rule, errors};
use spool_gateway::openclaw::{Config, OpenClaw, OpenClawConnector};
use spool_gateway::receiver::{
    Connector, Delivery, Evidence, Gateway, Kind, Look, Mode, Probe, Reply, Route, Session, Trouble,
};
use spool_gateway::secret::{Secret, Source};

const S: &str = "agent:main:telegram:direct:77001";
const INTERNAL: &str = "agent:main:job";
const SOON: Duration = Duration::from_secs(10);

fn config(fake: &Fake) -> Config {
    let mut config = Config::new(fake.url());
    config.token = Some(Source::Literal(Secret::new("t")));
    config
}

async fn start() -> Fake {
    let fake = Fake::start(Options::with_token("t")).await.unwrap();
    fake.add_chat(S, 77001);
    fake.add_session(INTERNAL, None);
    fake
}

async fn connect(fake: &Fake) -> OpenClaw {
    OpenClawConnector::new(config(fake)).connect().await.unwrap()
}

fn delivery(key: &str, mode: Mode) -> Delivery {
    Delivery {
        key: key.into(),
        former_keys: Vec::new(),
        session_key: S.into(),
        text: format!("[job {key}] done"),
        mode,
        route: None,
        traceparent: None,
    }
}

fn turn(key: &str) -> Delivery {
    delivery(key, Mode::Turn)
}

async fn open(gateway: &OpenClaw, key: &str) -> Session {
    match gateway.look(key).await.unwrap() {
        Look::Open(session) => session,
        other => panic!("{key}: {other:?}"),
    }
}

async fn send(gateway: &OpenClaw, delivery: &Delivery) -> Result<Reply, Trouble> {
    let session = open(gateway, &delivery.session_key).await;
    gateway.send(delivery, &session, Evidence::Sent, &|_| ()).await
}

fn params(fake: &Fake, method: &str) -> Value {
    fake.requests_of(method).last().unwrap_or_else(|| panic!("no {method}")).params.clone()
}

#[tokio::test]
async fn a_turn_is_pinned_marked_and_routed_by_the_session_alone() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    assert_eq!(send(&gateway, &turn("k-1")).await, Ok(Reply::Sent));
    let pin = open(&gateway, S).await.pin.unwrap();
    assert_eq!(
        params(&fake, "agent"),
        json!({"sessionKey": S, "message": "[job k-1] done", "idempotencyKey": "k-1", "deliver": true,
            "bestEffortDeliver": true, "expectedExistingSessionId": pin,
            "inputProvenance": {"kind": "inter_session", "sourceTool": "spool"}})
    );
    assert_eq!(params(&fake, "sessions.messages.subscribe"), json!({"key": S}));
}

#[tokio::test]
async fn a_gateway_that_knows_no_pins_gets_a_look_instead() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    let words = "invalid agent params: at root: unexpected property 'expectedExistingSessionId'";
    fake.rule(Rule::on("agent").then(Fault::Error(errors::invalid(words))));
    assert_eq!(send(&gateway, &turn("k-1")).await, Ok(Reply::Sent));
    assert!(params(&fake, "agent").get("expectedExistingSessionId").is_none());
    // It is remembered, and a session that was replaced in between is noticed all the same.
    let session = open(&gateway, S).await;
    fake.delete(S);
    fake.add_chat(S, 77001);
    let moved = gateway.send(&turn("k-2"), &session, Evidence::Sent, &|_| ()).await;
    assert_eq!(moved.unwrap_err().kind, Kind::Moved);
    assert_eq!(fake.requests_of("agent").len(), 2);
}

#[tokio::test]
async fn a_reply_that_belongs_elsewhere_goes_there_and_the_session_keeps_its_route() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    let mut elsewhere = turn("k-1");
    elsewhere.route = Some(Route {
        channel: "telegram".into(),
        to: "telegram:77009".into(),
        account_id: Some("default".into()),
        thread_id: None,
    });
    assert_eq!(send(&gateway, &elsewhere).await, Ok(Reply::Sent));
    assert_eq!(fake.chat_messages("telegram", "telegram:77009").len(), 1);
    assert_eq!(open(&gateway, S).await.route.unwrap().to, "telegram:77001");
    let sent = params(&fake, "agent");
    for member in ["channel", "to", "accountId", "threadId"] {
        assert!(sent.get(member).is_none(), "{member} would become the session's own route");
    }
}

#[tokio::test]
async fn the_commit_is_enough_when_that_is_asked_for() {
    let fake = start().await;
    fake.rule(Rule::on("agent").then(Fault::TurnLasts(Duration::from_secs(60))));
    let gateway = connect(&fake).await;
    let rungs = RefCell::new(Vec::new());
    let session = open(&gateway, S).await;
    let reply = gateway
        .send(&turn("k-1"), &session, Evidence::Committed, &|rung| rungs.borrow_mut().push(rung))
        .await;
    assert_eq!(reply, Ok(Reply::Pending));
    assert_eq!(*rungs.borrow(), [Evidence::Accepted, Evidence::Committed]);
    assert_eq!(gateway.probe(&turn("k-1")).await, Ok(Probe::Committed(Reply::Pending)));
}

#[tokio::test]
async fn a_session_without_a_channel_is_committed_and_nobody_is_told() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    let record = Delivery { session_key: INTERNAL.into(), ..turn("k-1") };
    assert_eq!(open(&gateway, INTERNAL).await.route, None);
    assert_eq!(send(&gateway, &record).await, Ok(Reply::Internal));
    assert_eq!(gateway.probe(&record).await, Ok(Probe::Committed(Reply::Internal)));
    let message = Delivery { mode: Mode::Message, ..record };
    assert_eq!(send(&gateway, &message).await.unwrap_err().kind, Kind::Hold);
}

#[tokio::test]
async fn silence_of_the_agent_and_failures_of_model_and_platform_are_told_apart() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    fake.set_model(Model::Silent);
    assert_eq!(send(&gateway, &turn("k-silent")).await, Ok(Reply::Silent));
    fake.set_model(Model::Fails("LLM request failed".into()));
    let failed = send(&gateway, &turn("k-model")).await;
    assert!(matches!(&failed, Ok(Reply::Failed(why)) if why.contains("LLM request failed")), "{failed:?}");
    assert!(matches!(gateway.probe(&turn("k-model")).await, Ok(Probe::Committed(Reply::Failed(_)))));
    fake.set_model(Model::Echo);
    fake.set_channel(Channel::Refuses("Forbidden: bot was blocked by the user".into()));
    let failed = send(&gateway, &turn("k-platform")).await;
    assert!(matches!(&failed, Ok(Reply::Failed(why)) if why.contains("blocked")), "{failed:?}");
    assert_eq!((fake.commits("k-model"), fake.commits("k-platform")), (1, 1));
}

#[tokio::test]
async fn a_lost_commit_event_changes_nothing() {
    let fake = start().await;
    fake.rule(Rule::on("agent").then(Fault::NoCommitEvent));
    let gateway = connect(&fake).await;
    let rungs = RefCell::new(Vec::new());
    let session = open(&gateway, S).await;
    let reply =
        gateway.send(&turn("k-1"), &session, Evidence::Sent, &|rung| rungs.borrow_mut().push(rung)).await;
    assert_eq!(reply, Ok(Reply::Sent));
    assert_eq!(
        *rungs.borrow(),
        [Evidence::Accepted, Evidence::Committed, Evidence::Replied, Evidence::Sent],
        "each rung once"
    );
}

#[tokio::test]
async fn noise_beside_the_answers_is_ignored() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    let noise = [
        Fault::Garbage,
        Fault::StrayAnswer,
        Fault::DuplicateFinal,
        Fault::HugeFrame(4 << 20),
        Fault::PingFlood(2000),
    ];
    for (number, fault) in noise.into_iter().enumerate() {
        fake.rule(Rule::on("agent").then(fault.clone()));
        assert_eq!(send(&gateway, &turn(&format!("k-{number}"))).await, Ok(Reply::Sent), "{fault:?}");
    }
    assert_eq!(fake.connections(), 1, "the connection survived all of it");
}

#[tokio::test]
async fn a_final_error_before_the_commit_is_trouble_of_its_kind() {
    let fake = start().await;
    for (number, (error, kind, after)) in
        [(errors::draining(), Kind::Unavailable, None), (errors::work_start_changed(S), Kind::Session, None)]
            .into_iter()
            .enumerate()
    {
        let record = turn(&format!("k-{number}"));
        let gateway = connect(&fake).await;
        fake.rule(Rule::on("agent").then(Fault::AcceptThenError(error)));
        let trouble = send(&gateway, &record).await.unwrap_err();
        assert_eq!((trouble.kind, trouble.retry_after), (kind, after), "{trouble}");
        // The key is burnt now, and for good: the probe says so at once, the gateway when it has forgotten the error.
        assert_eq!(gateway.probe(&record).await, Ok(Probe::Burnt));
        fake.restart().await.unwrap();
        let gateway = connect(&fake).await;
        assert_eq!(gateway.probe(&record).await, Ok(Probe::Burnt));
        assert_eq!(send(&gateway, &record).await.unwrap_err().kind, Kind::Burnt);
        let next = Delivery { key: format!("k-{number}~2"), former_keys: vec![record.key.clone()], ..record };
        assert_eq!(gateway.probe(&next).await, Ok(Probe::Absent), "a new key has not been tried");
        assert_eq!(send(&gateway, &next).await, Ok(Reply::Sent));
        assert!(matches!(gateway.probe(&next).await, Ok(Probe::Committed(_))));
    }
}

#[tokio::test]
async fn a_final_error_after_everything_was_done_is_a_failed_turn_and_not_a_second_one() {
    let fake = start().await;
    fake.rule(Rule::on("agent").then(Fault::FinalError(errors::unavailable("Telegram send failed"))));
    let gateway = connect(&fake).await;
    assert!(matches!(send(&gateway, &turn("k-1")).await, Ok(Reply::Failed(_))));
    assert!(matches!(gateway.probe(&turn("k-1")).await, Ok(Probe::Committed(_))));
    assert_eq!(fake.commits("k-1"), 1);
}

#[tokio::test]
async fn the_gateways_wish_to_wait_is_passed_on() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    for error in [errors::restarting(), errors::suspending(), errors::starting()] {
        fake.rule(Rule::on("agent").then(Fault::Error(error)));
        let trouble = send(&gateway, &turn("k-1")).await.unwrap_err();
        assert_eq!(trouble.kind, Kind::Unavailable);
        assert!(trouble.retry_after.is_some(), "{trouble}");
        assert_eq!(gateway.probe(&turn("k-1")).await, Ok(Probe::Absent));
    }
    assert_eq!(send(&gateway, &turn("k-1")).await, Ok(Reply::Sent), "the same key");
}

#[tokio::test]
async fn no_answer_at_all_is_doubt_at_the_deadline() {
    let fake = start().await;
    fake.rule(Rule::on("agent").then(Fault::Mute(At::Frame)));
    let mut config = config(&fake);
    config.deadlines.turn = Duration::from_millis(200);
    let gateway = OpenClawConnector::new(config).connect().await.unwrap();
    assert_eq!(send(&gateway, &turn("k-1")).await.unwrap_err().kind, Kind::Doubt);
    assert_eq!(gateway.probe(&turn("k-1")).await, Ok(Probe::Absent));
}

#[tokio::test]
async fn a_cut_connection_is_doubt_and_the_next_one_knows() {
    for (at, committed) in [(At::Frame, false), (At::Committed, true), (At::Final, true)] {
        let fake = start().await;
        fake.rule(Rule::on("agent").then(Fault::Drop(at)));
        let gateway = connect(&fake).await;
        assert_eq!(send(&gateway, &turn("k-1")).await.unwrap_err().kind, Kind::Doubt, "{at:?}");
        assert!(gateway.closed().await.contains("1006"), "{at:?}");
        let probe = connect(&fake).await.probe(&turn("k-1")).await.unwrap();
        assert_eq!(matches!(probe, Probe::Committed(_)), committed, "{at:?} {probe:?}");
        assert_eq!(probe == Probe::Absent, !committed, "{at:?} {probe:?}");
    }
}

#[tokio::test]
async fn what_waits_behind_another_turn_is_queued_and_not_absent() {
    let fake = start().await;
    fake.rule(Rule::on("agent").then(Fault::TurnLasts(Duration::from_secs(60))));
    let gateway = connect(&fake).await;
    let session = open(&gateway, S).await;
    gateway.send(&turn("k-long"), &session, Evidence::Committed, &|_| ()).await.unwrap();
    let waiting = turn("k-behind");
    let sent = gateway.send(&waiting, &session, Evidence::Sent, &|_| ());
    tokio::pin!(sent);
    let probe = async {
        assert!(fake.until(SOON, |fake| fake.pending(S).iter().any(|item| item.run_id == "k-behind")).await);
        gateway.probe(&waiting).await
    };
    tokio::select! {
        early = &mut sent => panic!("{early:?}"),
        probe = probe => assert_eq!(probe, Ok(Probe::Queued)),
    }
    assert_eq!(fake.pending(S).iter().filter(|item| item.state == PendingState::Queued).count(), 1);
    // The same key once more, while it waits: nothing new, and not an answer either.
    assert_eq!(send(&gateway, &waiting).await.unwrap_err().kind, Kind::Doubt);
}

#[tokio::test]
async fn a_delivery_is_found_under_a_former_key_before_a_reset_after_a_restart() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    send(&gateway, &turn("k-old")).await.unwrap();
    fake.reset(S);
    fake.restart().await.unwrap();
    let gateway = connect(&fake).await;
    let now = Delivery { former_keys: vec!["k-old".into()], ..turn("k-new") };
    assert!(matches!(gateway.probe(&now).await, Ok(Probe::Committed(_))));
    assert_eq!(gateway.probe(&turn("k-new")).await, Ok(Probe::Absent));
}

#[tokio::test]
async fn a_long_history_hides_nothing() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    send(&gateway, &turn("k-deep")).await.unwrap();
    fake.chatter(S, 1500);
    fake.restart().await.unwrap();
    let gateway = connect(&fake).await;
    assert!(matches!(gateway.probe(&turn("k-deep")).await, Ok(Probe::Committed(_))));
    assert_eq!(params(&fake, "chat.history")["limit"], 1000);
}

#[tokio::test]
async fn a_probe_changes_nothing_and_a_look_makes_no_session() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    let nowhere = Delivery { session_key: "agent:main:nobody".into(), ..turn("k-1") };
    assert_eq!(gateway.look(&nowhere.session_key).await, Ok(Look::Missing));
    for mode in [Mode::Turn, Mode::Message, Mode::Note] {
        let probe = gateway.probe(&Delivery { mode, ..nowhere.clone() }).await;
        assert_eq!(probe, Ok(Probe::Absent), "{mode:?}");
    }
    assert_eq!(fake.sessions().len(), 2);
    for method in ["agent", "send", "chat.inject", "chat.send"] {
        assert!(fake.requests_of(method).is_empty(), "{method}");
    }
}

#[tokio::test]
async fn a_message_the_gateway_queued_is_waited_for_and_not_sent_again() {
    let fake = start().await;
    fake.set_channel(Channel::Unreachable);
    let connector = OpenClawConnector::new(config(&fake));
    let gateway = connector.connect().await.unwrap();
    let message = delivery("m-1", Mode::Message);
    assert_eq!(send(&gateway, &message).await.unwrap_err().kind, Kind::Doubt);
    assert_eq!(gateway.probe(&message).await, Ok(Probe::Queued));
    assert_eq!(
        send(&gateway, &message).await.unwrap_err().kind,
        Kind::Hold,
        "another copy would be one too many"
    );
    assert_eq!(fake.requests_of("send").len(), 1);
    // It knows on the next connection, too.
    let gateway = connector.connect().await.unwrap();
    assert_eq!(gateway.probe(&message).await, Ok(Probe::Queued));
    fake.set_channel(Channel::Up);
    assert!(fake.until(SOON, |fake| fake.outbound() == 0).await);
    assert!(fake.until(SOON, |fake| fake.transcript(S).iter().any(|row| row.text.contains("m-1"))).await);
    assert_eq!(gateway.probe(&message).await, Ok(Probe::Committed(Reply::Sent)));
    assert_eq!(fake.chat_messages("telegram", "telegram:77001").len(), 1);
}

#[tokio::test]
async fn a_message_cut_off_before_it_was_taken_can_be_sent_again() {
    let fake = start().await;
    fake.rule(Rule::on("send").then(Fault::Drop(At::Frame)));
    let connector = OpenClawConnector::new(config(&fake));
    let message = delivery("m-1", Mode::Message);
    let sent = send(&connector.connect().await.unwrap(), &message).await;
    assert_eq!(sent.unwrap_err().kind, Kind::Doubt);
    let gateway = connector.connect().await.unwrap();
    assert_eq!(gateway.probe(&message).await, Ok(Probe::Absent));
    assert_eq!(send(&gateway, &message).await, Ok(Reply::Sent));
}

#[tokio::test]
async fn a_recipient_that_is_not_there_is_never() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    for (number, words) in
        ["Bad Request: chat not found", "Forbidden: bot was blocked by the user"].iter().enumerate()
    {
        fake.set_channel(Channel::Refuses((*words).into()));
        let trouble = send(&gateway, &delivery(&format!("m-{number}"), Mode::Message)).await.unwrap_err();
        assert_eq!(trouble.kind, Kind::Never, "{trouble}");
    }
}

#[tokio::test]
async fn a_message_names_the_thread_as_text_and_reaches_it() {
    let fake = start().await;
    let key = "agent:main:telegram:group:-100:topic:42";
    let route = Route {
        channel: "telegram".into(),
        to: "telegram:-100:topic:42".into(),
        account_id: Some("default".into()),
        thread_id: Some("42".into()),
    };
    fake.add_session(key, Some(route));
    let gateway = connect(&fake).await;
    let message = Delivery { session_key: key.into(), ..delivery("m-1", Mode::Message) };
    assert_eq!(send(&gateway, &message).await, Ok(Reply::Sent));
    assert_eq!(params(&fake, "send")["threadId"], "42");
    assert_eq!(gateway.probe(&message).await, Ok(Probe::Committed(Reply::Sent)));
}

#[tokio::test]
async fn a_note_without_admin_scope_is_held_and_says_why() {
    let fake = start().await;
    let gateway = connect(&fake).await;
    let trouble = send(&gateway, &delivery("n-1", Mode::Note)).await.unwrap_err();
    assert!(trouble.kind == Kind::Hold && trouble.reason.contains("admin"), "{trouble}");
    let mut config = config(&fake);
    config.admin = true;
    let gateway = OpenClawConnector::new(config).connect().await.unwrap();
    let note = delivery("n-2", Mode::Note);
    assert_eq!(gateway.probe(&note).await, Ok(Probe::Absent));
    assert_eq!(send(&gateway, &note).await, Ok(Reply::Internal));
    assert_eq!(gateway.probe(&note).await, Ok(Probe::Committed(Reply::Internal)));
    assert!(fake.all_chat_messages().is_empty());
}

#[tokio::test]
async fn a_gateway_that_starts_drains_or_is_gone_is_unavailable() {
    let fake = start().await;
    fake.kill().await;
    let connector = OpenClawConnector::new(config(&fake));
    assert_eq!(connector.connect().await.err().unwrap().kind, Kind::Unavailable);
    fake.restart_as(Phase::Starting).await.unwrap();
    let trouble = connector.connect().await.err().unwrap();
    assert_eq!((trouble.kind, trouble.retry_after), (Kind::Unavailable, Some(Duration::from_millis(500))));
    fake.set_phase(Phase::Draining);
    let trouble = connector.connect().await.err().unwrap();
    assert!(trouble.kind == Kind::Unavailable && trouble.reason.contains("503"), "{trouble}");
    fake.set_phase(Phase::Ready);
    connector.connect().await.unwrap();
}

#[tokio::test]
async fn finals_of_running_turns_come_before_the_close_of_a_stopping_gateway() {
    let fake = start().await;
    fake.rule(Rule::on("agent").then(Fault::TurnLasts(Duration::from_millis(300))));
    let gateway = connect(&fake).await;
    let boot = gateway.server().boot_id.clone();
    let record = turn("k-1");
    let sent = send(&gateway, &record);
    let stop = async {
        assert!(fake.until(SOON, |fake| fake.commits("k-1") == 1).await);
        fake.stop().await;
    };
    let (sent, ()) = tokio::join!(sent, stop);
    assert_eq!(sent, Ok(Reply::Sent));
    assert!(gateway.closed().await.contains("1012"));
    fake.restart().await.unwrap();
    assert_ne!(connect(&fake).await.server().boot_id, boot, "a restart is visible");
}

#[tokio::test]
async fn a_rotated_token_changes_the_stamp_and_is_picked_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "wrong").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).unwrap();
    let fake = start().await;
    let connector =
        OpenClawConnector::new(Config { token: Some(Source::File(path.clone())), ..Config::new(fake.url()) });
    let trouble = connector.connect().await.err().unwrap();
    assert!(trouble.kind == Kind::Refused && !trouble.reason.contains("wrong"), "{trouble}");
    let stamp = connector.credentials_stamp();
    assert_eq!(stamp, connector.credentials_stamp());
    std::fs::write(&path, "t\n").unwrap();
    assert_ne!(stamp, connector.credentials_stamp());
    connector.connect().await.unwrap();
}

#[tokio::test]
async fn a_token_without_write_scope_is_refused_in_words() {
    let fake =
        Fake::start(Options { granted_scopes: Some(vec![]), ..Options::with_token("t") }).await.unwrap();
    let trouble = OpenClawConnector::new(config(&fake)).connect().await.err().unwrap();
    assert!(trouble.kind == Kind::Refused && trouble.reason.contains("operator.write"), "{trouble}");
}

#[tokio::test]
async fn a_frozen_gateway_is_noticed() {
    let fake = start().await;
    let mut config = config(&fake);
    config.deadlines.silence = Some(Duration::from_millis(200));
    let gateway = OpenClawConnector::new(config).connect().await.unwrap();
    fake.freeze(true);
    let why = tokio::time::timeout(SOON, gateway.closed()).await.unwrap();
    assert!(why.contains("4000"), "{why}");
}

#[tokio::test]
async fn four_lanes_at_once_share_a_connection() {
    let fake = start().await;
    let keys: Vec<String> = (0..4).map(|lane| format!("agent:main:lane{lane}")).collect();
    for (chat, key) in (1..).zip(&keys) {
        fake.add_chat(key, chat);
    }
    let gateway = connect(&fake).await;
    let lane = |number: usize| {
        let record = Delivery { session_key: keys[number].clone(), ..turn(&format!("k-{number}")) };
        let gateway = gateway.clone();
        async move { send(&gateway, &record).await }
    };
    let replies = tokio::join!(lane(0), lane(1), lane(2), lane(3));
    assert_eq!(replies, (Ok(Reply::Sent), Ok(Reply::Sent), Ok(Reply::Sent), Ok(Reply::Sent)));
    assert_eq!(fake.connections(), 1);
}

#[tokio::test]
async fn a_secret_that_the_gateway_repeats_is_never_said_again() {
    let token = "canary-7f3a91c2";
    let fake =
        Fake::start(Options { version: format!("1 {token}"), ..Options::with_token(token) }).await.unwrap();
    fake.add_chat(S, 77001);
    let mut config = Config::new(fake.url());
    config.token = Some(Source::Literal(Secret::new(token)));
    let gateway = OpenClawConnector::new(config).connect().await.unwrap();
    assert_eq!(gateway.server().version, "1 [redacted]");
    fake.rule(
        Rule::on("agent").then(Fault::Error(json!({"code": "BAD", "message": format!("no: {token}")}))),
    );
    let refused = send(&gateway, &turn("k-1")).await.unwrap_err().reason;
    assert!(refused.contains("[redacted]") && !refused.contains(token), "{refused}");
    fake.set_model(Model::Fails(format!("the model says {token}")));
    let failed = format!("{:?}", send(&gateway, &turn("k-2")).await);
    assert!(failed.contains("[redacted]") && !failed.contains(token), "{failed}");
    let probed = format!("{:?}", gateway.probe(&turn("k-2")).await);
    assert!(!probed.contains(token), "{probed}");
    fake.close_connections(1000, "good bye canary-7f3a91c2");
    let closed = gateway.closed().await;
    assert!(closed.contains("[redacted]") && !closed.contains(token), "{closed}");
}
