//! What the agent writes down of itself at the end of a turn: the journal's lines, and its status when it has news.

use std::time::{Duration, Instant};

use spool_gateway::receiver::Connector;
use spooldir::time::now_ms;
use tracing::debug;

use crate::agent::Agent;
use crate::status::{self, AgentStatus, GatewayStatus, Troubled};
use crate::watch::{Doorbell, WatchState};

/// How many sessions in trouble the status names. A session key is bounded, so the file stays readable.
const MAX_TROUBLED: usize = 20;

impl<C> Agent<'_, C>
where
    C: Connector,
    C::Gateway: 'static,
{
    /// Writes journal and status. Neither failing is a reason to stop.
    pub(crate) fn write_down(&mut self, doorbell: &Doorbell) {
        if !self.lines.is_empty() {
            if let Err(e) = self.spool.note(&self.lines) {
                debug!("{e}; {} journal lines are lost", self.lines.len());
            }
            self.lines.clear();
        }
        // A turn is short, and most have no news: what is written is put together only then.
        let is_news = self.told.as_ref().is_none_or(|(told, at)| {
            told.gateway.state != self.link_word()
                || told.gateway.reason.as_deref() != self.link_reason()
                || (told.lanes_in_trouble != self.lanes.in_trouble() && at.elapsed() > Duration::from_secs(1))
                || (told.in_flight != self.flights.len() && at.elapsed() > Duration::from_secs(1))
                || told.config_trouble.as_deref() != self.pace.trouble()
                || at.elapsed() > Duration::from_secs(10)
        });
        if is_news {
            let status = self.status(doorbell);
            let troubled = self.lanes.troubled(MAX_TROUBLED).into_iter().map(|(session, at)| {
                let wait = at.saturating_duration_since(Instant::now()).as_millis();
                let next_try = status.updated_at.saturating_add(u64::try_from(wait).unwrap_or(0));
                Troubled { session_key: session.to_string(), next_try }
            });
            let status = AgentStatus { troubled: troubled.collect(), ..status };
            let _written = status::write(self.spool, &status);
            self.options.supervisor.status(&status.line());
            self.told = Some((status, Instant::now()));
        }
    }

    pub(crate) fn status(&self, doorbell: &Doorbell) -> AgentStatus {
        let now = now_ms();
        let ago = |at: Instant| now.saturating_sub(u64::try_from(at.elapsed().as_millis()).unwrap_or(0));
        let until = |at: Instant| {
            let wait = at.saturating_duration_since(Instant::now()).as_millis();
            now + u64::try_from(wait).unwrap_or(0)
        };
        AgentStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: self.started_at,
            updated_at: now,
            gateway: GatewayStatus {
                state: self.link_word().into(),
                since: ago(self.breaker.since()),
                next_try: self.breaker.next_try().map(until),
                reason: self.link_reason().map(Into::into),
                version: self.server.as_ref().map(|s| s.version.clone()),
                protocol: self.server.as_ref().map(|s| s.protocol),
            },
            in_flight: self.flights.len(),
            waiting: self.lanes.len() + self.fresh.len() + self.deferred.len(),
            lanes_in_trouble: self.lanes.in_trouble(),
            troubled: Vec::new(),
            slowed: self.slowed(),
            config_trouble: self.pace.trouble().map(Into::into),
            watch: match doorbell.state() {
                WatchState::Native => "native".into(),
                WatchState::Polling { reason } => reason.clone(),
            },
        }
    }
}
