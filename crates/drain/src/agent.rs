//! The loop: one task that owns all state, and selects over the doorbell, the timers, the gateway and the stop.
//!
//! A turn of the loop sweeps if it is time, takes in what was dropped, brings back what is due, sends what may be
//! sent, writes down what happened, and then waits for the next thing: a ring, a verdict, a timer, the connection, the
//! stop. What a turn costs is paid once for all that is ready then: the look at the spool, the flush of what is sent
//! next, the write to the journal. So the more there is to do, the less of it each record costs. Recovery is nothing
//! special: what lies in `sending/` when the agent starts is in doubt, so it is probed. And as time has passed with
//! every wait, it sees first whether the spool is still its own.
//!
//! The rooms of the agent: [`crate::recover`] takes up, [`crate::sweep`] finds, [`crate::entries`] reads and moves,
//! [`crate::link`] connects, [`crate::flight`] sends, [`crate::settle`] judges, [`crate::tell`] writes down,
//! [`crate::footing`] sees to the ground.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use spool_gateway::receiver::{Connector, Evidence, Server};
use spooldir::intake::Desk;
use spooldir::journal::Line;
use spooldir::lock::AgentLock;
use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Error, Id, Spool};
use tracing::{info, warn};

use crate::breaker::{self, Breaker};
use crate::flight::{self, Landed, Rung, Rungs, Unflushed};
use crate::footing::{self, Footing};
use crate::found::Found;
use crate::kept::Kept;
use crate::lanes::{Lanes, Quiet};
use crate::link::{Link, LinkEvent, link_event};
use crate::options::{Options, Settings};
use crate::pace::{self, Pace};
use crate::runs::{Routed, Seen};
use crate::status::AgentStatus;
use crate::sweep::Stuck;
use crate::watch::{Doorbell, WatchState};

/// How often the connection may read on before the verdicts that have come are settled.
const MOST_ROUNDS: usize = 32;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Entries delivered.
    pub delivered: u64,
    /// Entries that died.
    pub dead: u64,
    /// Entries that were held.
    pub held: u64,
    /// Entries that are left pending, sending or deferred.
    pub left: u64,
    /// Those of them that could not be moved for an error of the disk.
    pub stuck: u64,
    /// Why the gateway was not there at the end, if it was not.
    pub gateway: Option<String>,
    /// Whether the gateway refused us.
    pub refused: bool,
}

/// Where an entry is that the agent knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `new/`, in the lane of this session, with the time that orders it there.
    Waiting(Arc<str>, i64),
    /// In `sending/`.
    Sending,
    /// In `deferred/`, due at a moment that no change of the wall clock moves.
    Deferred(Instant, u64),
}

pub(crate) type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The agent: all that its loop owns.
pub(crate) struct Agent<'a, C: Connector> {
    pub(crate) spool: &'a Spool,
    pub(crate) options: &'a Options,
    pub(crate) connector: &'a C,
    pub(crate) link: Link<'a, C::Gateway>,
    pub(crate) breaker: Breaker,
    pub(crate) server: Option<Server>,
    /// What of the options may change.
    pub(crate) settings: Settings,
    pub(crate) pace: Pace,
    pub(crate) desk: Desk,
    pub(crate) lanes: Lanes,
    pub(crate) index: HashMap<Id, Place>,
    /// Entries in `deferred/`, by the moment they are due.
    pub(crate) deferred: BTreeSet<(Instant, Id)>,
    /// Names in `new/` that were found and not yet looked at.
    pub(crate) fresh: Found,
    /// Names that were reported, and when they are looked at again.
    pub(crate) reported: HashMap<OsString, Instant>,
    /// Whether it was said that there are more of them than are remembered.
    pub(crate) is_overrun: bool,
    /// The last name that was found when there was room for no more.
    pub(crate) after: Option<OsString>,
    /// When names that were not ready are looked at again.
    pub(crate) again_at: Option<Instant>,
    /// Records that were read when they were taken in.
    pub(crate) kept: Kept,
    /// Entries of `new/` that could not be moved.
    pub(crate) stuck: HashMap<Id, Stuck>,
    pub(crate) flights: FuturesUnordered<LocalFuture<'a, Landed>>,
    /// How many deliveries the last dispatch started.
    pub(crate) boarded: usize,
    /// The rungs that they reach on the way.
    pub(crate) rungs: Rungs,
    /// When each of them started, by its key; `None` for one that no longer counts against the window.
    pub(crate) started: HashMap<String, Option<Instant>>,
    /// Jobs in progress.
    pub(crate) runs: HashMap<Id, Seen>,
    pub(crate) runs_at: Instant,
    /// Looks at the sessions of new runs.
    pub(crate) looks: FuturesUnordered<LocalFuture<'a, Routed>>,
    /// Delivered, but the rename to `done/` failed: tried again at each sweep.
    pub(crate) unretired: Vec<(Entry, Evidence)>,
    /// Directories that names were moved into or out of, before a send that waits for their flush.
    pub(crate) unflushed: Unflushed,
    /// The disk failed us: nothing new is sent before.
    pub(crate) disk_trouble: Option<Instant>,
    pub(crate) lines: Vec<Line>,
    pub(crate) summary: Summary,
    /// Whether something may have appeared since the last sweep.
    pub(crate) dirty: bool,
    pub(crate) swept_at: Option<Instant>,
    /// Not before this is the next sweep, so that sweeping a huge directory does not become all we do.
    pub(crate) next_sweep: Instant,
    pub(crate) upkeep_at: Instant,
    pub(crate) polling: bool,
    random: u64,
    pub(crate) started_at: u64,
    pub(crate) told: Option<(AgentStatus, Instant)>,
}

/// Drains a spool until `shutdown` completes, or with [`Options::once`] until nothing is left to do.
///
/// # Errors
/// [`Error::Locked`] when another agent drains it, also when that one took it over while we were stopped;
/// [`Error::Io`] when the spool cannot be read at the start. Later failures are reported, waited out, and end nothing.
pub async fn run<C>(
    spool: &Spool,
    connector: &C,
    options: &Options,
    shutdown: impl Future<Output = ()>,
) -> Result<Summary, Error>
where
    C: Connector,
    C::Gateway: 'static,
{
    tokio::pin!(shutdown);
    let mut lock = AgentLock::take(spool)?;
    loop {
        match live(spool, &lock, connector, options, shutdown.as_mut()).await? {
            Life::Over(summary) => return Ok(summary),
            Life::Elsewhere(anew) => {
                warn!("{} was moved away or replaced; starting anew", spool.root().display());
                lock = anew;
            }
        }
    }
}

/// How a life of the loop ended.
enum Life {
    Over(Summary),
    /// Another spool is there under the same name, and this is its lock.
    Elsewhere(AgentLock),
}

/// Drains until told to stop, or until the spool is another one.
async fn live<C>(
    spool: &Spool,
    lock: &AgentLock,
    connector: &C,
    options: &Options,
    mut shutdown: Pin<&mut impl Future<Output = ()>>,
) -> Result<Life, Error>
where
    C: Connector,
    C::Gateway: 'static,
{
    let mut doorbell = Doorbell::watch(&[spool.dir(Dir::New), spool.dir(Dir::Runs)]);
    let mut agent = Agent::new(spool, connector, options);
    agent.recover()?;
    let started = Instant::now();
    let mut stop_at: Option<Instant> = None;
    let mut rung = true;
    let mut is_ready = false;
    let mut reload = options.reload.clone();
    loop {
        let now = Instant::now();
        agent.read_settings();
        agent.polling = matches!(doorbell.state(), WatchState::Polling { .. });
        if agent.is_timed_sweep_due(now) {
            doorbell.rearm();
            agent.dirty = true;
        }
        agent.watch_runs(now, std::mem::take(&mut rung));
        agent.sweep(now);
        agent.take_in(now);
        if stop_at.is_none() {
            agent.bring_back_due(now);
            agent.connect_if_due(now);
            agent.dispatch(now);
        }
        agent.write_down(&doorbell);
        options.supervisor.alive();
        if !std::mem::replace(&mut is_ready, true) {
            options.supervisor.ready();
        }
        if let Some(at) = stop_at {
            if agent.flights.is_empty() || now >= at {
                break;
            }
        } else if options.once && agent.is_finished(started, now) {
            break;
        }
        let wake = agent.wake_at(now, stop_at, started);
        let has_flights = !agent.flights.is_empty();
        let has_looks = !agent.looks.is_empty();
        let happened = tokio::select! {
            biased;
            () = &mut shutdown, if stop_at.is_none() => {
                info!("stopping; {} deliveries under way", agent.flights.len());
                if !reload.as_ref().is_some_and(|reload| reload.borrow().goes_on) {
                    options.supervisor.stopping();
                }
                stop_at = Some(Instant::now() + options.grace);
                Happened::Stop
            }
            Some(landed) = agent.flights.next(), if has_flights => Happened::Landed(vec![landed]),
            Some(rung) = agent.rungs.1.recv() => Happened::Rung(rung),
            Some(routed) = agent.looks.next(), if has_looks => Happened::Routed(routed),
            event = link_event(&mut agent.link) => Happened::Link(event),
            () = doorbell.ring() => Happened::Ring,
            () = pace::changed(&mut reload) => Happened::Timer,
            () = tokio::time::sleep_until(wake.into()) => Happened::Timer,
        };
        let happened = match happened {
            Happened::Landed(landed) => Happened::Landed(agent.gather(landed).await),
            other => other,
        };
        let waits = if stop_at.is_none() { Some(shutdown.as_mut()) } else { None };
        match footing::look(spool, lock, options, waits).await? {
            Footing::Firm => {}
            Footing::Mended => {
                doorbell.rearm();
                (agent.dirty, rung) = (true, true);
            }
            // What was under way is left as a crash would leave it.
            Footing::Anew(lock) => return Ok(Life::Elsewhere(lock)),
            Footing::Nowhere => {
                agent.sum_up();
                return Ok(Life::Over(agent.summary));
            }
        }
        match happened {
            Happened::Landed(landed) => landed.into_iter().for_each(|landed| agent.settle(landed)),
            Happened::Rung(rung) => {
                agent.on_rung(rung);
                agent.on_rungs();
            }
            Happened::Routed(routed) => agent.on_routed(routed),
            Happened::Link(event) => agent.on_link(event),
            Happened::Ring => (agent.dirty, rung) = (true, true),
            Happened::Stop | Happened::Timer => {}
        }
    }
    agent.sum_up();
    agent.told = None;
    agent.write_down(&doorbell);
    Ok(Life::Over(agent.summary))
}

/// What ended a wait of the loop.
enum Happened<G> {
    Stop,
    Landed(Vec<Landed>),
    Rung(Rung),
    Routed(Routed),
    Link(LinkEvent<G>),
    Ring,
    Timer,
}

impl<'a, C> Agent<'a, C>
where
    C: Connector,
    C::Gateway: 'static,
{
    fn new(spool: &'a Spool, connector: &'a C, options: &'a Options) -> Self {
        let now = Instant::now();
        let settings = options.settings();
        spool.fs().admit(settings.rules.writers());
        Agent {
            spool,
            options,
            connector,
            link: Link::Down,
            breaker: Breaker::new(options.breaker, now),
            server: None,
            desk: Desk::new(),
            lanes: Lanes::new(Quiet {
                time: if options.once { Duration::ZERO } else { options.quiet },
                most: options.quiet_most,
            }),
            pace: Pace::new(options.reload.clone()),
            settings,
            index: HashMap::new(),
            deferred: BTreeSet::new(),
            fresh: Found::default(),
            reported: HashMap::new(),
            is_overrun: false,
            after: None,
            again_at: None,
            kept: Kept::default(),
            stuck: HashMap::new(),
            flights: FuturesUnordered::new(),
            boarded: 0,
            rungs: flight::rungs(),
            started: HashMap::new(),
            runs: HashMap::new(),
            runs_at: now,
            looks: FuturesUnordered::new(),
            unretired: Vec::new(),
            unflushed: Unflushed::default(),
            disk_trouble: None,
            lines: Vec::new(),
            summary: Summary::default(),
            dirty: true,
            swept_at: None,
            next_sweep: now,
            upkeep_at: now,
            polling: false,
            random: RandomState::new().build_hasher().finish() | 1,
            started_at: now_ms(),
            told: None,
        }
    }

    /// An equally distributed number from 0 to 1, for jitter only (xorshift64*).
    pub(crate) fn jitter(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let bits = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
        bits as f64 / (1u64 << 53) as f64
    }

    /// Waits for as long as verdicts come one upon the other: what is settled together is flushed together. It ends
    /// when nothing is there to be read, so that nothing waits that could be done.
    async fn gather(&mut self, mut landed: Vec<Landed>) -> Vec<Landed> {
        for _ in 0..MOST_ROUNDS {
            let before = landed.len();
            while let Some(Some(next)) = tokio::task::unconstrained(self.flights.next()).now_or_never() {
                landed.push(next);
            }
            if landed.len() == before && before > 1 || self.flights.is_empty() {
                break;
            }
            // The connection reads what has come.
            tokio::task::yield_now().await;
        }
        landed
    }

    /// Whether a run with `once` has nothing left to do, or nothing that it can do.
    fn is_finished(&mut self, started: Instant, now: Instant) -> bool {
        let is_all_seen = !self.dirty && self.fresh.is_empty() && self.after.is_none();
        if !is_all_seen || !self.flights.is_empty() {
            return false;
        }
        // Somebody may hold a half-written file open for days.
        let is_patient = now.duration_since(started) < self.options.once_patience;
        if is_patient && (self.again_at.is_some() || self.desk.has_unfinished()) {
            return false;
        }
        if self.lanes.is_empty() {
            return true;
        }
        match self.breaker.state() {
            breaker::State::Refused { .. } => true,
            breaker::State::Open { .. } => now.duration_since(started) >= self.options.once_patience,
            // What is left is in lanes that wait for their own trouble to pass.
            breaker::State::Closed => {
                self.lanes.next_ready().is_some_and(|at| at > now + Duration::from_secs(5))
            }
            breaker::State::HalfOpen => false,
        }
    }

    /// When the loop has to look again although nothing happens.
    fn wake_at(&self, now: Instant, stop_at: Option<Instant>, started: Instant) -> Instant {
        let mut wake = now + if self.polling { self.options.sweep_polling } else { self.options.sweep };
        if !self.fresh.is_empty() {
            return now;
        }
        if self.dirty || self.after.is_some() {
            wake = wake.min(self.next_sweep);
        }
        if let Some(at) = self.again_at {
            wake = wake.min(at.max(self.next_sweep));
        }
        wake = wake.min(self.breaker.next_try().unwrap_or(wake));
        if matches!(self.breaker.state(), breaker::State::Refused { .. }) {
            // Mended credentials are noticed within a second.
            wake = wake.min(now + Duration::from_secs(1));
        }
        wake = wake.min(self.runs_due().unwrap_or(wake));
        if let Some(every) = self.options.supervisor.feed_every() {
            wake = wake.min(now + every);
        }
        if let Some(ready) = self.lanes.next_ready() {
            // After trouble with the disk nothing is sent for a while, whatever is ready.
            let ready = self.disk_trouble.map_or(ready, |until| ready.max(until));
            let room = if self.has_room(now) { Some(now) } else { self.next_room(now) };
            wake = wake.min(room.map_or(wake, |room| room.max(ready)));
        }
        if let Some((due, _)) = self.deferred.first() {
            wake = wake.min(*due);
        }
        if self.options.once {
            wake = wake.min(started + self.options.once_patience).max(now + Duration::from_millis(5));
        }
        stop_at.map_or(wake, |at| wake.min(at)).max(now)
    }

    /// Whether one more delivery may start.
    pub(crate) fn has_room(&self, now: Instant) -> bool {
        if self.started.len() >= self.options.max_in_flight {
            return false;
        }
        let counts = |at: &Instant| now.duration_since(*at) < self.options.slow;
        let quick = || self.started.values().flatten().filter(|at| counts(at)).count();
        self.started.len() < self.breaker.window() || quick() < self.breaker.window()
    }

    /// When a delivery under way stops counting, if nothing lands before.
    fn next_room(&self, now: Instant) -> Option<Instant> {
        let slow =
            self.started.values().flatten().map(|at| *at + self.options.slow).filter(|at| *at > now).min();
        slow.filter(|_| self.breaker.window() > 0)
    }

    /// The end: what it came to, and what is left.
    fn sum_up(&mut self) {
        let under_way = self.flights.len();
        if under_way > 0 {
            info!("{under_way} deliveries are left under way; the next start asks the gateway about them");
        }
        // Dropping them cancels the waiting, not what the gateway does.
        self.flights.clear();
        self.started.clear();
        self.summary.stuck = self.stuck.len() as u64;
        self.summary.left = self.index.len() as u64 + self.summary.stuck;
        if !matches!(self.link, Link::Up(..)) {
            self.summary.gateway = self.breaker.reason().map(Into::into);
        }
        self.summary.refused = matches!(self.breaker.state(), breaker::State::Refused { .. });
    }
}
