//! The fake's other face: what a test or the demo sets up and asks, past the wire.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::Value;

use crate::receiver::Route;

use super::conn::Out;
use super::options::{Channel, Model, Options, Phase};
use super::params::canonical;
use super::script::Rule;
use super::server::{Fake, State};
use super::world::{ChatMessage, Marks, Pending, Role, Row};

/// One request as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// When, on the fake's clock.
    pub at: Duration,
    /// On which connection; they count from 1.
    pub connection: u64,
    /// The method.
    pub method: String,
    /// Its parameters; those of `connect` without the credentials.
    pub params: Value,
}

/// The most deliveries that were in flight at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peak {
    /// Over all sessions.
    pub overall: usize,
    /// In each session (a `send` without one counts for its recipient).
    pub by_session: BTreeMap<String, usize>,
}

#[derive(Debug, Clone)]
struct Commit {
    session: String,
    key: String,
    text: String,
}

/// What is counted over all lives of the gateway.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub connections: u64,
    pub model_calls: Vec<String>,
    pub in_flight: BTreeMap<String, usize>,
    commits: Vec<Commit>,
    peak: Peak,
    log: VecDeque<Request>,
    requests: u64,
}

impl Stats {
    pub(super) fn log(&mut self, request: Request, limit: usize) {
        self.requests += 1;
        self.log.push_back(request);
        while self.log.len() > limit {
            self.log.pop_front();
        }
    }

    pub(super) fn committed(&mut self, session: &str, key: &str, text: &str) {
        self.commits.push(Commit { session: session.into(), key: key.into(), text: text.into() });
    }
}

/// A delivery is in flight.
pub(super) fn enter(s: &mut State, session: &str) {
    let stats = &mut s.stats;
    let own = stats.in_flight.entry(session.to_owned()).or_default();
    *own += 1;
    let peak = stats.peak.by_session.entry(session.to_owned()).or_default();
    *peak = (*peak).max(*own);
    stats.peak.overall = stats.peak.overall.max(stats.in_flight.values().sum());
}

/// It no longer is.
pub(super) fn leave(s: &mut State, session: &str) {
    if let Some(own) = s.stats.in_flight.get_mut(session) {
        *own = own.saturating_sub(1);
    }
}

/// Setting up.
impl Fake {
    /// Makes a session; its replies go to `route`, or nowhere. Returns its session id.
    pub fn add_session(&self, key: &str, route: Option<Route>) -> String {
        let key = self.key(key);
        self.shared.with(|s| {
            let now = self.shared.now_ms(s);
            let session = s.world.ensure(&key, now);
            session.route = route;
            session.session_id.clone()
        })
    }

    /// Makes a session that replies to this Telegram chat.
    pub fn add_chat(&self, key: &str, chat: i64) -> Route {
        let route = Route {
            channel: "telegram".into(),
            to: format!("telegram:{chat}"),
            account_id: Some("default".into()),
            thread_id: None,
        };
        self.add_session(key, Some(route.clone()));
        route
    }

    /// Archives a session or restores it.
    pub fn archive(&self, key: &str, archived: bool) {
        self.change(key, |session, now| session.archived_at = archived.then_some(now));
    }

    /// Closes a session to sends (`sendPolicy` "deny") or opens it.
    pub fn deny(&self, key: &str, denied: bool) {
        self.change(key, |session, _| session.deny = denied);
    }

    /// Resets a session: its history is hidden, its identity stays.
    pub fn reset(&self, key: &str) {
        self.change(key, |session, _| session.shown_from = session.rows.len());
    }

    /// Deletes a session.
    pub fn delete(&self, key: &str) {
        let key = self.key(key);
        self.shared.with(|s| s.world.sessions.remove(&key));
    }

    /// Appends `n` rows of other talk, to push older ones out of sight.
    pub fn chatter(&self, key: &str, n: usize) {
        let key = self.key(key);
        self.shared.with(|s| {
            let now = self.shared.now_ms(s);
            for i in 0..n {
                s.world.append(&key, Role::Assistant, &format!("small talk {i}"), Marks::default(), now);
            }
        });
    }

    fn change(&self, key: &str, act: impl FnOnce(&mut super::world::Session, u64)) {
        let key = self.key(key);
        self.shared.with(|s| {
            let now = self.shared.now_ms(s);
            if let Some(session) = s.world.sessions.get_mut(&key) {
                act(session, now);
            }
        });
    }

    fn key(&self, key: &str) -> String {
        self.shared.see(|s| canonical(key, &s.options.agents)).unwrap_or_else(|_| key.to_owned())
    }

    /// Adds a rule to the script.
    pub fn rule(&self, rule: Rule) {
        self.shared.with(|s| s.script.add(rule));
    }

    /// Forgets all rules.
    pub fn clear_rules(&self) {
        self.shared.with(|s| s.script.clear());
    }

    /// What the gateway as a whole is doing from now on.
    pub fn set_phase(&self, phase: Phase) {
        self.shared.with(|s| s.phase = phase);
    }

    /// How the platform behind the channels is doing from now on.
    pub fn set_channel(&self, channel: Channel) {
        self.shared.with(|s| s.channel = channel);
    }

    /// What the model makes of turns from now on.
    pub fn set_model(&self, model: Model) {
        self.shared.with(|s| s.model = model);
    }

    /// Changes the shared token.
    pub fn set_token(&self, token: Option<&str>) {
        self.configure(|options| options.token = token.map(str::to_owned));
    }

    /// Changes any option for what happens from now on (port, lanes and model are read at the start).
    pub fn configure(&self, change: impl FnOnce(&mut Options)) {
        self.shared.with(|s| change(&mut s.options));
    }

    /// Stops reading and writing, like SIGSTOP, or goes on.
    pub fn freeze(&self, frozen: bool) {
        self.shared.frozen.send_replace(frozen);
    }

    /// Moves the clock ahead: what is remembered grows old. Running turns do not hurry.
    pub fn advance(&self, by: Duration) {
        self.shared.with(|s| s.skew += by);
    }

    /// Cuts every connection without a close frame; the gateway lives on.
    pub fn cut_connections(&self) {
        self.shared.with(|s| s.memory.conns.values().for_each(|c| c.out(Out::Cut)));
    }

    /// Closes every connection with this code; the gateway lives on.
    pub fn close_connections(&self, code: u16, reason: &'static str) {
        self.shared.with(|s| s.memory.conns.values().for_each(|c| c.out(Out::Close(code, reason))));
    }
}

/// Asking.
impl Fake {
    /// Waits until `wanted` holds, asking after every change. `false` when the time is over first.
    pub async fn until(&self, limit: Duration, mut wanted: impl FnMut(&Fake) -> bool) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let wait = async {
            while !wanted(self) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.shared.see(|s| s.up)
    }

    /// The boot id of this life.
    pub fn boot_id(&self) -> String {
        self.shared.see(|s| s.memory.boot_id.clone())
    }

    /// The keys of all sessions.
    pub fn sessions(&self) -> Vec<String> {
        self.shared.see(|s| s.world.sessions.keys().cloned().collect())
    }

    /// All rows of a session, those before a reset too.
    pub fn transcript(&self, key: &str) -> Vec<Row> {
        let key = self.key(key);
        self.shared.see(|s| s.world.sessions.get(&key).map(|k| k.rows.clone()).unwrap_or_default())
    }

    /// The accepted inputs of a session that are not in its transcript.
    pub fn pending(&self, key: &str) -> Vec<Pending> {
        let key = self.key(key);
        self.shared.see(|s| s.world.sessions.get(&key).map(|k| k.pending.clone()).unwrap_or_default())
    }

    /// What was said in a chat, oldest first.
    pub fn chat_messages(&self, channel: &str, to: &str) -> Vec<ChatMessage> {
        let here = |m: &&ChatMessage| m.route.channel == channel && m.route.to == to;
        self.shared.see(|s| s.world.chats.iter().filter(here).cloned().collect())
    }

    /// What was said in all chats, oldest first.
    pub fn all_chat_messages(&self) -> Vec<ChatMessage> {
        self.shared.see(|s| s.world.chats.clone())
    }

    /// How many messages wait for the platform's return.
    pub fn outbound(&self) -> usize {
        self.shared.see(|s| s.world.outbound.len())
    }

    /// How often a turn was committed under this key, in whatever session, even one deleted since.
    pub fn commits(&self, key: &str) -> usize {
        self.shared.see(|s| s.stats.commits.iter().filter(|c| c.key == key).count())
    }

    /// How many turns with this in their text were committed.
    pub fn commits_containing(&self, text: &str) -> usize {
        self.shared.see(|s| s.stats.commits.iter().filter(|c| c.text.contains(text)).count())
    }

    /// Every committed turn, in order: session, key, text.
    pub fn all_commits(&self) -> Vec<(String, String, String)> {
        let one = |c: &Commit| (c.session.clone(), c.key.clone(), c.text.clone());
        self.shared.see(|s| s.stats.commits.iter().map(one).collect())
    }

    /// How often the model was called for this key.
    pub fn model_calls(&self, key: &str) -> usize {
        self.shared.see(|s| s.stats.model_calls.iter().filter(|k| *k == key).count())
    }

    /// Queued system events of a session: memory only.
    pub fn wakes(&self, key: &str) -> Vec<String> {
        let key = self.key(key);
        self.shared.see(|s| s.memory.wakes.get(&key).map(|q| q.iter().cloned().collect()).unwrap_or_default())
    }

    /// The most deliveries that were in flight at one moment.
    pub fn peak(&self) -> Peak {
        self.shared.see(|s| s.stats.peak.clone())
    }

    /// Deliveries in flight now.
    pub fn in_flight(&self) -> usize {
        self.shared.see(|s| s.stats.in_flight.values().sum())
    }

    /// Connections made so far, over all lives.
    pub fn connections(&self) -> u64 {
        self.shared.see(|s| s.stats.connections)
    }

    /// Connections that are past their handshake now.
    pub fn connected(&self) -> usize {
        self.shared.see(|s| s.memory.conns.len())
    }

    /// Every request still in the log, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.see(|s| s.stats.log.iter().cloned().collect())
    }

    /// The requests of one method that are still in the log.
    pub fn requests_of(&self, method: &str) -> Vec<Request> {
        self.shared.see(|s| s.stats.log.iter().filter(|r| r.method == method).cloned().collect())
    }

    /// All requests so far, those that fell out of the log too.
    pub fn request_count(&self) -> u64 {
        self.shared.see(|s| s.stats.requests)
    }
}
