//! Configuration: where the gateway is, and what opens it.

use std::ffi::OsString;
use std::net::IpAddr;

use spool_gateway::openclaw::Config;

use crate::openclaw_config::{password, settings, token};
use crate::promises::{SECRET, check_sentence};

fn env(name: &str) -> Option<OsString> {
    match name {
        "TOKEN" => Some("from-env".into()),
        "PORT" => Some("19001".into()),
        "EMPTY" => Some(OsString::new()),
        _ => None,
    }
}

pub(super) fn openclaw(data: &[u8]) {
    // The file is read as text.
    let Ok(text) = std::str::from_utf8(data) else { return };
    match settings(text, &env) {
        Ok(settings) => assert_ne!(settings.port, Some(0), "nobody listens on port 0"),
        Err(why) => check_sentence(&why),
    }
    for why in [token(text).err(), password(text).err()].into_iter().flatten() {
        check_sentence(&why);
    }
}

pub(super) fn address(data: &[u8]) {
    let Ok(url) = std::str::from_utf8(data) else { return };
    let mut config = Config::new(url);
    match config.check() {
        Ok(()) => {
            // Without a pinned certificate: in the clear, so to this machine only.
            let host = host(url).unwrap_or_default();
            let is_loopback = host.eq_ignore_ascii_case("localhost")
                || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            assert!(is_loopback, "a token would go to {host:?}");
        }
        Err(trouble) => {
            let reason = &trouble.reason;
            assert!(!reason.chars().any(char::is_control), "control characters in {reason:?}");
            let before_at = url.rsplit_once('@').is_some_and(|(before, _)| before.contains(SECRET));
            let after_at = url.rsplit_once('@').is_some_and(|(_, after)| after.contains(SECRET));
            assert!(!before_at || after_at || !reason.contains(SECRET), "{reason:?}");
        }
    }
    config.tls_fingerprint = Some("00".repeat(32));
    if config.check().is_ok() {
        assert!(
            !url.split(['/', '?', '#']).nth(2).unwrap_or_default().contains('@'),
            "credentials in {url:?}"
        );
    }
}

/// The host of a `ws://` address (RFC 3986, 3.2.2).
fn host(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("ws") {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map(|(host, _)| host),
        None => Some(authority.rsplit_once(':').map_or(authority, |(host, _)| host)),
    }
}
