//! How to reach one gateway, and the rules an address has to keep.
//!
//! What stays true: a token goes to a loopback address or through TLS to a certificate with the pinned
//! fingerprint, and nowhere else; an address never carries credentials.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio_tungstenite::tungstenite::http::Uri;

use crate::frame::one_line;
use crate::receiver::{Kind, Trouble};
use crate::secret::Source;

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

impl Config {
    /// Whether the address may be used at all, without using it.
    ///
    /// # Errors
    /// The rule that it breaks, as [`Kind::Refused`].
    pub fn check(&self) -> Result<(), Trouble> {
        Target::parse(self).map(drop)
    }

    /// The host and the port that the address names, and whether that is this machine alone.
    ///
    /// # Errors
    /// As [`Config::check`].
    pub fn points_at(&self) -> Result<(String, u16, bool), Trouble> {
        Target::parse(self).map(|target| (target.host, target.port, target.loopback))
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
        if !tls && !loopback && !spool_seeded::is(spool_seeded::Bug::TokenAbroad) {
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
        // A port that is none is a slip of the pen, not a wish for the default one.
        let after_host =
            uri.authority().and_then(|a| a.as_str().strip_prefix(uri.host()?)).unwrap_or_default();
        let port = match after_host.strip_prefix(':').map(|port| port.parse::<u16>()) {
            None if after_host.is_empty() => {
                if tls {
                    443
                } else {
                    80
                }
            }
            Some(Ok(port)) if port > 0 => port,
            _ => return Err(refuse("what follows its host is no port")),
        };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_never_leaves_in_the_clear() {
        let target = |url: &str, pin: bool| {
            let mut config = Config::new(url);
            config.tls_fingerprint = pin.then(|| "00".repeat(32));
            Target::parse(&config)
        };
        for url in ["ws://127.0.0.1:1", "ws://[::1]:1", "ws://localhost:1", "ws://127.9.9.9/path"] {
            assert!(target(url, false).is_ok_and(|target| target.loopback && !target.tls), "{url}");
        }
        for url in [
            "ws://10.0.0.1:1",
            "ws://example.org",
            "ws://0.0.0.0:1",
            "ws://localhost.example.org",
            "http://127.0.0.1:1",
            "127.0.0.1:1",
            "ws://user:hunter2@127.0.0.1:1",
            "ws://127.0.0.1:",
            "ws://127.0.0.1:0",
            "ws://127.0.0.1:99999",
            "ws://127.0.0.1:18789x",
            "ws://127.0.0.1:1[::1]2",
            "ws://[::1]1",
            "wss://example.org",
            "",
        ] {
            let trouble = target(url, false).unwrap_err();
            assert_eq!(trouble.kind, Kind::Refused, "{url}");
            assert!(!trouble.reason.contains("hunter2"), "{trouble}");
        }
        assert_eq!(target("ws://[::1]:18789/x", false).map(|target| target.port), Ok(18789));
        assert_eq!(target("ws://localhost?x", false).map(|target| target.port), Ok(80));
        assert_eq!(target("wss://example.org", true).is_ok(), cfg!(feature = "tls"));
    }
}
