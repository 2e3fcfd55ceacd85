//! Intake: from a file that somebody dropped in `new/` to an entry with an id (`spool-format.md` section 6).
//!
//! Each name is looked at by itself; whatever is wrong with one never stops another. What it keeps true:
//!
//! - an entry's id is the record's `id`, else its file name where that is a UUID, else a new one, given by a rename;
//! - a record that is already in the spool is not taken twice, and another record under its id is buried;
//! - what may still be in the making is looked at again before it is condemned;
//! - what is not an ordinary file of ours is left alone, and said.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::{Duration, Instant};

use spool_seeded::Bug;

use crate::entry::{Entry, Event, State};
use crate::error::Error;
use crate::fs::{Content, Meta, Unfit};
use crate::layout::{Dir, Spool};
use crate::moves::Why;
use crate::name::{Id, SUFFIX};
use crate::open;
use crate::record::{Flaw, MAX_BYTES, Record};
use crate::shelf::Shelves;
use crate::time::now_ms;

/// How long a file that is no good record must have been left alone before it is condemned.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The same where it cannot be told whether somebody has it open for writing.
pub const BLIND_PATIENCE: Duration = Duration::from_secs(300);
/// How many unfinished files are remembered at once.
const MAX_UNFINISHED: usize = 10_000;

/// What came of looking at one name in `new/`.
#[derive(Debug)]
pub enum Intake {
    /// A pending entry under its own name.
    Ready(Box<Taken>),
    /// It became an entry and waits for a person.
    Held(Entry, String),
    /// It was no good record and is dead, under a new id.
    Buried(Id, String),
    /// The same record is in the spool already; the second file is gone.
    Duplicate(Id),
    /// It may still be in the making.
    Later(&'static str),
    /// Not ours to touch.
    Foreign(String),
    /// It is gone; somebody else took it.
    Gone,
    /// It could not be read or moved. Report it once, and try again later.
    Trouble(Error),
}

/// A pending entry and what it says.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The entry, in `new/` under its own name.
    pub entry: Entry,
    /// What it says.
    pub record: Record,
    /// When its bytes were written, in nanoseconds since 1970: for order only.
    pub written_ns: i128,
    /// What the file was when it was read; `None` when it was given another name since.
    pub seen: Option<Meta>,
    /// Whose file it is.
    pub owner: u32,
}

/// Whether a name in `new/` can be a record: it ends in `.json` and does not start with a dot.
pub fn is_candidate(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.ends_with(SUFFIX.as_bytes()) && bytes.len() > SUFFIX.len() && !bytes.starts_with(b".")
}

/// Takes in files, and remembers those that may still be in the making.
#[derive(Debug, Default)]
pub struct Desk {
    unfinished: HashMap<OsString, Unfinished>,
    writers: Option<Writers>,
    shelves: Shelves,
    /// When the shelves were looked at; nobody knows what is there now when that is none.
    looked_at: Option<Instant>,
}

/// What was open for writing at a moment, on a device.
#[derive(Debug)]
struct Writers {
    at: Instant,
    dev: u64,
    inodes: HashSet<u64>,
    /// Whether there were processes of ours that nobody may look into.
    is_blind: bool,
}

#[derive(Debug)]
struct Unfinished {
    since: Instant,
    size: u64,
    mtime_ns: i128,
}

impl Desk {
    /// A desk with nothing on it.
    pub fn new() -> Desk {
        Desk::default()
    }

    /// Whether any file waits to be looked at again.
    pub fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Looks at one name in `new/`. `is_busy` tells whether an id is one of those the agent has under way (sending or
    /// deferred), which are not looked for on disk. Who writes, and what lies in the states that few entries are in,
    /// is asked of the system once for all looks of one `now`; whoever moves something there in between says so
    /// ([`Desk::has_moved`]).
    pub fn look(
        &mut self,
        spool: &Spool,
        name: &OsStr,
        is_busy: &dyn Fn(&Id) -> bool,
        now: Instant,
    ) -> Intake {
        if self.looked_at != Some(now) {
            self.shelves.look(spool);
            self.looked_at = Some(now);
        }
        let intake = self.look_at(spool, name, is_busy, now);
        if matches!(intake, Intake::Held(..) | Intake::Buried(..)) {
            self.has_moved();
        }
        intake
    }

    /// An entry was moved to where a person decides, by somebody who looks at this desk.
    pub fn has_moved(&mut self) {
        self.shelves.forget();
        self.looked_at = None;
    }

    fn look_at(
        &mut self,
        spool: &Spool,
        name: &OsStr,
        is_busy: &dyn Fn(&Id) -> bool,
        now: Instant,
    ) -> Intake {
        let path = spool.dir(Dir::New).join(name);
        let content = match spool.fs().read(&path, MAX_BYTES) {
            Ok(content) => content,
            Err(Unfit::Io(e)) if e.kind() == std::io::ErrorKind::NotFound => {
                self.unfinished.remove(name);
                return Intake::Gone;
            }
            Err(Unfit::TooLarge(size)) => {
                return bury(spool, name, format!("too large: {size} bytes, the limit is {MAX_BYTES}"));
            }
            Err(Unfit::Linked(_)) if was_mended(spool, name) => {
                return Intake::Later("half a move was mended");
            }
            // A producer without a no-clobber rename links the final name and then removes the first one.
            Err(Unfit::Linked(_)) if self.is_young(spool, name, now) => {
                return Intake::Later("it has a second name");
            }
            // Its producer died there, or the agent when it gave it an id.
            Err(Unfit::Linked(_)) if spool.mend_file(&path, now_ms()).unwrap_or(false) => {
                return Intake::Later("half a move was mended");
            }
            Err(e @ (Unfit::Linked(_) | Unfit::Owner(_) | Unfit::NotAFile(_))) => {
                return Intake::Foreign(e.to_string());
            }
            Err(e) => return Intake::Trouble(e.into_error("read", path)),
        };
        let record = match Record::parse(&content.bytes) {
            Ok(record) => record,
            Err(Flaw::Version(v)) => return self.hold_later_version(spool, name, &content, v, is_busy),
            Err(Flaw::Bad(why)) => {
                if let Some(wait) = self.wait_for(name, &content.meta, now) {
                    return Intake::Later(wait);
                }
                self.unfinished.remove(name);
                return bury(spool, name, why);
            }
        };
        self.unfinished.remove(name);
        let id = match identify(spool, name, record.id.as_ref(), &content, is_busy, &self.shelves) {
            Ok(id) => id,
            Err(other) => return *other,
        };
        let entry = Entry::new(id, State::Pending);
        if record.session_key.is_none() {
            let reason = "no session is named; spool retry ID --session KEY sends it to one".to_owned();
            return hold(spool, entry, reason);
        }
        let seen = (name == OsStr::new(&entry.file_name())).then_some(content.meta);
        let (written_ns, owner) = (content.meta.mtime_ns, content.meta.uid);
        Intake::Ready(Box::new(Taken { entry, record, written_ns, owner, seen }))
    }

    /// Why a file that is no good record should be looked at again, if it should.
    fn wait_for(&mut self, name: &OsStr, meta: &Meta, now: Instant) -> Option<&'static str> {
        let fresh = Unfinished { since: now, size: meta.size, mtime_ns: meta.mtime_ns };
        let age_ms = i128::from(now_ms()) - meta.mtime_ns / 1_000_000;
        let is_old = age_ms >= i128::try_from(PATIENCE.as_millis()).unwrap_or(i128::MAX);
        match self.unfinished.get_mut(name) {
            Some(seen) if seen.size != meta.size || seen.mtime_ns != meta.mtime_ns => {
                *seen = fresh;
                return Some("it is still growing");
            }
            Some(seen) if now.duration_since(seen.since) < PATIENCE => {
                return Some("it is younger than ten seconds");
            }
            // The clock may be wrong: a time in the future says nothing, our own waiting does.
            None if !is_old => {
                self.remember(name, fresh);
                return Some("it is younger than ten seconds");
            }
            _ => {}
        }
        if self.is_open_for_writing(meta, now) {
            self.remember(name, fresh);
            return Some("somebody has it open for writing");
        }
        let is_blind = self.writers.as_ref().is_some_and(|seen| seen.is_blind);
        let waited = self.unfinished.get(name).map_or(Duration::ZERO, |seen| now.duration_since(seen.since));
        let long = i128::try_from(BLIND_PATIENCE.as_millis()).unwrap_or(i128::MAX);
        if is_blind && waited < BLIND_PATIENCE && age_ms < long {
            self.remember(name, fresh);
            return Some(
                "it is younger than five minutes, and nobody can tell whether it is open for writing",
            );
        }
        None
    }

    fn is_open_for_writing(&mut self, meta: &Meta, now: Instant) -> bool {
        if self.writers.as_ref().is_none_or(|seen| (seen.at, seen.dev) != (now, meta.dev)) {
            let (inodes, is_blind) = open::open_for_writing(meta.dev);
            self.writers = Some(Writers { at: now, dev: meta.dev, inodes, is_blind });
        }
        self.writers.as_ref().is_some_and(|seen| seen.inodes.contains(&meta.ino))
    }

    fn remember(&mut self, name: &OsStr, seen: Unfinished) {
        if self.unfinished.len() < MAX_UNFINISHED {
            self.unfinished.entry(name.to_owned()).or_insert(seen);
        }
    }

    fn is_young(&mut self, spool: &Spool, name: &OsStr, now: Instant) -> bool {
        match spool.fs().stat(&spool.dir(Dir::New).join(name)) {
            Ok(Some(meta)) => self.wait_for(name, &meta, now).is_some(),
            _ => true,
        }
    }

    /// A record of a later version: only its id and the fact are read of it.
    fn hold_later_version(
        &mut self,
        spool: &Spool,
        name: &OsStr,
        content: &Content,
        version: u64,
        is_busy: &dyn Fn(&Id) -> bool,
    ) -> Intake {
        self.unfinished.remove(name);
        let said = crate::json::parse(&content.bytes).ok().and_then(|v| Id::new(v.get("id")?.as_str()?).ok());
        match identify(spool, name, said.as_ref(), content, is_busy, &self.shelves) {
            Ok(id) if spool_seeded::is(Bug::FutureDropped) => {
                let _gone = spool.fs().remove(&spool.dir(Dir::New).join(format!("{id}{SUFFIX}"))).is_ok();
                Intake::Gone
            }
            Ok(id) => hold(spool, Entry::new(id, State::Pending), Flaw::Version(version).to_string()),
            Err(other) => *other,
        }
    }
}

fn was_mended(spool: &Spool, name: &OsStr) -> bool {
    let id = name.to_str().and_then(crate::name::plain_id);
    id.is_some_and(|id| spool.mend(&id).unwrap_or(false))
}

/// Gives the file its id and the name that goes with it.
fn identify(
    spool: &Spool,
    name: &OsStr,
    said: Option<&Id>,
    content: &Content,
    is_busy: &dyn Fn(&Id) -> bool,
    shelves: &Shelves,
) -> Result<Id, Box<Intake>> {
    let stem = name.to_str().and_then(|n| n.strip_suffix(SUFFIX));
    let id = match (said, stem) {
        (Some(id), _) => id.clone(),
        (None, Some(stem)) if Id::is_unique(stem) => {
            Id::new(stem).map_err(|e| Box::new(Intake::Trouble(e)))?
        }
        _ => Id::mint(),
    };
    let own_name = format!("{id}{SUFFIX}");
    if is_busy(&id) {
        // A person may have moved it back to new/ meanwhile: then this file is no twin but the entry itself.
        match spool.find_in(&id, &[Dir::Sending, Dir::Deferred]) {
            Ok(None) => {}
            twin => return Err(Box::new(settle_twin(spool, name, &id, content, twin))),
        }
    }
    for dir in [Dir::Hold, Dir::Dead, Dir::Done, Dir::Dismissed] {
        if spool_seeded::is(Bug::IdReuse) && dir == Dir::Done {
            continue;
        }
        if shelves.lacks(dir, &own_name) {
            continue;
        }
        if matches!(spool.fs().stat(&spool.dir(dir).join(&own_name)), Ok(Some(_))) {
            let twin = Ok(Entry::from_name(dir, &own_name));
            return Err(Box::new(settle_twin(spool, name, &id, content, twin)));
        }
    }
    if stem == Some(id.as_str()) {
        return Ok(id);
    }
    let from = spool.dir(Dir::New).join(name);
    let to = spool.dir(Dir::New).join(&own_name);
    if spool_seeded::is(Bug::IntakeClobber) {
        let _clobbered = rustix::fs::rename(&from, &to).is_ok();
        return Ok(id);
    }
    match spool.fs().rename(&from, &to) {
        Ok(()) => Ok(id),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            let twin = Ok(Some(Entry::new(id.clone(), State::Pending)));
            Err(Box::new(settle_twin(spool, name, &id, content, twin)))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Box::new(Intake::Gone)),
        Err(source) => Err(Box::new(Intake::Trouble(Error::Io { verb: "rename", path: from, source }))),
    }
}

/// A second file with the id of an entry: the same record once more, or another one.
fn settle_twin(
    spool: &Spool,
    name: &OsStr,
    id: &Id,
    content: &Content,
    twin: Result<Option<Entry>, Error>,
) -> Intake {
    let twin = match twin {
        Ok(Some(twin)) => twin,
        // It moved while we looked; the next sweep sees where to.
        Ok(None) => return Intake::Later("an entry with its id is on the move"),
        Err(e) => return Intake::Trouble(e),
    };
    let at = spool.path(&twin);
    match spool.fs().read(&at, MAX_BYTES) {
        Ok(first) if first.bytes == content.bytes => {
            let path = spool.dir(Dir::New).join(name);
            match spool.fs().remove(&path) {
                Ok(()) => Intake::Duplicate(id.clone()),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Intake::Gone,
                Err(source) => Intake::Trouble(Error::Io { verb: "remove", path, source }),
            }
        }
        Err(e) if e.is_gone() => Intake::Later("an entry with its id is on the move"),
        // What could not be compared is not called another record.
        Err(Unfit::Linked(_)) if is_half_moved(spool, id, &at) => {
            Intake::Later("an entry with its id is on the move")
        }
        Err(e @ Unfit::Io(_)) => Intake::Trouble(e.into_error("read", at)),
        _ => bury(
            spool,
            name,
            format!("its id {id} belongs to another record, which is {}", twin.state.word()),
        ),
    }
}

/// Whether an entry with two names is one that somebody moves by a link and a removal, or died at that; what a crash
/// left so is mended.
fn is_half_moved(spool: &Spool, id: &Id, path: &Path) -> bool {
    let now = now_ms();
    if spool.mend(id).unwrap_or(false) || spool.mend_file(path, now).unwrap_or(false) {
        return true;
    }
    let Ok(Some(meta)) = spool.fs().stat(path) else { return true };
    let age_ms = i128::from(now) - meta.ctime_ns / 1_000_000;
    age_ms < i128::try_from(PATIENCE.as_millis()).unwrap_or(i128::MAX)
}

fn bury(spool: &Spool, name: &OsStr, reason: String) -> Intake {
    match spool.bury(name, &Why { reason: reason.clone(), at: now_ms(), ..Why::default() }) {
        Ok(id) => Intake::Buried(id, reason),
        Err(e) if e.is_gone() => Intake::Gone,
        Err(e) => Intake::Trouble(e),
    }
}

fn hold(spool: &Spool, entry: Entry, reason: String) -> Intake {
    let why = Why { reason: reason.clone(), at: now_ms(), ..Why::default() };
    match spool.advance_why(&entry, &Event::Hold, &why) {
        Ok(entry) => Intake::Held(entry, reason),
        Err(e) => Intake::Trouble(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write;

    struct Bench {
        _home: tempfile::TempDir,
        spool: Spool,
        desk: Desk,
        now: Instant,
    }

    fn bench() -> Bench {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        Bench { _home: home, spool, desk: Desk::new(), now: Instant::now() }
    }

    impl Bench {
        fn drop_file(&self, name: &str, text: &str) {
            std::fs::write(self.spool.dir(Dir::New).join(name), text).unwrap();
        }
        fn look(&mut self, name: &str) -> Intake {
            self.desk.look(&self.spool, OsStr::new(name), &|_| false, self.now)
        }
        fn names(&self, dir: Dir) -> Vec<String> {
            let list = std::fs::read_dir(self.spool.dir(dir)).unwrap();
            list.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
        }
        fn age(&self, name: &str) {
            let file = File::options().write(true).open(self.spool.dir(Dir::New).join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - PATIENCE * 2).unwrap();
        }
    }

    #[test]
    fn a_hand_dropped_file_gets_an_id_by_a_rename() {
        let mut b = bench();
        b.drop_file("build.json", r#"{"sessionKey":"s","text":"x"}"#);
        let Intake::Ready(taken) = b.look("build.json") else { panic!() };
        assert!(Id::is_unique(taken.entry.id.as_str()));
        assert_eq!(b.names(Dir::New), [taken.entry.file_name()]);
        // The same name tomorrow is another record.
        b.drop_file("build.json", r#"{"sessionKey":"s","text":"x"}"#);
        let Intake::Ready(second) = b.look("build.json") else { panic!() };
        assert_ne!(second.entry.id, taken.entry.id);
    }

    #[test]
    fn the_records_id_wins_over_the_name_and_a_uuid_name_is_an_id() {
        let mut b = bench();
        b.drop_file("x.json", r#"{"sessionKey":"s","text":"x","id":"job-7"}"#);
        let Intake::Ready(taken) = b.look("x.json") else { panic!() };
        assert_eq!(taken.entry.id.as_str(), "job-7");
        let uuid = Id::mint();
        b.drop_file(&format!("{uuid}.json"), r#"{"sessionKey":"s","text":"x"}"#);
        let Intake::Ready(taken) = b.look(&format!("{uuid}.json")) else { panic!() };
        assert_eq!(taken.entry.id, uuid);
    }

    #[test]
    fn the_same_record_is_not_taken_twice_and_another_one_is_buried() {
        let mut b = bench();
        let text = r#"{"sessionKey":"s","text":"x","id":"job-7"}"#;
        b.drop_file("job-7.json", text);
        b.drop_file("again.json", text);
        assert!(matches!(b.look("again.json"), Intake::Duplicate(_)));
        let entry = Entry::new(Id::new("job-7").unwrap(), State::Pending);
        b.spool.advance(&entry, &Event::Quiet).unwrap();
        b.drop_file("job-7.json", text);
        assert!(matches!(b.look("job-7.json"), Intake::Duplicate(_)));
        b.drop_file("job-7.json", &text.replace("\"x\"", "\"y\""));
        let Intake::Buried(_, why) = b.look("job-7.json") else { panic!() };
        assert!(why.contains("another record, which is done"), "{why}");
        assert!(b.names(Dir::New).is_empty());
    }

    #[test]
    fn an_id_under_way_is_found_in_its_state() {
        let mut b = bench();
        let text = r#"{"sessionKey":"s","text":"x","id":"job-7"}"#;
        b.drop_file("job-7.json", text);
        let entry = Entry::new(Id::new("job-7").unwrap(), State::Pending);
        b.spool.advance(&entry, &Event::Take { key: crate::Key::mint() }).unwrap();
        b.drop_file("job-7.json", text);
        let seen = b.desk.look(&b.spool, OsStr::new("job-7.json"), &|id| id.as_str() == "job-7", b.now);
        assert!(matches!(seen, Intake::Duplicate(_)), "{seen:?}");
    }

    #[test]
    fn an_entry_that_a_person_moved_back_is_not_its_own_twin() {
        let mut b = bench();
        b.drop_file("job-7.json", r#"{"sessionKey":"s","text":"x","id":"job-7"}"#);
        let seen = b.desk.look(&b.spool, OsStr::new("job-7.json"), &|_| true, b.now);
        assert!(matches!(seen, Intake::Ready(_)), "{seen:?}");
        assert_eq!(b.names(Dir::New), ["job-7.json"]);
    }

    #[test]
    fn an_unfinished_file_is_awaited_and_old_garbage_is_not() {
        let mut b = bench();
        b.drop_file("x.json", r#"{"sessionKey":"s","#);
        assert!(matches!(b.look("x.json"), Intake::Later(_)));
        b.drop_file("x.json", r#"{"sessionKey":"s","text":"#);
        assert!(matches!(b.look("x.json"), Intake::Later("it is still growing")));
        b.now += PATIENCE / 2;
        assert!(matches!(b.look("x.json"), Intake::Later(_)));
        b.drop_file("x.json", r#"{"sessionKey":"s","text":"x"}"#);
        assert!(matches!(b.look("x.json"), Intake::Ready(_)));
        assert!(!b.desk.has_unfinished());

        b.drop_file("y.json", "{");
        b.age("y.json");
        assert!(matches!(b.look("y.json"), Intake::Buried(..)));
        b.drop_file("z.json", "{");
        assert!(matches!(b.look("z.json"), Intake::Later(_)));
        b.now += PATIENCE;
        assert!(matches!(b.look("z.json"), Intake::Buried(..)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_is_open_for_writing_is_not_condemned() {
        let mut b = bench();
        let path = b.spool.dir(Dir::New).join("x.json");
        let mut file = File::create(path).unwrap();
        file.write_all(b"{").unwrap();
        b.age("x.json");
        assert!(matches!(b.look("x.json"), Intake::Later("somebody has it open for writing")));
        b.now += PATIENCE * 100;
        assert!(matches!(b.look("x.json"), Intake::Later("somebody has it open for writing")));
        drop(file);
        b.now += Duration::from_millis(1);
        assert!(matches!(b.look("x.json"), Intake::Buried(..)));
    }

    #[test]
    fn what_is_no_ordinary_file_is_left_alone() {
        let mut b = bench();
        std::fs::create_dir(b.spool.dir(Dir::New).join("dir.json")).unwrap();
        assert!(matches!(b.look("dir.json"), Intake::Foreign(_)));
        b.drop_file("x.json", r#"{"sessionKey":"s","text":"x"}"#);
        std::fs::hard_link(b.spool.dir(Dir::New).join("x.json"), b.spool.root().join("other")).unwrap();
        assert!(matches!(b.look("x.json"), Intake::Later(_)));
        b.now += PATIENCE;
        assert!(matches!(b.look("x.json"), Intake::Foreign(_)));
        assert!(matches!(b.look("nowhere.json"), Intake::Gone));
    }

    #[test]
    fn what_cannot_be_routed_or_read_yet_is_held() {
        let mut b = bench();
        b.drop_file("x.json", r#"{"text":"x"}"#);
        let Intake::Held(entry, why) = b.look("x.json") else { panic!() };
        assert!(why.contains("--session"), "{why}");
        assert_eq!(b.spool.why(&entry).unwrap().reason, why);
        b.drop_file("y.json", r#"{"v":9,"id":"later-1","body":{}}"#);
        let Intake::Held(entry, why) = b.look("y.json") else { panic!() };
        assert_eq!(entry.id.as_str(), "later-1");
        assert!(why.contains("version 9"), "{why}");
    }

    #[test]
    fn a_giant_is_buried_unread() {
        let mut b = bench();
        b.drop_file("x.json", "");
        File::options()
            .write(true)
            .open(b.spool.dir(Dir::New).join("x.json"))
            .unwrap()
            .set_len(8 << 30)
            .unwrap();
        let Intake::Buried(_, why) = b.look("x.json") else { panic!() };
        assert!(why.contains("too large"), "{why}");
    }
}
