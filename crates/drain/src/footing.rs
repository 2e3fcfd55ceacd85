//! The ground the agent stands on: that the spool is still the one it opened, and still its own.
//!
//! Directories are named by their paths, so whoever can write beside them can put something else in their place while
//! the agent runs: a symlink to a directory full of somebody's files, a directory that is open to others, another
//! spool. And an agent may be stopped for days, and wake when another one has taken over. What is kept true: whenever
//! the loop has waited, it looks before it touches anything. While a directory is not what it has to be, nothing is
//! taken in, sent or retired, and nothing is lost by that. When the lock at its path is not the one that we hold, what
//! we know is about a spool that is not there any more: whoever has the new lock is the agent, and if it is us we start
//! anew, with what is there. (A swap between the look and the rename is not seen: it takes the agent's own user or
//! root, who can do anything to a spool.)

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use spooldir::lock::AgentLock;
use spooldir::{Error, Spool};
use tracing::{info, warn};

use crate::options::Options;

/// How often a spool that is not as it should be is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Where the agent stands.
pub(crate) enum Footing {
    /// On the spool that it knows.
    Firm,
    /// On it again, after a time in which it was not as it should be.
    Mended,
    /// On another spool under the same name, which is ours now.
    Anew(AgentLock),
    /// Nowhere, and told to stop.
    Nowhere,
}

/// Looks at the directories and the lock, and waits until they are as they should be. `shutdown` is `None` when the
/// agent is stopping already: then nobody waits.
///
/// # Errors
/// [`Error::Locked`] when another agent has the spool that is there now; with [`Options::once`] whatever is wrong.
pub(crate) async fn look(
    spool: &Spool,
    lock: &AgentLock,
    options: &Options,
    mut shutdown: Option<Pin<&mut impl Future<Output = ()>>>,
) -> Result<Footing, Error> {
    if spool_seeded::is(spool_seeded::Bug::StaleAgent) {
        return Ok(Footing::Firm);
    }
    let mut told: Option<String> = None;
    loop {
        let error = match spool.check().and_then(|()| lock.is_at(spool)) {
            Ok(true) if told.is_none() => return Ok(Footing::Firm),
            Ok(true) => {
                info!("{} is as it should be again", spool.root().display());
                return Ok(Footing::Mended);
            }
            Ok(false) => match spool.recheck().and_then(|()| AgentLock::take(spool)) {
                Ok(lock) => return Ok(Footing::Anew(lock)),
                Err(e) => e,
            },
            Err(e) => e,
        };
        if options.once || matches!(error, Error::Locked { .. }) {
            return Err(error);
        }
        let why = error.to_string();
        if told.as_ref() != Some(&why) {
            warn!("{why}; nothing is taken in, sent or retired until that is mended");
            told = Some(why.clone());
        }
        options.supervisor.status(&why);
        options.supervisor.alive();
        let Some(shutdown) = &mut shutdown else { return Ok(Footing::Nowhere) };
        tokio::select! {
            () = shutdown.as_mut() => return Ok(Footing::Nowhere),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
