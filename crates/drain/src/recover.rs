//! Taking up what lies in `sending/` and nobody looks after: all of it may have been sent.
//!
//! An agent that starts asks the gateway about it before it sends anything, and under the same key; a delivery whose
//! records were cut apart by a crash is put together again first. Recovery is no mode of its own: what is found goes
//! into the lanes like everything else, marked as doubtful.

use std::collections::BTreeMap;
use std::time::Instant;

use spool_gateway::receiver::Connector;
use spool_seeded::Bug;
use spooldir::name::Purpose;
use spooldir::{Dir, Entry, Error, Event, Id, Key};
use tracing::{info, warn};

use crate::agent::{Agent, Place};
use crate::entries::Reading;
use crate::flight::Unflushed;
use crate::lanes::Sealed;

impl<C> Agent<'_, C>
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
    pub(crate) fn sweep_sending(&mut self) -> Result<(), Error> {
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
}
