//! Telegram on loopback: the part of the Bot API that a gateway uses, with people who can be made to write.
//!
//! It keeps what a person would see: for each chat the messages in order, an edited one with its last text. A
//! chat is proof that somebody was told; that no other chat has the text is proof that nobody else was. The
//! update that a person's message makes is offered until the gateway confirms it, as the real service does.
//! Shapes: core.telegram.org/bots/api (getUpdates, sendMessage, editMessageText).

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Answer, Request, serve};
use super::support::Outcome;

#[derive(Default)]
struct State {
    updates: Vec<Value>,
    next_update: i64,
    next_message: i64,
    chats: BTreeMap<i64, Vec<(i64, String)>>,
    last_poll: Option<Instant>,
    /// A message with this text in it is taken by nobody: its request is held, unanswered.
    stuck: Option<String>,
    /// How many requests were held.
    held: usize,
}

/// The longest that a stuck message is held.
const HOLD: Duration = Duration::from_secs(60);

/// The handle to a running service.
#[derive(Clone)]
pub(crate) struct Telegram {
    pub(crate) port: u16,
    shared: Arc<(Mutex<State>, Condvar)>,
}

/// The token of the bot; the service takes any.
pub(crate) const BOT_TOKEN: &str = "4242:loopback-only-no-secret";

impl Telegram {
    pub(crate) fn start() -> Outcome<Telegram> {
        let state = State { next_update: 1, next_message: 9000, ..State::default() };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let service = shared.clone();
        let port = serve(move |request| answer(&service, &request))?;
        Ok(Telegram { port, shared })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.0)
    }

    /// The person of this chat writes to the bot.
    pub(crate) fn user_writes(&self, chat: i64, text: &str) {
        let mut state = self.state();
        let (update, message) = (state.next_update, state.next_message);
        state.next_update += 1;
        state.next_message += 1;
        state.updates.push(json!({"update_id": update, "message": {
            "message_id": message, "date": 1_795_415_000 + update, "text": text,
            "chat": {"id": chat, "type": "private", "first_name": format!("Person {chat}")},
            "from": {"id": chat, "is_bot": false, "first_name": format!("Person {chat}")}}}));
        self.shared.1.notify_all();
    }

    /// What the person of this chat sees of the bot, oldest first.
    pub(crate) fn messages(&self, chat: i64) -> Vec<String> {
        self.state()
            .chats
            .get(&chat)
            .map(|c| c.iter().map(|(_, text)| text.clone()).collect())
            .unwrap_or_default()
    }

    /// How many messages of this chat contain `needle`.
    pub(crate) fn count(&self, chat: i64, needle: &str) -> usize {
        self.messages(chat).iter().filter(|text| text.contains(needle)).count()
    }

    /// The chats in which `needle` can be read.
    pub(crate) fn chats_with(&self, needle: &str) -> Vec<i64> {
        let state = self.state();
        let told =
            state.chats.iter().filter(|(_, messages)| messages.iter().any(|(_, t)| t.contains(needle)));
        told.map(|(chat, _)| *chat).collect()
    }

    /// From now on, messages with `needle` in them are not taken and their senders get no answer; with `None`, the
    /// service is itself again, and who waits is refused.
    pub(crate) fn stick(&self, needle: Option<&str>) {
        self.state().stuck = needle.map(str::to_owned);
        self.shared.1.notify_all();
    }

    /// How many messages were ever held up.
    pub(crate) fn held(&self) -> usize {
        self.state().held
    }

    /// When the gateway last asked for updates: its channel is up.
    pub(crate) fn polled_since(&self, since: Instant) -> bool {
        self.state().last_poll.is_some_and(|at| at > since)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(shared: &(Mutex<State>, Condvar), request: &Request) -> Answer {
    let path = request.path.split('?').next().unwrap_or_default();
    let method = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let asked = request.json();
    if matches!(method.as_str(), "sendmessage" | "editmessagetext") && is_held(shared, &asked) {
        return Answer::Json(502, json!({"ok": false, "error_code": 502, "description": "Bad Gateway"}));
    }
    let result = match method.as_str() {
        "getme" => json!({"id": 4242, "is_bot": true, "first_name": "Rig", "username": "rig_bot",
            "can_join_groups": true, "can_read_all_group_messages": false, "supports_inline_queries": false}),
        "getupdates" => updates(shared, &asked),
        "sendmessage" => send(&mut lock(&shared.0), &asked),
        "editmessagetext" => edit(&mut lock(&shared.0), &asked),
        "deletemessage" => delete(&mut lock(&shared.0), &asked),
        "getchat" => {
            let chat = number(&asked["chat_id"]);
            json!({"id": chat, "type": "private", "first_name": format!("Person {chat}"), "accent_color_id": 0,
                "max_reaction_count": 1})
        }
        "getmycommands" => json!([]),
        "getwebhookinfo" => json!({"url": "", "has_custom_certificate": false, "pending_update_count": 0}),
        _ => json!(true),
    };
    Answer::Json(200, json!({"ok": true, "result": result}))
}

/// Holds a message that is stuck for as long as it is; whether it was.
fn is_held(shared: &(Mutex<State>, Condvar), asked: &Value) -> bool {
    let text = asked["text"].as_str().unwrap_or_default();
    let is_stuck = |state: &State| state.stuck.as_ref().is_some_and(|needle| text.contains(needle.as_str()));
    let start = Instant::now();
    let mut state = lock(&shared.0);
    if !is_stuck(&state) {
        return false;
    }
    state.held += 1;
    while is_stuck(&state) && start.elapsed() < HOLD {
        state = shared.1.wait_timeout(state, HOLD).unwrap_or_else(PoisonError::into_inner).0;
    }
    true
}

/// An id that a client may write as a number or as text.
fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

fn updates(shared: &(Mutex<State>, Condvar), asked: &Value) -> Value {
    let offset = asked["offset"].as_i64().unwrap_or(0);
    let wait = Duration::from_secs(asked["timeout"].as_u64().unwrap_or(0).min(30));
    let start = Instant::now();
    let mut state = lock(&shared.0);
    state.last_poll = Some(start);
    state.updates.retain(|update| update["update_id"].as_i64() >= Some(offset));
    while state.updates.is_empty() && start.elapsed() < wait {
        let left = wait.saturating_sub(start.elapsed());
        state = shared.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    json!(state.updates)
}

fn send(state: &mut State, asked: &Value) -> Value {
    let (chat, text) = (number(&asked["chat_id"]), asked["text"].as_str().unwrap_or_default());
    let id = state.next_message;
    state.next_message += 1;
    state.chats.entry(chat).or_default().push((id, text.to_owned()));
    sent(chat, id, text)
}

fn edit(state: &mut State, asked: &Value) -> Value {
    let (chat, id) = (number(&asked["chat_id"]), number(&asked["message_id"]));
    let text = asked["text"].as_str().unwrap_or_default();
    if let Some(message) = state.chats.entry(chat).or_default().iter_mut().find(|(other, _)| *other == id) {
        message.1 = text.to_owned();
    }
    sent(chat, id, text)
}

fn delete(state: &mut State, asked: &Value) -> Value {
    let (chat, id) = (number(&asked["chat_id"]), number(&asked["message_id"]));
    state.chats.entry(chat).or_default().retain(|(other, _)| *other != id);
    json!(true)
}

fn sent(chat: i64, id: i64, text: &str) -> Value {
    json!({"message_id": id, "date": 1_795_415_000, "text": text,
        "chat": {"id": chat, "type": "private", "first_name": format!("Person {chat}")},
        "from": {"id": 4242, "is_bot": true, "first_name": "Rig", "username": "rig_bot"}})
}
