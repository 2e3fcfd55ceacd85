//! Anything that may happen to a spool, in any order, against a plain model of it.
//!
//! The model is the table of `spool-format.md` section 5.1 and the names of section 3, as strings: it shares no code
//! with the state machine ([`spooldir::entry::next`]) nor with what moves the files. After each act the directories must
//! hold exactly the names that the model says, with the bytes that were published, and the answer must be the model's.
//!
//! The seed is printed when it fails (`SPOOL_TEST_SEED=N` repeats it). A machine on which this takes more than a few
//! seconds tries fewer cases.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failure that should be seen")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use spooldir::moves::Why;
use spooldir::publish::Published;
use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Error, Event, Id, Key, Spool, State};

const EVENTS: [&str; 11] =
    ["take", "postpone", "rekey", "tell", "prove", "quiet", "fail", "condemn", "hold", "retry", "dismiss"];

/// What may follow: a row for each state, a column for each event, the directory that the entry is in then.
#[rustfmt::skip]
const TABLE: [(&str, [&str; 11]); 8] = [
    ("new",       ["sending", "deferred", "", "", "", "done", "", "dead", "hold", "", "dismissed"]),
    ("sending",   ["", "", "sending", "sending", "done", "", "deferred", "dead", "hold", "", ""]),
    ("telling",   ["", "", "sending", "", "done", "", "deferred", "dead", "", "", ""]),
    ("deferred",  ["sending", "", "", "", "", "done", "", "dead", "hold", "new", "dismissed"]),
    ("hold",      ["", "", "", "", "", "", "", "", "", "new", "dismissed"]),
    ("dead",      ["", "", "", "", "", "", "", "", "hold", "new", "dismissed"]),
    ("done",      ["", "", "", "", "", "", "", "", "", "", ""]),
    ("dismissed", ["", "", "", "", "", "", "", "", "", "new", ""]),
];

/// An entry, as the model knows it.
#[derive(Debug, Clone)]
struct Known {
    dir: &'static str,
    /// The key of its last delivery while the name says it: the base, whether it is told of, the epoch.
    key: Option<(String, bool, u32)>,
    attempts: u32,
    due: u64,
    bytes: Vec<u8>,
}

impl Known {
    fn row(&self) -> &'static str {
        if self.dir == "sending" && self.key.as_ref().is_some_and(|key| key.1) { "telling" } else { self.dir }
    }

    fn key(&self) -> String {
        self.key.as_ref().map_or_else(
            || "-".into(),
            |(base, is_told, epoch)| {
                let epoch = if *epoch > 1 { format!("~{epoch}") } else { String::new() };
                format!("{base}{}{epoch}", if *is_told { "~tell" } else { "" })
            },
        )
    }

    fn name(&self, id: &str) -> String {
        match self.dir {
            "sending" => format!("{id},{},{}.json", self.key(), self.attempts),
            "deferred" => format!("{id},{},{},{}.json", self.key(), self.attempts, self.due),
            _ => format!("{id}.json"),
        }
    }

    /// What it is after an event; `None` when that cannot happen to it.
    fn after(&self, act: &Happening, fresh_key: &str) -> Option<Known> {
        let (_, row) = TABLE.iter().find(|(state, _)| *state == self.row())?;
        let dir = row[act.event];
        if dir.is_empty() {
            return None;
        }
        let plain = Known { dir, key: None, attempts: 0, due: 0, bytes: self.bytes.clone() };
        Some(match EVENTS[act.event] {
            "take" => Known { key: Some((fresh_key.into(), false, 1)), attempts: self.attempts, ..plain },
            "postpone" => Known { due: act.due, ..plain },
            "rekey" => {
                let (base, is_told, epoch) = self.key.clone()?;
                Known { key: Some((base, is_told, epoch + 1)), attempts: self.attempts, ..plain }
            }
            "tell" => Known { key: Some((self.key.clone()?.0, true, 1)), ..plain },
            "fail" => Known {
                key: self.key.clone().filter(|_| act.alone),
                attempts: self.attempts + 1,
                due: act.due,
                ..plain
            },
            _ => plain,
        })
    }
}

#[derive(Debug, Clone)]
struct Happening {
    event: usize,
    due: u64,
    alone: bool,
}

#[derive(Debug, Clone)]
enum Act {
    /// A producer publishes a record under an id, or another one.
    Put {
        slot: usize,
        other: bool,
        fresh: bool,
    },
    Happen(usize, Happening),
    /// The same by somebody who believes that the entry is where it is not.
    Late(usize, usize, Happening),
    /// Receipts whose time is over go.
    Prune,
    Open,
}

/// After this time no more cases are tried.
const TIME: Duration = Duration::from_secs(5);

const SLOTS: [&str; 3] = ["job-1", "build:42", "a.b"];

fn happening() -> impl Strategy<Value = Happening> {
    let due = prop_oneof![Just(0), Just(u64::MAX), any::<u64>()];
    (0..EVENTS.len(), due, any::<bool>()).prop_map(|(event, due, alone)| Happening { event, due, alone })
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let slot = 0..SLOTS.len();
    let act = prop_oneof![
        6 => (slot.clone(), prop::bool::weighted(0.2), any::<bool>())
            .prop_map(|(slot, other, fresh)| Act::Put { slot, other, fresh }),
        24 => (slot.clone(), happening()).prop_map(|(slot, happening)| Act::Happen(slot, happening)),
        4 => (slot, 0..5_usize, happening()).prop_map(|(slot, at, happening)| Act::Late(slot, at, happening)),
        1 => Just(Act::Prune),
        1 => Just(Act::Open),
    ];
    prop::collection::vec(act, 1..60)
}

fn event(happening: &Happening, key: &Key) -> Event {
    match EVENTS[happening.event] {
        "take" => Event::Take { key: key.clone() },
        "postpone" => Event::Postpone { due_ms: happening.due },
        "rekey" => Event::Rekey,
        "tell" => Event::Tell,
        "prove" => Event::Prove,
        "quiet" => Event::Quiet,
        "fail" => Event::Fail { due_ms: happening.due, alone: happening.alone },
        "condemn" => Event::Condemn,
        "hold" => Event::Hold,
        "retry" => Event::Retry,
        _ => Event::Dismiss,
    }
}

/// Both: the directory, and what should be in it.
struct Bench {
    home: tempfile::TempDir,
    spool: Spool,
    known: BTreeMap<&'static str, Known>,
}

impl Bench {
    fn new() -> Bench {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        Bench { home, spool, known: BTreeMap::new() }
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Put { slot, other, fresh } => self.put(SLOTS[*slot], *other, *fresh),
            Act::Happen(slot, happening) => self.happen(SLOTS[*slot], happening),
            Act::Late(slot, at, happening) => {
                let state =
                    [State::Pending, State::Held, State::Dead, State::Done, State::Dismissed][*at].clone();
                let entry = Entry::new(Id::new(SLOTS[*slot]).unwrap(), state);
                if self.known.get(SLOTS[*slot]).is_none_or(|known| known.dir != entry.dir().name()) {
                    let done = self.spool.advance(&entry, &event(happening, &Key::mint()));
                    prop_assert!(matches!(done, Err(Error::Entry { .. })), "{:?}", done);
                }
                Ok(())
            }
            Act::Prune => {
                let later = now_ms() + 40 * 86_400_000;
                let week = Duration::from_secs(7 * 86_400);
                let old = self.spool.receipts_older(&[Dir::Done, Dir::Dismissed], later, week, 10).unwrap();
                let gone = self.spool.prune(old, None).unwrap().len();
                let before = self.known.len();
                self.known.retain(|_, known| !matches!(known.dir, "done" | "dismissed"));
                prop_assert_eq!(gone, before - self.known.len());
                // The reasons of those that have gone.
                self.spool.sweep_reasons(later).unwrap();
                Ok(())
            }
            Act::Open => {
                self.spool = Spool::open(self.home.path()).unwrap();
                Ok(())
            }
        }
    }

    fn put(&mut self, id: &'static str, other: bool, fresh: bool) -> Result<(), TestCaseError> {
        let text = if other { "another" } else { "a record" };
        let bytes = format!(r#"{{"id":"{id}","sessionKey":"s","text":"{text}"}}"#).into_bytes();
        // Only who has just minted an id may say that nobody else has it.
        let fresh = fresh && !self.known.contains_key(id);
        let done = self.spool.publish(&Id::new(id).unwrap(), &bytes, fresh);
        match self.known.get(id) {
            None => {
                prop_assert!(matches!(done, Ok(Published::New(_))), "{:?}", done);
                let known = Known { dir: "new", key: None, attempts: 0, due: 0, bytes };
                self.known.insert(id, known);
            }
            Some(known) if known.bytes == bytes => match done {
                Ok(Published::Before(state)) => prop_assert_eq!(state.dir().name(), known.dir),
                other => prop_assert!(false, "{:?}", other),
            },
            Some(_) => prop_assert!(matches!(done, Err(Error::Conflict { .. })), "{:?}", done),
        }
        Ok(())
    }

    fn happen(&mut self, id: &'static str, happening: &Happening) -> Result<(), TestCaseError> {
        let Some(known) = self.known.get(id) else {
            prop_assert_eq!(self.spool.find(&Id::new(id).unwrap()).unwrap(), None);
            return Ok(());
        };
        let entry = self.spool.find(&Id::new(id).unwrap()).unwrap().unwrap();
        let key = Key::mint();
        let event = event(happening, &key);
        let why = Why { reason: format!("because of {}", event.word()), ..Why::default() };
        let done = match event {
            Event::Condemn | Event::Hold | Event::Dismiss => self.spool.advance_why(&entry, &event, &why),
            Event::Retry => self.spool.release(&entry),
            _ => self.spool.advance(&entry, &event),
        };
        match (known.after(happening, &key.to_string()), done) {
            (None, Err(Error::Entry { .. })) => {}
            (Some(after), Ok(moved)) => {
                prop_assert_eq!((moved.dir().name(), moved.file_name()), (after.dir, after.name(id)));
                if moved.state.attempts() > 0 {
                    prop_assert_eq!(moved.state.attempts(), after.attempts);
                }
                let said = self.spool.why(&moved).map(|said| said.reason);
                prop_assert_eq!(said, has_reason(after.dir).then_some(why.reason));
                self.known.insert(id, after);
            }
            (after, done) => prop_assert!(false, "{} of {known:?}: {after:?}, {done:?}", event.word()),
        }
        Ok(())
    }

    /// The directories hold what the model says, and nothing else.
    fn check(&self) -> Result<(), TestCaseError> {
        for dir in [Dir::Tmp].into_iter().chain(Dir::STATES) {
            let mut expected = BTreeMap::new();
            for (id, known) in self.known.iter().filter(|(_, known)| known.dir == dir.name()) {
                expected.insert(known.name(id), Some(&known.bytes));
                if has_reason(known.dir) {
                    expected.insert(format!("{id}.why.json"), None);
                }
            }
            let there = names(&self.spool.dir(dir));
            prop_assert_eq!(&there, &expected.keys().cloned().collect::<Vec<_>>(), "in {}", dir.name());
            for (name, bytes) in expected {
                if let Some(bytes) = bytes {
                    prop_assert_eq!(&std::fs::read(self.spool.dir(dir).join(name)).unwrap(), bytes);
                }
            }
        }
        Ok(())
    }
}

fn has_reason(dir: &str) -> bool {
    matches!(dir, "hold" | "dead" | "dismissed")
}

fn names(dir: &Path) -> Vec<String> {
    let items = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = items.map(|i| i.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn whatever_happens_the_directories_are_those_of_the_model() {
    let seed: u64 = match std::env::var("SPOOL_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => now_ms(),
    };
    println!("SPOOL_TEST_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let started = Instant::now();
    let tried = Cell::new(0);
    let outcome = TestRunner::new_with_rng(config, rng).run(&acts(), |acts| {
        if tried.get() > 0 && started.elapsed() > TIME {
            return Ok(());
        }
        tried.set(tried.get() + 1);
        let mut bench = Bench::new();
        for act in &acts {
            bench.act(act)?;
            bench.check()?;
        }
        prop_assert!(bench.spool.audit().unwrap().doubled.is_empty());
        Ok(())
    });
    println!("{} cases", tried.get());
    if let Err(failure) = outcome {
        panic!("SPOOL_TEST_SEED={seed}: {failure}");
    }
}
