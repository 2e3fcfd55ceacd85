//! The verbs that are done at once, and the way of every request: script, scope, shape, work, answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use super::conn::{Conn, Out};
use super::options::Phase;
use super::params::{admit, canonical};
use super::script::{At, Fault, Plan};
use super::server::{Shared, State};
use super::views::{Ask, row_json};
use super::world::{Marks, Role, Row};
use super::{errors, outbox, turns};

/// One request on its way.
pub(super) struct Call {
    pub shared: Arc<Shared>,
    pub conn: Conn,
    pub params: Value,
    pub plan: Plan,
    id: String,
    method: String,
    muted: AtomicBool,
    begun: AtomicBool,
}

impl Call {
    pub(super) fn new(
        shared: Arc<Shared>,
        conn: Conn,
        id: &str,
        method: &str,
        params: Value,
        plan: Plan,
    ) -> Self {
        let (muted, begun) = (AtomicBool::new(false), AtomicBool::new(false));
        Call { shared, conn, params, plan, id: id.into(), method: method.into(), muted, begun }
    }

    /// A parameter that is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.params.get(name).and_then(Value::as_str)
    }

    /// A parameter that is true.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.params.get(name).and_then(Value::as_bool) == Some(true)
    }

    /// Applies the faults for this point. `false`: nothing more may be done.
    pub(super) async fn at(&self, at: At) -> bool {
        let mut goes_on = true;
        for fault in &self.plan.faults {
            match fault {
                Fault::Drop(point) if *point == at => {
                    self.muted.store(true, Ordering::Relaxed);
                    self.conn.out(Out::Cut);
                    goes_on = at != At::Frame;
                }
                Fault::Mute(point) if *point == at => {
                    self.muted.store(true, Ordering::Relaxed);
                    goes_on = at != At::Frame;
                }
                Fault::Crash(point, restart) if *point == at => {
                    self.conn.flush().await;
                    self.shared.crash(*restart);
                    // The kill ends this task.
                    std::future::pending::<()>().await;
                }
                _ => {}
            }
        }
        goes_on
    }

    /// The first of two answers.
    pub(super) async fn accepted(&self, payload: Value) {
        self.say(Ok(payload)).await;
    }

    /// The last or only answer.
    pub(super) async fn answer(&self, result: Result<Value, Value>) {
        let broken = self.plan.find(|f| match f {
            Fault::FinalError(error) => Some(error.clone()),
            _ => None,
        });
        let result = broken.map_or(result, Err);
        self.say(result.clone()).await;
        if self.plan.has(&Fault::DuplicateFinal) {
            self.say(result).await;
        }
    }

    async fn say(&self, result: Result<Value, Value>) {
        let late = self.plan.find(|f| match f {
            Fault::AnswerLate(time) => Some(*time),
            _ => None,
        });
        if let Some(time) = late {
            sleep(time).await;
        }
        if self.muted.load(Ordering::Relaxed) {
            return;
        }
        if !self.begun.swap(true, Ordering::Relaxed) {
            self.noise();
        }
        self.conn.out(Out::Frame(match result {
            Ok(payload) => json!({"type": "res", "id": self.id, "ok": true, "payload": payload}),
            Err(error) => json!({"type": "res", "id": self.id, "ok": false, "error": error}),
        }));
    }

    fn noise(&self) {
        for fault in &self.plan.faults {
            match fault {
                Fault::StrayAnswer => self.conn.out(Out::Frame(
                    json!({"type": "res", "id": "nobody-asked", "ok": true, "payload": {"status": "ok"}}),
                )),
                Fault::Garbage => {
                    self.conn.out(Out::Raw(Message::text("this is no JSON")));
                    self.conn.out(Out::Raw(Message::binary(vec![0u8, 159, 146, 150])));
                    self.conn.out(Out::Frame(json!({"type": "surprise", "ok": [1, null]})));
                    self.conn.event("an.event.of.the.future", json!({"x": 1}));
                }
                Fault::HugeFrame(bytes) => self.conn.event("noise", json!("x".repeat(*bytes))),
                Fault::PingFlood(n) => {
                    for _ in 0..*n {
                        self.conn.out(Out::Raw(Message::Ping(vec![b'p'; 16].into())));
                    }
                }
                _ => {}
            }
        }
    }
}

pub(super) async fn dispatch(call: Call) {
    let delay = call.plan.find(|f| match f {
        Fault::Delay(time) => Some(*time),
        _ => None,
    });
    if let Some(time) = delay {
        sleep(time).await;
    }
    call.shared.thaw().await;
    if !call.at(At::Frame).await {
        return;
    }
    let scripted = call.plan.find(|f| match f {
        Fault::Error(error) => Some(error.clone()),
        _ => None,
    });
    if let Some(error) = scripted {
        return call.answer(Err(error)).await;
    }
    if let Err(error) = admit(&call.method, &call.params, &call.conn.scopes) {
        return call.answer(Err(error)).await;
    }
    match call.method.as_str() {
        "agent" => turns::agent(call).await,
        "chat.send" | "sessions.send" => turns::chat_send(call).await,
        "agent.wait" => turns::wait(call).await,
        "send" => outbox::send(call).await,
        _ => {
            let result = call.shared.with(|s| at_once(&call, s));
            call.at(At::Final).await;
            call.answer(result).await;
        }
    }
}

/// New work is refused while the gateway goes down.
pub(super) fn open(state: &State) -> Result<(), Value> {
    match state.phase {
        Phase::Draining => Err(errors::restarting()),
        Phase::Suspending => Err(errors::suspending()),
        Phase::Ready | Phase::Starting => Ok(()),
    }
}

fn at_once(call: &Call, s: &mut State) -> Result<Value, Value> {
    let now = call.shared.now_ms(s);
    let named = call.text("key").or(call.text("sessionKey"));
    let key = |s: &State| canonical(named.unwrap_or(""), &s.options.agents);
    match call.method.as_str() {
        "health" => Ok(json!({"ok": true, "ts": now})),
        "sessions.describe" => Ok(json!({"session": s.world.describe(&key(s)?)})),
        "sessions.resolve" => {
            let key = key(s)?;
            match s.world.sessions.contains_key(&key) {
                true => Ok(json!({"ok": true, "key": key})),
                false if call.flag("allowMissing") => Ok(json!({"ok": false})),
                false => Err(errors::invalid(format!("No session found: {key}"))),
            }
        }
        "sessions.list" => {
            let open = s.world.sessions.iter().filter(|(_, session)| session.archived_at.is_none());
            let rows: Vec<Value> = open.map(|(key, _)| s.world.describe(key)).collect();
            Ok(json!({"count": rows.len(), "sessions": rows}))
        }
        "sessions.search" => search(call, s),
        "sessions.messages.subscribe" => {
            let key = key(s)?;
            s.memory.subscribers.entry(key.clone()).or_default().insert(call.conn.id);
            Ok(json!({"subscribed": true, "key": key}))
        }
        "sessions.messages.unsubscribe" => {
            let key = key(s)?;
            if let Some(subscribers) = s.memory.subscribers.get_mut(&key) {
                subscribers.remove(&call.conn.id);
            }
            Ok(json!({"subscribed": false, "key": key}))
        }
        "chat.history" => history(call, s, &key(s)?),
        "sessions.create" => {
            let key = match named {
                Some(name) => canonical(name, &s.options.agents)?,
                None => format!("agent:main:dashboard:{}", uuid::Uuid::now_v7()),
            };
            let session = s.world.ensure(&key, now);
            Ok(json!({"ok": true, "key": key, "sessionId": session.session_id}))
        }
        "sessions.reset" => {
            let key = key(s)?;
            let session = s.world.ensure(&key, now);
            session.shown_from = session.rows.len();
            Ok(json!({"ok": true, "key": key}))
        }
        "sessions.delete" => {
            let key = key(s)?;
            let gone = s.world.sessions.remove(&key).is_some();
            Ok(json!({"ok": true, "key": key, "deleted": gone}))
        }
        "sessions.patch" => {
            let key = key(s)?;
            let Some(session) = s.world.sessions.get_mut(&key) else { return Err(not_found(&key)) };
            if let Some(archived) = call.params.get("archived").and_then(Value::as_bool) {
                session.archived_at = archived.then_some(now);
            }
            if let Some(policy) = call.params.get("sendPolicy") {
                session.deny = policy == "deny";
            }
            Ok(json!({"ok": true, "key": key}))
        }
        "chat.inject" => {
            let key = key(s)?;
            if !s.world.sessions.contains_key(&key) {
                return Err(not_found(&key));
            }
            let text = call.text("message").unwrap_or_default();
            let marks = Marks { model: Some("gateway-injected"), ..Marks::default() };
            let row = s.world.append(&key, Role::Assistant, text, marks, now);
            Ok(json!({"ok": true, "messageId": row.id}))
        }
        "wake" | "system-event" => {
            let text = call.text("text").unwrap_or_default();
            let key = key(s)?;
            if call.method == "wake" {
                s.world.ensure(&key, now);
            }
            s.memory.wake(&key, text);
            Ok(json!({"ok": true}))
        }
        other => Err(errors::invalid(format!("unknown method: {other}"))),
    }
}

pub(super) fn not_found(key: &str) -> Value {
    errors::invalid(format!("session not found: {key}"))
}

fn search(call: &Call, s: &State) -> Result<Value, Value> {
    let keys = call.params.get("sessionKeys").and_then(Value::as_array);
    let keys: Vec<&str> = keys.into_iter().flatten().filter_map(Value::as_str).collect();
    if keys.is_empty() || call.params.get("agentId").is_some() {
        return Err(errors::invalid("sessions.search requires sessionKeys"));
    }
    let limit = call.params.get("limit").map_or(Some(10), Value::as_u64);
    let Some(limit @ 1..=25) = limit else {
        return Err(errors::invalid("invalid sessions.search params: at /limit: must be <= 25"));
    };
    let query = call.text("query").unwrap_or_default();
    let keys: Vec<String> = keys.iter().filter_map(|k| canonical(k, &s.options.agents).ok()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    Ok(s.world.search(query, &keys, limit as usize))
}

fn history(call: &Call, s: &State, key: &str) -> Result<Value, Value> {
    let number = |name: &str, default: u64, max: u64| match call.params.get(name) {
        None => Ok(default),
        Some(value) => value.as_u64().filter(|n| (1..=max).contains(n)).ok_or_else(|| {
            errors::invalid(format!("invalid chat.history params: at /{name}: must be 1 to {max}"))
        }),
    };
    let limit = number("limit", 200, 1000)?;
    let max_chars = match call.params.get("maxChars") {
        None => None,
        Some(_) => Some(number("maxChars", 8000, 500_000)? as usize),
    };
    let ids = call.params.get("inputRunIds").and_then(Value::as_array);
    let ids: Vec<&str> = ids.into_iter().flatten().filter_map(Value::as_str).collect();
    let pending_before = call.params.get("pendingBefore").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let ask = Ask { limit: limit as usize, max_chars, run_ids: &ids, pending_before };
    Ok(s.world.history(key, &ask))
}

/// Tells those who subscribed that a row is in the transcript.
pub(super) fn announce(s: &State, key: &str, row: &Row) {
    let message = row_json(row, None).unwrap_or(Value::Null);
    let payload = json!({"sessionKey": key, "message": message, "messageId": row.id, "messageSeq": row.seq,
        "session": s.world.describe(key)});
    for id in s.memory.subscribers.get(key).into_iter().flatten() {
        if let Some(conn) = s.memory.conns.get(id) {
            conn.event("session.message", payload.clone());
        }
    }
}

/// How long a method that waits may wait.
pub(super) fn wait_limit(call: &Call) -> Duration {
    Duration::from_millis(call.params.get("timeoutMs").and_then(Value::as_u64).unwrap_or(30_000))
}
