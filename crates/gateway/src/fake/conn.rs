//! One connection: the handshake, then frames in and frames out.
//!
//! What it keeps true: nothing is said before the challenge, nothing is taken before a good `connect` (64 KiB and
//! fifteen seconds for it); frames that are no requests never end the connection; too long ones do, with 1009;
//! while the fake is frozen nothing is read and nothing is written.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};
use uuid::Uuid;

use super::errors;
use super::handshake;
use super::inspect::Request as Logged;
use super::methods::{self, Call};
use super::options::Phase;
use super::script::{About, At, Fault, Plan};
use super::server::Shared;

type Socket = WebSocketStream<TcpStream>;

/// Frames that may wait for a client that does not read; one more cuts the connection.
const QUEUE: usize = 4096;

/// Something to do on a connection.
#[derive(Debug)]
pub(super) enum Out {
    Frame(Value),
    Raw(Message),
    Close(u16, &'static str),
    Cut,
    /// Answered when everything before it was written.
    Flush(oneshot::Sender<()>),
}

/// The sending end of a connection, and who is at the other one.
#[derive(Debug, Clone)]
pub(super) struct Conn {
    pub id: u64,
    pub mode: String,
    pub scopes: Vec<String>,
    tx: mpsc::Sender<Out>,
}

impl Conn {
    pub(super) fn out(&self, out: Out) {
        // A full queue is a client that does not read; the loop notices on its own.
        drop(self.tx.try_send(out));
    }

    pub(super) fn event(&self, name: &str, payload: Value) {
        self.out(Out::Frame(json!({"type": "event", "event": name, "payload": payload})));
    }

    /// Waits until all that was said has been written, or the connection is gone.
    pub(super) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.out(Out::Flush(done));
        drop(wait.await);
    }
}

pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, id: u64) {
    let (draining, max, limit) =
        shared.see(|s| (s.phase == Phase::Draining, s.options.max_payload, s.options.handshake_timeout));
    let mut origin = false;
    #[allow(clippy::result_large_err, reason = "the shape of the callback is the library's")]
    let callback = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        origin = request.headers().contains_key("origin");
        if draining {
            let mut refusal = ErrorResponse::new(Some("gateway is draining".into()));
            *refusal.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Err(refusal);
        }
        Ok(response)
    };
    let config = WebSocketConfig::default().max_message_size(Some(max)).max_frame_size(Some(max));
    let upgrade = accept_hdr_async_with_config(stream, callback, Some(config));
    let Ok(Ok(mut ws)) = timeout(limit, upgrade).await else { return };
    let (tx, rx) = mpsc::channel(QUEUE);
    let welcome = timeout(limit, welcome(&shared, &mut ws, id, origin, tx)).await;
    match welcome {
        Ok(Ok(conn)) => talk(&shared, ws, rx, conn).await,
        Ok(Err(Some((code, reason)))) => close(&mut ws, code, reason).await,
        Ok(Err(None)) => {}
        Err(_) => close(&mut ws, 1000, "connect timeout").await,
    }
    shared.with(|s| {
        s.memory.conns.remove(&id);
        for subscribers in s.memory.subscribers.values_mut() {
            subscribers.remove(&id);
        }
    });
}

/// The handshake. `Err(Some(..))` closes, `Err(None)` cuts.
async fn welcome(
    shared: &Arc<Shared>,
    ws: &mut Socket,
    id: u64,
    origin: bool,
    tx: mpsc::Sender<Out>,
) -> Result<Conn, Option<(u16, &'static str)>> {
    let nonce = Uuid::now_v7().to_string();
    let now = shared.see(|s| shared.now_ms(s));
    shared.thaw().await;
    send(
        ws,
        &json!({"type": "event", "event": "connect.challenge",
        "payload": {"nonce": nonce, "ts": now, "capabilities": []}}),
    )
    .await
    .map_err(|_| None)?;
    let text = loop {
        match ws.next().await {
            Some(Ok(Message::Text(text))) => break text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(Some((1008, "invalid request frame"))),
            _ => return Err(None),
        }
    };
    shared.thaw().await;
    if text.len() > 64 * 1024 {
        return Err(Some((1009, "handshake frame too large")));
    }
    let frame: Value = serde_json::from_str(text.as_str()).unwrap_or(Value::Null);
    let (Some(request), true) = (frame["id"].as_str(), frame["method"] == "connect") else {
        return Err(Some((1008, "invalid handshake: first request must be connect")));
    };
    let params = &frame["params"];
    let plan = shared.with(|s| {
        let at = shared.now(s);
        // A token in a log is a token in a test's output.
        let mut shown = params.clone();
        if shown.get("auth").is_some() {
            shown["auth"] = json!("(hidden)");
        }
        s.stats
            .log(Logged { at, connection: id, method: "connect".into(), params: shown }, s.options.log_limit);
        s.script.take(&About::of("connect", params))
    });
    if let Some(refused) = before_connect(ws, &plan, request).await {
        return Err(refused);
    }
    let refuse = |error: Value| json!({"type": "res", "id": request, "ok": false, "error": error});
    if origin {
        let error = errors::refused("CONTROL_UI_ORIGIN_NOT_ALLOWED", "origin not allowed");
        send(ws, &refuse(error)).await.map_err(|_| None)?;
        return Err(Some((1008, "origin not allowed")));
    }
    let decided = shared.see(|s| {
        let known = |device: &str| s.world.devices.get(device).cloned();
        handshake::decide(params, &nonce, &s.options, s.phase, &known)
    });
    let admitted = match decided {
        Ok(admitted) => admitted,
        Err(refusal) => {
            send(ws, &refuse(refusal.error)).await.map_err(|_| None)?;
            return Err(Some((refusal.close, refusal.reason)));
        }
    };
    let conn = Conn { id, mode: admitted.mode.clone(), scopes: admitted.scopes.clone(), tx };
    let hello = shared.with(|s| {
        if let Some((device, token)) = &admitted.issued {
            s.world.devices.insert(device.clone(), (token.clone(), admitted.scopes.clone()));
        }
        s.memory.conns.insert(id, conn.clone());
        handshake::hello(&admitted, &s.options, &s.memory.boot_id, id)
    });
    send(ws, &json!({"type": "res", "id": request, "ok": true, "payload": hello})).await.map_err(|_| None)?;
    if plan.has(&Fault::Drop(At::Final)) {
        return Err(None);
    }
    Ok(conn)
}

/// The script's faults for a `connect`.
async fn before_connect(ws: &mut Socket, plan: &Plan, request: &str) -> Option<Option<(u16, &'static str)>> {
    for fault in &plan.faults {
        match fault {
            Fault::Delay(time) | Fault::AnswerLate(time) => sleep(*time).await,
            Fault::Drop(At::Frame) => return Some(None),
            Fault::Mute(_) => std::future::pending().await,
            Fault::Garbage => drop(ws.send(Message::text("this is no JSON")).await),
            Fault::HugeFrame(bytes) => {
                let frame = json!({"type": "event", "event": "noise", "payload": "x".repeat(*bytes)});
                drop(send(ws, &frame).await);
            }
            Fault::Error(error) => {
                let frame = json!({"type": "res", "id": request, "ok": false, "error": error});
                drop(send(ws, &frame).await);
                let code = match error["details"]["code"].as_str() {
                    Some("PROTOCOL_MISMATCH") => 1002,
                    _ if error["retryable"] == true => 1013,
                    _ => 1008,
                };
                return Some(Some((code, "connect refused")));
            }
            _ => {}
        }
    }
    None
}

/// What the loop has to deal with next.
enum Step {
    Out(Option<Out>),
    In(Option<Result<Message, Error>>),
    Tick,
}

async fn talk(shared: &Arc<Shared>, mut ws: Socket, mut rx: mpsc::Receiver<Out>, conn: Conn) {
    let period = shared.see(|s| s.options.tick).max(Duration::from_millis(1));
    let mut tick = interval_at(Instant::now() + period, period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seq = 0u64;
    loop {
        let step = tokio::select! {
            out = rx.recv() => Step::Out(out),
            frame = ws.next() => Step::In(frame),
            _ = tick.tick() => Step::Tick,
        };
        shared.thaw().await;
        if rx.capacity() == 0 {
            return close(&mut ws, 1008, "slow consumer").await;
        }
        let written = match step {
            Step::Tick => {
                let now = shared.see(|s| shared.now_ms(s));
                send(&mut ws, &json!({"type": "event", "event": "tick", "payload": {"ts": now}})).await
            }
            Step::Out(Some(Out::Frame(mut frame))) => {
                if frame["type"] == "event" {
                    seq += 1;
                    frame["seq"] = json!(seq);
                }
                send(&mut ws, &frame).await
            }
            Step::Out(Some(Out::Raw(message))) => ws.send(message).await,
            Step::Out(Some(Out::Close(code, reason))) => return close(&mut ws, code, reason).await,
            Step::Out(Some(Out::Flush(done))) => {
                // Whoever waited may be gone by now.
                done.send(()).or(Ok(()))
            }
            Step::Out(Some(Out::Cut) | None) => return,
            Step::In(Some(Ok(Message::Text(text)))) => {
                take(shared, &conn, text.as_str());
                Ok(())
            }
            // Binary frames are ignored; pings are answered by the library.
            Step::In(Some(Ok(_))) => Ok(()),
            Step::In(Some(Err(Error::Capacity(_)))) => return close(&mut ws, 1009, "message too big").await,
            Step::In(Some(Err(_)) | None) => return,
        };
        if written.is_err() {
            return;
        }
    }
}

/// One frame of a client that has been let in.
fn take(shared: &Arc<Shared>, conn: &Conn, text: &str) {
    const FIELDS: [&str; 6] = ["type", "id", "method", "params", "traceparent", "expectedProfileId"];
    let Ok(frame) = serde_json::from_str::<Value>(text) else { return };
    let id = frame["id"].as_str().filter(|id| !id.is_empty());
    let method = frame["method"].as_str().filter(|m| !m.is_empty());
    let known = frame.as_object().is_some_and(|f| f.keys().all(|k| FIELDS.contains(&k.as_str())));
    let (Some(id), Some(method), true) = (id, method, known && frame["type"] == "req") else {
        let error = errors::invalid("invalid request frame");
        let id = id.unwrap_or("invalid");
        return conn.out(Out::Frame(json!({"type": "res", "id": id, "ok": false, "error": error})));
    };
    let params = frame.get("params").cloned().unwrap_or_else(|| json!({}));
    let plan = shared.with(|s| {
        let at = shared.now(s);
        let logged = Logged { at, connection: conn.id, method: method.into(), params: params.clone() };
        s.stats.log(logged, s.options.log_limit);
        s.script.take(&About::of(method, &params))
    });
    let call = Call::new(Arc::clone(shared), conn.clone(), id, method, params, plan);
    shared.spawn(methods::dispatch(call));
}

async fn send(ws: &mut Socket, frame: &Value) -> Result<(), Error> {
    ws.send(Message::text(frame.to_string())).await
}

/// Says goodbye and gives the client a second to say it too.
async fn close(ws: &mut Socket, code: u16, reason: &'static str) {
    let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
    if ws.send(Message::Close(Some(frame))).await.is_ok() {
        let rest = async { while let Some(Ok(_)) = ws.next().await {} };
        drop(timeout(Duration::from_secs(1), rest).await);
    }
}
