//! Times for people: UTC to the second, ages in the largest unit that tells something.

use spooldir::time::{day_of, start_of_day};

/// A time in milliseconds since 1970 as `2026-11-23 06:45:01Z`.
pub fn utc(ms: u64) -> String {
    let seconds = ms / 1000 % 86_400;
    format!("{} {:02}:{:02}:{:02}Z", day_of(ms), seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A length of time in milliseconds as `45 s`, `12 min`, `5 h` or `9 d`.
pub fn length(ms: u64) -> String {
    match ms / 1000 {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7_199 => format!("{} min", s / 60),
        s @ 7_200..=172_799 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// The time between then and now, both in milliseconds; a time to come is no age.
pub fn age(then_ms: u64, now_ms: u64) -> String {
    length(now_ms.saturating_sub(then_ms))
}

/// A day, or a time of a day to the minute or second, in UTC: `2026-11-23`, `2026-11-23T06:45`, `2026-11-23 06:45:01Z`.
pub fn parse(said: &str) -> Option<u64> {
    let said = said.strip_suffix('Z').unwrap_or(said);
    let (day, time) = said.split_once(['T', ' ']).unwrap_or((said, "00:00"));
    let start = start_of_day(day)?;
    let mut parts = time.split(':');
    let mut part = |below: u64| {
        let text = parts.next()?;
        let is_number = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse().ok())?.filter(|n| *n < below)
    };
    let (hours, minutes) = (part(24)?, part(60)?);
    let seconds = if time.len() > 5 { part(60)? } else { 0 };
    parts.next().is_none().then_some(start + ((hours * 60 + minutes) * 60 + seconds) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_plainly() {
        assert_eq!(utc(1_795_392_000_000 + 24_301_999), "2026-11-23 06:45:01Z");
        for (ms, says) in
            [(0, "0 s"), (119_999, "119 s"), (120_000, "2 min"), (7_200_000, "2 h"), (172_800_000, "2 d")]
        {
            assert_eq!(length(ms), says);
        }
        assert_eq!(age(5_000, 1_000), "0 s");
    }

    #[test]
    fn times_that_are_told_are_read() {
        let day = 1_795_392_000_000;
        for (said, ms) in [
            ("2026-11-23", Some(day)),
            ("2026-11-23T06:45", Some(day + 24_300_000)),
            ("2026-11-23 06:45:01Z", Some(day + 24_301_000)),
            ("2026-11-31", None),
            ("2026-11-23T24:00", None),
            ("2026-11-23T6:45", None),
            ("2026-11-23T06:45:01:02", None),
            ("7d", None),
        ] {
            assert_eq!(parse(said), ms, "{said}");
        }
    }
}
