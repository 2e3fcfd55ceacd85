//! A scripted peer for the tests of this crate: it speaks the bytes a test tells it to, right or wrong.

use std::future::Future;
use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

/// The peer's end of one connection.
pub(crate) struct Peer<S = TcpStream>(pub WebSocketStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub async fn say(&mut self, frame: Value) {
        self.text(&frame.to_string()).await;
    }

    pub async fn text(&mut self, text: &str) {
        // The other end may have had enough already; what it did then is what the test looks at.
        let _gone = self.0.send(Message::text(text)).await;
    }

    /// The next text frame; `None` when the client is gone.
    pub async fn hear(&mut self) -> Option<Value> {
        loop {
            match self.0.next().await?.ok()? {
                Message::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Sends the challenge and returns the connect request.
    pub async fn challenge(&mut self) -> Option<Value> {
        self.say(json!({"type": "event", "event": "connect.challenge",
            "payload": {"nonce": "n-1", "ts": 1_795_415_532_394_u64}}))
            .await;
        self.hear().await
    }

    /// Answers the connect request with a hello of these scopes.
    pub async fn hello(&mut self, connect: &Value, scopes: &[&str], extra: Value) {
        let mut payload = json!({"type": "hello-ok", "protocol": 4,
            "server": {"version": "2026.9.6", "bootId": "b-1", "connId": "c"},
            "features": {"methods": ["agent", "agent.wait", "sessions.describe", "sessions.search",
                "sessions.messages.subscribe"]},
            "auth": {"role": "operator", "scopes": scopes},
            "policy": {"maxPayload": 26_214_400, "maxBufferedBytes": 52_428_800, "tickIntervalMs": 30_000}});
        for (name, value) in extra.as_object().into_iter().flatten() {
            payload[name.as_str()] = value.clone();
        }
        self.say(json!({"type": "res", "id": connect["id"], "ok": true, "payload": payload})).await;
    }

    pub async fn refuse(&mut self, request: &Value, error: Value) {
        self.say(json!({"type": "res", "id": request["id"], "ok": false, "error": error})).await;
    }

    pub async fn answer(&mut self, request: &Value, payload: Value) {
        self.say(json!({"type": "res", "id": request["id"], "ok": true, "payload": payload})).await;
    }

    /// Stays connected until the client leaves.
    pub async fn linger(&mut self) {
        while let Some(Ok(_)) = self.0.next().await {}
    }
}

/// A listener on loopback, and its URL.
pub(crate) async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Runs `script` for each connection, numbered from 0, until the test ends.
pub(crate) async fn serve<F, R>(script: F) -> String
where
    F: Fn(usize, Peer) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            let Ok(socket) = accept_async(stream).await else { continue };
            script(number, Peer(socket)).await;
        }
    });
    url
}
