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

use serde_json::Value;
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
