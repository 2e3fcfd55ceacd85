//! From an address and a token to a connection that is up, in the way this gateway accepts.
//!
//! What stays true:
//!
//! - No error, log line or `Debug` shows a secret, not even one that the peer repeats.
//! - One call is at most three attempts, each in a different way (see [`Way`]), each bounded in time; there is no
//!   loop that a gateway could keep us in.
//! - The way that needs no pairing is tried first: a backend client on loopback with the shared token keeps its
//!   scopes on current gateways. Gateways that clear the scopes of device-less clients (2026.3.13), and gateways
//!   that are not on loopback, get the signed device identity.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::SinkExt;
use serde_json::json;
use spool_seeded::Bug;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;

use crate::client::Ids;
use crate::config::{Config, Target};
use crate::frame::{PRE_CONNECT_LIMIT, Request, one_line};
use crate::handshake::{
    ADMIN_SCOPE, Challenge, Failure, Hello, PROTOCOLS, WRITE_SCOPE, challenge, hello, lost, unavailable,
};
use crate::identity::{Identity, Statement};
use crate::receiver::{Kind, Trouble};
use crate::secret::{Known, Secret, Source};
use crate::socket::{Socket, open};

const PLATFORM: &str = "linux";

/// What is remembered from connect to connect.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// This gateway gave a device-less client no scopes, or refused it.
    wants_device: AtomicBool,
    /// What requests are called, on all connections.
    pub ids: Ids,
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
    /// What it was opened with.
    pub known: Known,
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

    fn known(&self) -> Known {
        Known::new([&self.token, &self.password, &self.device_token].into_iter().flatten())
    }

    /// Takes every secret out of a sentence, whoever put it there.
    fn scrub(&self, mut trouble: Trouble) -> Trouble {
        if spool_seeded::is(Bug::TokenInLog) {
            trouble.reason.extend(self.token.as_ref().map(Secret::expose));
            return trouble;
        }
        trouble.reason = self.known().redact(trouble.reason);
        trouble
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
        let next = match attempt(config, target, memory, credentials, way).await {
            Ok(up) if up.hello.may_write() => {
                // An upgraded gateway may keep the scopes again: ask it the next time.
                memory.wants_device.store(way == Way::Device && up.hello.protocol <= 3, Ordering::Relaxed);
                if let (Some(device), Some(token)) = (&credentials.device, &up.hello.device_token)
                    && credentials.device_token.as_ref() != Some(token)
                    && let Err(why) = device.keep_device_token(&config.url, token)
                {
                    // The connection is up all the same; without the token the next one just pairs again.
                    tracing::warn!("{why}");
                }
                let known = credentials.known().and(&up.hello.device_token);
                let version = match &credentials.token {
                    Some(token) if spool_seeded::is(Bug::TokenInStatus) => token.expose().to_owned(),
                    _ => known.redact(up.hello.version),
                };
                return Ok(Up { hello: Hello { version, ..up.hello }, known, ..up });
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
    memory: &Memory,
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
    let id = memory.ids.next().to_string();
    let text = introduction(&id, credentials, way, &challenge, client_id, mode, scopes);
    if text.len() > PRE_CONNECT_LIMIT {
        return Err(Trouble::new(Kind::Refused, "cannot connect: the token is too large to be one").into());
    }
    socket.send(Message::text(text)).await.map_err(|error| lost(config, &error))?;
    let hello = hello(config, &mut socket, &id).await?;
    let admin = hello.scopes.iter().any(|scope| scope == ADMIN_SCOPE);
    Ok(Up { socket, hello, backend: mode == "backend", admin, known: Known::default() })
}

/// The connect request.
fn introduction(
    id: &str,
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
    Request::new(id, "connect", &params).to_text()
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
