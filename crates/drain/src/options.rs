//! The agent's settings, each with its default and its reason.

use std::time::Duration;

use crate::attempt::Patience;
use crate::breaker;
use crate::render;
use crate::retry;
use crate::supervisor::Supervisor;

/// How an agent works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Deliver what can be delivered now, and end.
    pub once: bool,
    /// With `once`: how long to wait for a gateway that is away.
    pub once_patience: Duration,
    /// How long a session's first record waits for company.
    pub quiet: Duration,
    /// How long it waits at most when company keeps coming.
    pub quiet_most: Duration,
    /// How often all directories are swept when nothing rings.
    pub sweep: Duration,
    /// The same where the kernel cannot tell of new files.
    pub sweep_polling: Duration,
    /// How long receipts are kept.
    pub retention: Duration,
    /// How long a stop waits for deliveries under way.
    pub grace: Duration,
    /// A delivery that takes longer (a busy session, a long turn) no longer counts against the breaker's window, so that
    /// a few slow sessions do not hold up all others.
    pub slow: Duration,
    /// How many deliveries may be under way in all, slow ones included.
    pub max_in_flight: usize,
    /// How many pending entries are known at once; more stay on the disk until there is room.
    pub max_known: usize,
    /// What an attempt waits for.
    pub patience: Patience,
    /// When a record is tried again.
    pub retry: retry::Policy,
    /// When the gateway is tried again, and how many deliveries may be in flight.
    pub breaker: breaker::Limits,
    /// How long a text may be.
    pub text: render::Limits,
    /// What is told to people when their agent could not answer, tried at most so often.
    pub tell_attempts: u32,
    /// The service manager that is told how it goes.
    pub supervisor: Supervisor,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            once: false,
            once_patience: Duration::from_secs(15),
            quiet: Duration::from_millis(250),
            quiet_most: Duration::from_secs(2),
            sweep: Duration::from_secs(5),
            sweep_polling: Duration::from_secs(1),
            retention: Duration::from_secs(7 * 86_400),
            grace: Duration::from_secs(10),
            slow: Duration::from_secs(30),
            max_in_flight: 64,
            max_known: 250_000,
            patience: Patience::default(),
            retry: retry::Policy::default(),
            breaker: breaker::Limits::default(),
            text: render::Limits::default(),
            tell_attempts: 3,
            supervisor: Supervisor::default(),
        }
    }
}
