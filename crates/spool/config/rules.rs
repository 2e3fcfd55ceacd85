//! From what the configuration says to what the agent works by.

use std::time::Duration;

use spool_drain::policy::{Budget, Rule, Rules};
use spool_drain::{Options, Settings};
use spooldir::record::Deliver;

use super::file::{File, Table};
use super::keys::{self, OFF};
use crate::args::Length;

/// The budget that a text means.
///
/// # Errors
/// How one is written.
pub fn budget(text: &str) -> Result<Budget, String> {
    let rule = || "must be a number of deliveries in a time, e.g. 12 in 10m, or off".to_owned();
    let (deliveries, period) = text.split_once(" in ").ok_or_else(rule)?;
    let deliveries =
        deliveries.trim().parse::<u32>().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(rule)?;
    let period = length(period.trim()).filter(|period| *period >= Duration::from_secs(1)).ok_or_else(rule)?;
    Ok(Budget { deliveries, period })
}

fn length(text: &str) -> Option<Duration> {
    text.parse::<Length>().ok().map(|length| length.0)
}

/// What a table says. It was checked when it was read: what cannot be taken would be left out.
fn rule(table: &Table) -> Rule {
    let said = |name: &str| table.get(name).map(|said| said.value.as_str());
    let off = |text: &str| text == OFF;
    Rule {
        deliver: said("default.deliver").and_then(Deliver::from_word),
        window: said("default.window").and_then(length),
        window_max: said("default.window-max").and_then(length),
        quiet_hours: said("default.quiet-hours").map(|text| if off(text) { None } else { text.parse().ok() }),
        fallback: said("default.fallback").map(|text| if off(text) { None } else { Some(text.into()) }),
        budget: said("default.budget").map(|text| if off(text) { None } else { budget(text).ok() }),
    }
}

/// The settings that may change while the agent runs. `effective` tells what holds for all sessions, by whatever says it.
pub fn settings(file: Option<&File>, effective: &dyn Fn(&'static str) -> String) -> Settings {
    let mut settings = Options::default().settings();
    let time = |name| length(&effective(name));
    settings.retention = time("retention.done").unwrap_or(settings.retention);
    settings.dismissed_retention = time("retention.dismissed").unwrap_or(settings.dismissed_retention);
    settings.log_age = time("retention.logs").unwrap_or(settings.log_age);
    settings.quiet.time = time("default.window").unwrap_or(settings.quiet.time);
    settings.quiet.most = time("default.window-max").unwrap_or(settings.quiet.most).max(settings.quiet.time);
    let beneath = keys::KEYS.iter().filter(|key| key.name.starts_with("default."));
    let beneath: Table =
        beneath.map(|key| (key.name, super::file::Said { value: effective(key.name), line: 0 })).collect();
    let sessions = file.map(|file| file.sessions.clone()).unwrap_or_default();
    let sessions = sessions.iter().map(|(prefix, table)| (prefix.clone(), rule(table)));
    // The window of all is that of the lanes themselves.
    let beneath = Rule { window: None, window_max: None, ..rule(&beneath) };
    settings.rules = Rules::new(beneath, sessions, file.map(|file| file.allow.clone()).unwrap_or_default());
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_so_many_in_so_long() {
        assert_eq!(budget("12 in 10m"), Ok(Budget { deliveries: 12, period: Duration::from_secs(600) }));
        for bad in
            ["", "12", "0 in 10m", "12 in", "12 in soon", "-1 in 10m", "12 in 0s", "99999 in 1h", "12in10m"]
        {
            assert!(budget(bad).is_err(), "{bad}");
        }
    }
}
