//! What an answer, a close code or an error of the socket means: the one place that turns them into a [`Kind`].
//!
//! Order matters. The details of a fault are asked first, then `retryable`, and the words of the message only
//! then: codes repeat (`UNAVAILABLE` is also said of things that will never work) and sentences change between
//! versions. What nobody recognises costs an attempt and so ends dead instead of looping. Nothing here says
//! that a delivery was *not* committed; only a probe can.
//!
//! Every sentence in the tables below was captured from a running gateway; the tests hold the whole captures.

use std::io;
use std::time::Duration;

use crate::client::{CallError, Closed};
use crate::frame::{Fault, one_line};
use crate::receiver::{Kind, Trouble};

/// What a platform says of a recipient that will never take a message. Said inside the fault of a `send`.
const NO_SUCH_RECIPIENT: &[&str] = &[
    "chat not found",
    "was blocked by the user",
    "bot was kicked",
    "user is deactivated",
    "peer_id_invalid",
    "recipient must be a numeric chat id",
];

/// Sentences without a code of their own, in lower case, and what they mean.
const SENTENCES: &[(&str, Kind, &str)] = &[
    ("is draining; new tasks are not accepted", Kind::Unavailable, ""),
    ("gateway is suspending", Kind::Unavailable, ""),
    ("during gateway restart", Kind::Unavailable, ""),
    ("channel_partial_delivery", Kind::Hold, "part of it arrived; retrying sends all of it again"),
    ("session_work_start_changed", Kind::Session, ""),
    ("changed while starting work", Kind::Session, ""),
    ("changed before expected work could start", Kind::Moved, ""),
    ("session not found", Kind::Moved, ""),
    ("no session found", Kind::Moved, ""),
    ("pending input ownership ended", Kind::Burnt, ""),
    ("conflicts with the accepted input", Kind::Burnt, ""),
    ("is still initializing", Kind::Session, ""),
    ("workspace is not ready", Kind::Session, ""),
    ("pending restart recovery", Kind::Session, ""),
    ("is archived", Kind::Hold, "restore the session, then retry"),
    // After three failed recoveries of one turn the gateway gives the session up for good.
    ("ended during restart recovery", Kind::Hold, "write /reset in the session, then spool release ID"),
    ("is paused as a precaution", Kind::Hold, "let the session go on in OpenClaw, then spool release ID"),
    ("send blocked by session policy", Kind::Hold, "allow sends in the session, then retry"),
    ("requires target", Kind::Hold, "give the session a channel, or name a route"),
    ("channel is required", Kind::Hold, "configure a channel, or deliver as a turn"),
    ("unsupported channel", Kind::Hold, "configure that channel, or name another route"),
    ("multiple agents are configured", Kind::Hold, "name a session of one agent"),
    ("no longer exists in configuration", Kind::Never, "the session's agent is gone"),
    ("agent is unavailable", Kind::Never, "the session's agent is gone"),
    ("malformed agent session key", Kind::Never, ""),
    ("malformed session key", Kind::Never, ""),
    ("unknown method", Kind::Never, "the gateway is too old for it"),
    ("is reserved for backend callers", Kind::Never, ""),
];

/// The requests that carry a record; all others are questions.
const DELIVERIES: &[&str] = &["agent", "chat.send", "send", "chat.inject"];

/// A request that the gateway answered with a fault.
pub(crate) fn fault(method: &str, fault: &Fault) -> Trouble {
    let (kind, advice) = judge(method, fault);
    let mut reason = format!("the gateway refused {method}: {}", sentence(fault));
    if !advice.is_empty() {
        reason.push_str("; ");
        reason.push_str(advice);
    }
    Trouble { kind, reason, retry_after: fault.retry_after() }
}

fn judge(method: &str, fault: &Fault) -> (Kind, &'static str) {
    let text = fault.message.to_lowercase();
    if method == "send" && NO_SUCH_RECIPIENT.iter().any(|known| text.contains(known)) {
        return (Kind::Never, "the recipient cannot be reached by this bot");
    }
    match fault.detail("code") {
        "OUTBOUND_DELIVERY_QUEUED" => return (Kind::Doubt, "the gateway may still deliver it by itself"),
        "SESSION_WORK_START_CHANGED" => return (Kind::Session, ""),
        "MISSING_SCOPE" => return missing_scope(method, fault.detail("missingScope")),
        _ => {}
    }
    if fault.detail("reason") == "chat-request-conflict" {
        return (Kind::Burnt, "");
    }
    if fault.retryable {
        return (Kind::Unavailable, "");
    }
    if let Some(scope) = text.split("missing scope: ").nth(1) {
        return missing_scope(method, scope.trim());
    }
    let is_malformed = text.starts_with("invalid ") && text.contains(" params");
    // What we ask is the same for every record: a gateway that does not understand it is no verdict on one of them.
    if !DELIVERIES.contains(&method) && (is_malformed || text.contains("unknown method")) {
        return (Kind::Unavailable, "this gateway does not know such a question; update one of the two");
    }
    if let Some((_, kind, advice)) = SENTENCES.iter().find(|(known, ..)| text.contains(known)) {
        return (*kind, advice);
    }
    if is_malformed {
        return (Kind::Never, "this gateway does not take such a request");
    }
    (Kind::Record, "")
}

/// A scope we do not have. With write scope only a note and a text that is a command ask for more.
fn missing_scope(method: &str, scope: &str) -> (Kind, &'static str) {
    match (method, scope) {
        ("chat.inject", _) => {
            (Kind::Hold, "a note needs a token with admin scope; configure one, or deliver as a turn")
        }
        ("agent" | "chat.send", "operator.admin") => {
            (Kind::Never, "the text reads like a command of the gateway")
        }
        _ => (Kind::Refused, "use a token (or approve a device) with the scope operator.write"),
    }
}

/// A request that got no usable answer. `read_only` says that it cannot have changed anything.
pub(crate) fn call(method: &str, error: CallError, read_only: bool) -> Trouble {
    let unknown = if read_only { Kind::Unavailable } else { Kind::Doubt };
    match error {
        CallError::Fault(refusal) => fault(method, &refusal),
        CallError::TooLarge { size, limit } => Trouble::new(
            Kind::Never,
            format!("cannot send {method}: the request has {size} bytes and the gateway takes {limit}"),
        ),
        CallError::Busy => Trouble::new(
            Kind::Unavailable,
            format!("cannot send {method}: too many requests wait for an answer"),
        ),
        CallError::Timeout(after) => {
            Trouble::new(unknown, format!("the gateway did not answer {method} within {} s", after.as_secs()))
        }
        CallError::Closed(closed) => {
            Trouble::new(unknown, format!("the connection ended before {method} was answered: {closed}"))
        }
        CallError::Unreadable => {
            Trouble::new(unknown, format!("the gateway's answer to {method} could not be understood"))
        }
    }
}

/// What a connect fault's `details.code` asks of a person. Prefixes; the first match counts.
const CONNECT: &[(&str, Kind, &str)] = &[
    ("AUTH_RATE_LIMITED", Kind::Unavailable, "too many failed attempts; waiting"),
    ("AUTHENTICATED_PROFILE_UNAVAILABLE", Kind::Unavailable, ""),
    ("AUTH_DEVICE_TOKEN_MISMATCH", Kind::Refused, "the device token was revoked; pair the device again"),
    (
        "AUTH_SCOPE_MISMATCH",
        Kind::Refused,
        "the device token has fewer scopes than asked for; approve the upgrade",
    ),
    ("AUTH_PASSWORD", Kind::Refused, "check the gateway's password (gateway.auth.password)"),
    ("AUTH_TOKEN_NOT_CONFIGURED", Kind::Refused, "the gateway has no token configured (gateway.auth.token)"),
    ("AUTH_TOKEN", Kind::Refused, "check the gateway's token (gateway.auth.token) and where it is read from"),
    ("AUTH_", Kind::Refused, "check how the gateway authenticates (gateway.auth.mode)"),
    (
        "PAIRING_REQUIRED",
        Kind::Refused,
        "approve this device on the gateway: openclaw devices list, openclaw devices approve",
    ),
    (
        "NOT_PAIRED",
        Kind::Refused,
        "approve this device on the gateway: openclaw devices list, openclaw devices approve",
    ),
    (
        "DEVICE_IDENTITY_REQUIRED",
        Kind::Refused,
        "this gateway wants a device identity; configure its directory",
    ),
    ("DEVICE_AUTH_SIGNATURE_EXPIRED", Kind::Refused, "the clocks of this machine and the gateway differ"),
    (
        "DEVICE_",
        Kind::Refused,
        "the gateway does not accept this device's identity; remove it to make a new one",
    ),
    ("CONTROL_UI_", Kind::Refused, "the gateway took this client for a browser; connect to it directly"),
    ("PROTOCOL_MISMATCH", Kind::Refused, "this program speaks protocol 3 and 4; update one of the two"),
    ("CLIENT_VERSION_MISMATCH", Kind::Refused, "update this program"),
    ("MISSING_SCOPE", Kind::Refused, "use a token with the scope operator.write"),
];

/// A connect request that the gateway answered with a fault.
pub(crate) fn connect_fault(fault: &Fault) -> Trouble {
    let detail = fault.detail("code");
    let known = [detail, fault.code.as_str()]
        .into_iter()
        .find_map(|code| CONNECT.iter().find(|(prefix, ..)| !code.is_empty() && code.starts_with(prefix)));
    let (kind, advice) = match known {
        Some((_, kind, advice)) => (*kind, *advice),
        None if fault.retryable => (Kind::Unavailable, ""),
        None => match fault.code.as_str() {
            "INVALID_REQUEST" | "FORBIDDEN" | "UNAUTHORIZED" => {
                (Kind::Refused, "check the token and the versions")
            }
            _ => (Kind::Unavailable, ""),
        },
    };
    let mut reason = format!("the gateway refused the connection: {}", sentence(fault));
    if !detail.is_empty() {
        reason.push_str(&format!(" [{}]", one_line(detail)));
    }
    if !advice.is_empty() {
        reason.push_str("; ");
        reason.push_str(advice);
    }
    Trouble { kind, reason, retry_after: fault.retry_after() }
}

/// A connection that closed before hello-ok, without a fault that says why.
pub(crate) fn connect_closed(closed: &Closed) -> Trouble {
    // 1008 is how a gateway ends a connect it objects to; everything else is weather.
    let kind = match closed.code {
        Some(1002 | 1008) => Kind::Refused,
        _ => Kind::Unavailable,
    };
    Trouble::new(kind, format!("the gateway ended the connection before it was up: {closed}"))
}

/// An HTTP answer to the WebSocket upgrade that is not 101.
pub(crate) fn upgrade(url: &str, status: u16, retry_after: Option<Duration>) -> Trouble {
    let (kind, what) = match status {
        300..=399 => {
            (Kind::Refused, "it redirects, which is never followed; configure the address it redirects to")
        }
        401 | 403 => (Kind::Refused, "something in front of the gateway wants other credentials"),
        404 => (Kind::Unavailable, "there is no gateway at this path; check the address"),
        503 => (Kind::Unavailable, "the gateway is draining or starting"),
        _ => (Kind::Unavailable, "that is not a gateway, or not yet"),
    };
    Trouble { kind, reason: format!("{url} answered the upgrade with HTTP {status}: {what}"), retry_after }
}

/// An error of the socket while connecting.
pub(crate) fn io(url: &str, error: &io::Error) -> Trouble {
    let what = match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there; is the gateway running?".to_owned(),
        _ => one_line(&error.to_string()),
    };
    Trouble::new(Kind::Unavailable, format!("cannot reach {url}: {what}"))
}

fn sentence(fault: &Fault) -> String {
    match (fault.message.as_str(), fault.code.as_str()) {
        ("", "") => "no reason given".to_owned(),
        ("", code) => one_line(code),
        (message, "") => one_line(message),
        (message, code) => format!("{} ({})", one_line(message), one_line(code)),
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
