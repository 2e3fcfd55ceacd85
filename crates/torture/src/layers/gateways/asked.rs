//! Scripts for the questions after a doubt: histories, runs and searches that are empty, endless, false, or of others.

use serde_json::{Value, json};

use super::hello::put;
use super::script::{Cue, Ends, Moment, Script, Step, altered, script};
use super::wire::{json as frame, text};

const ASKED: [Moment; 1] = [Moment::Asked];
const WAITED: [Moment; 1] = [Moment::Waited];
const SEARCHED: [Moment; 1] = [Moment::Searched];
const STOLEN: &str = "agent:main:telegram:direct:66666";

/// All of them.
pub(super) fn scripts() -> Vec<Script> {
    let mut all = histories();
    all.extend(lies());
    all.extend(runs());
    all.extend(searches());
    all
}

/// A history of a delivery that is committed, with one member changed.
fn history(name: &str, at: &'static str, value: Option<Value>) -> Script {
    script(format!("history/{name}"), &ASKED, move |_| {
        let value = value.clone();
        altered(move |_, frame| put(frame, at, value.clone()))
    })
    .told()
}

fn row(key: &str, text: &str) -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": text}], "idempotencyKey": key})
}

fn histories() -> Vec<Script> {
    let of = history;
    let pending = |items: Value| json!({"items": items, "total": 1, "nextBefore": 5});
    vec![
        of("payload-null", "/payload", Some(Value::Null)),
        of("payload-word", "/payload", Some(json!("nothing"))),
        of("messages-missing", "/payload/messages", None),
        of("messages-null", "/payload/messages", Some(Value::Null)),
        of("messages-word", "/payload/messages", Some(json!("none"))),
        of("messages-object", "/payload/messages", Some(json!({"0": {}}))),
        // An empty history is what a reset leaves: the run and the search still know.
        of("empty", "/payload/messages", Some(json!([]))),
        of("of-numbers", "/payload/messages", Some(json!([1, 2, 3]))),
        of("of-nothings", "/payload/messages", Some(json!(vec![Value::Null; 1000]))),
        of("of-others", "/payload/messages", Some(json!([row("sp-0:user", "a"), row("another:user", "b")]))),
        of("of-20000-rows", "/payload/messages", Some(json!(vec![row("o:user", "x"); 20_000]))).heavy(),
        of(
            "of-a-row-of-8-megabytes",
            "/payload/messages",
            Some(json!([row("o:user", &"x".repeat(8 << 20))])),
        )
        .heavy(),
        of("pending-null", "/payload/pendingInputs", Some(Value::Null)),
        of("pending-word", "/payload/pendingInputs", Some(json!("many"))),
        of("pending-of-numbers", "/payload/pendingInputs", Some(pending(json!([1, 2])))),
        of(
            "pending-of-20000",
            "/payload/pendingInputs",
            Some(pending(json!(vec![json!({"runId": "x", "state": "queued"}); 20_000]))),
        )
        .heavy(),
        of("receipts-of-nonsense", "/payload/inputReceipts", Some(json!([{"runId": 1}, {"state": []}, 7]))),
        script("history/pages-without-end", &ASKED, |cue| {
            let key = cue.key.clone();
            altered(move |_, frame| {
                put(frame, "/payload/messages", Some(json!([])));
                put(frame, "/payload/inputReceipts", Some(json!([{"runId": key, "state": "pending"}])));
                put(frame, "/payload/pendingInputs", Some(json!({"items": [], "nextBefore": u64::MAX})));
            })
        })
        .told(),
        script("history/wide", &ASKED, |cue| {
            let rows = "0,".repeat(7 << 20);
            let answer =
                format!(r#"{{"type":"res","id":"{}","ok":true,"payload":{{"messages":[{rows}0]}}}}"#, cue.id);
            vec![Step::Send(text(&answer))]
        })
        .heavy()
        .told()
        .lasting(400),
        script("history/of-empty-rows", &ASKED, |cue| {
            let rows = "{},".repeat(5 << 20);
            let answer = format!(
                r#"{{"type":"res","id":"{}","ok":true,"payload":{{"messages":[{rows}{{}}]}}}}"#,
                cue.id
            );
            vec![Step::Send(text(&answer))]
        })
        .heavy()
        .told()
        .lasting(400),
        script("history/fault", &ASKED, |cue| {
            vec![Step::Send(frame(&cue.no(json!({"code": "INTERNAL", "message": "no history today"}))))]
        }),
        script("history/archived", &ASKED, |cue| {
            vec![Step::Send(frame(
                &cue.no(json!({"code": "INVALID_REQUEST", "message": "Session is archived."})),
            ))]
        }),
        script("history/of-no-session", &ASKED, |cue| {
            vec![Step::Send(frame(
                &cue.no(json!({"code": "INVALID_REQUEST", "message": "session not found: x"})),
            ))]
        }),
        script("history/unknown-method", &ASKED, |cue| {
            vec![Step::Send(frame(
                &cue.no(json!({"code": "INVALID_REQUEST", "message": "unknown method: chat.history"})),
            ))]
        }),
    ]
}

/// Histories that say something false under the right key.
fn lies() -> Vec<Script> {
    let pending = |state: &'static str| {
        move |cue: &Cue| {
            let key = cue.key.clone();
            altered(move |_, frame| {
                put(frame, "/payload/messages", Some(json!([])));
                put(
                    frame,
                    "/payload/pendingInputs",
                    Some(json!({"items": [{"runId": key, "state": state}]})),
                );
            })
        }
    };
    vec![
        // What is there is called lost; the run and the search know better, so nothing doubles.
        script("lie/queued", &ASKED, pending("queued")).told(),
        script("lie/interrupted", &ASKED, pending("interrupted")).told(),
        script("lie/cancelled", &ASKED, pending("cancelled")).told(),
        // The answer to a delivery that got lost with its connection, given on the next one.
        script("ack/in-another-connection", &WAITED, |cue| {
            let late = Cue { id: cue.former.clone(), ..cue.clone() };
            vec![Step::Send(frame(&late.ok(cue.sent()))), Step::Pass]
        }),
    ]
}

fn runs() -> Vec<Script> {
    let of = |name: &str, payload: Value| {
        script(format!("run/{name}"), &WAITED, move |cue| vec![Step::Send(frame(&cue.ok(payload.clone())))])
    };
    vec![
        of("null", Value::Null),
        of("word", json!("ok")),
        of("list", json!([{"status": "ok"}])),
        of("status-number", json!({"status": 0})),
        of("status-in-capitals", json!({"status": "OK"})),
        of("status-error", json!({"status": "error"})),
        of("delivered-but-no-status", json!({"terminalDelivery": {"status": "sent", "resultCount": 1}})),
        script("run/of-another-id", &WAITED, |cue| {
            let other = Cue { id: format!("{}1", cue.id), ..cue.clone() };
            vec![Step::Send(frame(&other.ok(json!({"status": "ok"})))), Step::Pass]
        }),
        script("run/fault", &WAITED, |cue| {
            vec![Step::Send(frame(&cue.no(json!({"code": "INTERNAL", "message": "no"}))))]
        }),
        // Under the right id and key.
        of("ok-of-what-never-came", json!({"status": "ok", "terminalDelivery": {"status": "sent"}}))
            .ends(Ends::Believed),
    ]
}

fn searches() -> Vec<Script> {
    let of = |name: &str, payload: Value| {
        script(format!("search/{name}"), &SEARCHED, move |cue| {
            vec![Step::Send(frame(&cue.ok(payload.clone())))]
        })
    };
    let hit = |name: &str, make: fn(&Cue) -> Value| {
        script(format!("search/{name}"), &SEARCHED, move |cue| {
            vec![Step::Send(frame(&cue.ok(json!({"results": [make(cue)]}))))]
        })
    };
    vec![
        of("null", Value::Null),
        of("results-missing", json!({})),
        of("results-word", json!({"results": "none"})),
        of("results-of-numbers", json!({"results": [1, 2]})),
        of("results-of-20000", json!({"results": vec![json!({"role": "system"}); 20_000]})).heavy(),
        of("still-indexing", json!({"results": [], "indexing": true})),
        of("indexing-word", json!({"results": [], "indexing": "true"})),
        hit(
            "hit-of-the-assistant",
            |cue| json!({"role": "assistant", "sessionKey": cue.session, "snippet": cue.key}),
        ),
        hit("hit-without-a-role", |cue| json!({"sessionKey": cue.session, "snippet": cue.key})),
        hit(
            "hit-of-another-session",
            |cue| json!({"role": "user", "sessionKey": STOLEN, "snippet": cue.key}),
        ),
        script("search/wide", &SEARCHED, |cue| {
            let hits = "0,".repeat(7 << 20);
            let answer =
                format!(r#"{{"type":"res","id":"{}","ok":true,"payload":{{"results":[{hits}0]}}}}"#, cue.id);
            vec![Step::Send(text(&answer))]
        })
        .heavy()
        .lasting(400),
        // The right words in the right session.
        hit(
            "hit-of-what-never-came",
            |cue| json!({"role": "user", "sessionKey": cue.session, "snippet": cue.key}),
        )
        .ends(Ends::Believed)
        .told(),
    ]
}
