//! Scripts that can strike at any moment once the socket is a WebSocket: ends, silences, broken frames, floods, noise.
//!
//! None of them says anything about a delivery, so every one has the same end: each record in its session, once, and
//! not one attempt counted.

use std::time::Duration;

use serde_json::json;

use super::script::{Moment, Script, Step, script};
use super::wire::{close, frame, header, text};

/// After the upgrade.
const ANYTIME: [Moment; 11] = [
    Moment::Challenge,
    Moment::Hello,
    Moment::Look,
    Moment::Follow,
    Moment::Request,
    Moment::MidFrame,
    Moment::Ack,
    Moment::Accepted,
    Moment::Final,
    Moment::Asked,
    Moment::Searched,
];
/// What a message, with its one answer, can meet.
const MESSAGE: [Moment; 4] = [Moment::Look, Moment::Request, Moment::Final, Moment::Asked];
/// Where what takes its time, silence or a flood, is worth it.
const SLOW: [Moment; 8] = [
    Moment::Challenge,
    Moment::Hello,
    Moment::Look,
    Moment::Request,
    Moment::MidFrame,
    Moment::Accepted,
    Moment::Final,
    Moment::Asked,
];

const SOON: Duration = Duration::from_millis(150);

/// Sends something and goes on as if nothing had been.
fn noise(name: &str, bytes: Vec<u8>) -> Script {
    script(name, &ANYTIME, move |_| vec![Step::Send(bytes.clone()), Step::Pass])
}

/// Sends something after which no client can go on, and then waits for it to notice.
fn broken(name: &str, bytes: Vec<u8>) -> Script {
    script(name, &ANYTIME, move |_| vec![Step::Send(bytes.clone()), Step::Hang(None)])
}

fn event(name: &str, payload: serde_json::Value) -> Vec<u8> {
    text(&json!({"type": "event", "event": name, "payload": payload}).to_string())
}

/// All of them.
pub(super) fn scripts() -> Vec<Script> {
    let mut all = ends();
    all.extend(silences());
    all.extend(frames());
    all.extend(floods());
    all.extend(words());
    let again = ["cut", "reset", "close-1012", "silent-but-pinging", "restart", "garbage-text", "long-frame"];
    let messages = all.iter().filter(|script| again.contains(&script.name.as_str())).cloned();
    let messages: Vec<Script> =
        messages.map(|script| Script { moments: MESSAGE.to_vec(), ..script }.message()).collect();
    all.extend(messages);
    all
}

fn ends() -> Vec<Script> {
    let mut all = vec![
        script("cut", &ANYTIME, |_| vec![Step::Cut]),
        script("reset", &ANYTIME, |_| vec![Step::Reset]),
        // Longer than a record's twelve attempts.
        script("cut-again-and-again", &[Moment::Request], |_| vec![Step::Cut]).lasting(5000),
        script("restart", &ANYTIME, |_| vec![Step::Restart]),
        script("restart-and-close", &ANYTIME, |_| {
            vec![Step::Restart, Step::Send(close(1012, "service restart")), Step::Cut]
        }),
        script("close-empty", &ANYTIME, |_| vec![Step::Send(frame(0x88, b"")), Step::Cut]),
        script("close-and-never-end", &ANYTIME, |_| vec![Step::Send(close(1000, "")), Step::HalfOpen]),
        script("close-and-talk-on", &ANYTIME, |_| {
            vec![Step::Send(close(1000, "")), Step::Pass, Step::Send(text("{}")), Step::Hang(None)]
        }),
        script("close-twice", &ANYTIME, |_| {
            vec![Step::Send(close(1001, "a")), Step::Send(close(1008, "b")), Step::Cut]
        }),
        script("close-with-a-secret", &ANYTIME, |cue| {
            vec![Step::Send(close(1011, &format!("token {} is wrong", cue.token))), Step::Cut]
        }),
        script("close-with-control-characters", &ANYTIME, |_| {
            vec![Step::Send(close(1011, "\u{1b}[31mred\r\nERROR forged line")), Step::Cut]
        }),
        broken("close-of-one-byte", frame(0x88, &[3])),
        broken("close-reason-not-utf8", frame(0x88, &[3, 0xe8, 0xff, 0xfe])),
    ];
    let codes = [1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 3000, 4000, 4008, 4999];
    for code in codes {
        all.push(script(format!("close-{code}"), &ANYTIME, move |_| {
            vec![Step::Send(close(code, "the gateway's reason")), Step::Wait(SOON), Step::Cut]
        }));
    }
    // Codes that must never be on a wire.
    for code in [0u16, 999, 1005, 1006, 1015, 65535] {
        all.push(script(format!("close-{code}"), &ANYTIME, move |_| {
            vec![Step::Send(close(code, "")), Step::Wait(SOON), Step::Cut]
        }));
    }
    all
}

fn silences() -> Vec<Script> {
    let often = Duration::from_millis(100);
    let tick = event("tick", json!({"ts": 1}));
    vec![
        script("silent", &SLOW, |_| vec![Step::Hang(None)]),
        script("half-open", &SLOW, |_| vec![Step::HalfOpen]),
        script("silent-but-pinging", &SLOW, move |_| {
            vec![Step::Hang(Some((frame(0x89, b"still here"), often)))]
        })
        .slow(),
        script("silent-but-ticking", &SLOW, move |_| vec![Step::Hang(Some((tick.clone(), often)))]).slow(),
        script("slow-answer", &ANYTIME, |_| vec![Step::Wait(Duration::from_millis(400)), Step::Pass]),
        script("slow-loris", &ANYTIME, |_| vec![Step::PassDrip(Duration::from_millis(2))]),
        script("slower-loris", &[Moment::Challenge, Moment::Hello, Moment::Look, Moment::Final], |_| {
            vec![Step::PassDrip(Duration::from_millis(60)), Step::Cut]
        }),
        script("swallowed", &[Moment::Challenge, Moment::Hello, Moment::Look, Moment::Follow], |_| {
            Vec::new()
        }),
        // Ticks go on and every other question is answered: only this one never is. Its own deadline has to end it.
        script("swallowed-delivery", &[Moment::Request], |_| Vec::new()).pays().slow(),
        script("swallowed-answer", &[Moment::Ack, Moment::Final], |_| Vec::new()).slow(),
        script("swallowed-history", &[Moment::Asked, Moment::Searched], |_| Vec::new()),
        script("shutdown-that-never-comes", &ANYTIME, |_| {
            vec![Step::Send(event("shutdown", json!({"reason": "gateway stopping"}))), Step::Pass]
        }),
    ]
}

fn frames() -> Vec<Script> {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut masked = header(0x81, 2);
    if let Some(second) = masked.get_mut(1) {
        *second |= 0x80;
    }
    masked.extend([1, 2, 3, 4, b'{' ^ 1, b'}' ^ 2]);
    vec![
        script("fragmented", &ANYTIME, |_| vec![Step::PassSplit(7)]),
        script("fragmented-by-bytes", &ANYTIME, |_| vec![Step::PassSplit(1)]),
        broken("compressed", frame(0xc1, b"\xaaV*\xa9,HU\xb2R*.M*N.\xca,(\xc9\xcc\xcfS\xaa\x05\0")),
        broken("reserved-bit-2", frame(0xa1, b"{}")),
        broken("reserved-bit-3", frame(0x91, b"{}")),
        broken("reserved-data-opcode", frame(0x83, b"{}")),
        broken("reserved-control-opcode", frame(0x8b, b"")),
        broken("masked-by-the-server", masked),
        broken("long-ping", frame(0x89, &[b'p'; 126])),
        broken("fragmented-ping", frame(0x09, b"p")),
        broken("continuation-of-nothing", frame(0x80, b"{}")),
        broken("text-inside-a-text", [frame(0x01, b"{"), frame(0x81, b"{}")].concat()),
        broken("never-finished-text", frame(0x01, b"{")),
        broken("invalid-utf8", frame(0x81, b"{\"type\":\"res\xff\xfe\"}")),
        broken("invalid-utf8-across-fragments", [frame(0x01, &[0xe2]), frame(0x80, b"(a")].concat()),
        broken("frame-of-2-to-the-40", header(0x81, 1 << 40)),
        broken("frame-of-2-to-the-62", header(0x81, 1 << 62)),
        broken("frame-of-2-to-the-63", header(0x81, 1 << 63)),
        broken("binary-of-2-to-the-62", header(0x82, 1 << 62)),
        broken("long-frame", [header(0x81, 64 << 20), vec![b'x'; 1 << 20]].concat()),
        script("huge-frame", &[Moment::Hello, Moment::Look, Moment::Request, Moment::Final], |_| {
            let block = vec![b'x'; 1 << 20];
            vec![Step::Send(header(0x81, 160 << 20)), Step::Repeat(block, 160), Step::Hang(None)]
        })
        .heavy(),
        script("endless-fragments", &[Moment::Hello, Moment::Look, Moment::Request, Moment::Final], |_| {
            let block = frame(0x00, &vec![b'x'; 1 << 18]);
            vec![Step::Send(frame(0x01, b"{")), Step::Endless(block, Duration::from_millis(1))]
        })
        .heavy(),
        noise("garbage-text", text("this is no JSON")),
        noise("empty-text", text("")),
        noise("binary", frame(0x82, &[0, 159, 146, 150])),
        noise("unasked-pong", frame(0x8a, b"pong")),
        noise("ping", frame(0x89, b"ping")),
        noise("nul-bytes", text("\0\0\0\0")),
        noise("byte-order-mark", text("\u{feff}{\"type\":\"res\",\"id\":\"2\",\"ok\":true}")),
        noise("lone-surrogate", text(r#"{"type":"event","event":"\ud800","payload":{}}"#)),
        noise("deep-json", text(&deep)),
        noise(
            "deep-payload",
            text(&format!(r#"{{"type":"event","event":"session.message","payload":{deep}}}"#)),
        ),
        noise("huge-number", text(r#"{"type":"event","event":"tick","payload":{"ts":1e999},"seq":-1}"#)),
        noise(
            "members-twice",
            text(r#"{"type":"event","type":"res","event":"tick","id":"4","ok":false,"ok":true}"#),
        ),
        noise("an-array", text("[]")),
        noise("http-again", text("HTTP/1.1 200 OK\r\n\r\n")),
    ]
}

fn floods() -> Vec<Script> {
    let flood = |name: &str, bytes: Vec<u8>, times: usize| {
        script(name, &SLOW, move |_| vec![Step::Repeat(bytes.clone(), times), Step::Pass]).heavy()
    };
    let row = json!({"sessionKey": "agent:main:telegram:direct:77001", "message": {"role": "user",
        "content": "noise", "idempotencyKey": "somebody-else:user"}});
    vec![
        flood("ping-flood", frame(0x89, b"sixteen bytes..."), 20_000),
        flood("pong-flood", frame(0x8a, b""), 50_000),
        flood("event-flood", event("noise", json!({"n": 1})), 20_000),
        flood("row-flood", event("session.message", row), 10_000),
        flood("answer-flood", text(r#"{"type":"res","id":"99999","ok":true,"payload":{}}"#), 20_000),
        flood("garbage-flood", text("{"), 20_000),
        flood("empty-flood", frame(0x82, b""), 50_000),
        flood("large-event", event("noise", json!("x".repeat(8 << 20))), 1),
        flood(
            "event-gaps",
            text(r#"{"type":"event","event":"tick","seq":900719925474099,"payload":{}}"#),
            10,
        ),
    ]
}

/// Answers to nobody, and to somebody else.
fn words() -> Vec<Script> {
    let stray = |name: &str, id: &'static str| {
        script(name, &ANYTIME, move |cue| {
            let answer = json!({"type": "res", "id": id, "ok": true, "payload": cue.sent()});
            vec![Step::Send(text(&answer.to_string())), Step::Pass]
        })
    };
    vec![
        script("answer-to-the-connect-again", &ANYTIME, |cue| {
            let answer = json!({"type": "res", "id": cue.connect, "ok": true, "payload": cue.sent()});
            vec![Step::Send(text(&answer.to_string())), Step::Pass]
        }),
        stray("answer-to-nobody", "nobody-asked"),
        stray("answer-to-an-empty-id", ""),
        stray("answer-to-a-high-id", "18446744073709551615"),
        stray("answer-to-a-higher-id", "18446744073709551616"),
        stray("answer-to-a-negative-id", "-1"),
        script("answers-to-all-to-come", &[Moment::Challenge, Moment::Hello, Moment::Look], |cue| {
            let base: u64 = cue.id.parse().unwrap_or(1);
            let answer =
                |id: u64| json!({"type": "res", "id": id.to_string(), "ok": true, "payload": cue.sent()});
            let ahead = (1..40).map(|n| Step::Send(text(&answer(base + n).to_string())));
            ahead.chain([Step::Pass]).collect()
        }),
        script("request-from-the-gateway", &ANYTIME, |_| {
            let request = json!({"type": "req", "id": "2", "method": "agent", "params": {}});
            vec![Step::Send(text(&request.to_string())), Step::Pass]
        }),
        script("second-challenge", &ANYTIME, |_| {
            let payload = json!({"nonce": "another", "ts": 1});
            vec![Step::Send(event("connect.challenge", payload)), Step::Pass]
        }),
        script("second-hello", &ANYTIME, |cue| {
            let hello = json!({"type": "res", "id": cue.connect, "ok": true, "payload": {"type": "hello-ok", "protocol": 9}});
            vec![Step::Pass, Step::Send(text(&hello.to_string()))]
        }),
    ]
}
