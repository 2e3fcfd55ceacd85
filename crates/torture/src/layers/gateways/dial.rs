//! Scripts for the first moment: what answers the upgrade is not a gateway, not yet one, or one that leads astray.

use std::time::Duration;

use super::script::{Ends, Moment, Script, Step, script};
use super::wire::{header, text};

const DIAL: [Moment; 1] = [Moment::Dial];

/// These bytes, and the end.
fn says(name: &str, bytes: impl Into<Vec<u8>>) -> Script {
    let bytes = bytes.into();
    script(name, &DIAL, move |_| {
        vec![Step::Send(bytes.clone()), Step::Wait(Duration::from_millis(20)), Step::Cut]
    })
}

/// An HTTP answer with these headers.
fn http(name: impl Into<String>, status: &str, headers: &str) -> Script {
    let body = "<html>no gateway here</html>";
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len());
    says(&name.into(), answer)
}

/// All of them.
pub(super) fn scripts() -> Vec<Script> {
    let mut all = statuses();
    all.extend(upgrades());
    all.extend(strangers());
    all.extend(silences());
    all
}

fn statuses() -> Vec<Script> {
    let mut all = Vec::new();
    for status in ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let number = status.get(..3).unwrap_or_default();
        all.push(
            script(format!("http-{number}-to-a-trap"), &DIAL, move |cue| {
                let place = format!("ws://127.0.0.1:{}/", cue.trap);
                let answer = format!("HTTP/1.1 {status}\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n");
                vec![Step::Send(answer.into_bytes()), Step::Cut]
            })
            .ends(Ends::Refused),
        );
    }
    all.push(
        http("http-401", "401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n").ends(Ends::Refused),
    );
    all.push(http("http-403", "403 Forbidden", "").ends(Ends::Refused));
    for status in [
        "200 OK",
        "204 No Content",
        "400 Bad Request",
        "404 Not Found",
        "407 Proxy Authentication Required",
        "426 Upgrade Required",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
        "599 Odd",
    ] {
        all.push(http(format!("http-{}", status.get(..3).unwrap_or_default()), status, ""));
    }
    // Minutes in the real program: the wish is obeyed.
    all.push(http("http-503-for-a-century", "503 Wait", "Retry-After: 3155760000\r\n").slow());
    all.push(http("http-429-for-an-hour", "429 Wait", "Retry-After: 3600\r\n").slow());
    all.push(http("http-503-for-less-than-nothing", "503 Wait", "Retry-After: -1\r\n"));
    all.push(http("http-503-until-a-date", "503 Wait", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n"));
    all.push(http("http-503-for-nan", "503 Wait", "Retry-After: NaN\r\n"));
    all.push(http("http-status-999", "999 Strange", ""));
    all.push(http("http-status-of-words", "two hundred", ""));
    all
}

/// A change of the honest answer.
fn upgrade(name: &str, change: fn(&str) -> String) -> Script {
    script(name, &DIAL, move |cue| vec![Step::Send(change(&cue.accept).into_bytes()), Step::Hang(None)])
}

fn without(head: &str, name: &str) -> String {
    let keep = |line: &&str| !line.to_ascii_lowercase().starts_with(&format!("{name}:"));
    head.split("\r\n").filter(keep).collect::<Vec<_>>().join("\r\n")
}

fn with(head: &str, header: &str) -> String {
    head.replacen("\r\n", &format!("\r\n{header}\r\n"), 1)
}

fn upgrades() -> Vec<Script> {
    vec![
        upgrade("accept-of-another-key", |head| {
            with(&without(head, "sec-websocket-accept"), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        }),
        upgrade("accept-missing", |head| without(head, "sec-websocket-accept")),
        upgrade("accept-empty", |head| with(&without(head, "sec-websocket-accept"), "Sec-WebSocket-Accept:")),
        upgrade("upgrade-missing", |head| without(head, "upgrade")),
        upgrade("connection-missing", |head| without(head, "connection")),
        upgrade("compression-nobody-asked-for", |head| {
            with(head, "Sec-WebSocket-Extensions: permessage-deflate")
        }),
        upgrade("protocol-nobody-asked-for", |head| with(head, "Sec-WebSocket-Protocol: chat")),
        upgrade("upgrade-twice", |head| format!("{head}{head}")),
        upgrade("upgrade-by-half", |head| head.get(..head.len() / 2).unwrap_or_default().to_owned()),
        upgrade("upgrade-without-its-end", |head| head.trim_end().to_owned()),
        upgrade("http-1.0", |head| head.replacen("HTTP/1.1", "HTTP/1.0", 1)),
        upgrade("http-2", |head| head.replacen("HTTP/1.1", "HTTP/2", 1)),
        upgrade("bare-line-feeds", |head| head.replace("\r\n", "\n")),
        upgrade("a-thousand-headers", |head| with(head, &["X-Noise: 1"; 1000].join("\r\n"))),
        upgrade("a-header-of-a-megabyte", |head| with(head, &format!("X-Noise: {}", "x".repeat(1 << 20)))),
        script("a-header-not-utf8", &DIAL, |cue| {
            let mut head = with(&cue.accept, "X-Noise: ?").into_bytes();
            head.iter_mut().filter(|byte| **byte == b'?').for_each(|byte| *byte = 0xff);
            vec![Step::Send(head), Step::Hang(None)]
        }),
        script("upgrade-and-end", &DIAL, |_| vec![Step::Pass, Step::Cut]),
        script("upgrade-and-reset", &DIAL, |_| vec![Step::Pass, Step::Reset]),
        script("upgrade-with-frames-behind", &DIAL, |cue| {
            let both = [cue.accept.clone().into_bytes(), text("{}"), text("no JSON")].concat();
            vec![Step::Send(both)]
        }),
        script("upgrade-with-half-a-frame-behind", &DIAL, |cue| {
            vec![Step::Send([cue.accept.clone().into_bytes(), header(0x81, 500)].concat()), Step::Hang(None)]
        }),
    ]
}

fn strangers() -> Vec<Script> {
    let mut hello = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03".to_vec();
    hello.extend([0x5a; 111]);
    vec![
        says("tls-alert", b"\x15\x03\x01\x00\x02\x02\x46".to_vec()),
        says("tls-hello", hello),
        says("ssh", "SSH-2.0-OpenSSH_9.9\r\n"),
        says("smtp", "220 mail.example.org ESMTP\r\n"),
        says("redis", "-ERR unknown command 'GET'\r\n"),
        says("nul-bytes-for-a-head", vec![0u8; 4096]),
        says("all-bytes", (0..=255u8).collect::<Vec<u8>>()),
        says("frames-without-an-upgrade", text(r#"{"type":"event","event":"connect.challenge"}"#)),
        says("an-echo", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\r\n"),
        says("nothing", ""),
        script("reset-on-dial", &DIAL, |_| vec![Step::Reset]),
        script("nobody-listens", &DIAL, |_| Vec::new()).deaf(),
    ]
}

fn silences() -> Vec<Script> {
    let never = Duration::from_millis(20);
    vec![
        script("silent-on-dial", &DIAL, |_| vec![Step::Hang(None)]),
        script("half-open-on-dial", &DIAL, |_| vec![Step::HalfOpen]),
        script("endless-headers", &DIAL, |_| {
            let line = b"X-Noise: more of it and more of it\r\n".repeat(200);
            vec![
                Step::Send(b"HTTP/1.1 101 Switching Protocols\r\n".to_vec()),
                Step::Endless(line, Duration::ZERO),
            ]
        })
        .heavy(),
        script("an-endless-header", &DIAL, |_| {
            let head = b"HTTP/1.1 101 Switching Protocols\r\nX-Noise: ".to_vec();
            vec![Step::Send(head), Step::Endless(vec![b'x'; 8192], Duration::ZERO)]
        })
        .heavy(),
        script("headers-one-a-second", &DIAL, move |_| {
            vec![Step::Send(b"HTTP/1.1 101 Go\r\n".to_vec()), Step::Endless(b"X: y\r\n".to_vec(), never)]
        }),
        script("head-byte-by-byte", &DIAL, |_| vec![Step::PassDrip(Duration::from_millis(1))]),
        script("continue-for-ever", &DIAL, move |_| {
            vec![Step::Endless(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), never)]
        }),
        script("an-endless-body", &DIAL, |_| {
            let head = b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            vec![Step::Send(head), Step::Endless(b"1000\r\n".repeat(100), Duration::ZERO)]
        })
        .heavy(),
        script("a-body-of-an-exabyte", &DIAL, |_| {
            let head = b"HTTP/1.1 500 No\r\nContent-Length: 1152921504606846976\r\n\r\n".to_vec();
            vec![Step::Send(head), Step::Hang(None)]
        }),
    ]
}
