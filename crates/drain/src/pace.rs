//! Policy applied: what the rules say of a record becomes where it goes, and what was delivered becomes how long the next
//! delivery of its session waits.
//!
//! What is kept true: settings change between two turns of the loop and never within one; a delivery that has its key
//! goes on as it was begun, whatever the rules say now; what was put off is in `deferred/`, so that a restart knows it.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spool_gateway::receiver::Connector;
use spooldir::record::Deliver;
use spooldir::time::now_ms;
use spooldir::{Entry, Event, Record, State, reroute};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::agent::{Agent, Place};
use crate::lanes::{Kind, Waiting};
use crate::options::Reload;
use crate::policy::{Decision, Ledger};
use crate::status::Slowed;

/// How many sessions beyond their budget are named.
const MAX_NAMED: usize = 20;

/// What is remembered for the sake of policy.
#[derive(Debug)]
pub(crate) struct Pace {
    reload: Option<watch::Receiver<Reload>>,
    trouble: Option<String>,
    ledger: Ledger,
    slowed: HashMap<Arc<str>, (Instant, usize)>,
}

impl Pace {
    pub(crate) fn new(mut reload: Option<watch::Receiver<Reload>>) -> Pace {
        // Where the agent begins anew, what was read meanwhile holds.
        reload.iter_mut().for_each(watch::Receiver::mark_changed);
        Pace { reload, trouble: None, ledger: Ledger::default(), slowed: HashMap::new() }
    }

    /// Why the last reading of the configuration failed.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

/// Completes when there are other settings.
pub(crate) async fn changed(reload: &mut Option<watch::Receiver<Reload>>) {
    if let Some(receiver) = reload
        && receiver.changed().await.is_ok()
    {
        return;
    }
    pending().await
}

impl<'a, C> Agent<'a, C>
where
    C: Connector,
    C::Gateway: 'static,
{
    /// Takes up settings that were read anew.
    pub(crate) fn read_settings(&mut self) {
        let Some(reload) = &mut self.pace.reload else { return };
        if !reload.has_changed().unwrap_or(false) {
            return;
        }
        let Reload { settings, trouble, .. } = reload.borrow_and_update().clone();
        match (&trouble, &settings) {
            (Some(why), _) => error!("{why}; the old configuration holds"),
            (None, Some(_)) => info!("the configuration was read anew"),
            (None, None) => {}
        }
        self.pace.trouble = trouble;
        let Some(settings) = settings else { return };
        self.spool.fs().admit(settings.rules.writers());
        self.settings = settings;
        let beneath = self.quiet();
        // Whoever is beyond the new budgets is found out by the next delivery.
        self.pace.slowed.clear();
        self.lanes.end_pauses(None);
        let rules = &self.settings.rules;
        self.lanes.set_windows(beneath, |session| rules.window(session, beneath));
        // Names that were left alone may be welcome now.
        self.reported.clear();
        self.dirty = true;
    }

    fn quiet(&self) -> crate::lanes::Quiet {
        let time = if self.options.once { Duration::ZERO } else { self.settings.quiet.time };
        crate::lanes::Quiet { time, ..self.settings.quiet }
    }

    /// Puts a record into its lane, to be handed over as it says, else as the rules say. Returns the lane's name and the
    /// time that orders it there.
    pub(crate) fn line_up(
        &mut self,
        entry: &Entry,
        record: &Record,
        session: &str,
        written_ns: i128,
        now: Instant,
    ) -> (Arc<str>, i64) {
        let rules = &self.settings.rules;
        let deliver = rules.deliver(session, record);
        let beneath = self.quiet();
        let window = self.settings.rules.window(session, beneath);
        if !self.options.once && window != beneath {
            self.lanes.set_window(session, window);
        }
        let waiting = Waiting {
            id: entry.id.clone(),
            kind: Kind { deliver, ..Kind::of(record) },
            urgent: record.urgent,
            by_policy: deliver != record.deliver,
            due_ms: match entry.state {
                State::Deferred { due_ms, .. } => Some(due_ms),
                _ => None,
            },
        };
        // A time beyond those that the numbers hold is the first or the last one.
        let written_ns =
            i64::try_from(written_ns).unwrap_or(if written_ns < 0 { i64::MIN } else { i64::MAX });
        (self.lanes.arrive(session, written_ns, waiting, now), written_ns)
    }

    /// How a record that goes alone is handed over by policy, if not as it says itself.
    pub(crate) fn deliver_alone(&self, session: &str, record: &Record) -> Option<Deliver> {
        let deliver = self.settings.rules.deliver(session, record);
        (deliver != record.deliver).then_some(deliver)
    }

    /// Whether policy lets a record not go now; then it is where it waits. For one that has not been sent, in `new/` or
    /// `deferred/`.
    pub(crate) fn keeps_back(&mut self, entry: &Entry, record: &Record, owner: Option<u32>) -> bool {
        let session = record.session_key.as_deref().unwrap_or_default();
        match self.settings.rules.decide(session, record, owner, now_ms()) {
            Decision::Go => false,
            Decision::Hold(why) => {
                self.hold(entry, &why);
                true
            }
            Decision::Wait(until_ms) => {
                match &entry.state {
                    State::Pending => {
                        self.index.remove(&entry.id);
                        if let Some(moved) = self.advance(entry, &Event::Postpone { due_ms: until_ms }, None)
                        {
                            self.defer(moved.id, until_ms, Some(until_ms));
                        }
                    }
                    // Its name tells when it was due, and stays: the wait is asked for anew after a restart.
                    State::Deferred { due_ms, .. } => {
                        let wait = Duration::from_millis(until_ms.saturating_sub(now_ms()));
                        let due = Instant::now() + wait;
                        self.index.insert(entry.id.clone(), Place::Deferred(due, *due_ms));
                        self.deferred.insert((due, entry.id.clone()));
                    }
                    _ => return false,
                }
                true
            }
        }
    }

    /// The owner of an entry's file, where the rules ask for it.
    pub(crate) fn owner(&self, entry: &Entry) -> Option<u32> {
        if !self.settings.rules.has_allow_list() {
            return None;
        }
        self.spool.fs().stat(&self.spool.path(entry)).ok().flatten().map(|meta| meta.uid)
    }

    /// A delivery of new records or of one due again goes out: beyond the budget the next one waits for company.
    pub(crate) fn spend(&mut self, session: &Arc<str>, now: Instant) {
        let Some(budget) = self.settings.rules.budget(session) else { return };
        if let Some((pause, made)) = self.pace.ledger.note(session, budget, now) {
            let until = now + pause;
            self.lanes.pause(session, until, self.options.text.max_entries());
            if self.pace.slowed.insert(session.clone(), (until, made)).is_none() {
                warn!(
                    %session,
                    "{made} deliveries in {} s, the budget is {}: what comes goes out together, every {} s",
                    budget.period.as_secs(), budget.deliveries, pause.as_secs()
                );
            }
        }
    }

    /// Forgets what no budget counts any more.
    pub(crate) fn forget_spending(&mut self, now: Instant) {
        self.pace.ledger.forget(&self.settings.rules, now);
        self.pace.slowed.retain(|_, (until, _)| *until > now);
        self.lanes.end_pauses(Some(now));
    }

    /// The sessions beyond their budget.
    pub(crate) fn slowed(&self) -> Vec<Slowed> {
        let (now, wall) = (Instant::now(), now_ms());
        let slowed = self.pace.slowed.iter().filter(|(_, (until, _))| *until > now).take(MAX_NAMED);
        let told = slowed.map(|(session, (until, made))| Slowed {
            session_key: session.to_string(),
            deliveries: *made as u64,
            until: wall + u64::try_from((*until - now).as_millis()).unwrap_or(0),
        });
        told.collect()
    }

    /// The session of a delivery does not exist: whatever of it the rules send elsewhere goes there, as a new record that
    /// says whom it was for. The new one is published before the old one is put aside: a crash between the two leaves
    /// the old one in doubt, and the next try finds the new one. Returns those that go nowhere.
    ///
    /// What may have reached the session before it vanished does not: nobody is told twice by a guess.
    pub(crate) fn fall_back(
        &mut self,
        session: &Arc<str>,
        entries: Vec<(Entry, Record)>,
        is_doubtful: bool,
    ) -> Vec<(Entry, Record)> {
        let Some(to) = self.settings.rules.fallback(session).filter(|_| !is_doubtful) else { return entries };
        let mut left = Vec::new();
        for (entry, record) in entries {
            let read = self.spool.fs().read(&self.spool.path(&entry), spooldir::record::MAX_BYTES);
            let Some(map) = read.ok().and_then(|content| reroute::fallback(&content.bytes)) else {
                left.push((entry, record));
                continue;
            };
            match self.spool.reroute(&map, &to, &entry.id) {
                Ok((id, _)) => {
                    let why = format!("there is no session {session}; sent to its fallback {to} as {id}");
                    self.index.remove(&entry.id);
                    if let Some(held) = self.advance(&entry, &Event::Hold, Some(&why)) {
                        self.advance(&held, &Event::Dismiss, Some(&why));
                    }
                    self.dirty = true;
                }
                Err(e) => {
                    warn!("{e}; {} cannot go to the fallback {to}", entry.id);
                    left.push((entry, record));
                }
            }
        }
        left
    }
}
