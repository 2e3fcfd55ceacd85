//! Judging: what a verdict does to the entries of a delivery, to its lane and to the gateway's breaker.
//!
//! What is kept true: an entry is retired only on evidence; only a failure of the record's own counts an attempt; what
//! is committed is never sent as a second turn; what is left in doubt stays in `sending/` and is probed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use spool_gateway::receiver::{Connector, Evidence};
use spool_seeded::Bug;
use spooldir::journal::Line;
use spooldir::name::Purpose;
use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Error, Event, State};
use tracing::{info, info_span, warn};

use crate::agent::{Agent, Place};
use crate::flight::{Flight, Landed};
use crate::retry;
use crate::verdict::{Scope, Verdict};

/// A key that was burnt so often is the record's own trouble.
const MAX_EPOCHS: u32 = 12;
/// The longest a lane waits for its own trouble to pass.
const LANE_CAP: Duration = Duration::from_secs(60);
/// Entries whose receipt could not be written that are remembered.
const MAX_UNRETIRED: usize = 10_000;

impl<'a, C> Agent<'a, C>
where
    C: Connector,
    C::Gateway: 'static,
{
    /// Settles a delivery that came to a verdict.
    pub(crate) fn settle(&mut self, landed: Landed) {
        self.on_rungs();
        let Landed { flight, verdict } = landed;
        let session = flight.session.clone();
        // Whatever is said from here on is about these.
        let _about = info_span!("delivery", session = %session, key = %flight.key).entered();
        self.started.remove(&flight.key.to_string());
        if spool_seeded::is(Bug::SendBeforeTake) {
            for (entry, _) in &flight.entries {
                let pending = Entry::new(entry.id.clone(), State::Pending);
                self.advance(&pending, &Event::Take { key: flight.key.clone() }, None);
            }
        }
        match verdict {
            Verdict::Delivered { evidence, note } => self.delivered(flight, evidence, note.as_deref()),
            Verdict::Untold { reason } if flight.key.purpose() == Purpose::Tell => {
                self.delivered(flight, Evidence::Committed, Some(&format!("nobody was told: {reason}")));
            }
            Verdict::Untold { reason } => self.tell(flight, &reason),
            Verdict::Later { scope: Scope::Gateway, after, reason } => {
                self.resume(flight);
                self.unlink(reason, after);
            }
            Verdict::Later { scope: Scope::Session, after, reason } => {
                warn!("waiting: {reason}");
                self.wait(flight, after);
            }
            Verdict::Later { scope: Scope::Record, after, reason } => self.failed(flight, after, &reason),
            Verdict::Rekey { after, reason } if flight.key.epoch() >= MAX_EPOCHS => {
                self.failed(flight, after, &reason)
            }
            Verdict::Rekey { after, reason } => self.rekey(flight, after, &reason),
            Verdict::Hold { reason } | Verdict::Never { reason, .. }
                if flight.key.purpose() == Purpose::Tell =>
            {
                self.delivered(flight, Evidence::Committed, Some(&format!("nobody was told: {reason}")));
            }
            Verdict::Hold { reason } => {
                for (entry, _) in flight.entries {
                    self.hold(&entry, &reason);
                }
            }
            // It may be the fault of one of them: each alone will show.
            Verdict::Never { reason, of_session: false } if flight.entries.len() > 1 => {
                self.failed(flight, Some(Duration::ZERO), &reason);
            }
            Verdict::Never { reason, of_session } => {
                let mut entries = flight.entries;
                if of_session {
                    entries = self.fall_back(&session, entries, flight.is_doubtful);
                }
                for (entry, _) in entries {
                    self.condemn(&entry, &reason);
                }
            }
            Verdict::Refused { reason } => {
                self.resume(flight);
                self.refused(reason);
            }
            Verdict::Unknown { reason } => {
                warn!("in doubt: {reason}; asking again");
                self.wait(flight, None);
            }
        }
        self.lanes.landed(&session);
    }

    fn delivered(&mut self, flight: Flight, evidence: Evidence, note: Option<&str>) {
        self.lanes.well(&flight.session);
        self.breaker.succeeded();
        for (entry, _) in flight.entries {
            info!(
                id = %entry.id, verdict = evidence.as_str(),
                "delivered: {evidence}{}", note.map(|n| format!(" ({n})")).unwrap_or_default()
            );
            self.retire(entry, evidence, note);
        }
        if spool_seeded::is(Bug::RetireLane) {
            let is_next = |place: &Place| matches!(place, Place::Waiting(s, _) if *s == flight.session);
            let next: Vec<_> =
                self.index.iter().filter(|(_, p)| is_next(p)).map(|(id, _)| id.clone()).collect();
            for id in next {
                self.advance(&Entry::new(id, State::Pending), &Event::Quiet, None);
            }
        }
    }

    /// To `done/`, by a rename without a flush: after a power cut it can only come back, and the probe knows it.
    pub(crate) fn retire(&mut self, entry: Entry, evidence: Evidence, note: Option<&str>) {
        match self.spool.advance(&entry, &Event::Prove) {
            Ok(done) => {
                self.index.remove(&done.id);
                self.summary.delivered += 1;
                let line = Line {
                    evidence: Some(evidence.as_str().into()),
                    key: entry.state.key().map(ToString::to_string),
                    ..Line::moved(&Event::Prove, &done)
                };
                self.lines.push(match note {
                    Some(note) => line.because(note),
                    None => line,
                });
            }
            Err(Error::Entry { .. }) => {
                // A person moved it while it was being sent.
                warn!("{} was delivered ({evidence}) but is not in sending/ any more", entry.id);
                self.index.remove(&entry.id);
            }
            Err(e) => {
                warn!("{e}; {} is delivered and will be retired later", entry.id);
                if self.unretired.len() < MAX_UNRETIRED {
                    self.unretired.push((entry, evidence));
                }
            }
        }
    }

    /// The turn is in the transcript and nobody was told: from now on only the telling is left to do.
    fn tell(&mut self, flight: Flight, reason: &str) {
        warn!("committed, but nobody was told: {reason}");
        let key = flight.key.tell();
        self.change_key(flight, &Event::Tell, key, reason);
    }

    /// Once, a key is burnt by a restart that has passed, and the next one may go at once. Again and again means that
    /// the session is in trouble: its lane waits.
    fn rekey(&mut self, flight: Flight, after: Option<Duration>, reason: &str) {
        info!("new epoch: {reason}");
        let key = flight.key.next_epoch();
        if after.is_some() || flight.key.epoch() > 1 {
            self.slow_down(&flight.session, after);
        }
        self.change_key(flight, &Event::Rekey, key, reason);
    }

    /// All of a delivery's records get the new key, or nothing is sent: apart, the gateway would take the second part
    /// for a repetition of the first.
    fn change_key(&mut self, flight: Flight, event: &Event, key: spooldir::Key, reason: &str) {
        let mut entries = Vec::new();
        let mut is_half = false;
        for (entry, record) in flight.entries {
            match self.spool.advance(&entry, event) {
                Ok(moved) => {
                    self.lines.push(Line::moved(event, &moved).because(reason));
                    entries.push((moved, record));
                }
                Err(e) => {
                    warn!("{e}");
                    self.index.remove(&entry.id);
                    // One that is gone was moved by a person, and is no longer part of it.
                    is_half |= !matches!(e, Error::Entry { .. });
                }
            }
        }
        self.unflushed.note(Dir::Sending);
        if is_half && !spool_seeded::is(Bug::HalfMoved) {
            // The next sweep takes all of them up, finishes the change, and asks the gateway.
            for (entry, _) in &entries {
                self.index.remove(&entry.id);
            }
        } else if !entries.is_empty() {
            let session = flight.session.clone();
            let sealed = Flight { key, entries, ..flight }.seal(false);
            self.lanes.resume(&session, sealed, Instant::now());
        }
    }

    /// Back into the lane under the same key; it is probed before it is sent again.
    fn resume(&mut self, flight: Flight) {
        let session = flight.session.clone();
        self.lanes.resume(&session, flight.seal(true), Instant::now());
    }

    /// As [`Agent::resume`], and the lane waits.
    fn wait(&mut self, flight: Flight, after: Option<Duration>) {
        self.slow_down(&flight.session, after);
        self.resume(flight);
    }

    /// A lane in trouble waits, longer each time.
    fn slow_down(&mut self, session: &Arc<str>, after: Option<Duration>) {
        let jitter = self.jitter();
        let policy = self.options.retry;
        self.lanes.trouble(session, |troubles| {
            let wait = policy.delay(troubles, jitter).min(LANE_CAP);
            Instant::now() + after.map_or(wait, |after| after.max(wait))
        });
    }

    /// A failure of the records' own: each pays an attempt, and goes alone from now on.
    fn failed(&mut self, flight: Flight, after: Option<Duration>, reason: &str) {
        let alone = flight.entries.len() == 1;
        let is_tell = flight.key.purpose() == Purpose::Tell;
        let attempts = flight.entries.iter().map(|(e, _)| e.state.attempts()).max().unwrap_or(0) + 1;
        if is_tell && (!alone || attempts >= self.options.tell_attempts) {
            self.delivered(flight, Evidence::Committed, Some(&format!("nobody was told: {reason}")));
            return;
        }
        let now = now_ms();
        for (entry, record) in flight.entries {
            let attempts = entry.state.attempts() + 1;
            let since = record.created_at.unwrap_or(now);
            if self.options.retry.exhausted(attempts) || self.options.retry.outlived(since, now) {
                self.condemn(&entry, &format!("gave up after {attempts} attempts: {reason}"));
                continue;
            }
            let jitter = self.jitter();
            let delay = after.unwrap_or_else(|| self.options.retry.delay(attempts, jitter));
            let due_ms = retry::due_ms(now, delay);
            self.index.remove(&entry.id);
            if let Some(moved) = self.advance(&entry, &Event::Fail { due_ms, alone }, Some(reason)) {
                // What the gateway asked for is kept, although it may be further away than any time of ours.
                self.defer(moved.id, due_ms, after.map(|_| due_ms));
            }
        }
    }
}
