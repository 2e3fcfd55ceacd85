//! Times for people: UTC to the second, ages in the largest unit that tells something.

use spooldir::time::day_of;

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
}
