//! Jobs in progress: who is left to report them, and to whom the answer belongs.
//!
//! A run whose lease is free and that has no completion is published as `lost`, by the agent and under the run's own
//! id, so that a completion that was published after all is never doubled. Nothing but the lease decides: a run that is
//! under way for days is left alone. When a run is first seen, the session's route is remembered: in a session that
//! several people share, the answer belongs to whoever started the job, not to whoever wrote last.

use std::time::{Duration, Instant};

use spool_gateway::receiver::{Connector, Gateway, Look};
use spool_seeded::Bug;
use spooldir::journal::Line;
use spooldir::publish::Published;
use spooldir::run::{Intent, RunRoute, Standing, lost_record};
use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Error, Id, State};
use tracing::{debug, info, warn};

use crate::agent::Agent;

/// How often leases are looked at while there are runs.
const LOOK: Duration = Duration::from_secs(1);
/// Runs that are looked after at once; there are rarely more than a few.
const MAX_RUNS: usize = 10_000;

/// A run that the agent has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    intent: Intent,
    /// Whether its route was asked for, or needs not to be.
    is_routed: bool,
}

/// What a look at a run's session came to.
#[derive(Debug)]
pub(crate) struct Routed {
    id: Id,
    route: Option<RunRoute>,
    is_known: bool,
}

impl<'a, C> Agent<'a, C>
where
    C: Connector,
    C::Gateway: 'static,
{
    /// When leases are to be looked at, if there are runs.
    pub(crate) fn runs_due(&self) -> Option<Instant> {
        (!self.runs.is_empty()).then_some(self.runs_at)
    }

    /// Looks at the runs, if something may have changed or it is time.
    pub(crate) fn watch_runs(&mut self, now: Instant, is_rung: bool) {
        let is_due = self.runs_due().is_some_and(|at| now >= at);
        if !is_rung && !is_due && !self.is_timed_sweep_due(now) {
            return;
        }
        self.runs_at = now + LOOK;
        let ids = match self.spool.runs() {
            Ok(ids) => ids,
            Err(e) => {
                debug!("{e}");
                return;
            }
        };
        self.runs.retain(|id, _| ids.binary_search(id).is_ok());
        for id in ids.into_iter().take(MAX_RUNS) {
            if let Err(e) = self.watch_run(&id) {
                debug!("{e}");
            }
        }
        self.ask_for_routes();
    }

    fn watch_run(&mut self, id: &Id) -> Result<(), Error> {
        if !self.runs.contains_key(id) {
            let Some(intent) = self.spool.intent(id)? else { return Ok(()) };
            let is_routed = intent.session_key.is_none() || self.spool.route_of(id, &intent).is_some();
            self.runs.insert(id.clone(), Seen { intent, is_routed });
        }
        let Some(seen) = self.runs.get(id) else { return Ok(()) };
        if self.spool.standing(id, &seen.intent) == Standing::Running {
            return Ok(());
        }
        // Its wrapper may have closed it between the list and the look.
        let Some(intent) = self.spool.intent(id)? else { return Ok(()) };
        if !self.spool.flush_completion(id)? && !spool_seeded::is(Bug::LostIgnored) {
            self.publish_lost(id, &intent)?;
        }
        self.spool.close_run(id)?;
        self.runs.remove(id);
        Ok(())
    }

    fn publish_lost(&mut self, id: &Id, intent: &Intent) -> Result<(), Error> {
        let id = if spool_seeded::is(Bug::LostTwice) { &Id::mint() } else { id };
        let record = lost_record(self.spool, id, intent, now_ms());
        let bytes = serde_json::to_vec(&record).map_err(std::io::Error::from);
        let path = self.spool.dir(Dir::Runs);
        let bytes = bytes.map_err(|source| Error::Io { verb: "write a record from", path, source })?;
        match self.spool.publish(id, &bytes, false) {
            Ok(Published::New(_)) => {
                warn!("lost: {id}: nobody was left to report it");
                let entry = Entry::new(id.clone(), State::Pending);
                self.lines.push(Line::about("lost", &entry).because("nobody was left to report the run"));
                self.dirty = true;
                Ok(())
            }
            Ok(Published::Before(_)) => Ok(()),
            // Somebody was faster.
            Err(Error::Conflict { .. }) => self.spool.flush_completion(id).map(drop),
            Err(e) => Err(e),
        }
    }

    /// Asks the gateway where the answers to new runs belong.
    fn ask_for_routes(&mut self) {
        let Some(gateway) = self.gateway() else { return };
        for (id, seen) in &mut self.runs {
            let Some(session) = seen.intent.session_key.clone().filter(|_| !seen.is_routed) else { continue };
            seen.is_routed = true;
            let (gateway, id) = (gateway.clone(), id.clone());
            self.looks.push(Box::pin(async move {
                match gateway.look(&session).await {
                    Ok(Look::Open(session)) => {
                        let route = session.route.map(|r| RunRoute {
                            channel: r.channel,
                            to: r.to,
                            account_id: r.account_id,
                            thread_id: r.thread_id,
                        });
                        Routed { id, route, is_known: true }
                    }
                    Ok(_) => Routed { id, route: None, is_known: true },
                    Err(_) => Routed { id, route: None, is_known: false },
                }
            }));
        }
    }

    pub(crate) fn on_routed(&mut self, routed: Routed) {
        if let Some(route) = &routed.route {
            match self.spool.remember_route(&routed.id, route) {
                Ok(()) => info!("the answer to {} belongs to {}", routed.id, route.channel),
                Err(e) => debug!("{e}"),
            }
        }
        if let Some(seen) = self.runs.get_mut(&routed.id) {
            seen.is_routed = routed.is_known;
        }
    }
}
