//! Admission: whether a request for a turn may become one.
//!
//! The order is the measured one: a remembered key answers before anything else is looked at; then the gateway's
//! phase, the pin, the session's state, a burnt key; and only then is the input taken into custody.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::receiver::Route;

use super::memory::Seen;
use super::methods::{Call, not_found, open};
use super::params::{canonical, has_scope};
use super::server::State;
use super::world::PendingState;
use super::{errors, inspect};

/// A turn that was accepted.
pub(super) struct Turn {
    pub session: String,
    pub run_id: String,
    pub text: String,
    /// Where the reply goes; without a delivery, nowhere.
    pub deliver: bool,
    pub best_effort: bool,
    pub route: Option<Route>,
    pub provenance: Option<Value>,
    pub cached: String,
    /// `chat.send`: may be folded into a summary, and has no final answer.
    pub followup: bool,
}

pub(super) enum Admitted {
    Run(Box<Turn>),
    Answer(Result<Value, Value>),
}

/// `agent`.
pub(super) fn admit_agent(call: &Call, s: &mut State) -> Result<Admitted, Value> {
    let key = call.text("idempotencyKey").unwrap_or_default();
    let text = call.text("message").unwrap_or_default();
    if is_reset(text) && !has_scope(&call.conn.scopes, "operator.admin") {
        return Err(errors::missing_scope("operator.admin"));
    }
    for field in ["expectedExistingSessionId", "suppressPromptPersistence", "sessionEffects"] {
        if call.params.get(field).is_some() && call.conn.mode != "backend" {
            return Err(errors::invalid(format!("{field} is reserved for backend callers.")));
        }
    }
    let cached = format!("agent:{key}");
    if let Some(entry) = s.memory.dedupe.get(&cached, call.shared.now(s), &s.options) {
        return Ok(Admitted::Answer(match entry.seen {
            Seen::InFlight => Ok(json!({"runId": key, "status": "in_flight"})),
            Seen::Done(result) => result,
        }));
    }
    open(s)?;
    let session = match call.text("sessionKey") {
        Some(name) if name.trim().is_empty() => format!("agent:main:explicit:{}", Uuid::now_v7()),
        name => canonical(name.unwrap_or(""), &s.options.agents)?,
    };
    let known = s.world.sessions.get(&session);
    let pinned = call.text("expectedExistingSessionId");
    if pinned.is_some() && known.map(|k| k.session_id.as_str()) != pinned {
        return Err(errors::pin_changed(&session));
    }
    if let Some(known) = known {
        if known.archived_at.is_some() {
            return Err(errors::archived(&session));
        }
        if known.deny {
            return Err(errors::closed());
        }
    }
    custody(s, &session, key, text)?;
    let now = call.shared.now_ms(s);
    if is_reset(text) {
        let session = s.world.ensure(&session, now);
        session.shown_from = session.rows.len();
    }
    s.world.ensure(&session, now);
    keep_route(call, s, &session);
    let own = s.world.sessions.get(&session).and_then(|k| k.route.clone());
    let route = reply_route(call).or(own);
    let (deliver, best_effort) = (call.flag("deliver"), call.flag("bestEffortDeliver"));
    let main = session.ends_with(":main") && session.matches(':').count() == 2;
    if deliver && !best_effort && !main && route.is_none() {
        // The refusal leaves the session's row behind.
        return Err(match s.options.channels.first() {
            Some(_) => errors::invalid("Delivering to Telegram requires target <chatId>"),
            None => errors::invalid("Channel is required (no configured channels detected)"),
        });
    }
    let turn = Turn {
        session,
        run_id: key.into(),
        text: text.into(),
        deliver,
        best_effort,
        route,
        provenance: call.params.get("inputProvenance").cloned(),
        cached,
        followup: false,
    };
    Ok(enter(call, s, turn, true))
}

/// `chat.send` and `sessions.send`.
pub(super) fn admit_chat(call: &Call, s: &mut State) -> Result<Admitted, Value> {
    let fresh = Uuid::now_v7().to_string();
    let key = call.text("idempotencyKey").unwrap_or(&fresh);
    let text = call.text("message").unwrap_or_default();
    let (name, must_exist) = match call.text("key") {
        Some(name) => (name, true),
        None => (call.text("sessionKey").unwrap_or_default(), false),
    };
    if name.trim().is_empty() {
        return Err(errors::invalid("SESSION_MUTATION_TARGET_REQUIRED"));
    }
    if name.len() > 512 {
        return Err(errors::invalid(
            "invalid chat.send params: at /sessionKey: must NOT have more than 512 characters",
        ));
    }
    let session = canonical(name, &s.options.agents)?;
    let cached = format!("chat:{key}");
    if let Some(entry) = s.memory.dedupe.get(&cached, call.shared.now(s), &s.options) {
        if entry.session == session && entry.text != text {
            return Err(errors::chat_conflict());
        }
        let status = if entry.seen == Seen::InFlight { "in_flight" } else { "ok" };
        return Ok(Admitted::Answer(Ok(json!({"runId": key, "status": status}))));
    }
    open(s)?;
    let known = s.world.sessions.get(&session);
    match known {
        None if must_exist => return Err(not_found(&session)),
        Some(known) if known.archived_at.is_some() => return Err(errors::archived(&session)),
        Some(known) if known.deny => return Err(errors::closed()),
        _ => {}
    }
    let durable = known.is_some();
    custody(s, &session, key, text)?;
    let now = call.shared.now_ms(s);
    let route = s.world.ensure(&session, now).route.clone();
    let turn = Turn {
        session,
        run_id: key.into(),
        text: text.into(),
        deliver: call.flag("deliver"),
        best_effort: true,
        route,
        provenance: None,
        cached,
        followup: true,
    };
    Ok(enter(call, s, turn, durable))
}

/// The key of an interrupted input is burnt.
fn custody(s: &State, session: &str, key: &str, text: &str) -> Result<(), Value> {
    let rows = s.world.sessions.get(session).map(|k| k.pending.as_slice()).unwrap_or_default();
    match rows.iter().find(|p| p.run_id == key && p.state == PendingState::Interrupted) {
        Some(pending) if pending.text == text => Err(errors::ownership_ended()),
        Some(_) => Err(errors::ownership_conflict()),
        None => Ok(()),
    }
}

fn enter(call: &Call, s: &mut State, turn: Turn, durable: bool) -> Admitted {
    let (now, now_ms) = (call.shared.now(s), call.shared.now_ms(s));
    s.memory.dedupe.start(&turn.cached, &turn.session, &turn.text, now, &s.options);
    s.memory.running.insert(turn.run_id.clone(), turn.session.clone());
    inspect::enter(s, &turn.session);
    if !s.world.sessions[&turn.session].committed(&turn.run_id) {
        s.world.accept(&turn.session, &turn.run_id, &turn.text, durable, now_ms);
    }
    if turn.followup {
        let queue = s.memory.followups.entry(turn.session.clone()).or_default();
        queue.push_back(turn.run_id.clone());
        // One is the turn that runs or is about to; the cap is for those behind it.
        if queue.len() > s.options.queue_cap + 1
            && let Some(folded) = queue.remove(1)
        {
            *s.memory.overflow.entry(turn.session.clone()).or_default() += 1;
            s.world.interrupt(&turn.session, &folded);
        }
    }
    Admitted::Run(Box::new(turn))
}

/// `/new` and `/reset`, as the real one recognises them.
fn is_reset(text: &str) -> bool {
    let text = text.trim();
    let word = text.split_whitespace().next().unwrap_or_default();
    text.starts_with('/') && (word.eq_ignore_ascii_case("/new") || word.eq_ignore_ascii_case("/reset"))
}

/// `replyChannel`, `replyTo`, `replyAccountId`: this once, without touching the session.
fn reply_route(call: &Call) -> Option<Route> {
    Some(Route {
        channel: call.text("replyChannel")?.into(),
        to: call.text("replyTo")?.into(),
        account_id: call.text("replyAccountId").map(str::to_owned),
        thread_id: call.text("threadId").map(str::to_owned),
    })
}

/// `channel` and `to` stick to the session for good: a trap that callers must not step into.
fn keep_route(call: &Call, s: &mut State, session: &str) {
    let Some(channel) = call.text("channel") else { return };
    let to = call.text("to").unwrap_or_default();
    if let Some(session) = s.world.sessions.get_mut(session) {
        session.route = Some(Route { channel: channel.into(), to: to.into(), ..Route::default() });
    }
}
