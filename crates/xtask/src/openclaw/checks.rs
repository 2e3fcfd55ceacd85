//! The book-keeping of a run: what was checked, what failed, and the figures for the table at the end.
//!
//! A check is a sentence that must be true. A true one is counted, a false one is printed at once with what was
//! seen instead. Nothing is retried here: a scenario that wants to wait waits before it checks.

use std::fmt::Display;
use std::time::Duration;

/// The checks of one scenario.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    name: &'static str,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Checks {
    pub(crate) fn new(name: &'static str) -> Self {
        Checks { name, passed: 0, failed: 0 }
    }

    /// Counts one check; `seen` is printed only when it failed.
    pub(crate) fn that(&mut self, holds: bool, what: &str, seen: impl Display) -> bool {
        if holds {
            self.passed += 1;
        } else {
            self.failed += 1;
            println!("{}: FAILED: {what}; seen: {seen}", self.name);
        }
        holds
    }

    /// Counts a check that two things are equal.
    pub(crate) fn same<T: PartialEq + std::fmt::Debug>(&mut self, seen: T, wanted: T, what: &str) -> bool {
        let holds = seen == wanted;
        self.that(holds, what, format!("{seen:?}, wanted {wanted:?}"))
    }
}

/// What the whole run measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) records: u64,
    pub(crate) lost: u64,
    pub(crate) wrong_session: u64,
    pub(crate) doubles: u64,
    pub(crate) gateway_kills: u64,
    pub(crate) agent_kills: u64,
    pub(crate) boots: Vec<Duration>,
    pub(crate) drained_after: Option<Duration>,
    pub(crate) put: Option<Duration>,
    pub(crate) system_event: Option<Duration>,
}

impl Figures {
    /// The table, one figure a line.
    pub(crate) fn print(&self) {
        let ms =
            |d: Option<Duration>| d.map_or("-".to_owned(), |d| format!("{:.1} ms", d.as_secs_f64() * 1e3));
        let boots = (!self.boots.is_empty()).then(|| super::support::median(self.boots.clone()));
        println!("{:<44} {:>12}", "figure", "value");
        for (what, value) in [
            ("records followed to their transcript", self.records.to_string()),
            ("lost", self.lost.to_string()),
            ("in a wrong session", self.wrong_session.to_string()),
            ("committed twice", self.doubles.to_string()),
            ("gateway killed", self.gateway_kills.to_string()),
            ("agent killed", self.agent_kills.to_string()),
            ("gateway start to hello-ok, median", ms(boots)),
            ("from gateway up to drained", ms(self.drained_after)),
            ("spool-put, median of 20", ms(self.put)),
            ("openclaw system event, median of 3", ms(self.system_event)),
        ] {
            println!("{what:<44} {value:>12}");
        }
    }
}
