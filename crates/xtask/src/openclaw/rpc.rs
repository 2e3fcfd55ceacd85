//! The harness's own client of the gateway's protocol: blocking, raw, and no relation of the project's.
//!
//! It makes and closes sessions, and reads what the gateway says of them. It connects as the gateway's own
//! backend identity with the shared token, which a gateway grants on loopback, and asks for admin, because it
//! plays the person at the console. Every call has a deadline; a call that is acknowledged first and answered
//! later (`agent`) waits for the later answer.
//! Protocol 4: `connect.challenge`, `connect`, then `req` / `res` frames with the same id.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Error, Message, WebSocket};

use super::support::Outcome;

const TICK: Duration = Duration::from_millis(50);

/// One connection.
pub(crate) struct Rpc {
    socket: WebSocket<TcpStream>,
    last_id: u64,
    /// The `hello-ok` payload.
    pub(crate) hello: Value,
}

impl Rpc {
    /// Connects, or says why not; takes at most five seconds.
    pub(crate) fn connect(port: u16, token: &str, (least, most): (u32, u32)) -> Outcome<Rpc> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        stream.set_nodelay(true)?;
        let (socket, _) = tungstenite::client(format!("ws://127.0.0.1:{port}/"), stream)
            .map_err(|error| format!("the upgrade to a WebSocket failed: {error}"))?;
        socket.get_ref().set_read_timeout(Some(TICK))?;
        let mut rpc = Rpc { socket, last_id: 0, hello: Value::Null };
        loop {
            let frame = rpc.frame(deadline)?;
            if frame["event"] == "connect.challenge" {
                break;
            }
        }
        let connect = json!({"minProtocol": least, "maxProtocol": most,
            "client": {"id": "gateway-client", "version": "0.1.0", "platform": "linux", "mode": "backend"},
            "role": "operator", "scopes": ["operator.write", "operator.admin"], "caps": [],
            "auth": {"token": token}});
        rpc.hello = rpc.call_within("connect", connect, Duration::from_secs(5))?;
        Ok(rpc)
    }

    /// One frame that is text, before `deadline`.
    fn frame(&mut self, deadline: Instant) -> Outcome<Value> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(serde_json::from_str(&text)?),
                Ok(Message::Close(why)) => return Err(format!("the gateway closed: {why:?}").into()),
                Ok(_) => {}
                Err(Error::Io(error))
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock
                            | std::io::ErrorKind::TimedOut
                            | std::io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() > deadline {
                return Err("the gateway did not answer in time".into());
            }
        }
    }

    /// Calls and gives the payload of the (final) answer; an `ok: false` is an error that quotes it.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Outcome<Value> {
        self.call_within(method, params, Duration::from_secs(60))
    }

    pub(crate) fn call_within(&mut self, method: &str, params: Value, limit: Duration) -> Outcome<Value> {
        let deadline = Instant::now() + limit;
        self.last_id += 1;
        let id = self.last_id.to_string();
        let request = json!({"type": "req", "id": id, "method": method, "params": params});
        self.socket.send(Message::text(request.to_string()))?;
        loop {
            let mut frame = self.frame(deadline).map_err(|error| format!("{method}: {error}"))?;
            if frame["type"] != "res" || frame["id"] != id.as_str() {
                continue;
            }
            if frame["ok"] != true {
                return Err(format!("{method}: {}", frame["error"]).into());
            }
            if method == "agent" && frame["payload"]["status"] == "accepted" {
                continue;
            }
            return Ok(frame["payload"].take());
        }
    }

    /// The session, or null when there is none. Creates nothing.
    pub(crate) fn describe(&mut self, key: &str) -> Outcome<Value> {
        Ok(self.call("sessions.describe", json!({"key": key}))?["session"].take())
    }

    pub(crate) fn create(&mut self, key: &str) -> Outcome<()> {
        self.call("sessions.create", json!({"key": key})).map(drop)
    }

    pub(crate) fn archive(&mut self, key: &str) -> Outcome<()> {
        let id = self.describe(key)?["sessionId"].take();
        self.call("sessions.patch", json!({"key": key, "archived": true, "expectedSessionId": id})).map(drop)
    }

    /// Closes the session to sending, as an operator can.
    pub(crate) fn deny(&mut self, key: &str) -> Outcome<()> {
        self.call("sessions.patch", json!({"key": key, "sendPolicy": "deny"})).map(drop)
    }

    pub(crate) fn reset(&mut self, key: &str) -> Outcome<()> {
        self.call("sessions.reset", json!({"key": key})).map(drop)
    }

    /// The keys of all sessions, archived ones left out.
    pub(crate) fn sessions(&mut self) -> Outcome<Vec<String>> {
        let list = self.call("sessions.list", json!({"limit": 1000}))?;
        let rows = list["sessions"].as_array().cloned().unwrap_or_default();
        Ok(rows.iter().filter_map(|row| row["key"].as_str().map(str::to_owned)).collect())
    }

    /// The texts and idempotency keys of the user's rows that the gateway shows for a session.
    pub(crate) fn history(&mut self, key: &str) -> Outcome<Vec<(String, String)>> {
        let history = self.call("chat.history", json!({"sessionKey": key, "limit": 1000}))?;
        let rows = history["messages"].as_array().cloned().unwrap_or_default();
        let users = rows.iter().filter(|row| row["role"] == "user");
        Ok(users
            .map(|row| {
                let key = row["idempotencyKey"].as_str().or(row["__openclaw"]["idempotencyKey"].as_str());
                (super::witness::text_of(&row["content"]), key.unwrap_or_default().to_owned())
            })
            .collect())
    }
}
