//! A spool for a producer to publish into, and the look at what it left there.
//!
//! The spool is not empty: it has neighbours in several states that are nobody's business. What is judged is what came
//! in addition, by the reader that the agent uses too.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use spooldir::record::MAX_BYTES;
use spooldir::{Dir, Id, Record, Spool};

use crate::bench::Call;
use crate::verdict::{Stop, must};

/// The name of the entry that is pending from the start.
const NEIGHBOUR: &str = "neighbour.json";

/// A spool under a producer.
pub struct Stage {
    spool: Spool,
}

/// A file or a directory, as far as somebody could have touched it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    inode: u64,
    mode: u32,
    changed: (i64, i64),
    bytes: Vec<u8>,
}

impl Stage {
    /// A new one, with neighbours.
    pub fn make(root: &Path) -> Result<Stage, Stop> {
        let stage = Stage { spool: Spool::create(root)? };
        for dir in [Dir::New, Dir::Hold, Dir::Dead, Dir::Done] {
            let id = if dir == Dir::New { "neighbour" } else { dir.name() };
            let bytes = format!(r#"{{"id":"{id}","sessionKey":"agent:main:main","text":"not yours"}}"#);
            fs::write(stage.dir(dir).join(format!("{id}.json")), bytes)?;
        }
        Ok(stage)
    }

    /// One that a producer was to make.
    pub fn found(root: &Path) -> Result<Stage, Stop> {
        let spool = Spool::open(root).map_err(|e| Stop::Fail(format!("it said yes, but {e}")))?;
        Ok(Stage { spool })
    }

    /// Its root.
    pub fn root(&self) -> &Path {
        self.spool.root()
    }

    /// One of its directories.
    pub fn dir(&self, dir: Dir) -> PathBuf {
        self.spool.dir(dir)
    }

    /// The names in a directory, without the neighbour.
    pub fn names(&self, dir: Dir) -> Result<Vec<String>, Stop> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.dir(dir))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if dir != Dir::New || name != NEIGHBOUR {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Everything that a producer must leave as it is: all but what it adds to `tmp/` and `new/`.
    pub fn surroundings(&self) -> Result<BTreeMap<PathBuf, Trace>, Stop> {
        let mut traces = BTreeMap::new();
        let mut left = vec![self.root().to_owned()];
        while let Some(path) = left.pop() {
            let meta = fs::symlink_metadata(&path)?;
            let place = path.strip_prefix(self.root()).unwrap_or(&path).to_owned();
            let is_open = [Dir::Tmp, Dir::New].iter().any(|dir| place == Path::new(dir.name()));
            if meta.is_dir() {
                for entry in fs::read_dir(&path)? {
                    let entry = entry?;
                    if !is_open || entry.file_name() == NEIGHBOUR {
                        left.push(entry.path());
                    }
                }
            }
            let bytes = if meta.is_file() { fs::read(&path)? } else { Vec::new() };
            let changed = if is_open { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) };
            traces
                .insert(place, Trace { inode: meta.ino(), mode: meta.permissions().mode(), changed, bytes });
        }
        Ok(traces)
    }

    /// Nothing but `tmp/` and `new/` is other than it was.
    pub fn must_be_as(&self, before: &BTreeMap<PathBuf, Trace>) -> Result<(), Stop> {
        let now = self.surroundings()?;
        for (place, trace) in before {
            let is_same = now.get(place) == Some(trace);
            must(is_same, || format!("{} was touched, which is not its own", named(place)))?;
        }
        match now.keys().find(|place| !before.contains_key(*place)) {
            Some(place) => Err(Stop::Fail(format!("{} was added, outside of tmp/ and new/", named(place)))),
            None => Ok(()),
        }
    }

    /// The one record that was published for this call is there, and good; gives its name and its bytes.
    pub fn must_hold(&self, call: &Call) -> Result<(String, Vec<u8>), Stop> {
        let names = self.names(Dir::New)?;
        match names.as_slice() {
            [name] => Ok((name.clone(), self.must_be_good(name, call)?)),
            [] => Err(Stop::Fail("it said yes, but nothing is in new/".into())),
            _ => Err(Stop::Fail(format!(
                "{} names are in new/ instead of one: {}",
                names.len(),
                names.join(", ")
            ))),
        }
    }

    /// Whatever is in `new/` is a good record of this call.
    pub fn must_be_whole(&self, call: &Call) -> Result<usize, Stop> {
        let names = self.names(Dir::New)?;
        for name in &names {
            self.must_be_good(name, call)?;
        }
        Ok(names.len())
    }

    /// This file in `new/` is a good record of the call, under the right id.
    pub fn must_be_good(&self, name: &str, call: &Call) -> Result<Vec<u8>, Stop> {
        let path = self.dir(Dir::New).join(name);
        let meta = fs::symlink_metadata(&path)?;
        must(meta.is_file(), || format!("new/{name} is not an ordinary file"))?;
        let size = meta.len();
        must(size <= MAX_BYTES, || format!("new/{name} has {size} bytes, a record at most {MAX_BYTES}"))?;
        let is_name = !name.starts_with('.') && name.ends_with(".json");
        must(is_name, || format!("new/{name} is no name of a record: foreign, nobody will look at it"))?;
        let bytes = fs::read(&path)?;
        let record = Record::parse(&bytes)
            .map_err(|flaw| Stop::Fail(format!("new/{name} ({size} bytes) is not a good record: {flaw}")))?;
        let session = record.session_key.as_deref();
        // A session that is no session may be left out: then the entry is held.
        let is_no_session = spooldir::record::check_session_key(&call.session).is_err();
        must(session == Some(&call.session) || is_no_session && session.is_none(), || {
            format!("new/{name} is for the session {session:?} instead of {:?}", call.session)
        })?;
        if let Some(text) = call.text() {
            let found = record.text.as_deref().unwrap_or_default();
            let is_start = call.may_be_cut && found.chars().zip(text.chars()).take(1000).all(|(a, b)| a == b);
            must(record.text.as_deref() == Some(text) || is_start, || {
                let length = record.text.as_ref().map_or(0, String::len);
                format!("new/{name} has another text ({length} bytes instead of {})", text.len())
            })?;
        }
        Ok(bytes)
    }

    /// The file is named after the id of the call, and is that record by the rules of intake.
    pub fn must_be_named(&self, name: &str, bytes: &[u8], id: &Id) -> Result<(), Stop> {
        must(name == format!("{id}.json"), || format!("it is new/{name}, not new/{id}.json"))?;
        let inside = Record::parse(bytes).ok().and_then(|record| record.id);
        match inside {
            Some(inside) if inside == *id => Ok(()),
            Some(inside) => Err(Stop::Fail(format!("new/{name} says that its id is {inside}"))),
            None if Id::is_unique(id.as_str()) => Ok(()),
            None => {
                Err(Stop::Fail(format!("new/{name} names no id, and only a UUID is one by its file's name")))
            }
        }
    }

    /// Removes what producers left in `tmp/` and `new/`; gives how much was in `tmp/`.
    pub fn clear(&self) -> Result<usize, Stop> {
        let left = self.names(Dir::Tmp)?;
        for (dir, names) in [(Dir::Tmp, &left), (Dir::New, &self.names(Dir::New)?)] {
            for name in names {
                fs::remove_file(self.dir(dir).join(name))?;
            }
        }
        Ok(left.len())
    }
}

fn named(place: &Path) -> String {
    if place.as_os_str().is_empty() {
        "the root of the spool".to_owned()
    } else {
        place.display().to_string()
    }
}
