//! Publishing a record: the instant from which it is kept (`spool-format.md` section 4).
//!
//! Write, flush the data, give it its name in `new/` without clobbering, flush `new/`. Two flushes, and a record is
//! never visible before its bytes are on the disk. Any error after the name was given means *unknown*: the record may
//! be there. The producer tries again with the same id, and a retry that finds the same bytes flushes `new/` before it
//! says yes, for the first try may have died before it did.

use std::io;
use std::path::PathBuf;

use spool_seeded::{Bug, is};

use crate::entry::{Entry, State};
use crate::error::{Context, Error};
use crate::fs::Unfit;
use crate::layout::{Dir, Spool};
use crate::moves::Why;
use crate::name::{Id, SUFFIX};
use crate::record::{Flaw, MAX_BYTES, Record};
use crate::stage::name_flushed;

/// What publishing came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// The record is pending, and survives a power cut.
    New(PathBuf),
    /// The same record was there before, in this state; nothing was added.
    Before(State),
}

impl Spool {
    /// Publishes the bytes of a record under an id.
    ///
    /// `fresh` says that the id was minted for this record, so that no other state can hold it; otherwise all states
    /// are searched for it first. (The agent makes the same comparison before it delivers, so that two producers who
    /// race each other do not get past it.)
    ///
    /// # Errors
    /// [`Error::BadRecord`], [`Error::Conflict`], [`Error::Io`] when nothing was published, [`Error::Unknown`] when
    /// that cannot be said.
    pub fn publish(&self, id: &Id, bytes: &[u8], fresh: bool) -> Result<Published, Error> {
        self.publish_with(id, bytes, fresh, || self.fs().sync_dir(&self.dir(Dir::New)))
    }

    /// As [`Spool::publish`]; `flush` flushes `new/`, and is called once the name is there.
    pub(crate) fn publish_with(
        &self,
        id: &Id,
        bytes: &[u8],
        fresh: bool,
        flush: impl FnOnce() -> io::Result<()>,
    ) -> Result<Published, Error> {
        match Record::parse(bytes) {
            // A later version is not ours to judge; the agent will hold it.
            Ok(_) | Err(Flaw::Version(_)) => {}
            Err(flaw) => return Err(flaw.into()),
        }
        let path = self.dir(Dir::New).join(format!("{id}{SUFFIX}"));
        if !fresh && let Some(before) = self.published_before(id, bytes)? {
            return Ok(before);
        }
        match self.link_new(bytes, &path) {
            Ok(()) if is(Bug::NoDirsync) => {}
            Ok(()) if is(Bug::DirsyncErrorIgnored) => drop(flush()),
            Ok(()) => flush().map_err(|source| self.unflushed(Dir::New, id, source))?,
            // The name was asked for and something else than a clear no came back (a network file system may do what
            // it was told and then report an error).
            Err(Error::Io { verb: "publish", path, source }) if !is_clear(&source) => {
                return Err(Error::Unknown { verb: "publish", path, id: id.to_string(), source });
            }
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                return match self.published_before(id, bytes)? {
                    Some(before) => Ok(before),
                    // It was taken on while we looked, and is gone from everywhere: only its retention can do that.
                    None => Err(Error::Conflict { id: id.to_string(), state: "gone" }),
                };
            }
            Err(e) => return Err(e),
        }
        Ok(Published::New(path))
    }

    /// Brings in an entry as another spool had it, in a state that nobody works on: held, dead, done or dismissed. What
    /// would be worked on is published instead. Its bytes may be no good record, as those of a dead entry may be.
    ///
    /// # Errors
    /// As [`Spool::publish`]; [`Error::Entry`] for any other state.
    pub fn restore(&self, entry: &Entry, bytes: &[u8], why: Option<&Why>) -> Result<Published, Error> {
        let id = &entry.id;
        if !matches!(entry.state, State::Held | State::Dead | State::Done | State::Dismissed) {
            let reason = format!("what is {} is published, not restored", entry.state.word());
            return Err(Error::Entry { verb: "restore", id: id.to_string(), reason });
        }
        if let Some(before) = self.published_before(id, bytes)? {
            return Ok(before);
        }
        let path = self.path(entry);
        if let Some(why) = why {
            self.write_why(entry.dir(), id, why);
        }
        match name_flushed(self.fs(), &self.dir(Dir::Tmp), bytes, &path, "publish") {
            Ok(()) => self.sync(entry.dir(), id)?,
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                let gone = Error::Conflict { id: id.to_string(), state: "gone" };
                return self.published_before(id, bytes)?.ok_or(gone);
            }
            Err(e) => return Err(e),
        }
        Ok(Published::New(path))
    }

    /// Writes the bytes and gives them their name.
    fn link_new(&self, bytes: &[u8], path: &std::path::Path) -> Result<(), Error> {
        if is(Bug::DirectWrite) && matches!(self.fs().stat(path), Ok(None)) {
            return self.fs().append(path, bytes).at("write", path);
        }
        name_flushed(self.fs(), &self.dir(Dir::Tmp), bytes, path, "publish")
    }

    fn sync(&self, dir: Dir, id: &Id) -> Result<(), Error> {
        self.fs().sync_dir(&self.dir(dir)).map_err(|source| self.unflushed(dir, id, source))
    }

    fn unflushed(&self, dir: Dir, id: &Id, source: io::Error) -> Error {
        Error::Unknown { verb: "flush", path: self.dir(dir), id: id.to_string(), source }
    }

    /// Flushes what an entry owes its presence to. Whoever published it may have died before the flush, and no later
    /// move flushes anything by itself: where it stands now, its name may be as little on the disk as the one it had in
    /// `new/`.
    ///
    /// # Errors
    /// [`Error::Unknown`] when it cannot be flushed.
    pub fn flush(&self, entry: &Entry) -> Result<(), Error> {
        if entry.dir() != Dir::New {
            self.sync(entry.dir(), &entry.id)?;
        }
        self.sync(Dir::New, &entry.id)
    }

    /// Whether an entry with this id exists in any state: the same record, or another one.
    fn published_before(&self, id: &Id, bytes: &[u8]) -> Result<Option<Published>, Error> {
        // An entry that moves while we look is found at the second pass.
        for _pass in 0..3 {
            let Some(entry) = self.find(id)? else {
                return Ok(None);
            };
            if is(Bug::IdReuse) && entry.state == State::Done {
                return Ok(None);
            }
            match self.fs().read(&self.path(&entry), MAX_BYTES) {
                Ok(content) if content.bytes == bytes => {
                    if !is(Bug::ExistsIsOk) {
                        self.flush(&entry)?;
                    }
                    return Ok(Some(Published::Before(entry.state)));
                }
                Err(e) if e.is_gone() => {}
                Err(Unfit::Linked(_))
                    if self.mend_file(&self.path(&entry), crate::time::now_ms()).unwrap_or(false) => {}
                Ok(_) if is(Bug::Clobber) => {
                    self.fs().remove(&self.path(&entry)).at("remove", self.path(&entry))?
                }
                Ok(_) | Err(Unfit::TooLarge(_)) => {
                    return Err(Error::Conflict { id: id.to_string(), state: entry.state.word() });
                }
                Err(e) => return Err(e.into_error("read", self.path(&entry))),
            }
        }
        Ok(None)
    }
}

/// Whether an error of link(2) or rename(2) says for certain that the name was not given.
fn is_clear(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::AlreadyExists
            | K::NotFound
            | K::PermissionDenied
            | K::ReadOnlyFilesystem
            | K::StorageFull
            | K::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Event;
    use crate::fs::RealFs;
    use crate::name::Key;
    use std::sync::Arc;

    const RECORD: &[u8] = br#"{"sessionKey":"agent:main:main","text":"done"}"#;
    const OTHER: &[u8] = br#"{"sessionKey":"agent:main:main","text":"other"}"#;

    fn spools() -> Vec<(tempfile::TempDir, Spool)> {
        [RealFs::new(), RealFs::named()]
            .into_iter()
            .map(|fs| {
                let home = tempfile::tempdir().unwrap();
                let spool = Spool::create_on(home.path(), Arc::new(fs)).unwrap();
                (home, spool)
            })
            .collect()
    }

    fn names(spool: &Spool, dir: Dir) -> Vec<String> {
        std::fs::read_dir(spool.dir(dir))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_record_is_pending_with_its_bytes_and_tmp_is_clean() {
        for (_home, spool) in spools() {
            let id = Id::mint();
            let Published::New(path) = spool.publish(&id, RECORD, true).unwrap() else { panic!() };
            assert_eq!(std::fs::read(path).unwrap(), RECORD);
            assert_eq!(names(&spool, Dir::New), [format!("{id}.json")]);
            assert!(names(&spool, Dir::Tmp).is_empty());
        }
    }

    #[test]
    fn a_retry_is_safe_and_other_bytes_are_a_conflict_in_every_state() {
        for (_home, spool) in spools() {
            let walks: [&[Event]; 7] = [
                &[],
                &[Event::Take { key: Key::mint() }],
                &[Event::Postpone { due_ms: 1 }],
                &[Event::Hold],
                &[Event::Condemn],
                &[Event::Take { key: Key::mint() }, Event::Prove],
                &[Event::Dismiss],
            ];
            for (n, walk) in walks.iter().enumerate() {
                let id = Id::new(&format!("id{n}")).unwrap();
                spool.publish(&id, RECORD, false).unwrap();
                let mut entry = Entry::new(id.clone(), State::Pending);
                for event in *walk {
                    entry = spool.advance(&entry, event).unwrap();
                }
                for fresh in [false, true] {
                    if fresh && n > 0 {
                        continue;
                    }
                    let again = spool.publish(&id, RECORD, fresh).unwrap();
                    assert_eq!(again, Published::Before(entry.state.clone()));
                    let error = spool.publish(&id, OTHER, fresh).unwrap_err();
                    assert!(matches!(error, Error::Conflict { state, .. } if state == entry.state.word()));
                }
            }
            assert!(names(&spool, Dir::Tmp).is_empty());
        }
    }

    #[test]
    fn what_another_spool_had_is_restored_once_with_its_reason() {
        for (_home, spool) in spools() {
            let why = Why { reason: "no such session".into(), ..Why::default() };
            for (n, state) in
                [State::Held, State::Dead, State::Done, State::Dismissed].into_iter().enumerate()
            {
                let entry = Entry::new(Id::new(&format!("id{n}")).unwrap(), state.clone());
                assert!(matches!(spool.restore(&entry, b"{\"", Some(&why)).unwrap(), Published::New(_)));
                assert_eq!(spool.find(&entry.id).unwrap(), Some(entry.clone()));
                assert_eq!(spool.restore(&entry, b"{\"", None).unwrap(), Published::Before(state.clone()));
                assert!(matches!(spool.restore(&entry, OTHER, None), Err(Error::Conflict { .. })));
                if state != State::Done {
                    assert_eq!(spool.why(&entry).unwrap(), why);
                }
            }
            let pending = Entry::new(Id::mint(), State::Pending);
            assert!(matches!(spool.restore(&pending, RECORD, None), Err(Error::Entry { .. })));
        }
    }

    #[test]
    fn a_bad_record_is_not_published() {
        for (_home, spool) in spools() {
            assert!(matches!(spool.publish(&Id::mint(), b"{}", true), Err(Error::BadRecord(_))));
            assert!(names(&spool, Dir::New).is_empty());
        }
    }
}
