//! What reads a gateway's words, laid open (feature `readers`): for those who feed it with anything at all.
//!
//! Each function reads one message as the client does when it comes from the socket, without the socket, and says what
//! it made of it. Nothing here decides anything; the client itself does not use this room.

use std::time::Duration;

use serde_json::Value;

use super::probe::History;
use super::{look, send};
use crate::classify;
use crate::config::Config;
use crate::frame::{Incoming, payload};
use crate::handshake;
use crate::receiver::{Evidence, Look, Reply, Trouble};

/// What a text message is.
#[derive(Debug)]
pub enum Frame {
    /// The answer to a request: its id, and the payload or what the fault means for each of [`METHODS`] and for a
    /// connect.
    Response(String, Result<String, Vec<Trouble>>),
    /// An event: its name and payload.
    Event(String, Option<String>),
    /// Nothing that is known.
    Other,
}

/// The methods whose faults are judged.
pub const METHODS: [&str; 4] = ["agent", "send", "chat.inject", "sessions.describe"];

/// Reads a text message.
pub fn frame(text: &str) -> Frame {
    match Incoming::read(text) {
        Incoming::Response { id, outcome: Ok(raw) } => Frame::Response(id, Ok(raw.get().to_owned())),
        Incoming::Response { id, outcome: Err(fault) } => {
            let mut troubles: Vec<_> = METHODS.iter().map(|method| classify::fault(method, &fault)).collect();
            troubles.push(classify::connect_fault(&fault));
            Frame::Response(id, Err(troubles))
        }
        Incoming::Event { name, payload } => Frame::Event(name, payload.map(|raw| raw.get().to_owned())),
        Incoming::Other => Frame::Other,
    }
}

/// What a gateway said of itself.
#[derive(Debug)]
#[expect(missing_docs, reason = "the members are those of hello-ok, after they were bounded")]
pub struct Hello {
    pub version: String,
    pub boot_id: Option<String>,
    pub protocol: u32,
    pub methods: usize,
    pub payload: usize,
    pub silence: Duration,
    pub may_write: bool,
}

/// Reads the payload of hello-ok.
///
/// # Errors
/// Why it cannot be used.
pub fn hello(text: &str, config: &Config) -> Result<Hello, Trouble> {
    let raw = serde_json::from_str(text).map_err(|_| handshake::unavailable("it is not JSON".into()))?;
    let hello = handshake::read_hello(raw, config).map_err(|failure| failure.trouble)?;
    Ok(Hello {
        may_write: hello.may_write(),
        version: hello.version,
        boot_id: hello.boot_id,
        protocol: hello.protocol,
        methods: hello.methods.len(),
        payload: hello.limits.payload,
        silence: hello.limits.silence,
    })
}

/// Reads the payload of a challenge: what is to be signed, and the gateway's time.
pub fn challenge(text: &str) -> Option<(String, u64)> {
    let raw = serde_json::from_str(text).ok()?;
    handshake::read_challenge(raw).map(|challenge| (challenge.nonce, challenge.ts))
}

/// What a history says of one delivery key.
#[derive(Debug)]
#[expect(missing_docs, reason = "the questions that a probe asks")]
pub struct Told {
    pub is_committed: bool,
    pub outcome: Option<Reply>,
}

/// Reads a history, and asks it about some keys; `None` when it cannot be understood.
pub fn history(text: &str, keys: &[&str]) -> Option<Vec<Told>> {
    let history = History::read(serde_json::from_str(text).ok()?)?;
    Some(
        keys.iter()
            .map(|key| Told { is_committed: history.committed(key), outcome: history.outcome(key) })
            .collect(),
    )
}

/// Reads the description of a session; `None` when it cannot be understood.
pub fn session(text: &str) -> Option<Look> {
    look::read(&payload::<Value>(serde_json::from_str(text).ok()?)?)
}

/// What the final answer of a turn proves, and by which rungs.
///
/// # Errors
/// As the client has it when the answer proves nothing.
pub fn final_answer(text: &str, committed: bool, routable: bool) -> (Result<Reply, Trouble>, Vec<Evidence>) {
    let answer = serde_json::from_str(text).ok().and_then(payload::<Value>).unwrap_or_default();
    let rungs = std::cell::RefCell::default();
    let seen = |evidence| Vec::push(&mut rungs.borrow_mut(), evidence);
    let reply = send::conclude(&answer, committed, routable, &seen);
    (reply, rungs.into_inner())
}
