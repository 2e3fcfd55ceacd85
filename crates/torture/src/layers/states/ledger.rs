//! What was promised: a ledger, kept beside the spool by those who use it, and the judge who holds the spool to it.
//!
//! Whoever acts writes down before what may become of a record, and after what must be from then on. The judge reads
//! the directories of an image himself; he believes nothing that the spool says of itself but where that is the promise
//! (a retry that must be recognised, a reason that must be readable).

use std::sync::Arc;

use spooldir::{Dir, Entry, Id, State};

use super::disk::{Image, Ino, number};

/// How a record stands with its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// He was told nothing, or that it is unknown.
    Unknown,
    /// He was told yes.
    Promised,
    /// He was told that its id belongs to another record.
    Refused,
}

/// A record that somebody tried to bring in.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// Which of the records of a script it is; one that is published under the same id has the same number.
    pub(super) slot: u8,
    /// Its id, unless intake gives it one.
    pub(super) id: Option<Id>,
    /// What it says; no two records of a ledger say the same.
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) word: Word,
    /// Where it may be, a bit for each directory of `Dir::STATES`.
    pub(super) dirs: u8,
    /// Under which keys it may be in `sending/`.
    pub(super) keys: Vec<String>,
    /// Whether its retention may be over.
    pub(super) may_be_gone: bool,
    /// It was dropped without a flush: nothing was promised of it, and it may be torn wherever it has come to by then.
    pub(super) is_careless: bool,
}

/// A job that was started, or was to be.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) id: Id,
    /// The job was started: it is to be reported.
    pub(super) is_open: bool,
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    pub(super) records: Vec<Kept>,
    pub(super) runs: Vec<Run>,
    /// Files whose retention was over when upkeep looked at them. A power cut may bring them back as receipts; then they
    /// are as old as they were, and go again.
    pub(super) over: Vec<Ino>,
}

/// The bit of a directory of `Dir::STATES`.
pub(super) fn bit(dir: Dir) -> u8 {
    Dir::STATES.iter().position(|d| *d == dir).map_or(0, |at| 1 << at)
}

/// An entry as it is seen on the disk. In `new/` its name may be one that only intake will change.
pub(super) struct Seen {
    pub(super) dir: Dir,
    pub(super) name: String,
    pub(super) entry: Option<Entry>,
    pub(super) ino: Ino,
}

/// All entries, and what may become one.
pub(super) fn entries(image: &Image) -> Vec<Seen> {
    let mut seen = Vec::new();
    for dir in Dir::STATES {
        if !image.has_dir(number(dir)) {
            continue;
        }
        for (name, ino) in &image.dirs[number(dir)] {
            let entry = Entry::from_name(dir, &name.text);
            let is_dropped = dir == Dir::New && spooldir::intake::is_candidate(name.text.as_ref().as_ref());
            if entry.is_some() || is_dropped {
                seen.push(Seen { dir, name: name.text.to_string(), entry, ino: *ino });
            }
        }
    }
    seen
}

impl Seen {
    fn is(&self, record: &Kept, image: &Image) -> bool {
        image.file(self.ino) == record.bytes.as_slice()
            && record.id.as_ref().is_none_or(|id| self.entry.as_ref().is_some_and(|e| e.id == *id))
    }

    fn key(&self) -> Option<String> {
        match &self.entry.as_ref()?.state {
            State::Sending { key, .. } => Some(key.to_string()),
            _ => None,
        }
    }

    fn place(&self) -> String {
        format!("{}/{}", self.dir.name(), self.name)
    }
}

fn says(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(90)]).into_owned()
}

impl Ledger {
    fn is_known(&self, seen: &Seen, image: &Image) -> bool {
        self.records.iter().any(|r| r.word != Word::Refused && seen.is(r, image))
    }

    /// Whether it is what a power cut may have made of a file that was never flushed: cut short, or zeroes.
    fn is_torn(&self, seen: &Seen, image: &Image) -> bool {
        let bytes = image.file(seen.ino);
        self.records.iter().filter(|r| r.is_careless && bytes.len() <= r.bytes.len()).any(|r| {
            bytes.iter().zip(r.bytes.iter()).all(|(is, was)| is == was || *is == 0) && *bytes != **r.bytes
        })
    }

    /// Whether it is a receipt whose retention is over: it stands for nothing that was promised.
    pub(super) fn is_over(&self, seen: &Seen) -> bool {
        matches!(seen.dir, Dir::Done | Dir::Dismissed) && self.over.contains(&seen.ino)
    }

    fn in_force(&self, image: &Image) -> Vec<Seen> {
        let mut seen = entries(image);
        seen.retain(|s| !self.is_over(s));
        seen
    }

    /// What must hold as soon as the power is back: nothing partial is visible, and what was promised is there.
    pub(super) fn judge_raw(&self, image: &Image) -> Result<(), String> {
        let seen = self.in_force(image);
        if let Some(s) = seen.iter().find(|s| !self.is_known(s, image) && !self.is_torn(s, image)) {
            let what = says(image.file(s.ino));
            return Err(format!("{} holds {what:?}, which nobody published", s.place()));
        }
        for record in &self.records {
            self.judge_record(record, &seen, image, true)?;
        }
        Ok(())
    }

    /// What must hold after recovery: as before, and everything is in exactly one place.
    pub(super) fn judge(&self, image: &Image) -> Result<(), String> {
        let seen = self.in_force(image);
        for record in &self.records {
            self.judge_record(record, &seen, image, false)?;
        }
        for s in &seen {
            if image.links(s.ino) > 1 {
                return Err(format!("{} still has two names", s.place()));
            }
            // What is torn is not sent, nor about to be: in new/ intake is still looking at it, and what was delivered
            // or put aside before the cut, and read whole then, stays where it was.
            let may_be_torn = !matches!(s.dir, Dir::Sending | Dir::Deferred) && self.is_torn(s, image);
            if !may_be_torn && !self.is_known(s, image) {
                return Err(format!("{} is left, which nobody published", s.place()));
            }
        }
        for run in &self.runs {
            let reports = seen.iter().filter(|s| s.entry.as_ref().is_some_and(|e| e.id == run.id)).count();
            if reports > 1 || run.is_open && reports != 1 {
                return Err(format!("the run {} is reported {reports} times", run.id));
            }
        }
        Ok(())
    }

    fn judge_record(&self, record: &Kept, seen: &[Seen], image: &Image, is_raw: bool) -> Result<(), String> {
        let places: Vec<&Seen> = seen.iter().filter(|s| s.is(record, image)).collect();
        let whose = || {
            let id = record.id.as_ref().map_or("dropped", Id::as_str);
            let at: Vec<String> = places.iter().map(|s| s.place()).collect();
            format!("{id} ({:?}, {:?}) is in {at:?}", record.word, says(&record.bytes))
        };
        match record.word {
            Word::Refused if !places.is_empty() => return Err(format!("refused, yet {}", whose())),
            Word::Promised if places.is_empty() && !record.may_be_gone => {
                return Err(format!("lost after a yes: {}", whose()));
            }
            _ => {}
        }
        if !is_raw && places.len() > 1 {
            return Err(format!("not in one state: {}", whose()));
        }
        if record.word == Word::Promised {
            for s in &places {
                let is_key = record.keys.is_empty() || s.key().is_none_or(|key| record.keys.contains(&key));
                if (record.dirs & bit(s.dir) == 0 || !is_key) && (!is_raw || places.len() == 1) {
                    return Err(format!("went back on a promised move: {}", whose()));
                }
            }
        }
        Ok(())
    }
}
