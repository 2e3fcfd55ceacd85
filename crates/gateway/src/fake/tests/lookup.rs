//! Connecting, looking and probing.

use super::*;

#[tokio::test]
async fn hello_says_what_was_measured_and_the_boot_id_changes() {
    let fake = fake().await;
    let client = Client::connect(&fake).await;
    let hello = &client.hello;
    assert_eq!((&hello["type"], &hello["protocol"]), (&json!("hello-ok"), &json!(4)));
    assert_eq!(hello["server"]["version"], "2026.9.6");
    assert_eq!(hello["auth"]["scopes"], json!(["operator.write"]));
    assert_eq!(hello["policy"]["tickIntervalMs"], 30_000);
    let port = fake.port();
    fake.restart().await.unwrap();
    let again = Client::connect(&fake).await;
    assert_eq!(fake.port(), port);
    assert_ne!(again.hello["server"]["bootId"], hello["server"]["bootId"]);
    assert_eq!(again.hello["server"]["bootId"], json!(fake.boot_id()));
}

#[tokio::test]
async fn refused_connects_are_answered_and_closed_with_their_codes() {
    let fake = fake().await;
    let cases: [(&str, Value, Value, u16); 3] = [
        ("auth", json!({"token": "wrong"}), json!("AUTH_TOKEN_MISMATCH"), 1008),
        ("maxProtocol", json!(3), json!("PROTOCOL_MISMATCH"), 1002),
        ("surprise", json!(1), Value::Null, 1008),
    ];
    for (field, value, code, close) in cases {
        let mut client = Client::open(&fake).await.unwrap();
        let mut params = client.connect_params().await;
        if field == "maxProtocol" {
            params["minProtocol"] = json!(3);
        }
        params[field] = value;
        let error = client.call("connect", params).await.unwrap_err();
        assert_eq!((&error["code"], &error["details"]["code"]), (&json!("INVALID_REQUEST"), &code));
        assert_eq!(client.read().await, Got::End(close), "{field}");
    }
    let mut rude = Client::open(&fake).await.unwrap();
    rude.connect_params().await;
    rude.ask("sessions.describe", json!({"key": S})).await;
    assert_eq!(rude.read().await, Got::End(1008), "the first request has to be connect");
    assert!(!fake.requests().iter().any(|r| r.params.to_string().contains("wrong")), "no token in the log");
}

#[tokio::test]
async fn silence_and_giants_before_connect_are_closed() {
    let fake = fake_with(|o| o.handshake_timeout = Duration::from_millis(50)).await;
    let mut silent = Client::open(&fake).await.unwrap();
    silent.connect_params().await;
    assert_eq!(silent.read().await, Got::End(1000));
    let mut giant = Client::open(&fake).await.unwrap();
    let mut params = giant.connect_params().await;
    params["userAgent"] = json!("x".repeat(70_000));
    giant.ask("connect", params).await;
    assert_eq!(giant.read().await, Got::End(1009));
}

#[tokio::test]
async fn bad_frames_do_not_end_a_connection_and_too_long_ones_do() {
    let fake = fake_with(|o| o.max_payload = 100_000).await;
    let mut client = Client::connect(&fake).await;
    client.raw(Message::text("no json")).await;
    client.raw(Message::binary(vec![1u8, 2])).await;
    client.raw(Message::text(r#"{"type":"req"}"#)).await;
    assert_eq!(client.answer("invalid").await.unwrap_err()["code"], "INVALID_REQUEST");
    client.raw(Message::text(r#"{"type":"req","id":"x","method":"health","extra":1}"#)).await;
    assert!(client.answer("x").await.is_err());
    client.raw(Message::text(r#"{"type":"req","id":"y","method":"health","traceparent":"00-1"}"#)).await;
    assert!(client.answer("y").await.is_ok());
    let mut params = delivery("k");
    params["message"] = json!("x".repeat(200_000));
    client.ask("agent", params).await;
    assert_eq!(client.read().await, Got::End(1009));
    assert_eq!(fake.commits("k"), 0);
}

#[tokio::test]
async fn starting_draining_and_suspending_answer_as_captured() {
    let fake = fake().await;
    fake.set_phase(super::super::Phase::Starting);
    let mut early = Client::open(&fake).await.unwrap();
    let params = early.connect_params().await;
    let error = early.call("connect", params).await.unwrap_err();
    assert_eq!((&error["retryable"], &error["retryAfterMs"]), (&json!(true), &json!(500)));
    assert_eq!(error["details"]["reason"], "startup-sidecars");
    assert_eq!(early.read().await, Got::End(1013));
    fake.set_phase(super::super::Phase::Ready);
    let mut client = Client::connect(&fake).await;
    fake.set_phase(super::super::Phase::Suspending);
    assert_eq!(client.agent(delivery("k")).await.unwrap_err()["details"]["phase"], "prepared");
    fake.set_phase(super::super::Phase::Draining);
    let error = client.agent(delivery("k")).await.unwrap_err();
    assert_eq!(error["details"]["reason"], "gateway-restarting");
    match Client::open(&fake).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{:?}", other.map(|_| ())),
    }
    assert_eq!(fake.sessions(), [S]);
    assert!(fake.pending(S).is_empty());
}

#[tokio::test]
async fn a_reset_keeps_the_identity_hides_history_and_not_search() {
    let fake = fake().await;
    let mut admin = Client::admin(&fake).await;
    admin.agent(delivery("ob1-0190abcd")).await.unwrap();
    let before = admin.describe(S).await;
    admin.call("sessions.reset", json!({"key": S})).await.unwrap();
    assert_eq!(admin.describe(S).await["sessionId"], before["sessionId"]);
    assert!(!has_key(&admin.history(S, "ob1-0190abcd").await, "ob1-0190abcd:user"));
    fake.restart().await.unwrap();
    let mut client = Client::connect(&fake).await;
    assert!(client.found(S, "ob1-0190abcd").await >= 1, "search survives a reset and a restart");
    assert_eq!(client.found(S, "ob1-0190abce").await, 0);
    assert!(client.call("sessions.search", json!({"query": "x"})).await.is_err());
    let by_agent = json!({"query": "x", "agentId": "main"});
    assert_eq!(client.call("sessions.search", by_agent).await.unwrap_err()["code"], "INVALID_REQUEST");
    // Deleted: gone for all.
    fake.delete(S);
    assert_eq!(client.describe(S).await, Value::Null);
    assert_eq!(
        client.call("sessions.resolve", json!({"key": S, "allowMissing": true})).await.unwrap()["ok"],
        false
    );
    assert!(client.call("sessions.resolve", json!({"key": S})).await.is_err());
}

#[tokio::test]
async fn the_probe_is_only_as_deep_as_its_limit() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    client.agent(delivery("k")).await.unwrap();
    fake.chatter(S, 200);
    let at = |limit: u64| json!({"sessionKey": S, "limit": limit, "inputRunIds": ["k"]});
    let short = client.call("chat.history", at(60)).await.unwrap();
    assert!(!has_key(&short, "k:user"));
    assert_eq!(short["inputReceipts"], json!([]), "no receipt for what is committed");
    assert!(has_key(&client.call("chat.history", at(1000)).await.unwrap(), "k:user"));
    assert!(client.call("chat.history", at(1001)).await.is_err());
}

#[tokio::test]
async fn notes_need_admin_and_wakes_are_forgotten() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    let note = json!({"sessionKey": S, "message": "note"});
    assert_eq!(
        client.call("chat.inject", note.clone()).await.unwrap_err()["details"]["code"],
        "MISSING_SCOPE"
    );
    let wake = json!({"mode": "now", "text": "t", "sessionKey": "agent:main:woken"});
    assert_eq!(client.call("wake", wake).await.unwrap(), json!({"ok": true}));
    assert_eq!(fake.wakes("agent:main:woken"), ["t"]);
    assert!(fake.sessions().contains(&"agent:main:woken".to_owned()), "and makes the session");
    let mut admin = Client::admin(&fake).await;
    admin.call("chat.inject", note).await.unwrap();
    fake.restart().await.unwrap();
    assert!(fake.wakes("agent:main:woken").is_empty());
    assert_eq!(fake.transcript(S).len(), 1);
}
