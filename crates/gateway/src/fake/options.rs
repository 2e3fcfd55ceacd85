//! How the fake is set up: the limits of the measured gateway, its delays made short.

use std::time::Duration;

/// What a [`super::Fake`] starts with. The default is the measured gateway with a Telegram channel, in a hurry.
#[derive(Debug, Clone)]
pub struct Options {
    /// The port on the loopback; 0 takes a free one and keeps it over restarts.
    pub port: u16,
    /// The shared token a client has to present; `None` lets everybody in.
    pub token: Option<String>,
    /// The version it says it is.
    pub version: String,
    /// The configured agents; the first one is the default. Keys of other agents are refused.
    pub agents: Vec<String>,
    /// The configured channels.
    pub channels: Vec<String>,
    /// Scopes handed back instead of those asked for.
    pub granted_scopes: Option<Vec<String>>,
    /// Refuse clients without a device identity.
    pub device_required: bool,
    /// From the start of a turn to its row in the transcript.
    pub commit_delay: Duration,
    /// From the start of a turn to its end; never shorter than `commit_delay`.
    pub turn_duration: Duration,
    /// What the model says.
    pub model: Model,
    /// What the channel's platform takes to accept a message.
    pub platform_delay: Duration,
    /// From the platform's acceptance to the mirror row of a `send`.
    pub mirror_delay: Duration,
    /// How long a message to an unreachable platform takes to fail.
    pub unreachable_delay: Duration,
    /// From the platform's return to the gateway's own late delivery of what it had queued.
    pub redeliver_delay: Duration,
    /// Whether a turn that was committed but not answered goes on after a restart.
    pub resume: bool,
    /// From the start of the gateway to that.
    pub resume_delay: Duration,
    /// Turns at a time, over all sessions.
    pub global_lane: usize,
    /// Follow-ups of `chat.send` kept for one session; more are folded into a summary.
    pub queue_cap: usize,
    /// How long an idempotency key is remembered.
    pub dedupe_ttl: Duration,
    /// How many idempotency keys are remembered.
    pub dedupe_max: usize,
    /// How long `agent.wait` knows the end of a run.
    pub wait_ttl: Duration,
    /// How many ends of runs it knows.
    pub wait_max: usize,
    /// Between two `tick` events.
    pub tick: Duration,
    /// How long a connection may take to say `connect`.
    pub handshake_timeout: Duration,
    /// The longest frame taken after the handshake, in bytes.
    pub max_payload: usize,
    /// How long a graceful stop waits for running turns.
    pub drain_limit: Duration,
    /// Requests kept in the log; the oldest are dropped.
    pub log_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            port: 0,
            token: None,
            version: "2026.9.6".into(),
            agents: vec!["main".into()],
            channels: vec!["telegram".into()],
            granted_scopes: None,
            device_required: false,
            commit_delay: Duration::from_millis(10),
            turn_duration: Duration::from_millis(20),
            model: Model::Echo,
            platform_delay: Duration::from_millis(1),
            mirror_delay: Duration::from_millis(3),
            unreachable_delay: Duration::from_millis(20),
            redeliver_delay: Duration::from_millis(50),
            resume: true,
            resume_delay: Duration::from_millis(20),
            global_lane: 8,
            queue_cap: 20,
            dedupe_ttl: Duration::from_secs(300),
            dedupe_max: 1000,
            wait_ttl: Duration::from_secs(600),
            wait_max: 5000,
            tick: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(15),
            max_payload: 25 * 1024 * 1024,
            drain_limit: Duration::from_secs(10),
            log_limit: 10_000,
        }
    }
}

impl Options {
    /// The default with this token.
    pub fn with_token(token: &str) -> Self {
        Options { token: Some(token.into()), ..Options::default() }
    }
}

/// What the model makes of a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Model {
    /// Says `echo: ` and what it was told.
    Echo,
    /// Says this.
    Says(String),
    /// Chooses to say nothing: the turn ends well and nobody is told.
    Silent,
    /// The provider fails with these words, after the turn was committed.
    Fails(String),
}

/// How the platform behind the channels is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// Takes everything.
    Up,
    /// Cannot be reached. What was to be sent is queued and delivered by the gateway itself on the return.
    Unreachable,
    /// Answers with a refusal in these words (blocked, chat not found, 500). Tried once, never again.
    Refuses(String),
    /// Asks to wait this long first; the gateway waits inside the call.
    Slow(Duration),
}

/// What the gateway as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It works.
    Ready,
    /// It starts: `connect` is answered with "starting" and close 1013.
    Starting,
    /// It stops: new connections get 503, new work a retryable error, waiting turns a final error.
    Draining,
    /// It prepares to suspend: new work gets a retryable error.
    Suspending,
}
