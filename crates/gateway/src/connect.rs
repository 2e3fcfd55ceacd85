//! From an address and a token to a connection that is up: socket, upgrade, challenge, connect, hello-ok.
//!
//! What stays true:
//!
//! - A token goes to a loopback address or through TLS to a certificate with the pinned fingerprint, and nowhere
//!   else. Redirects are never followed. No error, log line or `Debug` shows a secret.
//! - One call is at most three attempts, each in a different way (see [`Way`]), each bounded in time; there is no
//!   loop that a gateway could keep us in.
//! - The way that needs no pairing is tried first: a backend client on loopback with the shared token keeps its
//!   scopes on current gateways. Gateways that clear the scopes of device-less clients (2026.3.13), and gateways
//!   that are not on loopback, get the signed device identity.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::classify;
use crate::client::{Closed, Limits, Socket, Wire};
use crate::frame::{
    Fault, Incoming, PRE_CONNECT_LIMIT, READ_LIMIT, Request, WRITE_LIMIT, lenient, one_line, payload,
};
use crate::identity::{Identity, Statement};
use crate::receiver::{Kind, Trouble};
use crate::secret::{Secret, Source};

/// The protocols this client speaks.
const PROTOCOLS: std::ops::RangeInclusive<u32> = 3..=4;
const PLATFORM: &str = "linux";
const WRITE_SCOPE: &str = "operator.write";
pub(crate) const ADMIN_SCOPE: &str = "operator.admin";

/// How to reach one gateway.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ws://127.0.0.1:18789` (loopback only) or `wss://host:port` (with [`Config::tls_fingerprint`]).
    pub url: String,
    /// The gateway's shared token, if it has one. Read again for every connect.
    pub token: Option<Source>,
    /// The gateway's password, for `gateway.auth.mode` `password`.
    pub password: Option<Source>,
    /// Where the device key and its token are kept. `None`: no device identity, whatever the gateway says.
    pub identity_dir: Option<PathBuf>,
    /// Ask for admin scope as well. Only notes need it.
    pub admin: bool,
    /// The SHA-256 of the gateway's certificate, in hex, with or without colons. Required for `wss://`.
    pub tls_fingerprint: Option<String>,
    /// How long to wait for what.
    pub deadlines: Deadlines,
}

impl Config {
    /// A gateway at `url`, without credentials.
    pub fn new(url: impl Into<String>) -> Self {
        Config {
            url: url.into(),
            token: None,
            password: None,
            identity_dir: None,
            admin: false,
            tls_fingerprint: None,
            deadlines: Deadlines::default(),
        }
    }
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// Socket, TLS and upgrade together.
    pub open: Duration,
    /// The challenge, and then the answer to the connect request.
    pub handshake: Duration,
    /// The answer to a request that changes little or nothing.
    pub request: Duration,
    /// The end of a turn. A provider that fails takes a minute and a half to say so.
    pub turn: Duration,
    /// The platform's answer to a message; the gateway waits out rate limits inside the call.
    pub message: Duration,
    /// Silence after which the connection is given up. `None`: twice the gateway's tick interval.
    pub silence: Option<Duration>,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            open: Duration::from_secs(10),
            handshake: Duration::from_secs(15),
            request: Duration::from_secs(15),
            turn: Duration::from_secs(15 * 60),
            message: Duration::from_secs(180),
            silence: None,
        }
    }
}

/// Where the address points, after the rules for it were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub loopback: bool,
}

impl Target {
    /// Checks an address against the rules: a scheme we speak, no credentials in it, plain only on loopback.
    pub fn parse(config: &Config) -> Result<Target, Trouble> {
        let refuse = |why: &str| {
            Trouble::new(
                Kind::Refused,
                format!("cannot use the gateway address {}: {why}", shown(&config.url)),
            )
        };
        let uri: Uri = config.url.parse().map_err(|_| refuse("it is not a URL like ws://127.0.0.1:18789"))?;
        let tls = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(refuse("it must start with ws:// or wss://")),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(refuse("it must not contain a user or a password"));
        }
        let host = uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(refuse("it names no host"));
        }
        let loopback = host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !tls && !loopback {
            return Err(refuse(
                "a token never crosses the network in the clear; use wss:// with a pinned fingerprint, or a tunnel to loopback",
            ));
        }
        if tls && config.tls_fingerprint.is_none() {
            return Err(refuse("wss:// needs the SHA-256 fingerprint of the gateway's certificate"));
        }
        if tls && cfg!(not(feature = "tls")) {
            return Err(refuse("this program was built without TLS; use a tunnel to loopback"));
        }
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Target { tls, host, port, loopback })
    }
}

/// An address without what somebody may have put before the `@`.
fn shown(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("…@{}", one_line(rest)),
        None => one_line(url),
    }
}

/// What is remembered from connect to connect.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// This gateway gave a device-less client no scopes, or refused it.
    wants_device: AtomicBool,
}

/// A way to introduce ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `gateway-client`/`backend`, shared credential, no device. Loopback only.
    Plain,
    /// With the signed device identity and the shared credential.
    Device,
    /// With the signed device identity and the token the gateway gave it.
    DeviceToken,
}

/// A connection that is up.
pub(crate) struct Up {
    pub socket: Socket,
    pub hello: Hello,
    /// Introduced as `backend`: the only mode that may pin a send to a session.
    pub backend: bool,
    pub admin: bool,
}

/// What hello-ok said.
#[derive(Debug)]
pub(crate) struct Hello {
    pub version: String,
    pub boot_id: Option<String>,
    pub protocol: u32,
    pub methods: HashSet<String>,
    pub limits: Limits,
    scopes: Vec<String>,
    device_token: Option<Secret>,
}

struct Credentials {
    token: Option<Secret>,
    password: Option<Secret>,
    device: Option<Identity>,
    device_token: Option<Secret>,
}

impl Credentials {
    fn read(config: &Config) -> Result<Credentials, String> {
        let read = |source: &Option<Source>| source.as_ref().map(Source::read).transpose();
        Ok(Credentials {
            token: read(&config.token)?,
            password: read(&config.password)?,
            device: None,
            device_token: None,
        })
    }

    /// Reads (or makes) the device identity, once.
    fn device(&mut self, config: &Config) -> Result<Option<&Identity>, String> {
        if let (None, Some(dir)) = (&self.device, &config.identity_dir) {
            let identity = Identity::load_or_create(dir)?;
            self.device_token = identity.device_token(&config.url)?;
            self.device = Some(identity);
        }
        Ok(self.device.as_ref())
    }

    fn shared(&self) -> bool {
        self.token.is_some() || self.password.is_some()
    }

    /// Takes every secret out of a sentence, whoever put it there.
    fn scrub(&self, mut trouble: Trouble) -> Trouble {
        for secret in [&self.token, &self.password, &self.device_token].into_iter().flatten() {
            trouble.reason = trouble.reason.replace(secret.expose(), "[redacted]");
        }
        trouble
    }
}

/// Why an attempt failed, with the detail that decides whether another way may help.
struct Failure {
    trouble: Trouble,
    detail: String,
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Failure { trouble, detail: String::new() }
    }
}

/// Connects once, in the ways that make sense.
pub(crate) async fn connect(config: &Config, memory: &Memory) -> Result<Up, Trouble> {
    let target = Target::parse(config)?;
    let mut credentials = Credentials::read(config).map_err(|why| Trouble::new(Kind::Refused, why))?;
    let result = connect_in_ways(config, &target, memory, &mut credentials).await;
    result.map_err(|trouble| credentials.scrub(trouble))
}

async fn connect_in_ways(
    config: &Config,
    target: &Target,
    memory: &Memory,
    credentials: &mut Credentials,
) -> Result<Up, Trouble> {
    let refused = |why: String| Trouble::new(Kind::Refused, why);
    let may_be_plain =
        target.loopback && credentials.shared() && !memory.wants_device.load(Ordering::Relaxed);
    let mut way = if may_be_plain {
        Way::Plain
    } else {
        let has_device = credentials.device(config).map_err(refused)?.is_some();
        match (has_device, credentials.shared(), credentials.device_token.is_some()) {
            (true, true, _) => Way::Device,
            (true, false, true) => Way::DeviceToken,
            // A gateway without authentication: nothing to show but ourselves.
            (false, _, _) if target.loopback => Way::Plain,
            (true, false, false) => Way::Device,
            (false, ..) => {
                return Err(refused(format!(
                    "cannot connect to {}: a gateway that is not on loopback wants a device identity; configure its directory",
                    config.url
                )));
            }
        }
    };
    let mut tried = vec![way];
    loop {
        let next = match attempt(config, target, credentials, way).await {
            Ok(up) if up.hello.may_write() => {
                // An upgraded gateway may keep the scopes again: ask it the next time.
                memory.wants_device.store(way == Way::Device && up.hello.protocol <= 3, Ordering::Relaxed);
                if let (Some(device), Some(token)) = (&credentials.device, &up.hello.device_token) {
                    if credentials.device_token.as_ref() != Some(token) {
                        // The connection is up all the same; without the token the next one just pairs again.
                        if let Err(why) = device.keep_device_token(&config.url, token) {
                            tracing::warn!("{why}");
                        }
                    }
                }
                return Ok(up);
            }
            Ok(up) => {
                let failure = Trouble::new(
                    Kind::Refused,
                    format!(
                        "the gateway at {} granted the scopes [{}] and not {WRITE_SCOPE}; use a token that has it, or approve this device",
                        config.url,
                        one_line(&up.hello.scopes.join(", "))
                    ),
                );
                (Way::Device, failure)
            }
            Err(failure) => match failure.detail.as_str() {
                "AUTH_TOKEN_MISMATCH" | "AUTH_TOKEN_MISSING" | "AUTH_PASSWORD_MISMATCH" => {
                    (Way::DeviceToken, failure.trouble)
                }
                "DEVICE_IDENTITY_REQUIRED" | "NOT_PAIRED" | "PAIRING_REQUIRED" => {
                    (Way::Device, failure.trouble)
                }
                _ => return Err(failure.trouble),
            },
        };
        let (next_way, trouble) = next;
        let device = credentials.device(config).map_err(refused)?.is_some();
        let possible = device && (next_way == Way::Device || credentials.device_token.is_some());
        if !possible || tried.contains(&next_way) {
            return Err(trouble);
        }
        tracing::debug!(?way, ?next_way, "trying another way to introduce ourselves");
        way = next_way;
        tried.push(way);
    }
}

async fn attempt(
    config: &Config,
    target: &Target,
    credentials: &Credentials,
    way: Way,
) -> Result<Up, Failure> {
    let deadline = Instant::now() + config.deadlines.open;
    let mut socket = match timeout_at(deadline, open(config, target)).await {
        Ok(socket) => socket?,
        Err(_) => {
            let seconds = config.deadlines.open.as_secs_f32();
            return Err(unavailable(format!("{} did not answer within {seconds} s", config.url)).into());
        }
    };
    let challenge = challenge(config, &mut socket).await?;
    // A device-less client that may pin has to be a backend; on loopback a device is paired at sight as `cli`.
    let (client_id, mode) =
        if way == Way::Plain || !target.loopback { ("gateway-client", "backend") } else { ("cli", "cli") };
    let scopes: &[&str] = if config.admin { &[WRITE_SCOPE, ADMIN_SCOPE] } else { &[WRITE_SCOPE] };
    let text = introduction(credentials, way, &challenge, client_id, mode, scopes);
    if text.len() > PRE_CONNECT_LIMIT {
        return Err(Trouble::new(Kind::Refused, "cannot connect: the token is too large to be one").into());
    }
    socket.send(Message::text(text)).await.map_err(|error| lost(config, &error))?;
    let hello = hello(config, &mut socket).await?;
    let admin = hello.scopes.iter().any(|scope| scope == ADMIN_SCOPE);
    Ok(Up { socket, hello, backend: mode == "backend", admin })
}

/// The connect request.
fn introduction(
    credentials: &Credentials,
    way: Way,
    challenge: &Challenge,
    client_id: &str,
    mode: &str,
    scopes: &[&str],
) -> String {
    let token = match way {
        Way::DeviceToken => credentials.device_token.as_ref(),
        Way::Plain | Way::Device => credentials.token.as_ref(),
    };
    let mut auth = serde_json::Map::new();
    if let Some(token) = token {
        auth.insert("token".into(), token.expose().into());
    }
    if let (Some(password), true) = (&credentials.password, way != Way::DeviceToken) {
        auth.insert("password".into(), password.expose().into());
    }
    let mut params = json!({
        "minProtocol": PROTOCOLS.start(),
        "maxProtocol": PROTOCOLS.end(),
        "client": {"id": client_id, "version": env!("CARGO_PKG_VERSION"), "platform": PLATFORM, "mode": mode},
        "role": "operator",
        "scopes": scopes,
        "caps": [],
        "auth": auth,
    });
    if let (Some(device), true) = (&credentials.device, way != Way::Plain) {
        let statement = Statement {
            client_id,
            client_mode: mode,
            role: "operator",
            scopes,
            signed_at: challenge.ts,
            token: token.map_or("", Secret::expose),
            nonce: &challenge.nonce,
            platform: PLATFORM,
        };
        params["device"] = json!({
            "id": device.device_id(),
            "publicKey": device.public_key(),
            "signature": device.sign(&statement),
            "signedAt": challenge.ts,
            "nonce": challenge.nonce,
        });
    }
    Request::new("1", "connect", &params).to_text()
}

/// Socket, TLS, upgrade.
async fn open(config: &Config, target: &Target) -> Result<Socket, Trouble> {
    let unreachable = |error: &io::Error| classify::io(&config.url, error);
    let stream = dial(target).await.map_err(|error| unreachable(&error))?;
    let wire: Box<dyn Wire> =
        if target.tls { encrypt(config, target, stream).await? } else { Box::new(stream) };
    // Without all four, a peer could make us buffer without end.
    let limits = WebSocketConfig::default()
        .read_buffer_size(32 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_LIMIT + PRE_CONNECT_LIMIT)
        .max_message_size(Some(READ_LIMIT))
        .max_frame_size(Some(READ_LIMIT));
    let request = config.url.as_str().into_client_request().map_err(|error| {
        Trouble::new(Kind::Refused, format!("cannot use the gateway address {}: {error}", config.url))
    })?;
    match client_async_with_config(request, wire, Some(limits)).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => {
            let wait =
                response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
            let wait =
                wait.map(|seconds: u64| Duration::from_secs(seconds).min(crate::frame::RETRY_AFTER_LIMIT));
            Err(classify::upgrade(&config.url, response.status().as_u16(), wait))
        }
        Err(WsError::Io(error)) => Err(unreachable(&error)),
        Err(error) => Err(unavailable(format!(
            "{} does not speak WebSocket: {}",
            config.url,
            one_line(&error.to_string())
        ))),
    }
}

async fn dial(target: &Target) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> =
        tokio::net::lookup_host((target.host.as_str(), target.port)).await?.take(16).collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address to connect to");
    for address in addresses {
        // A name that claims to be this machine has to be: /etc/hosts is not always what it was.
        if target.loopback && !address.ip().is_loopback() {
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(feature = "tls")]
async fn encrypt(config: &Config, target: &Target, stream: TcpStream) -> Result<Box<dyn Wire>, Trouble> {
    crate::tls::wrap(config, &target.host, stream).await
}

#[cfg(not(feature = "tls"))]
async fn encrypt(config: &Config, _target: &Target, _stream: TcpStream) -> Result<Box<dyn Wire>, Trouble> {
    // Refused when the address was checked; kept as an answer, not a panic.
    Err(Trouble::new(Kind::Refused, format!("cannot connect to {}: built without TLS", config.url)))
}

/// What the gateway wants signed.
#[derive(Deserialize)]
struct Challenge {
    nonce: String,
    ts: u64,
}

async fn challenge(config: &Config, socket: &mut Socket) -> Result<Challenge, Trouble> {
    let deadline = Instant::now() + config.deadlines.handshake;
    loop {
        if let Incoming::Event { name, payload: Some(raw) } =
            read(config, socket, deadline, "a challenge").await?
        {
            if name == "connect.challenge" {
                let challenge = payload::<Challenge>(&raw).filter(|challenge| challenge.nonce.len() <= 512);
                return challenge
                    .ok_or_else(|| unavailable("the gateway's challenge could not be understood".into()));
            }
        }
    }
}

/// Waits for the answer to the connect request.
async fn hello(config: &Config, socket: &mut Socket) -> Result<Hello, Failure> {
    let deadline = Instant::now() + config.deadlines.handshake;
    let raw = loop {
        match read(config, socket, deadline, "an answer to the connect request").await? {
            Incoming::Response { id, outcome } if id == "1" => match outcome {
                Ok(raw) => break raw,
                Err(fault) => return Err(refusal(&fault)),
            },
            // A frame that could not be read as ours is answered under this id.
            Incoming::Response { id, outcome: Err(fault) } if id == "invalid" => return Err(refusal(&fault)),
            _ => {}
        }
    };
    let hello: RawHello =
        payload(&raw).ok_or_else(|| unavailable("the gateway's hello could not be understood".into()))?;
    if !PROTOCOLS.contains(&hello.protocol) {
        let why = format!("the gateway chose protocol {}; this program speaks 3 and 4", hello.protocol);
        return Err(Trouble::new(Kind::Refused, why).into());
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

fn lost(config: &Config, error: &WsError) -> Trouble {
    unavailable(format!("lost {} while connecting: {}", config.url, one_line(&error.to_string())))
}

fn unavailable(why: String) -> Trouble {
    Trouble::new(Kind::Unavailable, why)
}

#[derive(Deserialize)]
struct RawHello {
    protocol: u32,
    #[serde(default, deserialize_with = "lenient")]
    server: Value,
    #[serde(default, deserialize_with = "lenient")]
    features: Value,
    #[serde(default, deserialize_with = "lenient")]
    auth: Value,
    #[serde(default, deserialize_with = "lenient")]
    policy: Value,
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
    fn may_write(&self) -> bool {
        self.scopes.iter().any(|scope| scope == WRITE_SCOPE || scope == ADMIN_SCOPE)
    }
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
