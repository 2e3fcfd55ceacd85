//! The receiver: the one trait behind which a gateway sits, and the words it answers in.
//!
//! Three verbs are all the agent needs. `look` resolves the session before anything is said to it, `send`
//! hands over one delivery, `probe` asks what became of one. What they keep true:
//!
//! - `look` never creates a session; a session that is not there is an answer, not an error.
//! - `send` succeeds only on evidence that the delivery is in the session's transcript. Every failure is a
//!   [`Trouble`], and **no trouble proves that nothing was committed**: the caller probes before it acts on it.
//! - `probe` is read-only, survives a reset of the session, and looks for every key the delivery ever had.

use std::fmt;
use std::future::Future;
use std::time::Duration;

/// How a delivery is handed to its session (the `deliver` member of a record).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// A turn: the session's agent reads it and its reply goes to the session's channel.
    #[default]
    Turn,
    /// Straight to the session's channel: no model turn.
    Message,
    /// Into the transcript only. Needs a token with admin scope.
    Note,
}

/// Where a reply belongs, when it is not for the gateway to choose.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    /// The channel's name, e.g. `telegram`.
    pub channel: String,
    /// The recipient in the channel's own notation, e.g. `telegram:77001`.
    pub to: String,
    /// The account of the channel, where it has several.
    pub account_id: Option<String>,
    /// The thread or topic, always as text.
    pub thread_id: Option<String>,
}

/// One delivery: what is sent to one session under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The delivery key, used as the idempotency key. Globally unique; also named in `text`.
    pub key: String,
    /// Keys that the same delivery had before, oldest first. A probe asks for all of them.
    pub former_keys: Vec<String>,
    /// The session it is for.
    pub session_key: String,
    /// What the session reads. Starts with `[`, at most 16 KiB.
    pub text: String,
    /// How it is handed over.
    pub mode: Mode,
    /// Where the reply belongs, if the record says so; otherwise the session's own route.
    pub route: Option<Route>,
    /// W3C trace context of the job, passed along with the request when the gateway takes one.
    pub traceparent: Option<String>,
}

/// A session as the gateway knows it at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    /// The session's identity, to pin the send to it. `None` when the gateway cannot tell (protocol 3).
    pub pin: Option<String>,
    /// Where its replies go. `None`: an internal session, nobody outside is told.
    pub route: Option<Route>,
}

/// The answer of [`Gateway::look`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It is there and takes deliveries.
    Open(Session),
    /// There is no such session. Nothing may be sent: a send would create it.
    Missing,
    /// It is archived: a person has to restore it first.
    Archived,
    /// Its policy refuses sends.
    Closed,
}

/// How far a delivery is proved to have come. The order is the order of the rungs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// The gateway took the request. Proves nothing: it forgets accepted work when it restarts.
    Accepted,
    /// It is in the session's transcript.
    Committed,
    /// The turn ended well.
    Replied,
    /// The channel's platform took the reply (or the message).
    Sent,
}

impl Evidence {
    /// The word used in the journal and in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Evidence::Accepted => "accepted",
            Evidence::Committed => "committed",
            Evidence::Replied => "replied",
            Evidence::Sent => "sent",
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of a delivery that **is committed**.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The platform took the reply (turn) or the message.
    Sent,
    /// The turn ended well; whether the platform took the reply is not known.
    Replied,
    /// The turn ended well and the agent chose to say nothing.
    Silent,
    /// There is no channel to tell anybody on: committed is all there is (also: a note).
    Internal,
    /// The turn has not ended yet, or nobody can say whether it has.
    Pending,
    /// The turn or its reply failed: it is in the transcript, and nobody was told.
    Failed(String),
}

impl Reply {
    /// The rung of evidence this proves.
    pub fn evidence(&self) -> Evidence {
        match self {
            Reply::Sent => Evidence::Sent,
            Reply::Replied | Reply::Silent => Evidence::Replied,
            Reply::Internal | Reply::Pending | Reply::Failed(_) => Evidence::Committed,
        }
    }
}

/// The answer of [`Gateway::probe`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// No trace of any of its keys: safe to send under the same key.
    Absent,
    /// In the gateway's custody, not yet in the transcript: wait and probe again.
    Queued,
    /// It was in custody and will never run; the newest key is burnt. Safe to send under a new key.
    Burnt,
    /// It is in the transcript.
    Committed(Reply),
}

/// What kind of trouble: decides who waits, and who pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The gateway is away, starting, draining or asks for less. Everybody waits, nobody pays.
    Unavailable,
    /// The gateway refuses us: token, pairing, scope, protocol. Sending stops until a person mends it.
    Refused,
    /// This session cannot take it now. Its lane waits.
    Session,
    /// This delivery failed for a reason of its own that may pass. Costs an attempt.
    Record,
    /// The key can never be used again; a new epoch of it can.
    Burnt,
    /// The session is not the one that was looked at: look again, same key.
    Moved,
    /// A person has to decide (archived, closed, no recipient).
    Hold,
    /// It will never work.
    Never,
    /// Nothing is known: the connection or the deadline ended first.
    Doubt,
}

/// Why a verb failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Who waits and who pays.
    pub kind: Kind,
    /// A lowercase sentence for a person: what was attempted, what came back, what to do. No secrets, no payload.
    pub reason: String,
    /// What the gateway asked us to wait, if it did.
    pub retry_after: Option<Duration>,
}

impl Trouble {
    /// Trouble without a wish of the gateway's how long to wait.
    pub fn new(kind: Kind, reason: impl Into<String>) -> Self {
        Trouble { kind, reason: reason.into(), retry_after: None }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Trouble {}

/// Who answered the connect, for status and for the journal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Server {
    /// The gateway's version, e.g. `2026.9.6`.
    pub version: String,
    /// The protocol agreed on.
    pub protocol: u32,
    /// Changes with every start of the gateway; `None` where the gateway does not tell (protocol 3).
    pub boot_id: Option<String>,
    /// The strongest evidence this gateway can give for a turn.
    pub best_evidence: Option<Evidence>,
    /// What it granted, e.g. `operator.write`.
    pub scopes: Vec<String>,
}

/// Opens connections to one gateway.
pub trait Connector {
    /// A connection that is up.
    type Gateway: Gateway;

    /// One attempt, credentials read anew. Bounded in time. [`Kind::Refused`] means that trying again with the
    /// same credentials is useless; anything else is [`Kind::Unavailable`].
    fn connect(&self) -> impl Future<Output = Result<Self::Gateway, Trouble>>;

    /// A number that changes when the credentials a `connect` would use change. Cheap; asked every second or so
    /// after a refusal.
    fn credentials_stamp(&self) -> u64;
}

/// One connection to a gateway. Cheap to clone; all clones share the connection.
pub trait Gateway: Clone {
    /// Who is at the other end.
    fn server(&self) -> &Server;

    /// Waits until the connection is gone and says why.
    fn closed(&self) -> impl Future<Output = String>;

    /// Resolves a session without creating it.
    fn look(&self, session_key: &str) -> impl Future<Output = Result<Look, Trouble>>;

    /// Hands over one delivery and waits until `until` is proved or nothing better can come.
    /// `seen` is called at each rung on the way. Bounded in time (minutes: a turn takes what it takes).
    fn send(
        &self,
        delivery: &Delivery,
        session: &Session,
        until: Evidence,
        seen: &dyn Fn(Evidence),
    ) -> impl Future<Output = Result<Reply, Trouble>>;

    /// Asks what became of a delivery, under any key it ever had. Read-only.
    fn probe(&self, delivery: &Delivery) -> impl Future<Output = Result<Probe, Trouble>>;
}
