//! Verdicts: what one attempt at a delivery proved, and who waits or pays for it.
//!
//! [`of_trouble`] is asked only after a probe has shown that nothing was committed; before that every trouble is
//! [`Verdict::Unknown`].

use std::time::Duration;

use spool_gateway::receiver::{Evidence, Kind, Trouble};
use spool_seeded::Bug;

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody: the gateway is away. Costs nobody an attempt.
    Gateway,
    /// The lane. Costs no attempt.
    Session,
    /// The records of the delivery. Costs each an attempt.
    Record,
}

/// What one attempt proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The session has it.
    Delivered {
        /// The rung that is proved.
        evidence: Evidence,
        /// What a person should know about it, if anything.
        note: Option<String>,
    },
    /// The session's transcript has it, but its turn or its reply failed and nobody was told.
    Untold {
        /// Why.
        reason: String,
    },
    /// Not committed; may be sent again under the same key.
    Later {
        /// Who waits.
        scope: Scope,
        /// What the gateway asked for.
        after: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// Not committed, and the key is burnt; may be sent again under its next epoch.
    Rekey {
        /// What the gateway asked for.
        after: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// Not committed; a person has to decide.
    Hold {
        /// What the person should know.
        reason: String,
    },
    /// Not committed, and never will be.
    Never {
        /// Why.
        reason: String,
        /// Whether it is the session's fault, so that the records would fare no better alone.
        of_session: bool,
    },
    /// The gateway does not want us at all; nothing was learnt about the delivery.
    Refused {
        /// What to mend.
        reason: String,
    },
    /// Nothing is known: probe before anything else.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// What a trouble means once it is proved that nothing was committed.
pub fn of_trouble(trouble: Trouble) -> Verdict {
    let Trouble { kind, reason, retry_after: after } = trouble;
    match kind {
        Kind::Unavailable if spool_seeded::is(Bug::OutageCounts) => {
            Verdict::Later { scope: Scope::Record, after, reason }
        }
        Kind::Never if spool_seeded::is(Bug::NeverIsLater) => {
            Verdict::Later { scope: Scope::Session, after, reason }
        }
        Kind::Unavailable => Verdict::Later { scope: Scope::Gateway, after, reason },
        Kind::Refused => Verdict::Refused { reason },
        Kind::Session | Kind::Moved => Verdict::Later { scope: Scope::Session, after, reason },
        // A deadline that passes without a trace, while the gateway answers probes, is the record's own trouble.
        Kind::Record | Kind::Doubt => Verdict::Later { scope: Scope::Record, after, reason },
        Kind::Burnt => Verdict::Rekey { after, reason },
        Kind::Hold => Verdict::Hold { reason },
        Kind::Never => Verdict::Never { reason, of_session: false },
    }
}

/// What a trouble means while it is not known what became of the delivery.
pub fn in_doubt(trouble: Trouble) -> Verdict {
    match trouble.kind {
        Kind::Refused => Verdict::Refused { reason: trouble.reason },
        Kind::Unavailable if spool_seeded::is(Bug::OutageCounts) => of_trouble(trouble),
        _ => Verdict::Unknown { reason: trouble.reason },
    }
}
