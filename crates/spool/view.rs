//! How an entry is shown: the members that `docs/json.md` promises, put together from the name of its file (state,
//! attempts, due time), the record in it, the reason beside it and the journal.

use serde::Serialize;
use spooldir::fs::Unfit;
use spooldir::moves::Why;
use spooldir::record::{Flaw, MAX_BYTES};
use spooldir::{Dir, Entry, Record, Spool, State};

use crate::Failure;
use crate::history::History;

/// An entry, as `spool list --json` shows it. What is not known is null. Times are milliseconds since 1970 UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Its id; null for a dropped file that will only get one from the agent.
    pub id: Option<String>,
    /// `pending`, `sending`, `deferred`, `held`, `dead`, `done` or `dismissed`.
    pub state: &'static str,
    /// The session it is for.
    pub session_key: Option<String>,
    /// How the task ended.
    pub status: Option<&'static str>,
    /// A short name.
    pub label: Option<String>,
    /// Attempts that failed for a reason of its own.
    pub attempts: u32,
    /// When the producer wrote it, by its own word, else by its file.
    pub created_at: Option<u64>,
    /// When a deferred entry is due.
    pub due_at: Option<u64>,
    /// Why the last attempt failed, or why it is held or dead.
    pub last_error: Option<String>,
    /// The strongest proof of its last delivery: `accepted`, `committed`, `replied` or `sent`.
    pub evidence: Option<String>,
}

/// The file of an entry, as far as it could be read.
#[derive(Debug)]
pub struct Document {
    /// Its bytes.
    pub bytes: Option<Vec<u8>>,
    /// What they say, or why they are no record.
    pub record: Result<Record, String>,
    /// The exit number that fits, if the disk did not let it be read: then nothing is known of the record.
    pub unread: Option<u8>,
    /// Whether the record is of a later version of the format.
    pub is_later: bool,
    /// When the file was written, in milliseconds since 1970.
    pub written_at: Option<u64>,
}

/// Reads the file of an entry. `None` when it is not there (any more).
pub fn open(spool: &Spool, path: &std::path::Path) -> Option<Document> {
    let content = match spool.fs().read(path, MAX_BYTES) {
        Ok(content) => content,
        Err(e) if e.is_gone() => return None,
        Err(e) => {
            let record = Err(e.to_string());
            let is_trouble = matches!(e, Unfit::Io(_));
            return Some(Document {
                bytes: None,
                record,
                unread: is_trouble.then(|| e.into_error("read", path).exit()),
                is_later: false,
                written_at: None,
            });
        }
    };
    let record = Record::parse(&content.bytes);
    Some(Document {
        written_at: u64::try_from(content.meta.mtime_ns / 1_000_000).ok(),
        unread: None,
        is_later: matches!(record, Err(Flaw::Version(_))),
        record: record.map_err(|flaw| flaw.to_string()),
        bytes: Some(content.bytes),
    })
}

/// An entry with all that is known of it.
#[derive(Debug)]
pub struct Seen {
    /// Where it stands.
    pub entry: Entry,
    /// Its file.
    pub document: Document,
    /// The reason beside it.
    pub why: Option<Why>,
}

/// Looks at an entry; follows it when it has moved on meanwhile. `None` when it is nowhere.
///
/// # Errors
/// What the spool says when it cannot be read.
pub fn look(spool: &Spool, entry: Entry) -> Result<Option<Seen>, spooldir::Error> {
    let mut entry = entry;
    for _pass in 0..3 {
        if let Some(document) = open(spool, &spool.path(&entry)) {
            let why = spool.why(&entry);
            return Ok(Some(Seen { entry, document, why }));
        }
        match spool.find(&entry.id)? {
            Some(moved) => entry = moved,
            None => return Ok(None),
        }
    }
    Ok(None)
}

impl Seen {
    /// Refuses to judge a record that could not be read: it may be a good one.
    ///
    /// # Errors
    /// With the exit number of what the disk said.
    pub fn must_be_read(&self, verb: &str) -> Result<(), Failure> {
        match (self.document.unread, &self.document.record) {
            (Some(exit), Err(why)) => {
                Err(Failure::new(exit, format!("cannot {verb} {}: it cannot be read: {why}", self.entry.id)))
            }
            _ => Ok(()),
        }
    }

    /// Puts the view together.
    pub fn view(&self, history: &History) -> View {
        let state = &self.entry.state;
        let why_attempts = self.why.as_ref().map_or(0, |w| w.attempts);
        let is_stuck = matches!(state, State::Held | State::Dead);
        let why_reason = self.why.as_ref().filter(|w| is_stuck && !w.reason.is_empty());
        View {
            id: Some(self.entry.id.to_string()),
            attempts: state.attempts().max(why_attempts).max(history.attempts),
            due_at: if let State::Deferred { due_ms, .. } = state { Some(*due_ms) } else { None },
            last_error: why_reason.map(|w| w.reason.clone()).or_else(|| history.last_error.clone()),
            evidence: history.evidence.clone(),
            ..of_document(&self.document, state.word())
        }
    }
}

/// The view of a file in `new/` that has no id yet.
pub fn nameless(document: &Document) -> View {
    of_document(document, Dir::New.state_word())
}

fn of_document(document: &Document, state: &'static str) -> View {
    let record = document.record.as_ref().ok();
    View {
        id: None,
        state,
        session_key: record.and_then(|r| r.session_key.clone()),
        status: record.map(|r| r.status.as_str()),
        label: record.and_then(|r| r.label.clone()),
        attempts: 0,
        created_at: record.and_then(|r| r.created_at).or(document.written_at),
        due_at: None,
        last_error: None,
        evidence: None,
    }
}

/// A text that somebody else wrote, made safe for one line of a terminal and cut to `most` characters.
pub fn brief(text: &str, most: usize) -> String {
    let line = spool_drain::sanitize::line(text);
    match line.char_indices().nth(most) {
        Some((at, _)) => format!("{}...", line.get(..at).unwrap_or_default()),
        None => line,
    }
}
