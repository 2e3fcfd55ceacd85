//! Every fault of the script does what it says.

use super::super::{At, Fault, Rule, errors};
use super::*;

#[tokio::test]
async fn an_error_answer_means_nothing_was_done() {
    let fake = fake().await;
    let limited = errors::rate_limited("agent", Duration::from_millis(700));
    fake.rule(Rule::on("agent").session(S).times(2).then(Fault::Error(limited)));
    let mut client = Client::connect(&fake).await;
    for _ in 0..2 {
        let error = client.agent(delivery("k")).await.unwrap_err();
        assert_eq!((&error["retryable"], &error["retryAfterMs"]), (&json!(true), &json!(700)));
    }
    assert_eq!(client.agent(delivery("k")).await.unwrap()["status"], "ok");
    assert_eq!(fake.requests_of("agent").len(), 3);
}

#[tokio::test]
async fn an_accepted_turn_can_end_in_an_error_with_its_key_burnt() {
    let fake = fake().await;
    let error = errors::work_start_changed(S);
    fake.rule(Rule::on("agent").key("k").then(Fault::AcceptThenError(error.clone())));
    let mut client = Client::connect(&fake).await;
    let id = client.ask("agent", delivery("k")).await;
    assert_eq!(client.answer(&id).await.unwrap()["status"], "accepted");
    assert_eq!(client.answer(&id).await.unwrap_err(), error);
    assert_eq!(state_of(&client.history(S, "k").await, "k"), Some("interrupted"));
    assert_eq!(fake.commits("k"), 0);
}

#[tokio::test]
async fn a_final_error_can_hide_a_commit() {
    let fake = fake().await;
    fake.rule(Rule::on("agent").then(Fault::FinalError(errors::unavailable("something broke"))));
    let mut client = Client::connect(&fake).await;
    assert!(client.agent(delivery("k")).await.is_err());
    assert_eq!((fake.commits("k"), said(&fake).len()), (1, 1));
}

#[tokio::test]
async fn connections_are_cut_where_the_script_says() {
    for (at, committed) in
        [(At::Frame, false), (At::Accepted, true), (At::Committed, true), (At::Final, true)]
    {
        let fake = fake().await;
        fake.rule(Rule::on("agent").then(Fault::Drop(at)));
        let mut client = Client::connect(&fake).await;
        let id = client.ask("agent", delivery("k")).await;
        let accepted = client.wait(|f| f["id"] == id.as_str()).await;
        assert_eq!(accepted.is_ok(), at != At::Frame, "{at:?}");
        if accepted.is_ok() {
            assert_eq!(client.wait(|f| f["id"] == id.as_str()).await, Err(1006), "{at:?}");
        }
        let mut client = Client::connect(&fake).await;
        // The work goes on without its asker.
        assert!(fake.until(SOON, |f| f.in_flight() == 0).await);
        assert_eq!(has_key(&client.history(S, "k").await, "k:user"), committed, "{at:?}");
        assert_eq!(said(&fake).len(), usize::from(committed));
    }
}

#[tokio::test]
async fn silence_can_begin_anywhere() {
    let fake = fake().await;
    fake.rule(Rule::on("agent").key("a").then(Fault::Mute(At::Frame)));
    fake.rule(Rule::on("agent").key("b").then(Fault::Mute(At::Accepted)));
    let mut client = Client::connect(&fake).await;
    client.ask("agent", delivery("a")).await;
    let b = client.ask("agent", delivery("b")).await;
    assert_eq!(client.answer(&b).await.unwrap()["status"], "accepted");
    assert!(fake.until(SOON, |f| f.commits("b") == 1 && f.in_flight() == 0).await);
    // An answer to something later proves that none is on its way.
    client.call("health", json!({})).await.unwrap();
    assert!(client.aside.iter().all(|f| f["type"] == "event"), "{:?}", client.aside);
    assert_eq!(fake.commits("a"), 0);
}

#[tokio::test]
async fn a_commit_can_go_unannounced_and_a_final_come_twice() {
    let fake = fake().await;
    fake.rule(Rule::on("agent").then(Fault::NoCommitEvent).then(Fault::DuplicateFinal));
    let mut client = Client::connect(&fake).await;
    client.call("sessions.messages.subscribe", json!({"key": S})).await.unwrap();
    let id = client.ask("agent", delivery("k")).await;
    client.answer(&id).await.unwrap();
    assert_eq!(client.answer(&id).await, client.answer(&id).await);
    assert!(client.aside.iter().all(|f| f["event"] != "session.message"));
    assert_eq!(fake.commits("k"), 1);
}

#[tokio::test]
async fn noise_comes_before_the_answer_and_changes_nothing() {
    let fake = fake().await;
    let noise = [Fault::StrayAnswer, Fault::Garbage, Fault::HugeFrame(1 << 20), Fault::PingFlood(100)];
    fake.rule(noise.into_iter().fold(Rule::on("agent"), Rule::then));
    let mut client = Client::connect(&fake).await;
    assert_eq!(client.agent(delivery("k")).await.unwrap()["status"], "ok");
    assert!(client.aside.iter().any(|f| f["id"] == "nobody-asked"));
    assert!(client.aside.iter().any(|f| f["event"] == "noise"));
}

#[tokio::test]
async fn delays_hold_back_the_act_or_the_answer() {
    let fake = fake().await;
    let wait = Duration::from_millis(60);
    fake.rule(Rule::on("sessions.describe").then(Fault::Delay(wait)));
    fake.rule(Rule::on("send").then(Fault::AnswerLate(wait)));
    let mut client = Client::connect(&fake).await;
    let before = std::time::Instant::now();
    client.describe(S).await;
    assert!(before.elapsed() >= wait);
    let id = client.ask("send", json!({"to": TO, "message": "m", "idempotencyKey": "m"})).await;
    assert!(fake.until(SOON, |f| said(f).len() == 1).await, "done long before the answer");
    client.answer(&id).await.unwrap();
}

#[tokio::test]
async fn a_crash_can_be_scripted_at_the_frame_and_after_accepted() {
    for (at, state) in [(At::Frame, None), (At::Accepted, Some("interrupted"))] {
        let fake = fake().await;
        fake.rule(Rule::on("agent").then(Fault::Crash(at, Some(Duration::ZERO))));
        let mut client = Client::connect(&fake).await;
        let boot = fake.boot_id();
        let id = client.ask("agent", delivery("k")).await;
        let accepted = client.wait(|f| f["id"] == id.as_str()).await;
        assert_eq!(accepted.is_ok(), at == At::Accepted, "what was said before the crash arrives");
        assert!(fake.until(SOON, |f| f.is_up() && f.boot_id() != boot).await);
        let mut client = Client::connect(&fake).await;
        assert_eq!(state_of(&client.history(S, "k").await, "k"), state);
    }
}

#[tokio::test]
async fn a_frozen_gateway_takes_connections_and_says_nothing() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    fake.freeze(true);
    let id = client.ask("sessions.describe", json!({"key": S})).await;
    let silent = timeout(Duration::from_millis(50), client.ws.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    fake.freeze(false);
    assert_eq!(client.answer(&id).await.unwrap()["session"]["key"], S);
}

#[tokio::test]
async fn connects_can_be_refused_cut_and_left_waiting() {
    let fake = fake().await;
    let busy = errors::retryable("not now", "busy", Duration::from_millis(5));
    fake.rule(Rule::on("connect").then(Fault::Error(busy)));
    let mut client = Client::open(&fake).await.unwrap();
    let params = client.connect_params().await;
    assert_eq!(client.call("connect", params.clone()).await.unwrap_err()["retryAfterMs"], 5);
    assert_eq!(client.read().await, Got::End(1013));
    fake.rule(Rule::on("connect").then(Fault::Drop(At::Frame)));
    let mut client = Client::open(&fake).await.unwrap();
    client.connect_params().await;
    client.ask("connect", params).await;
    assert_eq!(client.read().await, Got::End(1006));
    // And from outside: every connection at once.
    let mut a = Client::connect(&fake).await;
    let mut b = Client::connect(&fake).await;
    assert_eq!((fake.connections(), fake.connected()), (4, 2));
    fake.close_connections(1012, "service restart");
    assert_eq!((a.read().await, b.read().await), (Got::End(1012), Got::End(1012)));
    let mut c = Client::connect(&fake).await;
    fake.cut_connections();
    assert_eq!(c.read().await, Got::End(1006));
}
