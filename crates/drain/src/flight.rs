//! Sending: what a lane sends next becomes a delivery in flight.
//!
//! What is kept true: every record of a delivery is in `sending/` under the delivery's key, and those names are
//! flushed to the disk, before the first byte is sent. After any crash the key is therefore known, and the gateway can
//! be asked about it. One flush serves all deliveries that start in the same turn of the loop.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spool_gateway::receiver::{Connector, Delivery, Evidence, Mode, Route};
use spool_seeded::Bug;
use spooldir::journal::Line;
use spooldir::name::Purpose;
use spooldir::record::{self, Deliver};
use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Event, Id, Key, Record, State};
use tokio::sync::mpsc;
use tracing::{debug, error};

use crate::agent::{Agent, Place};
use crate::attempt::attempt;
use crate::entries::Reading;
use crate::lanes::{Next, Sealed, Waiting};
use crate::options::Options;
use crate::render;
use crate::verdict::Verdict;

/// How long nothing new is sent after the disk failed.
const DISK_PAUSE: Duration = Duration::from_secs(5);

/// A delivery in the air.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) session: Arc<str>,
    pub(crate) key: Key,
    /// The entries, in `sending/` under the key, with their records.
    pub(crate) entries: Vec<(Entry, Record)>,
    pub(crate) is_doubtful: bool,
}

impl Flight {
    /// The same, to be taken up again later.
    pub(crate) fn seal(self, is_doubtful: bool) -> Sealed {
        let entries = self.entries.into_iter().map(|(e, _)| (e.id, e.state.attempts())).collect();
        Sealed { key: self.key, entries, is_doubtful }
    }
}

/// A rung that a delivery under way has reached.
#[derive(Debug)]
pub(crate) struct Rung {
    key: Key,
    ids: Rc<[Id]>,
    evidence: Evidence,
    /// Whether the delivery was lost sight of before.
    is_doubtful: bool,
}

/// How many rungs wait to be written down. They only explain: one too many is left out.
const MAX_RUNGS: usize = 1024;

/// What those who send tell the loop about their rungs, and its other end.
pub(crate) type Rungs = (mpsc::Sender<Rung>, mpsc::Receiver<Rung>);

/// The two ends.
pub(crate) fn rungs() -> Rungs {
    mpsc::channel(MAX_RUNGS)
}

/// The directories that are flushed before the next send.
#[derive(Debug, Default)]
pub(crate) struct Unflushed {
    dirs: BTreeSet<Dir>,
}

impl Unflushed {
    /// All that an entry can come from on its way to be sent: for when nobody knows.
    pub(crate) fn all() -> Unflushed {
        Unflushed { dirs: BTreeSet::from([Dir::Sending, Dir::New, Dir::Deferred]) }
    }

    pub(crate) fn note(&mut self, dir: Dir) {
        self.dirs.insert(dir);
    }

    /// First the directory that names went to: a name may come back, but none may be gone from both.
    fn in_order(self) -> impl Iterator<Item = Dir> {
        [Dir::Sending, Dir::New, Dir::Deferred].into_iter().filter(move |dir| self.dirs.contains(dir))
    }
}

/// A delivery that came to a verdict.
#[derive(Debug)]
pub(crate) struct Landed {
    pub(crate) flight: Flight,
    pub(crate) verdict: Verdict,
}

impl<'a, C> Agent<'a, C>
where
    C: Connector,
    C::Gateway: 'static,
{
    /// Sends what may be sent now.
    pub(crate) fn dispatch(&mut self, now: Instant) {
        self.boarded = 0;
        if self.disk_trouble.is_some_and(|until| until > now) {
            return;
        }
        let Some(gateway) = self.gateway() else { return };
        let mut ready = Vec::new();
        while self.has_room(now) {
            let Some((session, next)) = self.lanes.next(now, self.options.text.max_entries()) else { break };
            let is_begun = matches!(next, Next::Sealed(_));
            match self.board(session.clone(), next) {
                Some(flight) => {
                    if !is_begun {
                        self.spend(&session, now);
                    }
                    self.started.insert(flight.key.to_string(), Some(now));
                    ready.push(flight);
                }
                None => self.lanes.landed(&session),
            }
        }
        if ready.is_empty() {
            return;
        }
        if let Err(why) = self.flush_moves() {
            error!("{why}; nothing new is sent for {} s", DISK_PAUSE.as_secs());
            self.disk_trouble = Some(now + DISK_PAUSE);
            for flight in ready {
                self.started.remove(&flight.key.to_string());
                let session = flight.session.clone();
                let is_doubtful = flight.is_doubtful;
                self.lanes.resume(&session, flight.seal(is_doubtful), now);
                self.lanes.landed(&session);
            }
            return;
        }
        self.boarded = ready.len();
        for flight in ready {
            let delivery = delivery(&flight, self.options);
            let gateway = gateway.clone();
            let patience = self.options.patience;
            debug!(key = %flight.key, session = %flight.session, records = flight.entries.len(), "sending");
            if spool_seeded::is(Bug::RetireEarly) {
                flight.entries.iter().for_each(|(e, _)| self.retire(e.clone(), Evidence::Accepted, None));
            }
            let ids: Rc<[Id]> = flight.entries.iter().map(|(e, _)| e.id.clone()).collect();
            let rungs = self.rungs.0.clone();
            self.flights.push(Box::pin(async move {
                let seen = |evidence| {
                    debug!(key = delivery.key, "{evidence}");
                    let is_doubtful = flight.is_doubtful;
                    let rung = Rung { key: flight.key.clone(), ids: Rc::clone(&ids), evidence, is_doubtful };
                    let _told = rungs.try_send(rung).is_ok();
                };
                let verdict = attempt(&gateway, &delivery, flight.is_doubtful, &patience, &seen).await;
                Landed { flight, verdict }
            }));
        }
    }

    /// Writes down which rung a delivery has reached, for those who wait for it. The last one stands with the verdict.
    pub(crate) fn on_rung(&mut self, rung: Rung) {
        if rung.is_doubtful && rung.evidence >= Evidence::Committed {
            // Nothing more is asked of the gateway than what became of the reply: others need not wait for that, and
            // a gateway that answers is well.
            if let Some(started) = self.started.get_mut(&rung.key.to_string()) {
                *started = None;
            }
            self.breaker.succeeded();
        }
        if rung.evidence == Evidence::Sent {
            return;
        }
        let state = State::Sending { key: rung.key, attempts: 0 };
        for id in rung.ids.iter() {
            let entry = Entry::new(id.clone(), state.clone());
            let evidence = Some(rung.evidence.as_str().to_owned());
            let key = state.key().map(ToString::to_string);
            self.lines.push(Line { key, evidence, ..Line::about("evidence", &entry) });
        }
    }

    /// As [`Agent::on_rung`], for all that wait: before a verdict, so that the lines stand in their order.
    pub(crate) fn on_rungs(&mut self) {
        while let Ok(rung) = self.rungs.1.try_recv() {
            self.on_rung(rung);
        }
    }

    /// Flushes the names that were moved into `sending/`, then those that left `new/` and `deferred/` for it: there
    /// are file systems that bring an old name back beside the new one, and of two names the later one stays, which
    /// would be that of a record that was not sent. Directories that nothing was moved into or out of are left out:
    /// the flush of one costs a flush of the disk, even where there is nothing to write.
    fn flush_moves(&mut self) -> Result<(), String> {
        for dir in std::mem::take(&mut self.unflushed).in_order() {
            let path = self.spool.dir(dir);
            if let Err(e) = self.spool.fs().sync_dir(&path) {
                // Which names are on the disk is not known now: the next try flushes all of them.
                self.unflushed = Unflushed::all();
                return Err(format!("cannot flush {}: {e}", path.display()));
            }
        }
        Ok(())
    }

    /// Reads the records and moves them into `sending/` under one key. `None` when none is left.
    fn board(&mut self, session: Arc<str>, next: Next) -> Option<Flight> {
        let (key, members, is_doubtful) = match next {
            Next::Fresh(records) => {
                let by_policy = records.iter().find(|r| r.by_policy).map(|r| r.kind.deliver);
                let key = by_policy.map_or_else(Key::mint, Key::mint_for);
                (key, records.into_iter().map(Waiting::entry).collect(), false)
            }
            Next::Again(again) => {
                let mint = || again.deliver.map_or_else(Key::mint, Key::mint_for);
                let key = again.key.as_ref().map_or_else(mint, Key::next_epoch);
                // It was sent before, under the earlier epochs.
                let is_doubtful = again.key.is_some();
                let state =
                    State::Deferred { key: again.key, attempts: again.attempts, due_ms: again.due_ms };
                (key, vec![Entry::new(again.id, state)], is_doubtful)
            }
            Next::Sealed(sealed) => {
                if !self.is_readable(&sealed) {
                    let until = Instant::now() + DISK_PAUSE;
                    self.lanes.trouble(&session, |_| until);
                    self.lanes.resume(&session, sealed, Instant::now());
                    return None;
                }
                let key = sealed.key.clone();
                let sending =
                    |(id, attempts): (Id, u32)| Entry::new(id, State::Sending { key: key.clone(), attempts });
                let members: Vec<Entry> = sealed.entries.into_iter().map(sending).collect();
                (sealed.key, members, sealed.is_doubtful)
            }
        };
        let mut entries = Vec::new();
        for entry in members {
            if let Some(member) = self.board_one(entry, &session, &key) {
                entries.push(member);
            }
        }
        (!entries.is_empty()).then_some(Flight { session, key, entries, is_doubtful })
    }

    /// One key is one delivery: if one of its records cannot be read now, all of them wait.
    fn is_readable(&self, sealed: &Sealed) -> bool {
        sealed.entries.iter().all(|(id, attempts)| {
            let state = State::Sending { key: sealed.key.clone(), attempts: *attempts };
            !matches!(self.read(&Entry::new(id.clone(), state)), Reading::Trouble(_))
        })
    }

    fn board_one(&mut self, entry: Entry, session: &Arc<str>, key: &Key) -> Option<(Entry, Record)> {
        let record = match self.read_or_recall(&entry) {
            Reading::Good(record, _)
                if record.session_key.as_deref() == Some(&**session) || spool_seeded::is(Bug::LaneMixup) =>
            {
                *record
            }
            Reading::Good(..) => {
                self.condemn(&entry, "changed after it was published: it names another session now");
                return None;
            }
            Reading::Later(why) => {
                self.hold(&entry, &why);
                return None;
            }
            Reading::Bad(why) => {
                self.condemn(&entry, &format!("changed after it was published: {why}"));
                return None;
            }
            // A person moved it; whoever finds it next takes it up anew.
            Reading::Gone => {
                self.index.remove(&entry.id);
                return None;
            }
            Reading::Trouble(why) => {
                debug!("cannot read {}: {why}", entry.id);
                self.index.remove(&entry.id);
                return None;
            }
        };
        if matches!(entry.state, State::Sending { .. }) {
            return Some((entry, record));
        }
        if self.dismiss_if_expired(&entry, &record, now_ms())
            || self.keeps_back(&entry, &record, self.owner(&entry))
        {
            return None;
        }
        if spool_seeded::is(Bug::SendBeforeTake) {
            self.index.insert(entry.id.clone(), Place::Sending);
            let state = State::Sending { key: key.clone(), attempts: entry.state.attempts() };
            return Some((Entry { state, ..entry }, record));
        }
        match self.advance(&entry, &Event::Take { key: key.clone() }, None) {
            Some(taken) => {
                self.unflushed.note(Dir::Sending);
                self.unflushed.note(entry.dir());
                self.stuck.remove(&entry.id);
                self.index.insert(taken.id.clone(), Place::Sending);
                Some((taken, record))
            }
            None => {
                self.index.remove(&entry.id);
                if entry.state == State::Pending {
                    self.leave_stuck(&entry);
                }
                None
            }
        }
    }
}

/// What is sent.
fn delivery(flight: &Flight, options: &Options) -> Delivery {
    let records: Vec<(&Id, &Record)> = flight.entries.iter().map(|(e, r)| (&e.id, r)).collect();
    let first = records.first().map(|(_, r)| *r);
    let deliver = flight.key.deliver().or(first.map(|r| r.deliver)).unwrap_or_default();
    let (mode, text) = match (flight.key.purpose(), deliver) {
        // The reason is left out, so that the text is the same after a restart.
        (Purpose::Tell, _) => (Mode::Message, render::told(&flight.key, &records, "", &options.text)),
        (_, Deliver::Turn) => (Mode::Turn, render::turn(&flight.key, &records, &options.text)),
        (_, Deliver::Message) => (Mode::Message, render::message(&flight.key, &records, &options.text)),
        (_, Deliver::Note) => (Mode::Note, render::turn(&flight.key, &records, &options.text)),
    };
    Delivery {
        key: flight.key.to_string(),
        former_keys: flight.key.former().iter().map(ToString::to_string).collect(),
        session_key: flight.session.to_string(),
        text,
        mode,
        route: first.and_then(|r| r.route.as_ref()).map(route),
        traceparent: first.and_then(|r| r.traceparent.clone()),
    }
}

fn route(route: &record::Route) -> Route {
    Route {
        channel: route.channel.clone(),
        to: route.to.clone(),
        account_id: route.account_id.clone(),
        thread_id: route.thread_id.clone(),
    }
}
