//! Replies and messages on their way to a chat.

use super::super::{Channel, Fault, Model, Rule, Told};
use super::*;
use crate::receiver::Route;

fn letter(key: &str) -> Value {
    json!({"channel": "telegram", "to": TO, "sessionKey": S, "message": format!("[job {key}] hello"),
        "idempotencyKey": key})
}

#[tokio::test]
async fn a_message_is_answered_after_the_platform_took_it_and_mirrored() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    client.call("sessions.messages.subscribe", json!({"key": S})).await.unwrap();
    let sent = client.call("send", letter("m")).await.unwrap();
    assert_eq!((&sent["runId"], &sent["channel"]), (&json!("m"), &json!("telegram")));
    let told = fake.chat_messages("telegram", TO);
    assert_eq!((told[0].told, &json!(told[0].message_id)), (Told::Send, &sent["messageId"]));
    let row = &fake.transcript(S)[0];
    assert_eq!((row.idempotency_key.as_deref(), row.model.as_deref()), (Some("m"), Some("delivery-mirror")));
    assert_eq!(client.event("session.message").await["message"]["idempotencyKey"], "m");
    assert_eq!(fake.model_calls("m"), 0);
    // Closed to sends or not, `send` goes through; and "/new" is text.
    fake.deny(S, true);
    let mut slash = letter("m2");
    slash["message"] = json!("/new start");
    client.call("send", slash).await.unwrap();
    assert_eq!(said(&fake).last().unwrap(), "/new start");
}

#[tokio::test]
async fn messages_that_cannot_be_meant_are_refused() {
    let fake = fake_with(|o| o.agents.push("second".into())).await;
    let mut client = Client::connect(&fake).await;
    let change = |field: &str, value: Value| {
        let mut params = letter("m");
        params[field] = value;
        params
    };
    let error = client.call("send", change("channel", json!("whatsapp"))).await.unwrap_err();
    assert_eq!(error["message"], "unsupported channel: whatsapp");
    let error = client.call("send", change("threadId", json!(42))).await.unwrap_err();
    assert!(error["message"].as_str().unwrap().ends_with("at /threadId: must be string"));
    let mut params = letter("m");
    params.as_object_mut().unwrap().remove("sessionKey");
    let error = client.call("send", params).await.unwrap_err();
    assert!(error["message"].as_str().unwrap().starts_with("Multiple agents are configured"));
    // A recipient that is no chat id looks like an outage: the trap was measured.
    let error = client.call("send", change("to", json!("someone"))).await.unwrap_err();
    assert_eq!(error["details"]["code"], "OUTBOUND_DELIVERY_QUEUED");
    assert_eq!(fake.outbound(), 0);
    assert!(fake.all_chat_messages().is_empty());
}

#[tokio::test]
async fn an_unreachable_platform_gets_it_later_from_the_gateway_itself() {
    let fake = fake().await;
    fake.set_channel(Channel::Unreachable);
    let mut client = Client::connect(&fake).await;
    let error = client.call("send", letter("m")).await.unwrap_err();
    assert_eq!(error["details"]["code"], "OUTBOUND_DELIVERY_QUEUED");
    assert!(!has_key(&client.history(S, "m").await, "m"));
    let mut strict = delivery("k");
    strict["bestEffortDeliver"] = json!(false);
    let error = client.agent(strict).await.unwrap_err();
    assert_eq!(error["code"], "UNAVAILABLE");
    assert_eq!(fake.commits("k"), 1, "a final error is not a missing commit");
    assert_eq!(fake.outbound(), 2);
    fake.restart().await.unwrap();
    assert!(said(&fake).is_empty());
    fake.set_channel(Channel::Up);
    assert!(fake.until(SOON, |f| said(f).len() == 2).await);
    let mut client = Client::connect(&fake).await;
    assert!(has_key(&client.history(S, "m").await, "m"), "the mirror row comes with it");
}

#[tokio::test]
async fn the_remembered_error_comes_back_although_the_message_arrived() {
    let fake = fake().await;
    fake.set_channel(Channel::Unreachable);
    let mut client = Client::connect(&fake).await;
    let error = client.call("send", letter("m")).await.unwrap_err();
    fake.set_channel(Channel::Up);
    assert!(fake.until(SOON, |f| said(f).len() == 1).await);
    assert_eq!(client.call("send", letter("m")).await.unwrap_err(), error);
    assert_eq!(said(&fake).len(), 1);
}

#[tokio::test]
async fn a_refusing_platform_fails_the_reply_and_never_gets_it() {
    let fake = fake().await;
    fake.set_channel(Channel::Refuses("403: Forbidden: bot was blocked by the user".into()));
    let mut client = Client::connect(&fake).await;
    let last = client.agent(delivery("k")).await.unwrap();
    let status = &last["result"]["deliveryStatus"];
    assert_eq!((&status["status"], &status["reason"]), (&json!("failed"), &json!("platform_send")));
    assert!(status["errorMessage"].as_str().unwrap().contains("bot was blocked"));
    let mut strict = delivery("k2");
    strict["bestEffortDeliver"] = json!(false);
    assert!(client.agent(strict).await.unwrap_err()["message"].as_str().unwrap().contains("blocked"));
    assert_eq!((fake.commits("k"), fake.commits("k2")), (1, 1));
    let error = client.call("send", letter("m")).await.unwrap_err();
    assert_eq!(error["details"]["code"], "OUTBOUND_DELIVERY_QUEUED");
    fake.set_channel(Channel::Up);
    client.agent(delivery("k3")).await.unwrap();
    assert_eq!(said(&fake), ["echo: [job k3] done"]);
}

#[tokio::test]
async fn a_slow_platform_is_waited_for_inside_the_call() {
    let fake = fake().await;
    fake.set_channel(Channel::Slow(Duration::from_millis(80)));
    let mut client = Client::connect(&fake).await;
    let before = std::time::Instant::now();
    client.call("send", letter("m")).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn a_silent_agent_and_a_failing_model_tell_nobody() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    fake.rule(Rule::on("agent").key("quiet").then(Fault::Model(Model::Silent)));
    let last = client.agent(delivery("quiet")).await.unwrap();
    let status = &last["result"]["deliveryStatus"];
    assert_eq!((&status["status"], &status["reason"]), (&json!("suppressed"), &json!("no_visible_payload")));
    fake.set_model(Model::Fails("LLM request failed: provider returned HTTP 500".into()));
    let error = client.agent(delivery("bad")).await.unwrap_err();
    assert_eq!(error["code"], "UNAVAILABLE");
    let history = client.history(S, "bad").await;
    assert!(has_key(&history, "bad:user") && has_key(&history, "bad:terminal-error"));
    assert!(said(&fake).is_empty());
    let wait = json!({"runId": "bad", "timeoutMs": 1});
    assert_eq!(client.call("agent.wait", wait).await.unwrap()["status"], "error");
}

#[tokio::test]
async fn the_reply_goes_to_the_last_writer_unless_it_is_told_where() {
    let fake = fake().await;
    let mut client = Client::connect(&fake).await;
    fake.add_chat(S, 77_002);
    client.agent(delivery("a")).await.unwrap();
    assert!(said(&fake).is_empty());
    let mut back = delivery("b");
    for (field, value) in [("replyChannel", "telegram"), ("replyTo", TO), ("replyAccountId", "default")] {
        back[field] = json!(value);
    }
    client.agent(back).await.unwrap();
    assert_eq!(said(&fake), ["echo: [job b] done"]);
    let context = |d: &Value| d["deliveryContext"]["to"].clone();
    assert_eq!(context(&client.describe(S).await), "telegram:77002", "the session is left as it was");
    // `channel` and `to` would stick.
    let mut sticky = delivery("c");
    sticky["channel"] = json!("last");
    let last = client.agent(sticky).await.unwrap();
    assert_eq!(last["result"]["deliveryStatus"]["reason"], "unknown_channel");
    assert_eq!(client.describe(S).await["deliveryContext"]["channel"], "last");
}

#[tokio::test]
async fn without_channels_the_main_session_is_internal() {
    let fake = fake_with(|o| o.channels.clear()).await;
    let mut client = Client::connect(&fake).await;
    let mut params = delivery("k");
    params["sessionKey"] = json!("agent:main:main");
    params["bestEffortDeliver"] = json!(false);
    let last = client.agent(params.clone()).await.unwrap();
    assert_eq!(last["result"]["deliveryStatus"]["reason"], "channel_resolved_to_internal");
    params["sessionKey"] = json!("agent:main:int2");
    params["idempotencyKey"] = json!("k2");
    let error = client.agent(params.clone()).await.unwrap_err();
    assert!(error["message"].as_str().unwrap().starts_with("Channel is required"));
    assert_eq!(fake.commits("k2"), 0);
    assert!(fake.sessions().contains(&"agent:main:int2".to_owned()), "the refusal leaves a session behind");
    params["deliver"] = json!(false);
    assert!(client.agent(params).await.unwrap()["result"].get("deliveryStatus").is_none());
}

#[tokio::test]
async fn a_forum_thread_is_a_number_to_read_and_text_to_send() {
    let fake = fake().await;
    let key = "agent:main:telegram:group:-100:topic:42";
    let to = "telegram:-100:topic:42";
    let thread_id = Some("42".to_owned());
    let route = Route { channel: "telegram".into(), to: to.into(), account_id: None, thread_id };
    fake.add_session(key, Some(route));
    let mut client = Client::connect(&fake).await;
    let seen = client.describe(key).await;
    assert_eq!((&seen["deliveryContext"]["threadId"], &seen["kind"]), (&json!(42), &json!("group")));
    let params = json!({"channel": "telegram", "to": to, "threadId": "42", "sessionKey": key, "message": "m",
        "idempotencyKey": "m"});
    client.call("send", params).await.unwrap();
    assert_eq!(fake.chat_messages("telegram", to)[0].route.thread_id.as_deref(), Some("42"));
}
