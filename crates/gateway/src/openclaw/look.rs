//! `look`: the session as the gateway has it now, by `sessions.describe`.
//!
//! Read-only: it never creates the session. An answer that cannot be understood is trouble, never "missing",
//! because a missing session costs the delivery its life.

use serde_json::{Value, json};

use super::{OpenClaw, unreadable};
use crate::frame::payload;
use crate::receiver::{Look, Route, Session, Trouble};

pub(super) async fn look(gateway: &OpenClaw, session_key: &str) -> Result<Look, Trouble> {
    let raw = gateway.ask("sessions.describe", json!({"key": session_key})).await?;
    payload::<Value>(&raw).and_then(|answer| read(&answer)).ok_or_else(|| unreadable("sessions.describe"))
}

/// Whether the session's last run ended badly, as far as the gateway knows. A turn that it has given up says nothing
/// of itself any more; its session does.
pub(super) async fn has_failed(gateway: &OpenClaw, session_key: &str) -> Result<bool, Trouble> {
    let raw = gateway.ask("sessions.describe", json!({"key": session_key})).await?;
    let answer = payload::<Value>(&raw).ok_or_else(|| unreadable("sessions.describe"))?;
    Ok(matches!(answer.pointer("/session/status").and_then(Value::as_str), Some("failed" | "killed")))
}

pub(super) fn read(answer: &Value) -> Option<Look> {
    let session = match answer.get("session")? {
        Value::Null => return Some(Look::Missing),
        Value::Object(session) => session,
        _ => return None,
    };
    if session.get("archived").and_then(Value::as_bool).unwrap_or(false) {
        return Some(Look::Archived);
    }
    if session.get("sendPolicy").and_then(Value::as_str) == Some("deny") {
        return Some(Look::Closed);
    }
    // A session without an identity exists in name only; sending unpinned could create it anew.
    let pin = session.get("sessionId").and_then(Value::as_str).filter(|pin| !pin.is_empty())?;
    Some(Look::Open(Session {
        pin: Some(pin.to_owned()),
        route: session.get("deliveryContext").and_then(route),
    }))
}

/// Where replies go. Channels that exist only inside the gateway are no route.
pub(super) fn route(context: &Value) -> Option<Route> {
    let text = |name: &str| match context.get(name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        // A thread is a number here and has to be text in a send.
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let channel =
        text("channel").filter(|channel| !matches!(channel.as_str(), "webchat" | "internal" | "last"))?;
    Some(Route { channel, to: text("to")?, account_id: text("accountId"), thread_id: text("threadId") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(pin: &str, route: Option<Route>) -> Option<Look> {
        Some(Look::Open(Session { pin: Some(pin.into()), route }))
    }

    #[test]
    fn a_direct_chat_a_topic_and_an_internal_session() {
        let dm = json!({"session": {"key": "agent:main:telegram:direct:77002", "sessionId": "s1",
            "deliveryContext": {"channel": "telegram", "to": "telegram:77002", "accountId": "default"}}});
        let route = Route {
            channel: "telegram".into(),
            to: "telegram:77002".into(),
            account_id: Some("default".into()),
            thread_id: None,
        };
        assert_eq!(read(&dm), open("s1", Some(route)));

        let topic = json!({"session": {"sessionId": "s2", "deliveryContext": {"channel": "telegram",
            "to": "telegram:-1001234567890:topic:42", "accountId": "default", "threadId": 42}}});
        let Some(Look::Open(Session { route: Some(route), .. })) = read(&topic) else { panic!("{topic}") };
        assert_eq!(route.thread_id.as_deref(), Some("42"), "a number becomes text");

        let internal = json!({"session": {"key": "agent:main:int1", "kind": "direct", "sessionId": "s3"}});
        assert_eq!(read(&internal), open("s3", None));
        for channel in ["webchat", "last", ""] {
            let inside =
                json!({"session": {"sessionId": "s", "deliveryContext": {"channel": channel, "to": "x"}}});
            assert_eq!(read(&inside), open("s", None));
        }
    }

    #[test]
    fn missing_archived_and_closed() {
        assert_eq!(read(&json!({"session": null})), Some(Look::Missing));
        let archived =
            json!({"session": {"sessionId": "s", "archived": true, "archivedAt": 1, "sendPolicy": "deny"}});
        assert_eq!(read(&archived), Some(Look::Archived));
        assert_eq!(read(&json!({"session": {"sessionId": "s", "sendPolicy": "deny"}})), Some(Look::Closed));
    }

    #[test]
    fn nonsense_is_not_missing() {
        for answer in [json!(null), json!({}), json!({"session": []}), json!({"session": {}}), json!([])] {
            assert_eq!(read(&answer), None, "{answer}");
        }
    }
}
