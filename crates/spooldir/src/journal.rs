//! The journal: one JSON line for each transition, to explain and to audit. Correctness never depends on it.
//!
//! One file a day, appended in single writes, so that the agent and a person's command may write at the same time. A
//! torn line (crash, full disk) is skipped by readers and closed by the next writer. It names ids, keys and reasons,
//! never what a record says.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Event};
use crate::error::{Context, Error};
use crate::layout::{Dir, Spool};
use crate::time::{day_of, now_ms};

/// How long journal files are kept, in days. Longer than any receipt.
pub const KEEP_DAYS: u64 = 90;
/// The largest journal file a reader takes in.
const MAX_FILE: u64 = 1 << 30;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Line {
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at: u64,
    /// What happened: the word of an [`Event`], or `accept`, `duplicate`, `prune`, `lost`, `evidence`.
    pub event: String,
    /// To which entry.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The state it is in now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The session it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
    /// The delivery key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Attempts that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The rung of evidence reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who did it: the agent when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

impl Line {
    /// A line about an event that brought an entry to where it is now.
    pub fn moved(event: &Event, entry: &Entry) -> Line {
        Line {
            key: entry.state.key().map(ToString::to_string),
            attempts: Some(entry.state.attempts()).filter(|n| *n > 0),
            ..Line::about(event.word(), entry)
        }
    }

    /// A line about an entry.
    pub fn about(event: &str, entry: &Entry) -> Line {
        Line {
            at: now_ms(),
            event: event.into(),
            id: entry.id.to_string(),
            to: Some(entry.state.word().into()),
            ..Line::default()
        }
    }

    /// The same line with a reason.
    pub fn because(self, reason: impl Into<String>) -> Line {
        Line { reason: Some(reason.into()), ..self }
    }

    /// The same line, done by a person.
    pub fn by(self, who: &str) -> Line {
        Line { by: Some(who.into()), ..self }
    }
}

impl Spool {
    /// Writes lines to the journal in one write.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing else depends on it.
    pub fn note(&self, lines: &[Line]) -> Result<(), Error> {
        let Some(first) = lines.first() else { return Ok(()) };
        let mut bytes = Vec::with_capacity(lines.len() * 160);
        for line in lines {
            if serde_json::to_writer(&mut bytes, line).is_ok() {
                bytes.push(b'\n');
            }
        }
        let path = self.dir(Dir::Journal).join(format!("{}.jsonl", day_of(first.at)));
        self.fs().append(&path, &bytes).at("append to", path)
    }

    /// The files of the journal, oldest first. What we did not name is not ours to read.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed.
    pub fn journal_files(&self) -> Result<Vec<PathBuf>, Error> {
        let dir = self.dir(Dir::Journal);
        let mut files = Vec::new();
        self.fs()
            .list(&dir, &mut |name, is_file| {
                if is_file && is_day(name) {
                    files.push(dir.join(name));
                }
                ControlFlow::Continue(())
            })
            .at("list", &dir)?;
        files.sort_unstable();
        Ok(files)
    }

    /// Shows each line of the journal, oldest first, and returns how many could not be read.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read.
    pub fn each_line(&self, mut see: impl FnMut(Line)) -> Result<u64, Error> {
        let mut torn = 0;
        for path in self.journal_files()? {
            let content = self.fs().read(&path, MAX_FILE).map_err(|e| e.into_error("read", &path))?;
            for text in content.bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                match serde_json::from_slice(text) {
                    Ok(line) => see(line),
                    Err(_) => torn += 1,
                }
            }
        }
        Ok(torn)
    }

    /// Removes journal files that are older than [`KEEP_DAYS`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn prune_journal(&self, now_ms: u64) -> Result<usize, Error> {
        let oldest = format!("{}.jsonl", day_of(now_ms.saturating_sub(KEEP_DAYS * 86_400_000)));
        let is_old = |path: &PathBuf| path.file_name().is_some_and(|name| *name < *oldest);
        let old = self.journal_files()?.into_iter().filter(is_old);
        let mut gone = 0;
        for path in old {
            self.fs().remove(&path).at("remove", path)?;
            gone += 1;
        }
        Ok(gone)
    }
}

/// Whether a name is one that we give: `YYYY-MM-DD.jsonl`. Nothing else is ours.
fn is_day(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let fits =
        |(at, byte): (usize, &u8)| if matches!(at, 4 | 7) { *byte == b'-' } else { byte.is_ascii_digit() };
    name.len() == 16 && name.ends_with(b".jsonl") && name[..10].iter().enumerate().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Id, State};
    use std::io::Write;

    #[test]
    fn lines_read_back_and_a_torn_one_costs_only_itself() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let entry = Entry::new(Id::mint(), State::Pending);
        let line = Line::about("accept", &entry).because("x");
        spool.note(&[line.clone(), line.clone()]).unwrap();
        let path = spool.journal_files().unwrap().remove(0);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\":1,\"ev").unwrap();
        spool.note(std::slice::from_ref(&line)).unwrap();
        let mut seen = Vec::new();
        assert_eq!(spool.each_line(|l| seen.push(l)).unwrap(), 1);
        assert_eq!(seen, [line.clone(), line.clone(), line]);
    }

    #[test]
    fn old_files_go_and_young_ones_stay() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let day = |n: u64| Line { at: n * 86_400_000, event: "accept".into(), ..Line::default() };
        for n in [20_000, 20_010, 20_100] {
            spool.note(&[day(n)]).unwrap();
        }
        let foreign = spool.dir(Dir::Journal).join("2001-notes.jsonl");
        std::fs::write(&foreign, "{}").unwrap();
        assert_eq!(spool.prune_journal(20_100 * 86_400_000).unwrap(), 1);
        assert_eq!(spool.journal_files().unwrap().len(), 2);
        assert!(foreign.exists(), "what we did not name is not ours to remove");
    }
}
