//! A turn from the request to the chat, and what an idempotency key is worth.

use super::super::{Fault, Rule};
use super::*;

#[tokio::test]
async fn a_turn_is_accepted_committed_announced_and_sent() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    let pin = client.describe(S).await["sessionId"].clone();
    client.call("sessions.messages.subscribe", json!({"key": S})).await.unwrap();
    let mut params = delivery("k1");
    params["expectedExistingSessionId"] = pin;
    params["inputProvenance"] = json!({"kind": "inter_session", "sourceTool": "spool"});
    let id = client.ask("agent", params).await;
    assert_eq!(client.answer(&id).await.unwrap()["status"], "accepted");
    assert_eq!(fake.commits("k1"), 0, "accepted proves nothing");
    let event = client.event("session.message").await;
    assert_eq!(event["message"]["idempotencyKey"], "k1:user");
    assert_eq!(event["message"]["provenance"]["kind"], "inter_session");
    assert_eq!(fake.commits("k1"), 1);
    let last = client.answer(&id).await.unwrap();
    assert_eq!(
        (&last["status"], &last["result"]["deliveryStatus"]["status"]),
        (&json!("ok"), &json!("sent"))
    );
    assert_eq!(said(&fake), ["echo: [job k1] done"]);
    let ended = client.call("agent.wait", json!({"runId": "k1", "timeoutMs": 0})).await.unwrap();
    assert_eq!((&ended["status"], &ended["terminalDelivery"]["status"]), (&json!("ok"), &json!("sent")));
}

#[tokio::test]
async fn a_repeat_in_the_same_boot_does_nothing_even_for_another_session() {
    let fake = fake().await;
    fake.add_session("agent:main:other", None);
    let mut client = Client::connect(&fake).await;
    let id = client.ask("agent", delivery("k")).await;
    client.answer(&id).await.unwrap();
    assert_eq!(client.agent(delivery("k")).await.unwrap()["status"], "in_flight");
    let last = client.answer(&id).await.unwrap();
    let mut other = delivery("k");
    other["sessionKey"] = json!("agent:main:other");
    other["message"] = json!("[job k] something else");
    let mut second = Client::connect(&fake).await;
    assert_eq!(second.agent(other).await.unwrap(), last, "the remembered answer");
    assert!(fake.transcript("agent:main:other").is_empty());
    assert_eq!((fake.commits("k"), said(&fake).len()), (1, 1));
}

#[tokio::test]
async fn a_key_is_forgotten_after_five_minutes_and_a_thousand_others() {
    let fake = fake_with(|o| o.dedupe_max = 3).await;
    let mut client = Client::connect(&fake).await;
    client.agent(delivery("k")).await.unwrap();
    fake.advance(Duration::from_secs(299));
    assert_eq!(client.agent(delivery("k")).await.unwrap()["status"], "ok");
    fake.advance(Duration::from_secs(1));
    // Forgotten: no second row, but a failure that the person is told.
    let again = client.agent(delivery("k")).await.unwrap();
    assert_eq!((&again["status"], &again["summary"]), (&json!("error"), &json!("failed")));
    assert_eq!((fake.commits("k"), fake.model_calls("k")), (1, 1));
    assert_eq!(said(&fake).last().unwrap(), "Agent run failed");
    assert!(has_key(&client.history(S, "k").await, "k:terminal-error"));
    for key in ["a", "b", "c"] {
        client.agent(delivery(key)).await.unwrap();
    }
    assert_eq!(client.agent(delivery("a")).await.unwrap()["status"], "ok");
    assert_eq!(client.agent(delivery("k")).await.unwrap()["status"], "error", "pruned by newer ones");
}

#[tokio::test]
async fn the_end_of_a_run_is_known_for_ten_minutes_from_any_connection() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    client.agent(delivery("k")).await.unwrap();
    let mut other = Client::connect(&fake).await;
    let wait = |run: &str| json!({"runId": run, "timeoutMs": 1});
    assert_eq!(other.call("agent.wait", wait("k")).await.unwrap()["status"], "ok");
    assert_eq!(other.call("agent.wait", wait("unknown")).await.unwrap()["status"], "timeout");
    fake.advance(Duration::from_secs(600));
    assert_eq!(other.call("agent.wait", wait("k")).await.unwrap()["status"], "timeout");
    // A run that is still going is waited for.
    client.ask("agent", delivery("k2")).await;
    assert_eq!(
        other.call("agent.wait", json!({"runId": "k2", "timeoutMs": 4000})).await.unwrap()["status"],
        "ok"
    );
}

#[tokio::test]
async fn a_session_is_made_in_silence_unless_the_send_is_pinned() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    let mut pinned = delivery("k");
    pinned["sessionKey"] = json!("agent:main:nobody");
    pinned["expectedExistingSessionId"] = json!("0190-whatever");
    let error = client.agent(pinned.clone()).await.unwrap_err();
    assert_eq!(error["code"], "UNAVAILABLE");
    assert!(error["message"].as_str().unwrap().contains("changed before expected work could start"));
    assert!(error.get("retryable").is_none());
    assert_eq!(fake.sessions(), [S]);
    pinned.as_object_mut().unwrap().remove("expectedExistingSessionId");
    assert_eq!(client.agent(pinned).await.unwrap()["status"], "ok", "the same key is still good");
    assert_eq!(fake.sessions(), [S, "agent:main:nobody"]);
    // The pin is for backends.
    let mut cli = Client::open(&fake).await.unwrap();
    let mut params = cli.connect_params().await;
    params["client"]["id"] = json!("cli");
    params["client"]["mode"] = json!("cli");
    cli.call("connect", params).await.unwrap();
    let mut pinned = delivery("k2");
    pinned["expectedExistingSessionId"] = json!("x");
    let error = cli.agent(pinned).await.unwrap_err();
    assert_eq!(error["message"], "expectedExistingSessionId is reserved for backend callers.");
}

#[tokio::test]
async fn archived_closed_and_unroutable_sessions_refuse_before_the_commit() {
    let fake = fake().await;
    fake.add_session("agent:main:int", None);
    let mut client = Client::connect(&fake).await;
    fake.archive(S, true);
    let error = client.agent(delivery("a")).await.unwrap_err();
    assert!(
        error["message"].as_str().unwrap().ends_with("is archived. Restore it before starting new work.")
    );
    assert_eq!(client.describe(S).await["archived"], true);
    fake.archive(S, false);
    fake.deny(S, true);
    assert_eq!(client.agent(delivery("a")).await.unwrap_err()["message"], "send blocked by session policy");
    assert_eq!(client.describe(S).await["sendPolicy"], "deny");
    let mut internal = delivery("i");
    internal["sessionKey"] = json!("agent:main:int");
    internal["bestEffortDeliver"] = json!(false);
    let error = client.agent(internal.clone()).await.unwrap_err();
    assert_eq!(error["message"], "Delivering to Telegram requires target <chatId>");
    internal["bestEffortDeliver"] = json!(true);
    let last = client.agent(internal).await.unwrap();
    assert_eq!(last["result"]["deliveryStatus"]["reason"], "invalid_delivery_target");
    assert_eq!((fake.commits("a"), fake.commits("i")), (0, 1));
}

#[tokio::test]
async fn one_turn_at_a_time_in_a_session_and_none_of_agent_is_lost() {
    let fake = fake_with(|o| {
        o.commit_delay = Duration::from_millis(1);
        o.turn_duration = Duration::from_millis(2);
    })
    .await;
    let mut client = Client::connect(&fake).await;
    let mut ids = Vec::new();
    for i in 0..40 {
        ids.push(client.ask("agent", delivery(&format!("k{i}"))).await);
    }
    for id in &ids {
        assert_eq!(client.answer(id).await.unwrap()["status"], "accepted");
        assert_eq!(client.answer(id).await.unwrap()["status"], "ok");
    }
    let order: Vec<String> = fake.all_commits().into_iter().map(|(_, key, _)| key).collect();
    assert_eq!(order, (0..40).map(|i| format!("k{i}")).collect::<Vec<_>>());
    assert_eq!(fake.peak().by_session[S], 40);
    assert_eq!(fake.in_flight(), 0);
}

#[tokio::test]
async fn a_burst_of_chat_send_is_acknowledged_and_mostly_folded_away() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    fake.rule(Rule::on("chat.send").then(Fault::TurnLasts(Duration::from_millis(500))));
    for i in 0..100 {
        let params = json!({"sessionKey": S, "message": format!("m{i}"), "idempotencyKey": format!("c{i}")});
        assert_eq!(client.call("chat.send", params).await.unwrap()["status"], "started");
    }
    assert!(fake.until(SOON, |f| f.in_flight() == 0).await);
    let rows = fake.transcript(S);
    let committed = rows.iter().filter(|r| r.idempotency_key.is_some()).count();
    let interrupted = fake.pending(S).len();
    assert_eq!(committed + interrupted, 100, "every one is somewhere");
    assert!((21..=30).contains(&committed), "one that ran and the twenty behind it, not {committed}");
    assert!(
        rows.iter().any(|r| r.text == format!("[Queue overflow] Dropped {interrupted} messages due to cap"))
    );
}

#[tokio::test]
async fn chat_send_notices_another_text_under_the_same_key() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    let params = |text: &str| json!({"sessionKey": S, "message": text, "idempotencyKey": "c"});
    client.call("chat.send", params("one")).await.unwrap();
    assert!(fake.until(SOON, |f| f.commits("c") == 1 && f.in_flight() == 0).await);
    assert_eq!(client.call("chat.send", params("one")).await.unwrap()["status"], "ok");
    let error = client.call("chat.send", params("two")).await.unwrap_err();
    assert_eq!(error["details"]["reason"], "chat-request-conflict");
    let mut elsewhere = params("two");
    elsewhere["sessionKey"] = json!("agent:main:new");
    assert_eq!(client.call("chat.send", elsewhere).await.unwrap()["status"], "ok", "and does nothing");
    assert_eq!(fake.sessions(), [S]);
    let missing = json!({"key": "agent:main:new", "message": "m", "idempotencyKey": "d"});
    let error = client.call("sessions.send", missing).await.unwrap_err();
    assert_eq!(error["message"], "session not found: agent:main:new");
}

#[tokio::test]
async fn slash_new_needs_admin_and_other_slashes_are_text() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    let with = |text: &str, key: &str| {
        let mut params = delivery(key);
        params["message"] = json!(text);
        params
    };
    for text in ["/new", " /NEW x", "/reset\nfoo"] {
        assert_eq!(
            client.agent(with(text, "a")).await.unwrap_err()["details"]["missingScope"],
            "operator.admin"
        );
    }
    for (i, text) in ["/newsletter", "/new:x", "/status", "[job] /new"].iter().enumerate() {
        assert_eq!(client.agent(with(text, &format!("t{i}"))).await.unwrap()["status"], "ok");
    }
    assert!(has_key(&client.history(S, "t0").await, "t0:user"));
    let mut admin = Client::admin(&fake).await;
    admin.agent(with("/new", "n")).await.unwrap();
    assert!(!has_key(&client.history(S, "t0").await, "t0:user"), "admin really resets");
}
