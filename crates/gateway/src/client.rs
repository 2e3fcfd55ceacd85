//! One connection that is up: requests with deadlines, events, the idle watchdog.
//!
//! A driver task owns the socket; [`Client`] is a cheap handle to it, and the driver ends when the last handle
//! is dropped. What stays true whatever the peer does:
//!
//! - every wait has a deadline: a request its own, a write its own, a silent peer two tick intervals, and a peer
//!   that talks and answers nobody that of the first question that waited in vain;
//! - everything that can queue up is bounded: commands, pending requests, events per subscriber, bytes to write;
//! - a frame nobody waits for is dropped: unknown ids, second finals, events of no subscriber, binary, garbage;
//! - a subscriber that reads too slowly is told that it missed something, so that it asks; it is never skipped
//!   in silence.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use spool_seeded::Bug;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::driver::{Answer, Command, Connection};
use crate::frame::{Fault, Request, WRITE_LIMIT};
use crate::secret::Known;
use crate::socket::Socket;

/// Commands on their way to the driver.
const COMMAND_LIMIT: usize = 256;
/// Events a subscriber may lag behind.
const EVENT_LIMIT: usize = 64;
/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Closed {
    /// The close code of the peer, or of ours when we gave up (4000: silence). `None`: no close frame (1006).
    pub code: Option<u16>,
    /// The peer's reason, or ours.
    pub reason: String,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "close code {code}")?,
            None => f.write_str("abnormal closure (1006)")?,
        }
        if !self.reason.is_empty() {
            write!(f, ", {}", self.reason)?;
        }
        Ok(())
    }
}

/// Why a request has no usable answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The gateway answered with a fault.
    Fault(Fault),
    /// No answer in time.
    Timeout(Duration),
    /// The connection ended first.
    Closed(Closed),
    /// Refused here: larger than the gateway's policy allows.
    TooLarge { size: usize, limit: usize },
    /// Refused here: too many requests are under way.
    Busy,
    /// The answer is not what the protocol says.
    Unreadable,
}

/// What hello-ok agreed on, as far as the connection itself needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The largest request the gateway takes, bytes.
    pub payload: usize,
    /// Silence after which the connection is given up: the gateway ticks twice as often.
    pub silence: Duration,
}

/// The first answer of a request that may have two.
#[derive(Debug)]
pub(crate) enum Step {
    /// Taken; the final answer is still to come on the same id.
    Accepted,
    /// The final answer.
    Final(Box<RawValue>),
}

/// News of a session's transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// A row with this idempotency key was written.
    Row(String),
    /// Events were missed: ask instead.
    Lagged,
}

/// The ids of requests. None is ever used again, on this connection or on a later one: the answer to a request of an
/// old connection, wherever it comes from, is the answer to nobody on a new one. They begin anywhere, so that those of
/// the program's next life are others too.
#[derive(Debug, Clone)]
pub(crate) struct Ids(Arc<AtomicU64>);

impl Default for Ids {
    fn default() -> Self {
        // 40 random bits: numbers of any language hold them, and all that will ever be added.
        Ids(Arc::new(AtomicU64::new(RandomState::new().build_hasher().finish() >> 24)))
    }
}

impl Ids {
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A handle to a connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Client {
    commands: mpsc::Sender<Command>,
    closed: watch::Receiver<Option<Closed>>,
    ids: Ids,
    limits: Limits,
}

impl Client {
    /// Takes over a socket on which hello-ok was read. `ids` never gives the same one twice, on whatever connection.
    /// The connection's last words are rid of what is `known`.
    pub fn start(socket: Socket, limits: Limits, known: Known, ids: Ids) -> Client {
        let (commands, inbox) = mpsc::channel(COMMAND_LIMIT);
        let (tell, closed) = watch::channel(None);
        // Never joined: it ends by itself, within the deadlines below, when the last handle is gone.
        tokio::spawn(async move {
            let end = Connection::new(socket, inbox, limits).run().await;
            let end = Closed { reason: known.redact(end.reason), ..end };
            tracing::debug!(%end, "gateway connection ended");
            tell.send_replace(Some(end));
        });
        Client { commands, closed, ids, limits }
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) -> Closed {
        let mut closed = self.closed.clone();
        match closed.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_default(),
            Err(_) => Closed { code: None, reason: "the connection's task is gone".into() },
        }
    }

    /// One request, one answer.
    pub async fn request(
        &self,
        method: &str,
        params: Value,
        patience: Duration,
    ) -> Result<Box<RawValue>, CallError> {
        let mut exchange = self.begin(method, params, None, false, patience).await?;
        match exchange.next().await? {
            Step::Final(payload) => Ok(payload),
            Step::Accepted => Err(CallError::Unreadable),
        }
    }

    /// A question that any gateway answers quickly. If it waits in vain and nobody else is answered either, the
    /// connection is as good as dead, however much it pings, and is given up.
    pub async fn ask(
        &self,
        method: &str,
        params: Value,
        patience: Duration,
    ) -> Result<Box<RawValue>, CallError> {
        let since = Instant::now();
        let answer = self.request(method, params, patience).await;
        if matches!(answer, Err(CallError::Timeout(_))) {
            // What the driver cannot be told now it is told by the next who waits in vain.
            let _told = self.commands.try_send(Command::Unanswered { since });
        }
        answer
    }

    /// A request with a first answer and a final one. `patience` covers both.
    pub async fn two_steps(
        &self,
        method: &str,
        params: Value,
        traceparent: Option<&str>,
        patience: Duration,
    ) -> Result<Exchange, CallError> {
        self.begin(method, params, traceparent, true, patience).await
    }

    /// A request whose answer does not matter, not even whether it was sent.
    pub fn tell(&self, method: &str, params: Value) {
        let id = self.ids.next();
        let frame = Request::new(&id.to_string(), method, &params).to_text();
        if self.commands.try_send(Command::Tell { frame }).is_err() {
            tracing::debug!(method, "not said: the connection is busy or gone");
        }
    }

    /// Hears of rows written to a session's transcript, once the gateway was asked to tell.
    pub async fn subscribe(&self, session_key: &str, patience: Duration) -> Result<Subscription, CallError> {
        let (news, rows) = mpsc::channel(EVENT_LIMIT);
        let lagged = Arc::new(AtomicBool::new(false));
        let command =
            Command::Subscribe { session_key: session_key.to_owned(), news, lagged: Arc::clone(&lagged) };
        self.command(command, Instant::now() + patience, patience).await?;
        Ok(Subscription { rows, lagged })
    }

    async fn begin(
        &self,
        method: &str,
        params: Value,
        traceparent: Option<&str>,
        two_steps: bool,
        patience: Duration,
    ) -> Result<Exchange, CallError> {
        let day = Duration::from_secs(86_400);
        let deadline = Instant::now() + if spool_seeded::is(Bug::NoDeadline) { day } else { patience };
        let id = self.ids.next();
        let text_id = id.to_string();
        let frame = Request { traceparent, ..Request::new(&text_id, method, &params) }.to_text();
        let limit = self.limits.payload.min(WRITE_LIMIT);
        if frame.len() > limit {
            return Err(CallError::TooLarge { size: frame.len(), limit });
        }
        let (answer, answers) = mpsc::channel(2);
        self.command(Command::Call { id, frame, answer, two_steps }, deadline, patience).await?;
        Ok(Exchange { answers, closed: self.closed.clone(), deadline, patience })
    }

    async fn command(
        &self,
        command: Command,
        deadline: Instant,
        patience: Duration,
    ) -> Result<(), CallError> {
        match timeout_at(deadline, self.commands.send(command)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(CallError::Closed(self.closed().await)),
            Err(_) => Err(CallError::Timeout(patience)),
        }
    }
}

/// The answers to one request.
pub(crate) struct Exchange {
    answers: mpsc::Receiver<Answer>,
    closed: watch::Receiver<Option<Closed>>,
    deadline: Instant,
    patience: Duration,
}

impl Exchange {
    /// The next answer. Cancel safe.
    pub async fn next(&mut self) -> Result<Step, CallError> {
        match timeout_at(self.deadline, self.answers.recv()).await {
            Err(_) => Err(CallError::Timeout(self.patience)),
            Ok(Some(Ok(step))) => Ok(step),
            Ok(Some(Err(Some(fault)))) => Err(CallError::Fault(fault)),
            Ok(Some(Err(None))) => Err(CallError::Busy),
            // The driver is gone, or about to say why it goes.
            Ok(None) => {
                if spool_seeded::is(Bug::CloseIsSuccess) {
                    let ok = serde_json::value::to_raw_value(&serde_json::json!({"status": "ok"}));
                    return ok.map(Step::Final).map_err(|_| CallError::Unreadable);
                }
                let mut closed = self.closed.clone();
                let end = timeout_at(self.deadline, closed.wait_for(Option::is_some)).await;
                let end = end.ok().and_then(|end| end.ok().and_then(|end| end.clone()));
                Err(CallError::Closed(end.unwrap_or_default()))
            }
        }
    }
}

/// News of one session.
pub(crate) struct Subscription {
    rows: mpsc::Receiver<String>,
    lagged: Arc<AtomicBool>,
}

impl Subscription {
    /// The next news; waits for ever when the connection is gone (its requests say so). Cancel safe.
    pub async fn next(&mut self) -> News {
        if self.lagged.swap(false, Ordering::Relaxed) {
            return News::Lagged;
        }
        match self.rows.recv().await {
            Some(key) => News::Row(key),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
