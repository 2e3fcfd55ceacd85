//! What survives a restart of the gateway: sessions, transcripts, pending inputs, its outbound queue, and what
//! each chat got.
//!
//! Pure data with the time passed in (milliseconds of the fake's clock). The rules it keeps, all measured:
//!
//! - an accepted input is a pending row until its turn starts; a crash makes it "interrupted" for good, and its
//!   key is burnt;
//! - a committed turn without an answer is unfinished, and may be resumed after the next start;
//! - a reset hides the rows before it from the history, keeps the session's identity, and search still finds them;
//! - what an unreachable platform did not take stays queued and is delivered on its return.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::receiver::Route;

/// Who said a row of a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The user, or whoever spoke for them.
    User,
    /// The agent.
    Assistant,
}

/// One row of a transcript.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The row's own id.
    pub id: String,
    /// Its place in the session, from 1.
    pub seq: u64,
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub text: String,
    /// The idempotency key of the row: `K:user` of a turn, `K:terminal-error` of a failed one, `K` of a message.
    pub idempotency_key: Option<String>,
    /// The model named in the row (`delivery-mirror` for what `send` said).
    pub model: Option<String>,
    /// Where the input came from, if the request said so.
    pub provenance: Option<Value>,
    /// When, in milliseconds.
    pub at: u64,
}

/// Whether a pending input may still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingState {
    /// It waits for its turn.
    Queued,
    /// It will never run; its key is burnt.
    Interrupted,
}

/// An accepted input that is not in the transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The row's number.
    pub id: u64,
    /// The run, which is the idempotency key.
    pub run_id: String,
    /// The input.
    pub text: String,
    /// Whether it may still run.
    pub state: PendingState,
    /// When it was accepted, in milliseconds.
    pub accepted_at: u64,
    /// Whether it is written down: the first `chat.send` to a new session is not.
    pub(super) durable: bool,
}

/// Why a chat got a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The agent's reply to a turn.
    Reply,
    /// A `send`.
    Send,
    /// A word of the gateway itself: a run failed, a request goes on.
    Notice,
}

/// One message that a chat got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    /// The platform's id.
    pub message_id: String,
    /// Where it went.
    pub route: Route,
    /// What it says.
    pub text: String,
    /// Why.
    pub told: Told,
    /// The key of the request behind it.
    pub key: String,
    /// The session behind it.
    pub session: Option<String>,
}

/// A message the platform could not be given.
#[derive(Debug, Clone)]
pub(super) struct Outbound {
    pub message: ChatMessage,
    /// Write the mirror row when it arrives.
    pub mirror: bool,
}

/// A committed turn that nobody has answered.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    pub session: String,
    pub run_id: String,
    pub text: String,
    pub route: Option<Route>,
}

/// One session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub session_id: String,
    pub archived_at: Option<u64>,
    pub deny: bool,
    pub route: Option<Route>,
    pub rows: Vec<Row>,
    pub shown_from: usize,
    pub pending: Vec<Pending>,
    pub updated_at: u64,
}

impl Session {
    /// The row of an accepted input that became a turn.
    pub(super) fn committed(&self, run_id: &str) -> bool {
        self.has_row(&format!("{run_id}:user"))
    }

    pub(super) fn has_row(&self, idempotency_key: &str) -> bool {
        self.rows.iter().any(|r| r.idempotency_key.as_deref() == Some(idempotency_key))
    }
}

#[derive(Debug, Default)]
pub(super) struct World {
    pub sessions: BTreeMap<String, Session>,
    pub chats: Vec<ChatMessage>,
    pub outbound: Vec<Outbound>,
    pub unfinished: Vec<Unfinished>,
    /// Device id to the token it was given and the scopes that go with it.
    pub devices: BTreeMap<String, (String, Vec<String>)>,
    next: u64,
}

impl World {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The session, made if it is not there.
    pub(super) fn ensure(&mut self, key: &str, now: u64) -> &mut Session {
        self.sessions.entry(key.to_owned()).or_insert_with(|| Session {
            session_id: Uuid::now_v7().to_string(),
            archived_at: None,
            deny: false,
            route: None,
            rows: Vec::new(),
            shown_from: 0,
            pending: Vec::new(),
            updated_at: now,
        })
    }

    /// Appends a row; the session is made if it is gone.
    pub(super) fn append(&mut self, key: &str, role: Role, text: &str, marks: Marks<'_>, now: u64) -> Row {
        let id = format!("m{}", self.number());
        let session = self.ensure(key, now);
        session.updated_at = now;
        let row = Row {
            id,
            seq: session.rows.len() as u64 + 1,
            role,
            text: text.to_owned(),
            idempotency_key: marks.key.map(str::to_owned),
            model: marks.model.map(str::to_owned),
            provenance: marks.provenance.cloned(),
            at: now,
        };
        session.rows.push(row.clone());
        row
    }

    /// Takes an input into custody.
    pub(super) fn accept(&mut self, key: &str, run_id: &str, text: &str, durable: bool, now: u64) {
        let id = self.number();
        self.ensure(key, now).pending.push(Pending {
            id,
            run_id: run_id.to_owned(),
            text: text.to_owned(),
            state: PendingState::Queued,
            accepted_at: now,
            durable,
        });
    }

    /// The input became a turn.
    pub(super) fn release(&mut self, key: &str, run_id: &str) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.pending.retain(|p| p.run_id != run_id);
        }
    }

    /// The input will never run.
    pub(super) fn interrupt(&mut self, key: &str, run_id: &str) {
        let rows = self.sessions.get_mut(key).map(|s| &mut s.pending);
        for pending in rows.into_iter().flatten().filter(|p| p.run_id == run_id) {
            pending.state = PendingState::Interrupted;
        }
    }

    /// The gateway is gone: what was only accepted is interrupted, or lost.
    pub(super) fn crash(&mut self) {
        for session in self.sessions.values_mut() {
            session.pending.retain(|p| p.durable);
            for pending in &mut session.pending {
                pending.state = PendingState::Interrupted;
            }
        }
    }

    /// A chat gets a message.
    pub(super) fn tell(&mut self, mut message: ChatMessage) -> String {
        message.message_id = (9000 + self.number()).to_string();
        self.chats.push(message);
        self.chats.last().map(|m| m.message_id.clone()).unwrap_or_default()
    }

    /// `sessions.describe`.
    pub(super) fn describe(&self, key: &str) -> Value {
        let Some(session) = self.sessions.get(key) else { return Value::Null };
        let mut out = json!({"key": key, "kind": "direct", "sessionId": session.session_id, "updatedAt": session.updated_at});
        if key.contains(":group:") {
            out["kind"] = json!("group");
        }
        if let Some(at) = session.archived_at {
            out["archived"] = json!(true);
            out["archivedAt"] = json!(at);
        }
        if session.deny {
            out["sendPolicy"] = json!("deny");
        }
        match &session.route {
            None => {
                out["classification"] = json!("custom");
                out["createdVia"] = json!("operator");
            }
            Some(route) => {
                let context = context_of(route);
                out["lastChannel"] = context["channel"].clone();
                out["lastTo"] = context["to"].clone();
                for (from, to) in [("accountId", "lastAccountId"), ("threadId", "lastThreadId")] {
                    if let Some(value) = context.get(from) {
                        out[to] = value.clone();
                    }
                }
                out["origin"] = json!({"from": route.to, "to": route.to});
                out["deliveryContext"] = context;
            }
        }
        out
    }

    /// `chat.history`: the newest `limit` rows that a reset did not hide, and what is pending.
    pub(super) fn history(&self, key: &str, ask: &Ask<'_>) -> Value {
        let Some(session) = self.sessions.get(key) else {
            return json!({"sessionKey": key, "messages": [], "pendingInputs": {"items": [], "total": 0},
                "inputReceipts": []});
        };
        let shown = session.rows.get(session.shown_from..).unwrap_or_default();
        let from = shown.len().saturating_sub(ask.limit);
        let messages: Vec<Value> =
            shown[from..].iter().filter_map(|row| row_json(row, ask.max_chars)).collect();
        // The newest page of twenty, oldest first; what is older is behind `nextBefore`.
        let end = session.pending.partition_point(|p| p.id < ask.pending_before);
        let first = end.saturating_sub(20);
        let items: Vec<Value> = session.pending[first..end].iter().map(pending_json).collect();
        let receipts: Vec<Value> = ask
            .run_ids
            .iter()
            .filter(|id| session.pending.iter().any(|p| p.run_id == **id))
            .map(|id| json!({"runId": id, "state": "pending"}))
            .collect();
        let mut pending = json!({"items": items, "total": session.pending.len()});
        if first > 0 {
            pending["nextBefore"] = json!(session.pending[first].id);
        }
        json!({"sessionKey": key, "sessionId": session.session_id, "messages": messages,
            "pendingInputs": pending, "inputReceipts": receipts})
    }

    /// `sessions.search`: rows with the words of the query next to each other, hidden ones too.
    pub(super) fn search(&self, query: &str, keys: &[&str], limit: usize) -> Value {
        let wanted = words(query);
        let mut results = Vec::new();
        for key in keys {
            let Some(session) = self.sessions.get(*key) else { continue };
            for row in &session.rows {
                if wanted.is_empty() || !words(&row.text).windows(wanted.len()).any(|w| w == wanted) {
                    continue;
                }
                let snippet: String = row.text.chars().take(200).collect();
                results.push(json!({"sessionKey": key, "sessionId": session.session_id, "messageId": row.id,
                    "role": role_name(row.role), "timestamp": row.at, "snippet": snippet, "score": 1.0}));
            }
        }
        let truncated = results.len() > limit;
        results.truncate(limit);
        let mut out = json!({"results": results});
        if truncated {
            out["truncated"] = json!(true);
        }
        out
    }
}

/// What a history is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub limit: usize,
    pub max_chars: Option<usize>,
    pub run_ids: &'a [&'a str],
    pub pending_before: u64,
}

/// What marks a row besides its text.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Marks<'a> {
    pub key: Option<&'a str>,
    pub model: Option<&'a str>,
    pub provenance: Option<&'a Value>,
}

impl<'a> Marks<'a> {
    pub(super) fn key(key: &'a str) -> Self {
        Marks { key: Some(key), ..Marks::default() }
    }
}

/// A route as `deliveryContext` has it: a numeric thread is a number there.
fn context_of(route: &Route) -> Value {
    let mut out = Map::new();
    out.insert("channel".into(), json!(route.channel));
    out.insert("to".into(), json!(route.to));
    if let Some(account) = &route.account_id {
        out.insert("accountId".into(), json!(account));
    }
    if let Some(thread) = &route.thread_id {
        out.insert("threadId".into(), thread.parse::<i64>().map_or_else(|_| json!(thread), |n| json!(n)));
    }
    Value::Object(out)
}

/// A row as history and events show it; `None` for rows that `max_chars` drops (measured: 300 kB and more).
pub(super) fn row_json(row: &Row, max_chars: Option<usize>) -> Option<Value> {
    let limit = max_chars.unwrap_or(8000);
    if max_chars.is_some() && row.text.len() >= 300_000 {
        return None;
    }
    let mut text = row.text.clone();
    if let Some((cut, _)) = text.char_indices().nth(limit) {
        text.truncate(cut);
        text.push_str("\n...(truncated)...");
    }
    let mut out = json!({"role": role_name(row.role), "content": [{"type": "text", "text": text}],
        "timestamp": row.at, "__openclaw": {"id": row.id, "seq": row.seq}});
    if let Some(key) = &row.idempotency_key {
        out["idempotencyKey"] = json!(key);
    }
    if let Some(model) = &row.model {
        out["provider"] = json!("openclaw");
        out["model"] = json!(model);
    }
    if let Some(provenance) = &row.provenance {
        out["provenance"] = provenance.clone();
    }
    Some(out)
}

fn pending_json(pending: &Pending) -> Value {
    let state = match pending.state {
        PendingState::Queued => "queued",
        PendingState::Interrupted => "interrupted",
    };
    json!({"id": pending.id.to_string(), "runId": pending.run_id, "state": state, "acceptedAt": pending.accepted_at,
        "message": {"role": "user", "content": pending.text}})
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

/// The words as a full-text index sees them. `a~2` is two words, so a search for `a` finds it: callers must not
/// take a hit for one key as proof of another that merely begins with it.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask<'a>(limit: usize, max_chars: Option<usize>, run_ids: &'a [&'a str]) -> Ask<'a> {
        Ask { limit, max_chars, run_ids, pending_before: u64::MAX }
    }

    fn world_with(texts: &[&str]) -> World {
        let mut world = World::default();
        for (i, text) in texts.iter().enumerate() {
            let key = format!("k{i}:user");
            world.append("agent:main:a", Role::User, text, Marks::key(&key), i as u64);
        }
        world
    }

    #[test]
    fn a_reset_hides_history_and_not_search() {
        let mut world = world_with(&["[job ob1-77]", "[job ob1-78]"]);
        world.ensure("agent:main:a", 0).shown_from = 1;
        let history = world.history("agent:main:a", &ask(1000, None, &[]));
        assert_eq!(history["messages"].as_array().unwrap().len(), 1);
        let hits = world.search("ob1-77", &["agent:main:a"], 25);
        assert_eq!(hits["results"].as_array().unwrap().len(), 1);
        assert_eq!(world.search("ob1-7", &["agent:main:a"], 25)["results"], json!([]));
        assert_eq!(world.search("ob1-77", &["agent:main:b"], 25)["results"], json!([]));
    }

    #[test]
    fn history_shows_the_newest_rows_cut_and_leaves_giants_out() {
        let long = "x".repeat(9000);
        let giant = "y".repeat(300_000);
        let world = world_with(&["old", &long, &giant]);
        let all = world.history("agent:main:a", &ask(1000, None, &[]));
        let text = all["messages"][1]["content"][0]["text"].as_str().unwrap();
        assert!(text.ends_with("\n...(truncated)...") && text.len() == 8000 + 19 - 1, "{}", text.len());
        assert_eq!(all["messages"].as_array().unwrap().len(), 3);
        let wide = world.history("agent:main:a", &ask(1000, Some(500_000), &[]));
        assert_eq!(wide["messages"].as_array().unwrap().len(), 2, "rows of 300 kB are left out");
        let short = world.history("agent:main:a", &ask(1, None, &[]));
        assert_eq!(short["messages"][0]["idempotencyKey"], "k2:user");
    }

    #[test]
    fn a_crash_interrupts_what_was_accepted_and_loses_what_was_not_written() {
        let mut world = World::default();
        world.accept("s", "kept", "t", true, 1);
        world.accept("s", "lost", "t", false, 2);
        world.crash();
        let history = world.history("s", &ask(10, None, &["kept", "lost"]));
        let items = history["pendingInputs"]["items"].as_array().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!((&items[0]["runId"], &items[0]["state"]), (&json!("kept"), &json!("interrupted")));
        assert_eq!(history["inputReceipts"], json!([{"runId": "kept", "state": "pending"}]));
    }

    #[test]
    fn a_thread_is_a_number_in_the_description() {
        let mut world = World::default();
        world.ensure("s", 0).route = Some(Route {
            channel: "telegram".into(),
            to: "telegram:-100:topic:42".into(),
            account_id: Some("default".into()),
            thread_id: Some("42".into()),
        });
        assert_eq!(world.describe("s")["deliveryContext"]["threadId"], json!(42));
        assert_eq!(world.describe("missing"), Value::Null);
    }
}
