//! Quiet hours: a part of each day, in local time, in that of a place, or with an offset from UTC.
//!
//! Pure given the wall clock; the machine's zone is read from the system. A change of summer time inside the hours makes
//! them an hour longer or shorter, as a person who sleeps through it expects.

use std::fmt;
use std::str::FromStr;

use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// A part of each day, which may go over midnight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// Minutes of the day.
    from: u16,
    to: u16,
    zone: Zone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Zone {
    /// That of this machine, as it is when it is asked.
    Local,
    Named(String, TimeZone),
}

impl Hours {
    /// If these hours hold at `now_ms`: when they end. Both in milliseconds since 1970-01-01 UTC.
    pub fn until(&self, now_ms: u64) -> Option<u64> {
        let zone = match &self.zone {
            Zone::Local => TimeZone::system(),
            Zone::Named(_, zone) => zone.clone(),
        };
        let now = Timestamp::from_millisecond(i64::try_from(now_ms).ok()?).ok()?.to_zoned(zone.clone());
        let minute = u16::try_from(i32::from(now.hour()) * 60 + i32::from(now.minute())).ok()?;
        let is_over_midnight = self.from > self.to;
        let is_in = if is_over_midnight {
            minute >= self.from || minute < self.to
        } else {
            (self.from..self.to).contains(&minute)
        };
        if !is_in {
            return None;
        }
        let mut day = now.date();
        if is_over_midnight && minute >= self.from {
            day = day.checked_add(1.day()).ok()?;
        }
        let (hour, minute) = (i8::try_from(self.to / 60).ok()?, i8::try_from(self.to % 60).ok()?);
        let end = day.at(hour, minute, 0, 0).to_zoned(zone).ok()?.timestamp().as_millisecond();
        // The clock that is set back in the hours may show their end twice.
        Some(u64::try_from(end).ok()?.max(now_ms + 1))
    }
}

const RULE: &str = "quiet hours are FROM-TO with a place or an offset if it is not the machine's own, e.g. 22:00-07:00, \
    22:00-07:00 +02:00, 22:00-07:00 Europe/Berlin";

impl FromStr for Hours {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Hours, &'static str> {
        let text = text.trim();
        let (hours, zone) = text.split_once(' ').unwrap_or((text, ""));
        let (from, to) = hours.split_once('-').ok_or(RULE)?;
        let (from, to) = (minute(from).ok_or(RULE)?, minute(to).ok_or(RULE)?);
        if from == to {
            return Err(
                "quiet hours that begin when they end would be all day or never; say which by other means",
            );
        }
        let zone = match zone.trim() {
            "" => Zone::Local,
            name => Zone::Named(name.to_owned(), zone_of(name).ok_or(RULE)?),
        };
        Ok(Hours { from, to, zone })
    }
}

/// `HH:MM`.
fn minute(text: &str) -> Option<u16> {
    let two = |text: &str| {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<u16>().ok())?
    };
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (two(hour)?, two(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// `Z`, `UTC`, `+HH:MM`, `-HH:MM` or a name of the time zone database.
fn zone_of(name: &str) -> Option<TimeZone> {
    if name == "Z" || name == "UTC" {
        return Some(TimeZone::UTC);
    }
    let sign = match name.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return TimeZone::get(name).ok(),
    };
    let minutes = i32::from(minute(name.get(1..)?)?);
    Offset::from_seconds(sign * minutes * 60).ok().map(TimeZone::fixed)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from, self.to);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)?;
        match &self.zone {
            Zone::Local => Ok(()),
            Zone::Named(name, _) => write!(f, " {name}"),
        }
    }
}
