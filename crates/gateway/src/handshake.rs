//! What the gateway says until a connection is up: the challenge, then hello-ok or a refusal.
//!
//! Every read has the handshake's deadline, so neither silence nor a flood keeps us. What cannot be understood is
//! an unavailable gateway, not a panic and not a success.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::classify;
use crate::client::{Closed, Limits};
use crate::config::Config;
use crate::frame::{Fault, Incoming, WRITE_LIMIT, lenient, one_line, payload};
use crate::receiver::{Kind, Trouble};
use crate::secret::Secret;
use crate::socket::Socket;

/// The protocols this client speaks.
pub(crate) const PROTOCOLS: std::ops::RangeInclusive<u32> = 3..=4;
/// No gateway takes less: the connect alone may be longer.
const LEAST_PAYLOAD: u64 = 4096;
pub(crate) const WRITE_SCOPE: &str = "operator.write";
pub(crate) const ADMIN_SCOPE: &str = "operator.admin";

/// What hello-ok said.
#[derive(Debug)]
pub(crate) struct Hello {
    pub version: String,
    pub boot_id: Option<String>,
    /// When the gateway's process started, in milliseconds since 1970 on this machine's clock.
    pub booted_at: Option<u64>,
    pub protocol: u32,
    pub methods: HashSet<String>,
    pub limits: Limits,
    pub scopes: Vec<String>,
    /// A token of our device's own, where the gateway gives one.
    pub device_token: Option<Secret>,
}

/// Why an attempt failed, with the detail that decides whether another way may help.
pub(crate) struct Failure {
    pub trouble: Trouble,
    pub detail: String,
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Failure { trouble, detail: String::new() }
    }
}

/// What the gateway wants signed.
#[derive(Deserialize)]
pub(crate) struct Challenge {
    pub nonce: String,
    pub ts: u64,
}

pub(crate) async fn challenge(config: &Config, socket: &mut Socket) -> Result<Challenge, Trouble> {
    let deadline = Instant::now() + config.deadlines.handshake;
    loop {
        let frame = read(config, socket, deadline, "a challenge").await?;
        let Incoming::Event { name, payload: Some(raw) } = frame else { continue };
        if name == "connect.challenge" {
            return read_challenge(&raw)
                .ok_or_else(|| unavailable("the gateway's challenge could not be understood".into()));
        }
    }
}

/// Reads a challenge; what is none, or wants too much signed, is `None`.
pub(crate) fn read_challenge(raw: &RawValue) -> Option<Challenge> {
    payload::<Challenge>(raw).filter(|challenge| challenge.nonce.len() <= 512)
}

/// Waits for the answer to the connect request, which has this id.
pub(crate) async fn hello(config: &Config, socket: &mut Socket, own: &str) -> Result<Hello, Failure> {
    let deadline = Instant::now() + config.deadlines.handshake;
    let raw = loop {
        match read(config, socket, deadline, "an answer to the connect request").await? {
            Incoming::Response { id, outcome } if id == own => match outcome {
                Ok(raw) => break raw,
                Err(fault) => return Err(refusal(&fault)),
            },
            // A frame that could not be read as ours is answered under this id.
            Incoming::Response { id, outcome: Err(fault) } if id == "invalid" => return Err(refusal(&fault)),
            _ => {}
        }
    };
    read_hello(&raw, config)
}

/// Reads what a gateway says of itself when the connection is up.
pub(crate) fn read_hello(raw: &RawValue, config: &Config) -> Result<Hello, Failure> {
    let hello: RawHello =
        payload(raw).ok_or_else(|| unavailable("the gateway's hello could not be understood".into()))?;
    if !PROTOCOLS.contains(&hello.protocol) {
        let why = format!("the gateway chose protocol {}; this program speaks 3 and 4", hello.protocol);
        return Err(Trouble::new(Kind::Refused, why).into());
    }
    // A limit that not even the connect would have passed is no limit but a gateway that is not well. Taken at its
    // word, it would be the death of every record.
    if let Some(limit) = hello.policy.get("maxPayload").and_then(Value::as_u64)
        && limit < LEAST_PAYLOAD
    {
        let why = format!(
            "the gateway says that it takes requests of at most {limit} bytes, and nothing fits into them"
        );
        return Err(unavailable(why).into());
    }
    Ok(hello.into_hello(config))
}

fn refusal(fault: &Fault) -> Failure {
    let detail = match fault.detail("code") {
        "" => fault.code.clone(),
        detail => detail.to_owned(),
    };
    Failure { trouble: classify::connect_fault(fault), detail }
}

/// One frame, or what became of the connection.
async fn read(
    config: &Config,
    socket: &mut Socket,
    deadline: Instant,
    what: &str,
) -> Result<Incoming, Trouble> {
    match timeout_at(deadline, socket.next()).await {
        Err(_) => {
            let seconds = config.deadlines.handshake.as_secs_f32();
            Err(unavailable(format!("the gateway at {} did not send {what} within {seconds} s", config.url)))
        }
        Ok(None) => Err(classify::connect_closed(&Closed::default())),
        Ok(Some(Err(error))) => Err(lost(config, &error)),
        Ok(Some(Ok(Message::Text(text)))) => Ok(Incoming::read(&text)),
        Ok(Some(Ok(Message::Close(frame)))) => {
            let closed = frame.map_or(Closed { code: Some(1005), reason: String::new() }, |frame| Closed {
                code: Some(frame.code.into()),
                reason: one_line(&frame.reason),
            });
            Err(classify::connect_closed(&closed))
        }
        Ok(Some(Ok(_))) => Ok(Incoming::Other),
    }
}

pub(crate) fn lost(config: &Config, error: &WsError) -> Trouble {
    unavailable(format!("lost {} while connecting: {}", config.url, one_line(&error.to_string())))
}

pub(crate) fn unavailable(why: String) -> Trouble {
    Trouble::new(Kind::Unavailable, why)
}

#[derive(Deserialize)]
struct RawHello {
    protocol: u32,
    #[serde(default, deserialize_with = "lenient")]
    server: Value,
    #[serde(default, deserialize_with = "lenient")]
    snapshot: Value,
    #[serde(default, deserialize_with = "lenient")]
    features: Value,
    #[serde(default, deserialize_with = "lenient")]
    auth: Value,
    #[serde(default, deserialize_with = "lenient")]
    policy: Value,
}

fn now_ms() -> Option<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?;
    since.as_millis().try_into().ok()
}

impl RawHello {
    fn into_hello(self, config: &Config) -> Hello {
        let text = |value: &Value| value.as_str().map(one_line);
        let list = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let number =
            |name: &str, default: u64| self.policy.get(name).and_then(Value::as_u64).unwrap_or(default);
        // A tick of nothing would close at once, one of a year would never notice anything.
        let tick = Duration::from_millis(number("tickIntervalMs", 30_000).clamp(1_000, 300_000));
        Hello {
            version: text(&self.server["version"]).unwrap_or_default(),
            boot_id: text(&self.server["bootId"]),
            booted_at: self.snapshot["uptimeMs"].as_u64().and_then(|up| now_ms()?.checked_sub(up)),
            protocol: self.protocol,
            methods: list(&self.features["methods"]).into_iter().collect(),
            limits: Limits {
                payload: usize::try_from(number("maxPayload", WRITE_LIMIT as u64)).unwrap_or(WRITE_LIMIT),
                silence: config.deadlines.silence.unwrap_or(tick * 2),
            },
            scopes: list(&self.auth["scopes"]),
            device_token: self.auth["deviceToken"].as_str().map(Secret::new),
        }
    }
}

impl Hello {
    /// Whether the gateway has these methods. A list without `agent`, which every gateway has, is none to go by; then
    /// it is taken by its protocol: every gateway of protocol 4 has them.
    pub fn has(&self, methods: &[&str]) -> bool {
        if !self.methods.contains("agent") {
            return self.protocol >= 4;
        }
        methods.iter().all(|method| self.methods.contains(*method))
    }

    /// Whether the scopes granted are enough to deliver.
    pub fn may_write(&self) -> bool {
        self.scopes.iter().any(|scope| scope == WRITE_SCOPE || scope == ADMIN_SCOPE)
    }
}
