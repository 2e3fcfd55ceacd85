//! Scripts that claim things beside the point: events about this and other deliveries, answers in forms of their own.
//!
//! An event is news at most. Whatever it claims (that the turn ended, that the reply was sent, that the session is
//! gone, that the gateway stops), only an answer to a question of ours counts, so none of these changes how it ends.

use serde_json::{Value, json};

use super::script::{Cue, Moment, Script, Step, script};
use super::wire::{json as frame, text};

/// Where there is something to claim; in the middle of a frame it is garbage besides.
pub(super) const CLAIMED: [Moment; 7] = [
    Moment::Look,
    Moment::Follow,
    Moment::Request,
    Moment::MidFrame,
    Moment::Ack,
    Moment::Accepted,
    Moment::Final,
];

/// All of them.
pub(super) fn scripts() -> Vec<Script> {
    let mut all = events();
    all.extend(forms());
    all.extend(ticks());
    all
}

/// An event of this name about the delivery, and on.
fn claim(name: &str, event: &'static str, make: fn(&Cue) -> Value) -> Script {
    script(format!("claim/{name}"), &CLAIMED, move |cue| {
        vec![Step::Send(frame(&json!({"type": "event", "event": event, "payload": make(cue)}))), Step::Pass]
    })
}

fn run(cue: &Cue, stream: &str, data: Value) -> Value {
    json!({"runId": cue.key, "sessionKey": cue.session, "stream": stream, "seq": 1, "data": data})
}

fn events() -> Vec<Script> {
    let of = claim;
    vec![
        of("the-run-has-started", "agent", |cue| run(cue, "lifecycle", json!({"phase": "start"}))),
        of("the-run-has-ended", "agent", |cue| {
            let sent = json!({"status": "sent", "resultCount": 1});
            run(cue, "lifecycle", json!({"phase": "end", "executionSettled": true, "terminalDelivery": sent}))
        }),
        of("the-run-has-failed", "agent", |cue| {
            run(cue, "lifecycle", json!({"phase": "error", "error": "boom"}))
        }),
        of("the-run-says", "agent", |cue| run(cue, "assistant", json!({"delta": "sent", "text": cue.key}))),
        of("the-chat-is-final", "chat", |cue| run(cue, "chat", json!({"state": "final", "ok": true}))),
        of("the-chat-is-aborted", "chat", |cue| run(cue, "chat", json!({"state": "aborted"}))),
        of("the-final-answer", "agent", |cue| cue.ok(cue.sent())),
        of("the-answer-as-it-would-be", "res", |cue| cue.ok(cue.sent())),
        of("the-fault", "agent", |cue| {
            cue.no(json!({"code": "INVALID_REQUEST", "message": "unknown method"}))
        }),
        of("the-task-is-done", "task", |cue| json!({"runId": cue.key, "status": "completed"})),
        of("it-was-delivered", "delivery.sent", |cue| json!({"idempotencyKey": cue.key, "ok": true})),
        of(
            "the-session-is-gone",
            "sessions.changed",
            |cue| json!({"sessionKey": cue.session, "reason": "delete"}),
        ),
        of(
            "the-session-is-archived",
            "sessions.changed",
            |cue| json!({"sessionKey": cue.session, "reason": "archive", "session": {"archived": true}}),
        ),
        of(
            "the-session-is-another",
            "sessions.changed",
            |cue| json!({"sessionKey": cue.session, "reason": "reset", "session": {"sessionId": "another"}}),
        ),
        of("it-is-stopping", "shutdown", |_| json!({"reason": "gateway stopping", "restartExpectedMs": 1})),
        of("it-is-stopping-for-ever", "shutdown", |_| json!({"restartExpectedMs": u64::MAX})),
        of("it-is-ill", "health", |_| json!({"ok": false, "status": "failing"})),
        of("it-is-there", "presence", |cue| json!([{"host": "x", "text": cue.key}])),
        of("a-device-wants-in", "device.pair.requested", |_| json!({"requestId": "r", "deviceId": "d"})),
        of(
            "somebody-has-to-approve",
            "exec.approval.requested",
            |_| json!({"id": "a", "command": "rm -rf /"}),
        ),
        of("our-token-is-another", "device.token", |cue| json!({"token": cue.token, "deviceToken": "new"})),
        of("there-is-an-update", "update.available", |_| json!({"version": "9999.1.1", "protocol": 9})),
        of(
            "hello-again",
            "hello-ok",
            |_| json!({"protocol": 9, "policy": {"maxPayload": 0, "tickIntervalMs": 1}}),
        ),
        of("nothing-at-all", "", |_| Value::Null),
    ]
}

/// An answer whose envelope is no answer's, with the delivery's success in it, and on.
fn form(name: &str, make: fn(&Cue) -> Value) -> Script {
    script(format!("form/{name}"), &CLAIMED, move |cue| vec![Step::Send(frame(&make(cue))), Step::Pass])
}

fn forms() -> Vec<Script> {
    let of = form;
    vec![
        of("without-an-id", |cue| json!({"type": "res", "ok": true, "payload": cue.sent()})),
        of("with-the-id-null", |cue| json!({"type": "res", "id": null, "ok": true, "payload": cue.sent()})),
        of(
            "with-the-id-in-an-object",
            |cue| json!({"type": "res", "id": {"id": cue.id}, "ok": true, "payload": cue.sent()}),
        ),
        of(
            "with-a-fraction-for-an-id",
            |cue| json!({"type": "res", "id": format!("{}.0", cue.id), "ok": true, "payload": cue.sent()}),
        ),
        of(
            "with-an-exponent-for-an-id",
            |cue| json!({"type": "res", "id": format!("{}e0", cue.id), "ok": true, "payload": cue.sent()}),
        ),
        of(
            "with-a-line-behind-the-id",
            |cue| json!({"type": "res", "id": format!("{}\n", cue.id), "ok": true, "payload": cue.sent()}),
        ),
        of(
            "with-nul-behind-the-id",
            |cue| json!({"type": "res", "id": format!("{}\0", cue.id), "ok": true, "payload": cue.sent()}),
        ),
        of(
            "with-an-id-of-a-megabyte",
            |cue| json!({"type": "res", "id": "1".repeat(1 << 20), "ok": true, "payload": cue.sent()}),
        ),
        of("without-a-type", |cue| json!({"id": cue.id, "ok": true, "payload": cue.sent()})),
        of(
            "with-a-number-for-a-type",
            |cue| json!({"type": 1, "id": cue.id, "ok": true, "payload": cue.sent()}),
        ),
        of(
            "with-another-type",
            |cue| json!({"type": "result", "id": cue.id, "ok": true, "payload": cue.sent()}),
        ),
        of("with-ok-null", |cue| json!({"type": "res", "id": cue.id, "ok": null, "payload": cue.sent()})),
        of("as-json-rpc", |cue| json!({"jsonrpc": "2.0", "id": cue.id, "result": cue.sent()})),
        of("in-a-list", |cue| json!([cue.ok(cue.sent())])),
        of("as-a-text", |cue| json!(cue.ok(cue.sent()).to_string())),
        of(
            "as-a-request",
            |cue| json!({"type": "req", "id": cue.id, "method": "agent", "params": cue.sent()}),
        ),
    ]
}

fn ticks() -> Vec<Script> {
    let values = [
        ("of-nothing", Value::Null),
        ("of-a-word", json!("now")),
        ("before-time", json!({"ts": -1})),
        ("after-time", json!({"ts": u64::MAX})),
        ("of-a-megabyte", json!("t".repeat(1 << 20))),
        ("of-ten-thousand", json!(vec![0; 10_000])),
    ];
    let of = |(name, payload): (&str, Value)| {
        let tick = text(&json!({"type": "event", "event": "tick", "payload": payload}).to_string());
        script(format!("tick-{name}"), &CLAIMED, move |_| vec![Step::Send(tick.clone()), Step::Pass])
    };
    values.into_iter().map(of).collect()
}
