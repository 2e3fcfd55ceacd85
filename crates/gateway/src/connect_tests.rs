//! Against a scripted peer: what a gateway, a proxy or a stranger may answer.

use super::*;
use crate::testpeer::{Peer, listen, serve};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SECRET: &str = "tok-very-secret";

fn config(url: &str) -> Config {
    let mut config = Config::new(url);
    config.token = Some(Source::Literal(Secret::new(SECRET)));
    let quick = Duration::from_millis(300);
    config.deadlines.open = quick;
    config.deadlines.handshake = quick;
    config
}

async fn fails(config: &Config) -> Trouble {
    let trouble = connect(config, &Memory::default()).await.err().expect("the connect has to fail");
    assert!(!format!("{trouble:?}").contains(SECRET), "{trouble:?}");
    trouble
}

/// A peer that speaks HTTP and not WebSocket.
async fn http(answer: &'static str) -> String {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _read = stream.read(&mut request).await;
            let _written = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn the_handshake_asks_for_both_protocols_and_no_more_scope_than_needed() {
    let heard = Arc::new(Mutex::new(Value::Null));
    let tell = Arc::clone(&heard);
    let url = serve(move |_, mut peer: Peer| {
        let tell = Arc::clone(&tell);
        async move {
            let connect = peer.challenge().await.unwrap();
            *tell.lock().unwrap() = connect.clone();
            peer.hello(&connect, &["operator.write"], json!({})).await;
            peer.linger().await;
        }
    })
    .await;
    let up = connect(&config(&url), &Memory::default()).await.unwrap();
    assert_eq!((up.hello.version.as_str(), up.hello.boot_id.as_deref()), ("2026.9.6", Some("b-1")));
    assert!(up.backend && !up.admin);
    assert_eq!(up.hello.limits.payload, 26_214_400);
    assert_eq!(up.hello.limits.silence, Duration::from_secs(60));
    let params = heard.lock().unwrap()["params"].clone();
    assert_eq!((params["minProtocol"].as_u64(), params["maxProtocol"].as_u64()), (Some(3), Some(4)));
    assert_eq!(
        (&params["client"]["id"], &params["client"]["mode"]),
        (&json!("gateway-client"), &json!("backend"))
    );
    assert_eq!(params["scopes"], json!(["operator.write"]));
    assert_eq!(params["auth"], json!({"token": SECRET}));
    assert!(params.get("device").is_none());
}

#[tokio::test]
async fn answers_that_are_no_upgrade() {
    for (answer, kind, word) in [
        (
            "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            Kind::Refused,
            "redirect",
        ),
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", Kind::Refused, "401"),
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", Kind::Refused, "403"),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", Kind::Unavailable, "404"),
        ("SSH-2.0-OpenSSH_9.6\r\n", Kind::Unavailable, "WebSocket"),
        ("", Kind::Unavailable, "within"),
    ] {
        let url = http(answer).await;
        let trouble = fails(&config(&url)).await;
        assert_eq!(trouble.kind, kind, "{answer:?}: {trouble}");
        assert!(trouble.reason.contains(word) || answer.is_empty(), "{trouble}");
    }
    let url = http("HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n").await;
    let trouble = fails(&config(&url)).await;
    assert_eq!((trouble.kind, trouble.retry_after), (Kind::Unavailable, Some(Duration::from_secs(2))));
}

#[tokio::test]
async fn nothing_listens() {
    let (listener, url) = listen().await;
    drop(listener);
    let trouble = fails(&config(&url)).await;
    assert_eq!(trouble.kind, Kind::Unavailable);
    assert!(trouble.reason.contains("running"), "{trouble}");
}

#[tokio::test]
async fn no_challenge_no_answer_and_a_flood_instead_of_one_all_end() {
    let silent = serve(|_, mut peer: Peer| async move { peer.linger().await }).await;
    let trouble = fails(&config(&silent)).await;
    assert!(trouble.kind == Kind::Unavailable && trouble.reason.contains("challenge"), "{trouble}");

    let mute = serve(|_, mut peer: Peer| async move {
        peer.challenge().await;
        peer.linger().await;
    })
    .await;
    let trouble = fails(&config(&mute)).await;
    assert!(trouble.kind == Kind::Unavailable && trouble.reason.contains("connect request"), "{trouble}");

    let flood =
        serve(|_, mut peer: Peer| async move { while peer.0.send(Message::text("noise")).await.is_ok() {} })
            .await;
    assert_eq!(fails(&config(&flood)).await.kind, Kind::Unavailable);
}

#[tokio::test]
async fn a_challenge_or_hello_that_is_none() {
    for garbage in [json!({}), json!({"nonce": 7, "ts": 1}), json!({"nonce": "n", "ts": -1}), json!(null)] {
        let url = serve(move |_, mut peer: Peer| {
            let garbage = garbage.clone();
            async move {
                peer.say(json!({"type": "event", "event": "connect.challenge", "payload": garbage})).await;
                peer.linger().await;
            }
        })
        .await;
        assert_eq!(fails(&config(&url)).await.kind, Kind::Unavailable);
    }
    for (hello, kind) in [
        (json!({"protocol": "four"}), Kind::Unavailable),
        (json!([]), Kind::Unavailable),
        (json!({"protocol": 2}), Kind::Refused),
        (json!({"protocol": 5}), Kind::Refused),
        (json!({"protocol": 4, "auth": {"scopes": "operator.write"}}), Kind::Refused),
    ] {
        let url = serve(move |_, mut peer: Peer| {
            let hello = hello.clone();
            async move {
                let Some(connect) = peer.challenge().await else { return };
                peer.answer(&connect, hello).await;
                peer.linger().await;
            }
        })
        .await;
        assert_eq!(fails(&config(&url)).await.kind, kind);
    }
}

#[tokio::test]
async fn a_wrong_token_is_said_once_and_never_shown() {
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    let url = serve(move |_, mut peer: Peer| {
        let counted = Arc::clone(&counted);
        async move {
            *counted.lock().unwrap() += 1;
            let connect = peer.challenge().await.unwrap();
            // A peer that repeats what it got.
            let echo = format!("unauthorized: {}", connect["params"]["auth"]["token"]);
            peer.refuse(
                &connect,
                json!({"code": "INVALID_REQUEST", "message": echo,
                "details": {"code": "AUTH_TOKEN_MISMATCH"}}),
            )
            .await;
            peer.linger().await;
        }
    })
    .await;
    let trouble = fails(&config(&url)).await;
    assert!(trouble.kind == Kind::Refused && trouble.reason.contains("gateway.auth.token"), "{trouble}");
    // With a device but no token of its own there is nothing else to try; with one there is exactly one more way.
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&url);
    config.identity_dir = Some(dir.path().to_owned());
    fails(&config).await;
    assert_eq!(*count.lock().unwrap(), 2);
    Identity::load_or_create(dir.path())
        .unwrap()
        .keep_device_token(&url, &Secret::new("device-token"))
        .unwrap();
    assert!(!fails(&config).await.reason.contains("device-token"));
    assert_eq!(*count.lock().unwrap(), 4, "one retry with the device's token, and no loop");
}

#[tokio::test]
async fn a_gateway_that_clears_the_scopes_gets_the_signed_device() {
    let url = serve(|_, mut peer: Peer| async move {
        let connect = peer.challenge().await.unwrap();
        let params = &connect["params"];
        if params.get("device").is_none() {
            peer.hello(&connect, &[], json!({"protocol": 3})).await;
        } else {
            assert_eq!(params["client"]["id"], "cli");
            assert_eq!(
                (&params["device"]["nonce"], &params["device"]["signedAt"]),
                (&json!("n-1"), &json!(1_795_415_532_394_u64))
            );
            let auth = json!({"scopes": ["operator.write"], "deviceToken": "device-token"});
            peer.hello(&connect, &[], json!({"protocol": 3, "auth": auth})).await;
        }
        peer.linger().await;
    })
    .await;
    // Without a place for a device key there is nothing to be done, and it is said.
    let trouble = fails(&config(&url)).await;
    assert!(trouble.kind == Kind::Refused && trouble.reason.contains("operator.write"), "{trouble}");

    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&url);
    config.identity_dir = Some(dir.path().join("device"));
    let memory = Memory::default();
    let up = connect(&config, &memory).await.unwrap();
    assert!(!up.backend, "a cli may not pin");
    let kept = Identity::load_or_create(&dir.path().join("device")).unwrap().device_token(&url).unwrap();
    assert_eq!(kept, Some(Secret::new("device-token")));
    assert!(memory.wants_device.load(Ordering::Relaxed), "the next connect starts with the device");
}

#[tokio::test]
async fn a_close_instead_of_an_answer_keeps_its_code() {
    for (code, kind) in [(1008, Kind::Refused), (1012, Kind::Unavailable), (1013, Kind::Unavailable)] {
        let url = serve(move |_, mut peer: Peer| async move {
            use tokio_tungstenite::tungstenite::protocol::CloseFrame;
            peer.challenge().await;
            let frame = CloseFrame { code: code.into(), reason: "why not".into() };
            let _gone = peer.0.close(Some(frame)).await;
            peer.linger().await;
        })
        .await;
        let trouble = fails(&config(&url)).await;
        assert_eq!(trouble.kind, kind);
        assert!(
            trouble.reason.contains(&code.to_string()) && trouble.reason.contains("why not"),
            "{trouble}"
        );
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_read_is_a_matter_for_a_person() {
    let mut config = config("ws://127.0.0.1:1");
    config.token = Some(Source::File("/nonexistent/token".into()));
    let trouble = fails(&config).await;
    assert!(trouble.kind == Kind::Refused && trouble.reason.contains("/nonexistent/token"), "{trouble}");
}
