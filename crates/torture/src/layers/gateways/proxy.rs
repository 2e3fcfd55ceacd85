//! The hostile gateway: an honest one behind a proxy that strikes at a moment.
//!
//! Every connection is taken through byte by byte; at the script's moment the proxy plays the script's steps instead of
//! passing on what was due. Once it is told to be honest it strikes no more, but a connection that hangs goes on
//! hanging: it is for the agent to give it up. What the agent does on the wire is written down here: when it connected,
//! what it asked, and whether it showed its token anywhere but in a connect request.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use spool_gateway::fake::Fake;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{interval, sleep, timeout};

use super::script::{Cue, Moment, Script, Step};
use super::wire::{self, Frame, Reader};

/// What goes wrong on a connection only ends it.
type Wire<T> = io::Result<T>;

/// What the agent did on the wire.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) connections: Vec<Instant>,
    /// When, what, under which key.
    pub(super) requests: Vec<(Instant, String, String)>,
    /// What must never be seen.
    pub(super) wrong: Vec<String>,
    /// The last delivery of each session: its key, and the id of the request it was sent with.
    last: HashMap<String, (String, String)>,
}

/// The stage of one case.
pub(super) struct Stage {
    script: Arc<Script>,
    moment: Moment,
    fake: Fake,
    token: String,
    trap: u16,
    is_hostile: AtomicBool,
    fired: AtomicU64,
    seen: Mutex<Seen>,
}

impl Stage {
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn be_honest(&self) {
        self.is_hostile.store(false, Ordering::Relaxed);
    }

    /// How often the script struck.
    pub(super) fn fired(&self) -> u64 {
        self.fired.load(Ordering::Relaxed)
    }

    fn is_hostile(&self) -> bool {
        self.is_hostile.load(Ordering::Relaxed)
    }

    fn strikes(&self, moment: Moment) -> bool {
        let strikes = self.is_hostile() && self.moment == moment;
        if strikes {
            self.fired.fetch_add(1, Ordering::Relaxed);
        }
        strikes
    }

    fn wrong(&self, what: impl Into<String>) {
        let mut seen = self.seen();
        if seen.wrong.len() < 8 {
            seen.wrong.push(what.into());
        }
    }

    fn must_not_show_the_token(&self, bytes: &[u8], place: &str) {
        let token = self.token.as_bytes();
        if bytes.windows(token.len()).any(|part| part == token) {
            self.wrong(format!("the token was shown in {place}"));
        }
    }
}

/// A hostile gateway that listens, or, while it is deaf, holds its port only.
pub(super) struct Proxy {
    pub(super) stage: Arc<Stage>,
    pub(super) port: u16,
    deaf: Option<TcpSocket>,
}

impl Proxy {
    pub(super) async fn start(
        script: Arc<Script>,
        moment: Moment,
        fake: Fake,
        token: String,
    ) -> io::Result<Self> {
        let trap = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let is_deaf = script.is_deaf;
        let stage = Arc::new(Stage {
            script,
            moment,
            fake,
            token,
            trap: trap.local_addr()?.port(),
            is_hostile: AtomicBool::new(true),
            fired: AtomicU64::new(u64::from(is_deaf)),
            seen: Mutex::default(),
        });
        let watched = Arc::clone(&stage);
        tokio::spawn(async move {
            while trap.accept().await.is_ok() {
                watched.wrong("a redirect was followed");
            }
        });
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let port = socket.local_addr()?.port();
        let mut proxy = Proxy { stage, port, deaf: Some(socket) };
        if !is_deaf {
            proxy.listen()?;
        }
        Ok(proxy)
    }

    pub(super) fn be_honest(&mut self) -> io::Result<()> {
        self.stage.be_honest();
        self.listen()
    }

    fn listen(&mut self) -> io::Result<()> {
        let Some(socket) = self.deaf.take() else { return Ok(()) };
        let listener = socket.listen(64)?;
        let stage = Arc::clone(&self.stage);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stage.seen().connections.push(Instant::now());
                let stage = Arc::clone(&stage);
                tokio::spawn(async move {
                    // An error is one side that is gone: so is the other, then.
                    serve(stage, stream).await.ok();
                });
            }
        });
        Ok(())
    }
}

/// What is known of a request under way.
#[derive(Debug, Clone, Default)]
struct Asked {
    method: String,
    key: String,
    session: String,
}

struct Connection {
    stage: Arc<Stage>,
    from_client: Reader<OwnedReadHalf>,
    to_client: OwnedWriteHalf,
    from_fake: Reader<OwnedReadHalf>,
    to_fake: OwnedWriteHalf,
    asked: HashMap<String, Asked>,
}

/// What the steps came to.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    End,
}

/// Which way a withheld thing would have gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToClient,
    ToFake,
}

async fn serve(stage: Arc<Stage>, client: TcpStream) -> Wire<()> {
    client.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let mut from_client = Reader::new(from_client);
    let Some(head) = from_client.head().await? else { return Ok(()) };
    stage.must_not_show_the_token(&head, "the upgrade");
    let fake = TcpStream::connect((Ipv4Addr::LOCALHOST, stage.fake.port())).await?;
    fake.set_nodelay(true)?;
    let (from_fake, mut to_fake) = fake.into_split();
    to_fake.write_all(&head).await?;
    let mut from_fake = Reader::new(from_fake);
    let Some(answer) = from_fake.head().await? else { return Ok(()) };
    let mut connection =
        Connection { stage, from_client, to_client, from_fake, to_fake, asked: HashMap::new() };
    if connection.stage.strikes(Moment::Dial) {
        let cue = Cue {
            accept: String::from_utf8_lossy(&answer).into_owned(),
            trap: connection.stage.trap,
            ..Cue::default()
        };
        if connection.play(&cue, &answer, Way::ToClient).await? == Flow::End {
            return Ok(());
        }
    } else {
        connection.to_client.write_all(&answer).await?;
    }
    connection.talk().await
}

impl Connection {
    async fn talk(&mut self) -> Wire<()> {
        loop {
            let flow = tokio::select! {
                frame = self.from_client.frame() => match frame? {
                    Some(frame) => self.on_client(frame).await?,
                    None => return Ok(()),
                },
                frame = self.from_fake.frame() => match frame? {
                    Some(frame) => self.on_fake(frame).await?,
                    None => return Ok(()),
                },
            };
            if flow == Flow::End {
                return Ok(());
            }
        }
    }

    async fn on_client(&mut self, frame: Frame) -> Wire<Flow> {
        if !frame.is_masked {
            self.stage.wrong("the agent sent a frame without a mask");
        }
        let Some(request) = frame.json() else {
            self.stage.must_not_show_the_token(&frame.payload, "a frame that is no request");
            self.to_fake.write_all(&frame.raw).await?;
            return Ok(Flow::On);
        };
        let text = |pointer: &str| request.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let first = |pointers: &[&str]| pointers.iter().find_map(|pointer| text(pointer)).unwrap_or_default();
        let asked = Asked {
            method: first(&["/method"]),
            key: first(&[
                "/params/idempotencyKey",
                "/params/runId",
                "/params/query",
                "/params/inputRunIds/0",
            ]),
            session: first(&["/params/sessionKey", "/params/key", "/params/sessionKeys/0"]),
        };
        let id = first(&["/id"]);
        let is_delivery = is_delivery(&asked.method);
        // What is told because a turn could not be answered is no turn.
        let is_telling = asked.key.contains("~tell");
        {
            let mut seen = self.stage.seen();
            seen.requests.push((Instant::now(), asked.method.clone(), asked.key.clone()));
            if is_delivery {
                seen.last.insert(asked.session.clone(), (asked.key.clone(), id.clone()));
            }
        }
        if asked.method != "connect" {
            self.stage.must_not_show_the_token(&frame.payload, &asked.method);
        }
        self.asked.insert(id.clone(), asked);
        if is_delivery && !is_telling && self.stage.strikes(Moment::Request) {
            let cue = self.cue(&id);
            return self.play(&cue, &frame.raw, Way::ToFake).await;
        }
        // To be asked about something that never arrived, it has to get lost first.
        let is_prelude = matches!(self.stage.moment, Moment::Waited | Moment::Searched);
        if is_delivery && !is_telling && is_prelude && self.stage.is_hostile() {
            return Ok(Flow::End);
        }
        self.to_fake.write_all(&frame.raw).await?;
        Ok(Flow::On)
    }

    async fn on_fake(&mut self, frame: Frame) -> Wire<Flow> {
        let value = frame.json().unwrap_or_default();
        let id = value["id"].as_str().unwrap_or_default().to_owned();
        let asked = self.asked.get(&id).cloned().unwrap_or_default();
        let is_accepted = value["payload"]["status"] == "accepted";
        let moment = match asked.method.as_str() {
            _ if value["event"] == "connect.challenge" => Some(Moment::Challenge),
            "connect" => Some(Moment::Hello),
            "sessions.describe" => Some(Moment::Look),
            "sessions.messages.subscribe" => Some(Moment::Follow),
            "chat.history" => Some(Moment::Asked),
            "agent.wait" => Some(Moment::Waited),
            "sessions.search" => Some(Moment::Searched),
            method if is_delivery(method) && is_accepted => Some(Moment::Ack),
            method if is_delivery(method) => Some(Moment::Final),
            _ => None,
        };
        let Some(moment) = moment else {
            self.to_client.write_all(&frame.raw).await?;
            return Ok(Flow::On);
        };
        if moment == Moment::Ack && self.stage.strikes(Moment::MidFrame) {
            let (half, rest) = frame.raw.split_at(frame.raw.len() / 2);
            self.to_client.write_all(half).await?;
            let cue = self.cue(&id);
            return self.play(&cue, rest, Way::ToClient).await;
        }
        if moment == Moment::Ack && self.stage.strikes(Moment::Accepted) {
            self.to_client.write_all(&frame.raw).await?;
            let cue = self.cue(&id);
            return self.play(&cue, &[], Way::ToClient).await;
        }
        // To be asked about something that did arrive, its answer has to get lost first.
        if moment == Moment::Final && self.stage.is_hostile() && self.stage.moment == Moment::Asked {
            return Ok(Flow::End);
        }
        if self.stage.strikes(moment) {
            let cue = self.cue(&id);
            return self.play(&cue, &frame.raw, Way::ToClient).await;
        }
        self.to_client.write_all(&frame.raw).await?;
        Ok(Flow::On)
    }

    fn cue(&self, id: &str) -> Cue {
        let asked = self.asked.get(id).cloned().unwrap_or_default();
        let last = self.stage.seen().last.clone();
        let by_key = || last.values().find(|(key, _)| *key == asked.key);
        let (known, former) = last.get(&asked.session).or_else(by_key).cloned().unwrap_or_default();
        let key = if asked.key.is_empty() { known } else { asked.key };
        let connect =
            self.asked.iter().find(|(_, asked)| asked.method == "connect").map(|(id, _)| id.clone());
        Cue {
            id: id.to_owned(),
            connect: connect.unwrap_or_default(),
            key,
            session: asked.session,
            former,
            token: self.stage.token.clone(),
            trap: self.stage.trap,
            ..Cue::default()
        }
    }

    async fn play(&mut self, cue: &Cue, withheld: &[u8], way: Way) -> Wire<Flow> {
        let steps = (self.stage.script.steps)(cue);
        for step in steps {
            match step {
                Step::Send(bytes) => self.to_client.write_all(&bytes).await?,
                Step::Repeat(bytes, times) => {
                    let many = (64 * 1024 / bytes.len().max(1)).clamp(1, times.max(1));
                    let block = bytes.repeat(many);
                    for _ in 0..times.div_ceil(many) {
                        self.to_client.write_all(&block).await?;
                    }
                }
                Step::Endless(bytes, pause) => loop {
                    self.to_client.write_all(&bytes).await?;
                    sleep(pause).await;
                },
                Step::Wait(time) => sleep(time).await,
                Step::Pass | Step::PassSplit(_) | Step::PassDrip(_) if way == Way::ToFake => {
                    self.to_fake.write_all(withheld).await?;
                }
                Step::Pass => self.to_client.write_all(withheld).await?,
                Step::PassDrip(pause) => self.drip(withheld, pause).await?,
                Step::PassSplit(size) => {
                    let payload = unframed(withheld).await?;
                    let last = payload.len().div_ceil(size).saturating_sub(1);
                    for (n, part) in payload.chunks(size).enumerate() {
                        let first = if n == 0 { 1 } else { 0 } | if n == last { 0x80 } else { 0 };
                        self.to_client.write_all(&wire::frame(first, part)).await?;
                        self.to_client.write_all(&wire::frame(0x89, b"between")).await?;
                    }
                }
                Step::PassAltered(alter) => {
                    let payload = unframed(withheld).await?;
                    let mut value: Value = serde_json::from_slice(&payload).unwrap_or_default();
                    alter(cue, &mut value);
                    self.to_client.write_all(&wire::json(&value)).await?;
                }
                Step::Cut => {
                    self.to_client.shutdown().await?;
                    return Ok(Flow::End);
                }
                Step::Reset => {
                    self.to_client.as_ref().set_zero_linger()?;
                    return Ok(Flow::End);
                }
                Step::Hang(noise) => return self.hang(noise).await,
                Step::HalfOpen => std::future::pending().await,
                Step::Restart => {
                    self.stage.fake.restart().await?;
                }
            }
        }
        Ok(Flow::On)
    }

    async fn drip(&mut self, bytes: &[u8], pause: Duration) -> Wire<()> {
        for byte in bytes {
            self.to_client.write_all(std::slice::from_ref(byte)).await?;
            sleep(pause).await;
        }
        Ok(())
    }

    /// Reads what comes and answers nothing, until the client is gone.
    async fn hang(&mut self, noise: Option<(Vec<u8>, Duration)>) -> Wire<Flow> {
        let (bytes, pause) = noise.unwrap_or((Vec::new(), Duration::from_secs(3600)));
        let mut tick = interval(pause);
        loop {
            tokio::select! {
                more = self.from_client.more() => {
                    self.from_client.forget();
                    if !more? {
                        return Ok(Flow::End);
                    }
                }
                _ = tick.tick() => {
                    // A client that takes nothing does not end this either.
                    timeout(Duration::from_secs(60), self.to_client.write_all(&bytes)).await??;
                }
            }
        }
    }
}

fn is_delivery(method: &str) -> bool {
    matches!(method, "agent" | "send")
}

/// The payload of a whole frame; what is none, as it is.
async fn unframed(raw: &[u8]) -> Wire<Vec<u8>> {
    let frame = Reader::new(raw).frame().await.ok().flatten();
    Ok(frame.map_or_else(|| raw.to_vec(), |frame| frame.payload))
}
