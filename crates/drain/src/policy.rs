//! Policy: what an operator wants for a session, beyond what its records say.
//!
//! Pure: given the rules, a record and the wall clock, [`Rules::decide`] says whether the record goes now, waits, or waits
//! for a person; given what was delivered before, [`Ledger`] says how long a session's next delivery waits for company.
//! The loop asks and does. What is kept true:
//!
//! - nothing is ever dropped by a policy: what may not go now waits, in `deferred/` or in its lane;
//! - what a record says itself stands above any rule, but for who may write for whom;
//! - `urgent` waits for nobody;
//! - for each setting the longest prefix that says something about it wins; the defaults lie beneath.
//!
//! `hours` knows the time of day.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spooldir::Record;
use spooldir::record::{Deliver, Status};

pub use self::hours::Hours;
use crate::lanes::Quiet;

mod hours;

/// What is said of some sessions; `None` leaves it to the next rule beneath.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// How records that do not say it themselves are handed over.
    pub deliver: Option<Deliver>,
    /// How long a record waits for company, after the last one.
    pub window: Option<Duration>,
    /// And after the first one, at most.
    pub window_max: Option<Duration>,
    /// When successes wait; `Some(None)`: never.
    pub quiet_hours: Option<Option<Hours>>,
    /// The session that gets what is for a session that does not exist; `Some(None)`: none does.
    pub fallback: Option<Option<Arc<str>>>,
    /// How many deliveries are made as soon as they can be; `Some(None)`: all.
    pub budget: Option<Option<Budget>>,
}

/// All rules. Without any, everything goes at once, in turns, from the owner of the spool only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    beneath: Rule,
    /// Longest prefix first.
    sessions: Vec<(String, Rule)>,
    /// Prefixes of the sessions that a user may write to.
    allow: BTreeMap<u32, Vec<String>>,
}

/// What becomes of a record now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It may be sent.
    Go,
    /// Not before this, in milliseconds since 1970-01-01 UTC.
    Wait(u64),
    /// A person has to decide; why.
    Hold(String),
}

impl Rules {
    /// The rules for sessions by the prefix of their key, those beneath for all, and who may write for whom.
    pub fn new(
        beneath: Rule,
        sessions: impl IntoIterator<Item = (String, Rule)>,
        allow: BTreeMap<u32, Vec<String>>,
    ) -> Rules {
        let mut sessions: Vec<(String, Rule)> = sessions.into_iter().collect();
        sessions.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        Rules { beneath, sessions, allow }
    }

    /// What the rules say of one setting for a session.
    fn said<'r, T>(&'r self, session: &str, of: impl Fn(&'r Rule) -> Option<T>) -> Option<T> {
        let own = self.sessions.iter().filter(|(prefix, _)| session.starts_with(prefix.as_str()));
        own.map(|(_, rule)| rule).chain([&self.beneath]).find_map(of)
    }

    /// How a record is handed over: as it says, else as the rules say, else as a turn.
    pub fn deliver(&self, session: &str, record: &Record) -> Deliver {
        if record.says_deliver {
            return record.deliver;
        }
        self.said(session, |rule| rule.deliver).unwrap_or_default()
    }

    /// How long records for a session wait for company.
    pub fn window(&self, session: &str, beneath: Quiet) -> Quiet {
        let time = self.said(session, |rule| rule.window).unwrap_or(beneath.time);
        let most = self.said(session, |rule| rule.window_max).unwrap_or(beneath.most);
        Quiet { time, most: most.max(time) }
    }

    /// The session that gets what is for this one, if it does not exist.
    pub fn fallback(&self, session: &str) -> Option<Arc<str>> {
        let said = self.said(session, |rule| rule.fallback.clone()).flatten();
        said.filter(|to| **to != *session)
    }

    /// How many deliveries a session gets as soon as they can be made.
    pub fn budget(&self, session: &str) -> Option<Budget> {
        self.said(session, |rule| rule.budget).flatten()
    }

    /// Whether the owner of a record matters.
    pub fn has_allow_list(&self) -> bool {
        !self.allow.is_empty()
    }

    /// The users whose records are taken in besides those of the spool's owner.
    pub fn writers(&self) -> Vec<u32> {
        self.allow.keys().copied().collect()
    }

    /// What becomes of a record now. `owner` is whose file it is, where that matters.
    pub fn decide(&self, session: &str, record: &Record, owner: Option<u32>, now_ms: u64) -> Decision {
        if let Some(owner) = owner
            && let Some(prefixes) = self.allow.get(&owner)
            && !prefixes.iter().any(|prefix| session.starts_with(prefix.as_str()))
        {
            return Decision::Hold(format!(
                "user {owner} may not write to {session} by the configuration; allow it there, then spool release ID"
            ));
        }
        if record.urgent || !matches!(record.status, Status::Ok | Status::Info) {
            return Decision::Go;
        }
        let hours = self.said(session, |rule| rule.quiet_hours.as_ref());
        match hours.and_then(Option::as_ref).and_then(|hours| hours.until(now_ms)) {
            Some(until) => Decision::Wait(until),
            None => Decision::Go,
        }
    }
}

/// So many deliveries in so much time go out as soon as they can; of what comes beyond, more goes out together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// How many.
    pub deliveries: u32,
    /// In how much time.
    pub period: Duration,
}

impl Budget {
    /// How long the next delivery waits after the last one, of which there were `recent` in the last period: nothing
    /// within the budget, then that share of the period which one delivery has, and twice as long for each one more, up
    /// to half the period.
    pub fn pause(&self, recent: usize) -> Option<Duration> {
        let over = u32::try_from(recent).unwrap_or(u32::MAX).checked_sub(self.deliveries)?;
        let share = self.period / self.deliveries.max(1);
        let most = (self.period / 2).max(share);
        Some(share.saturating_mul(1_u32.checked_shl(over.min(20)).unwrap_or(u32::MAX)).min(most))
    }
}

/// What was delivered to whom in the last time.
#[derive(Debug, Default)]
pub struct Ledger {
    sessions: HashMap<Arc<str>, VecDeque<Instant>>,
}

/// Deliveries of a session that are remembered beyond its budget: enough for the longest pause.
const BEYOND: usize = 12;
/// Sessions that are remembered. With more than that in one period, no single one of them is the storm.
const MAX_SESSIONS: usize = 100_000;

impl Ledger {
    /// A delivery goes out. Returns how long the next one of this session waits, and how many there were.
    pub fn note(&mut self, session: &Arc<str>, budget: Budget, now: Instant) -> Option<(Duration, usize)> {
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(session) {
            return None;
        }
        let made = self.sessions.entry(session.clone()).or_default();
        while made.front().is_some_and(|at| now.duration_since(*at) >= budget.period) {
            made.pop_front();
        }
        made.push_back(now);
        let most = usize::try_from(budget.deliveries).unwrap_or(usize::MAX).saturating_add(BEYOND);
        while made.len() > most {
            made.pop_front();
        }
        let recent = made.len();
        budget.pause(recent).map(|pause| (pause, recent))
    }

    /// Forgets what no budget counts any more.
    pub fn forget(&mut self, rules: &Rules, now: Instant) {
        self.sessions.retain(|session, made| {
            let period = rules.budget(session).map_or(Duration::ZERO, |budget| budget.period);
            made.back().is_some_and(|at| now.duration_since(*at) < period)
        });
    }
}

#[cfg(test)]
mod tests;
