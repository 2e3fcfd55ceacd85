//! Finding: what lies in the directories becomes what waits in the lanes.
//!
//! A sweep lists names only; files are opened a few at a time, so that a huge backlog neither fills the memory nor
//! stops the loop. What one file is or does never stops another. Discovery knows no times: a file moved in with an old
//! date is found like any other.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use spool_gateway::receiver::Connector;
use spool_seeded::Bug;
use spooldir::intake::{Intake, Taken, is_candidate};
use spooldir::journal::{KEEP_DAYS, Line};
use spooldir::moves::Why;
use spooldir::name::{Purpose, SUFFIX};
use spooldir::record::{Flaw, MAX_BYTES};
use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Error, Event, Id, Key, Record, State};
use tracing::{debug, info, warn};

use crate::agent::{Agent, Place};
use crate::flight::Unflushed;
use crate::found::{Found, Lowest};
use crate::lanes::{Again, Sealed};

/// Files opened in one turn of the loop.
const AT_ONCE: usize = 256;
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

/// An entry's record, read and judged again.
pub(crate) enum Reading {
    /// As it should be.
    Good(Box<Record>, i128),
    /// The file is gone: somebody moved it.
    Gone,
    /// It cannot be read now; why.
    Trouble(String),
    /// It is no record any more; why.
    Bad(String),
    /// It is of a later version: an agent that could read it brought it here, and was replaced by this older one. Why.
    Later(String),
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
    /// Takes up what an earlier agent left in `sending/` and `deferred/`.
    pub(crate) fn recover(&mut self) -> Result<(), Error> {
        self.sweep_sending()?;
        self.sweep_deferred()?;
        let old = self.lanes.len();
        if old > 0 {
            info!("{old} entries were being sent when the last agent ended; asking the gateway about them");
        }
        Ok(())
    }

    /// Takes up what lies in `sending/` and nobody looks after: at the start all of it, later what a failing disk left
    /// there. All of it may have been sent.
    fn sweep_sending(&mut self) -> Result<(), Error> {
        if spool_seeded::is(Bug::ForgetSending) {
            return Ok(());
        }
        let mut groups: BTreeMap<String, (Key, Vec<Entry>)> = BTreeMap::new();
        self.spool.each_entry(Dir::Sending, |entry, _| {
            if self.index.get(&entry.id) != Some(&Place::Sending)
                && let Some(key) = entry.state.key().cloned()
            {
                groups.entry(key.to_string()).or_insert_with(|| (key, Vec::new())).1.push(entry);
            }
        })?;
        if !groups.is_empty() && !spool_seeded::is(Bug::RecoverUnflushed) {
            // Whoever moved them there may have died before the flush; it is made up for before anything is sent.
            self.unflushed = Unflushed::all();
        }
        if !spool_seeded::is(Bug::HalfMoved) {
            self.finish_changes(&mut groups);
        }
        for (key, entries) in groups.into_values() {
            self.recover_delivery(key, entries);
        }
        Ok(())
    }

    /// Finishes changes of key that were cut in half. Of the records of one delivery some have the new key already:
    /// then the old one was proved to be burnt (or its turn to be untold) for all of them, and under the new one nothing
    /// was sent, for that waits for all names and their flush. Apart, the gateway would take the second part for a
    /// repetition of the first.
    fn finish_changes(&mut self, groups: &mut BTreeMap<String, (Key, Vec<Entry>)>) {
        let keys: Vec<Key> = groups.values().map(|(key, _)| key.clone()).collect();
        for old in &keys {
            let furthest =
                keys.iter().filter(|key| key.follows(old)).reduce(|a, b| if b.follows(a) { b } else { a });
            let Some(new) = furthest else { continue };
            let Some((_, behind)) = groups.remove(&old.to_string()) else { continue };
            let moved: Vec<Option<Entry>> =
                behind.into_iter().map(|entry| self.catch_up(entry, new)).collect();
            if moved.contains(&None) {
                // They wait for each other; the next sweep tries again.
                groups.remove(&new.to_string());
            } else if let Some((_, group)) = groups.get_mut(&new.to_string()) {
                group.extend(moved.into_iter().flatten());
            }
        }
    }

    /// Moves an entry on until it has a later key of its delivery.
    fn catch_up(&mut self, mut entry: Entry, key: &Key) -> Option<Entry> {
        while entry.state.key() != Some(key) {
            let own = entry.state.key()?;
            let event = if own.purpose() == key.purpose() { Event::Rekey } else { Event::Tell };
            if !key.follows(own) {
                return None;
            }
            entry = self.advance(&entry, &event, None)?;
        }
        Some(entry)
    }

    fn recover_delivery(&mut self, key: Key, entries: Vec<Entry>) {
        if spool_seeded::is(Bug::RecoverAsNew) {
            for entry in entries {
                self.advance(&entry, &Event::Fail { due_ms: 0, alone: false }, None);
            }
            return;
        }
        let mut readable = Vec::new();
        for entry in entries {
            match self.read(&entry) {
                Reading::Good(record, written_ns) => readable.push((written_ns, entry, record)),
                Reading::Gone => {}
                // One key is one delivery: its records wait for each other.
                Reading::Trouble(why) => {
                    warn!("cannot read {}: {why}; {key} waits in sending/", entry.id);
                    return;
                }
                Reading::Bad(why) => {
                    let why = format!("changed after it was published ({why}); {key} may have delivered it");
                    self.condemn(&entry, &why);
                }
                // Committed already, all that is left is to tell; that waits for a program that can.
                Reading::Later(why) if key.purpose() == Purpose::Tell => {
                    warn!("cannot read {}: {why}; {key} waits in sending/", entry.id);
                    return;
                }
                Reading::Later(why) => self.hold(&entry, &format!("{why}; {key} may have delivered it")),
            }
        }
        // The order it was sent in, so that the text is the same.
        readable.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
        let session =
            readable.first().and_then(|(_, _, record)| record.session_key.clone()).unwrap_or_default();
        // No agent writes that. The gateway knows one delivery under a key, and would take the second one for the first.
        if readable.iter().any(|(_, _, record)| record.session_key.as_ref() != Some(&session)) {
            let why = format!("records of two sessions stood under one key; {key} may have delivered it");
            readable.iter().for_each(|(_, entry, _)| self.hold(entry, &why));
            return;
        }
        let mut members: Vec<(Id, u32)> = Vec::with_capacity(readable.len());
        for (_, entry, _) in readable {
            self.index.insert(entry.id.clone(), Place::Sending);
            members.push((entry.id, entry.state.attempts()));
        }
        if !members.is_empty() {
            self.lanes.resume(&session, Sealed { key, entries: members, is_doubtful: true }, Instant::now());
        }
    }

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
    /// sent: a record that is taken in much too early is read a second time, and what is ready waits for the disk.
    fn bite(&self) -> usize {
        let idle = self.lanes.count().saturating_sub(self.started.len() + self.lanes.in_trouble());
        let enough = self.breaker.window() * 2;
        if enough > 0 && idle >= enough { (self.boarded + 32).min(AT_ONCE) } else { AT_ONCE }
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
    fn sweep_deferred(&mut self) -> Result<(), Error> {
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

    /// As [`Agent::read`], without reading a file again that is known and as it was.
    pub(crate) fn read_or_recall(&mut self, entry: &Entry) -> Reading {
        if let Some((seen, record)) = self.kept.take(&entry.id)
            && entry.state == State::Pending
            && matches!(self.spool.fs().stat(&self.spool.path(entry)), Ok(Some(now)) if now == seen)
        {
            return Reading::Good(record, seen.mtime_ns);
        }
        self.read(entry)
    }

    /// Reads the record of an entry.
    pub(crate) fn read(&self, entry: &Entry) -> Reading {
        let path = self.spool.path(entry);
        let content = match self.spool.fs().read(&path, MAX_BYTES) {
            Err(spooldir::fs::Unfit::Linked(_)) if self.spool.mend(&entry.id).unwrap_or(false) => {
                self.spool.fs().read(&path, MAX_BYTES)
            }
            other => other,
        };
        match content {
            Ok(content) => match Record::parse(&content.bytes) {
                Ok(record) if record.session_key.is_none() => Reading::Bad("it names no session".into()),
                Ok(record) => Reading::Good(Box::new(record), content.meta.mtime_ns),
                Err(flaw @ Flaw::Version(_)) => Reading::Later(flaw.to_string()),
                Err(flaw) => Reading::Bad(flaw.to_string()),
            },
            Err(e) if e.is_gone() => Reading::Gone,
            Err(spooldir::fs::Unfit::Io(e)) => Reading::Trouble(e.to_string()),
            Err(e) => Reading::Bad(e.to_string()),
        }
    }

    pub(crate) fn condemn(&mut self, entry: &Entry, reason: &str) {
        self.index.remove(&entry.id);
        if self.advance(entry, &Event::Condemn, Some(reason)).is_some() {
            self.summary.dead += 1;
        }
    }

    /// A person has to decide.
    pub(crate) fn hold(&mut self, entry: &Entry, reason: &str) {
        self.index.remove(&entry.id);
        if self.advance(entry, &Event::Hold, Some(reason)).is_some() {
            self.summary.held += 1;
        }
    }

    /// Moves an entry, writes down that it did, and says so. `None` when it could not be moved: it is where it was, or
    /// where a person put it.
    pub(crate) fn advance(&mut self, entry: &Entry, event: &Event, reason: Option<&str>) -> Option<Entry> {
        let moved = match reason {
            Some(reason) => {
                let why = Why {
                    reason: reason.into(),
                    at: now_ms(),
                    attempts: entry.state.attempts(),
                    key: entry.state.key().map(ToString::to_string),
                    dropped_as: None,
                };
                self.spool.advance_why(entry, event, &why)
            }
            None => self.spool.advance(entry, event),
        };
        match moved {
            Ok(moved) => {
                if matches!(moved.state, State::Held | State::Dead | State::Dismissed) {
                    self.desk.has_moved();
                }
                let line = Line::moved(event, &moved);
                let line = reason.map_or_else(|| line.clone(), |r| line.clone().because(r));
                info!(id = %moved.id, verdict = moved.state.word(), "{}: {}{}", event.word(), moved.state.word(), reason.map(|r| format!(": {r}")).unwrap_or_default());
                self.lines.push(line);
                Some(moved)
            }
            Err(e) => {
                warn!("{e}");
                None
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
