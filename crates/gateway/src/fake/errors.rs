//! The error payloads of the gateway, in the words that were captured from the real one.
//!
//! A client that classifies on these classifies on what it will meet. Each function returns the `error` member
//! of a response: `{code, message, retryable?, retryAfterMs?, details?}`.

use std::time::Duration;

use serde_json::{Value, json};

/// `INVALID_REQUEST` with a message: schema errors, archived and closed sessions, unknown recipients.
pub fn invalid(message: impl Into<String>) -> Value {
    json!({"code": "INVALID_REQUEST", "message": message.into()})
}

/// `UNAVAILABLE` without `retryable`: the trap among the errors, for most of these are permanent.
pub fn unavailable(message: impl Into<String>) -> Value {
    json!({"code": "UNAVAILABLE", "message": message.into()})
}

/// `UNAVAILABLE` that may be tried again, with the wait the gateway asks for.
pub fn retryable(message: &str, reason: &str, after: Duration) -> Value {
    json!({"code": "UNAVAILABLE", "message": message, "retryable": true, "retryAfterMs": millis(after),
        "details": {"reason": reason}})
}

/// Asked too often.
pub fn rate_limited(method: &str, after: Duration) -> Value {
    json!({"code": "UNAVAILABLE", "message": format!("rate limit exceeded for {method}"), "retryable": true,
        "retryAfterMs": millis(after), "details": {"limit": "30 per 60s"}})
}

/// The answer to `connect` while the gateway starts; close 1013 follows.
pub fn starting() -> Value {
    retryable("gateway starting; retry shortly", "startup-sidecars", Duration::from_millis(500))
}

/// The answer to new work while the gateway drains.
pub fn restarting() -> Value {
    retryable("agent unavailable during gateway restart", "gateway-restarting", Duration::from_millis(1000))
}

/// The answer to new work while the gateway prepares to suspend.
pub fn suspending() -> Value {
    let after = Duration::from_millis(1000);
    let mut error = retryable("gateway is suspending", "gateway-suspending", after);
    error["details"]["phase"] = json!("prepared");
    error
}

/// The final of a request that was accepted just before the gateway began to drain. Its key is burnt.
pub fn draining() -> Value {
    unavailable("Gateway is draining; new tasks are not accepted")
}

/// The final of a request whose session changed between the acceptance and the start of the turn.
pub fn work_start_changed(session: &str) -> Value {
    unavailable(format!(
        "Session \"{session}\" changed while starting work. Retry. | SESSION_WORK_START_CHANGED"
    ))
}

/// The pin did not match, or there is no such session.
pub fn pin_changed(session: &str) -> Value {
    unavailable(format!("Session {session} changed before expected work could start."))
}

/// The key of an input that was interrupted, with the same text.
pub fn ownership_ended() -> Value {
    unavailable("Pending input ownership ended; submit a new turn to continue")
}

/// The key of an input that was interrupted, with another text.
pub fn ownership_conflict() -> Value {
    unavailable("Pending input idempotency key conflicts with the accepted input")
}

/// The scope is missing.
pub fn missing_scope(scope: &str) -> Value {
    json!({"code": "FORBIDDEN", "message": format!("missing scope: {scope}"),
        "details": {"code": "MISSING_SCOPE", "missingScope": scope}})
}

/// The session is archived.
pub fn archived(session: &str) -> Value {
    invalid(format!("Session \"{session}\" is archived. Restore it before starting new work."))
}

/// The session's policy refuses sends.
pub fn closed() -> Value {
    invalid("send blocked by session policy")
}

/// The platform did not take a message; the gateway may or may not deliver it later.
pub fn outbound_queued(message: impl Into<String>) -> Value {
    json!({"code": "UNAVAILABLE", "message": message.into(),
        "details": {"code": "OUTBOUND_DELIVERY_QUEUED"}})
}

/// The same key came with another text to the same session.
pub fn chat_conflict() -> Value {
    json!({"code": "INVALID_REQUEST", "message": "idempotency key was already used for another chat request",
        "details": {"reason": "chat-request-conflict"}})
}

/// A refused `connect`: the code a client looks at is in the details.
pub fn refused(code: &str, message: &str) -> Value {
    json!({"code": "INVALID_REQUEST", "message": message, "details": {"code": code}})
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
