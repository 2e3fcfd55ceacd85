//! The server's life: start, kill, start again, stop.
//!
//! What it keeps true: a kill cuts every connection without a close frame, ends every piece of work where it is
//! and loses what only memory held; a restart comes back on the same port with another boot id; a stop refuses
//! new work, lets running turns answer, then says "shutdown" and closes with 1012.
//!
//! All state is behind one lock that no await ever holds ([`Shared::with`]). All work of one life is in one task
//! set, so that a kill can end all of it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::conn::{self, Out};
use super::inspect::Stats;
use super::memory::Memory;
use super::options::{Channel, Model, Options, Phase};
use super::script::Script;
use super::world::World;
use super::{outbox, turns};

/// Everything the fake knows.
pub(super) struct State {
    pub options: Options,
    pub world: World,
    pub memory: Memory,
    pub script: Script,
    pub stats: Stats,
    pub phase: Phase,
    pub channel: Channel,
    pub model: Model,
    /// By how much the clock was moved ahead.
    pub skew: Duration,
    pub up: bool,
}

pub(super) struct Shared {
    state: Mutex<State>,
    /// The tasks of this life; none while the gateway is down.
    tasks: Mutex<Option<JoinSet<()>>>,
    /// Counts changes, for those who wait for one.
    pub changed: watch::Sender<u64>,
    pub frozen: watch::Sender<bool>,
    port: AtomicU16,
    handle: Handle,
    born: Instant,
    born_ms: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Looks at or changes the state; wakes whoever waits for a change.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let out = act(&mut lock(&self.state));
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
        out
    }

    /// Looks at the state.
    pub(super) fn see<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&lock(&self.state))
    }

    /// The time since the fake was made, on a clock that tests can move ahead.
    pub(super) fn now(&self, state: &State) -> Duration {
        self.born.elapsed() + state.skew
    }

    /// The same in milliseconds of the epoch, as rows and frames have it.
    pub(super) fn now_ms(&self, state: &State) -> u64 {
        self.born_ms + u64::try_from(self.now(state).as_millis()).unwrap_or(u64::MAX / 2)
    }

    /// Starts a task of this life; while the gateway is down, nothing starts.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(set) = lock(&self.tasks).as_mut() {
            while set.try_join_next().is_some() {}
            set.spawn_on(work, &self.handle);
        }
    }

    /// Waits while the fake is frozen.
    pub(super) async fn thaw(&self) {
        let mut frozen = self.frozen.subscribe();
        // The sender lives in `self`, so waiting cannot fail before the condition holds.
        drop(frozen.wait_for(|frozen| !*frozen).await);
    }

    /// Waits until the state is as wanted, or the time is over (`false`).
    pub(super) async fn until(&self, limit: Duration, mut wanted: impl FnMut(&State) -> bool) -> bool {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !self.see(&mut wanted) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        timeout(limit, wait).await.is_ok()
    }

    pub(super) async fn kill(&self) {
        let tasks = lock(&self.tasks).take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
        self.with(|s| {
            s.up = false;
            s.memory = Memory::new(&s.options);
            s.world.crash();
            s.stats.in_flight = BTreeMap::new();
        });
    }

    /// Kills the gateway from within one of its own tasks, and starts it again after a while.
    pub(super) fn crash(self: &Arc<Self>, restart_after: Option<Duration>) {
        let shared = Arc::clone(self);
        self.handle.spawn(async move {
            shared.kill().await;
            if let Some(after) = restart_after {
                sleep(after).await;
                if let Err(error) = shared.boot(Phase::Ready).await {
                    tracing::error!(%error, "cannot start the fake gateway again");
                }
            }
        });
    }

    pub(super) async fn boot(self: &Arc<Self>, phase: Phase) -> io::Result<()> {
        if self.see(|s| s.up) {
            return Ok(());
        }
        let listener = self.bind().await?;
        self.port.store(listener.local_addr()?.port(), Ordering::Relaxed);
        self.frozen.send_replace(false);
        self.with(|s| {
            s.memory = Memory::new(&s.options);
            s.phase = phase;
            s.up = true;
        });
        *lock(&self.tasks) = Some(JoinSet::new());
        self.spawn(accept(Arc::clone(self), listener));
        self.spawn(outbox::pump(Arc::clone(self)));
        self.spawn(turns::resume(Arc::clone(self)));
        Ok(())
    }

    /// The port of the first start, again. It may take a moment to be free, and gives up after two seconds.
    async fn bind(&self) -> io::Result<TcpListener> {
        let port = self.port.load(Ordering::Relaxed);
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                    sleep(Duration::from_millis(10)).await;
                }
                other => return other,
            }
        }
    }

    async fn stop(&self) {
        let limit = self.with(|s| {
            s.phase = Phase::Draining;
            s.options.drain_limit
        });
        self.until(limit, |s| s.memory.running.is_empty()).await;
        let conns = self.with(|s| {
            let conns: Vec<_> = s.memory.conns.values().cloned().collect();
            for conn in &conns {
                conn.event("shutdown", json!({"reason": "gateway stopping"}));
                conn.out(Out::Close(1012, "service restart"));
            }
            conns
        });
        if !conns.is_empty() {
            self.until(Duration::from_secs(2), |s| s.memory.conns.is_empty()).await;
        }
        self.kill().await;
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                shared.thaw().await;
                let id = shared.with(|s| {
                    s.stats.connections += 1;
                    s.stats.connections
                });
                shared.spawn(conn::serve(Arc::clone(&shared), stream, id));
            }
            // Out of descriptors, most likely: let others finish.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// A fake gateway. Clones are handles to the same one; it lives until it is killed or stopped, or its runtime ends.
#[derive(Clone)]
pub struct Fake {
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fake").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Fake {
    /// Starts one on the loopback, on the current runtime.
    ///
    /// # Errors
    /// When the port cannot be bound.
    pub async fn start(options: Options) -> io::Result<Fake> {
        let born_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let shared = Arc::new(Shared {
            port: AtomicU16::new(options.port),
            state: Mutex::new(State {
                world: World::default(),
                memory: Memory::new(&options),
                script: Script::default(),
                stats: Stats::default(),
                phase: Phase::Ready,
                channel: Channel::Up,
                model: options.model.clone(),
                skew: Duration::ZERO,
                up: false,
                options,
            }),
            tasks: Mutex::new(None),
            changed: watch::Sender::new(0),
            frozen: watch::Sender::new(false),
            handle: Handle::current(),
            born: Instant::now(),
            born_ms: u64::try_from(born_ms).unwrap_or(0),
        });
        shared.boot(Phase::Ready).await?;
        Ok(Fake { shared })
    }

    /// Where it listens: `ws://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port())
    }

    /// The port it listens on; the same after a restart.
    pub fn port(&self) -> u16 {
        self.shared.port.load(Ordering::Relaxed)
    }

    /// Ends it like SIGKILL: connections are cut without a close frame, memory is lost, accepted inputs are burnt.
    pub async fn kill(&self) {
        self.shared.kill().await;
    }

    /// Starts it again on the same port with a new boot id; kills it first if it is up.
    ///
    /// # Errors
    /// When the port is taken by somebody else.
    pub async fn restart(&self) -> io::Result<()> {
        self.restart_as(Phase::Ready).await
    }

    /// Starts it again in this phase (e.g. [`Phase::Starting`]).
    ///
    /// # Errors
    /// When the port is taken by somebody else.
    pub async fn restart_as(&self, phase: Phase) -> io::Result<()> {
        self.shared.kill().await;
        self.shared.boot(phase).await
    }

    /// Ends it like SIGTERM: new work is refused, running turns answer, then event `shutdown` and close 1012.
    pub async fn stop(&self) {
        self.shared.stop().await;
    }
}
