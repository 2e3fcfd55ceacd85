//! Upkeep: what the agent clears away by itself, and only that (`spool-format.md` section 8).
//!
//! Leftovers of dead writers in `tmp/` after 36 hours, a live writer's file never; receipts in `done/` and `dismissed/`
//! after their retention; logs after 30 days, and what closed runs left behind after 36 hours. Nothing in `dead/` or
//! `hold/` ever goes by itself, nor the log that such an entry speaks of.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use spool_seeded::Bug;

use crate::entry::Entry;
use crate::error::{Context, Error};
use crate::journal::Line;
use crate::layout::{Dir, Spool};
use crate::name::Id;

/// How old a leftover in `tmp/` must be. Longer than any writer can take; a day and a half, as qmail has it.
pub const TMP_AGE: Duration = Duration::from_secs(36 * 3600);
/// How long a log is kept after the last line was written to it.
pub const LOG_AGE: Duration = Duration::from_secs(30 * 86_400);

/// What stands beside an intent, also while it is being replaced.
const RUN_FILES: [&str; 3] = [".lock", ".pid", ".route"];

impl Spool {
    /// Removes leftovers from `tmp/`; returns how many.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed.
    pub fn sweep_tmp(&self, now_ms: u64) -> Result<usize, Error> {
        let old = self.old_tmp(now_ms)?;
        Ok(old.iter().filter(|path| self.fs().remove(path).is_ok()).count())
    }

    /// What [`Spool::sweep_tmp`] would remove.
    ///
    /// # Errors
    /// As there.
    pub fn old_tmp(&self, now_ms: u64) -> Result<Vec<PathBuf>, Error> {
        let mut old = Vec::new();
        let dir = self.dir(Dir::Tmp);
        self.each_old(Dir::Tmp, now_ms, TMP_AGE, &mut |name| old.push(dir.join(name)))?;
        old.retain(|path| !is_live(path) || spool_seeded::is(Bug::TmpSweepLive));
        Ok(old)
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

    /// The receipts in some of `done/` and `dismissed/` that have been there longer than `age`, at most so many.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be listed.
    pub fn receipts_older(
        &self,
        dirs: &[Dir],
        now_ms: u64,
        age: Duration,
        most: usize,
    ) -> Result<Vec<Entry>, Error> {
        let mut old = Vec::new();
        for dir in dirs.iter().copied().filter(|dir| matches!(dir, Dir::Done | Dir::Dismissed)) {
            self.each_old(dir, now_ms, age, &mut |name| {
                if old.len() < most
                    && let Some(entry) = Entry::from_name(dir, name)
                {
                    old.push(entry);
                }
            })?;
        }
        Ok(old)
    }

    /// Removes receipts, and says so in the journal first: what is gone without a line would be lost to the audit. So
    /// where that cannot be written, nothing goes. `by` is who does it: the agent when there is none.
    ///
    /// # Errors
    /// [`Error::Io`] when the journal cannot be written. A file that cannot be removed stays for the next time.
    pub fn prune(&self, old: Vec<Entry>, by: Option<&str>) -> Result<Vec<Entry>, Error> {
        let line = |entry: &Entry| {
            let line = Line { to: None, ..Line::about("prune", entry) };
            by.map_or(line.clone(), |by| line.by(by))
        };
        self.note(&old.iter().map(line).collect::<Vec<Line>>())?;
        let mut gone = old;
        gone.retain(|entry| self.fs().remove(&self.path(entry)).is_ok());
        for entry in &gone {
            self.forget_why(entry.dir(), &entry.id);
        }
        Ok(gone)
    }

    /// Removes logs that are older than `age` ([`LOG_AGE`] unless somebody wants otherwise), unless their run is open or its completion is in the spool;
    /// returns how many.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be looked at.
    pub fn sweep_logs(&self, now_ms: u64, age: Duration) -> Result<usize, Error> {
        let mut old = Vec::new();
        self.each_old(Dir::Logs, now_ms, age, &mut |name| {
            old.extend(name.strip_suffix(".log").and_then(|id| Id::new(id).ok()));
        })?;
        let mut gone = 0;
        for id in old {
            let is_open = self.has_intent(&id)? || self.find(&id)?.is_some();
            if !is_open && self.fs().remove(&self.log_path(&id)).is_ok() {
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// Removes what runs that are closed, or were never opened, left in `runs/`: leases that nobody holds, process
    /// numbers, routes and half-written files; returns how many.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be looked at.
    pub fn sweep_runs(&self, now_ms: u64) -> Result<usize, Error> {
        let mut old = Vec::new();
        self.each_old(Dir::Runs, now_ms, TMP_AGE, &mut |name| old.push(name.to_owned()))?;
        let mut gone = 0;
        for name in old {
            let Some((id, kind)) = beside_intent(&name) else { continue };
            let path = self.dir(Dir::Runs).join(&name);
            // The wrapper makes the lease before the intent.
            let is_open = self.has_intent(&id)? || kind == ".lock" && is_live(&path);
            if !is_open && self.fs().remove(&path).is_ok() {
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// An intent that cannot be read is one all the same.
    fn has_intent(&self, id: &Id) -> Result<bool, Error> {
        let path = self.dir(Dir::Runs).join(format!("{id}.json"));
        Ok(self.fs().stat(&path).at("look at", path)?.is_some())
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

/// The run that a file in `runs/` other than an intent belongs to, and what it is; half-written ones end in a number.
fn beside_intent(name: &str) -> Option<(Id, &'static str)> {
    RUN_FILES.iter().find_map(|kind| {
        let (id, rest) = name.rsplit_once(kind)?;
        let number = rest.strip_prefix('.').unwrap_or_default();
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        (rest.is_empty() || is_number).then_some((Id::new(id).ok()?, *kind))
    })
}

/// Whether a writer of ours still holds its lock on a staged file.
fn is_live(path: &std::path::Path) -> bool {
    let Ok(file) = crate::open::ordinary(path) else {
        return false;
    };
    fs2::FileExt::try_lock_shared(&file).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Fs, RealFs};
    use crate::run::Intent;
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
        let all = [Dir::Done, Dir::Dismissed, Dir::Hold, Dir::Dead];
        let prune = |days: u64, most: usize| {
            let old = spool.receipts_older(&all, now_ms() + days * DAY, week, most).unwrap();
            spool.prune(old, None).unwrap().len()
        };
        assert_eq!((prune(6, 10), prune(8, 1), prune(8, 10), prune(8, 10)), (0, 1, 1, 0));
        assert!(spool.find(&Id::new("c").unwrap()).unwrap().is_some());
        assert!(spool.find(&Id::new("d").unwrap()).unwrap().is_some());
    }

    fn names(spool: &Spool, dir: Dir) -> Vec<String> {
        let items = std::fs::read_dir(spool.dir(dir)).unwrap();
        let mut names: Vec<String> = items.map(|i| i.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn old_logs_go_but_not_those_that_somebody_may_still_ask_for() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        for name in ["over.log", "running.log", "held.log", "notes.txt", "..log"] {
            std::fs::write(spool.dir(Dir::Logs).join(name), "x").unwrap();
        }
        let id = |id: &str| Id::new(id).unwrap();
        let lease = spool.open_run(&id("running"), &Intent::default()).unwrap();
        spool.publish(&id("held"), br#"{"text":"x"}"#, false).unwrap();
        spool.advance(&Entry::new(id("held"), State::Pending), &Event::Hold).unwrap();
        assert_eq!(spool.sweep_logs(now_ms() + 29 * DAY, LOG_AGE).unwrap(), 0);
        assert_eq!(spool.sweep_logs(now_ms() + 31 * DAY, LOG_AGE).unwrap(), 1);
        assert_eq!(names(&spool, Dir::Logs), ["..log", "held.log", "notes.txt", "running.log"]);
        drop(lease);
        spool.close_run(&id("running")).unwrap();
        assert_eq!(spool.sweep_logs(now_ms() + 31 * DAY, LOG_AGE).unwrap(), 1);
    }

    #[test]
    fn what_closed_runs_left_behind_goes_and_open_runs_keep_all_they_have() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let id = Id::new("open").unwrap();
        let lease = spool.open_run(&id, &Intent::default()).unwrap();
        spool.name_main(&id, std::process::id()).unwrap();
        let runs = spool.dir(Dir::Runs);
        for name in [
            "left.lock",
            "left.pid",
            "left.route",
            "left.route.123",
            "theirs.txt",
            "a.pid.b.json",
            "open.lock.b.pid",
        ] {
            std::fs::write(runs.join(name), "x").unwrap();
        }
        // A wrapper that has its lease and not yet its intent.
        let starting = std::fs::File::create(runs.join("starting.lock")).unwrap();
        fs2::FileExt::lock_exclusive(&starting).unwrap();
        assert_eq!(spool.sweep_runs(now_ms()).unwrap(), 0);
        assert_eq!(spool.sweep_runs(now_ms() + 2 * DAY).unwrap(), 5);
        let left = ["a.pid.b.json", "open.json", "open.lock", "open.pid", "starting.lock", "theirs.txt"];
        assert_eq!(names(&spool, Dir::Runs), left);
        drop((lease, starting));
        assert_eq!(spool.sweep_runs(now_ms() + 2 * DAY).unwrap(), 1, "an intent is never cleared away");
    }
}
