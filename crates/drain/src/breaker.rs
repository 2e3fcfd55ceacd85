//! The breaker: when to try the gateway again, and how hard to lean on it once it is back.
//!
//! One breaker stands before one gateway. An outage costs no record an attempt; it costs the breaker patience:
//!
//! - **Open.** Not to be tried before a time: 1 s after the first failure, twice as long after each further one, at
//!   most 30 s, the upper half of it jittered; never earlier than the gateway itself asked for (at most 5 min).
//! - **Half-open.** One attempt to connect is under way, and only one.
//! - **Closed.** Connected. The window (deliveries in flight) begins at one and doubles with each delivery that
//!   succeeds: a gateway that has just come back is not met by everything that waited. The patience is reset by the
//!   first success or by a connection that held as long as the longest back-off, not by the connect alone: a gateway
//!   that dies a second after each start is still backed off from.
//! - **Refused.** The gateway answered, and does not want these credentials. Time does not mend that and hammering
//!   makes it worse (gateways lock out), so the next attempt comes when the credentials' stamp changes, or after
//!   a minute in case it was mended at the other end.
//!
//! Pure: the clock, the jitter and the stamp are arguments. `Instant` is monotonic, so wall clocks may jump.

use std::time::{Duration, Instant};

use crate::retry::part;

/// The numbers of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The back-off after the first failure; doubles with each further one.
    pub first: Duration,
    /// The longest back-off.
    pub cap: Duration,
    /// The longest that a gateway may ask us to wait.
    pub retry_after: Duration,
    /// How long refused credentials are not tried again unless they change.
    pub refused: Duration,
    /// The largest window.
    pub window: usize,
}

impl Default for Limits {
    /// 1 s, at most 30 s; 5 min for a gateway's wish, 1 min for refused credentials; four deliveries in flight.
    fn default() -> Self {
        Limits {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(30),
            retry_after: Duration::from_secs(300),
            refused: Duration::from_secs(60),
            window: 4,
        }
    }
}

/// Where a breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Connected, as far as we know.
    Closed,
    /// Not to be tried before `until`.
    Open {
        /// When the next attempt is due.
        until: Instant,
    },
    /// One attempt is under way.
    HalfOpen,
    /// Refused for its credentials: not to be tried before `until` unless the stamp is another.
    Refused {
        /// When the next attempt is due with the same credentials.
        until: Instant,
        /// The stamp of the credentials that were refused.
        stamp: u64,
    },
}

/// The breaker of one gateway.
#[derive(Debug)]
pub struct Breaker {
    limits: Limits,
    state: State,
    /// Failures in a row.
    failures: u32,
    /// Deliveries that may be in flight while closed.
    window: usize,
    /// Since when it is connected or not.
    since: Instant,
    reason: Option<String>,
}

impl Breaker {
    /// A breaker that was never connected and may be tried at once.
    pub fn new(limits: Limits, now: Instant) -> Breaker {
        Breaker {
            limits,
            state: State::Open { until: now },
            failures: 0,
            window: 1,
            since: now,
            reason: None,
        }
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// How many deliveries may be in flight: none unless closed.
    pub fn window(&self) -> usize {
        if self.state == State::Closed { self.window.min(self.limits.window) } else { 0 }
    }

    /// Whether it is time to connect. `stamp` is that of the credentials a connect would use now.
    pub fn is_due(&self, now: Instant, stamp: u64) -> bool {
        match self.state {
            State::Open { until } => now >= until,
            State::Refused { until, stamp: refused } => now >= until || stamp != refused,
            State::Closed | State::HalfOpen => false,
        }
    }

    /// When it is time to connect with the credentials as they are; `None` while connected or trying.
    pub fn next_try(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } | State::Refused { until, .. } => Some(until),
            State::Closed | State::HalfOpen => None,
        }
    }

    /// The one attempt begins.
    pub fn trying(&mut self) {
        self.state = State::HalfOpen;
    }

    /// The gateway answered and took us: closed, with a window of one.
    pub fn connected(&mut self, now: Instant) {
        self.state = State::Closed;
        self.since = now;
        self.window = 1;
    }

    /// A delivery succeeded: the gateway is well, and may be asked for twice as much.
    pub fn succeeded(&mut self) {
        if self.state == State::Closed {
            self.failures = 0;
            self.reason = None;
            self.window = self.window.saturating_mul(2).min(self.limits.window);
        }
    }

    /// The gateway is away, starting, draining or overloaded. `retry_after` is what it asked for; `jitter` is an
    /// equally distributed number from 0 to 1. Said again while open, it moves the next attempt only further away.
    pub fn failed(
        &mut self,
        now: Instant,
        reason: impl Into<String>,
        retry_after: Option<Duration>,
        jitter: f64,
    ) {
        if matches!(self.state, State::Refused { .. }) {
            // The connection that ends after a refusal is no news, and no reason to come back sooner.
            return;
        }
        self.reason = Some(reason.into());
        let asked = retry_after.unwrap_or_default().min(self.limits.retry_after);
        if let State::Open { until } = self.state
            && self.failures > 0
        {
            // Every delivery in flight reports the same outage: it counts once.
            self.state = State::Open { until: until.max(now + asked) };
            return;
        }
        if self.state == State::Closed {
            if now.saturating_duration_since(self.since) >= self.limits.cap {
                self.failures = 0;
            }
            self.since = now;
        }
        self.failures = self.failures.saturating_add(1);
        self.state = State::Open { until: now + self.back_off(jitter).max(asked) };
    }

    /// The gateway does not want our credentials, whose stamp was `stamp` when the attempt began.
    pub fn refused(&mut self, now: Instant, reason: impl Into<String>, stamp: u64) {
        if self.state == State::Closed {
            self.since = now;
        }
        self.reason = Some(reason.into());
        self.failures = self.failures.saturating_add(1);
        self.state = State::Refused { until: now + self.limits.refused, stamp };
    }

    fn back_off(&self, jitter: f64) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(31);
        let longest = self.limits.first.saturating_mul(1 << doublings).min(self.limits.cap);
        longest.mul_f64(0.5 + part(jitter) / 2.0)
    }

    /// Since when it is in that condition (connected, or not), for status.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Why the last attempt or connection failed; forgotten with the first success after it.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A breaker and the start of its time.
    fn breaker() -> (Breaker, Instant) {
        let now = Instant::now();
        (Breaker::new(Limits::default(), now), now)
    }

    fn fail(breaker: &mut Breaker, now: Instant, jitter: f64) -> Duration {
        breaker.trying();
        breaker.failed(now, "connection refused", None, jitter);
        breaker.next_try().unwrap() - now
    }

    #[test]
    fn the_first_attempt_is_due_at_once_and_is_the_only_one() {
        let (mut breaker, now) = breaker();
        assert!(breaker.is_due(now, 0));
        assert_eq!(breaker.window(), 0);
        breaker.trying();
        assert!(!breaker.is_due(now + s(3600), 7), "a second attempt beside the first");
        assert_eq!((breaker.window(), breaker.next_try()), (0, None));
    }

    #[test]
    fn back_off_doubles_to_its_cap_and_is_jittered_in_its_upper_half() {
        let (mut breaker, now) = breaker();
        let waits: Vec<u64> = (0..7).map(|_| fail(&mut breaker, now, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(fail(&mut breaker, now, 0.0), s(15));
        assert_eq!(fail(&mut breaker, now, f64::NAN), s(30));
        assert!(!breaker.is_due(now + s(29), 0) && breaker.is_due(now + s(30), 0));
        for _ in 0..100 {
            fail(&mut breaker, now, 1.0);
        }
        assert_eq!(fail(&mut breaker, now, 1.0), s(30));
    }

    #[test]
    fn the_gateways_wish_is_obeyed_within_reason() {
        let (mut breaker, now) = breaker();
        breaker.failed(now, "draining", Some(s(20)), 0.0);
        assert_eq!(breaker.next_try(), Some(now + s(20)));
        breaker.trying();
        breaker.failed(now, "draining", Some(s(86_400)), 0.0);
        assert_eq!(breaker.next_try(), Some(now + s(300)));
        breaker.trying();
        breaker.failed(now, "draining", Some(s(0)), 1.0);
        assert_eq!(breaker.next_try(), Some(now + s(4)), "a wish of zero does not shorten the back-off");
    }

    #[test]
    fn one_outage_seen_by_many_counts_once() {
        let (mut breaker, now) = breaker();
        breaker.connected(now);
        for _ in 0..4 {
            breaker.failed(now + s(1), "closed", None, 1.0);
        }
        assert_eq!((breaker.failures(), breaker.next_try()), (1, Some(now + s(2))));
        breaker.failed(now + s(1), "closed", Some(s(9)), 1.0);
        assert_eq!(breaker.next_try(), Some(now + s(10)));
    }

    #[test]
    fn slow_start_doubles_with_each_success() {
        let (mut breaker, now) = breaker();
        breaker.trying();
        breaker.connected(now);
        let mut windows = vec![breaker.window()];
        for _ in 0..3 {
            breaker.succeeded();
            windows.push(breaker.window());
        }
        assert_eq!(windows, [1, 2, 4, 4]);
        breaker.failed(now, "closed", None, 1.0);
        assert_eq!(breaker.window(), 0);
        breaker.succeeded();
        assert_eq!((breaker.window(), breaker.failures()), (0, 1), "a late success opens nothing");
        breaker.trying();
        breaker.connected(now + s(2));
        assert_eq!(breaker.window(), 1);
    }

    #[test]
    fn a_success_resets_and_a_bare_connect_does_not() {
        let (mut breaker, now) = breaker();
        for _ in 0..4 {
            fail(&mut breaker, now, 1.0);
        }
        breaker.trying();
        breaker.connected(now);
        breaker.failed(now + s(1), "gone again", None, 1.0);
        assert_eq!(breaker.next_try(), Some(now + s(17)), "the back-off goes on where it was");
        breaker.trying();
        breaker.connected(now);
        breaker.succeeded();
        assert_eq!(breaker.reason(), None);
        breaker.failed(now, "gone", None, 1.0);
        assert_eq!(breaker.next_try(), Some(now + s(1)));
    }

    #[test]
    fn a_connection_that_held_resets_too() {
        let (mut breaker, now) = breaker();
        for _ in 0..4 {
            fail(&mut breaker, now, 1.0);
        }
        breaker.trying();
        breaker.connected(now);
        breaker.failed(now + s(30), "closed 1012", None, 1.0);
        assert_eq!(breaker.next_try(), Some(now + s(31)));
    }

    #[test]
    fn refused_credentials_wait_for_others() {
        let (mut breaker, now) = breaker();
        breaker.trying();
        breaker.refused(now, "token rejected: run spool config", 7);
        assert!(!breaker.is_due(now + s(59), 7));
        assert!(breaker.is_due(now + s(1), 8), "changed credentials are tried at once");
        assert!(breaker.is_due(now + s(60), 7), "mended at the other end");
        assert_eq!(breaker.reason(), Some("token rejected: run spool config"));
        breaker.failed(now, "closed 1008", None, 1.0);
        assert_eq!(
            breaker.next_try(),
            Some(now + s(60)),
            "the close that follows a refusal shortens nothing"
        );
        breaker.trying();
        breaker.refused(now, "again", 8);
        assert_eq!(breaker.next_try(), Some(now + s(60)), "no growth, no hammering");
    }

    #[test]
    fn status_can_say_since_when() {
        let (mut breaker, now) = breaker();
        fail(&mut breaker, now + s(5), 1.0);
        assert_eq!(breaker.since(), now, "never connected since the start");
        breaker.trying();
        breaker.connected(now + s(9));
        breaker.failed(now + s(60), "closed", None, 1.0);
        fail(&mut breaker, now + s(70), 1.0);
        assert_eq!(breaker.since(), now + s(60));
        assert_eq!((breaker.failures(), breaker.reason()), (2, Some("connection refused")));
    }
}
