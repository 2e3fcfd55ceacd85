//! The receiver for the real OpenClaw gateway: [`Connector`] and [`Gateway`] over one WebSocket connection.
//!
//! - `look`: the session as it is now;
//! - `send`: one delivery, with evidence;
//! - `probe`: what became of one;
//! - `legacy`: the same three for protocol 3, with what little it offers.
//!
//! Which of them is used is decided by the methods that hello-ok named, not by version numbers; only where it names
//! none, by the protocol.

mod legacy;
mod look;
mod probe;
#[cfg(feature = "readers")]
pub mod readers;
mod send;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::client::{CallError, Client};
pub use crate::config::{Config, Deadlines};
use crate::connect::{self, Memory};
use crate::frame::one_line;
use crate::receiver::{
    Connector, Delivery, Evidence, Gateway, Look, Mode, Probe, Reply, Server, Session, Trouble,
};
use crate::secret::Known;
use crate::{classify, identity};

/// Messages that the gateway may still be sending by itself, remembered at the same time.
const OUTBOUND_LIMIT: usize = 1024;
/// How long such a message is remembered.
const OUTBOUND_MEMORY: Duration = Duration::from_secs(3600);

/// Connects to one OpenClaw gateway.
#[derive(Debug)]
pub struct OpenClawConnector {
    config: Config,
    memory: Memory,
    outbound: Arc<Outbound>,
}

impl OpenClawConnector {
    /// For the gateway that `config` describes. Nothing is read or opened before the first connect.
    pub fn new(config: Config) -> Self {
        OpenClawConnector { config, memory: Memory::default(), outbound: Arc::default() }
    }
}

impl Connector for OpenClawConnector {
    type Gateway = OpenClaw;

    async fn connect(&self) -> Result<OpenClaw, Trouble> {
        let up = connect::connect(&self.config, &self.memory).await?;
        let modern = up.hello.has(&["sessions.describe", "sessions.messages.subscribe", "agent.wait"]);
        let searches = up.hello.has(&["sessions.search"]);
        let scopes = up.hello.scopes.iter().map(|scope| up.known.redact(one_line(scope)));
        let server = Server {
            scopes: scopes.collect(),
            version: up.hello.version,
            protocol: up.hello.protocol,
            boot_id: up.hello.boot_id,
            best_evidence: Some(if modern { Evidence::Sent } else { legacy::BEST_EVIDENCE }),
        };
        tracing::debug!(version = %server.version, protocol = server.protocol, modern, "said hello");
        let link = Link {
            server,
            booted_at: up.hello.booted_at,
            modern,
            searches,
            backend: up.backend,
            refuses_pins: AtomicBool::new(false),
            admin: up.admin,
            deadlines: self.config.deadlines,
            outbound: Arc::clone(&self.outbound),
            known: up.known.clone(),
        };
        let client = Client::start(up.socket, up.hello.limits, up.known, self.memory.ids.clone());
        Ok(OpenClaw { client, link: Arc::new(link) })
    }

    fn credentials_stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for source in [&self.config.token, &self.config.password].into_iter().flatten() {
            source.stamp(&mut hasher);
        }
        if let Some(dir) = &self.config.identity_dir {
            identity::stamp(dir, &mut hasher);
        }
        hasher.finish()
    }
}

/// A connection to an OpenClaw gateway.
#[derive(Clone)]
pub struct OpenClaw {
    client: Client,
    link: Arc<Link>,
}

/// What does not change while the connection lasts.
struct Link {
    server: Server,
    /// When the gateway's process started, in milliseconds since 1970.
    booted_at: Option<u64>,
    /// Describes sessions, tells of committed rows, remembers runs.
    modern: bool,
    /// Searches transcripts, also those before a reset.
    searches: bool,
    /// May pin a send to a session.
    backend: bool,
    /// Found out: this gateway does not know pins.
    refuses_pins: AtomicBool,
    admin: bool,
    deadlines: Deadlines,
    outbound: Arc<Outbound>,
    /// Never to be repeated, not even when the gateway does.
    known: Known,
}

impl Gateway for OpenClaw {
    fn server(&self) -> &Server {
        &self.link.server
    }

    async fn closed(&self) -> String {
        self.client.closed().await.to_string()
    }

    async fn look(&self, session_key: &str) -> Result<Look, Trouble> {
        let looked = if self.link.modern {
            look::look(self, session_key).await
        } else {
            legacy::look(self, session_key).await
        };
        looked.map_err(|trouble| self.scrub(trouble))
    }

    async fn send(
        &self,
        delivery: &Delivery,
        session: &Session,
        until: Evidence,
        seen: &dyn Fn(Evidence),
    ) -> Result<Reply, Trouble> {
        let sent = match delivery.mode {
            Mode::Message => send::message(self, delivery, session, seen).await,
            Mode::Note => send::note(self, delivery, seen).await,
            Mode::Turn if self.link.modern => send::turn(self, delivery, session, until, seen).await,
            Mode::Turn => legacy::turn(self, delivery, session, until, seen).await,
        };
        sent.map(|reply| self.scrub_reply(reply)).map_err(|trouble| self.scrub(trouble))
    }

    async fn probe(&self, delivery: &Delivery) -> Result<Probe, Trouble> {
        let probed = match delivery.mode {
            Mode::Turn if self.link.modern => probe::turn(self, delivery).await,
            Mode::Turn => legacy::probe(self, delivery).await,
            Mode::Message => probe::message(self, delivery).await,
            Mode::Note => probe::note(self, delivery).await,
        };
        match probed {
            Ok(Probe::Committed(reply)) => Ok(Probe::Committed(self.scrub_reply(reply))),
            Ok(other) => Ok(other),
            Err(trouble) => Err(self.scrub(trouble)),
        }
    }
}

impl OpenClaw {
    /// Reasons end up in logs, in the journal and beside entries.
    fn scrub(&self, trouble: Trouble) -> Trouble {
        Trouble { reason: self.link.known.redact(trouble.reason), ..trouble }
    }

    fn scrub_reply(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Failed(reason) => Reply::Failed(self.link.known.redact(reason)),
            other => other,
        }
    }

    /// A request that changes nothing.
    async fn ask(&self, method: &str, params: Value) -> Result<Box<RawValue>, Trouble> {
        self.client
            .ask(method, params, self.link.deadlines.request)
            .await
            .map_err(|error| classify::call(method, error, true))
    }

    /// The same, when the fault itself is of interest.
    async fn try_ask(&self, method: &str, params: Value) -> Result<Box<RawValue>, CallError> {
        self.client.ask(method, params, self.link.deadlines.request).await
    }
}

/// The answer is not what the protocol says; nothing follows from it, least of all absence.
fn unreadable(method: &str) -> Trouble {
    classify::call(method, CallError::Unreadable, true)
}

/// Messages of which the gateway said that they are in its own outbound queue. It retries them by itself when the
/// platform is back, so to send them again is to send them twice. Kept across connections, not across restarts.
#[derive(Debug, Default)]
struct Outbound(Mutex<HashMap<String, Instant>>);

impl Outbound {
    fn queued(&self, key: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, since| since.elapsed() < OUTBOUND_MEMORY);
        if known.len() < OUTBOUND_LIMIT {
            known.entry(key.to_owned()).or_insert_with(Instant::now);
        }
    }

    /// How long ago the gateway queued it, if it did.
    fn since(&self, key: &str) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).map(Instant::elapsed).filter(|age| *age < OUTBOUND_MEMORY)
    }
}

#[cfg(test)]
mod hostile_tests;
