//! One connection that is up: requests with deadlines, events, the idle watchdog.
//!
//! A driver task owns the socket; [`Client`] is a cheap handle to it, and the driver ends when the last handle
//! is dropped. What stays true whatever the peer does:
//!
//! - every wait has a deadline: a request its own, a write [`WRITE_DEADLINE`], a silent peer two tick intervals;
//! - everything that can queue up is bounded: commands, pending requests, events per subscriber, bytes to write;
//! - a frame nobody waits for is dropped: unknown ids, second finals, events of no subscriber, binary, garbage;
//! - a subscriber that reads too slowly is told that it missed something, so that it asks; it is never skipped
//!   in silence.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::frame::{Fault, Incoming, Request, WRITE_LIMIT, lenient, one_line};

/// How long a frame may wait for the socket to take it.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// Requests that wait for an answer at the same time.
const PENDING_LIMIT: usize = 256;
/// Commands on their way to the driver.
const COMMAND_LIMIT: usize = 64;
/// Events a subscriber may lag behind.
const EVENT_LIMIT: usize = 64;
/// Subscribers at the same time.
const SUBSCRIBER_LIMIT: usize = 256;
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// A byte stream that a connection runs on.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// The socket of a connection, plain or encrypted.
pub(crate) type Socket = WebSocketStream<Box<dyn Wire>>;

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

type Answer = Result<Step, Fault>;

enum Command {
    Call {
        id: u64,
        frame: String,
        answer: mpsc::Sender<Answer>,
        two_steps: bool,
    },
    /// A request whose answer nobody waits for.
    Tell {
        frame: String,
    },
    Subscribe {
        session_key: String,
        news: mpsc::Sender<String>,
        lagged: Arc<AtomicBool>,
    },
}

/// A handle to a connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Client {
    commands: mpsc::Sender<Command>,
    closed: watch::Receiver<Option<Closed>>,
    ids: Arc<AtomicU64>,
    limits: Limits,
}

impl Client {
    /// Takes over a socket on which hello-ok was read. `first_id` is beyond any id used on it so far.
    pub fn start(socket: Socket, limits: Limits, first_id: u64) -> Client {
        let (commands, inbox) = mpsc::channel(COMMAND_LIMIT);
        let (tell, closed) = watch::channel(None);
        // Never joined: it ends by itself, within the deadlines below, when the last handle is gone.
        tokio::spawn(async move {
            let end = Connection::new(socket, inbox, limits).run().await;
            tracing::debug!(%end, "gateway connection ended");
            tell.send_replace(Some(end));
        });
        Client { commands, closed, ids: Arc::new(AtomicU64::new(first_id)), limits }
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
        let id = self.next_id();
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

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    async fn begin(
        &self,
        method: &str,
        params: Value,
        traceparent: Option<&str>,
        two_steps: bool,
        patience: Duration,
    ) -> Result<Exchange, CallError> {
        let deadline = Instant::now() + patience;
        let id = self.next_id();
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
            Ok(Some(Err(fault))) => Err(CallError::Fault(fault)),
            // The driver dropped the request: it is full, or it is gone.
            Ok(None) => {
                let mut closed = self.closed.clone();
                tokio::select! {
                    biased;
                    end = closed.wait_for(Option::is_some) => {
                        Err(CallError::Closed(end.ok().and_then(|end| end.clone()).unwrap_or_default()))
                    }
                    () = tokio::time::sleep(GOODBYE * 2) => Err(CallError::Busy),
                }
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

struct Pending {
    answer: mpsc::Sender<Answer>,
    two_steps: bool,
}

struct Subscriber {
    news: mpsc::Sender<String>,
    lagged: Arc<AtomicBool>,
}

/// The driver's side: the socket and who waits for what.
struct Connection {
    socket: Socket,
    inbox: mpsc::Receiver<Command>,
    pending: HashMap<u64, Pending>,
    subscribers: HashMap<String, Vec<Subscriber>>,
    idle_limit: Duration,
    /// When the write that the socket has not taken yet was begun.
    unflushed: Option<Instant>,
}

enum Turn {
    Read(Option<Result<Message, WsError>>),
    Flushed,
    Write(WsError),
}

impl Connection {
    fn new(socket: Socket, inbox: mpsc::Receiver<Command>, limits: Limits) -> Self {
        Connection {
            socket,
            inbox,
            pending: HashMap::new(),
            subscribers: HashMap::new(),
            idle_limit: limits.silence,
            unflushed: None,
        }
    }

    async fn run(mut self) -> Closed {
        let mut heard = Instant::now();
        loop {
            let silent_until = heard + self.idle_limit;
            let deadline =
                self.unflushed.map_or(silent_until, |since| silent_until.min(since + WRITE_DEADLINE));
            let may_write = self.unflushed.is_none();
            let Connection { socket, inbox, unflushed, .. } = &mut self;
            tokio::select! {
                turn = poll_fn(|cx| turn(socket, unflushed, cx)) => match turn {
                    Turn::Flushed => {}
                    Turn::Write(error) => return broken(&error),
                    Turn::Read(None) => return Closed::default(),
                    Turn::Read(Some(Err(error))) => return broken(&error),
                    Turn::Read(Some(Ok(message))) => {
                        heard = Instant::now();
                        match message {
                            Message::Text(text) => self.hear(Incoming::read(&text)),
                            Message::Close(frame) => return self.farewell(frame).await,
                            // Pings are answered by the library at the next flush; the rest is not the protocol's.
                            _ => *unflushed = unflushed.or(Some(heard)),
                        }
                    }
                },
                command = inbox.recv(), if may_write => match command {
                    None => return self.goodbye(1000, "done").await,
                    Some(command) => if let Err(error) = self.obey(command) {
                        return broken(&error);
                    },
                },
                () = tokio::time::sleep_until(deadline) => {
                    let (code, reason) = if Instant::now() >= silent_until {
                        (4000, format!("the gateway was silent for {} s", self.idle_limit.as_secs_f32()))
                    } else {
                        (4000, format!("the gateway took no data for {} s", WRITE_DEADLINE.as_secs()))
                    };
                    return self.goodbye(code, &reason).await;
                }
            }
        }
    }

    fn hear(&mut self, frame: Incoming) {
        match frame {
            Incoming::Response { id, outcome } => {
                // Our ids are numbers; anything else is the answer to nobody.
                let Ok(id) = id.parse::<u64>() else { return };
                let Some(pending) = self.pending.get(&id) else {
                    return tracing::debug!(id, "an answer nobody waits for");
                };
                if let Ok(payload) = &outcome {
                    if pending.two_steps && is_accepted(payload) {
                        // A second "accepted" finds the channel full and changes nothing.
                        let _told = pending.answer.try_send(Ok(Step::Accepted));
                        return;
                    }
                }
                if let Some(pending) = self.pending.remove(&id) {
                    let _told = pending.answer.try_send(outcome.map(Step::Final));
                }
            }
            Incoming::Event { name, payload } if name == "session.message" => {
                if let Some(row) = payload.as_deref().and_then(Row::read) {
                    self.spread(&row);
                }
            }
            Incoming::Event { .. } | Incoming::Other => {}
        }
    }

    fn spread(&mut self, row: &Row) {
        let Some(subscribers) = self.subscribers.get_mut(&row.session_key) else { return };
        subscribers.retain(|subscriber| match subscriber.news.try_send(row.key.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                subscriber.lagged.store(true, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
    }

    fn obey(&mut self, command: Command) -> Result<(), WsError> {
        match command {
            Command::Call { id, frame, answer, two_steps } => {
                if self.pending.len() >= PENDING_LIMIT / 2 {
                    self.pending.retain(|_, pending| !pending.answer.is_closed());
                }
                if self.pending.len() >= PENDING_LIMIT {
                    return Ok(());
                }
                self.pending.insert(id, Pending { answer, two_steps });
                self.write(Message::text(frame))
            }
            Command::Tell { frame } => self.write(Message::text(frame)),
            Command::Subscribe { session_key, news, lagged } => {
                self.subscribers.retain(|_, list| {
                    list.retain(|subscriber| !subscriber.news.is_closed());
                    !list.is_empty()
                });
                if self.subscribers.values().map(Vec::len).sum::<usize>() >= SUBSCRIBER_LIMIT {
                    // It will hear nothing, so it has to ask.
                    lagged.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                self.subscribers.entry(session_key).or_default().push(Subscriber { news, lagged });
                Ok(())
            }
        }
    }

    fn write(&mut self, message: Message) -> Result<(), WsError> {
        self.unflushed = Some(Instant::now());
        Pin::new(&mut self.socket).start_send(message)
    }

    /// The peer closes: let the library answer, and say what the peer said.
    async fn farewell(mut self, frame: Option<CloseFrame>) -> Closed {
        let end = match frame {
            Some(frame) => Closed { code: Some(frame.code.into()), reason: one_line(&frame.reason) },
            None => Closed { code: Some(1005), reason: String::new() },
        };
        let drain = poll_fn(|cx| {
            loop {
                match Pin::new(&mut self.socket).poll_next(cx) {
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let _in_time = tokio::time::timeout(GOODBYE, drain).await;
        end
    }

    /// We close, and do not wait long for an answer.
    async fn goodbye(mut self, code: u16, reason: &str) -> Closed {
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason.to_owned().into() };
        let _in_time = tokio::time::timeout(GOODBYE, self.socket.close(Some(frame))).await;
        Closed { code: Some(code), reason: reason.to_owned() }
    }
}

/// Flushes what is unflushed, then reads. One message per call, so that a flood of them starves nobody.
fn turn(socket: &mut Socket, unflushed: &mut Option<Instant>, cx: &mut Context<'_>) -> Poll<Turn> {
    if unflushed.is_some() {
        match Pin::new(&mut *socket).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                *unflushed = None;
                return Poll::Ready(Turn::Flushed);
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Turn::Write(error)),
            Poll::Pending => {}
        }
    }
    Pin::new(socket).poll_next(cx).map(Turn::Read)
}

fn broken(error: &WsError) -> Closed {
    match error {
        WsError::ConnectionClosed | WsError::AlreadyClosed => Closed::default(),
        error => Closed { code: None, reason: one_line(&error.to_string()) },
    }
}

fn is_accepted(payload: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Status {
        #[serde(default, deserialize_with = "lenient")]
        status: String,
    }
    serde_json::from_str::<Status>(payload.get()).is_ok_and(|payload| payload.status == "accepted")
}

/// What a `session.message` event tells: which row was written to which session.
struct Row {
    session_key: String,
    key: String,
}

impl Row {
    fn read(payload: &RawValue) -> Option<Row> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Payload {
            session_key: String,
            message: Message,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Message {
            idempotency_key: String,
        }
        // Assistant rows carry no key: they are not news to anybody here.
        let payload: Payload = serde_json::from_str(payload.get()).ok()?;
        let key = payload.message.idempotency_key;
        (key.len() <= 1024).then_some(Row { session_key: payload.session_key, key })
    }
}
