use super::*;
use std::cell::RefCell;

fn concluded(answer: Value, committed: bool, routable: bool) -> (Result<Reply, Kind>, Vec<Evidence>) {
    let rungs = RefCell::new(Vec::new());
    let reply = conclude(&answer, committed, routable, &|rung| rungs.borrow_mut().push(rung));
    (reply.map_err(|trouble| trouble.kind), rungs.into_inner())
}

fn ok(status: Value) -> Value {
    json!({"runId": "K", "status": "ok", "summary": "completed", "result": {"payloads": [], "deliveryStatus": status}})
}

#[test]
fn each_final_answer_proves_what_it_proves() {
    use Evidence::{Committed, Replied, Sent};
    let sent = json!({"requested": true, "attempted": true, "status": "sent", "succeeded": true});
    assert_eq!(concluded(ok(sent.clone()), false, true), (Ok(Reply::Sent), vec![Committed, Replied, Sent]));
    assert_eq!(concluded(ok(sent), true, true), (Ok(Reply::Sent), vec![Replied, Sent]));

    let silent = json!({"status": "suppressed", "reason": "no_visible_payload", "succeeded": true});
    assert_eq!(concluded(ok(silent), true, true).0, Ok(Reply::Silent));

    for reason in ["invalid_delivery_target", "channel_resolved_to_internal", "unknown_channel"] {
        let nowhere = json!({"requested": true, "attempted": false, "status": "failed", "succeeded": false,
            "error": true, "reason": reason});
        assert_eq!(concluded(ok(nowhere), true, true), (Ok(Reply::Internal), vec![Replied]), "{reason}");
    }

    let lost =
        json!({"attempted": true, "status": "failed", "reason": "platform_send", "errorMessage": "blocked"});
    let (Ok(Reply::Failed(why)), _) = concluded(ok(lost), true, true) else {
        panic!("a lost reply is failed")
    };
    assert!(why.contains("blocked"), "{why}");
}

#[test]
fn without_a_status_the_route_decides() {
    let answer = json!({"status": "ok", "result": {}});
    assert_eq!(concluded(answer.clone(), true, true).0, Ok(Reply::Replied));
    assert_eq!(concluded(answer, true, false).0, Ok(Reply::Internal));
}

#[test]
fn an_end_that_is_not_ok_proves_nothing_unless_the_row_was_seen() {
    for answer in [
        json!({"status": "error", "summary": "failed"}),
        json!({"status": "timeout", "summary": "aborted", "stopReason": "rpc"}),
        json!({}),
        json!(null),
    ] {
        assert_eq!(concluded(answer.clone(), false, true), (Err(Kind::Doubt), vec![]), "{answer}");
        assert!(matches!(concluded(answer, true, true).0, Ok(Reply::Failed(_))));
    }
    assert_eq!(concluded(json!({"status": "in_flight"}), false, true), (Err(Kind::Doubt), vec![]));
}

#[test]
fn a_topic_is_part_of_a_telegram_recipient_only() {
    let route = |channel: &str, to: &str, thread: Option<&str>| Route {
        channel: channel.into(),
        to: to.into(),
        account_id: None,
        thread_id: thread.map(Into::into),
    };
    assert_eq!(reply_to(&route("telegram", "telegram:-100", Some("42"))), "telegram:-100:topic:42");
    assert_eq!(reply_to(&route("telegram", "telegram:-100:topic:42", Some("42"))), "telegram:-100:topic:42");
    assert_eq!(reply_to(&route("telegram", "telegram:1", None)), "telegram:1");
    assert_eq!(reply_to(&route("slack", "C1", Some("17.5"))), "C1");
}

#[test]
fn a_message_has_text_threads_and_no_empty_members() {
    let delivery = Delivery {
        key: "K".into(),
        former_keys: vec![],
        session_key: "S".into(),
        text: "[x]".into(),
        mode: crate::receiver::Mode::Message,
        route: None,
        traceparent: None,
    };
    let mut route = Route { channel: "telegram".into(), to: "telegram:1".into(), ..Route::default() };
    assert_eq!(
        message_params(&delivery, &route),
        json!({"channel": "telegram", "to": "telegram:1", "sessionKey": "S", "message": "[x]", "idempotencyKey": "K"})
    );
    route.thread_id = Some("42".into());
    route.account_id = Some("default".into());
    let params = message_params(&delivery, &route);
    assert_eq!((&params["threadId"], &params["accountId"]), (&json!("42"), &json!("default")));
}
