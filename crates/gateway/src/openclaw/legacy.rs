//! Protocol 3 (2026.3.13 and its contemporaries): the same verbs with much less to go by.
//!
//! Such a gateway cannot describe a session, cannot pin a send, tells of no committed rows, keeps no key with a
//! row, forgets a reset session's rows and has no search. What is left: `sessions.resolve` and `sessions.list`
//! say whether a session is there and where its replies go, and a row whose text names the key proves the commit.
//! Its final answer says `ok` of a turn whose model call failed, so the final is only the signal to read the
//! history, and the history decides.
//!
//! What can double here and not on current gateways: a delivery that was committed just before the session was
//! reset and whose final answer was lost.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::probe::{History, history, keys};
use super::{OpenClaw, look, send, unreadable};
use crate::classify;
use crate::client::{CallError, Step};
use crate::frame::payload;
use crate::receiver::{Delivery, Evidence, Kind, Look, Probe, Reply, Session, Trouble};

/// The strongest evidence such a gateway gives for a turn: it ended, and with an answer.
pub(super) const BEST_EVIDENCE: Evidence = Evidence::Replied;
/// How often the history is read when only the commit is waited for.
const POLL: Duration = Duration::from_secs(2);

pub(super) async fn look(gateway: &OpenClaw, session_key: &str) -> Result<Look, Trouble> {
    const RESOLVE: &str = "sessions.resolve";
    let resolved = match gateway.try_ask(RESOLVE, json!({"key": session_key})).await {
        Err(CallError::Fault(fault)) if fault.message.starts_with("No session found") => {
            return Ok(Look::Missing);
        }
        other => other.map_err(|error| classify::call(RESOLVE, error, true))?,
    };
    let resolved = payload::<Value>(&resolved).ok_or_else(|| unreadable(RESOLVE))?;
    let key = resolved.get("key").and_then(Value::as_str).ok_or_else(|| unreadable(RESOLVE))?;

    const LIST: &str = "sessions.list";
    let list = json!({"search": key, "includeGlobal": true, "includeUnknown": true});
    let list = gateway.ask(LIST, list).await?;
    let list = payload::<Value>(&list).ok_or_else(|| unreadable(LIST))?;
    let rows = list.get("sessions").and_then(Value::as_array).ok_or_else(|| unreadable(LIST))?;
    match rows.iter().find(|row| row.get("key").and_then(Value::as_str) == Some(key)) {
        // Deleted between the two questions, or not listed: asking again tells.
        None => Err(Trouble::new(
            Kind::Session,
            "the gateway knows the session and does not list it; asking again",
        )),
        Some(row) if row.get("sendPolicy").and_then(Value::as_str) == Some("deny") => Ok(Look::Closed),
        Some(row) => {
            Ok(Look::Open(Session { pin: None, route: row.get("deliveryContext").and_then(look::route) }))
        }
    }
}

pub(super) async fn turn(
    gateway: &OpenClaw,
    delivery: &Delivery,
    session: &Session,
    until: Evidence,
    seen: &dyn Fn(Evidence),
) -> Result<Reply, Trouble> {
    let deadlines = &gateway.link.deadlines;
    let routable = delivery.route.is_some() || session.route.is_some();
    let mut exchange = gateway
        .client
        .two_steps("agent", params(delivery, routable), None, deadlines.turn)
        .await
        .map_err(|error| classify::call("agent", error, false))?;
    let mut accepted = false;
    let mut next_poll = Instant::now() + POLL;
    loop {
        tokio::select! {
            step = exchange.next() => match step {
                Ok(Step::Accepted) => {
                    accepted = true;
                    seen(Evidence::Accepted);
                }
                Ok(Step::Final(raw)) => {
                    let status = payload::<Value>(&raw).unwrap_or_default();
                    return conclude(gateway, delivery, &status, routable, seen).await;
                }
                Err(error) => return Err(classify::call("agent", error, false)),
            },
            () = tokio::time::sleep_until(next_poll), if accepted && until <= Evidence::Committed => {
                if committed(&read(gateway, delivery).await?, delivery).is_some() {
                    seen(Evidence::Committed);
                    return Ok(if routable { Reply::Pending } else { Reply::Internal });
                }
                next_poll = Instant::now() + POLL;
            }
        }
    }
}

fn params(delivery: &Delivery, routable: bool) -> Value {
    let mut params = Map::new();
    params.insert("sessionKey".into(), delivery.session_key.clone().into());
    params.insert("message".into(), delivery.text.clone().into());
    params.insert("idempotencyKey".into(), delivery.key.clone().into());
    // Without a channel `deliver` is refused here, even as best effort.
    params.insert("deliver".into(), routable.into());
    params.insert("bestEffortDeliver".into(), true.into());
    params.insert("inputProvenance".into(), json!({"kind": "inter_session", "sourceTool": send::SOURCE}));
    if let Some(route) = &delivery.route {
        params.extend(send::reply_route(route));
    }
    Value::Object(params)
}

/// The final is there: the history says what it is worth.
async fn conclude(
    gateway: &OpenClaw,
    delivery: &Delivery,
    answer: &Value,
    routable: bool,
    seen: &dyn Fn(Evidence),
) -> Result<Reply, Trouble> {
    let status = answer.get("status").and_then(Value::as_str).unwrap_or("");
    let history = read(gateway, delivery).await?;
    let Some(reply) = committed(&history, delivery) else {
        let why = format!("the turn ended as {status:?} and its text is not in the transcript");
        return Err(Trouble::new(Kind::Doubt, why));
    };
    seen(Evidence::Committed);
    if reply == Reply::Replied {
        seen(Evidence::Replied);
    }
    Ok(if reply == Reply::Replied && !routable { Reply::Internal } else { reply })
}

async fn read(gateway: &OpenClaw, delivery: &Delivery) -> Result<History, Trouble> {
    let history = history(gateway, &delivery.session_key, &[]).await;
    history.map_err(|trouble| Trouble { kind: Kind::Doubt, ..trouble })
}

/// What became of a turn that is in the transcript, under any of its keys.
fn committed(history: &History, delivery: &Delivery) -> Option<Reply> {
    let key = keys(delivery).into_iter().find(|key| history.committed(key))?;
    Some(history.outcome(key).unwrap_or(Reply::Pending))
}

pub(super) async fn probe(gateway: &OpenClaw, delivery: &Delivery) -> Result<Probe, Trouble> {
    let history = history(gateway, &delivery.session_key, &[]).await?;
    // Not there: lost with a restart, or still waiting in this boot, where sending it again changes nothing.
    Ok(committed(&history, delivery).map_or(Probe::Absent, Probe::Committed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(key: &str) -> Delivery {
        Delivery {
            key: key.into(),
            former_keys: vec!["old-1".into()],
            session_key: "agent:main:main".into(),
            text: format!("[job {key}] x"),
            mode: crate::receiver::Mode::Turn,
            route: None,
            traceparent: None,
        }
    }

    // As read from 2026.3.13.
    fn transcript() -> History {
        let answer = json!({"messages": [
            {"role": "user", "content": [{"type": "text", "text": "[job old-2] x"}],
             "provenance": {"kind": "inter_session", "sourceTool": "spool"}},
            {"role": "assistant", "content": [{"type": "text", "text": "reply ok"}], "stopReason": "stop"},
            {"role": "user", "content": [{"type": "text", "text": "[job old-3] x FAIL400"}]},
            {"role": "assistant", "content": [], "stopReason": "error", "errorMessage": "400 boom"},
            {"role": "user", "content": [{"type": "text", "text": "[job old-4] x"}]},
        ]});
        History::read(&serde_json::value::to_raw_value(&answer).unwrap()).unwrap()
    }

    #[test]
    fn the_text_proves_the_commit_and_the_rows_after_it_the_turn() {
        let history = transcript();
        let became = |key: &str| committed(&history, &delivery(key));
        assert_eq!(became("old-2"), Some(Reply::Replied));
        assert!(matches!(became("old-3"), Some(Reply::Failed(_))), "its final said ok");
        assert_eq!(became("old-4"), Some(Reply::Pending));
        assert_eq!(became("old-5"), None);
    }

    #[test]
    fn delivery_is_asked_for_only_with_a_route() {
        assert_eq!(params(&delivery("K"), false)["deliver"], false);
        assert_eq!(params(&delivery("K"), true)["deliver"], true);
    }
}
