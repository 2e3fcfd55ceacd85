//! Those who use the spool: producers, the agent, a person, a job's wrapper. Each act is the product's own, and is
//! entered in the ledger: before, what it may come to; after a yes, what it must be from then on.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spooldir::fs::Fs;
use spooldir::intake::{Desk, Intake};
use spooldir::journal::Line;
use spooldir::moves::Why;
use spooldir::publish::Published;
use spooldir::run::{Intent, Standing, lost_record};
use spooldir::{Dir, Entry, Error, Event, Id, Key, Spool};

use super::disk::{Image, number};
use super::ledger::{Kept, Ledger, Run, Seen, Word, bit, entries};
use super::memory::{MemFs, Way};

/// The whole day after which everything that can be old is.
const FAR: u64 = 40 * 86_400_000;

/// A spool, its disk and its ledger.
pub(super) struct Scene {
    pub(super) fs: MemFs,
    spool: Option<Spool>,
    pub(super) ledger: Ledger,
    /// The ledger as it was from each point of the disk's log on.
    pub(super) marks: Vec<(usize, Arc<Ledger>)>,
    desk: Desk,
}

pub(super) fn why() -> Why {
    Why { reason: "no such session".into(), at: 1, attempts: 1, ..Why::default() }
}

impl Scene {
    /// A disk that holds `image`; nobody has opened the spool on it yet.
    pub(super) fn begin(root: &Path, image: Image, way: Way, is_logged: bool, ledger: Ledger) -> Scene {
        let fs = MemFs::over(root, image, way, is_logged);
        let marks = if is_logged { vec![(0, Arc::new(ledger.clone()))] } else { Vec::new() };
        Scene { fs, spool: None, ledger, marks, desk: Desk::new() }
    }

    /// Opens the spool, as every program does when it starts.
    pub(super) fn enter_spool(&mut self, root: &Path) -> Result<(), Error> {
        self.spool = None;
        self.spool = Some(Spool::create_on(root, Arc::new(self.fs.clone()))?);
        Ok(())
    }

    /// The spool, for those who opened it.
    pub(super) fn spool(&self) -> Result<&Spool, Error> {
        self.spool.as_ref().ok_or_else(|| Error::Io {
            verb: "open",
            path: "the spool".into(),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }

    fn mark(&mut self) {
        if !self.marks.is_empty() {
            self.marks.push((self.fs.position(), Arc::new(self.ledger.clone())));
        }
    }

    /// The id of a slot.
    pub(super) fn id(slot: u8) -> Result<Id, Error> {
        Id::new(&format!("job-{slot}"))
    }

    /// The record of a slot, or another one under its id.
    pub(super) fn record(id: Option<&Id>, slot: u8, what: &str) -> Vec<u8> {
        let id = id.map(|id| format!("\"id\":\"{id}\",")).unwrap_or_default();
        format!("{{{id}\"sessionKey\":\"agent:main:main\",\"text\":\"{what} {slot}\"}}").into_bytes()
    }

    /// The record of a slot that is an entry now.
    pub(super) fn visible(&self, slot: u8) -> Option<usize> {
        (0..self.ledger.records.len())
            .find(|at| self.ledger.records[*at].slot == slot && self.entry(*at).is_some())
    }

    /// Enters a record that somebody is about to bring in.
    pub(super) fn enter(&mut self, slot: u8, id: Option<Id>, bytes: Vec<u8>) -> usize {
        let at = self.ledger.records.iter().position(|r| r.id == id && *r.bytes == bytes);
        let at = at.unwrap_or_else(|| {
            self.ledger.records.push(Kept {
                slot,
                id,
                bytes: Arc::new(bytes),
                word: Word::Unknown,
                dirs: bit(Dir::New),
                keys: Vec::new(),
                may_be_gone: false,
                is_careless: false,
            });
            self.ledger.records.len() - 1
        });
        self.mark();
        at
    }

    /// A producer publishes the record, for the first time or again.
    pub(super) fn publish(&mut self, at: usize, fresh: bool) -> Result<(), Error> {
        let Kept { id: Some(id), bytes, .. } = self.ledger.records[at].clone() else { return Ok(()) };
        let record = &mut self.ledger.records[at];
        if record.word != Word::Promised {
            record.word = Word::Unknown;
        }
        // What retention has taken is published anew.
        if record.word != Word::Promised || record.may_be_gone {
            record.dirs |= bit(Dir::New);
        }
        self.mark();
        let done = self.spool()?.publish(&id, &bytes, fresh);
        match &done {
            Ok(published) => {
                let record = &mut self.ledger.records[at];
                record.word = Word::Promised;
                match published {
                    Published::New(_) => {
                        record.dirs |= bit(Dir::New);
                        record.may_be_gone = false;
                    }
                    Published::Before(state) => record.dirs |= bit(state.dir()),
                }
            }
            Err(Error::Conflict { .. }) => self.ledger.records[at].word = Word::Refused,
            Err(_) => {}
        }
        self.mark();
        done.map(|_| ())
    }

    /// The entry that a record is now.
    pub(super) fn entry(&self, at: usize) -> Option<Entry> {
        let record = &self.ledger.records[at];
        self.fs.look(|image| {
            let seen = entries(image);
            let mine = |s: &&super::ledger::Seen| {
                image.file(s.ino) == record.bytes.as_slice()
                    && s.entry.as_ref().is_some_and(|e| record.id.as_ref().is_none_or(|id| e.id == *id))
            };
            let found = seen.iter().find(mine);
            found.and_then(|s| s.entry.clone())
        })
    }

    /// The entry, as somebody finds it who is about to move it: who sees two names has them mended first, and moves
    /// nothing that still has two.
    fn ready(&self, at: usize) -> Result<Option<Entry>, Error> {
        let links = |scene: &Scene, entry: &Entry| {
            let path = scene.spool()?.path(entry);
            let meta = scene.fs.stat(&path).map_err(|source| Error::Io { verb: "look at", path, source })?;
            Ok::<u64, Error>(meta.map_or(0, |meta| meta.nlink))
        };
        let Some(mut entry) = self.entry(at) else { return Ok(None) };
        if links(self, &entry)? > 1 && self.spool()?.mend(&entry.id)? {
            let Some(mended) = self.entry(at) else { return Ok(None) };
            entry = mended;
        }
        Ok((links(self, &entry)? == 1).then_some(entry))
    }

    /// The agent, or a person, moves it. `is_kept` says that it is flushed, and told to somebody.
    pub(super) fn advance(&mut self, at: usize, event: &Event, is_kept: bool) -> Result<(), Error> {
        let Some(entry) = self.ready(at)? else { return Ok(()) };
        let Ok(state) = spooldir::entry::next(&entry.state, event) else { return Ok(()) };
        let to = Entry::new(entry.id.clone(), state);
        // A receipt that upkeep failed to remove, and that goes back to work, is as new again.
        let of = self.fs.look(|image| image.find(number(entry.dir()), &entry.file_name()));
        self.ledger.over.retain(|ino| Some(*ino) != of);
        self.allow(at, &to);
        let has_reason = matches!(event, Event::Condemn | Event::Hold | Event::Dismiss);
        if has_reason {
            self.spool()?.advance_why(&entry, event, &why())?;
        } else if *event == Event::Retry {
            self.spool()?.release(&entry)?;
        } else {
            self.spool()?.advance(&entry, event)?;
        }
        if is_kept {
            // A retry has flushed itself; for the others `spool` does. Both ends, for of two names of a file the one
            // further on in an entry's life stays, and a person may have moved it back.
            if *event != Event::Retry {
                self.spool()?.flush_move(&entry, &to)?;
            }
            self.insist(at, &to);
        }
        let line = Line::moved(event, &to);
        self.spool()?.note(&[line])
    }

    /// Several records become one delivery, and then its first byte is sent.
    pub(super) fn take(&mut self, group: &[usize]) -> Result<(), Error> {
        let key = Key::mint();
        let mut taken = Vec::new();
        for at in group {
            let Some(entry) = self.ready(*at)? else { continue };
            let event = Event::Take { key: key.clone() };
            let Ok(state) = spooldir::entry::next(&entry.state, &event) else { continue };
            self.allow(*at, &Entry::new(entry.id.clone(), state));
            taken.push((*at, self.spool()?.advance(&entry, &event)?));
        }
        self.flush_moves()?;
        for (at, entry) in &taken {
            self.insist(*at, entry);
        }
        let lines: Vec<Line> =
            taken.iter().map(|(_, e)| Line::moved(&Event::Take { key: key.clone() }, e)).collect();
        self.spool()?.note(&lines)
    }

    /// A new key for one that is being sent, and then a byte under it.
    pub(super) fn change_key(&mut self, at: usize, event: &Event) -> Result<(), Error> {
        self.advance(at, event, false)?;
        self.flush_moves()?;
        if let Some(entry) = self.entry(at).filter(|e| e.dir() == Dir::Sending) {
            self.insist(at, &entry);
        }
        Ok(())
    }

    /// As the agent, before it sends.
    fn flush_moves(&self) -> Result<(), Error> {
        [Dir::Sending, Dir::New, Dir::Deferred].into_iter().try_for_each(|dir| self.flush(dir))
    }

    fn flush(&self, dir: Dir) -> Result<(), Error> {
        let path = self.spool()?.dir(dir);
        self.fs.sync_dir(&path).map_err(|source| Error::Io { verb: "flush", path, source })
    }

    fn allow(&mut self, at: usize, to: &Entry) {
        let record = &mut self.ledger.records[at];
        record.dirs |= bit(to.dir());
        record.keys.extend(to.state.key().map(ToString::to_string).filter(|_| to.dir() == Dir::Sending));
        self.mark();
    }

    fn insist(&mut self, at: usize, to: &Entry) {
        let record = &mut self.ledger.records[at];
        if record.is_careless {
            return;
        }
        record.dirs = bit(to.dir());
        if to.dir() == Dir::Sending {
            record.keys = to.state.key().map(ToString::to_string).into_iter().collect();
        }
        // What is flushed where it stands now is kept, whether its producer was told so or not.
        record.word = Word::Promised;
        self.mark();
    }

    /// Somebody drops a file by hand, with flushes or without.
    pub(super) fn drop_file(&mut self, slot: u8, is_careful: bool) -> Result<(), Error> {
        // Without an id, the same words dropped twice are two records. Each says which it is, so that the ledger can tell
        // them apart.
        let before = self.ledger.records.iter().filter(|r| r.slot == slot).count();
        let at = self.enter(slot, None, Scene::record(None, slot, &format!("dropped after {before}, by")));
        let name = format!("my report {slot}.json");
        self.ledger.records[at].is_careless |= !is_careful;
        self.mark();
        let bytes = self.ledger.records[at].bytes.clone();
        let (tmp, new) = (self.spool()?.dir(Dir::Tmp), self.spool()?.dir(Dir::New));
        let path = new.join(&name);
        let done = (|| {
            let mut staged = self.fs.stage(&tmp)?;
            staged.write_all(&bytes)?;
            if is_careful {
                staged.sync_data()?;
            }
            staged.publish(&path)?;
            if is_careful { self.fs.sync_dir(&new) } else { Ok(()) }
        })();
        done.map_err(|source| Error::Io { verb: "drop", path, source })?;
        if is_careful {
            self.ledger.records[at].word = Word::Promised;
            self.mark();
        }
        Ok(())
    }

    /// The agent looks at every name in `new/`; says what troubled it.
    pub(super) fn intake(&mut self, patience: Duration) -> Result<(), String> {
        for dir in [Dir::Hold, Dir::Dead] {
            for record in self.ledger.records.iter_mut().filter(|r| r.id.is_none()) {
                record.dirs |= bit(dir);
            }
        }
        self.mark();
        let now = Instant::now() + patience;
        let names: Vec<String> = self
            .fs
            .look(|image| entries(image).into_iter().filter(|s| s.dir == Dir::New).map(|s| s.name).collect());
        for name in names {
            let spool = self.spool.clone().ok_or("the spool is not open")?;
            let looked = self.desk.look(&spool, OsStr::new(&name), &|_| true, now);
            let line = match looked {
                Intake::Ready(taken) => Line::about("accept", &taken.entry),
                Intake::Held(entry, reason) => Line::about("hold", &entry).because(reason),
                Intake::Buried(id, reason) => {
                    Line::about("condemn", &Entry::new(id, spooldir::State::Dead)).because(reason)
                }
                Intake::Duplicate(_) | Intake::Later(_) | Intake::Gone => continue,
                Intake::Foreign(why) => return Err(format!("{name} is taken for foreign: {why}")),
                Intake::Trouble(e) => return Err(format!("{name}: {e}")),
            };
            spool.note(&[line]).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// Old receipts go, and whatever else upkeep takes away.
    pub(super) fn prune(&mut self) -> Result<(), Error> {
        // A retention is a week. No disk keeps a change in its memory for that long: what was done before is there.
        self.fs.settle();
        let receipts = bit(Dir::Done) | bit(Dir::Dismissed);
        for record in self.ledger.records.iter_mut().filter(|r| r.dirs & receipts != 0) {
            record.may_be_gone = true;
        }
        let is_receipt = |s: &Seen| matches!(s.dir, Dir::Done | Dir::Dismissed);
        let old =
            self.fs.look(|image| entries(image).into_iter().filter(is_receipt).map(|s| s.ino).collect());
        self.ledger.over = old;
        self.mark();
        let now = super::begun_ms() + FAR;
        let spool = self.spool()?;
        let week = Duration::from_secs(7 * 86_400);
        spool.prune(spool.receipts_older(&[Dir::Done, Dir::Dismissed], now, week, 1000)?, None)?;
        self.sweep()
    }

    /// Receipts that were old before a power cut brought them back go again, as at every start of the agent.
    pub(super) fn prune_again(&self) -> Result<(), Error> {
        let is_over = |s: &Seen| self.ledger.is_over(s);
        let old: Vec<Entry> = self
            .fs
            .look(|image| entries(image).into_iter().filter(is_over).filter_map(|s| s.entry).collect());
        if !old.is_empty() {
            self.spool()?.prune(old, None)?;
        }
        Ok(())
    }

    pub(super) fn sweep(&self) -> Result<(), Error> {
        let now = super::begun_ms() + FAR;
        self.spool()?.sweep_tmp(now)?;
        self.spool()?.sweep_reasons(now)?;
        self.spool()?.sweep_runs(now)?;
        self.spool()?.sweep_logs(now, spooldir::upkeep::LOG_AGE)?;
        Ok(())
    }

    /// A wrapper opens a run, and starts its job once that is said to be kept.
    pub(super) fn open_run(&mut self, id: &Id, real_runs: &Path) -> Result<(), Error> {
        // An id that is known already is not given to another run.
        if self.spool()?.find(id)?.is_some() {
            return Ok(());
        }
        // The lease is a lock of the kernel's, in a real directory; nobody holds it after a crash.
        std::fs::remove_file(real_runs.join(format!("{id}.lock"))).ok();
        if !self.ledger.runs.iter().any(|run| run.id == *id) {
            self.ledger.runs.push(Run { id: id.clone(), is_open: false });
        }
        self.mark();
        let intent = Intent {
            v: 1,
            id: id.to_string(),
            session_key: Some("agent:main:main".into()),
            command: vec!["make".into()],
            // No two runs start at the same time under the same id.
            started_at: self.fs.position() as u64,
            ..Intent::default()
        };
        drop(self.spool()?.open_run(id, &intent)?);
        for run in self.ledger.runs.iter_mut().filter(|run| run.id == *id) {
            run.is_open = true;
        }
        self.mark();
        Ok(())
    }

    /// A wrapper reports the end of its run and closes it.
    pub(super) fn end_run(&mut self, slot: u8, id: &Id) -> Result<(), Error> {
        let at = self.enter(slot, Some(id.clone()), Scene::record(Some(id), slot, "the job ended"));
        match self.publish(at, false) {
            Ok(()) => {}
            Err(Error::Conflict { .. }) => drop(self.spool()?.flush_completion(id)?),
            Err(e) => return Err(e),
        }
        self.spool()?.close_run(id)
    }

    /// The agent reports what nobody is left to report, as `spool drain` does.
    pub(super) fn report_lost(&mut self) -> Result<(), Error> {
        for id in self.spool()?.runs()? {
            let Some(intent) = self.spool()?.intent(&id)? else { continue };
            if self.spool()?.standing(&id, &intent) == Standing::Running {
                continue;
            }
            if !self.spool()?.flush_completion(&id)? {
                let record = lost_record(self.spool()?, &id, &intent, super::begun_ms());
                let bytes = serde_json::to_vec(&record).unwrap_or_default();
                let at = self.enter(u8::MAX, Some(id.clone()), bytes);
                match self.publish(at, false) {
                    Ok(()) => {}
                    Err(Error::Conflict { .. }) => drop(self.spool()?.flush_completion(&id)?),
                    Err(e) => return Err(e),
                }
            }
            self.spool()?.close_run(&id)?;
        }
        Ok(())
    }
}
