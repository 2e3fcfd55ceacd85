//! The lanes, as the directories tell of them: all that is not finished, by the session it is for.
//!
//! A name says in which state an entry is, its attempts and when it is due; the session, the label and how the task
//! ended stand in the record, which is opened for that. A record is never rewritten, so one that was read is
//! remembered by those who look again and again. Only so many of each state are opened: an overview of a hundred
//! thousand entries is of those that come first, and says how many it left out.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use spooldir::record::MAX_BYTES;
use spooldir::time::day_of;
use spooldir::{Dir, Entry, Id, Record, Spool, State};

use crate::Failure;
use crate::find::Inbox;
use crate::when;

/// How many records are remembered.
const MAX_REMEMBERED: usize = 8192;

/// What a record says of itself, as far as an overview shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gist {
    /// The session it is for.
    pub session: Option<String>,
    /// A short name.
    pub label: Option<String>,
    /// How the task ended.
    pub status: Option<&'static str>,
    /// When the producer wrote it.
    pub created_at: Option<u64>,
    /// Whether it could be read at all.
    pub is_good: bool,
}

/// Records that were read before.
pub type Memory = HashMap<Id, Gist>;

/// An entry of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it stands.
    pub entry: Entry,
    /// What it says.
    pub gist: Gist,
}

/// All that is not finished for one session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lane {
    /// The session; `None` for what names none, or cannot be read.
    pub session: Option<String>,
    /// Its entries: what is being sent, then what is deferred, pending, held, dead; by id.
    pub items: Vec<Item>,
    /// When its next try is, in milliseconds since 1970, if it has to wait.
    pub next_try: Option<u64>,
    /// Why it is in trouble, if that is known.
    pub reason: Option<String>,
    /// Whether the agent says that the session cannot be delivered to at present.
    pub is_slowed: bool,
}

/// The states of what is not finished, in the order in which they are shown.
pub const OPEN: [Dir; 5] = [Dir::Sending, Dir::Deferred, Dir::New, Dir::Hold, Dir::Dead];

impl Lane {
    /// How many of its entries are in a state.
    pub fn count(&self, dir: Dir) -> usize {
        self.items.iter().filter(|item| item.entry.dir() == dir).count()
    }

    /// Whether something went wrong with it: a try failed, or something of it waits for a person.
    pub fn is_in_trouble(&self) -> bool {
        let is_bad = |item: &Item| match &item.entry.state {
            State::Held | State::Dead => true,
            // What is only not due yet is well.
            state => state.attempts() > 0,
        };
        self.is_slowed || self.items.iter().any(is_bad)
    }

    /// The lane as `spool status --json` shows it.
    pub fn as_json(&self) -> Value {
        json!({
            "sessionKey": self.session,
            "pending": self.count(Dir::New),
            "sending": self.count(Dir::Sending),
            "deferred": self.count(Dir::Deferred),
            "held": self.count(Dir::Hold),
            "dead": self.count(Dir::Dead),
            "nextTry": self.next_try,
            "reason": self.reason,
        })
    }

    /// Its numbers in words: `3 pending, 1 dead`.
    pub fn in_words(&self) -> String {
        let numbers = OPEN.map(|dir| (self.count(dir), dir.state_word()));
        let told: Vec<String> =
            numbers.into_iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        told.join(", ")
    }

    fn rank(&self) -> usize {
        self.items.iter().filter_map(|item| rank(item.entry.dir())).min().unwrap_or(OPEN.len())
    }
}

/// What a reason says first, in a line of which the session is known: what to do, which is the same for all of its
/// kind, is said elsewhere.
pub fn gist_of_reason(reason: &str, session: Option<&str>) -> String {
    let said = reason.split("; spool ").next().unwrap_or(reason);
    match session.filter(|session| !session.is_empty()) {
        Some(session) => said.replace(&format!("no session {session}"), "no such session"),
        None => said.to_owned(),
    }
}

/// When the next try is, in words: `in 8 s`, or the day of one that is far off; `due` when it only waits for its turn, or
/// for the gateway.
pub fn next_in_words(at: u64, now_ms: u64) -> String {
    const FAR: u64 = 60 * 86_400_000;
    match at.saturating_sub(now_ms) {
        0 => "due".to_owned(),
        wait if wait > FAR => format!("on {}", day_of(at)),
        wait => format!("in {}", when::length(wait)),
    }
}

fn rank(dir: Dir) -> Option<usize> {
    OPEN.iter().position(|d| *d == dir)
}

/// The lanes of a spool.
#[derive(Debug, Default)]
pub struct Lanes {
    /// Those that something is being sent to first, and so on as in [`OPEN`]; then by session.
    pub lanes: Vec<Lane>,
    /// Entries that were not opened, because there are too many.
    pub unopened: u64,
}

impl Lanes {
    /// Reads them, opening at most `most` records of each state.
    ///
    /// # Errors
    /// When a directory cannot be listed.
    pub fn read(spool: &Spool, inbox: &Inbox, most: usize, memory: &mut Memory) -> Result<Lanes, Failure> {
        if memory.len() > MAX_REMEMBERED {
            memory.clear();
        }
        let mut by_session: BTreeMap<Option<String>, Lane> = BTreeMap::new();
        let mut unopened = 0;
        for dir in OPEN {
            let mut entries = Vec::new();
            if dir == Dir::New {
                entries.clone_from(&inbox.entries);
                unopened += inbox.nameless.len() as u64;
            } else {
                spool.each_entry(dir, |entry, _| entries.push(entry))?;
            }
            entries.sort_by(|a, b| a.id.cmp(&b.id));
            unopened += entries.len().saturating_sub(most) as u64;
            for entry in entries.into_iter().take(most) {
                let gist = match memory.get(&entry.id) {
                    // A dropped file may still grow, and gets another id.
                    Some(gist) if gist.is_good => gist.clone(),
                    _ => read(spool, &entry),
                };
                if gist.is_good {
                    memory.insert(entry.id.clone(), gist.clone());
                }
                let session = gist.session.clone();
                let lane = by_session.entry(session.clone()).or_default();
                lane.session = session;
                if let State::Deferred { due_ms, .. } = entry.state {
                    lane.next_try = Some(lane.next_try.map_or(due_ms, |at| at.min(due_ms)));
                }
                lane.items.push(Item { entry, gist });
            }
        }
        let mut lanes: Vec<Lane> = by_session.into_values().collect();
        lanes.sort_by_key(Lane::rank);
        Ok(Lanes { lanes, unopened })
    }

    /// How many of those that were opened name no session.
    pub fn unrouted(&self) -> u64 {
        let none = self.lanes.iter().filter(|lane| lane.session.is_none()).flat_map(|lane| &lane.items);
        let waits = |item: &&Item| matches!(item.entry.dir(), Dir::New | Dir::Hold) && item.gist.is_good;
        none.filter(waits).count() as u64
    }

    /// Takes in what the agent says of its lanes.
    pub fn slow(&mut self, session: &str, until: u64) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.session.as_deref() == Some(session)) {
            lane.is_slowed = true;
            lane.next_try = Some(until);
        }
    }

    /// Says of lanes in trouble what stands beside their held and dead entries; at most `most` files are read.
    pub fn explain(&mut self, spool: &Spool, most: usize) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_in_trouble()).take(most) {
            let stuck = lane.items.iter().rfind(|i| matches!(i.entry.state, State::Held | State::Dead));
            let why = stuck.and_then(|item| spool.why(&item.entry));
            lane.reason = why.map(|why| why.reason).filter(|reason| !reason.is_empty());
        }
    }
}

fn read(spool: &Spool, entry: &Entry) -> Gist {
    let content = spool.fs().read(&spool.path(entry), MAX_BYTES);
    let Some(record) = content.ok().and_then(|content| Record::parse(&content.bytes).ok()) else {
        return Gist::default();
    };
    Gist {
        session: record.session_key,
        label: record.label,
        status: Some(record.status.as_str()),
        created_at: record.created_at,
        is_good: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find;
    use spooldir::moves::Why;
    use spooldir::{Event, Key};

    #[test]
    fn a_line_says_no_more_than_it_has_to() {
        let why = "there is no session agent:x; spool retry ID --session KEY sends it to another one";
        assert_eq!(gist_of_reason(why, Some("agent:x")), "there is no such session");
        assert_eq!(gist_of_reason(why, None), "there is no session agent:x");
        assert_eq!(gist_of_reason("ask first; then go on", Some("agent:x")), "ask first; then go on");
        let now = 1_795_392_000_000;
        for (at, says) in [(now, "due"), (now + 8_000, "in 8 s"), (4_070_908_800_000, "on 2099-01-01")] {
            assert_eq!(next_in_words(at, now), says);
        }
    }

    fn put(spool: &Spool, id: &str, session: &str, events: &[Event]) {
        let record = json!({"sessionKey": session, "text": "x", "label": id});
        let id = Id::new(id).unwrap();
        spool.publish(&id, record.to_string().as_bytes(), false).unwrap();
        let mut entry = Entry::new(id, State::Pending);
        for event in events {
            let why = Why { reason: "no such session".into(), ..Why::default() };
            entry = spool.advance_why(&entry, event, &why).unwrap();
        }
    }

    #[test]
    fn lanes_are_by_session_and_the_live_ones_come_first() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let take = Event::Take { key: Key::mint() };
        put(&spool, "a-dead", "a", &[Event::Condemn]);
        put(&spool, "b-new", "b", &[]);
        put(&spool, "c-due", "c", &[take.clone(), Event::Fail { due_ms: 77, alone: true }]);
        put(&spool, "c-new", "c", &[]);
        put(&spool, "d-sent", "d", std::slice::from_ref(&take));
        put(&spool, "e-later", "e", &[Event::Postpone { due_ms: 99 }]);
        let mut memory = Memory::new();
        let mut lanes = Lanes::read(&spool, &find::inbox(&spool).unwrap(), 10, &mut memory).unwrap();
        let sessions: Vec<_> = lanes.lanes.iter().map(|l| l.session.clone().unwrap()).collect();
        assert_eq!(sessions, ["d", "c", "e", "b", "a"]);
        assert_eq!(lanes.lanes[1].in_words(), "1 deferred, 1 pending");
        assert_eq!(lanes.lanes[1].next_try, Some(77));
        lanes.slow("b", 5);
        lanes.explain(&spool, 10);
        let trouble: Vec<_> = lanes.lanes.iter().map(Lane::is_in_trouble).collect();
        assert_eq!(trouble, [false, true, false, true, true], "what is not due yet is well");
        assert_eq!(lanes.lanes[4].reason.as_deref(), Some("no such session"));
        assert_eq!((memory.len(), lanes.unopened, lanes.unrouted()), (6, 0, 0));
        put(&spool, "f-new", "b", &[]);
        let few = Lanes::read(&spool, &find::inbox(&spool).unwrap(), 1, &mut memory).unwrap();
        assert_eq!((few.unopened, few.lanes.len()), (3, 4));
    }
}
