//! The wire between an agent and its gateway, as wires are: it cuts frames in half, resets, stalls, goes dead without a
//! word, and delivers what it held back after the other end has long given up.
//!
//! A forwarder on a loopback port, on a thread of its own. What becomes of a connection is drawn when it is made; about
//! half of them are left alone, so that work gets done. [`Wire::calm`] ends all connections and leaves later ones alone.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::chance::Chance;

/// How long a connection that went dead is kept, and what was delivered late.
const DEAD: Duration = Duration::from_secs(3);

/// What becomes of a connection, in either direction after so many bytes.
#[derive(Debug, Clone, Copy)]
enum Weather {
    Fair,
    /// It ends, in the middle of a frame as like as not.
    Cut(usize),
    /// The same with a reset.
    Reset(usize),
    /// Every chunk takes so long.
    Slow(Duration),
    /// Nothing goes on for a while.
    Stall(usize, Duration),
    /// Nothing goes on any more, and nobody is told.
    HalfOpen(usize),
    /// The client is cut off, and what it sent last arrives later all the same.
    Late(usize, Duration),
}

impl Weather {
    fn draw(chance: &mut Chance) -> Weather {
        // From a handshake cut short to some dozens of deliveries.
        let after = usize::try_from(200u64 << chance.below(9)).unwrap_or(200);
        let after = after + usize::try_from(chance.below(after as u64)).unwrap_or(0);
        let pause = Duration::from_millis(20 + chance.below(400));
        match chance.below(14) {
            0 | 1 => Weather::Cut(after),
            2 => Weather::Reset(after),
            3 => Weather::Slow(pause / 20),
            4 => Weather::Stall(after, pause),
            5 => Weather::HalfOpen(after),
            6 | 7 => Weather::Late(after, pause),
            _ => Weather::Fair,
        }
    }

    fn after(self) -> usize {
        match self {
            Weather::Cut(n) | Weather::Reset(n) | Weather::HalfOpen(n) => n,
            Weather::Stall(n, _) | Weather::Late(n, _) => n,
            Weather::Fair | Weather::Slow(_) => usize::MAX,
        }
    }
}

/// How a connection ended.
enum End {
    Closed,
    Reset,
    /// What is left is to be delivered after this time.
    Late(Duration),
}

struct Shared {
    upstream: u16,
    calm: AtomicBool,
    broken: AtomicU64,
    chance: Mutex<Chance>,
    ends: watch::Sender<()>,
}

/// A forwarder; dropping it ends it.
pub(in crate::layers) struct Wire {
    port: u16,
    shared: Arc<Shared>,
    quit: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Wire {
    /// A wire to this port of the loopback.
    pub(in crate::layers) fn to(upstream: u16, chance: Chance) -> io::Result<Wire> {
        let shared = Arc::new(Shared {
            upstream,
            calm: AtomicBool::new(false),
            broken: AtomicU64::new(0),
            chance: Mutex::new(chance),
            ends: watch::Sender::new(()),
        });
        let (up, started) = mpsc::sync_channel(1);
        let (quit, end) = oneshot::channel::<()>();
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("wire".into()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(up.send(Err(error))),
            };
            runtime.block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
                let port = listener.as_ref().map_or(Ok(0), |l| l.local_addr().map(|a| a.port()));
                match (listener, port) {
                    (Ok(listener), Ok(port)) => {
                        drop(up.send(Ok(port)));
                        tokio::select! {
                            () = accept(listener, own) => {}
                            _ = end => {}
                        }
                    }
                    (Err(error), _) | (_, Err(error)) => drop(up.send(Err(error))),
                }
            });
        })?;
        let port = started.recv().map_err(|_| io::Error::other("the wire's thread ended"))??;
        Ok(Wire { port, shared, quit: Some(quit), thread: Some(thread) })
    }

    /// Where it listens.
    pub(in crate::layers) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Ends all connections; later ones are left alone.
    pub(in crate::layers) fn calm(&self) {
        self.shared.calm.store(true, Ordering::Relaxed);
        self.shared.ends.send_replace(());
    }

    /// How many connections were not left alone.
    pub(in crate::layers) fn broken(&self) -> u64 {
        self.shared.broken.load(Ordering::Relaxed)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        drop(self.quit.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed there.
            drop(thread.join());
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(connection(client, Arc::clone(&shared)));
            }
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let mut ends = shared.ends.subscribe();
    let weather = if shared.calm.load(Ordering::Relaxed) {
        Weather::Fair
    } else {
        Weather::draw(&mut shared.chance.lock().unwrap_or_else(PoisonError::into_inner))
    };
    if !matches!(weather, Weather::Fair) {
        shared.broken.fetch_add(1, Ordering::Relaxed);
    }
    // A gateway that is down is a connection that ends.
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, shared.upstream)).await else { return };
    let _quick = client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_ok();
    let mut held = Vec::new();
    let back = if matches!(weather, Weather::Late(..)) { Weather::Fair } else { weather };
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let mut nothing = Vec::new();
        tokio::select! {
            end = carry(from_client, to_server, weather, &mut held) => end,
            end = carry(from_server, to_client, back, &mut nothing) => end,
            _ = ends.changed() => End::Closed,
        }
    };
    match end {
        End::Closed => {}
        End::Reset => {
            let linger = |stream: &TcpStream| stream.set_zero_linger();
            let _hard = linger(&client).and_then(|()| linger(&server)).is_ok();
        }
        End::Late(pause) => {
            drop(client);
            sleep(pause).await;
            if server.write_all(&held).await.is_ok() {
                sleep(DEAD / 10).await;
            }
        }
    }
}

/// Carries bytes one way until that ends, or the weather ends it.
async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, weather: Weather, held: &mut Vec<u8>) -> End {
    let mut room = weather.after();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let Ok(n @ 1..) = from.read(&mut chunk).await else { return End::Closed };
        if let Weather::Slow(pause) = weather {
            sleep(pause).await;
        }
        let (now, rest) = chunk.split_at(n.min(room));
        let rest = rest.get(..n - now.len()).unwrap_or_default();
        if to.write_all(now).await.is_err() {
            return End::Closed;
        }
        if room == usize::MAX {
            continue;
        }
        room -= now.len();
        if room > 0 {
            continue;
        }
        match weather {
            Weather::Fair | Weather::Slow(_) | Weather::Cut(_) => return End::Closed,
            Weather::Reset(_) => return End::Reset,
            Weather::HalfOpen(_) => {
                sleep(DEAD).await;
                return End::Reset;
            }
            Weather::Late(_, pause) => {
                held.extend_from_slice(rest);
                return End::Late(pause);
            }
            Weather::Stall(_, pause) => {
                sleep(pause).await;
                if to.write_all(rest).await.is_err() {
                    return End::Closed;
                }
                room = usize::MAX;
            }
        }
    }
}
