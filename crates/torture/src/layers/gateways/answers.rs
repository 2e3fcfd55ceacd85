//! Scripts for a delivery's own way: what the session is, the subscription, the answers to the delivery itself.

use serde_json::{Value, json};

use super::claims::CLAIMED;
use super::hello::put;
use super::script::{Cue, Ends, Moment, Script, Step, altered, script};
use super::wire::{json as frame, text};

const LOOK: [Moment; 1] = [Moment::Look];
const FOLLOW: [Moment; 1] = [Moment::Follow];
const REQUEST: [Moment; 1] = [Moment::Request];
const STOLEN: &str = "agent:main:telegram:direct:66666";

/// All of them.
pub(super) fn scripts() -> Vec<Script> {
    let mut all = looks();
    all.extend(follows());
    all.extend(faults());
    all.extend(odd_faults());
    all.extend(acknowledgements());
    all.extend(finals());
    all
}

/// The honest description with one member changed or, by `None`, removed.
fn described(name: impl Into<String>, at: &'static str, value: Option<Value>) -> Script {
    script(name, &LOOK, move |_| {
        let value = value.clone();
        altered(move |_, frame| put(frame, at, value.clone()))
    })
}

fn looks() -> Vec<Script> {
    let of = described;
    let mut all = vec![
        // What a gateway says clearly of a session is a proof.
        of("look/no-session", "/payload/session", Some(Value::Null)).ends(Ends::Dead("there is no session")),
        of("look/archived", "/payload/session/archived", Some(json!(true))).ends(Ends::Held("is archived")),
        of("look/closed", "/payload/session/sendPolicy", Some(json!("deny"))).ends(Ends::Held("is closed")),
        // What it says unclearly is nothing.
        of("look/archived-as-a-word", "/payload/session/archived", Some(json!("true"))),
        of("look/policy-as-a-list", "/payload/session/sendPolicy", Some(json!(["deny"]))),
        of("look/without-payload", "/payload", None),
        of("look/payload-null", "/payload", Some(Value::Null)),
        of("look/payload-word", "/payload", Some(json!("yes"))),
        of("look/payload-list", "/payload", Some(json!([]))),
        of("look/payload-empty", "/payload", Some(json!({}))),
        of("look/session-missing", "/payload/session", None),
        of("look/session-false", "/payload/session", Some(json!(false))),
        of("look/session-word", "/payload/session", Some(json!("null"))),
        of("look/session-list", "/payload/session", Some(json!([]))),
        of("look/session-empty", "/payload/session", Some(json!({}))),
        of("look/pin-missing", "/payload/session/sessionId", None),
        of("look/pin-empty", "/payload/session/sessionId", Some(json!(""))),
        of("look/pin-number", "/payload/session/sessionId", Some(json!(7))),
        of("look/pin-of-another-session", "/payload/session/sessionId", Some(json!("another"))).lasting(600),
        of("look/pin-of-a-megabyte", "/payload/session/sessionId", Some(json!("p".repeat(1 << 20))))
            .lasting(600),
        of("look/key-of-another-session", "/payload/session/key", Some(json!(STOLEN))),
        of("look/route-number", "/payload/session/deliveryContext", Some(json!(7))),
        of(
            "look/route-last",
            "/payload/session/deliveryContext",
            Some(json!({"channel": "last", "to": "x"})),
        ),
        of("look/route-of-numbers", "/payload/session/deliveryContext", Some(json!({"channel": 1, "to": 2}))),
        of("look/route-missing", "/payload/session/deliveryContext", None),
        of("look/junk", "/payload/session/junk", Some(json!("x".repeat(1 << 20)))),
        of("look/id-number", "/id", Some(json!(2))),
        of("look/ok-word", "/ok", Some(json!("true"))),
        script("look/other-id", &LOOK, |cue| {
            let other = Cue { id: format!("{}0", cue.id), ..cue.clone() };
            vec![Step::Send(frame(&other.ok(json!({"session": null})))), Step::Pass]
        }),
        script("look/missing-after-the-truth", &LOOK, |cue| {
            vec![Step::Pass, Step::Send(frame(&cue.ok(json!({"session": null}))))]
        }),
        script("look/missing-and-there", &LOOK, |cue| {
            let twice = format!(
                r#"{{"type":"res","id":"{}","ok":true,"payload":{{"session":{{"sessionId":"s"}},"session":null}}}}"#,
                cue.id
            );
            vec![Step::Send(text(&twice))]
        }),
        script("look/deep", &LOOK, |cue| {
            let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
            let answer =
                format!(r#"{{"type":"res","id":"{}","ok":true,"payload":{{"session":{deep}}}}}"#, cue.id);
            vec![Step::Send(text(&answer))]
        }),
        script("look/wide", &LOOK, |cue| {
            let wide = "0,".repeat(7 << 20);
            let answer =
                format!(r#"{{"type":"res","id":"{}","ok":true,"payload":{{"session":[{wide}0]}}}}"#, cue.id);
            vec![Step::Send(text(&answer))]
        })
        .heavy()
        .lasting(400),
        script("look/accepted", &LOOK, |cue| vec![Step::Send(frame(&cue.ok(json!({"status": "accepted"}))))]),
        script("look/says-it-was-delivered", &LOOK, |cue| vec![Step::Send(frame(&cue.ok(cue.sent())))]),
    ];
    let errors = [
        ("internal", json!({"code": "INTERNAL", "message": "boom"})),
        ("nothing", Value::Null),
        ("invalid", json!({"code": "INVALID_REQUEST", "message": "strange"})),
    ];
    for (name, error) in errors {
        let says = move |cue: &Cue| vec![Step::Send(frame(&cue.no(error.clone())))];
        all.push(script(format!("look/error-{name}"), &LOOK, says).pays());
    }
    all
}

fn follows() -> Vec<Script> {
    let of = |name: &str, at: &'static str, value: Option<Value>| {
        script(format!("follow/{name}"), &FOLLOW, move |_| {
            let value = value.clone();
            altered(move |_, frame| put(frame, at, value.clone()))
        })
    };
    let row = |name: &str, make: fn(&Cue) -> Value| {
        script(format!("row/{name}"), &CLAIMED, move |cue| {
            let event = json!({"type": "event", "event": "session.message", "payload": make(cue)});
            vec![Step::Send(frame(&event)), Step::Pass]
        })
    };
    vec![
        of("key-of-another-session", "/payload/key", Some(json!(STOLEN))),
        of("key-number", "/payload/key", Some(json!(1))),
        of("payload-null", "/payload", Some(Value::Null)),
        of("not-subscribed", "/payload/subscribed", Some(json!(false))),
        row(
            "of-another-key",
            |cue| json!({"sessionKey": cue.session, "message": {"role": "user", "idempotencyKey": "sp-0:user"}}),
        ),
        row("of-another-session", |cue| {
            let key = format!("{}:user", cue.key);
            json!({"sessionKey": STOLEN, "message": {"role": "user", "idempotencyKey": key}})
        }),
        row("of-a-longer-key", |cue| {
            let key = format!("{}~2:user", cue.key);
            json!({"sessionKey": cue.session, "message": {"role": "user", "idempotencyKey": key}})
        }),
        row(
            "of-the-reply",
            |cue| json!({"sessionKey": cue.session, "message": {"role": "assistant", "idempotencyKey": cue.key}}),
        ),
        row("of-numbers", |_| json!({"sessionKey": 1, "message": {"idempotencyKey": 2}})),
        row("of-nothing", |_| Value::Null),
        row(
            "with-a-key-of-a-megabyte",
            |cue| json!({"sessionKey": cue.session, "message": {"idempotencyKey": "k".repeat(1 << 20)}}),
        ),
        // Said under the right key in the right session: a lie that nobody can see.
        script("row/of-what-is-then-refused", &REQUEST, |cue| {
            let key = format!("{}:user", cue.key);
            let event = json!({"type": "event", "event": "session.message", "payload": {
                "sessionKey": cue.session, "message": {"role": "user", "idempotencyKey": key}}});
            vec![
                Step::Send(frame(&event)),
                Step::Send(frame(&cue.no(json!({"code": "INTERNAL", "message": "boom"})))),
            ]
        })
        .ends(Ends::Believed)
        .told(),
    ]
}

/// Sentences of the real gateway, and what each means for a delivery that did not get through.
fn faults() -> Vec<Script> {
    let refused = |message: &str| json!({"code": "INVALID_REQUEST", "message": message});
    let away = |message: &str| json!({"code": "UNAVAILABLE", "message": message});
    let later = |message: &str, reason: &str| {
        json!({"code": "UNAVAILABLE", "message": message, "retryable": true, "retryAfterMs": 50,
            "details": {"reason": reason}})
    };
    let free = Ends::Delivered;
    let scope = json!({"code": "FORBIDDEN", "message": "missing scope: operator.write",
        "details": {"code": "MISSING_SCOPE", "missingScope": "operator.write"}});
    let admin = json!({"code": "FORBIDDEN", "message": "missing scope: operator.admin",
        "details": {"code": "MISSING_SCOPE", "missingScope": "operator.admin"}});
    let conflict =
        json!({"code": "INVALID_REQUEST", "message": "used", "details": {"reason": "chat-request-conflict"}});
    let table = [
        ("restarting", later("agent unavailable during gateway restart", "gateway-restarting"), free),
        ("suspending", later("gateway is suspending", "gateway-suspending"), free),
        ("rate-limited", later("rate limit exceeded for agent", "limit"), free),
        ("draining", away("Gateway is draining; new tasks are not accepted"), free),
        (
            "work-start-changed",
            away("Session \"s\" changed while starting work. | SESSION_WORK_START_CHANGED"),
            free,
        ),
        ("pin-changed", away("Session s changed before expected work could start."), free),
        ("session-not-found", refused("session not found: s"), free),
        ("initializing", away("Session s is still initializing"), free),
        ("recovering", away("Session \"s\" has interrupted work pending restart recovery"), free),
        ("ownership-ended", away("Pending input ownership ended; submit a new turn to continue"), free),
        ("key-conflict", away("Pending input idempotency key conflicts with the accepted input"), free),
        ("request-conflict", conflict, free),
        (
            "archived",
            refused("Session \"s\" is archived. Restore it before starting new work."),
            Ends::Held("archived"),
        ),
        ("closed", refused("send blocked by session policy"), Ends::Held("policy")),
        ("needs-target", refused("Delivering to Telegram requires target <chatId>"), Ends::Held("target")),
        (
            "needs-channel",
            refused("Channel is required (no configured channels detected)"),
            Ends::Held("hannel"),
        ),
        ("paused", away("Session \"s\" is paused as a precaution"), Ends::Held("paused")),
        ("given-up", away("Session \"s\" ended during restart recovery"), Ends::Held("recovery")),
        ("agent-gone", refused("Agent \"x\" no longer exists in configuration"), Ends::Dead("agent")),
        ("agent-unavailable", away("cron job agent is unavailable"), Ends::Dead("agent")),
        ("malformed-key", away("Malformed agent session key"), Ends::Dead("alformed")),
        ("unknown-method", refused("unknown method: agent"), Ends::Dead("unknown method")),
        (
            "bad-params",
            refused("invalid agent params: at /message: must be string"),
            Ends::Dead("invalid agent"),
        ),
        ("admin-scope", admin, Ends::Dead("command")),
        ("write-scope", scope, Ends::Refused),
    ];
    let mut all = Vec::new();
    for (name, error, ends) in table {
        let second = error.clone();
        let says = move |cue: &Cue| vec![Step::Send(frame(&cue.no(error.clone())))];
        let is_of_the_record = matches!(ends, Ends::Dead(_));
        let script_ = script(format!("fault/{name}"), &REQUEST, says).ends(ends);
        all.push(if is_of_the_record { script_.pays() } else { script_ });
        // Said of a delivery that did get through, after it was accepted: it proves nothing, and it is there once. A
        // turn whose end is a fault was not answered, so that its people may be told by a message.
        all.push(
            script(
                format!("late-fault/{name}"),
                &[Moment::Ack, Moment::Accepted, Moment::Final],
                move |cue| vec![Step::Send(frame(&cue.no(second.clone())))],
            )
            .told(),
        );
    }
    all
}

/// Faults that no gateway ever said.
fn odd_faults() -> Vec<Script> {
    let of = |name: &str, error: Value| {
        script(format!("odd-fault/{name}"), &[Moment::Request, Moment::Final], move |cue| {
            vec![Step::Send(frame(&cue.no(error.clone())))]
        })
        .pays()
        .told()
    };
    let due = json!({"code": "INTERNAL", "message": "not now, but soon", "retryAfterMs": DUE_MS});
    vec![
        of("unknown-code", json!({"code": "E_STRANGE", "message": "boom"})),
        of("no-error", Value::Null),
        of("a-word", json!("no")),
        of("a-list", json!([])),
        of("empty", json!({})),
        of("code-number", json!({"code": 500, "message": "boom"})),
        of("message-list", json!({"code": "INTERNAL", "message": ["boom"]})),
        of("message-of-a-megabyte", json!({"code": "INTERNAL", "message": "b".repeat(1 << 20)})),
        of(
            "message-that-forges-a-line",
            json!({"code": "X", "message": "a\u{1b}[31m\r\nERROR forged\u{202e}line"}),
        ),
        of("retryable-word", json!({"code": "INTERNAL", "message": "boom", "retryable": "yes"})),
        of(
            "details-of-ten-thousand",
            json!({"code": "INTERNAL", "details": vec![json!({"code": 1}); 10_000]}),
        ),
        script(
            "odd-fault/with-the-token",
            &[Moment::Look, Moment::Request, Moment::Final, Moment::Asked],
            |cue| {
                let words = format!("the token {} may not", cue.token);
                vec![Step::Send(frame(&cue.no(json!({"code": cue.token, "message": words}))))]
            },
        )
        .pays()
        .told(),
        script(NOT_BEFORE, &REQUEST, move |cue| vec![Step::Send(frame(&cue.no(due.clone())))])
            .pays()
            .lasting(400),
    ]
}

/// The script whose refusal names a time before which nothing may be tried again, and that time.
pub(super) const NOT_BEFORE: &str = "odd-fault/not-before";
pub(super) const DUE_MS: u64 = 1500;

/// Acceptances and successes that are not the delivery's: none of them may be believed.
fn acknowledgements() -> Vec<Script> {
    let other = |name: &str, id: fn(&Cue) -> Value| {
        script(format!("ack/{name}"), &REQUEST, move |cue| {
            vec![
                Step::Send(frame(&json!({"type": "res", "id": id(cue), "ok": true, "payload": cue.sent()}))),
                Step::Wait(std::time::Duration::from_millis(30)),
                Step::Cut,
            ]
        })
    };
    let then_cut = |name: &str, make: fn(&Cue) -> Value| {
        script(format!("ack/{name}"), &REQUEST, move |cue| {
            vec![Step::Send(frame(&make(cue))), Step::Wait(std::time::Duration::from_millis(30)), Step::Cut]
        })
    };
    vec![
        other("of-an-unknown-id", |_| json!("nobody")),
        other("of-the-next-id", |cue| json!((cue.id.parse::<u64>().unwrap_or(0) + 1).to_string())),
        other("of-an-old-id", |cue| json!((cue.id.parse::<u64>().unwrap_or(9) - 1).to_string())),
        other("of-the-connect", |cue| json!(cue.connect)),
        other("of-an-id-with-a-plus", |cue| json!(format!("+{}", cue.id))),
        other("of-an-id-with-zeros", |cue| json!(format!("00{}", cue.id))),
        other("of-an-id-with-a-space", |cue| json!(format!(" {}", cue.id))),
        other("of-an-id-as-a-number", |cue| json!(cue.id.parse::<u64>().unwrap_or(0))),
        other("of-an-id-in-a-list", |cue| json!([cue.id])),
        then_cut("accepted-and-gone", |cue| cue.ok(json!({"runId": cue.key, "status": "accepted"}))),
        then_cut(
            "ok-as-a-word",
            |cue| json!({"type": "res", "id": cue.id, "ok": "true", "payload": cue.sent()}),
        ),
        then_cut(
            "ok-as-a-number",
            |cue| json!({"type": "res", "id": cue.id, "ok": 1, "payload": cue.sent()}),
        ),
        then_cut("without-ok", |cue| json!({"type": "res", "id": cue.id, "payload": cue.sent()})),
        then_cut(
            "as-an-event",
            |cue| json!({"type": "event", "event": "agent", "id": cue.id, "payload": cue.sent()}),
        ),
        then_cut(
            "in-capitals",
            |cue| json!({"type": "RES", "id": cue.id, "ok": true, "payload": cue.sent()}),
        ),
        then_cut("in-an-envelope", |cue| json!({"type": "res", "payload": cue.ok(cue.sent())})),
        script("ack/accepted-twice", &[Moment::Ack], |_| vec![Step::Pass, Step::Pass]),
        script("ack/final-twice", &[Moment::Final], |_| vec![Step::Pass, Step::Pass]),
        script("ack/accepted-after-the-final", &[Moment::Final], |cue| {
            vec![Step::Pass, Step::Send(frame(&cue.ok(json!({"status": "accepted"}))))]
        }),
        script("ack/never-accepted-only-final", &[Moment::Ack], |_| Vec::new()),
    ]
}

/// Ends of a turn under the right id: what says `ok` is believed, what does not is asked about.
fn finals() -> Vec<Script> {
    let unclear = |name: &str, payload: Value| {
        let second = payload.clone();
        let lost = script(format!("final/{name}"), &REQUEST, move |cue| {
            vec![Step::Send(frame(&cue.ok(payload.clone())))]
        });
        let late = script(format!("late-final/{name}"), &[Moment::Final], move |cue| {
            vec![Step::Send(frame(&cue.ok(second.clone())))]
        });
        // That a turn ended and left no trace is its own trouble.
        [lost.pays().told(), late.told()]
    };
    let mut all = Vec::new();
    for (name, payload) in [
        ("nothing", Value::Null),
        ("empty", json!({})),
        ("a-list", json!([{"status": "ok"}])),
        ("a-word", json!("ok")),
        ("status-number", json!({"status": 1})),
        ("status-in-capitals", json!({"status": "OK"})),
        ("status-error", json!({"status": "error", "summary": "failed"})),
        ("status-timeout", json!({"status": "timeout", "summary": "aborted"})),
        ("status-in-flight", json!({"status": "in_flight"})),
        ("status-inside", json!({"result": {"status": "ok"}})),
        ("ten-thousand-members", json!({"status": vec![json!({}); 10_000]})),
    ] {
        all.extend(unclear(name, payload));
    }
    all.push(
        script("final/wide", &[Moment::Final], |cue| {
            let wide = "0,".repeat(7 << 20);
            let answer = format!(
                r#"{{"type":"res","id":"{}","ok":true,"payload":{{"status":"ok","x":[{wide}0]}}}}"#,
                cue.id
            );
            vec![Step::Send(text(&answer))]
        })
        .heavy()
        .told(),
    );
    // Under the right id, of the right request, in the right words: nobody can tell.
    all.push(
        script("final/ok-and-dropped", &REQUEST, |cue| vec![Step::Send(frame(&cue.ok(cue.sent())))])
            .ends(Ends::Believed),
    );
    all.push(
        script("final/cached-ok-and-dropped", &REQUEST, |cue| {
            vec![Step::Send(frame(&cue.ok(json!({"runId": cue.key, "status": "ok", "cached": true}))))]
        })
        .ends(Ends::Believed),
    );
    all.push(
        script("final/ok-and-dropped", &REQUEST, |cue| {
            vec![Step::Send(frame(
                &cue.ok(json!({"runId": cue.key, "messageId": "1", "channel": "telegram"})),
            ))]
        })
        .message()
        .ends(Ends::Believed),
    );
    all
}
