//! What a dead gateway takes with it, and what it finds again.

use super::super::{At, FakeThread, Fault, Phase, Role, Rule};
use super::*;

/// Accepted, not committed, and then the gateway is killed.
async fn killed_before_the_commit(fake: &Fake, key: &str) {
    fake.rule(Rule::on("agent").key(key).then(Fault::CommitAfter(SOON)));
    let mut client = Client::connect(fake).await;
    let id = client.ask("agent", delivery(key)).await;
    client.answer(&id).await.unwrap();
    assert_eq!(state_of(&client.history(S, key).await, key), Some("queued"));
    fake.kill().await;
    assert_eq!(client.read().await, Got::End(1006), "cut, not closed");
    assert!(Client::open(fake).await.is_err(), "nobody listens");
    fake.restart().await.unwrap();
}

#[tokio::test]
async fn an_accepted_turn_is_not_run_after_a_kill_and_its_key_is_burnt() {
    let fake = fake().await;
    killed_before_the_commit(&fake, "k").await;
    let mut client = Client::connect(&fake).await;
    let history = client.history(S, "k").await;
    assert_eq!(state_of(&history, "k"), Some("interrupted"));
    assert!(!has_key(&history, "k:user"));
    assert_eq!(client.found(S, "k").await, 0);
    let error = client.agent(delivery("k")).await.unwrap_err();
    assert_eq!(error["message"], "Pending input ownership ended; submit a new turn to continue");
    assert!(error.get("retryable").is_none());
    let mut other = delivery("k");
    other["message"] = json!("[job k] other words");
    let error = client.agent(other).await.unwrap_err();
    assert_eq!(error["message"], "Pending input idempotency key conflicts with the accepted input");
    assert_eq!(client.agent(delivery("k~2")).await.unwrap()["status"], "ok");
    assert_eq!((fake.commits("k"), fake.commits("k~2")), (0, 1));
    assert_eq!(state_of(&client.history(S, "k").await, "k"), Some("interrupted"), "listed for good");
    // The index finds the longer key when asked for the shorter one: a hit must be read, not counted.
    assert!(client.found(S, "k").await >= 1);
}

#[tokio::test]
async fn the_first_chat_send_to_a_new_session_is_lost_without_a_trace() {
    let fake = fake().await;
    let new = "agent:main:new";
    for session in [S, new] {
        let key = format!("c:{session}");
        fake.rule(Rule::on("chat.send").then(Fault::CommitAfter(SOON)));
        let mut client = Client::connect(&fake).await;
        client
            .call("chat.send", json!({"sessionKey": session, "message": "m", "idempotencyKey": key}))
            .await
            .unwrap();
    }
    fake.restart().await.unwrap();
    assert_eq!(fake.pending(S).len(), 1);
    assert!(fake.pending(new).is_empty());
}

#[tokio::test]
async fn a_committed_turn_goes_on_after_a_kill_and_a_resend_fails_loudly() {
    let fake = fake().await;
    fake.rule(Rule::on("agent").key("k").then(Fault::Crash(At::Committed, Some(Duration::ZERO))));
    let mut client = Client::connect(&fake).await;
    let id = client.ask("agent", delivery("k")).await;
    client.answer(&id).await.unwrap();
    assert_eq!(client.wait(|f| f["type"] == "res").await, Err(1006), "no final");
    assert!(fake.until(SOON, |f| said(f).len() == 2).await, "resumed by itself");
    assert!(said(&fake)[0].starts_with("I'm continuing your interrupted request"));
    assert_eq!(said(&fake)[1], "echo: [job k] done");
    let mut client = Client::connect(&fake).await;
    let history = client.history(S, "k").await;
    assert!(has_key(&history, "k:user"));
    assert_eq!(state_of(&history, "k"), None);
    let wait = json!({"runId": "k", "timeoutMs": 1});
    assert_eq!(client.call("agent.wait", wait).await.unwrap()["status"], "timeout", "forgotten");
    let again = client.agent(delivery("k")).await.unwrap();
    assert_eq!(again["status"], "error");
    assert_eq!((fake.commits("k"), said(&fake).last().unwrap().as_str()), (1, "Agent run failed"));
}

#[tokio::test]
async fn without_resuming_a_committed_turn_stays_unanswered() {
    let fake = fake_with(|o| o.resume = false).await;
    fake.rule(Rule::on("agent").key("k").then(Fault::Crash(At::Committed, Some(Duration::ZERO))));
    let mut client = Client::connect(&fake).await;
    client.ask("agent", delivery("k")).await;
    assert!(fake.until(SOON, |f| f.commits("k") == 1 && !f.is_up()).await);
    assert!(fake.until(SOON, Fake::is_up).await);
    let mut client = Client::connect(&fake).await;
    client.agent(delivery("later")).await.unwrap();
    assert_eq!(said(&fake), ["echo: [job later] done"]);
    assert!(has_key(&client.history(S, "k").await, "k:user"));
}

#[tokio::test]
async fn a_reply_that_was_told_but_not_written_down_may_come_twice() {
    let fake = fake().await;
    fake.rule(Rule::on("agent").key("k").then(Fault::Crash(At::Told, Some(Duration::ZERO))));
    let mut client = Client::connect(&fake).await;
    client.ask("agent", delivery("k")).await;
    assert!(fake.until(SOON, |f| said(f).len() == 3).await);
    assert_eq!(said(&fake)[0], said(&fake)[2]);
    assert_eq!(fake.commits("k"), 1);
}

#[tokio::test]
async fn a_message_is_doubled_by_a_restart_and_not_before() {
    let fake = fake().await;
    let letter = json!({"channel": "telegram", "to": TO, "sessionKey": S, "message": "[job] hello",
        "idempotencyKey": "m"});
    let mut client = Client::connect(&fake).await;
    let first = client.call("send", letter.clone()).await.unwrap();
    assert_eq!(client.call("send", letter.clone()).await.unwrap(), first);
    assert_eq!(said(&fake).len(), 1);
    fake.restart().await.unwrap();
    let mut client = Client::connect(&fake).await;
    assert!(has_key(&client.history(S, "m").await, "m"), "the mirror row survives");
    client.call("send", letter).await.unwrap();
    assert_eq!(said(&fake).len(), 2);
}

#[tokio::test]
async fn the_window_between_the_platform_and_the_mirror_row() {
    let fake = fake().await;
    fake.rule(Rule::on("send").then(Fault::Crash(At::Told, Some(Duration::ZERO))));
    let mut client = Client::connect(&fake).await;
    client.ask("send", json!({"to": TO, "sessionKey": S, "message": "m", "idempotencyKey": "m"})).await;
    assert_eq!(client.read().await, Got::End(1006));
    assert!(fake.until(SOON, Fake::is_up).await);
    let mut client = Client::connect(&fake).await;
    assert_eq!(said(&fake), ["m"]);
    assert!(!has_key(&client.history(S, "m").await, "m"), "told, and no trace of it");
}

#[tokio::test]
async fn a_stop_lets_running_turns_answer_and_burns_waiting_ones() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    let slow = Fault::TurnLasts(Duration::from_millis(150));
    fake.rule(Rule::on("agent").key("runs").then(slow));
    let runs = client.ask("agent", delivery("runs")).await;
    client.answer(&runs).await.unwrap();
    assert!(fake.until(SOON, |f| f.commits("runs") == 1).await);
    let waits = client.ask("agent", delivery("waits")).await;
    client.answer(&waits).await.unwrap();
    let stopping = tokio::spawn({
        let fake = fake.clone();
        async move { fake.stop().await }
    });
    tokio::task::yield_now().await;
    let late = client.agent(delivery("late")).await.unwrap_err();
    assert_eq!((&late["retryable"], &late["retryAfterMs"]), (&json!(true), &json!(1000)));
    assert_eq!(client.answer(&runs).await.unwrap()["result"]["deliveryStatus"]["status"], "sent");
    let error = client.answer(&waits).await.unwrap_err();
    assert_eq!(error["message"], "Gateway is draining; new tasks are not accepted");
    assert!(error.get("retryable").is_none());
    assert_eq!(client.event("shutdown").await["reason"], "gateway stopping");
    assert_eq!(client.read().await, Got::End(1012));
    stopping.await.unwrap();
    fake.restart().await.unwrap();
    let mut client = Client::connect(&fake).await;
    assert_eq!(state_of(&client.history(S, "waits").await, "waits"), Some("interrupted"));
    assert_eq!(state_of(&client.history(S, "late").await, "late"), None);
    assert!(client.agent(delivery("waits")).await.is_err());
    assert_eq!(client.agent(delivery("late")).await.unwrap()["status"], "ok");
}

#[tokio::test]
async fn pending_rows_come_in_pages_of_twenty_and_receipts_do_not() {
    let fake = fake().await;
    fake.rule(Rule::on("agent").always().then(Fault::AcceptThenForget));
    let mut client = Client::connect(&fake).await;
    for i in 0..25 {
        let id = client.ask("agent", delivery(&format!("k{i}"))).await;
        client.answer(&id).await.unwrap();
    }
    fake.restart().await.unwrap();
    let mut client = Client::connect(&fake).await;
    let history = client.history(S, "k0").await;
    assert_eq!(history["pendingInputs"]["items"].as_array().unwrap().len(), 20);
    assert_eq!(history["pendingInputs"]["total"], 25);
    assert_eq!(state_of(&history, "k0"), None, "on an older page");
    assert_eq!(history["inputReceipts"], json!([{"runId": "k0", "state": "pending"}]));
    let before = &history["pendingInputs"]["nextBefore"];
    let params = json!({"sessionKey": S, "limit": 1, "pendingBefore": before});
    let older = client.call("chat.history", params).await.unwrap();
    assert_eq!(state_of(&older, "k0"), Some("interrupted"));
}

/// The same from a caller that has no runtime.
#[test]
fn the_thread_offers_the_same_controls() {
    let fake = FakeThread::start(Options::with_token("t")).unwrap();
    fake.add_chat(S, CHAT);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        Client::connect(&fake).await.agent(delivery("k")).await.unwrap();
    });
    assert_eq!(fake.transcript(S)[0].role, Role::User);
    let (boot, port) = (fake.boot_id(), fake.port());
    fake.kill();
    assert!(!fake.is_up());
    runtime.block_on(async { assert!(Client::open(&fake).await.is_err()) });
    fake.restart_as(Phase::Starting).unwrap();
    assert!(fake.is_up() && fake.port() == port && fake.boot_id() != boot);
    fake.set_phase(Phase::Ready);
    runtime.block_on(async {
        Client::connect(&fake).await.agent(delivery("k2")).await.unwrap();
    });
    assert!(fake.until(SOON, |f| said(f).len() == 2));
    fake.stop();
    assert!(!fake.is_up());
}
