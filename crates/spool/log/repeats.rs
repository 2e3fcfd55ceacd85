//! What repeats itself: said some times, then counted, then told by its number.
//!
//! Two events are the same when they say the same, whomever it is about: ids, keys and sessions are fields, and no part
//! of the message.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::line::Line;

/// How long the same is counted together.
pub const WINDOW: Duration = Duration::from_secs(10);
/// How often the same is said in that time.
const BURST: u64 = 20;
/// How many different messages are told apart; more are all said.
const MAX_KINDS: usize = 1000;

/// What was said lately, and how often.
#[derive(Debug, Default)]
pub struct Repeats {
    kinds: HashMap<String, Kind>,
    /// When the first of them is over.
    next: Option<Instant>,
}

#[derive(Debug)]
struct Kind {
    since: Instant,
    times: u64,
    first: Line,
}

impl Repeats {
    /// Whether this may be said; if not, it is counted.
    pub fn may_say(&mut self, line: &Line, now: Instant) -> bool {
        if let Some(kind) = self.kinds.get_mut(&line.message) {
            kind.times += 1;
            return kind.times <= BURST;
        }
        if self.kinds.len() < MAX_KINDS {
            self.kinds.insert(line.message.clone(), Kind { since: now, times: 1, first: line.clone() });
            self.next.get_or_insert(now + WINDOW);
        }
        true
    }

    /// What was counted and not said: all of it, or what was counted long enough by now.
    pub fn due(&mut self, now: Option<Instant>) -> Vec<(Line, u64)> {
        if now.is_some_and(|now| self.next.is_none_or(|next| now < next)) {
            return Vec::new();
        }
        let is_over = |kind: &Kind| now.is_none_or(|now| now.duration_since(kind.since) >= WINDOW);
        let over: Vec<Kind> = self.kinds.extract_if(|_, kind| is_over(kind)).map(|(_, kind)| kind).collect();
        self.next = self.kinds.values().map(|kind| kind.since + WINDOW).min();
        let more = |kind: Kind| (kind.first, kind.times.saturating_sub(BURST));
        let mut counted: Vec<(Line, u64)> =
            over.into_iter().map(more).filter(|(_, more)| *more > 0).collect();
        counted.sort_by(|(a, _), (b, _)| a.message.cmp(&b.message));
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::line::tests::line;

    #[test]
    fn what_repeats_itself_is_counted_and_what_does_not_is_said() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        let said = |repeats: &mut Repeats, message: &str, times: u64, now: Instant| {
            (0..times).filter(|n| repeats.may_say(&line(message, &format!("id-{n}")), now)).count() as u64
        };
        assert_eq!(said(&mut repeats, "dead: no session", 332, start), BURST);
        assert_eq!(said(&mut repeats, "held", 3, start), 3);
        assert!(repeats.due(Some(start + WINDOW / 2)).is_empty());
        let told = repeats.due(Some(start + WINDOW));
        assert_eq!(told.len(), 1);
        assert!(told[0].0.again(told[0].1).human().ends_with(" WARN … 312 more: dead: no session"));
        // Then it is said again.
        assert_eq!(said(&mut repeats, "dead: no session", 21, start + WINDOW), BURST);
        assert_eq!(repeats.due(None).len(), 1);
        // What never repeats itself costs a bounded memory.
        for n in 0..10_000 {
            assert!(repeats.may_say(&line(&format!("{n}"), "id"), start));
        }
        assert_eq!(repeats.kinds.len(), MAX_KINDS);
    }
}
