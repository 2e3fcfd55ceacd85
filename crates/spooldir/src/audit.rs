//! The audit: that every record ever accepted is still accounted for (`spool-format.md` section 10).
//!
//! `accepted = pending + sending + deferred + held + dead + done + dismissed + pruned`, where dismissed includes what
//! expired or was superseded. What was accepted is known from the journal and from the directories; what is nowhere,
//! and was not pruned, is lost, and what is in two states at once is said too. A journal that was lost or torn can
//! only make the audit know less, never invent a loss.

use std::collections::{BTreeMap, HashMap};

use spool_seeded::Bug;

use crate::entry::Entry;
use crate::error::Error;
use crate::layout::{Dir, Spool};

/// After how many lines and entries it is told how far an audit is.
const TELL_EVERY: u64 = 1024;

/// What the audit found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    /// Ids ever accepted, as far as is known.
    pub accepted: u64,
    /// How many entries each state has, by its word.
    pub states: BTreeMap<&'static str, u64>,
    /// Receipts whose retention was over.
    pub pruned: u64,
    /// Accepted, and nowhere.
    pub lost: Vec<String>,
    /// In more than one state, with the states.
    pub doubled: Vec<(String, Vec<&'static str>)>,
    /// Lines of the journal that could not be read.
    pub torn: u64,
}

impl Audit {
    /// Whether the equation holds.
    pub fn holds(&self) -> bool {
        self.lost.is_empty()
            && self.doubled.is_empty()
            && self.accepted == self.states.values().sum::<u64>() + self.pruned
    }
}

#[derive(Default)]
struct Account {
    places: Vec<&'static str>,
    was_pruned: bool,
}

impl Spool {
    /// Audits the spool.
    ///
    /// An entry that moves while the audit reads may be met twice or not at all; such ids are looked for once more at
    /// the end, so that a running agent is no cause for alarm.
    ///
    /// # Errors
    /// [`Error::Io`] when something cannot be read.
    pub fn audit(&self) -> Result<Audit, Error> {
        self.audit_telling(&mut |_| {})
    }

    /// The same, telling now and then how many lines and entries were read so far.
    ///
    /// # Errors
    /// As [`Spool::audit`].
    pub fn audit_telling(&self, tell: &mut dyn FnMut(u64)) -> Result<Audit, Error> {
        let mut seen = 0;
        let mut count = || {
            seen += 1;
            if seen % TELL_EVERY == 0 {
                tell(seen);
            }
        };
        let mut accounts: HashMap<String, Account> = HashMap::new();
        let torn = self.each_line(|line| {
            count();
            if line.id.is_empty() || line.event == "duplicate" {
                return;
            }
            let account = accounts.entry(line.id).or_default();
            match line.event.as_str() {
                "prune" => account.was_pruned = true,
                // An id may be used again once its receipt is gone.
                "accept" => account.was_pruned = false,
                _ => {}
            }
        })?;
        for dir in Dir::STATES {
            self.each_entry(dir, |entry, _| {
                count();
                accounts.entry(entry.id.to_string()).or_default().places.push(dir.state_word());
            })?;
        }
        let mut audit = Audit { torn, ..Audit::default() };
        for dir in Dir::STATES {
            audit.states.insert(dir.state_word(), 0);
        }
        for (id, account) in accounts {
            audit.accepted += 1;
            let places = match account.places.len() {
                1 => account.places,
                0 if account.was_pruned => {
                    audit.pruned += 1;
                    continue;
                }
                _ => self.places_now(&id)?,
            };
            match places.as_slice() {
                [] if spool_seeded::is(Bug::AuditBlind) => *audit.states.entry("done").or_default() += 1,
                [] => audit.lost.push(id),
                [place] => *audit.states.entry(*place).or_default() += 1,
                _ => audit.doubled.push((id, places)),
            }
        }
        audit.lost.sort();
        audit.doubled.sort();
        Ok(audit)
    }

    /// In which states an id is at this moment; looks again when it seems to be on the move.
    fn places_now(&self, id: &str) -> Result<Vec<&'static str>, Error> {
        let mut places = Vec::new();
        for _pass in 0..3 {
            places.clear();
            for dir in Dir::STATES {
                let mut see = |entry: Entry, _: &str| {
                    if entry.id.as_str() == id {
                        places.push(dir.state_word());
                    }
                };
                self.each_entry(dir, &mut see)?;
            }
            if places.len() == 1 {
                break;
            }
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Line;
    use crate::{Event, Id, State};

    fn put(spool: &Spool, id: &str) -> Entry {
        let id = Id::new(id).unwrap();
        spool.publish(&id, br#"{"text":"x"}"#, false).unwrap();
        let entry = Entry::new(id, State::Pending);
        spool.note(&[Line::about("accept", &entry)]).unwrap();
        entry
    }

    #[test]
    fn the_equation_holds_over_every_state() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let done = put(&spool, "a");
        put(&spool, "b");
        spool.advance(&put(&spool, "c"), &Event::Condemn).unwrap();
        let done = spool.advance(&done, &Event::Quiet).unwrap();
        let pruned = spool.advance(&put(&spool, "d"), &Event::Dismiss).unwrap();
        std::fs::remove_file(spool.path(&pruned)).unwrap();
        spool.note(&[Line::about("prune", &pruned)]).unwrap();
        let audit = spool.audit().unwrap();
        assert!(audit.holds(), "{audit:?}");
        assert_eq!((audit.accepted, audit.pruned, audit.states["dead"], audit.states["done"]), (4, 1, 1, 1));
        drop(done);
    }

    #[test]
    fn what_is_nowhere_or_twice_is_named() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let lost = put(&spool, "lost");
        std::fs::remove_file(spool.path(&lost)).unwrap();
        let twice = put(&spool, "twice");
        std::fs::copy(spool.path(&twice), spool.dir(Dir::Done).join("twice.json")).unwrap();
        let audit = spool.audit().unwrap();
        assert!(!audit.holds());
        assert_eq!(audit.lost, ["lost"]);
        assert_eq!(audit.doubled, [("twice".to_owned(), vec!["pending", "done"])]);
    }
}
