//! One entry in the agent's hands: its record, read and judged again, and its moves.
//!
//! A record that was good when it was taken in may have been changed since, so it is judged whenever it is read. Each
//! move is written down in the journal and said in the log, and both only after it happened.

use spool_gateway::receiver::Connector;
use spooldir::journal::Line;
use spooldir::moves::Why;
use spooldir::record::{Flaw, MAX_BYTES};
use spooldir::time::now_ms;
use spooldir::{Entry, Event, Record, State};
use tracing::{info, warn};

use crate::agent::Agent;

/// An entry's record, read and judged again.
pub(crate) enum Reading {
    /// As it should be.
    Good(Box<Record>, i128),
    /// The file is gone: somebody moved it.
    Gone,
    /// It cannot be read now; why.
    Trouble(String),
    /// It is no record any more; why.
    Bad(String),
    /// It is of a later version: an agent that could read it brought it here, and was replaced by this older one. Why.
    Later(String),
}

impl<C> Agent<'_, C>
where
    C: Connector,
    C::Gateway: 'static,
{
    /// As [`Agent::read`], without reading a file again that is known and as it was.
    pub(crate) fn read_or_recall(&mut self, entry: &Entry) -> Reading {
        if let Some((seen, record)) = self.kept.take(&entry.id)
            && entry.state == State::Pending
            && matches!(self.spool.fs().stat(&self.spool.path(entry)), Ok(Some(now)) if now == seen)
        {
            return Reading::Good(record, seen.mtime_ns);
        }
        self.read(entry)
    }

    /// Reads the record of an entry.
    pub(crate) fn read(&self, entry: &Entry) -> Reading {
        let path = self.spool.path(entry);
        let content = match self.spool.fs().read(&path, MAX_BYTES) {
            Err(spooldir::fs::Unfit::Linked(_)) if self.spool.mend(&entry.id).unwrap_or(false) => {
                self.spool.fs().read(&path, MAX_BYTES)
            }
            other => other,
        };
        match content {
            Ok(content) => match Record::parse(&content.bytes) {
                Ok(record) if record.session_key.is_none() => Reading::Bad("it names no session".into()),
                Ok(record) => Reading::Good(Box::new(record), content.meta.mtime_ns),
                Err(flaw @ Flaw::Version(_)) => Reading::Later(flaw.to_string()),
                Err(flaw) => Reading::Bad(flaw.to_string()),
            },
            Err(e) if e.is_gone() => Reading::Gone,
            Err(spooldir::fs::Unfit::Io(e)) => Reading::Trouble(e.to_string()),
            Err(e) => Reading::Bad(e.to_string()),
        }
    }

    pub(crate) fn condemn(&mut self, entry: &Entry, reason: &str) {
        self.index.remove(&entry.id);
        if self.advance(entry, &Event::Condemn, Some(reason)).is_some() {
            self.summary.dead += 1;
        }
    }

    /// A person has to decide.
    pub(crate) fn hold(&mut self, entry: &Entry, reason: &str) {
        self.index.remove(&entry.id);
        if self.advance(entry, &Event::Hold, Some(reason)).is_some() {
            self.summary.held += 1;
        }
    }

    /// Moves an entry, writes down that it did, and says so. `None` when it could not be moved: it is where it was, or
    /// where a person put it.
    pub(crate) fn advance(&mut self, entry: &Entry, event: &Event, reason: Option<&str>) -> Option<Entry> {
        let moved = match reason {
            Some(reason) => {
                let why = Why {
                    reason: reason.into(),
                    at: now_ms(),
                    attempts: entry.state.attempts(),
                    key: entry.state.key().map(ToString::to_string),
                    dropped_as: None,
                };
                self.spool.advance_why(entry, event, &why)
            }
            None => self.spool.advance(entry, event),
        };
        match moved {
            Ok(moved) => {
                if matches!(moved.state, State::Held | State::Dead | State::Dismissed) {
                    self.desk.has_moved();
                }
                let line = Line::moved(event, &moved);
                let line = reason.map_or_else(|| line.clone(), |r| line.clone().because(r));
                info!(id = %moved.id, verdict = moved.state.word(), "{}: {}{}", event.word(), moved.state.word(), reason.map(|r| format!(": {r}")).unwrap_or_default());
                self.lines.push(line);
                Some(moved)
            }
            Err(e) => {
                warn!("{e}");
                None
            }
        }
    }
}
