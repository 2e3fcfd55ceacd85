//! The two clocks' wall side: milliseconds since 1970 for what is shown and stored, and the day for the journal.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in milliseconds since 1970-01-01 UTC; 0 before that.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The UTC day of a time as `YYYY-MM-DD`, by the proleptic Gregorian calendar.
///
/// The algorithm counts days from 0000-03-01, so that the leap day is the last of its year (Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms").
pub fn day_of(ms: u64) -> String {
    let days = ms / 86_400_000 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// The first millisecond of a UTC day that is written as [`day_of`] writes it; `None` for what is no day, or before 1970.
pub fn start_of_day(day: &str) -> Option<u64> {
    let mut parts = day.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, of_month) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&of_month) {
        return None;
    }
    // As above, the other way round.
    let year = year - u64::from(month <= 2);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + of_month - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    let ms = days.checked_sub(719_468)? * 86_400_000;
    // The 31st of November is the 1st of December: no day.
    (day_of(ms) == day).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_795_411_200, "2026-11-23"),
            (4_107_542_399, "2100-02-28"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day_of(seconds * 1000), day);
            assert_eq!(start_of_day(day), Some(seconds * 1000 / 86_400_000 * 86_400_000));
        }
        for day in ["2026-11-31", "2025-02-29", "1969-12-31", "2026-1-2", "2026-13-01", "x", "2026-11-00"] {
            assert_eq!(start_of_day(day), None, "{day}");
        }
    }
}
