//! The last day, hour by hour, out of the journal: what was accepted, delivered, tried in vain, and what died.

use std::collections::HashMap;

use spooldir::Spool;
use spooldir::journal::Line;

use crate::tail::Tail;

/// How much of the journal is read of each day, in bytes: some hundred thousand lines.
const MOST: u64 = 16 * 1024 * 1024;
/// How many hours are told of.
pub const HOURS: usize = 24;
const HOUR: u64 = 3_600_000;

/// What happened in an hour, or in all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries accepted.
    pub accepted: u64,
    /// Entries proved to be delivered.
    pub delivered: u64,
    /// Attempts that failed and will be repeated.
    pub failed: u64,
    /// Entries that died.
    pub died: u64,
}

/// The last day.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Day {
    /// The beginning of the first hour, in milliseconds since 1970. The last hour is the present one.
    pub since: u64,
    /// The hours.
    pub hours: [Tally; HOURS],
    /// Whether there was more of a journal than is read, so that the numbers are least ones.
    pub is_cut: bool,
    /// The last lines, oldest first.
    pub last: Vec<Line>,
}

impl Day {
    /// A day that ends with the hour of `now_ms`.
    pub fn ending(now_ms: u64) -> Day {
        let this_hour = now_ms / HOUR * HOUR;
        Day { since: this_hour.saturating_sub((HOURS as u64 - 1) * HOUR), ..Day::default() }
    }

    /// Reads it; remembers the last `most` lines, and in `reasons` the last failure of each entry that is a key there.
    pub fn read(spool: &Spool, now_ms: u64, most: usize, reasons: &mut HashMap<String, String>) -> Day {
        let mut day = Day::ending(now_ms);
        let mut tail = Tail::new(MOST);
        let mut last = std::collections::VecDeque::new();
        tail.read_on(spool, |line| {
            day.add(&line);
            if let (Some(reason), Some(known)) = (&line.reason, reasons.get_mut(&line.id)) {
                known.clone_from(reason);
            }
            last.push_back(line);
            if last.len() > most {
                last.pop_front();
            }
        });
        day.is_cut = tail.is_cut();
        day.last = last.into();
        day
    }

    /// Takes in a line.
    pub fn add(&mut self, line: &Line) {
        let Some(hour) = line.at.checked_sub(self.since).map(|ms| ms / HOUR) else { return };
        let Some(tally) = usize::try_from(hour).ok().and_then(|n| self.hours.get_mut(n)) else { return };
        match line.event.as_str() {
            "accept" => tally.accepted += 1,
            "prove" => tally.delivered += 1,
            "fail" => tally.failed += 1,
            "condemn" => tally.died += 1,
            _ => {}
        }
    }

    /// All hours together.
    pub fn sum(&self) -> Tally {
        self.hours.iter().fold(Tally::default(), |sum, hour| Tally {
            accepted: sum.accepted + hour.accepted,
            delivered: sum.delivered + hour.delivered,
            failed: sum.failed + hour.failed,
            died: sum.died + hour.died,
        })
    }

    /// The deliveries as a line of blocks, an hour each.
    pub fn sparkline(&self) -> String {
        let most = self.hours.iter().map(|hour| hour.delivered).max().unwrap_or(0).max(1);
        let blocks = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let block = |hour: &Tally| {
            let step = usize::try_from((hour.delivered * 7).div_ceil(most)).unwrap_or(0);
            if hour.delivered == 0 { '·' } else { blocks.get(step).copied().unwrap_or('█') }
        };
        self.hours.iter().map(block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_what_happened_in_it() {
        let now = 1_795_392_000_000 + 30 * 60_000;
        let mut day = Day::ending(now);
        let line = |at, event: &str| Line { at, event: event.into(), ..Line::default() };
        for (at, event) in [
            (now, "accept"),
            (now, "prove"),
            (now - HOUR, "fail"),
            (now - 23 * HOUR, "condemn"),
            (now - 25 * HOUR, "prove"),
            (now + 2 * HOUR, "prove"),
            (now, "take"),
        ] {
            day.add(&line(at, event));
        }
        assert_eq!(day.hours[23], Tally { accepted: 1, delivered: 1, ..Tally::default() });
        assert_eq!((day.hours[22].failed, day.hours[0].died), (1, 1));
        assert_eq!(day.sum(), Tally { accepted: 1, delivered: 1, failed: 1, died: 1 });
        assert_eq!(day.sparkline(), format!("{}█", "·".repeat(23)));
    }
}
