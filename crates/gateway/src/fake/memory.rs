//! What a gateway forgets when it dies: idempotency keys, the ends of runs, queues, who is connected.
//!
//! Pure data with the time passed in. The rules it keeps, all measured: a key is remembered for five minutes
//! and among the thousand newest (running ones are never pruned); the end of a run is known for ten minutes;
//! queued events live here and nowhere else.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::conn::Conn;
use super::options::Options;

/// How a request under an idempotency key stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    /// It is being worked on.
    InFlight,
    /// It ended with this answer.
    Done(Result<Value, Value>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub at: Duration,
    pub session: String,
    pub text: String,
    pub seen: Seen,
}

/// The table of idempotency keys, each with the method's prefix (`agent:K`).
#[derive(Debug, Default)]
pub(super) struct Dedupe {
    entries: HashMap<String, Entry>,
    order: VecDeque<String>,
}

impl Dedupe {
    pub(super) fn get(&mut self, key: &str, now: Duration, options: &Options) -> Option<Entry> {
        let entry = self.entries.get(key)?;
        if entry.seen != Seen::InFlight && now.saturating_sub(entry.at) >= options.dedupe_ttl {
            self.forget(key);
            return None;
        }
        Some(entry.clone())
    }

    pub(super) fn start(&mut self, key: &str, session: &str, text: &str, now: Duration, options: &Options) {
        self.forget(key);
        let entry = Entry { at: now, session: session.into(), text: text.into(), seen: Seen::InFlight };
        self.entries.insert(key.to_owned(), entry);
        self.order.push_back(key.to_owned());
        self.prune(options);
    }

    pub(super) fn finish(
        &mut self,
        key: &str,
        answer: Result<Value, Value>,
        now: Duration,
        options: &Options,
    ) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.at = now;
            entry.seen = Seen::Done(answer);
        }
        self.prune(options);
    }

    pub(super) fn forget(&mut self, key: &str) {
        if self.entries.remove(key).is_some() {
            self.order.retain(|k| k != key);
        }
    }

    fn prune(&mut self, options: &Options) {
        while self.entries.len() > options.dedupe_max {
            let ended = |k: &String| self.entries.get(k).is_none_or(|e| e.seen != Seen::InFlight);
            let Some(at) = self.order.iter().position(ended) else { return };
            if let Some(key) = self.order.remove(at) {
                self.entries.remove(&key);
            }
        }
    }
}

/// The ends of runs, for `agent.wait`.
#[derive(Debug, Default)]
pub(super) struct Ends {
    entries: HashMap<String, (Duration, Value)>,
    order: VecDeque<String>,
}

impl Ends {
    pub(super) fn put(&mut self, run_id: &str, end: Value, now: Duration, options: &Options) {
        if self.entries.insert(run_id.to_owned(), (now, end)).is_none() {
            self.order.push_back(run_id.to_owned());
        }
        while self.order.len() > options.wait_max {
            if let Some(oldest) = self.order.pop_front() {
                self.entries.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, run_id: &str, now: Duration, options: &Options) -> Option<Value> {
        let (at, end) = self.entries.get(run_id)?;
        (now.saturating_sub(*at) < options.wait_ttl).then(|| end.clone())
    }
}

/// Everything volatile.
#[derive(Debug)]
pub(super) struct Memory {
    pub boot_id: String,
    pub dedupe: Dedupe,
    pub ends: Ends,
    /// Runs that were accepted and have not ended: run to session.
    pub running: BTreeMap<String, String>,
    /// Follow-ups of `chat.send` that wait behind a turn, oldest first.
    pub followups: HashMap<String, VecDeque<String>>,
    /// Follow-ups folded away, to be summarised.
    pub overflow: HashMap<String, u32>,
    /// Queued system events per session.
    pub wakes: BTreeMap<String, VecDeque<String>>,
    pub conns: BTreeMap<u64, Conn>,
    /// Session to the connections that hear of its rows.
    pub subscribers: HashMap<String, BTreeSet<u64>>,
    lanes: HashMap<String, Arc<Semaphore>>,
    pub global_lane: Arc<Semaphore>,
}

impl Memory {
    pub(super) fn new(options: &Options) -> Self {
        Memory {
            boot_id: Uuid::now_v7().to_string(),
            dedupe: Dedupe::default(),
            ends: Ends::default(),
            running: BTreeMap::new(),
            followups: HashMap::new(),
            overflow: HashMap::new(),
            wakes: BTreeMap::new(),
            conns: BTreeMap::new(),
            subscribers: HashMap::new(),
            lanes: HashMap::new(),
            global_lane: Arc::new(Semaphore::new(options.global_lane.max(1))),
        }
    }

    /// One turn at a time in a session, first come, first served.
    pub(super) fn lane(&mut self, session: &str) -> Arc<Semaphore> {
        Arc::clone(self.lanes.entry(session.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }

    /// A system event: at most twenty per session, a repeat of the last one is dropped.
    pub(super) fn wake(&mut self, session: &str, text: &str) {
        let queue = self.wakes.entry(session.to_owned()).or_default();
        if queue.back().is_some_and(|last| last == text) {
            return;
        }
        queue.push_back(text.to_owned());
        if queue.len() > 20 {
            queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_key_is_remembered_five_minutes() {
        let options = Options::default();
        let mut dedupe = Dedupe::default();
        dedupe.start("agent:k", "s", "t", Duration::ZERO, &options);
        let late = Duration::from_secs(10_000);
        assert!(dedupe.get("agent:k", late, &options).is_some(), "a running one is kept");
        dedupe.finish("agent:k", Ok(json!(1)), late, &options);
        assert!(dedupe.get("agent:k", late + Duration::from_secs(299), &options).is_some());
        assert!(dedupe.get("agent:k", late + Duration::from_secs(300), &options).is_none());
    }

    #[test]
    fn the_oldest_of_more_than_a_thousand_is_forgotten_unless_it_runs() {
        let options = Options::default();
        let mut dedupe = Dedupe::default();
        let now = Duration::ZERO;
        dedupe.start("runs", "s", "t", now, &options);
        for i in 0..1000 {
            let key = format!("k{i}");
            dedupe.start(&key, "s", "t", now, &options);
            dedupe.finish(&key, Ok(json!(i)), now, &options);
        }
        assert!(dedupe.get("runs", now, &options).is_some());
        assert!(dedupe.get("k0", now, &options).is_none());
        assert!(dedupe.get("k1", now, &options).is_some());
        assert_eq!(dedupe.entries.len(), 1000);
        assert_eq!(dedupe.order.len(), 1000);
    }

    #[test]
    fn ends_are_known_ten_minutes() {
        let options = Options { wait_max: 2, ..Options::default() };
        let mut ends = Ends::default();
        ends.put("a", json!("ok"), Duration::ZERO, &options);
        assert!(ends.get("a", Duration::from_secs(599), &options).is_some());
        assert!(ends.get("a", Duration::from_secs(600), &options).is_none());
        ends.put("b", json!("ok"), Duration::ZERO, &options);
        ends.put("c", json!("ok"), Duration::ZERO, &options);
        assert!(ends.get("a", Duration::ZERO, &options).is_none(), "only so many");
    }

    #[test]
    fn wakes_are_capped_and_repeats_dropped() {
        let mut memory = Memory::new(&Options::default());
        for i in 0..30 {
            memory.wake("s", &format!("e{i}"));
            memory.wake("s", &format!("e{i}"));
        }
        assert_eq!(memory.wakes["s"].len(), 20);
    }
}
