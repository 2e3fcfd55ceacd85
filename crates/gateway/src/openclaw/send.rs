//! `send`: one delivery handed over, with the evidence as it comes.
//!
//! A turn is the `agent` request with two answers. `accepted` proves nothing; the `session.message` event with our
//! key proves that the text is in the transcript; the final answer proves the turn, and its `deliveryStatus` what
//! became of the reply. An answer that is missing or negative proves nothing either way: it becomes [`Trouble`],
//! and the caller probes, unless the commit was seen before, in which case the turn failed and is said to have.
//!
//! `channel`, `to` and `threadId` are never passed with a turn: the gateway would keep them as the session's own
//! route. A reply that belongs elsewhere is named by `replyChannel`, `replyTo`, `replyAccountId`.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{OpenClaw, look, probe};
use crate::classify;
use crate::client::{CallError, Exchange, News, Step, Subscription};
use crate::frame::{one_line, payload};
use crate::receiver::{Delivery, Evidence, Kind, Look, Reply, Route, Session, Trouble};

/// How a reply with nowhere to go is called, depending on what is configured.
const NO_ROUTE: [&str; 3] = ["invalid_delivery_target", "channel_resolved_to_internal", "unknown_channel"];
/// The member that pins a turn to the session that was looked at. For clients in backend mode only.
const PIN: &str = "expectedExistingSessionId";
/// Named to the model as the origin of the text.
pub(super) const SOURCE: &str = "spool";

pub(super) async fn turn(
    gateway: &OpenClaw,
    delivery: &Delivery,
    session: &Session,
    until: Evidence,
    seen: &dyn Fn(Evidence),
) -> Result<Reply, Trouble> {
    let deadline = Instant::now() + gateway.link.deadlines.turn;
    let mut news = follow(gateway, &delivery.session_key).await?;
    let result = run(gateway, delivery, session, until, seen, deadline, &mut news).await;
    gateway.client.tell("sessions.messages.unsubscribe", json!({"key": delivery.session_key}));
    result
}

/// Subscribes to the session's rows. The gateway says under which name it will tell of them.
async fn follow(gateway: &OpenClaw, session_key: &str) -> Result<Subscription, Trouble> {
    const METHOD: &str = "sessions.messages.subscribe";
    let raw = gateway.ask(METHOD, json!({"key": session_key})).await?;
    let answer = payload::<Value>(&raw).unwrap_or_default();
    let name = answer.get("key").and_then(Value::as_str).unwrap_or(session_key);
    gateway
        .client
        .subscribe(name, gateway.link.deadlines.request)
        .await
        .map_err(|error| classify::call(METHOD, error, true))
}

async fn run(
    gateway: &OpenClaw,
    delivery: &Delivery,
    session: &Session,
    until: Evidence,
    seen: &dyn Fn(Evidence),
    deadline: Instant,
    news: &mut Subscription,
) -> Result<Reply, Trouble> {
    let routable = delivery.route.is_some() || session.route.is_some();
    let row = format!("{}:user", delivery.key);
    let mut exchange = begin(gateway, delivery, session, deadline).await?;
    let mut committed = false;
    loop {
        let fresh = tokio::select! {
            // An answer and the row may be there together: the row first, it is what a fault cannot take back.
            biased;
            news = news.next(), if !committed => match news {
                News::Row(key) => key == row,
                News::Lagged => probe::has_row(gateway, delivery).await?,
            },
            step = exchange.next() => match step {
                // Gateways before 2026.9 refuse the pin by name, before anything is done.
                Err(CallError::Fault(fault)) if fault.message.contains(&format!("'{PIN}'")) && may_pin(gateway) => {
                    gateway.link.refuses_pins.store(true, Ordering::Relaxed);
                    exchange = begin(gateway, delivery, session, deadline).await?;
                    false
                }
                Ok(Step::Accepted) => {
                    seen(Evidence::Accepted);
                    false
                }
                Ok(Step::Final(raw)) => {
                    let answer = payload::<Value>(&raw).unwrap_or_default();
                    return conclude(&answer, committed, routable, seen);
                }
                // It is in the transcript and its turn failed: known, not doubtful.
                Err(CallError::Fault(fault)) if committed => {
                    return Ok(Reply::Failed(classify::fault("agent", &fault).reason));
                }
                Err(error) => return Err(classify::call("agent", error, false)),
            },
        };
        if fresh {
            committed = true;
            seen(Evidence::Committed);
            if until <= Evidence::Committed {
                return Ok(if routable { Reply::Pending } else { Reply::Internal });
            }
        }
    }
}

/// Writes the request. Where a pin is not taken, a look takes its place: a moment before instead of at once.
async fn begin(
    gateway: &OpenClaw,
    delivery: &Delivery,
    session: &Session,
    deadline: Instant,
) -> Result<Exchange, Trouble> {
    if let (Some(pin), false) = (&session.pin, may_pin(gateway)) {
        match look::look(gateway, &delivery.session_key).await? {
            Look::Open(now) if now.pin.as_ref() == Some(pin) => {}
            _ => {
                return Err(Trouble::new(
                    Kind::Moved,
                    "the session is not the one that was looked at; looking again",
                ));
            }
        }
    }
    let patience = deadline.saturating_duration_since(Instant::now());
    let params = turn_params(gateway, delivery, session);
    gateway
        .client
        .two_steps("agent", params, delivery.traceparent.as_deref(), patience)
        .await
        .map_err(|error| classify::call("agent", error, false))
}

fn may_pin(gateway: &OpenClaw) -> bool {
    gateway.link.backend && !gateway.link.refuses_pins.load(Ordering::Relaxed)
}

fn turn_params(gateway: &OpenClaw, delivery: &Delivery, session: &Session) -> Value {
    let mut params = Map::new();
    let mut set = |name: &str, value: Value| {
        params.insert(name.to_owned(), value);
    };
    set("sessionKey", delivery.session_key.clone().into());
    set("message", delivery.text.clone().into());
    set("idempotencyKey", delivery.key.clone().into());
    set("deliver", true.into());
    // Without it a reply that cannot be sent looks like a turn that failed.
    set("bestEffortDeliver", true.into());
    set("inputProvenance", json!({"kind": "inter_session", "sourceTool": SOURCE}));
    if let (Some(pin), true) = (&session.pin, may_pin(gateway)) {
        set(PIN, pin.clone().into());
    }
    if let Some(route) = &delivery.route {
        params.extend(reply_route(route));
    }
    Value::Object(params)
}

/// The members that send a reply elsewhere without changing where the session's own replies go.
pub(super) fn reply_route(route: &Route) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("replyChannel".into(), route.channel.clone().into());
    members.insert("replyTo".into(), reply_to(route).into());
    if let Some(account) = &route.account_id {
        members.insert("replyAccountId".into(), account.clone().into());
    }
    members
}

/// A reply's recipient. There is no reply thread in the request; Telegram's recipients carry their topic.
fn reply_to(route: &Route) -> String {
    match &route.thread_id {
        Some(thread) if route.channel == "telegram" && !route.to.contains(":topic:") => {
            format!("{}:topic:{thread}", route.to)
        }
        _ => route.to.clone(),
    }
}

/// What a final answer proves.
pub(super) fn conclude(
    answer: &Value,
    committed: bool,
    routable: bool,
    seen: &dyn Fn(Evidence),
) -> Result<Reply, Trouble> {
    let status = answer.get("status").and_then(Value::as_str).unwrap_or("");
    if status != "ok" {
        let summary = answer.get("summary").and_then(Value::as_str).unwrap_or("no reason given");
        let why = format!("the turn ended as {:?}: {}", one_line(status), one_line(summary));
        return match (committed, status) {
            (_, "in_flight") => Err(Trouble::new(
                Kind::Doubt,
                "the gateway is already working on this delivery; ask it later",
            )),
            (true, _) => Ok(Reply::Failed(why)),
            (false, _) => Err(Trouble::new(Kind::Doubt, why)),
        };
    }
    if !committed {
        seen(Evidence::Committed);
    }
    seen(Evidence::Replied);
    let reply = match answer.pointer("/result/deliveryStatus") {
        Some(delivery) => delivery_status(delivery, routable),
        None if routable => Reply::Replied,
        None => Reply::Internal,
    };
    if reply == Reply::Sent {
        seen(Evidence::Sent);
    }
    Ok(reply)
}

/// Reads a `deliveryStatus` (of a final answer) or a `terminalDelivery` (of `agent.wait`).
pub(super) fn delivery_status(delivery: &Value, routable: bool) -> Reply {
    let text = |name: &str| delivery.get(name).and_then(Value::as_str).unwrap_or("");
    match text("status") {
        "sent" => Reply::Sent,
        "suppressed" => Reply::Silent,
        "failed" if NO_ROUTE.contains(&text("reason")) || !routable => Reply::Internal,
        "failed" | "partial_failed" => {
            let why = [text("errorMessage"), text("reason")].into_iter().find(|why| !why.is_empty());
            Reply::Failed(format!("the reply was not sent: {}", one_line(why.unwrap_or("no reason given"))))
        }
        _ => Reply::Replied,
    }
}

pub(super) async fn message(
    gateway: &OpenClaw,
    delivery: &Delivery,
    session: &Session,
    seen: &dyn Fn(Evidence),
) -> Result<Reply, Trouble> {
    let Some(route) = delivery.route.as_ref().or(session.route.as_ref()) else {
        return Err(Trouble::new(
            Kind::Hold,
            "the session has no channel to send a message to; name a route, or deliver it as a turn",
        ));
    };
    // The gateway would answer with the fault it remembers, or send it a second time after a restart.
    if gateway.link.outbound.since(&delivery.key).is_some() {
        return Err(Trouble::new(
            Kind::Hold,
            "the gateway took this message into its own queue and has not shown it since; it may still arrive, so a person decides whether to send it again",
        ));
    }
    let params = message_params(delivery, route);
    match gateway.client.request("send", params, gateway.link.deadlines.message).await {
        Ok(_) => {
            seen(Evidence::Committed);
            seen(Evidence::Sent);
            Ok(Reply::Sent)
        }
        Err(error) => {
            // Said in so many words. After a mere silence or a cut nothing of the kind was ever seen.
            if let CallError::Fault(fault) = &error
                && fault.detail("code") == "OUTBOUND_DELIVERY_QUEUED"
            {
                gateway.link.outbound.queued(&delivery.key);
            }
            Err(classify::call("send", error, false))
        }
    }
}

fn message_params(delivery: &Delivery, route: &Route) -> Value {
    let mut params = json!({
        "channel": route.channel,
        "to": route.to,
        // Names the agent where there are several, and mirrors the message into the transcript.
        "sessionKey": delivery.session_key,
        "message": delivery.text,
        "idempotencyKey": delivery.key,
    });
    if let Some(account) = &route.account_id {
        params["accountId"] = account.as_str().into();
    }
    if let Some(thread) = &route.thread_id {
        params["threadId"] = thread.as_str().into();
    }
    params
}

pub(super) async fn note(
    gateway: &OpenClaw,
    delivery: &Delivery,
    seen: &dyn Fn(Evidence),
) -> Result<Reply, Trouble> {
    if !gateway.link.admin {
        return Err(Trouble::new(
            Kind::Hold,
            "a note needs a connection with admin scope; configure one, or deliver it as a turn",
        ));
    }
    let params = json!({"sessionKey": delivery.session_key, "message": delivery.text, "label": SOURCE});
    gateway
        .client
        .request("chat.inject", params, gateway.link.deadlines.request)
        .await
        .map_err(|error| classify::call("chat.inject", error, false))?;
    seen(Evidence::Committed);
    Ok(Reply::Internal)
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
