//! The state machine of an entry (`spool-format.md` section 5): pure, and the same for running and for recovery.
//!
//! [`next`] says which state follows from which event, and refuses everything else. What a state is on disk (which
//! directory, which name) follows from the state alone: [`Entry::dir`] and [`Entry::file_name`]. The wall clock
//! decides nothing here; due times are data.

use std::fmt;

use crate::layout::Dir;
use crate::name::{DeferredName, Id, Key, Purpose, SUFFIX, SendingName};

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum State {
    /// Published, not yet taken.
    Pending,
    /// May have reached the gateway under `key`.
    Sending {
        /// The delivery it is part of.
        key: Key,
        /// Attempts that failed before.
        attempts: u32,
    },
    /// Waits until it is due.
    Deferred {
        /// The key of its last delivery, if it had one to itself.
        key: Option<Key>,
        /// Attempts that failed.
        attempts: u32,
        /// When it is due, in milliseconds since 1970-01-01 UTC.
        due_ms: u64,
    },
    /// Waits for a person.
    Held,
    /// Will not be tried again unless a person says so.
    Dead,
    /// Delivered.
    Done,
    /// Put aside, by a person, by its own `expiresAt`, or because a later record supersedes it.
    Dismissed,
}

impl State {
    /// The word for it, in `--json` and messages.
    pub fn word(&self) -> &'static str {
        self.dir().state_word()
    }

    /// The directory that is this state.
    pub fn dir(&self) -> Dir {
        match self {
            State::Pending => Dir::New,
            State::Sending { .. } => Dir::Sending,
            State::Deferred { .. } => Dir::Deferred,
            State::Held => Dir::Hold,
            State::Dead => Dir::Dead,
            State::Done => Dir::Done,
            State::Dismissed => Dir::Dismissed,
        }
    }

    /// Attempts that failed, as far as the state remembers them.
    pub fn attempts(&self) -> u32 {
        match self {
            State::Sending { attempts, .. } | State::Deferred { attempts, .. } => *attempts,
            _ => 0,
        }
    }

    /// The delivery key, as far as the state remembers it.
    pub fn key(&self) -> Option<&Key> {
        match self {
            State::Sending { key, .. } => Some(key),
            State::Deferred { key, .. } => key.as_ref(),
            _ => None,
        }
    }
}

/// What happens to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The agent makes it part of the delivery `key`, before the first byte is sent.
    Take {
        /// The delivery's key.
        key: Key,
    },
    /// The record asks not to be delivered before a time.
    Postpone {
        /// When it is due.
        due_ms: u64,
    },
    /// The gateway has burnt the key, and nothing was committed: the next epoch.
    Rekey,
    /// The delivery is committed but nobody was told: from now on only the telling is left to do.
    Tell,
    /// Delivered, on evidence.
    Prove,
    /// The record asks that nobody be told.
    Quiet,
    /// An attempt failed for a reason of the record's own, and nothing was committed.
    Fail {
        /// When to try again.
        due_ms: u64,
        /// Whether the record was alone in its delivery. Its next attempt then uses the next epoch of the key, so that
        /// a probe asks for the earlier ones too; a record that shared its key starts afresh, alone.
        alone: bool,
    },
    /// The entry will never be delivered as it is.
    Condemn,
    /// A person has to decide.
    Hold,
    /// A person says: try (again).
    Retry,
    /// A person, a later record or the record's own `expiresAt` says: never mind.
    Dismiss,
}

impl Event {
    /// The word for it, in the journal and in messages.
    pub fn word(&self) -> &'static str {
        match self {
            Event::Take { .. } => "take",
            Event::Postpone { .. } => "postpone",
            Event::Rekey => "rekey",
            Event::Tell => "tell",
            Event::Prove => "prove",
            Event::Quiet => "quiet",
            Event::Fail { .. } => "fail",
            Event::Condemn => "condemn",
            Event::Hold => "hold",
            Event::Retry => "retry",
            Event::Dismiss => "dismiss",
        }
    }
}

/// An event that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Illegal {
    /// The state's word.
    pub state: &'static str,
    /// The event's word.
    pub event: &'static str,
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, self.event) {
            ("sending", "retry" | "hold" | "dismiss") => {
                f.write_str("it is being sent and may already have arrived; wait for the verdict")
            }
            (state, event) => write!(f, "it is {state}, which does not allow {event}"),
        }
    }
}

impl std::error::Error for Illegal {}

/// The state that follows.
///
/// # Errors
/// [`Illegal`] when the event cannot happen to an entry in this state.
pub fn next(state: &State, event: &Event) -> Result<State, Illegal> {
    use State as S;
    let to = match (state, event) {
        (S::Pending, Event::Take { key }) => S::Sending { key: key.clone(), attempts: 0 },
        (S::Deferred { attempts, .. }, Event::Take { key }) => {
            S::Sending { key: key.clone(), attempts: *attempts }
        }
        (S::Pending, Event::Postpone { due_ms }) => S::Deferred { key: None, attempts: 0, due_ms: *due_ms },
        (S::Sending { key, attempts }, Event::Rekey) => {
            S::Sending { key: key.next_epoch(), attempts: *attempts }
        }
        (S::Sending { key, .. }, Event::Tell) if key.purpose() == Purpose::Deliver => {
            S::Sending { key: key.tell(), attempts: 0 }
        }
        (S::Sending { .. }, Event::Prove) => S::Done,
        (S::Pending | S::Deferred { .. }, Event::Quiet) => S::Done,
        (S::Sending { key, attempts }, Event::Fail { due_ms, alone }) => S::Deferred {
            key: alone.then(|| key.clone()),
            attempts: attempts.saturating_add(1),
            due_ms: *due_ms,
        },
        (S::Pending | S::Sending { .. } | S::Deferred { .. }, Event::Condemn) => S::Dead,
        (S::Sending { key, .. }, Event::Hold) if key.purpose() == Purpose::Deliver => S::Held,
        (S::Pending | S::Deferred { .. } | S::Dead, Event::Hold) => S::Held,
        (S::Deferred { .. } | S::Held | S::Dead | S::Dismissed, Event::Retry) => S::Pending,
        (S::Pending | S::Deferred { .. } | S::Held | S::Dead, Event::Dismiss) => S::Dismissed,
        _ => {
            return Err(Illegal { state: state.word(), event: event.word() });
        }
    };
    Ok(to)
}

/// An entry: an id in a state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Who.
    pub id: Id,
    /// Where it stands.
    pub state: State,
}

impl Entry {
    /// An entry in a state.
    pub fn new(id: Id, state: State) -> Entry {
        Entry { id, state }
    }

    /// The directory its file is in.
    pub fn dir(&self) -> Dir {
        self.state.dir()
    }

    /// The name of its file.
    pub fn file_name(&self) -> String {
        let id = self.id.clone();
        match &self.state {
            State::Sending { key, attempts } => {
                SendingName { id, key: key.clone(), attempts: *attempts }.to_string()
            }
            State::Deferred { key, attempts, due_ms } => {
                DeferredName { id, key: key.clone(), attempts: *attempts, due_ms: *due_ms }.to_string()
            }
            _ => format!("{id}{SUFFIX}"),
        }
    }

    /// Reads an entry from the name of a file in a state directory; `None` for a foreign name. In `new/` a name is an
    /// entry only after intake has confirmed the id; see [`crate::intake`].
    pub fn from_name(dir: Dir, name: &str) -> Option<Entry> {
        let state = match dir {
            Dir::Sending => {
                let n = SendingName::parse(name)?;
                return Some(Entry::new(n.id, State::Sending { key: n.key, attempts: n.attempts }));
            }
            Dir::Deferred => {
                let n = DeferredName::parse(name)?;
                let state = State::Deferred { key: n.key, attempts: n.attempts, due_ms: n.due_ms };
                return Some(Entry::new(n.id, state));
            }
            Dir::New => State::Pending,
            Dir::Hold => State::Held,
            Dir::Dead => State::Dead,
            Dir::Done => State::Done,
            Dir::Dismissed => State::Dismissed,
            _ => return None,
        };
        Some(Entry::new(crate::name::plain_id(name)?, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn states() -> Vec<State> {
        let key = Key::mint();
        vec![
            State::Pending,
            State::Sending { key: key.clone(), attempts: 2 },
            State::Sending { key: key.tell(), attempts: 0 },
            State::Deferred { key: Some(key.clone()), attempts: 3, due_ms: 7 },
            State::Deferred { key: None, attempts: 0, due_ms: 7 },
            State::Held,
            State::Dead,
            State::Done,
            State::Dismissed,
        ]
    }

    fn events() -> Vec<Event> {
        let key = Key::mint();
        vec![
            Event::Take { key },
            Event::Postpone { due_ms: 9 },
            Event::Rekey,
            Event::Tell,
            Event::Prove,
            Event::Quiet,
            Event::Fail { due_ms: 9, alone: true },
            Event::Condemn,
            Event::Hold,
            Event::Retry,
            Event::Dismiss,
        ]
    }

    /// The table of spool-format.md section 5, event by event: the states that allow it.
    #[test]
    fn the_table_of_the_format_is_the_code() {
        let expected = "\
            take: pending deferred deferred\n\
            postpone: pending\n\
            rekey: sending sending\n\
            tell: sending\n\
            prove: sending sending\n\
            quiet: pending deferred deferred\n\
            fail: sending sending\n\
            condemn: pending sending sending deferred deferred\n\
            hold: pending sending deferred deferred dead\n\
            retry: deferred deferred held dead dismissed\n\
            dismiss: pending deferred deferred held dead\n";
        let mut table = String::new();
        for event in events() {
            table.push_str(event.word());
            table.push(':');
            for state in states() {
                if next(&state, &event).is_ok() {
                    table.push(' ');
                    table.push_str(state.word());
                }
            }
            table.push('\n');
        }
        assert_eq!(table, expected);
    }

    #[test]
    fn done_is_final() {
        assert!(events().iter().all(|event| next(&State::Done, event).is_err()));
    }

    #[test]
    fn what_may_have_been_sent_never_gets_a_fresh_key() {
        let key = Key::mint();
        let sending = State::Sending { key: key.clone(), attempts: 1 };
        assert!(next(&sending, &Event::Take { key: Key::mint() }).is_err());
        let rekeyed = next(&sending, &Event::Rekey).unwrap();
        assert_eq!(rekeyed.key(), Some(&key.next_epoch()));
        let told = next(&rekeyed, &Event::Tell).unwrap();
        assert_eq!(told.key(), Some(&key.tell()));
    }

    #[test]
    fn a_shared_key_is_not_inherited() {
        let key = Key::mint();
        let sending = State::Sending { key: key.clone(), attempts: 0 };
        let after = |alone| next(&sending, &Event::Fail { due_ms: 1, alone }).unwrap();
        assert_eq!(after(true).key(), Some(&key));
        assert_eq!(after(false).key(), None);
    }

    #[test]
    fn only_a_failure_counts_an_attempt() {
        let sending = State::Sending { key: Key::mint(), attempts: 4 };
        assert_eq!(next(&sending, &Event::Fail { due_ms: 1, alone: true }).unwrap().attempts(), 5);
        assert_eq!(next(&sending, &Event::Rekey).unwrap().attempts(), 4);
    }

    proptest! {
        #[test]
        fn any_walk_stays_readable_on_disk(walk in proptest::collection::vec(0usize..11, 0..40)) {
            let mut entry = Entry::new(Id::mint(), State::Pending);
            for step in walk {
                if let Ok(state) = next(&entry.state, &events()[step]) {
                    entry.state = state;
                }
                let back = Entry::from_name(entry.dir(), &entry.file_name());
                prop_assert_eq!(back.as_ref(), Some(&entry));
            }
        }
    }
}
