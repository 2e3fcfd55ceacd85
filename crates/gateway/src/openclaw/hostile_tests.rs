//! Against a scripted peer that knows the handshake and lies afterwards: what of it may be believed.

use super::*;
use crate::receiver::Kind;
use crate::testpeer::{Peer, serve};
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

const S: &str = "agent:main:telegram:direct:77001";

/// A connector for a gateway whose hello has these members, and which answers a method with the text this makes of
/// the request's id. `None`: no answer; what is heard is kept.
async fn liar(
    hello: Value,
    answer: impl Fn(&str, &str) -> Option<String> + Clone + Send + 'static,
) -> (OpenClawConnector, Arc<Mutex<Vec<Value>>>) {
    let heard: Arc<Mutex<Vec<Value>>> = Arc::default();
    let tell = Arc::clone(&heard);
    let url = serve(move |_, mut peer: Peer| {
        let (hello, answer, tell) = (hello.clone(), answer.clone(), Arc::clone(&tell));
        async move {
            let Some(connect) = peer.challenge().await else { return };
            tell.lock().unwrap().push(connect.clone());
            peer.hello(&connect, &["operator.write"], hello).await;
            while let Some(request) = peer.hear().await {
                tell.lock().unwrap().push(request.clone());
                let text = |name: &str| request[name].as_str().unwrap().to_owned();
                if let Some(said) = answer(&text("method"), &text("id")) {
                    peer.text(&said).await;
                }
            }
        }
    })
    .await;
    let mut config = Config::new(url);
    config.deadlines.request = Duration::from_millis(700);
    (OpenClawConnector::new(config), heard)
}

fn ok(id: &str, payload: &str) -> String {
    format!(r#"{{"type":"res","id":"{id}","ok":true,"payload":{payload}}}"#)
}

fn methods(heard: &Mutex<Vec<Value>>) -> Vec<String> {
    heard.lock().unwrap().iter().map(|request| request["method"].as_str().unwrap().to_owned()).collect()
}

fn delivery() -> Delivery {
    Delivery {
        key: "k-1".into(),
        former_keys: Vec::new(),
        session_key: S.into(),
        text: "[job k-1] done".into(),
        mode: Mode::Turn,
        route: None,
        traceparent: None,
    }
}

#[tokio::test]
async fn a_limit_below_every_request_is_the_gateways_trouble_and_no_verdict_on_a_record() {
    for limit in [0, 1, 100] {
        let (connector, heard) = liar(json!({"policy": {"maxPayload": limit}}), |_, _| None).await;
        let trouble = connector.connect().await.map(drop).expect_err("nothing could be sent on it");
        assert_eq!(trouble.kind, Kind::Unavailable, "{trouble}");
        assert!(trouble.reason.contains(&format!("{limit} bytes")), "{trouble}");
        assert_eq!(methods(&heard), ["connect"]);
    }
    let (connector, _) = liar(json!({"policy": {"maxPayload": 524_288}}), |_, _| None).await;
    connector.connect().await.unwrap();
}

#[tokio::test]
async fn a_hello_without_a_list_of_methods_is_taken_by_its_protocol() {
    for features in
        [json!(null), json!({}), json!({"methods": []}), json!({"methods": "all"}), json!({"methods": ["m"]})]
    {
        let (connector, heard) = liar(json!({"features": features.clone()}), |method, id| match method {
            "sessions.describe" => Some(ok(id, r#"{"session":{"sessionId":"s-1"}}"#)),
            _ => Some(ok(id, r#"{"ok":false}"#)),
        })
        .await;
        let gateway = connector.connect().await.unwrap();
        assert!(matches!(gateway.look(S).await, Ok(Look::Open(_))), "{features}");
        assert_eq!(methods(&heard), ["connect", "sessions.describe"], "{features}");
    }
    let (connector, heard) = liar(json!({"features": null, "protocol": 3}), |_, _| None).await;
    connector.connect().await.unwrap().look(S).await.unwrap_err();
    assert_eq!(methods(&heard), ["connect", "sessions.resolve"]);
}

#[tokio::test]
async fn a_member_that_is_given_twice_says_nothing() {
    for twice in [
        r#"{"session":{"sessionId":"s"},"session":null}"#,
        r#"{"session":null,"session":null}"#,
        r#"{"session":{"sessionId":"s","archived":false,"archived":true}}"#,
    ] {
        let (connector, _) = liar(json!({}), move |_, id| Some(ok(id, twice))).await;
        let gateway = connector.connect().await.unwrap();
        let trouble = gateway.look(S).await.expect_err(twice);
        assert!(trouble.reason.contains("could not be understood"), "{trouble}");
    }
}

#[tokio::test]
async fn only_the_very_id_of_a_request_answers_it() {
    let forms: [fn(&str) -> String; 5] = [
        |id| format!("+{id}"),
        |id| format!("00{id}"),
        |id| format!(" {id}"),
        |id| format!("{id} "),
        |id| format!("{id}.0"),
    ];
    for form in forms {
        let (connector, _) = liar(json!({}), move |_, id| Some(ok(&form(id), r#"{"session":null}"#))).await;
        let gateway = connector.connect().await.unwrap();
        let looked = gateway.look(S).await;
        assert!(looked.is_err(), "{}: {looked:?}", form("7"));
    }
}

#[tokio::test]
async fn no_id_is_used_again_on_another_connection() {
    let (connector, heard) = liar(json!({}), |_, id| Some(ok(id, r#"{"session":null}"#))).await;
    for _ in 0..3 {
        let gateway = connector.connect().await.unwrap();
        assert_eq!(gateway.look(S).await, Ok(Look::Missing));
        assert_eq!(gateway.look(S).await, Ok(Look::Missing));
    }
    let mut ids: Vec<String> =
        heard.lock().unwrap().iter().map(|request| request["id"].to_string()).collect();
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((all, ids.len()), (9, 9), "{ids:?}");
}

#[tokio::test]
async fn a_search_result_of_another_session_proves_nothing() {
    let search = |hit: &'static str| {
        move |method: &str, id: &str| {
            Some(ok(
                id,
                match method {
                    "chat.history" => r#"{"messages":[]}"#,
                    "agent.wait" => r#"{"status":"timeout"}"#,
                    "sessions.search" => hit,
                    _ => r#"{"session":{"sessionId":"s"}}"#,
                },
            ))
        }
    };
    let foreign = r#"{"results":[{"role":"user","sessionKey":"agent:main:telegram:direct:66666","snippet":"k-1"},
        {"role":"user","snippet":"k-1"},{"role":"user","sessionKey":7}]}"#;
    let (connector, _) = liar(json!({}), search(foreign)).await;
    let probed = connector.connect().await.unwrap().probe(&delivery()).await;
    assert_eq!(probed, Ok(Probe::Absent));

    let own =
        r#"{"results":[{"role":"user","sessionKey":"agent:main:telegram:direct:77001","snippet":"k-1"}]}"#;
    let (connector, _) = liar(json!({}), search(own)).await;
    let gateway = connector.connect().await.unwrap();
    assert_eq!(gateway.probe(&delivery()).await, Ok(Probe::Committed(Reply::Pending)));
    // A short key is answered by its full name.
    let main = r#"{"results":[{"role":"user","sessionKey":"agent:main:main","snippet":"k-1"}]}"#;
    let (connector, _) = liar(json!({}), search(main)).await;
    let gateway = connector.connect().await.unwrap();
    let short = Delivery { session_key: "main".into(), ..delivery() };
    assert_eq!(gateway.probe(&short).await, Ok(Probe::Committed(Reply::Pending)));
}

#[tokio::test]
async fn a_gateway_that_only_pings_or_ticks_is_given_up_and_one_that_answers_others_is_not() {
    for is_ping in [true, false] {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let url = serve(move |_, mut peer: Peer| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let Some(connect) = peer.challenge().await else { return };
                peer.hello(&connect, &["operator.write"], json!({})).await;
                loop {
                    let noise = match is_ping {
                        true => tokio_tungstenite::tungstenite::Message::Ping(Vec::new().into()),
                        false => tokio_tungstenite::tungstenite::Message::text(
                            r#"{"type":"event","event":"tick"}"#,
                        ),
                    };
                    if futures_util::SinkExt::send(&mut peer.0, noise).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        })
        .await;
        let mut config = Config::new(url);
        config.deadlines.request = Duration::from_millis(300);
        let gateway = OpenClawConnector::new(config).connect().await.unwrap();
        let trouble = gateway.probe(&delivery()).await.unwrap_err();
        assert_eq!(trouble.kind, Kind::Unavailable, "{trouble}");
        let closed = tokio::time::timeout(Duration::from_secs(5), gateway.closed()).await;
        assert!(closed.expect("it has to be given up").contains("answered nothing"));
    }
    // One question that is never answered, beside others that are: the connection lives.
    let (connector, _) = liar(json!({}), |method, id| match method {
        "sessions.describe" => Some(ok(id, r#"{"session":null}"#)),
        _ => None,
    })
    .await;
    let gateway = connector.connect().await.unwrap();
    let delivery = delivery();
    let unanswered = gateway.probe(&delivery);
    let answered = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            gateway.look(S).await.unwrap();
        }
    };
    let (probed, ()) = tokio::join!(unanswered, answered);
    assert_eq!(probed.unwrap_err().kind, Kind::Unavailable);
    assert!(tokio::time::timeout(Duration::from_millis(300), gateway.closed()).await.is_err());
}
