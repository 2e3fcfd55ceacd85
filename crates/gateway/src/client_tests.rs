//! Against a scripted peer that answers late, twice, wrongly, too much or not at all.

use super::*;
use crate::driver::PENDING_LIMIT;
use crate::socket::Wire;
use crate::testpeer::{Peer, serve};
use futures_util::SinkExt;
use serde_json::json;
use std::future::Future;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const PATIENCE: Duration = Duration::from_secs(10);
const LIMITS: Limits = Limits { payload: 1 << 20, silence: Duration::from_secs(30) };

async fn client<F, R>(limits: Limits, script: F) -> Client
where
    F: Fn(Peer) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let url = serve(move |_, peer| script(peer)).await;
    let stream = tokio::net::TcpStream::connect(url.trim_start_matches("ws://")).await.unwrap();
    let wire: Box<dyn Wire> = Box::new(stream);
    let (socket, _) = client_async(url, wire).await.unwrap();
    Client::start(socket, limits, Known::default(), Ids::default())
}

#[tokio::test]
async fn answers_find_their_requests_in_any_order() {
    let client = client(LIMITS, |mut peer| async move {
        let (first, second) = (peer.hear().await.unwrap(), peer.hear().await.unwrap());
        peer.answer(&second, json!({"you": "second"})).await;
        peer.answer(&first, json!({"you": "first"})).await;
        peer.linger().await;
    })
    .await;
    let (first, second) =
        tokio::join!(client.request("a", json!({}), PATIENCE), client.request("b", json!({}), PATIENCE));
    assert_eq!(first.unwrap().get(), r#"{"you":"first"}"#);
    assert_eq!(second.unwrap().get(), r#"{"you":"second"}"#);
}

#[tokio::test]
async fn two_steps_and_what_comes_beside_them() {
    let client = client(LIMITS, |mut peer| async move {
        let request = peer.hear().await.unwrap();
        // Garbage, strangers and repetitions around the two answers that count.
        peer.text("not json").await;
        peer.text("{\"type\":\"res\"}").await;
        peer.say(json!({"type": "res", "id": "999", "ok": true, "payload": {}})).await;
        peer.say(json!({"type": "res", "id": "invalid", "ok": false, "error": {}})).await;
        let _sent = peer.0.send(Message::binary(vec![0; 100])).await;
        for _ in 0..5 {
            peer.answer(&request, json!({"status": "accepted"})).await;
        }
        peer.answer(&request, json!({"status": "ok", "n": 1})).await;
        peer.answer(&request, json!({"status": "ok", "n": 2})).await;
        let next = peer.hear().await.unwrap();
        peer.answer(&next, json!("still here")).await;
        peer.linger().await;
    })
    .await;
    let mut exchange = client.two_steps("agent", json!({}), None, PATIENCE).await.unwrap();
    assert!(matches!(exchange.next().await, Ok(Step::Accepted)));
    let Ok(Step::Final(last)) = exchange.next().await else { panic!("accepted is said once") };
    assert_eq!(last.get(), r#"{"n":1,"status":"ok"}"#, "the first final counts");
    assert_eq!(client.request("x", json!({}), PATIENCE).await.unwrap().get(), r#""still here""#);
}

#[tokio::test]
async fn a_fault_is_the_gateways_own() {
    let client = client(LIMITS, |mut peer| async move {
        let request = peer.hear().await.unwrap();
        peer.refuse(&request, json!({"code": "UNAVAILABLE", "message": "m", "retryable": true})).await;
        peer.linger().await;
    })
    .await;
    let Err(CallError::Fault(fault)) = client.request("a", json!({}), PATIENCE).await else { panic!() };
    assert_eq!((fault.code.as_str(), fault.retryable), ("UNAVAILABLE", true));
}

#[tokio::test]
async fn no_answer_ends_at_the_deadline_and_a_late_one_harms_nobody() {
    let client = client(LIMITS, |mut peer| async move {
        let first = peer.hear().await.unwrap();
        let second = peer.hear().await.unwrap();
        peer.answer(&first, json!("late")).await;
        peer.answer(&second, json!("in time")).await;
        peer.linger().await;
    })
    .await;
    let short = Duration::from_millis(50);
    assert!(matches!(client.request("a", json!({}), short).await, Err(CallError::Timeout(_))));
    assert_eq!(client.request("b", json!({}), PATIENCE).await.unwrap().get(), r#""in time""#);
}

#[tokio::test]
async fn a_close_ends_every_wait_with_its_code() {
    let client = client(LIMITS, |mut peer| async move {
        peer.hear().await;
        let frame = CloseFrame { code: CloseCode::Restart, reason: "service restart".into() };
        let _gone = peer.0.close(Some(frame)).await;
        peer.linger().await;
    })
    .await;
    let Err(CallError::Closed(closed)) = client.request("a", json!({}), PATIENCE).await else { panic!() };
    assert_eq!(closed, Closed { code: Some(1012), reason: "service restart".into() });
    assert_eq!(client.closed().await, closed);
    assert!(matches!(client.request("b", json!({}), PATIENCE).await, Err(CallError::Closed(_))));
}

#[tokio::test]
async fn a_killed_peer_is_an_abnormal_closure() {
    let client = client(LIMITS, |mut peer| async move {
        peer.hear().await;
    })
    .await;
    let Err(CallError::Closed(closed)) = client.request("a", json!({}), PATIENCE).await else { panic!() };
    assert_eq!(closed.code, None);
    assert!(closed.to_string().contains("1006"), "{closed}");
}

#[tokio::test]
async fn silence_is_noticed() {
    let limits = Limits { silence: Duration::from_millis(100), ..LIMITS };
    let client = client(limits, |mut peer| async move { peer.linger().await }).await;
    assert_eq!(tokio::time::timeout(PATIENCE, client.closed()).await.unwrap().code, Some(4000));
}

#[tokio::test]
async fn pings_are_answered_and_a_flood_of_them_blocks_nobody() {
    let client = client(LIMITS, |mut peer| async move {
        let mut request = None;
        let mut pongs = 0;
        for _ in 0..20_000 {
            if peer.0.feed(Message::Ping(vec![7; 100].into())).await.is_err() {
                return;
            }
        }
        let _sent = peer.0.flush().await;
        use futures_util::StreamExt;
        while request.is_none() || pongs == 0 {
            match peer.0.next().await {
                Some(Ok(Message::Text(text))) => request = serde_json::from_str::<Value>(&text).ok(),
                Some(Ok(Message::Pong(_))) => pongs += 1,
                _ => return,
            }
        }
        peer.answer(&request.unwrap(), json!("here")).await;
        peer.linger().await;
    })
    .await;
    assert_eq!(client.request("a", json!({}), PATIENCE).await.unwrap().get(), r#""here""#);
}

#[tokio::test]
async fn what_is_too_large_is_refused_here() {
    let limits = Limits { payload: 1000, ..LIMITS };
    let client = client(limits, |mut peer| async move {
        let request = peer.hear().await.unwrap();
        assert_eq!(request["method"], "small");
        peer.answer(&request, json!(null)).await;
        peer.linger().await;
    })
    .await;
    let large = client.request("large", json!({"text": "x".repeat(2000)}), PATIENCE).await;
    assert!(matches!(large, Err(CallError::TooLarge { limit: 1000, .. })));
    client.request("small", json!({}), PATIENCE).await.unwrap();
}

#[tokio::test]
async fn requests_beyond_the_limit_are_busy_and_abandoned_ones_do_not_count() {
    let client = client(LIMITS, |mut peer| async move {
        while let Some(request) = peer.hear().await {
            if request["method"] == "answer me" {
                peer.answer(&request, json!(null)).await;
            }
        }
    })
    .await;
    // Given up, one after the other: no matter how many, there is room for the next.
    for _ in 0..PENDING_LIMIT * 2 {
        let exchange = client.two_steps("void", json!({}), None, PATIENCE).await.unwrap();
        drop(exchange);
    }
    client.request("answer me", json!({}), PATIENCE).await.unwrap();
    // Kept: the one beyond the limit is told.
    let mut kept = Vec::new();
    for _ in 0..PENDING_LIMIT {
        kept.push(client.two_steps("void", json!({}), None, PATIENCE).await.unwrap());
    }
    assert!(matches!(client.request("answer me", json!({}), PATIENCE).await, Err(CallError::Busy)));
}

fn row(session: &str, key: &str) -> Value {
    json!({"type": "event", "event": "session.message", "payload": {"sessionKey": session,
        "message": {"role": "user", "content": "x", "idempotencyKey": key}, "messageSeq": 1}})
}

#[tokio::test]
async fn rows_reach_the_subscribers_of_their_session() {
    let client = client(LIMITS, |mut peer| async move {
        let request = peer.hear().await.unwrap();
        peer.say(json!({"type": "event", "event": "session.message", "payload": {"sessionKey": "s1"}})).await;
        peer.say(json!({"type": "event", "event": "session.message"})).await;
        peer.say(row("s2", "other:user")).await;
        peer.say(row("s1", "K:user")).await;
        peer.answer(&request, json!(null)).await;
        peer.linger().await;
    })
    .await;
    let mut news = client.subscribe("s1", PATIENCE).await.unwrap();
    client.request("go", json!({}), PATIENCE).await.unwrap();
    assert_eq!(news.next().await, News::Row("K:user".into()));
}

#[tokio::test]
async fn a_subscriber_that_lags_is_told_and_others_lose_nothing() {
    let client = client(LIMITS, |mut peer| async move {
        let request = peer.hear().await.unwrap();
        for number in 0..EVENT_LIMIT * 3 {
            peer.say(row("busy", &format!("{number}:user"))).await;
        }
        peer.say(row("calm", "K:user")).await;
        peer.answer(&request, json!(null)).await;
        peer.linger().await;
    })
    .await;
    let mut busy = client.subscribe("busy", PATIENCE).await.unwrap();
    let mut calm = client.subscribe("calm", PATIENCE).await.unwrap();
    client.request("go", json!({}), PATIENCE).await.unwrap();
    assert_eq!(busy.next().await, News::Lagged);
    assert_eq!(calm.next().await, News::Row("K:user".into()));
}

#[tokio::test]
async fn the_last_handle_says_goodbye() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let tell = Arc::new(std::sync::Mutex::new(Some(tell)));
    let client = client(LIMITS, move |mut peer| {
        let tell = Arc::clone(&tell);
        async move {
            use futures_util::StreamExt;
            let last = peer.0.next().await;
            let tell = tell.lock().unwrap().take().unwrap();
            tell.send(matches!(last, Some(Ok(Message::Close(_))))).unwrap();
        }
    })
    .await;
    let other = client.clone();
    drop(client);
    drop(other);
    assert!(tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap());
}
