//! The channels' side: `send`, replies on their way to a chat, and the gateway's own late deliveries.
//!
//! What it keeps true, as measured: `send` answers after the platform took the message and then mirrors it into
//! the session under its key; a repeat under the same key in the same life gets the remembered answer, good or
//! bad, and after a restart is sent again; what an unreachable platform did not take is queued, answered with
//! `OUTBOUND_DELIVERY_QUEUED`, and delivered when it is back; what the platform refused is answered with the same
//! code and never delivered.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::receiver::Route;

use super::memory::Seen;
use super::methods::{Call, announce, open};
use super::options::Channel;
use super::params::canonical;
use super::script::At;
use super::server::{Shared, State};
use super::world::{ChatMessage, Marks, Outbound, Role, Told};
use super::{errors, inspect};

/// What became of a message for a chat.
pub(super) enum Platform {
    /// It is in the chat, under this id.
    Took(String),
    /// Not yet; the gateway delivers it later by itself.
    Queued(String),
    /// It never will be.
    Refused(String),
}

/// Gives a message to the platform. With `mirror`, a late delivery writes the mirror row.
pub(super) async fn tell(shared: &Shared, message: ChatMessage, mirror: bool) -> Platform {
    let (channel, quick, slow) =
        shared.see(|s| (s.channel.clone(), s.options.platform_delay, s.options.unreachable_delay));
    match &channel {
        Channel::Up | Channel::Refuses(_) => sleep(quick).await,
        Channel::Slow(wait) => sleep(*wait).await,
        Channel::Unreachable => sleep(slow).await,
    }
    if !plausible(&message.route) {
        return Platform::Refused("Telegram recipient must be a numeric chat ID".into());
    }
    let name = title(&message.route.channel);
    shared.with(|s| match channel {
        Channel::Up | Channel::Slow(_) => Platform::Took(s.world.tell(message)),
        Channel::Unreachable => {
            s.world.outbound.push(Outbound { message, mirror });
            Platform::Queued(format!("{name} send failed: network request failed"))
        }
        Channel::Refuses(words) => Platform::Refused(format!("{name} send failed: {words}")),
    })
}

/// A Telegram recipient is a number or a name with an at sign; other channels take anything.
fn plausible(route: &Route) -> bool {
    if route.channel != "telegram" {
        return true;
    }
    let to = route.to.strip_prefix("telegram:").unwrap_or(&route.to);
    let chat = to.split(":topic:").next().unwrap_or(to);
    chat.starts_with('@') || chat.parse::<i64>().is_ok()
}

fn title(channel: &str) -> String {
    let mut letters = channel.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What is known of a `send` before the platform is asked.
struct Letter {
    message: ChatMessage,
    cached: String,
}

enum Start {
    Go(Letter),
    Wait,
    Answer(Result<Value, Value>),
}

pub(super) async fn send(call: Call) {
    let shared = Arc::clone(&call.shared);
    let letter = loop {
        match shared.with(|s| start(&call, s)) {
            Start::Go(letter) => break letter,
            Start::Answer(result) => return call.answer(result).await,
            Start::Wait => {
                let key = cache_key(&call);
                let busy = |s: &State| s.memory.running.contains_key(&key);
                shared.until(Duration::from_secs(600), |s| !busy(s)).await;
            }
        }
    };
    call.at(At::Accepted).await;
    call.at(At::Committed).await;
    let message = letter.message;
    let told = tell(&shared, message.clone(), true).await;
    let result = match told {
        Platform::Took(id) => {
            call.at(At::Told).await;
            sleep(shared.see(|s| s.options.mirror_delay)).await;
            shared.with(|s| mirror(&shared, s, &message));
            Ok(json!({"runId": message.key, "messageId": id, "channel": message.route.channel}))
        }
        Platform::Queued(words) | Platform::Refused(words) => Err(errors::outbound_queued(words)),
    };
    shared.with(|s| {
        let now = shared.now(s);
        s.memory.running.remove(&letter.cached);
        s.memory.dedupe.finish(&letter.cached, result.clone(), now, &s.options);
        inspect::leave(s, message.session.as_deref().unwrap_or(&message.route.to));
    });
    call.at(At::Final).await;
    call.answer(result).await;
}

fn cache_key(call: &Call) -> String {
    format!("send:{}", call.text("idempotencyKey").unwrap_or_default())
}

fn start(call: &Call, s: &mut State) -> Start {
    match letter(call, s) {
        Ok(start) => start,
        Err(error) => Start::Answer(Err(error)),
    }
}

fn letter(call: &Call, s: &mut State) -> Result<Start, Value> {
    let key = call.text("idempotencyKey").unwrap_or_default();
    let cached = cache_key(call);
    let now = call.shared.now(s);
    if let Some(entry) = s.memory.dedupe.get(&cached, now, &s.options) {
        return Ok(match entry.seen {
            Seen::InFlight => Start::Wait,
            Seen::Done(result) => Start::Answer(result),
        });
    }
    open(s)?;
    let session = match call.text("sessionKey") {
        Some(name) => Some(canonical(name, &s.options.agents)?),
        None if s.options.agents.len() > 1 => {
            return Err(errors::invalid("Multiple agents are configured; pass sessionKey or agentId"));
        }
        None => None,
    };
    let text = call.text("message").unwrap_or_default();
    if text.trim().is_empty() {
        return Err(errors::invalid("invalid send params: text or media is required"));
    }
    let channel = match (call.text("channel"), s.options.channels.as_slice()) {
        (Some(name), known) if known.iter().any(|c| c == name) => name.to_owned(),
        (Some(name), _) => return Err(errors::invalid(format!("unsupported channel: {name}"))),
        (None, [only]) => only.clone(),
        (None, []) => {
            return Err(errors::invalid("Channel is required (no configured channels detected)"));
        }
        (None, _) => return Err(errors::invalid("Channel is required when several are configured")),
    };
    let route = Route {
        channel,
        to: call.text("to").unwrap_or_default().into(),
        account_id: call.text("accountId").map(str::to_owned),
        thread_id: call.text("threadId").map(str::to_owned),
    };
    let message_id = String::new();
    let message =
        ChatMessage { message_id, route, text: text.into(), told: Told::Send, key: key.into(), session };
    let lane = message.session.clone().unwrap_or_else(|| message.route.to.clone());
    s.memory.dedupe.start(&cached, &lane, text, now, &s.options);
    s.memory.running.insert(cached.clone(), lane.clone());
    inspect::enter(s, &lane);
    Ok(Start::Go(Letter { message, cached }))
}

/// The row that says what a session's chat was told. Without the session there is nowhere to write it.
fn mirror(shared: &Shared, s: &mut State, message: &ChatMessage) {
    let Some(session) = message.session.as_deref().filter(|key| s.world.sessions.contains_key(*key)) else {
        return;
    };
    let marks = Marks { key: Some(&message.key), model: Some("delivery-mirror"), provenance: None };
    let now = shared.now_ms(s);
    let row = s.world.append(session, Role::Assistant, &message.text, marks, now);
    announce(s, session, &row);
}

/// Delivers what was queued, a while after the platform is back. Lives as long as the gateway.
pub(super) async fn pump(shared: Arc<Shared>) {
    let ready = |s: &State| matches!(s.channel, Channel::Up) && !s.world.outbound.is_empty();
    loop {
        if !shared.until(Duration::from_secs(3600), ready).await {
            continue;
        }
        sleep(shared.see(|s| s.options.redeliver_delay)).await;
        shared.thaw().await;
        shared.with(|s| {
            if !ready(s) {
                return;
            }
            for outbound in std::mem::take(&mut s.world.outbound) {
                s.world.tell(outbound.message.clone());
                if outbound.mirror {
                    mirror(&shared, s, &outbound.message);
                }
            }
        });
    }
}
