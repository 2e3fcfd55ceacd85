//! Each row is an answer of a running gateway, word for word.

use super::*;
use serde_json::json;

fn judged(method: &str, error: serde_json::Value) -> Trouble {
    fault(method, &serde_json::from_value::<Fault>(error).unwrap())
}

#[test]
fn captured_answers_to_requests() {
    use Kind::*;
    let rows = [
        // Retry: the gateway says so.
        (
            "agent",
            json!({"code": "UNAVAILABLE", "message": "gateway starting; retry shortly", "retryable": true,
            "retryAfterMs": 500, "details": {"reason": "startup-sidecars"}}),
            Unavailable,
        ),
        (
            "agent",
            json!({"code": "UNAVAILABLE", "message": "gateway is suspending", "retryable": true,
            "retryAfterMs": 1000, "details": {"reason": "gateway-suspending", "phase": "prepared"}}),
            Unavailable,
        ),
        (
            "agent",
            json!({"code": "UNAVAILABLE", "message": "agent unavailable during gateway restart",
            "retryable": true, "retryAfterMs": 1000, "details": {"reason": "gateway-restarting"}}),
            Unavailable,
        ),
        (
            "agent",
            json!({"code": "UNAVAILABLE", "message": "rate limit exceeded for agent", "retryable": true,
            "retryAfterMs": 2000, "details": {"limit": "30 per 60s"}}),
            Unavailable,
        ),
        // The same code without `retryable` means many things.
        (
            "agent",
            json!({"code": "UNAVAILABLE",
            "message": "Gateway is draining; new tasks are not accepted"}),
            Unavailable,
        ),
        (
            "agent",
            json!({"code": "UNAVAILABLE",
            "message": "Session \"agent:main:int1\" changed while starting work. Retry. | SESSION_WORK_START_CHANGED"}),
            Session,
        ),
        (
            "agent",
            json!({"code": "UNAVAILABLE",
            "message": "Session \"agent:main:nosuch\" changed before expected work could start."}),
            Moved,
        ),
        (
            "agent",
            json!({"code": "UNAVAILABLE",
            "message": "Pending input ownership ended; submit a new turn to continue"}),
            Burnt,
        ),
        (
            "agent",
            json!({"code": "UNAVAILABLE",
            "message": "Pending input idempotency key conflicts with the accepted input"}),
            Burnt,
        ),
        (
            "chat.send",
            json!({"code": "INVALID_REQUEST", "message": "request conflict",
            "details": {"reason": "chat-request-conflict"}}),
            Burnt,
        ),
        ("agent", json!({"code": "UNAVAILABLE", "message": "Malformed agent session key"}), Never),
        (
            "sessions.describe",
            json!({"code": "INVALID_REQUEST", "message": "malformed session key \"agent:x:\""}),
            Never,
        ),
        ("wake", json!({"code": "UNAVAILABLE", "message": "cron job agent is unavailable"}), Never),
        (
            "agent",
            json!({"code": "INVALID_REQUEST", "message": "Agent \"nope\" no longer exists in configuration"}),
            Never,
        ),
        (
            "agent",
            json!({"code": "INVALID_REQUEST",
            "message": "invalid agent params: at root: unexpected property 'bogus'"}),
            Never,
        ),
        (
            "send",
            json!({"code": "INVALID_REQUEST", "message": "invalid send params: at /threadId: must be string"}),
            Never,
        ),
        (
            "agent",
            json!({"code": "INVALID_REQUEST",
            "message": "expectedExistingSessionId is reserved for backend callers."}),
            Never,
        ),
        // A person decides.
        (
            "agent",
            json!({"code": "INVALID_REQUEST",
            "message": "Session \"agent:main:a\" is archived. Restore it before starting new work."}),
            Hold,
        ),
        ("agent", json!({"code": "INVALID_REQUEST", "message": "send blocked by session policy"}), Hold),
        (
            "agent",
            json!({"code": "INVALID_REQUEST",
            "message": "Session \"agent:main:a\" ended during restart recovery. Use /new or /reset to start a replacement session."}),
            Hold,
        ),
        (
            "agent",
            json!({"code": "UNAVAILABLE", "message": "Session \"agent:main:a\" has interrupted work pending restart \
            recovery; retry through a healthy Gateway or reset it there with /new or /reset."}),
            Session,
        ),
        (
            "agent",
            json!({"code": "INVALID_REQUEST", "message": "Delivering to Telegram requires target <chatId>"}),
            Hold,
        ),
        (
            "agent",
            json!({"code": "INVALID_REQUEST",
            "message": "Error: Channel is required (no configured channels detected)."}),
            Hold,
        ),
        ("send", json!({"code": "INVALID_REQUEST", "message": "unsupported channel: whatsapp"}), Hold),
        (
            "send",
            json!({"code": "INVALID_REQUEST", "message": "Multiple agents are configured; name one"}),
            Hold,
        ),
        (
            "send",
            json!({"code": "UNAVAILABLE", "message": "Error: Telegram delivered message 9007 to topic unknown; \
            expected topic 7 | CHANNEL_PARTIAL_DELIVERY | CHANNEL_PARTIAL_DELIVERY"}),
            Hold,
        ),
        (
            "chat.inject",
            json!({"code": "FORBIDDEN", "message": "missing scope: operator.admin", "details":
            {"code": "MISSING_SCOPE", "missingScope": "operator.admin", "requiredScopes": ["operator.admin"]}}),
            Hold,
        ),
        // Ours to mend.
        (
            "agent",
            json!({"code": "FORBIDDEN", "message": "missing scope: operator.admin", "details":
            {"code": "MISSING_SCOPE", "missingScope": "operator.admin"}}),
            Never,
        ),
        (
            "agent",
            json!({"code": "FORBIDDEN", "message": "missing scope: operator.write", "details":
            {"code": "MISSING_SCOPE", "missingScope": "operator.write"}}),
            Refused,
        ),
        ("agent", json!({"code": "INVALID_REQUEST", "message": "missing scope: operator.write"}), Refused),
        // The session went away between two requests.
        (
            "sessions.send",
            json!({"code": "INVALID_REQUEST", "message": "session not found: agent:main:x"}),
            Moved,
        ),
        (
            "chat.history",
            json!({"code": "INVALID_REQUEST", "message": "No session found: agent:main:x"}),
            Moved,
        ),
        // The gateway has it in its own queue, unless the platform says that there is nobody.
        (
            "send",
            json!({"code": "UNAVAILABLE", "message": "OutboundDeliveryError: fetch failed",
            "details": {"code": "OUTBOUND_DELIVERY_QUEUED"}}),
            Doubt,
        ),
        (
            "send",
            json!({"code": "UNAVAILABLE", "message": "OutboundDeliveryError: Telegram send failed: bot is not \
            a member of the chat, was blocked, or was kicked (chat_id=77403). Telegram API said: Call to \
            'sendMessage' failed! (403: Forbidden: bot was blocked by the user). Fix: Add the bot to the \
            channel/group, or ensure it has not been removed/blocked/kicked by the user.",
            "details": {"code": "OUTBOUND_DELIVERY_QUEUED"}}),
            Never,
        ),
        (
            "send",
            json!({"code": "UNAVAILABLE", "message": "OutboundDeliveryError: Telegram send failed: chat not \
            found (chat_id=77404). Likely: bot not started in DM, bot removed from group/channel, group migrated \
            (new -100… id), or wrong bot token.", "details": {"code": "OUTBOUND_DELIVERY_QUEUED"}}),
            Never,
        ),
        (
            "send",
            json!({"code": "UNAVAILABLE", "message": "Telegram recipient must be a numeric chat ID",
            "details": {"code": "OUTBOUND_DELIVERY_QUEUED"}}),
            Never,
        ),
        // The same words in a turn are about its reply, and the turn is committed: the probe will say so.
        (
            "agent",
            json!({"code": "UNAVAILABLE",
            "message": "Telegram send failed: bot was blocked by the user"}),
            Record,
        ),
        (
            "agent",
            json!({"code": "UNAVAILABLE",
            "message": "LLM request failed: provider rejected the request schema or tool payload."}),
            Record,
        ),
        // Nobody has seen these.
        ("agent", json!({"code": "BRAND_NEW", "message": "?"}), Record),
        ("agent", json!({"code": "BRAND_NEW", "message": "?", "retryable": true}), Unavailable),
        ("agent", json!({}), Record),
    ];
    for (method, error, kind) in rows {
        let trouble = judged(method, error.clone());
        assert_eq!(trouble.kind, kind, "{method} {error}");
        assert!(trouble.reason.contains(method), "{}", trouble.reason);
        assert!(!trouble.reason.contains('\n') && trouble.reason.len() < 1000, "{}", trouble.reason);
    }
}

#[test]
fn the_wait_asked_for_is_kept_and_clamped() {
    let wait = |ms: serde_json::Value| {
        judged("agent", json!({"code": "UNAVAILABLE", "retryable": true, "retryAfterMs": ms})).retry_after
    };
    assert_eq!(wait(json!(1000)), Some(Duration::from_secs(1)));
    assert_eq!(wait(json!(u64::MAX)), Some(Duration::from_secs(300)));
    assert_eq!(wait(json!(-1)), None);
    assert_eq!(wait(json!(null)), None);
}

#[test]
fn captured_answers_to_connect() {
    use Kind::*;
    let rows = [
        (
            "INVALID_REQUEST",
            "unauthorized: gateway token mismatch (provide gateway auth token)",
            "AUTH_TOKEN_MISMATCH",
            Refused,
            "gateway.auth.token",
        ),
        ("INVALID_REQUEST", "unauthorized: gateway token missing", "AUTH_TOKEN_MISSING", Refused, "token"),
        (
            "INVALID_REQUEST",
            "unauthorized: gateway password mismatch",
            "AUTH_PASSWORD_MISMATCH",
            Refused,
            "password",
        ),
        ("INVALID_REQUEST", "device token lacks scope", "AUTH_SCOPE_MISMATCH", Refused, "scope"),
        ("NOT_PAIRED", "pairing required", "PAIRING_REQUIRED", Refused, "openclaw devices approve"),
        ("NOT_PAIRED", "device identity required", "DEVICE_IDENTITY_REQUIRED", Refused, "identity"),
        ("INVALID_REQUEST", "device signature invalid", "DEVICE_AUTH_SIGNATURE_INVALID", Refused, "identity"),
        ("INVALID_REQUEST", "device signature expired", "DEVICE_AUTH_SIGNATURE_EXPIRED", Refused, "clocks"),
        ("INVALID_REQUEST", "protocol mismatch", "PROTOCOL_MISMATCH", Refused, "protocol 3 and 4"),
        ("INVALID_REQUEST", "origin not allowed", "CONTROL_UI_ORIGIN_NOT_ALLOWED", Refused, "browser"),
        ("INVALID_REQUEST", "invalid connect params: unexpected property", "", Refused, "connect params"),
        ("INVALID_REQUEST", "too many attempts", "AUTH_RATE_LIMITED", Unavailable, "waiting"),
        ("UNAVAILABLE", "gateway starting", "", Unavailable, "starting"),
        ("SOMETHING", "new", "", Unavailable, "new"),
    ];
    for (code, message, detail, kind, word) in rows {
        let error = json!({"code": code, "message": message, "details": {"code": detail}});
        let trouble = connect_fault(&serde_json::from_value(error).unwrap());
        assert_eq!(trouble.kind, kind, "{code} {detail}");
        assert!(trouble.reason.contains(word), "{}", trouble.reason);
    }
    let starting = json!({"code": "UNAVAILABLE", "message": "gateway starting", "retryable": true,
        "retryAfterMs": 500, "details": {"reason": "startup-sidecars"}});
    let trouble = connect_fault(&serde_json::from_value(starting).unwrap());
    assert_eq!((trouble.kind, trouble.retry_after), (Unavailable, Some(Duration::from_millis(500))));
}

#[test]
fn close_codes_while_connecting() {
    for (code, kind) in [
        (None, Kind::Unavailable),
        (Some(1000), Kind::Unavailable),
        (Some(1002), Kind::Refused),
        (Some(1006), Kind::Unavailable),
        (Some(1008), Kind::Refused),
        (Some(1012), Kind::Unavailable),
        (Some(1013), Kind::Unavailable),
    ] {
        assert_eq!(connect_closed(&Closed { code, reason: String::new() }).kind, kind, "{code:?}");
    }
}

#[test]
fn answers_to_the_upgrade() {
    for (status, kind) in [
        (301, Kind::Refused),
        (308, Kind::Refused),
        (401, Kind::Refused),
        (403, Kind::Refused),
        (404, Kind::Unavailable),
        (429, Kind::Unavailable),
        (500, Kind::Unavailable),
        (503, Kind::Unavailable),
    ] {
        let trouble = upgrade("ws://127.0.0.1:1", status, None);
        assert_eq!(trouble.kind, kind, "{status}");
        assert!(trouble.reason.contains(&status.to_string()), "{}", trouble.reason);
    }
}

#[test]
fn what_is_not_known_is_doubt_only_for_what_changes_something() {
    let kind = |error, read_only| call("agent", error, read_only).kind;
    assert_eq!(kind(CallError::Timeout(Duration::from_secs(1)), false), Kind::Doubt);
    assert_eq!(kind(CallError::Timeout(Duration::from_secs(1)), true), Kind::Unavailable);
    assert_eq!(kind(CallError::Closed(Closed::default()), false), Kind::Doubt);
    assert_eq!(kind(CallError::Closed(Closed::default()), true), Kind::Unavailable);
    assert_eq!(kind(CallError::Unreadable, false), Kind::Doubt);
    assert_eq!(kind(CallError::TooLarge { size: 9, limit: 8 }, false), Kind::Never);
    assert_eq!(kind(CallError::Busy, false), Kind::Unavailable);
}

#[test]
fn a_socket_that_refuses_says_what_to_look_at() {
    let trouble = io("ws://127.0.0.1:1", &io::ErrorKind::ConnectionRefused.into());
    assert_eq!(trouble.kind, Kind::Unavailable);
    assert!(trouble.reason.contains("running"), "{}", trouble.reason);
}
