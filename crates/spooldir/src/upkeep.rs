//! Upkeep: what the agent clears away by itself, and only that (`spool-format.md` section 8).
//!
//! Leftovers of dead writers in `tmp/` after 36 hours, a live writer's file never; receipts in `done/` and `dismissed/`
//! after their retention. Nothing in `dead/` or `hold/` ever goes by itself.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::entry::Entry;
use crate::error::{Context, Error};
use crate::journal::Line;
use crate::layout::{Dir, Spool};

/// How old a leftover in `tmp/` must be. Longer than any writer can take; a day and a half, as qmail has it.
pub const TMP_AGE: Duration = Duration::from_secs(36 * 3600);

impl Spool {
    /// Removes leftovers from `tmp/`; returns how many.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed.
    pub fn sweep_tmp(&self, now_ms: u64) -> Result<usize, Error> {
        let mut old = Vec::new();
        let dir = self.dir(Dir::Tmp);
        self.each_old(Dir::Tmp, now_ms, TMP_AGE, &mut |name| old.push(dir.join(name)))?;
        let mut gone = 0;
        for path in old {
            if is_live(&path) {
                continue;
            }
            if self.fs().remove(&path).is_ok() {
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// Removes reasons without an entry, and half-written ones, that are older than leftovers in `tmp/` may be; returns
    /// how many.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be listed.
    pub fn sweep_reasons(&self, now_ms: u64) -> Result<usize, Error> {
        let mut gone = 0;
        for dir in [Dir::Hold, Dir::Dead, Dir::Dismissed] {
            let mut old = Vec::new();
            self.each_old(dir, now_ms, TMP_AGE, &mut |name| {
                if name.contains(".why.json") {
                    old.push(name.to_owned());
                }
            })?;
            for name in old {
                let entry = name.strip_suffix(".why.json").map(|id| self.dir(dir).join(format!("{id}.json")));
                let has_entry = entry.is_some_and(|path| !matches!(self.fs().stat(&path), Ok(None)));
                if !has_entry && self.fs().remove(&self.dir(dir).join(name)).is_ok() {
                    gone += 1;
                }
            }
        }
        Ok(gone)
    }

    /// Removes at most `most` receipts older than `retention`; returns the entries that went. Each is written down in
    /// the journal first, so that a crash in between leaves an entry too many there, never one too few; where the
    /// journal cannot be written, nothing goes.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be listed or the journal not be written. A file that cannot be removed
    /// stays for the next time.
    pub fn prune(&self, now_ms: u64, retention: Duration, most: usize) -> Result<Vec<Entry>, Error> {
        let mut old = Vec::new();
        for dir in [Dir::Done, Dir::Dismissed] {
            self.each_old(dir, now_ms, retention, &mut |name| {
                if old.len() < most
                    && let Some(entry) = Entry::from_name(dir, name)
                {
                    old.push(entry);
                }
            })?;
        }
        let lines: Vec<Line> =
            old.iter().map(|entry| Line { to: None, ..Line::about("prune", entry) }).collect();
        self.note(&lines)?;
        old.retain(|entry| self.fs().remove(&self.path(entry)).is_ok());
        Ok(old)
    }

    /// Shows each ordinary file whose content and whose place are both older than `age`. A clock that went back makes
    /// files young, never old.
    fn each_old(&self, dir: Dir, now_ms: u64, age: Duration, see: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let path = self.dir(dir);
        let limit = i128::from(now_ms) * 1_000_000 - i128::try_from(age.as_nanos()).unwrap_or(i128::MAX);
        self.fs()
            .list(&path, &mut |name, is_file| {
                if is_file
                    && let Some(name) = name.to_str()
                    && let Ok(Some(meta)) = self.fs().stat(&path.join(name))
                    && meta.mtime_ns.max(meta.ctime_ns) < limit
                {
                    see(name);
                }
                ControlFlow::Continue(())
            })
            .at("list", path)
    }
}

/// Whether a writer of ours still holds its lock on a staged file.
fn is_live(path: &std::path::Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else {
        return false;
    };
    fs2::FileExt::try_lock_shared(&file).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Fs, RealFs};
    use crate::time::now_ms;
    use crate::{Event, Id, State};

    const DAY: u64 = 86_400_000;

    #[test]
    fn only_old_leftovers_of_dead_writers_go() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        std::fs::write(spool.dir(Dir::Tmp).join("left"), "x").unwrap();
        let live = RealFs::named().stage(&spool.dir(Dir::Tmp)).unwrap();
        assert_eq!(spool.sweep_tmp(now_ms()).unwrap(), 0);
        assert_eq!(spool.sweep_tmp(now_ms() + 2 * DAY).unwrap(), 1);
        assert_eq!(std::fs::read_dir(spool.dir(Dir::Tmp)).unwrap().count(), 1);
        drop(live);
        assert_eq!(std::fs::read_dir(spool.dir(Dir::Tmp)).unwrap().count(), 0);
    }

    #[test]
    fn a_reason_goes_when_its_entry_is_long_gone() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let id = Id::new("a").unwrap();
        spool.publish(&id, br#"{"text":"x"}"#, false).unwrap();
        let why = crate::moves::Why::default();
        spool.advance_why(&Entry::new(id, State::Pending), &Event::Condemn, &why).unwrap();
        std::fs::write(spool.dir(Dir::Dead).join("b.why.json"), "{}").unwrap();
        std::fs::write(spool.dir(Dir::Hold).join("c.why.json.77"), "{").unwrap();
        assert_eq!(spool.sweep_reasons(now_ms()).unwrap(), 0);
        assert_eq!(spool.sweep_reasons(now_ms() + 2 * DAY).unwrap(), 2);
        assert!(spool.why(&Entry::new(Id::new("a").unwrap(), State::Dead)).is_some());
    }

    #[test]
    fn receipts_go_after_their_retention_and_dead_letters_never() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        for (id, event) in
            [("a", Event::Quiet), ("b", Event::Dismiss), ("c", Event::Condemn), ("d", Event::Hold)]
        {
            let id = Id::new(id).unwrap();
            spool.publish(&id, br#"{"text":"x"}"#, false).unwrap();
            spool.advance(&Entry::new(id, State::Pending), &event).unwrap();
        }
        let week = Duration::from_secs(7 * 86_400);
        assert!(spool.prune(now_ms() + 6 * DAY, week, 10).unwrap().is_empty());
        assert_eq!(spool.prune(now_ms() + 8 * DAY, week, 1).unwrap().len(), 1);
        assert_eq!(spool.prune(now_ms() + 8 * DAY, week, 10).unwrap().len(), 1);
        assert!(spool.find(&Id::new("c").unwrap()).unwrap().is_some());
        assert!(spool.find(&Id::new("d").unwrap()).unwrap().is_some());
    }
}
