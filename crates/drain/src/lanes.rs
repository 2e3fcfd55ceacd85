//! Lanes: who goes next.
//!
//! A lane is all that waits for one session. What is kept true:
//!
//! - first in, first out inside a lane; at most one delivery of a lane is in flight;
//! - lanes take turns; a lane in trouble waits by itself and delays no other;
//! - what was sealed under a key stays together under it; what failed alone goes alone;
//! - new records and those due again take turns, so that neither starves the other;
//! - records that arrive together go out together, after a short quiet time or at once when one is urgent.
//!
//! Only ids and a few words of each record are kept here; the records themselves are read when they are sent.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spooldir::record::{Deliver, Route};
use spooldir::{Id, Key, Record};

/// A record that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Who.
    pub id: Id,
    /// Only records of one kind share a delivery.
    pub kind: Kind,
    /// Whether it skips the quiet time.
    pub urgent: bool,
}

/// What records must have in common to share a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// How they are handed over.
    pub deliver: Deliver,
    /// Where the reply belongs.
    pub route: Option<Arc<Route>>,
}

impl Kind {
    /// The kind of a record.
    pub fn of(record: &Record) -> Kind {
        Kind { deliver: record.deliver, route: record.route.clone().map(Arc::new) }
    }
}

/// A record that failed before and is due again: it goes alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Who.
    pub id: Id,
    /// The key of its last delivery, if it had one to itself.
    pub key: Option<Key>,
    /// Attempts that failed.
    pub attempts: u32,
    /// When it was due.
    pub due_ms: u64,
}

/// Entries that share a key, whose fate is not known or that wait to be sent again under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key.
    pub key: Key,
    /// The entries, each with the attempts that failed before.
    pub entries: Vec<(Id, u32)>,
    /// Whether it may have been sent under this key.
    pub is_doubtful: bool,
}

/// What a lane sends next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Records that go out together for the first time.
    Fresh(Vec<Waiting>),
    /// A record that failed before.
    Again(Again),
    /// A delivery that has its key already.
    Sealed(Sealed),
}

/// Order inside a lane: when the bytes were written, then the id.
type Order = (i128, Id);

#[derive(Debug, Default)]
struct Lane {
    sealed: VecDeque<Sealed>,
    again: VecDeque<Again>,
    waiting: BTreeMap<Order, Waiting>,
    in_flight: bool,
    /// Not before: trouble of the lane's own.
    not_before: Option<Instant>,
    /// Troubles in a row.
    troubles: u32,
    /// The quiet time: since when something waits, and since when nothing has come.
    first: Option<Instant>,
    last: Option<Instant>,
    urgent: usize,
    /// Whether the last delivery was a record due again.
    was_again: bool,
    is_queued: bool,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.again.is_empty() && self.waiting.is_empty()
    }

    /// When it may send; `None` when it has nothing to send or has to wait for its own delivery.
    fn ready_at(&self, quiet: Quiet) -> Option<Instant> {
        if self.in_flight || self.is_empty() {
            return None;
        }
        let mut at = self.not_before;
        if self.sealed.is_empty()
            && self.again.is_empty()
            && self.urgent == 0
            && let (Some(first), Some(last)) = (self.first, self.last)
        {
            let calm = (last + quiet.time).min(first + quiet.most);
            at = Some(at.map_or(calm, |at| at.max(calm)));
        }
        at.or(self.first).or(self.last)
    }
}

/// The quiet time.
#[derive(Debug, Clone, Copy)]
pub struct Quiet {
    /// After the last arrival.
    pub time: Duration,
    /// After the first one, at most.
    pub most: Duration,
}

/// All lanes, and whose turn it is.
#[derive(Debug)]
pub struct Lanes {
    lanes: HashMap<Arc<str>, Lane>,
    /// Lanes that have something to send, in turn.
    turn: VecDeque<Arc<str>>,
    quiet: Quiet,
    waiting: usize,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(quiet: Quiet) -> Lanes {
        Lanes { lanes: HashMap::new(), turn: VecDeque::new(), quiet, waiting: 0 }
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// How many lanes are in trouble of their own.
    pub fn in_trouble(&self) -> usize {
        self.lanes.values().filter(|lane| lane.troubles > 0).count()
    }

    /// The lanes in trouble of their own and when each is tried next, at most so many, the soonest first.
    pub fn troubled(&self, most: usize) -> Vec<(Arc<str>, Instant)> {
        let waits = |(key, lane): (&Arc<str>, &Lane)| Some((key.clone(), lane.not_before?));
        let mut troubled: Vec<_> =
            self.lanes.iter().filter(|(_, lane)| lane.troubles > 0).filter_map(waits).collect();
        troubled.sort_by_key(|(_, at)| *at);
        troubled.truncate(most);
        troubled
    }

    fn lane(&mut self, session: &str, now: Instant) -> &mut Lane {
        let key = match self.lanes.get_key_value(session) {
            Some((key, _)) => key.clone(),
            None => Arc::from(session),
        };
        let lane = self.lanes.entry(key.clone()).or_default();
        if !lane.is_queued {
            lane.is_queued = true;
            self.turn.push_back(key);
        }
        lane.first.get_or_insert(now);
        lane.last = Some(now);
        lane
    }

    /// A record arrived.
    pub fn arrive(&mut self, session: &str, written_ns: i128, record: Waiting, now: Instant) {
        let lane = self.lane(session, now);
        let urgent = usize::from(record.urgent);
        if lane.waiting.insert((written_ns, record.id.clone()), record).is_none() {
            lane.urgent += urgent;
            self.waiting += 1;
        }
    }

    /// A record is due again.
    pub fn due(&mut self, session: &str, again: Again, now: Instant) {
        self.lane(session, now).again.push_back(again);
        self.waiting += 1;
    }

    /// A delivery goes on under the key it has.
    pub fn resume(&mut self, session: &str, sealed: Sealed, now: Instant) {
        self.waiting += sealed.entries.len();
        // What was sent first is settled first.
        self.lane(session, now).sealed.push_back(sealed);
    }

    /// Takes a waiting record away, wherever its lane is (it was superseded).
    pub fn withdraw(&mut self, session: &str, id: &Id) -> bool {
        let Some(lane) = self.lanes.get_mut(session) else { return false };
        let Some(order) = lane.waiting.iter().find(|(_, w)| w.id == *id).map(|(o, _)| o.clone()) else {
            return false;
        };
        if let Some(gone) = lane.waiting.remove(&order) {
            lane.urgent -= usize::from(gone.urgent);
            self.waiting -= 1;
        }
        true
    }

    /// The next lane that may send now, and what: at most `most` records at once. The lane is in flight until
    /// [`Lanes::landed`].
    pub fn next(&mut self, now: Instant, most: usize) -> Option<(Arc<str>, Next)> {
        for _ in 0..self.turn.len() {
            let session = self.turn.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&session) else { continue };
            if lane.is_empty() || lane.in_flight {
                lane.is_queued = false;
                self.forget_if_idle(&session);
                continue;
            }
            let is_ready = lane.ready_at(self.quiet).is_none_or(|at| at <= now);
            if !is_ready {
                self.turn.push_back(session);
                continue;
            }
            let next = take(lane, most);
            lane.in_flight = true;
            lane.is_queued = false;
            self.waiting -= match &next {
                Next::Fresh(records) => records.len(),
                Next::Again(_) => 1,
                Next::Sealed(sealed) => sealed.entries.len(),
            };
            return Some((session, next));
        }
        None
    }

    /// The lane's delivery has landed, well or not.
    pub fn landed(&mut self, session: &Arc<str>) {
        if let Some(lane) = self.lanes.get_mut(session) {
            lane.in_flight = false;
            if !lane.is_empty() && !lane.is_queued {
                lane.is_queued = true;
                self.turn.push_back(session.clone());
            }
        }
        self.forget_if_idle(session);
    }

    /// The lane has to wait. Returns how often in a row now.
    pub fn trouble(&mut self, session: &Arc<str>, until: impl FnOnce(u32) -> Instant) {
        let lane = self.lanes.entry(session.clone()).or_default();
        lane.troubles = lane.troubles.saturating_add(1);
        lane.not_before = Some(until(lane.troubles));
    }

    /// The lane is well again.
    pub fn well(&mut self, session: &Arc<str>) {
        if let Some(lane) = self.lanes.get_mut(session) {
            lane.troubles = 0;
            lane.not_before = None;
        }
    }

    /// When the next lane may send, if any waits.
    pub fn next_ready(&self) -> Option<Instant> {
        self.turn.iter().filter_map(|s| self.lanes.get(s)?.ready_at(self.quiet)).min()
    }

    fn forget_if_idle(&mut self, session: &Arc<str>) {
        let is_idle = self.lanes.get(session).is_some_and(|l| l.is_empty() && !l.in_flight);
        if is_idle {
            self.lanes.remove(session);
        }
    }
}

fn take(lane: &mut Lane, most: usize) -> Next {
    if let Some(sealed) = lane.sealed.pop_front() {
        return Next::Sealed(sealed);
    }
    if !lane.again.is_empty() && (lane.waiting.is_empty() || !lane.was_again) {
        lane.was_again = true;
        if let Some(again) = lane.again.pop_front() {
            return Next::Again(again);
        }
    }
    lane.was_again = false;
    let mut records: Vec<Waiting> = Vec::new();
    while records.len() < most.max(1)
        && let Some(first) = lane.waiting.first_entry()
        && records.first().is_none_or(|r| r.kind == first.get().kind)
    {
        let record = first.remove();
        lane.urgent -= usize::from(record.urgent);
        records.push(record);
    }
    if lane.waiting.is_empty() {
        (lane.first, lane.last) = (None, None);
    }
    Next::Fresh(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Quiet = Quiet { time: Duration::from_millis(100), most: Duration::from_millis(500) };

    fn waiting(id: &str) -> Waiting {
        let kind = Kind { deliver: Deliver::Turn, route: None };
        Waiting { id: Id::new(id).unwrap(), kind, urgent: false }
    }

    fn ids(next: &Next) -> Vec<String> {
        match next {
            Next::Fresh(records) => records.iter().map(|r| r.id.to_string()).collect(),
            Next::Again(again) => vec![again.id.to_string()],
            Next::Sealed(sealed) => sealed.entries.iter().map(|(id, _)| id.to_string()).collect(),
        }
    }

    fn after(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    fn again(id: &str) -> Again {
        Again { id: Id::new(id).unwrap(), key: None, attempts: 1, due_ms: 0 }
    }

    #[test]
    fn what_arrives_together_goes_out_together_in_order_after_the_quiet_time() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        lanes.arrive("s", 2, waiting("b"), now);
        lanes.arrive("s", 1, waiting("a"), after(now, 50));
        assert_eq!(lanes.next(after(now, 100), 10), None);
        assert_eq!(lanes.next_ready(), Some(after(now, 150)));
        let (session, next) = lanes.next(after(now, 150), 10).unwrap();
        assert_eq!((&*session, ids(&next)), ("s", vec!["a".into(), "b".into()]));
        assert!(lanes.is_empty());
    }

    #[test]
    fn steady_company_does_not_hold_a_record_up_for_ever_and_an_urgent_one_waits_for_nobody() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        for n in 0..10 {
            lanes.arrive("s", n, waiting(&format!("r{n}")), after(now, 60 * n as u64));
        }
        assert!(lanes.next(after(now, 500), 10).is_some());
        lanes.arrive("t", 1, Waiting { urgent: true, ..waiting("u") }, now);
        assert!(lanes.next(now, 10).is_some());
    }

    #[test]
    fn one_delivery_of_a_lane_is_in_flight_and_lanes_take_turns() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        for n in 0..4 {
            for s in ["s", "t"] {
                lanes.arrive(s, n, waiting(&format!("{s}{n}")), now);
            }
        }
        let later = after(now, 1000);
        let mut order = Vec::new();
        while let Some((session, next)) = lanes.next(later, 1) {
            assert_ne!(
                lanes.next(later, 1).map(|(s, _)| {
                    lanes.landed(&s);
                    s
                }),
                Some(session.clone())
            );
            order.extend(ids(&next));
            lanes.landed(&session);
        }
        assert_eq!(order.first().unwrap(), "s0");
        assert!(lanes.is_empty());
    }

    #[test]
    fn a_lane_in_trouble_delays_no_other() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        lanes.arrive("s", 1, waiting("a"), now);
        lanes.arrive("t", 1, waiting("b"), now);
        let s: Arc<str> = Arc::from("s");
        lanes.trouble(&s, |n| after(now, 1000 * u64::from(n)));
        let (session, _) = lanes.next(after(now, 100), 10).unwrap();
        assert_eq!(&*session, "t");
        assert_eq!(lanes.next(after(now, 999), 10), None);
        assert_eq!(lanes.in_trouble(), 1);
        assert_eq!(lanes.troubled(5).len(), 1);
        assert!(lanes.troubled(0).is_empty());
        assert_eq!(&*lanes.next(after(now, 1000), 10).unwrap().0, "s");
        lanes.well(&s);
        assert_eq!(lanes.in_trouble(), 0);
    }

    #[test]
    fn a_sealed_delivery_goes_first_and_whole() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        lanes.arrive("s", 1, waiting("c"), now);
        let entries = vec![(Id::new("a").unwrap(), 0), (Id::new("b").unwrap(), 2)];
        let sealed = Sealed { key: Key::mint(), entries, is_doubtful: true };
        lanes.resume("s", sealed.clone(), now);
        let (session, next) = lanes.next(now, 1).unwrap();
        assert_eq!(next, Next::Sealed(sealed));
        assert_eq!(lanes.next(after(now, 1000), 1), None, "one in flight");
        lanes.landed(&session);
        assert_eq!(ids(&lanes.next(after(now, 1000), 1).unwrap().1), ["c"]);
    }

    #[test]
    fn new_records_and_those_due_again_take_turns() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        for n in 0..2 {
            lanes.arrive("s", n, waiting(&format!("n{n}")), now);
            lanes.due("s", again(&format!("a{n}")), now);
        }
        let mut order = Vec::new();
        while let Some((session, next)) = lanes.next(after(now, 1000), 1) {
            order.extend(ids(&next));
            lanes.landed(&session);
        }
        assert_eq!(order, ["a0", "n0", "a1", "n1"]);
    }

    #[test]
    fn only_records_of_one_kind_share_a_delivery_and_order_is_kept() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        let kinds = [Deliver::Turn, Deliver::Turn, Deliver::Message, Deliver::Turn];
        for (n, deliver) in kinds.into_iter().enumerate() {
            let kind = Kind { deliver, route: None };
            lanes.arrive("s", n as i128, Waiting { kind, ..waiting(&format!("r{n}")) }, now);
        }
        let mut groups = Vec::new();
        while let Some((session, next)) = lanes.next(after(now, 1000), 10) {
            groups.push(ids(&next).len());
            lanes.landed(&session);
        }
        assert_eq!(groups, [2, 1, 1]);
    }

    #[test]
    fn a_withdrawn_record_is_gone_and_counts_no_more() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        lanes.arrive("s", 1, Waiting { urgent: true, ..waiting("a") }, now);
        assert!(lanes.withdraw("s", &Id::new("a").unwrap()));
        assert!(!lanes.withdraw("s", &Id::new("a").unwrap()));
        assert!(lanes.is_empty());
        assert_eq!(lanes.next(after(now, 1000), 10), None);
    }
}
