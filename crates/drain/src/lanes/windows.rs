//! How long the lanes wait for company: all of them the same, but those for which policy says otherwise, and those
//! that had more deliveries than their budget. A lane that is like all others costs nothing here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The quiet time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quiet {
    /// After the last arrival.
    pub time: Duration,
    /// After the first one, at most.
    pub most: Duration,
}

/// What one lane waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) quiet: Quiet,
    /// Not before this, unless so many records wait that they fill a delivery: more waiting gathers nothing more.
    pub(super) pause: Option<(Instant, usize)>,
}

impl Window {
    /// When records may go of which the first came at `first`, the last at `last`, and there are `waiting`.
    pub(super) fn over_at(&self, first: Instant, last: Instant, waiting: usize) -> Instant {
        let calm = (last + self.quiet.time).min(first + self.quiet.most);
        match self.pause {
            Some((until, full)) if waiting < full => calm.max(until),
            _ => calm,
        }
    }
}

/// The windows of all lanes.
#[derive(Debug)]
pub(super) struct Windows {
    beneath: Quiet,
    own: HashMap<Arc<str>, Quiet>,
    pauses: HashMap<Arc<str>, (Instant, usize)>,
}

impl Windows {
    pub(super) fn new(beneath: Quiet) -> Windows {
        Windows { beneath, own: HashMap::new(), pauses: HashMap::new() }
    }

    pub(super) fn of(&self, session: &str) -> Window {
        let own = if self.own.is_empty() { None } else { self.own.get(session) };
        let pause = if self.pauses.is_empty() { None } else { self.pauses.get(session) };
        Window { quiet: *own.unwrap_or(&self.beneath), pause: pause.copied() }
    }

    /// Gives a lane a quiet time of its own, or takes it back.
    pub(super) fn set(&mut self, session: &Arc<str>, quiet: Quiet) {
        if quiet != self.beneath {
            self.own.insert(session.clone(), quiet);
        } else if !self.own.is_empty() {
            self.own.remove(session);
        }
    }

    pub(super) fn set_beneath(&mut self, quiet: Quiet) {
        self.beneath = quiet;
    }

    pub(super) fn pause(&mut self, session: &Arc<str>, until: Instant, full: usize) {
        self.pauses.insert(session.clone(), (until, full));
    }

    /// Forgets the pauses that are over by then, or all of them.
    pub(super) fn end_pauses(&mut self, now: Option<Instant>) {
        self.pauses.retain(|_, (until, _)| now.is_some_and(|now| *until > now));
    }

    /// The lane is no more. Its pause stays: it is of the session.
    pub(super) fn forget(&mut self, session: &str) {
        if !self.own.is_empty() {
            self.own.remove(session);
        }
    }
}
