//! Transitions on disk: each is one rename, and the reason of a person's or the agent's decision lies beside it.
//!
//! [`Spool::advance`] asks [`crate::entry::next`] and renames; nothing else in the project moves an entry. The reason
//! of a dead, held or dismissed entry is written to `ID.why.json` **before** the entry moves there, and a reason that
//! cannot be written (full disk) does not stop the move: a rename needs no space.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spool_seeded::Bug;

use crate::entry::{Entry, Event, State, next};
use crate::error::{Context, Error};
use crate::fs::Meta;
use crate::intake::PATIENCE;
use crate::layout::{Dir, Spool};
use crate::name::{Id, Purpose, SUFFIX};

/// Why an entry is dead, held or dismissed: the content of `ID.why.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Why {
    /// A sentence for a person. Never quotes the record.
    pub reason: String,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at: u64,
    /// Attempts that failed before.
    pub attempts: u32,
    /// The last delivery key, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The name under which the file was dropped, where that was not the id (lossy where it was not UTF-8).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped_as: Option<String>,
}

impl Spool {
    /// The path of an entry's file.
    pub fn path(&self, entry: &Entry) -> PathBuf {
        self.dir(entry.dir()).join(entry.file_name())
    }

    /// Moves an entry to the state that follows, by one rename.
    ///
    /// # Errors
    /// [`Error::Entry`] when the state does not allow it or the entry is not there any more, [`Error::Io`].
    pub fn advance(&self, entry: &Entry, event: &Event) -> Result<Entry, Error> {
        let fail = |reason: String| Error::Entry { verb: event.word(), id: entry.id.to_string(), reason };
        let state = next(&entry.state, event).map_err(|e| fail(e.to_string()))?;
        let to = Entry::new(entry.id.clone(), state);
        let (from_path, to_path) = (self.path(entry), self.path(&to));
        match self.fs().rename(&from_path, &to_path) {
            Ok(()) => Ok(to),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(fail(format!("it is not {} any more", entry.state.word())))
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(fail(format!("another entry with that id is already {}", to.state.word())))
            }
            Err(e) => Err(e).at("rename", from_path),
        }
    }

    /// As [`Spool::advance`], into a state that has a reason.
    ///
    /// # Errors
    /// As [`Spool::advance`]; a reason that cannot be written is not an error.
    pub fn advance_why(&self, entry: &Entry, event: &Event, why: &Why) -> Result<Entry, Error> {
        if let Ok(state) = next(&entry.state, event) {
            self.write_why(state.dir(), &entry.id, why);
        }
        let to = self.advance(entry, event)?;
        if spool_seeded::is(Bug::DropDead) && to.state == State::Dead {
            let _gone = self.fs().remove(&self.path(&to)).is_ok();
        }
        self.forget_why(entry.dir(), &entry.id);
        Ok(to)
    }

    /// Moves a file of `new/` that is no good record to `dead/` under a new id, byte for byte.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be moved.
    pub fn bury(&self, name: &OsStr, why: &Why) -> Result<Id, Error> {
        let id = Id::mint();
        let dropped_as = Some(name.to_string_lossy().into_owned());
        self.write_why(Dir::Dead, &id, &Why { dropped_as, ..why.clone() });
        let from = self.dir(Dir::New).join(name);
        let to = self.path(&Entry::new(id.clone(), State::Dead));
        match self.fs().rename(&from, &to) {
            Ok(()) if spool_seeded::is(Bug::DropDead) => self.fs().remove(&to).at("remove", to).map(|()| id),
            Ok(()) => Ok(id),
            Err(e) => {
                self.forget_why(Dir::Dead, &id);
                Err(e).at("rename", from)
            }
        }
    }

    /// Takes an entry out of the states that have a reason; the reason goes with it.
    ///
    /// # Errors
    /// As [`Spool::advance`].
    pub fn release(&self, entry: &Entry) -> Result<Entry, Error> {
        let to = self.advance(entry, &Event::Retry)?;
        self.forget_why(entry.dir(), &entry.id);
        self.flush_move(entry, &to)?;
        Ok(to)
    }

    /// Flushes a move that a person is told of: what was decided should not be undone by a power cut. First the
    /// directory it went to, then the one it came from: there are file systems that bring the old name back beside the
    /// new one, and of two names the one further on in an entry's life stays ([`Spool::mend`]).
    ///
    /// # Errors
    /// [`Error::Io`]; the move may be undone then.
    pub fn flush_move(&self, from: &Entry, to: &Entry) -> Result<(), Error> {
        for dir in [to.dir(), from.dir()] {
            let path = self.dir(dir);
            self.fs().sync_dir(&path).at("flush", path)?;
        }
        Ok(())
    }

    /// Reads why an entry is where it is.
    pub fn why(&self, entry: &Entry) -> Option<Why> {
        let content = self.fs().read(&self.why_path(entry.dir(), &entry.id), 64 * 1024).ok()?;
        serde_json::from_slice(&content.bytes).ok()
    }

    fn why_path(&self, dir: Dir, id: &Id) -> PathBuf {
        self.dir(dir).join(format!("{id}.why{SUFFIX}"))
    }

    pub(crate) fn write_why(&self, dir: Dir, id: &Id, why: &Why) {
        if matches!(dir, Dir::Dead | Dir::Hold | Dir::Dismissed)
            && !(dir == Dir::Dead && spool_seeded::is(Bug::DeadWithoutReason))
            && let Ok(json) = serde_json::to_vec(why)
        {
            // Best effort, as promised above: the journal says it too.
            let _written = self.fs().replace(&self.why_path(dir, id), &json).is_ok();
        }
    }

    pub(crate) fn forget_why(&self, dir: Dir, id: &Id) {
        if matches!(dir, Dir::Dead | Dir::Hold | Dir::Dismissed) {
            let _gone = self.fs().remove(&self.why_path(dir, id)).is_ok();
        }
    }

    /// Finds the entry with an id, in whatever state it is.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be looked at.
    pub fn find(&self, id: &Id) -> Result<Option<Entry>, Error> {
        // In the order of an entry's life, so that one that moves on meanwhile is met later.
        self.find_in(id, &Dir::STATES)
    }

    /// Finds the entry with an id in the first of these states that has it.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be looked at.
    pub fn find_in(&self, id: &Id, dirs: &[Dir]) -> Result<Option<Entry>, Error> {
        for dir in dirs.iter().copied() {
            let found = if matches!(dir, Dir::Sending | Dir::Deferred) {
                let mut found = None;
                self.each_entry(dir, |entry, _| {
                    if entry.id == *id {
                        found = Some(entry);
                    }
                })?;
                found
            } else {
                let path = self.dir(dir).join(format!("{id}{SUFFIX}"));
                let there = self.fs().stat(&path).at("look at", &path)?;
                there.and_then(|_| Entry::from_name(dir, &format!("{id}{SUFFIX}")))
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Mends a move that a crash cut in half, where a rename had to be made of a link and a removal, or where the file
    /// system lost only the removal: of two names of one file, the one further on in an entry's life stays. A move that
    /// somebody is making, or was stopped in, is left alone. Returns whether there was something to mend.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn mend(&self, id: &Id) -> Result<bool, Error> {
        let mut names = Vec::new();
        for dir in Dir::STATES {
            let mut here = Vec::new();
            self.each_entry(dir, |entry, _| {
                if entry.id == *id {
                    here.push(entry);
                }
            })?;
            // In sending/, the telling comes after the delivery, and a later epoch after an earlier one.
            here.sort_by_key(|entry| {
                entry.state.key().map(|key| (key.purpose() == Purpose::Tell, key.epoch()))
            });
            names.append(&mut here);
        }
        let mut later: Option<(PathBuf, Meta)> = None;
        let mut mended = false;
        for entry in names.iter().rev() {
            let path = self.path(entry);
            let Some(meta) = self.fs().stat(&path).at("look at", &path)? else { continue };
            match &later {
                Some((kept, of)) if is_same(of, &meta) => mended |= self.remove_twin(&path, kept)?,
                _ => later = Some((path, meta)),
            }
        }
        Ok(mended)
    }

    /// Of a file that lies in `new/` or `runs/` under this path, takes the name away that a publication left in `tmp/`,
    /// or an intake in `new/`, which a crash cut in half, where a rename had to be made of a link and a removal. Returns
    /// whether there was one. A name anywhere else is somebody else's, and stays; so does all that was linked within
    /// [`PATIENCE`], for a producer may link and remove by itself, without a lock.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn mend_file(&self, path: &Path, now_ms: u64) -> Result<bool, Error> {
        let Some(meta) = self.fs().stat(path).at("look at", path)? else { return Ok(false) };
        let age_ns = i128::from(now_ms) * 1_000_000 - meta.ctime_ns;
        if meta.nlink != 2 || age_ns < i128::try_from(PATIENCE.as_nanos()).unwrap_or(i128::MAX) {
            return Ok(false);
        }
        for dir in [Dir::Tmp, Dir::New] {
            let mut twin = None;
            let here = self.dir(dir);
            self.fs()
                .list(&here, &mut |name, is_file| {
                    let other = here.join(name);
                    let is_twin = is_file
                        && other != path
                        && matches!(self.fs().stat(&other), Ok(Some(it)) if is_same(&it, &meta));
                    if is_twin {
                        twin = Some(other);
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                })
                .at("list", &here)?;
            if let Some(twin) = twin {
                // Within new/ it is intake that gives an id: a name that looks like one of ours is the later one.
                let is_ours =
                    |path: &Path| path.file_stem().and_then(OsStr::to_str).is_some_and(Id::is_unique);
                return if dir == Dir::New && is_ours(&twin) && !is_ours(path) {
                    self.remove_twin(path, &twin)
                } else {
                    self.remove_twin(&twin, path)
                };
            }
        }
        Ok(false)
    }

    /// Removes one of two names of a file, unless somebody is moving it.
    fn remove_twin(&self, path: &Path, kept: &Path) -> Result<bool, Error> {
        let _still = match self.fs().hold_still(kept) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            Err(_) => return Ok(false),
            Ok(still) => still,
        };
        // What was seen before the lock may have been a move that is over now.
        let both = (self.fs().stat(path).at("look at", path)?, self.fs().stat(kept).at("look at", kept)?);
        match both {
            (Some(one), Some(other)) if is_same(&one, &other) => {
                self.fs().remove(path).at("remove", path).map(|()| true)
            }
            // It was a move, and is over: whoever looks again sees one name.
            _ => Ok(true),
        }
    }

    /// Shows each entry in a state directory, by its name alone. Reasons and foreign files are passed over.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed.
    pub fn each_entry(&self, dir: Dir, mut see: impl FnMut(Entry, &str)) -> Result<(), Error> {
        let path = self.dir(dir);
        self.fs()
            .list(&path, &mut |name, is_file| {
                if is_file
                    && let Some(name) = name.to_str()
                    && let Some(entry) = Entry::from_name(dir, name)
                {
                    see(entry, name);
                }
                ControlFlow::Continue(())
            })
            .at("list", path)
    }
}

fn is_same(one: &Meta, other: &Meta) -> bool {
    (one.dev, one.ino) == (other.dev, other.ino)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Key;

    fn spool() -> (tempfile::TempDir, Spool) {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        (home, spool)
    }

    fn pending(spool: &Spool, id: &str) -> Entry {
        let id = Id::new(id).unwrap();
        spool.publish(&id, br#"{"text":"x"}"#, false).unwrap();
        Entry::new(id, State::Pending)
    }

    #[test]
    fn a_transition_is_one_rename_and_is_found_by_the_id() {
        let (_home, spool) = spool();
        let key = Key::mint();
        let mut entry = pending(&spool, "job-1");
        for event in [
            Event::Take { key },
            Event::Rekey,
            Event::Fail { due_ms: 5, alone: true },
            Event::Take { key: Key::mint() },
            Event::Tell,
            Event::Prove,
        ] {
            entry = spool.advance(&entry, &event).unwrap();
            assert_eq!(spool.find(&entry.id).unwrap(), Some(entry.clone()));
        }
        assert_eq!(entry.state, State::Done);
    }

    #[test]
    fn a_reason_goes_in_before_the_entry_and_out_with_it() {
        let (_home, spool) = spool();
        let entry = pending(&spool, "job-1");
        let why = Why { reason: "no such session".into(), at: 7, ..Why::default() };
        let dead = spool.advance_why(&entry, &Event::Condemn, &why).unwrap();
        assert_eq!(spool.why(&dead), Some(why));
        let held = spool.advance_why(&dead, &Event::Hold, &Why::default()).unwrap();
        assert_eq!(spool.why(&dead), None);
        let entry = spool.release(&held).unwrap();
        assert_eq!(entry.state, State::Pending);
        assert_eq!(std::fs::read_dir(spool.dir(Dir::Dead)).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(spool.dir(Dir::Hold)).unwrap().count(), 0);
    }

    #[test]
    fn half_a_move_is_mended_and_two_files_are_left_alone() {
        let (_home, spool) = spool();
        let entry = pending(&spool, "job-1");
        assert!(!spool.mend(&entry.id).unwrap());
        let sending = Entry::new(entry.id.clone(), State::Sending { key: Key::mint(), attempts: 0 });
        std::fs::hard_link(spool.path(&entry), spool.path(&sending)).unwrap();
        assert!(spool.mend(&entry.id).unwrap());
        assert_eq!(spool.find(&entry.id).unwrap(), Some(sending.clone()));
        let rekeyed = Entry { state: next(&sending.state, &Event::Rekey).unwrap(), ..sending.clone() };
        std::fs::hard_link(spool.path(&sending), spool.path(&rekeyed)).unwrap();
        assert!(spool.mend(&entry.id).unwrap());
        assert_eq!(spool.find(&entry.id).unwrap(), Some(rekeyed));
        std::fs::write(spool.path(&entry), "{}").unwrap();
        assert!(!spool.mend(&entry.id).unwrap());
    }

    /// Where a rename is a link and a removal, and a producer died between the two, or an agent that gave a file its id.
    #[test]
    fn a_file_that_was_left_with_two_names_has_one_again() {
        let uuid = format!("new/{}.json", Id::mint());
        for (one, other, stays) in [
            ("new/my report.json", uuid.as_str(), uuid.as_str()),
            (uuid.as_str(), "new/my report.json", uuid.as_str()),
            ("new/job-7.json", "tmp/1.tmp", "new/job-7.json"),
            ("runs/run-1.json", "tmp/1.tmp", "runs/run-1.json"),
        ] {
            let (_home, spool) = spool();
            let at = |name: &str| spool.root().join(name);
            std::fs::write(at(one), "{}").unwrap();
            std::fs::hard_link(at(one), at(other)).unwrap();
            let (now, later) = (crate::time::now_ms(), crate::time::now_ms() + 20_000);
            assert!(!spool.mend_file(&at(one), now).unwrap(), "somebody may be at it");
            let mover = std::fs::File::open(at(one)).unwrap();
            fs2::FileExt::lock_exclusive(&mover).unwrap();
            assert!(!spool.mend_file(&at(one), later).unwrap(), "somebody is at it");
            drop(mover);
            assert!(spool.mend_file(&at(one), later).unwrap());
            assert_eq!([one, other].map(|name| at(name).exists()), [one == stays, other == stays]);
            std::fs::hard_link(at(stays), spool.root().join("elsewhere")).unwrap();
            assert!(!spool.mend_file(&at(stays), later).unwrap(), "that is somebody else's");
        }
    }

    /// Where a rename is a link and a removal, an agent sees both names of what a person is giving back. Of the two the
    /// mover keeps the one that mending would take away.
    #[test]
    fn a_move_that_is_being_made_is_not_mended() {
        let (_home, spool) = spool();
        let entry = pending(&spool, "job-1");
        let held = spool.advance(&entry, &Event::Hold).unwrap();
        let mover = std::fs::File::open(spool.path(&held)).unwrap();
        fs2::FileExt::lock_exclusive(&mover).unwrap();
        std::fs::hard_link(spool.path(&held), spool.path(&entry)).unwrap();
        assert!(!spool.mend(&entry.id).unwrap());
        std::fs::remove_file(spool.path(&held)).unwrap();
        drop(mover);
        assert_eq!(spool.find(&entry.id).unwrap(), Some(entry));
    }

    #[test]
    fn nothing_is_lost_between_one_who_moves_by_link_and_one_who_mends() {
        let (_home, spool) = spool();
        let entry = pending(&spool, "job-1");
        let (new, hold) = (spool.path(&entry), spool.path(&Entry::new(entry.id.clone(), State::Held)));
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    spool.mend(&entry.id).unwrap();
                }
            });
            for _ in 0..2000 {
                // Who comes too late, or waits too long, looks again.
                let _moved = crate::fs::rename_by_link(&new, &hold).is_ok();
                let _moved = crate::fs::rename_by_link(&hold, &new).is_ok();
            }
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(spool.find(&entry.id).unwrap().is_some());
    }

    #[test]
    fn two_who_move_the_same_entry_do_not_both_succeed() {
        let (_home, spool) = spool();
        let entry = pending(&spool, "job-1");
        spool.advance(&entry, &Event::Hold).unwrap();
        let error = spool.advance(&entry, &Event::Condemn).unwrap_err();
        assert!(error.to_string().contains("not pending any more"), "{error}");
    }

    #[test]
    fn garbage_is_buried_byte_for_byte_whatever_its_name() {
        use std::os::unix::ffi::OsStrExt;
        let (_home, spool) = spool();
        let name = OsStr::from_bytes(b"caf\xe9.json");
        std::fs::write(spool.dir(Dir::New).join(name), b"\xff\0").unwrap();
        let id = spool.bury(name, &Why { reason: "not JSON".into(), ..Why::default() }).unwrap();
        let dead = spool.find(&id).unwrap().unwrap();
        assert_eq!(std::fs::read(spool.path(&dead)).unwrap(), b"\xff\0");
        assert_eq!(spool.why(&dead).unwrap().dropped_as.as_deref(), Some("caf\u{fffd}.json"));
    }
}
