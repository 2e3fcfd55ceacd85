//! Finding: what lies in the directories becomes what waits in the lanes.
//!
//! A sweep lists names only; files are opened a few at a time, so that a huge backlog neither fills the memory nor
//! stops the loop. What one file is or does never stops another. Discovery knows no times: a file moved in with an old
//! date is found like any other.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use spool_gateway::receiver::Connector;
use spool_seeded::Bug;
use spooldir::intake::{Intake, Taken, is_candidate};
use spooldir::journal::{KEEP_DAYS, Line};
use spooldir::name::SUFFIX;
use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Error, Event, Id, Record, State};
use tracing::{debug, warn};

use crate::agent::{Agent, Place};
use crate::entries::Reading;
use crate::found::{Found, Lowest};
use crate::lanes::Again;

/// Files opened in one turn of the loop.
const AT_ONCE: usize = 256;
/// Files opened in one turn while something else waits for the turn to end.
const A_FEW: usize = 32;
/// How long something that was reported is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(60);
/// How long a file that was not ready is left alone.
const NOT_READY: Duration = Duration::from_millis(500);
/// How long an entry that could not be moved is left alone at first; twice as long each time, up to [`LEFT_ALONE`].
const STUCK: Duration = Duration::from_secs(1);
/// How many reported names are remembered.
const MAX_REPORTED: usize = 10_000;
/// How often old receipts and leftovers are cleared away.
const UPKEEP: Duration = Duration::from_secs(600);
/// Receipts cleared away at once.
const MAX_PRUNE: usize = 1000;

/// An entry of `new/` that could not be moved.
#[derive(Debug)]
pub(crate) struct Stuck {
    /// It is left alone until then.
    until: Instant,
    /// How long the last pause was.
    pause: Duration,
}

/// What a name in `new/` is without its suffix: the id, once intake has given it.
fn stem(name: &OsStr) -> Option<&str> {
    name.to_str()?.strip_suffix(SUFFIX)
}

impl<'a, C> Agent<'a, C>
where
    C: Connector,
    C::Gateway: 'static,
{
    pub(crate) fn is_timed_sweep_due(&self, now: Instant) -> bool {
        let interval = if self.polling { self.options.sweep_polling } else { self.options.sweep };
        self.swept_at
            .is_none_or(|at| now.duration_since(at) >= interval && !spool_seeded::is(Bug::DoorbellOnly))
    }

    /// Looks for new names, if it is time and there is room.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let is_timed = self.is_timed_sweep_due(now);
        let room = self.options.max_known.saturating_sub(self.index.len());
        let is_again = self.again_at.is_some_and(|at| now >= at);
        let is_wanted = self.dirty || is_timed || is_again || self.after.is_some();
        if !is_wanted || now < self.next_sweep || !self.fresh.is_empty() {
            return;
        }
        if self.after.is_none() {
            self.dirty = false;
        }
        self.again_at = None;
        if is_timed {
            self.swept_at = Some(now);
            if let Err(e) = self.sweep_sending().and_then(|()| self.sweep_deferred()) {
                debug!("{e}");
            }
            self.retire_again();
            self.forget_spending(now);
            // What is still there was looked at again by now, and has a new time.
            self.reported.retain(|_, until| *until + LEFT_ALONE > now);
            self.is_overrun &= self.reported.len() > MAX_REPORTED / 2;
            if !self.is_overrun {
                // Whatever came before the place where we are is not to wait for all that comes after it.
                self.after = None;
            }
            self.stuck.retain(|_, stuck| stuck.until + LEFT_ALONE > now);
            let index = &self.index;
            self.kept.tidy(|id| matches!(index.get(id), Some(Place::Waiting(..))));
        }
        if now >= self.upkeep_at {
            self.upkeep_at = now + UPKEEP;
            self.upkeep();
        }
        match self.find_new(room, now) {
            Ok((found, after)) => (self.fresh, self.after) = (found, after),
            Err(e) => self.report(OsStr::new(""), &e.to_string(), now),
        }
        self.next_sweep = now + now.elapsed() * 9;
    }

    /// The lowest names in `new/` that are not known, at most `room`, and where to go on if there may be more: names
    /// that nobody can take in must not hide those that come after them.
    fn find_new(&self, room: usize, now: Instant) -> Result<(Found, Option<OsString>), Error> {
        let dir = self.spool.dir(Dir::New);
        let mut lowest = Lowest::new(room);
        let mut see = |name: &OsStr, _is_file: bool| {
            let is_seen = self.after.as_deref().is_some_and(|after| name <= after);
            if !is_seen
                && is_candidate(name)
                && lowest.wants(name)
                && !self.is_waiting(name)
                && !self.is_left_alone(name, now)
            {
                lowest.push(name);
            }
            ControlFlow::Continue(())
        };
        let listed = self.spool.fs().list(&dir, &mut see);
        listed.map_err(|source| Error::Io { verb: "list", path: dir.clone(), source })?;
        let (names, after) = lowest.finish();
        // Ids of ours sort by time; what was named by hand is taken in by the age of its content, before them.
        let (then, mut first): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| stem(name).is_some_and(Id::is_unique));
        first.sort_unstable();
        first.sort_by_cached_key(|name| {
            let meta = self.spool.fs().stat(&dir.join(name)).ok().flatten();
            meta.map_or(0, |m| m.mtime_ns)
        });
        Ok((Found::new(first, then), after))
    }

    fn is_waiting(&self, name: &OsStr) -> bool {
        !self.index.is_empty()
            && stem(name).is_some_and(|stem| matches!(self.index.get(stem), Some(Place::Waiting(..))))
    }

    fn is_left_alone(&self, name: &OsStr, now: Instant) -> bool {
        self.reported.get(name).is_some_and(|until| *until > now)
            || stem(name).and_then(|id| self.stuck.get(id)).is_some_and(|stuck| stuck.until > now)
    }

    /// An entry of `new/` could not be moved for an error of the disk, or because it is immutable: it is left alone, for
    /// longer each time, so that the trouble with one file does not become all we do.
    pub(crate) fn leave_stuck(&mut self, entry: &Entry) {
        if matches!(self.spool.fs().stat(&self.spool.path(entry)), Ok(None)) {
            // A person moved it.
            return;
        }
        let last = self.stuck.get(&entry.id).map(|stuck| stuck.pause);
        let pause = last.map_or(STUCK, |last| (last * 2).min(LEFT_ALONE));
        if last.is_some() || self.stuck.len() < MAX_REPORTED {
            self.stuck.insert(entry.id.clone(), Stuck { until: Instant::now() + pause, pause });
        }
    }

    /// Reports once, and leaves the name alone for a while.
    fn report(&mut self, name: &OsStr, why: &str, now: Instant) {
        if let Some(until) = self.reported.get_mut(name) {
            *until = now + LEFT_ALONE;
        } else if self.reported.len() < MAX_REPORTED {
            self.reported.insert(name.to_owned(), now + LEFT_ALONE);
            warn!("left alone: {} {why}", self.spool.dir(Dir::New).join(name).display());
        } else if !std::mem::replace(&mut self.is_overrun, true) {
            let new = self.spool.dir(Dir::New);
            warn!("over {MAX_REPORTED} names in {} are left alone; the others are not named", new.display());
        }
    }

    /// Opens some of the names that were found. A pass that could take nothing in is the last one until something
    /// happens, and what it cost is paid with a pause: names that nobody can take in must not become all we do.
    pub(crate) fn take_in(&mut self, now: Instant) {
        if self.fresh.is_empty() {
            return;
        }
        let started = Instant::now();
        let mut has_changed = false;
        for _ in 0..self.bite() {
            let Some(name) = self.fresh.pop() else { break };
            let index = &self.index;
            let is_busy = |id: &Id| matches!(index.get(id), Some(Place::Sending | Place::Deferred(..)));
            let intake = self.desk.look(self.spool, &name, &is_busy, now);
            has_changed |= !matches!(intake, Intake::Later(_) | Intake::Foreign(_) | Intake::Trouble(_));
            match intake {
                Intake::Ready(taken) => {
                    let entry = taken.entry.clone();
                    self.accept(*taken, now);
                    self.leave_alone_if_stuck(&entry, now);
                }
                Intake::Held(entry, reason) => {
                    self.lines.push(Line::about("accept", &entry));
                    self.lines.push(Line::about("hold", &entry).because(&reason));
                    self.summary.held += 1;
                    warn!(id = %entry.id, verdict = "held", "held: {reason}");
                }
                Intake::Buried(id, reason) => {
                    let entry = Entry::new(id, State::Dead);
                    self.lines.push(Line::about("accept", &entry));
                    self.lines.push(Line::about("condemn", &entry).because(&reason));
                    self.summary.dead += 1;
                    warn!(id = %entry.id, verdict = "dead", "dead: {reason}");
                }
                Intake::Duplicate(id) => {
                    debug!("dropped again: {id}");
                    self.lines.push(Line {
                        at: now_ms(),
                        event: "duplicate".into(),
                        id: id.to_string(),
                        ..Line::default()
                    });
                }
                Intake::Later(why) => {
                    debug!("not yet: {} {why}", name.to_string_lossy());
                    self.again_at = Some(now + NOT_READY);
                }
                Intake::Foreign(why) => self.report(&name, &why, now),
                Intake::Trouble(e) => self.report(&name, &e.to_string(), now),
                Intake::Gone => {}
            }
        }
        self.dirty |= has_changed;
        if !has_changed {
            self.next_sweep = self.next_sweep.max(started) + started.elapsed() * 9;
        }
    }

    /// How many names are opened in this turn. While there is enough for others to send, only a few more than were
    /// sent: a record that is taken in much too early is read a second time, and what is ready waits for the disk. And
    /// only a few while the connection is being made, which takes some turns and comes before the first delivery.
    fn bite(&self) -> usize {
        if self.is_connecting() {
            return A_FEW;
        }
        let idle = self.lanes.count().saturating_sub(self.started.len() + self.lanes.in_trouble());
        let enough = self.breaker.window() * 2;
        if enough > 0 && idle >= enough { (self.boarded + A_FEW).min(AT_ONCE) } else { AT_ONCE }
    }

    /// A good record: into its lane, or wherever else it asks to be.
    fn accept(&mut self, taken: Taken, now: Instant) {
        let Taken { entry, record, written_ns, owner, seen } = taken;
        let mut session = record.session_key.clone().unwrap_or_default();
        let mut line = Line { session_key: Some(session.clone()), ..Line::about("accept", &entry) };
        if spool_seeded::is(Bug::TextInJournal) {
            line.reason = record.text.clone();
        }
        if !self.stuck.contains_key(&entry.id) {
            self.lines.push(line);
        }
        if let Some(old) = &record.supersedes {
            self.supersede(old, &entry.id);
        }
        let wall = now_ms();
        if self.dismiss_if_expired(&entry, &record, wall) {
            return;
        }
        if !record.is_told() {
            self.advance(&entry, &Event::Quiet, None);
            return;
        }
        if let Some(due_ms) = record.not_before.filter(|at| *at > wall) {
            if let Some(entry) = self.advance(&entry, &Event::Postpone { due_ms }, None) {
                self.defer(entry.id, due_ms, Some(due_ms));
            }
            return;
        }
        if self.keeps_back(&entry, &record, self.settings.rules.has_allow_list().then_some(owner)) {
            return;
        }
        if spool_seeded::is(Bug::LaneMixup)
            && let Some(Place::Waiting(other, _)) =
                self.index.values().find(|p| matches!(p, Place::Waiting(..)))
        {
            session = other.to_string();
        }
        let (lane, written_ns) = self.line_up(&entry, &record, &session, written_ns, now);
        if let Some(meta) = seen {
            self.kept.keep(&entry.id, meta, Box::new(record), i128::from(wall) * 1_000_000);
        }
        self.index.insert(entry.id, Place::Waiting(lane, written_ns));
    }

    /// A record that asks for another place and could not be moved there: that was said, and is not tried all the time.
    fn leave_alone_if_stuck(&mut self, entry: &Entry, now: Instant) {
        if !self.index.contains_key(&entry.id)
            && matches!(self.spool.fs().stat(&self.spool.path(entry)), Ok(Some(_)))
            && self.reported.len() < MAX_REPORTED
        {
            self.reported.insert(entry.file_name().into(), now + LEFT_ALONE);
        }
    }

    /// Puts an older record aside that has not been sent yet.
    fn supersede(&mut self, old: &Id, by: &Id) {
        let entry = match self.index.get(old) {
            Some(Place::Waiting(session, written_ns)) => {
                self.lanes.withdraw(session, *written_ns, old);
                Entry::new(old.clone(), State::Pending)
            }
            Some(Place::Deferred(..)) => match self.spool.find_in(old, &[Dir::Deferred]) {
                Ok(Some(entry)) => entry,
                _ => return,
            },
            _ => return,
        };
        self.index.remove(old);
        self.advance(&entry, &Event::Dismiss, Some(&format!("superseded by {by}")));
    }

    pub(crate) fn dismiss_if_expired(&mut self, entry: &Entry, record: &Record, wall: u64) -> bool {
        let is_over = record.expires_at.is_some_and(|at| at <= wall);
        if is_over {
            self.index.remove(&entry.id);
            self.advance(entry, &Event::Dismiss, Some("expired: its expiresAt is over"));
        }
        is_over
    }

    /// Remembers an entry of `deferred/`. A time that the record itself asked for may lie further away than any of ours.
    pub(crate) fn defer(&mut self, id: Id, due_ms: u64, not_before_ms: Option<u64>) {
        let due = Instant::now() + self.options.retry.wait(due_ms, not_before_ms, now_ms());
        self.index.insert(id.clone(), Place::Deferred(due, due_ms));
        self.deferred.insert((due, id));
    }

    /// Makes what is known of `deferred/` agree with the directory, where a person may have moved things.
    pub(crate) fn sweep_deferred(&mut self) -> Result<(), Error> {
        let mut there = HashMap::new();
        self.spool.each_entry(Dir::Deferred, |entry, _| {
            if let State::Deferred { attempts, due_ms, .. } = entry.state {
                there.insert(entry.id, (due_ms, attempts == 0));
            }
        })?;
        let index = &mut self.index;
        self.deferred.retain(|(_, id)| {
            let is_same = matches!((index.get(id), there.get(id)),
                (Some(Place::Deferred(_, known)), Some((due_ms, _))) if known == due_ms);
            if !is_same && matches!(index.get(id), Some(Place::Deferred(..))) {
                index.remove(id);
            }
            is_same
        });
        for (id, (due_ms, is_postponed)) in there {
            // One that is in its lane already counts as being sent, before its file is taken.
            if !self.index.contains_key(&id) {
                self.defer(id, due_ms, is_postponed.then_some(due_ms));
            }
        }
        Ok(())
    }

    /// What is due goes back into its lane.
    pub(crate) fn bring_back_due(&mut self, now: Instant) {
        let is_due = |due: &Instant| *due <= now || spool_seeded::is(Bug::DueIgnored);
        while self.deferred.first().is_some_and(|(due, _)| is_due(due))
            && let Some((_, id)) = self.deferred.pop_first()
        {
            // Whatever goes wrong here, the next sweep finds it again.
            self.index.remove(&id);
            let Ok(Some(entry)) = self.spool.find_in(&id, &[Dir::Deferred]) else { continue };
            let State::Deferred { key, attempts, due_ms } = entry.state.clone() else { continue };
            match self.read(&entry) {
                Reading::Good(record, _) if self.keeps_back(&entry, &record, self.owner(&entry)) => {}
                Reading::Good(record, written_ns) => {
                    let session = record.session_key.clone().unwrap_or_default();
                    self.index.insert(id.clone(), Place::Sending);
                    if key.is_none() && attempts == 0 {
                        // Put off and never sent: what was put off together goes out together.
                        self.line_up(&entry, &record, &session, written_ns, now);
                        continue;
                    }
                    let deliver = self.deliver_alone(&session, &record);
                    self.lanes.due(&session, Again { id, key, attempts, due_ms, deliver }, now);
                }
                Reading::Gone => {}
                Reading::Trouble(why) => debug!("cannot read {id}: {why}"),
                Reading::Bad(why) => self.condemn(&entry, &format!("changed after it was published: {why}")),
                Reading::Later(why) => self.hold(&entry, &why),
            }
        }
    }

    /// Receipts whose rename failed.
    fn retire_again(&mut self) {
        for (entry, evidence) in std::mem::take(&mut self.unretired) {
            self.retire(entry, evidence, None);
        }
    }

    fn upkeep(&mut self) {
        let now = now_ms();
        let ages =
            [(Dir::Done, self.settings.retention), (Dir::Dismissed, self.settings.dismissed_retention)];
        for (dir, age) in ages {
            let old = self.spool.receipts_older(&[dir], now, age, MAX_PRUNE);
            if let Err(e) = old.and_then(|old| self.spool.prune(old, None)) {
                debug!("{e}");
            }
        }
        if let Err(e) = self.spool.sweep_reasons(now) {
            debug!("{e}");
        }
        if let Err(e) = self.spool.sweep_tmp(now) {
            debug!("{e}");
        }
        if let Err(e) =
            self.spool.sweep_runs(now).and_then(|_| self.spool.sweep_logs(now, self.settings.log_age))
        {
            debug!("{e}");
        }
        if let Err(e) = self.spool.prune_journal(now) {
            debug!("{e} (kept for {KEEP_DAYS} days)");
        }
    }
}
