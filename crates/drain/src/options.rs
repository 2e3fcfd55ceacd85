//! The agent's settings, each with its default and its reason.

use std::time::Duration;

use spooldir::upkeep::LOG_AGE;
use tokio::sync::watch;

use crate::attempt::Patience;
use crate::breaker;
use crate::lanes::Quiet;
use crate::policy::Rules;
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
    /// How long receipts of what was delivered are kept.
    pub retention: Duration,
    /// How long what was dismissed is kept.
    pub dismissed_retention: Duration,
    /// How long logs of jobs are kept at least.
    pub log_age: Duration,
    /// What an operator wants for which session.
    pub rules: Rules,
    /// New settings while it runs, and what became of the last try to read them.
    pub reload: Option<watch::Receiver<Reload>>,
    /// How long a stop waits for deliveries under way.
    pub grace: Duration,
    /// A delivery that takes longer (a busy session, a long turn) no longer counts against the breaker's window, so that
    /// a few slow sessions do not hold up all others.
    pub slow: Duration,
    /// How many deliveries may be under way in all, slow ones included.
    pub max_in_flight: usize,
    /// How many pending entries are known at once; more stay on the disk until there is room. As many as fit into a table
    /// of 2^18 places, of which an eighth stays free: with a few more it would take twice the memory.
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
            dismissed_retention: Duration::from_secs(7 * 86_400),
            log_age: LOG_AGE,
            rules: Rules::default(),
            reload: None,
            grace: Duration::from_secs(10),
            slow: Duration::from_secs(30),
            max_in_flight: 64,
            max_known: 229_376,
            patience: Patience::default(),
            retry: retry::Policy::default(),
            breaker: breaker::Limits::default(),
            text: render::Limits::default(),
            tell_attempts: 3,
            supervisor: Supervisor::default(),
        }
    }
}

/// What of the options may change while the agent runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// As [`Options::quiet`] and [`Options::quiet_most`].
    pub quiet: Quiet,
    /// As [`Options::retention`].
    pub retention: Duration,
    /// As [`Options::dismissed_retention`].
    pub dismissed_retention: Duration,
    /// As [`Options::log_age`].
    pub log_age: Duration,
    /// As [`Options::rules`].
    pub rules: Rules,
}

impl Options {
    /// The settings that it starts with.
    pub fn settings(&self) -> Settings {
        Settings {
            quiet: Quiet { time: self.quiet, most: self.quiet_most },
            retention: self.retention,
            dismissed_retention: self.dismissed_retention,
            log_age: self.log_age,
            rules: self.rules.clone(),
        }
    }
}

/// What became of reading the configuration anew.
#[derive(Debug, Clone)]
pub struct Reload {
    /// The settings that hold from now on; `None` keeps those that there are.
    pub settings: Option<Settings>,
    /// Why the last try failed, for `spool status`; `None` after a good one.
    pub trouble: Option<String>,
    /// The agent is asked to end because another one, with other options, follows in the same process.
    pub goes_on: bool,
}
