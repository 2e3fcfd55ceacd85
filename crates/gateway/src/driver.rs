//! The driver of a connection: the task that owns the socket and knows who waits for what.
//!
//! It reads, writes and keeps the idle watchdog in one loop, a few messages per turn, so that a flood of them starves
//! nobody. Commands are only taken when the last write is out, and then as many as are there, up to a bound: their
//! frames leave in one write. What waits to be written is that and one frame, never more.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{FutureExt, Sink, Stream, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use spool_seeded::Bug;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::client::{Closed, Limits, Step};
use crate::frame::{self, Fault, Incoming, lenient, one_line};
use crate::socket::Socket;

/// How long a frame may wait for the socket to take it.
const WRITE_DEADLINE: Duration = Duration::from_secs(20);
/// Requests that wait for an answer at the same time.
pub(crate) const PENDING_LIMIT: usize = 256;
/// Subscribers at the same time.
const SUBSCRIBER_LIMIT: usize = 256;
/// Messages read in one turn, if they are there.
const MESSAGES_AT_ONCE: usize = 256;
/// Commands taken in one turn, if they are there.
const COMMANDS_AT_ONCE: usize = 256;
/// Frames that add up to so many bytes are written before more commands are taken.
pub(crate) const BYTES_AT_ONCE: usize = 32 * 1024;
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// An answer on its way to who waits for it. No fault: the request was not written, there are too many.
pub(crate) type Answer = Result<Step, Option<Fault>>;

/// What handles ask of the driver.
pub(crate) enum Command {
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
    /// A question that was asked then waited in vain.
    Unanswered {
        since: Instant,
    },
}

impl Command {
    /// What it adds to what waits to be written.
    fn bytes(&self) -> usize {
        match self {
            Command::Call { frame, .. } | Command::Tell { frame } => frame.len(),
            Command::Subscribe { .. } | Command::Unanswered { .. } => 0,
        }
    }
}

struct Pending {
    answer: mpsc::Sender<Answer>,
    /// A first answer is still awaited before the final one.
    awaits_first: bool,
    two_steps: bool,
}

struct Subscriber {
    news: mpsc::Sender<String>,
    lagged: Arc<AtomicBool>,
}

/// The driver's side: the socket and who waits for what.
pub(crate) struct Connection {
    socket: Socket,
    inbox: mpsc::Receiver<Command>,
    pending: HashMap<u64, Pending>,
    subscribers: HashMap<String, Vec<Subscriber>>,
    idle_limit: Duration,
    /// When the write that the socket has not taken yet was begun.
    unflushed: Option<Instant>,
    /// When a request was answered last.
    answered: Option<Instant>,
}

enum Turn {
    Read(Option<Result<Message, WsError>>),
    Flushed,
    Write(WsError),
}

/// Why the connection ends.
enum End {
    Broken(Closed),
    /// The peer's close frame.
    Farewell(Option<CloseFrame>),
    /// Ours: code and reason.
    Goodbye(u16, String),
}

impl Connection {
    pub fn new(socket: Socket, inbox: mpsc::Receiver<Command>, limits: Limits) -> Self {
        Connection {
            socket,
            inbox,
            pending: HashMap::new(),
            subscribers: HashMap::new(),
            idle_limit: limits.silence,
            unflushed: None,
            answered: None,
        }
    }

    /// Runs until the connection is gone, and says how it went.
    pub async fn run(mut self) -> Closed {
        match self.talk().await {
            End::Broken(closed) => closed,
            End::Farewell(frame) => self.farewell(frame).await,
            End::Goodbye(code, reason) => self.goodbye(code, &reason).await,
        }
    }

    async fn talk(&mut self) -> End {
        let mut heard = Instant::now();
        loop {
            let silent_until = heard + self.idle_limit;
            let deadline =
                self.unflushed.map_or(silent_until, |since| silent_until.min(since + WRITE_DEADLINE));
            let may_write = self.unflushed.is_none();
            let Connection { socket, inbox, unflushed, .. } = &mut *self;
            tokio::select! {
                turn = poll_fn(|cx| turn(socket, unflushed, cx)) => match turn {
                    Turn::Flushed => {}
                    Turn::Write(error) => return End::Broken(broken(&error)),
                    Turn::Read(first) => {
                        heard = Instant::now();
                        if let Err(end) = self.read(first, heard) {
                            return end;
                        }
                    }
                },
                command = inbox.recv(), if may_write => match command {
                    None => return End::Goodbye(1000, "done".into()),
                    Some(first) => if let Err(end) = self.obey_all(first) {
                        return end;
                    },
                },
                () = tokio::time::sleep_until(deadline) => {
                    return if Instant::now() >= silent_until {
                        End::Goodbye(4000, format!("the gateway was silent for {} s", self.idle_limit.as_secs_f32()))
                    } else {
                        End::Goodbye(4000, format!("the gateway took no data for {} s", WRITE_DEADLINE.as_secs()))
                    };
                }
            }
        }
    }

    /// Takes a message, and those that are there with it.
    fn read(&mut self, first: Option<Result<Message, WsError>>, now: Instant) -> Result<(), End> {
        let mut message = first;
        for left in (0..MESSAGES_AT_ONCE).rev() {
            match message {
                None => return Err(End::Broken(Closed::default())),
                Some(Err(error)) => return Err(End::Broken(broken(&error))),
                Some(Ok(Message::Text(text))) => self.hear(Incoming::read(&text)),
                Some(Ok(Message::Close(frame))) => return Err(End::Farewell(frame)),
                // Pings are answered by the library at the next flush; the rest is not the protocol's.
                Some(Ok(_)) => self.unflushed = self.unflushed.or(Some(now)),
            }
            // What is not there now, the next turn waits for.
            let more = if left > 0 { self.socket.next().now_or_never() } else { None };
            match more {
                Some(more) => message = more,
                None => break,
            }
        }
        Ok(())
    }

    /// Obeys a command, and those that are there with it: their frames leave together.
    fn obey_all(&mut self, first: Command) -> Result<(), End> {
        let (mut command, mut bytes) = (first, 0);
        for left in (0..COMMANDS_AT_ONCE).rev() {
            bytes += command.bytes();
            match command {
                // Pings and ticks are no answers: whoever only sends those would be waited for over and over.
                Command::Unanswered { since } if self.answered.is_none_or(|at| at < since) => {
                    let seconds = since.elapsed().as_secs_f32();
                    return Err(End::Goodbye(
                        4000,
                        format!("the gateway answered nothing for {seconds:.0} s"),
                    ));
                }
                command => self.obey(command).map_err(|error| End::Broken(broken(&error)))?,
            }
            let more = if left > 0 && bytes < BYTES_AT_ONCE { self.inbox.try_recv().ok() } else { None };
            match more {
                Some(more) => command = more,
                None => break,
            }
        }
        Ok(())
    }

    fn hear(&mut self, frame: Incoming) {
        match frame {
            Incoming::Response { id, outcome } => {
                // Our ids are numbers, and each has one form; anything else is the answer to nobody.
                let mut own = id.parse::<u64>().ok().filter(|number| number.to_string() == id);
                if spool_seeded::is(Bug::AnyReply) {
                    own = self.pending.keys().min().copied();
                }
                let Some(id) = own else { return };
                let Some(pending) = self.pending.get_mut(&id) else {
                    return tracing::debug!(id, "an answer nobody waits for");
                };
                self.answered = Some(Instant::now());
                if pending.two_steps && outcome.as_ref().is_ok_and(|payload| is_accepted(payload)) {
                    // Only the first one is news; a second must not take the place of the final answer.
                    if std::mem::take(&mut pending.awaits_first) {
                        let _told = pending.answer.try_send(Ok(Step::Accepted));
                    }
                    return;
                }
                if let Some(pending) = self.pending.remove(&id) {
                    let _told = pending.answer.try_send(outcome.map(Step::Final).map_err(Some));
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
                    let _told = answer.try_send(Err(None));
                    return Ok(());
                }
                self.pending.insert(id, Pending { answer, awaits_first: true, two_steps });
                self.write(Message::text(frame))
            }
            Command::Tell { frame } => self.write(Message::text(frame)),
            Command::Unanswered { .. } => Ok(()),
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
        self.unflushed = self.unflushed.or_else(|| Some(Instant::now()));
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
    frame::payload::<Status>(payload).is_some_and(|payload| payload.status == "accepted")
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
