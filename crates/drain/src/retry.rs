//! The retry schedule: data, and pure functions of it.
//!
//! Only a failure of the record's own counts as an attempt; an outage of the gateway is the breaker's affair and costs
//! nothing. Two clocks are kept apart: a due time in a file name is wall clock, because it must survive a restart; a
//! wait is a length of time, to be counted on the monotonic clock. [`Policy::wait`] is the only bridge, to be
//! crossed once, when an entry is read: keep the resulting `Instant` and never ask again, or a clock that was set
//! back would keep the entry waiting for ever.
//!
//! The jitter is the caller's: an equally distributed number from 0 to 1.

use std::time::Duration;

use spool_seeded::Bug;

/// When and how often a record is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The longest wait after the first failure.
    pub first: Duration,
    /// By how much the longest wait grows with each further failure.
    pub factor: u32,
    /// The longest wait ever.
    pub cap: Duration,
    /// No wait is shorter.
    pub floor: Duration,
    /// After that many failures the record is dead.
    pub attempts: u32,
    /// How long a record that fails is tried at all, whatever the number of attempts.
    pub lifetime: Duration,
}

impl Default for Policy {
    /// 1 s, x2, at most 5 min, at least 100 ms, 12 attempts, 7 days.
    fn default() -> Self {
        Policy {
            first: Duration::from_secs(1),
            factor: 2,
            cap: Duration::from_secs(5 * 60),
            floor: Duration::from_millis(100),
            attempts: 12,
            lifetime: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl Policy {
    /// The longest wait after `attempts` failures (1 after the first): what `jitter` 1 gives.
    pub fn longest(&self, attempts: u32) -> Duration {
        let mut longest = self.first.min(self.cap);
        for _ in 1..attempts {
            if longest >= self.cap || self.factor <= 1 {
                break;
            }
            longest = longest.saturating_mul(self.factor).min(self.cap);
        }
        longest.max(self.floor)
    }

    /// How long to wait after `attempts` failures: anything from the floor to [`Policy::longest`] ("full jitter", so
    /// that records that failed together do not come back together). A jitter that is no number counts as 1.
    pub fn delay(&self, attempts: u32, jitter: f64) -> Duration {
        self.longest(attempts).mul_f64(part(jitter)).max(self.floor)
    }

    /// Whether a record that failed so often is dead.
    pub fn exhausted(&self, attempts: u32) -> bool {
        attempts >= self.attempts
    }

    /// Whether a record that was accepted at `since_ms` is too old to be tried again. Both are wall clock, in
    /// milliseconds since 1970-01-01 UTC; a record from the future is not old.
    pub fn outlived(&self, since_ms: u64, now_ms: u64) -> bool {
        u128::from(now_ms.saturating_sub(since_ms)) > self.lifetime.as_millis()
    }

    /// How long to wait for a due time, by the wall clock of now.
    ///
    /// No due time that we wrote is further away than the cap, except where the record itself said `notBefore`. One
    /// that is was made strange by a clock that moved, and is clamped: the later of `now + cap` and `not_before_ms`.
    /// A due time in the past is due.
    pub fn wait(&self, due_ms: u64, not_before_ms: Option<u64>, now_ms: u64) -> Duration {
        let asked = until(due_ms, now_ms);
        if spool_seeded::is(Bug::WallClockDue) {
            return asked;
        }
        asked.min(self.cap.max(until(not_before_ms.unwrap_or(0), now_ms)))
    }
}

/// The due time of a delay, in milliseconds since 1970-01-01 UTC.
pub fn due_ms(now_ms: u64, delay: Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
}

fn until(ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(ms.saturating_sub(now_ms))
}

/// A jitter as a factor from 0 to 1.
pub(crate) fn part(jitter: f64) -> f64 {
    if jitter.is_nan() { 1.0 } else { jitter.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_schedule_is_the_documented_one() {
        let policy = Policy::default();
        let seconds: Vec<u64> = (1..=12).map(|n| policy.longest(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(policy.longest(0), policy.longest(1));
        assert_eq!(policy.delay(5, 0.5), Duration::from_secs(8));
        assert!(!policy.exhausted(11) && policy.exhausted(12));
        assert!(!policy.outlived(0, 7 * 86_400_000) && policy.outlived(0, 7 * 86_400_000 + 1));
        assert!(!policy.outlived(5, 4));
    }

    #[test]
    fn a_clock_set_back_costs_at_most_the_cap() {
        let policy = Policy::default();
        let year = 365 * 86_400_000;
        let due = due_ms(10 * year, Duration::from_secs(20));
        assert_eq!(policy.wait(due, None, 9 * year), policy.cap);
        assert_eq!(policy.wait(due, None, 10 * year), Duration::from_secs(20));
        assert_eq!(policy.wait(due, None, 20 * year), Duration::ZERO);
    }

    #[test]
    fn a_record_may_ask_for_more_than_the_cap() {
        let policy = Policy::default();
        let day = 86_400_000;
        assert_eq!(policy.wait(3 * day, Some(3 * day), day), Duration::from_secs(2 * 86_400));
        assert_eq!(policy.wait(9 * day, Some(3 * day), day), Duration::from_secs(2 * 86_400));
        assert_eq!(policy.wait(9 * day, Some(0), day), policy.cap);
    }

    proptest! {
        #[test]
        fn every_delay_is_within_its_bounds(attempts: u32, jitter: f64) {
            let policy = Policy::default();
            let delay = policy.delay(attempts, jitter);
            prop_assert!(delay >= policy.floor && delay <= policy.longest(attempts) && delay <= policy.cap);
        }

        #[test]
        fn delays_grow_with_attempts_and_with_jitter(attempts in 0u32..40, a in 0.0f64..1.0, b in 0.0f64..1.0) {
            let policy = Policy::default();
            prop_assert!(policy.delay(attempts, a) <= policy.delay(attempts + 1, a));
            prop_assert!(policy.delay(attempts, a.min(b)) <= policy.delay(attempts, a.max(b)));
        }

        #[test]
        fn any_policy_and_any_clock_are_survived(
            first: u32, factor: u32, cap: u32, attempts: u32, jitter: f64, now: u64, due: u64, not_before: Option<u64>,
        ) {
            let (first, cap) = (Duration::from_millis(first.into()), Duration::from_millis(cap.into()));
            let policy = Policy { first, factor, cap, ..Policy::default() };
            let delay = policy.delay(attempts, jitter);
            prop_assert!(delay <= cap.max(policy.floor));
            prop_assert!(due_ms(now, delay) >= now);
            let wait = policy.wait(due, not_before, now);
            prop_assert!(wait <= cap.max(Duration::from_millis(not_before.unwrap_or(0).saturating_sub(now))));
            prop_assert!(wait <= Duration::from_millis(due.saturating_sub(now)));
        }
    }
}
