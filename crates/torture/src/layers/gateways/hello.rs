//! Scripts for the handshake: challenges, refusals, and what hello-ok may claim.

use serde_json::{Value, json};

use super::script::{Cue, Ends, Moment, Script, Step, altered, script};
use super::wire::{close, json as frame, text};

const CHALLENGE: [Moment; 1] = [Moment::Challenge];
const HELLO: [Moment; 1] = [Moment::Hello];

/// All of them.
pub(super) fn scripts() -> Vec<Script> {
    let mut all = challenges();
    all.extend(refusals());
    all.extend(retries());
    all.extend(policies());
    all.extend(hellos());
    all
}

/// hello-ok with one member set; `Value::Null` by the pointer of its parent and its name.
fn set(name: impl Into<String>, at: &'static str, value: Value) -> Script {
    script(name, &HELLO, move |_| {
        let value = value.clone();
        altered(move |_, frame| put(frame, at, Some(value.clone())))
    })
}

/// Sets or removes what a pointer names.
pub(super) fn put(frame: &mut Value, at: &str, value: Option<Value>) {
    let Some((parent, name)) = at.rsplit_once('/') else { return };
    let Some(Value::Object(parent)) = frame.pointer_mut(parent) else { return };
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
}

fn challenges() -> Vec<Script> {
    let of = |name: &str, at: &'static str, value: Option<Value>| {
        script(name, &CHALLENGE, move |_| {
            let value = value.clone();
            altered(move |_, frame| put(frame, at, value.clone()))
        })
    };
    vec![
        of("challenge-without-nonce", "/payload/nonce", None),
        of("challenge-with-a-number-for-a-nonce", "/payload/nonce", Some(json!(7))),
        of("challenge-with-an-empty-nonce", "/payload/nonce", Some(json!(""))),
        of("challenge-with-a-nonce-of-a-megabyte", "/payload/nonce", Some(json!("n".repeat(1 << 20)))),
        of("challenge-with-another-nonce", "/payload/nonce", Some(json!("not-the-gateway's"))),
        of("challenge-without-time", "/payload/ts", None),
        of("challenge-before-time", "/payload/ts", Some(json!(-1))),
        of("challenge-after-time", "/payload/ts", Some(json!(u64::MAX))),
        of("challenge-at-a-word", "/payload/ts", Some(json!("now"))),
        of("challenge-at-a-fraction", "/payload/ts", Some(json!(0.5))),
        of("challenge-of-nothing", "/payload", Some(Value::Null)),
        of("challenge-without-payload", "/payload", None),
        of("challenge-of-a-list", "/payload", Some(json!([1, 2]))),
        of("challenge-by-another-name", "/event", Some(json!("connect.challenged"))),
        of("challenge-as-an-answer", "/type", Some(json!("res"))),
        script("hello-without-a-challenge", &CHALLENGE, |_| {
            let hello =
                json!({"type": "res", "id": "1", "ok": true, "payload": {"type": "hello-ok", "protocol": 4}});
            vec![Step::Send(frame(&hello)), Step::Hang(None)]
        }),
    ]
}

/// The connect is refused with this error, and the connection closed as the real one would.
fn refuses(name: impl Into<String>, error: Value, code: u16) -> Script {
    script(name, &HELLO, move |cue| {
        vec![Step::Send(frame(&cue.no(error.clone()))), Step::Send(close(code, "refused")), Step::Cut]
    })
}

fn refusals() -> Vec<Script> {
    let mut all = Vec::new();
    for code in [
        "AUTH_TOKEN_MISMATCH",
        "AUTH_TOKEN_MISSING",
        "AUTH_TOKEN_NOT_CONFIGURED",
        "AUTH_PASSWORD_MISMATCH",
        "AUTH_SCOPE_MISMATCH",
        "AUTH_DEVICE_TOKEN_MISMATCH",
        "AUTH_UNAUTHORIZED",
        "PAIRING_REQUIRED",
        "DEVICE_IDENTITY_REQUIRED",
        "DEVICE_AUTH_SIGNATURE_INVALID",
        "DEVICE_AUTH_SIGNATURE_EXPIRED",
        "CONTROL_UI_ORIGIN_NOT_ALLOWED",
        "CLIENT_VERSION_MISMATCH",
        "MISSING_SCOPE",
    ] {
        let error = json!({"code": "INVALID_REQUEST", "message": "no", "details": {"code": code}});
        all.push(refuses(format!("refuses/{code}"), error, 1008).ends(Ends::Refused));
    }
    let mismatch = json!({"code": "INVALID_REQUEST", "message": "protocol mismatch",
        "details": {"code": "PROTOCOL_MISMATCH", "expectedProtocol": 5}});
    all.push(refuses("refuses/PROTOCOL_MISMATCH", mismatch, 1002).ends(Ends::Refused));
    let limited =
        json!({"code": "INVALID_REQUEST", "message": "slowly", "details": {"code": "AUTH_RATE_LIMITED"}});
    all.push(refuses("refuses/AUTH_RATE_LIMITED", limited, 1008));
    for (name, error) in [
        ("an-unknown-code", json!({"code": "INTERNAL", "message": "boom"})),
        ("nothing", Value::Null),
        ("a-word", json!("no")),
        ("a-list", json!(["no"])),
        ("numbers", json!({"code": 1, "message": 2, "retryable": 3, "retryAfterMs": "4", "details": 5})),
    ] {
        all.push(refuses(format!("refuses-with/{name}"), error, 1011));
    }
    all.push(
        script("refuses-with/the-token", &HELLO, |cue| {
            let words = format!("the token {} is wrong; \u{1b}[31mFATAL\r\nforged", cue.token);
            let error = json!({"code": cue.token, "message": words, "details": {"code": "AUTH_TOKEN_MISMATCH",
            "reason": cue.token}});
            vec![Step::Send(frame(&cue.no(error))), Step::Send(close(1008, &words)), Step::Cut]
        })
        .ends(Ends::Refused),
    );
    all.push(script("refuses-with/a-megabyte", &HELLO, |cue| {
        let error = json!({"code": "INTERNAL", "message": "no ".repeat(400_000)});
        vec![Step::Send(frame(&cue.no(error))), Step::Cut]
    }));
    all
}

fn retries() -> Vec<Script> {
    let waits = [
        ("a-second", json!(1000), false),
        ("nothing", json!(0), false),
        ("less-than-nothing", json!(-5000), false),
        ("a-century", json!(3_155_760_000_000u64), true),
        ("2-to-the-63", json!(1u64 << 63), true),
        ("1e308", json!(1e308), true),
        ("a-fraction", json!(0.25), false),
        ("nan", json!("NaN"), false),
        ("null", Value::Null, false),
        ("a-list", json!([1000]), false),
    ];
    let mut all = Vec::new();
    for (name, wait, is_slow) in waits {
        let error = json!({"code": "UNAVAILABLE", "message": "gateway starting", "retryable": true,
            "retryAfterMs": wait, "details": {"reason": "startup-sidecars"}});
        let connect = refuses(format!("starting-for/{name}"), error.clone(), 1013);
        all.push(if is_slow { connect.slow() } else { connect });
        // The same said of a question and of a delivery.
        let busy = script(format!("busy-for/{name}"), &[Moment::Look, Moment::Request], move |cue| {
            vec![Step::Send(frame(&cue.no(error.clone())))]
        });
        all.push(if is_slow { busy.slow() } else { busy });
    }
    all
}

fn policies() -> Vec<Script> {
    let mut all = Vec::new();
    let numbers = [
        ("0", json!(0)),
        ("1", json!(1)),
        ("100", json!(100)),
        ("-1", json!(-1)),
        ("2-to-the-63", json!(1u64 << 63)),
        ("1e308", json!(1e308)),
        ("word", json!("25")),
        ("null", Value::Null),
        ("list", json!([])),
    ];
    for (name, value) in numbers {
        all.push(set(format!("max-payload/{name}"), "/payload/policy/maxPayload", value.clone()));
        all.push(set(format!("max-buffered/{name}"), "/payload/policy/maxBufferedBytes", value.clone()));
        all.push(set(format!("tick/{name}"), "/payload/policy/tickIntervalMs", value));
    }
    for (name, value) in [("null", Value::Null), ("list", json!([1])), ("word", json!("strict"))] {
        all.push(set(format!("policy-is-a/{name}"), "/payload/policy", value));
    }
    all
}

fn hellos() -> Vec<Script> {
    let answer = |name: &str, make: fn(&Cue) -> Value| {
        script(name, &HELLO, move |cue| vec![Step::Send(frame(&make(cue))), Step::Hang(None)])
    };
    let mut all = vec![
        set("protocol/5", "/payload/protocol", json!(5)).ends(Ends::Refused),
        set("protocol/0", "/payload/protocol", json!(0)).ends(Ends::Refused),
        set("protocol/2-to-the-32", "/payload/protocol", json!(1u64 << 32)),
        set("protocol/3", "/payload/protocol", json!(3)),
        set("protocol/-4", "/payload/protocol", json!(-4)),
        set("protocol/4.5", "/payload/protocol", json!(4.5)),
        set("protocol/word", "/payload/protocol", json!("4")),
        set("protocol/null", "/payload/protocol", Value::Null),
        set("scopes/none", "/payload/auth/scopes", json!([])).ends(Ends::Refused),
        set("scopes/read-only", "/payload/auth/scopes", json!(["operator.read"])).ends(Ends::Refused),
        set("scopes/word", "/payload/auth/scopes", json!("operator.write")).ends(Ends::Refused),
        set("scopes/many", "/payload/auth/scopes", json!(vec!["x"; 10_000])).ends(Ends::Refused),
        set("auth/null", "/payload/auth", Value::Null).ends(Ends::Refused),
        set("methods/none", "/payload/features/methods", json!([])),
        set("methods/word", "/payload/features/methods", json!("all")),
        set("methods/twenty-thousand", "/payload/features/methods", json!(vec!["m"; 20_000])),
        set("features/null", "/payload/features", Value::Null),
        set("server/null", "/payload/server", Value::Null),
        set("server/boot-id-is-a-number", "/payload/server/bootId", json!(1)),
        set("server/version-is-a-megabyte", "/payload/server/version", json!("9".repeat(1 << 20))),
        set("server/version-forges-a-line", "/payload/server/version", json!("1\u{1b}[2J\r\nERROR forged")),
        set("snapshot/null", "/payload/snapshot", Value::Null),
        set("snapshot/up-for-ever", "/payload/snapshot", json!({"uptimeMs": u64::MAX})),
        set("snapshot/up-for-less-than-nothing", "/payload/snapshot", json!({"uptimeMs": -1})),
        set("device-token/a-megabyte", "/payload/auth/deviceToken", json!("t".repeat(1 << 20))),
        set("device-token/control-characters", "/payload/auth/deviceToken", json!("\0\n../../etc/passwd")),
        set("type/other", "/payload/type", json!("hello-no")),
        set("payload/null", "/payload", Value::Null),
        set("payload/word", "/payload", json!("hello-ok")),
        set("ok/word", "/ok", json!("true")),
        set("ok/number", "/ok", json!(1)),
        set("id/number", "/id", json!(1)),
        set("id/another", "/id", json!("2")),
        set("id/none", "/id", Value::Null),
        answer("hello/says-nothing", |cue| json!({"type": "res", "id": cue.id, "ok": true})),
        answer("hello/neither-nor", |cue| json!({"type": "res", "id": cue.id})),
        script("hello/twice", &HELLO, |_| vec![Step::Pass, Step::Pass]),
        script("hello/no-and-yes", &HELLO, |cue| {
            vec![Step::Send(frame(&cue.no(json!({"code": "INTERNAL", "message": "no"})))), Step::Pass]
        }),
        script("hello/members-twice", &HELLO, |cue| {
            let twice = format!(
                r#"{{"type":"res","id":"{}","ok":true,"payload":{{"protocol":5,"protocol":4,"auth":{{"scopes":[]}},
                "auth":{{"scopes":["operator.write"]}},"auth":null}}}}"#,
                cue.id
            );
            vec![Step::Send(text(&twice)), Step::Hang(None)]
        }),
        script("hello/deep", &HELLO, |cue| {
            let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
            let hello = format!(
                r#"{{"type":"res","id":"{}","ok":true,"payload":{{"protocol":4,"policy":{deep}}}}}"#,
                cue.id
            );
            vec![Step::Send(text(&hello)), Step::Hang(None)]
        }),
        script("hello/wide", &HELLO, |cue| {
            // Every member is small and there are very many.
            let wide = format!(
                r#"{{"type":"res","id":"{}","ok":true,"payload":{{"protocol":4,"policy":[{}0]}}}}"#,
                cue.id,
                "0,".repeat(7 << 20)
            );
            vec![Step::Send(text(&wide)), Step::Hang(None)]
        })
        .heavy(),
    ];
    // A gateway that says it has just started is believed: what it had before, it may have lost the reply of.
    all.push(set("snapshot/always-just-started", "/payload/snapshot", json!({"uptimeMs": 0})).told());
    all
}
