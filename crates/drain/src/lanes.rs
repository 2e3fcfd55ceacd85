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

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use spooldir::record::{Deliver, Route};
use spooldir::{Entry, Id, Key, Record, State};

pub use self::windows::Quiet;
use self::windows::{Window, Windows};

mod windows;

/// A record that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Who.
    pub id: Id,
    /// Only records of one kind share a delivery.
    pub kind: Kind,
    /// Whether it skips the quiet time.
    pub urgent: bool,
    /// Whether policy, and not the record, says how it is handed over.
    pub by_policy: bool,
    /// When it was due, if it was put off into `deferred/` and lies there, in milliseconds since 1970-01-01 UTC.
    pub due_ms: Option<u64>,
}

impl Waiting {
    /// The entry, where it lies.
    pub fn entry(self) -> Entry {
        let state = match self.due_ms {
            None => State::Pending,
            Some(due_ms) => State::Deferred { key: None, attempts: 0, due_ms },
        };
        Entry::new(self.id, state)
    }
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
    /// How it is handed over by policy, if not as it says itself.
    pub deliver: Option<Deliver>,
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

/// Order inside a lane: when the bytes were written (nanoseconds since 1970, up to the year 2262), then the id.
type Order = (i64, Id);

/// What waits in a lane, in its order. Most lanes hold a few records, and there may be very many lanes: a short list
/// takes no more room than what is in it. A long one is a tree, so that any order of arrival costs the same.
#[derive(Debug)]
enum Queue {
    Few(Vec<(i64, Waiting)>),
    Many(BTreeMap<Order, Waiting>),
}

/// How long a list may be.
const FEW: usize = 64;

impl Default for Queue {
    fn default() -> Queue {
        Queue::Few(Vec::new())
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        match self {
            Queue::Few(list) => list.is_empty(),
            Queue::Many(tree) => tree.is_empty(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Queue::Few(list) => list.len(),
            Queue::Many(tree) => tree.len(),
        }
    }

    /// Where in the list it is, or belongs.
    fn place(list: &[(i64, Waiting)], written_ns: i64, id: &Id) -> Result<usize, usize> {
        list.binary_search_by(|(ns, waiting)| (*ns, &waiting.id).cmp(&(written_ns, id)))
    }

    /// Whether it is new here.
    fn insert(&mut self, written_ns: i64, record: Waiting) -> bool {
        if let Queue::Few(list) = self
            && list.len() >= FEW
        {
            let tree = list.drain(..).map(|(ns, waiting)| ((ns, waiting.id.clone()), waiting)).collect();
            *self = Queue::Many(tree);
        }
        match self {
            Queue::Few(list) => match Queue::place(list, written_ns, &record.id) {
                Ok(_) => false,
                Err(at) => {
                    if list.is_empty() {
                        list.reserve_exact(1);
                    }
                    list.insert(at, (written_ns, record));
                    true
                }
            },
            Queue::Many(tree) => tree.insert((written_ns, record.id.clone()), record).is_none(),
        }
    }

    fn remove(&mut self, written_ns: i64, id: &Id) -> Option<Waiting> {
        match self {
            Queue::Few(list) => {
                let at = Queue::place(list, written_ns, id).ok()?;
                Some(list.remove(at).1)
            }
            Queue::Many(tree) => tree.remove(&(written_ns, id.clone())),
        }
    }

    /// Takes the first one, if it is wanted.
    fn pop_if(&mut self, is_wanted: impl FnOnce(&Waiting) -> bool) -> Option<Waiting> {
        match self {
            Queue::Few(list) => {
                list.first().is_some_and(|(_, first)| is_wanted(first)).then(|| list.remove(0).1)
            }
            Queue::Many(tree) => {
                let first = tree.first_entry()?;
                is_wanted(first.get()).then(|| first.remove())
            }
        }
    }
}

/// Where a lane stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stand {
    /// It has nothing to send, or its delivery is in flight.
    #[default]
    Aside,
    /// In turn.
    Turn,
    /// Waiting for this moment.
    Until(Instant),
}

#[derive(Debug, Default)]
struct Lane {
    sealed: VecDeque<Sealed>,
    again: VecDeque<Again>,
    waiting: Queue,
    in_flight: bool,
    /// Not before: trouble of the lane's own.
    not_before: Option<Instant>,
    /// Troubles in a row.
    troubles: u32,
    /// The quiet time: since when something waits, and since when nothing has come.
    first: Option<Instant>,
    last: Option<Instant>,
    urgent: u32,
    /// Whether the last delivery was a record due again.
    was_again: bool,
    stand: Stand,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.again.is_empty() && self.waiting.is_empty()
    }

    /// When it may send; `None` when it has nothing to send or has to wait for its own delivery.
    fn ready_at(&self, window: Window) -> Option<Instant> {
        if self.in_flight || self.is_empty() {
            return None;
        }
        let mut at = self.not_before;
        if self.sealed.is_empty()
            && self.again.is_empty()
            && self.urgent == 0
            && let (Some(first), Some(last)) = (self.first, self.last)
        {
            let calm = window.over_at(first, last, self.waiting.len());
            at = Some(at.map_or(calm, |at| at.max(calm)));
        }
        at.or(self.first).or(self.last)
    }

    fn hear_of(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
    }
}

/// All lanes, and whose turn it is. A lane that may not send yet costs nothing until it may, however many there are.
#[derive(Debug)]
pub struct Lanes {
    /// In boxes: a table keeps places free, and a free place should cost eight bytes and not two hundred.
    lanes: HashMap<Arc<str>, Box<Lane>>,
    /// Lanes that may send, in turn.
    turn: VecDeque<Arc<str>>,
    /// Lanes that may send later, by when that is at the earliest.
    later: BTreeSet<(Instant, Arc<str>)>,
    windows: Windows,
    waiting: usize,
    in_trouble: usize,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(quiet: Quiet) -> Lanes {
        let (lanes, turn, later) = (HashMap::new(), VecDeque::new(), BTreeSet::new());
        Lanes { lanes, turn, later, windows: Windows::new(quiet), waiting: 0, in_trouble: 0 }
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
        self.in_trouble
    }

    /// The lanes in trouble of their own and when each is tried next, at most so many, the soonest first.
    pub fn troubled(&self, most: usize) -> Vec<(Arc<str>, Instant)> {
        let troubled = self.lanes.iter().filter(|(_, lane)| lane.troubles > 0);
        let mut troubled: Vec<_> =
            troubled.filter_map(|(key, lane)| Some((key.clone(), lane.not_before?))).collect();
        troubled.sort_by_key(|(_, at)| *at);
        troubled.truncate(most);
        troubled
    }

    /// How many lanes there are, those in flight included.
    pub fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Changes a lane, and lets it stand where it belongs then. Returns its name.
    fn change(&mut self, session: &str, change: impl FnOnce(&mut Lane)) -> Arc<str> {
        let key = match self.lanes.get_key_value(session) {
            Some((key, _)) => key.clone(),
            None => Arc::from(session),
        };
        let lane = self.lanes.entry(key.clone()).or_default();
        change(lane);
        let ready = lane.ready_at(self.windows.of(session));
        match (lane.stand, ready) {
            // Looked at when its turn comes.
            (Stand::Turn, _) => {}
            // One that has to wait longer now is looked at again then.
            (Stand::Until(at), Some(ready)) if at <= ready => {}
            (stand, ready) => {
                if let Stand::Until(at) = stand {
                    self.later.remove(&(at, key.clone()));
                }
                lane.stand = ready.map_or(Stand::Aside, Stand::Until);
                self.later.extend(ready.map(|at| (at, key.clone())));
            }
        }
        key
    }

    /// A record arrived. Returns the name of its lane, which is kept once for all that wait in it.
    pub fn arrive(&mut self, session: &str, written_ns: i64, record: Waiting, now: Instant) -> Arc<str> {
        let mut is_new = false;
        let urgent = u32::from(record.urgent);
        let key = self.change(session, |lane| {
            lane.hear_of(now);
            is_new = lane.waiting.insert(written_ns, record);
            lane.urgent += if is_new { urgent } else { 0 };
        });
        self.waiting += usize::from(is_new);
        key
    }

    /// Gives a lane a quiet time of its own.
    pub fn set_window(&mut self, session: &str, quiet: Quiet) {
        let key =
            self.lanes.get_key_value(session).map_or_else(|| Arc::from(session), |(key, _)| key.clone());
        self.windows.set(&key, quiet);
    }

    /// Other quiet times for all lanes: `beneath`, and what `of` says of each that has something waiting.
    pub fn set_windows(&mut self, beneath: Quiet, of: impl Fn(&str) -> Quiet) {
        self.windows.set_beneath(beneath);
        let all: Vec<Arc<str>> = self.lanes.keys().cloned().collect();
        for session in &all {
            self.windows.set(session, of(session));
            self.change(session, |_| {});
        }
    }

    /// The next delivery of this session waits for company until then, but an urgent one, and one of `full` records.
    pub fn pause(&mut self, session: &Arc<str>, until: Instant, full: usize) {
        self.windows.pause(session, until, full);
    }

    /// Forgets the pauses that are over by then, or all of them.
    pub fn end_pauses(&mut self, now: Option<Instant>) {
        self.windows.end_pauses(now);
    }

    /// A record is due again.
    pub fn due(&mut self, session: &str, again: Again, now: Instant) {
        self.waiting += 1;
        self.change(session, |lane| {
            lane.hear_of(now);
            lane.again.push_back(again);
        });
    }

    /// A delivery goes on under the key it has.
    pub fn resume(&mut self, session: &str, sealed: Sealed, now: Instant) {
        self.waiting += sealed.entries.len();
        self.change(session, |lane| {
            lane.hear_of(now);
            // What was sent first is settled first.
            lane.sealed.push_back(sealed);
        });
    }

    /// Takes a waiting record away, wherever in its lane it is (it was superseded).
    pub fn withdraw(&mut self, session: &Arc<str>, written_ns: i64, id: &Id) -> bool {
        if !self.lanes.contains_key(session) {
            return false;
        }
        let mut is_gone = false;
        self.change(session, |lane| {
            if let Some(gone) = lane.waiting.remove(written_ns, id) {
                lane.urgent -= u32::from(gone.urgent);
                is_gone = true;
            }
        });
        self.waiting -= usize::from(is_gone);
        is_gone
    }

    /// The next lane that may send now, and what: at most `most` records at once. The lane is in flight until
    /// [`Lanes::landed`].
    pub fn next(&mut self, now: Instant, most: usize) -> Option<(Arc<str>, Next)> {
        while self.later.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, session)) = self.later.pop_first()
        {
            if let Some(lane) = self.lanes.get_mut(&session) {
                lane.stand = Stand::Turn;
                self.turn.push_back(session);
            }
        }
        while let Some(session) = self.turn.pop_front() {
            let Some(lane) = self.lanes.get_mut(&session) else { continue };
            lane.stand = Stand::Aside;
            match lane.ready_at(self.windows.of(&session)) {
                None => self.forget_if_idle(&session),
                Some(at) if at > now => {
                    lane.stand = Stand::Until(at);
                    self.later.insert((at, session));
                }
                Some(_) => {
                    let next = take(lane, most);
                    lane.in_flight = true;
                    self.waiting -= match &next {
                        Next::Fresh(records) => records.len(),
                        Next::Again(_) => 1,
                        Next::Sealed(sealed) => sealed.entries.len(),
                    };
                    return Some((session, next));
                }
            }
        }
        None
    }

    /// The lane's delivery has landed, well or not.
    pub fn landed(&mut self, session: &Arc<str>) {
        if self.lanes.contains_key(session) {
            self.change(session, |lane| lane.in_flight = false);
        }
        self.forget_if_idle(session);
    }

    /// The lane has to wait. Returns how often in a row now.
    pub fn trouble(&mut self, session: &Arc<str>, until: impl FnOnce(u32) -> Instant) {
        let mut is_first = false;
        self.change(session, |lane| {
            is_first = lane.troubles == 0;
            lane.troubles = lane.troubles.saturating_add(1);
            lane.not_before = Some(until(lane.troubles));
        });
        self.in_trouble += usize::from(is_first);
    }

    /// The lane is well again.
    pub fn well(&mut self, session: &Arc<str>) {
        if let Some(lane) = self.lanes.get(session)
            && (lane.troubles > 0 || lane.not_before.is_some())
        {
            self.in_trouble -= usize::from(lane.troubles > 0);
            self.change(session, |lane| (lane.troubles, lane.not_before) = (0, None));
        }
    }

    /// When the next lane may send at the earliest, if any waits.
    pub fn next_ready(&self) -> Option<Instant> {
        // One that is in turn was ready when it came there.
        let in_turn = self.turn.iter().find_map(|s| self.lanes.get(s)?.ready_at(self.windows.of(s)));
        let later = self.later.first().map(|(at, _)| *at);
        in_turn.into_iter().chain(later).min()
    }

    fn forget_if_idle(&mut self, session: &Arc<str>) {
        let is_idle = |lane: &Lane| lane.is_empty() && !lane.in_flight && lane.stand == Stand::Aside;
        if self.lanes.get(session).is_some_and(|lane| is_idle(lane))
            && let Some(lane) = self.lanes.remove(session)
        {
            self.in_trouble -= usize::from(lane.troubles > 0);
            self.windows.forget(session);
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
    let fits = |records: &[Waiting], next: &Waiting| records.first().is_none_or(|r| r.kind == next.kind);
    while records.len() < most.max(1)
        && let Some(record) = lane.waiting.pop_if(|next| fits(&records, next))
    {
        lane.urgent -= u32::from(record.urgent);
        records.push(record);
    }
    if lane.waiting.is_empty() {
        // What comes next has a quiet time of its own. What is due again has none, and is ready since it was heard of.
        lane.first = None;
        lane.last = lane.last.filter(|_| !lane.again.is_empty());
    }
    Next::Fresh(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const QUIET: Quiet = Quiet { time: Duration::from_millis(100), most: Duration::from_millis(500) };

    fn waiting(id: &str) -> Waiting {
        let kind = Kind { deliver: Deliver::Turn, route: None };
        Waiting { id: Id::new(id).unwrap(), kind, urgent: false, by_policy: false, due_ms: None }
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
        Again { id: Id::new(id).unwrap(), key: None, attempts: 1, due_ms: 0, deliver: None }
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
    fn a_lane_beyond_its_budget_waits_unless_it_is_urgent_or_full() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        let s: Arc<str> = Arc::from("s");
        lanes.pause(&s, after(now, 5000), 3);
        lanes.arrive("s", 1, waiting("a"), now);
        lanes.arrive("t", 1, waiting("x"), now);
        assert_eq!(&*lanes.next(after(now, 600), 3).unwrap().0, "t", "no other lane waits for it");
        assert_eq!(lanes.next_ready(), Some(after(now, 5000)));
        lanes.arrive("s", 2, waiting("b"), after(now, 700));
        assert_eq!(lanes.next(after(now, 1500), 3), None);
        lanes.arrive("s", 3, waiting("c"), after(now, 1500));
        assert_eq!(ids(&lanes.next(after(now, 2000), 3).unwrap().1), ["a", "b", "c"], "a full delivery");
        lanes.landed(&s);
        lanes.arrive("s", 4, waiting("d"), after(now, 2100));
        assert_eq!(lanes.next(after(now, 3000), 3), None, "an idle lane keeps its pause");
        lanes.arrive("s", 5, Waiting { urgent: true, ..waiting("e") }, after(now, 3100));
        assert_eq!(ids(&lanes.next(after(now, 3100), 3).unwrap().1), ["d", "e"]);
        lanes.landed(&s);
        lanes.end_pauses(Some(after(now, 5000)));
        lanes.arrive("s", 6, waiting("f"), after(now, 5000));
        assert_eq!(lanes.next_ready(), Some(after(now, 5100)));
    }

    #[test]
    fn a_lane_may_have_a_window_of_its_own_and_new_ones_hold_for_what_waits() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        let long = Quiet { time: Duration::from_secs(9), most: Duration::from_secs(9) };
        lanes.set_window("s", long);
        lanes.arrive("s", 1, waiting("a"), now);
        lanes.arrive("t", 1, waiting("b"), now);
        assert_eq!(&*lanes.next(after(now, 100), 10).unwrap().0, "t");
        assert_eq!(lanes.next_ready(), Some(after(now, 9000)));
        lanes.set_windows(QUIET, |_| QUIET);
        assert_eq!(&*lanes.next(after(now, 100), 10).unwrap().0, "s");
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
    fn what_is_due_again_goes_after_the_last_new_record_as_well() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        lanes.due("s", again("a0"), now);
        lanes.due("s", again("a1"), now);
        let mut order = Vec::new();
        while let Some((session, next)) = lanes.next(after(now, 1000), 10) {
            if order.is_empty() {
                lanes.arrive("s", 1, waiting("n0"), now);
            }
            order.extend(ids(&next));
            lanes.well(&session);
            lanes.landed(&session);
        }
        assert_eq!(order, ["a0", "n0", "a1"]);
        assert_eq!((lanes.len(), lanes.count()), (0, 0));
    }

    /// Whatever came in whatever order: a lane that has something to send has a time at which it may.
    #[test]
    fn nothing_stays_in_a_lane_for_ever() {
        for seed in 1..500_u64 {
            let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut below = |n: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % n
            };
            let mut lanes = Lanes::new(QUIET);
            let (mut now, mut flying) = (Instant::now(), Vec::new());
            for n in 0..30 {
                now += Duration::from_millis(below(200));
                let (name, session) = (format!("r{n}"), ["s", "t"][usize::from(below(2) == 0)]);
                match below(6) {
                    0 | 1 => drop(lanes.arrive(session, below(3) as i64, waiting(&name), now)),
                    2 => lanes.due(session, again(&name), now),
                    3 => {
                        let entries = vec![(Id::new(name.as_str()).unwrap(), 0)];
                        lanes.resume(session, Sealed { key: Key::mint(), entries, is_doubtful: true }, now);
                    }
                    4 => flying.extend(lanes.next(now, 2).map(|(session, _)| session)),
                    _ => {
                        let Some(session) = flying.pop() else { continue };
                        match below(2) {
                            0 => lanes.well(&session),
                            _ => lanes.trouble(&session, |_| now + Duration::from_secs(1)),
                        }
                        lanes.landed(&session);
                    }
                }
            }
            flying.iter().for_each(|session| lanes.landed(session));
            while let Some(at) = lanes.next_ready() {
                now = now.max(at);
                if let Some((session, _)) = lanes.next(now, 2) {
                    lanes.well(&session);
                    lanes.landed(&session);
                }
            }
            assert_eq!((lanes.len(), lanes.count()), (0, 0), "seed {seed}");
        }
    }

    #[test]
    fn only_records_of_one_kind_share_a_delivery_and_order_is_kept() {
        let mut lanes = Lanes::new(QUIET);
        let now = Instant::now();
        let kinds = [Deliver::Turn, Deliver::Turn, Deliver::Message, Deliver::Turn];
        for (n, deliver) in kinds.into_iter().enumerate() {
            let kind = Kind { deliver, route: None };
            lanes.arrive("s", n as i64, Waiting { kind, ..waiting(&format!("r{n}")) }, now);
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
        let session = Arc::from("s");
        assert!(lanes.withdraw(&session, 1, &Id::new("a").unwrap()));
        assert!(!lanes.withdraw(&session, 1, &Id::new("a").unwrap()));
        assert!(lanes.is_empty());
        assert_eq!(lanes.next(after(now, 1000), 10), None);
    }
}
