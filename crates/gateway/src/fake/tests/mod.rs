//! The fake against the measurements, through a client that is nothing but a socket.

mod channel;
mod client;
mod crash;
mod delivery;
mod faults;
mod lookup;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Fake, Options};

/// The session of most tests, and the chat behind it.
const S: &str = "agent:main:job";
const CHAT: i64 = 77_001;
const TO: &str = "telegram:77001";
/// Nothing in these tests takes this long unless it never comes.
const SOON: Duration = Duration::from_secs(5);

/// What came out of a socket.
#[derive(Debug, PartialEq)]
enum Got {
    Frame(Value),
    /// The close code; 1006 for none.
    End(u16),
}

struct Client {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: u64,
    /// Frames that came while another was waited for.
    aside: Vec<Value>,
    hello: Value,
}

impl Client {
    async fn open(fake: &Fake) -> Result<Client, Error> {
        let (ws, _) = connect_async(fake.url()).await?;
        Ok(Client { ws, next: 0, aside: Vec::new(), hello: Value::Null })
    }

    async fn connect(fake: &Fake) -> Client {
        Client::connect_as(fake, &["operator.write"]).await
    }

    async fn admin(fake: &Fake) -> Client {
        Client::connect_as(fake, &["operator.admin"]).await
    }

    async fn connect_as(fake: &Fake, scopes: &[&str]) -> Client {
        let mut client = Client::open(fake).await.unwrap();
        let mut params = client.connect_params().await;
        params["scopes"] = json!(scopes);
        client.hello = client.call("connect", params).await.unwrap();
        client
    }

    /// Reads the challenge; what a backend client answers to it.
    async fn connect_params(&mut self) -> Value {
        let Got::Frame(challenge) = self.read().await else { panic!("no challenge") };
        assert_eq!(challenge["event"], "connect.challenge");
        json!({"minProtocol": 4, "maxProtocol": 4, "role": "operator", "scopes": ["operator.write"], "caps": [],
            "client": {"id": "gateway-client", "version": "0.1.0", "platform": "linux", "mode": "backend"},
            "auth": {"token": "t"}})
    }

    async fn raw(&mut self, message: Message) {
        self.ws.send(message).await.unwrap();
    }

    async fn ask(&mut self, method: &str, params: Value) -> String {
        self.next += 1;
        let id = self.next.to_string();
        let frame = json!({"type": "req", "id": id, "method": method, "params": params});
        self.raw(Message::text(frame.to_string())).await;
        id
    }

    /// The next frame or the end, whatever it is.
    async fn read(&mut self) -> Got {
        loop {
            match timeout(SOON, self.ws.next()).await.expect("a frame") {
                Some(Ok(Message::Text(text))) => match serde_json::from_str(text.as_str()) {
                    Ok(frame) => return Got::Frame(frame),
                    Err(_) => continue,
                },
                Some(Ok(Message::Close(frame))) => return Got::End(frame.map_or(1005, |f| f.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Got::End(1006),
            }
        }
    }

    /// The next frame that is wanted, or the close code. Others are kept.
    async fn wait(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, u16> {
        if let Some(at) = self.aside.iter().position(&wanted) {
            return Ok(self.aside.remove(at));
        }
        loop {
            match self.read().await {
                Got::Frame(frame) if wanted(&frame) => return Ok(frame),
                Got::Frame(frame) => self.aside.push(frame),
                Got::End(code) => return Err(code),
            }
        }
    }

    /// The next answer to this request.
    async fn answer(&mut self, id: &str) -> Result<Value, Value> {
        let frame = self.wait(|f| f["type"] == "res" && f["id"] == id).await;
        let frame = frame.unwrap_or_else(|code| panic!("closed with {code} instead of an answer"));
        if frame["ok"] == true { Ok(frame["payload"].clone()) } else { Err(frame["error"].clone()) }
    }

    async fn event(&mut self, name: &str) -> Value {
        self.wait(|f| f["event"] == name).await.expect("an event")["payload"].clone()
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.ask(method, params).await;
        self.answer(&id).await
    }

    /// `agent`, to its final answer.
    async fn agent(&mut self, params: Value) -> Result<Value, Value> {
        let id = self.ask("agent", params).await;
        let first = self.answer(&id).await?;
        if first["status"] == "accepted" { self.answer(&id).await } else { Ok(first) }
    }

    async fn describe(&mut self, key: &str) -> Value {
        self.call("sessions.describe", json!({"key": key})).await.unwrap()["session"].clone()
    }

    async fn history(&mut self, key: &str, run: &str) -> Value {
        let params = json!({"sessionKey": key, "limit": 1000, "inputRunIds": [run]});
        self.call("chat.history", params).await.unwrap()
    }

    async fn found(&mut self, key: &str, query: &str) -> usize {
        let params = json!({"query": query, "sessionKeys": [key]});
        self.call("sessions.search", params).await.unwrap()["results"].as_array().unwrap().len()
    }
}

/// A delivery as the agent of this project makes it.
fn delivery(key: &str) -> Value {
    json!({"sessionKey": S, "message": format!("[job {key}] done"), "idempotencyKey": key,
        "deliver": true, "bestEffortDeliver": true})
}

/// A fake with one session that has a chat.
async fn fake() -> Fake {
    fake_with(|_| ()).await
}

async fn fake_with(change: impl FnOnce(&mut Options)) -> Fake {
    let mut options = Options::with_token("t");
    change(&mut options);
    let fake = Fake::start(options).await.unwrap();
    fake.add_chat(S, CHAT);
    fake
}

fn has_key(history: &Value, key: &str) -> bool {
    history["messages"].as_array().unwrap().iter().any(|m| m["idempotencyKey"] == key)
}

fn state_of<'a>(history: &'a Value, run: &str) -> Option<&'a str> {
    let items = history["pendingInputs"]["items"].as_array().unwrap();
    items.iter().find(|i| i["runId"] == run).and_then(|i| i["state"].as_str())
}

fn said(fake: &Fake) -> Vec<String> {
    fake.chat_messages("telegram", TO).into_iter().map(|m| m.text).collect()
}
