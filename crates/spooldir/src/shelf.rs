//! What lies in the states that intake has to know: whether an id is held, dead or dismissed already.
//!
//! Each record that is taken in is looked for there, and nearly always it is in none of them. So these directories,
//! which are small and change seldom, are listed, and asked again only when they have changed: one look at a directory
//! serves all names of a batch. A directory says that it has changed by its times, which are as coarse as the file system
//! keeps them: a list that was made at about the time of a change is not relied on for the next batch. A directory with
//! very many names is not listed, and each record is looked for in it by name, as in `done/`.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;

use crate::fs::Meta;
use crate::layout::{Dir, Spool};
use crate::time::now_ms;

/// Directories that are listed.
const DIRS: [Dir; 3] = [Dir::Hold, Dir::Dead, Dir::Dismissed];
/// Names in one of them, at most; reasons lie beside the entries and count as well.
const MAX_NAMES: usize = 1000;
/// Longer than the coarsest times that a file system keeps: two seconds, on FAT; one, on ext4 with small inodes and HFS+.
const TICK_NS: i128 = 2_100_000_000;

/// The lists.
#[derive(Debug, Default)]
pub(crate) struct Shelves {
    shelves: [Shelf; DIRS.len()],
}

#[derive(Debug, Default)]
struct Shelf {
    /// What the directory was before it was listed, and whether that list may be relied on later.
    listed: Option<(Meta, bool)>,
    /// Its names, unless there are too many.
    names: Option<HashSet<OsString>>,
}

impl Shelves {
    /// Looks whether the lists are still true, and lists anew what has changed.
    pub(crate) fn look(&mut self, spool: &Spool) {
        for (shelf, dir) in self.shelves.iter_mut().zip(DIRS) {
            let path = spool.dir(dir);
            let Ok(Some(meta)) = spool.fs().stat(&path) else {
                *shelf = Shelf::default();
                continue;
            };
            if shelf.listed == Some((meta, true)) {
                continue;
            }
            let is_settled = meta.mtime_ns.max(meta.ctime_ns) + TICK_NS < i128::from(now_ms()) * 1_000_000;
            let mut names = HashSet::new();
            let listed = spool.fs().list(&path, &mut |name, _| {
                names.insert(name.to_owned());
                if names.len() > MAX_NAMES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let is_whole = listed.is_ok() && names.len() <= MAX_NAMES;
            *shelf = Shelf { listed: Some((meta, is_settled)), names: is_whole.then_some(names) };
        }
    }

    /// Nothing is known any more: something was moved there since.
    pub(crate) fn forget(&mut self) {
        *self = Shelves::default();
    }

    /// Whether it is certain that a directory has no such name. If not, it has to be looked for.
    pub(crate) fn lacks(&self, dir: Dir, name: &str) -> bool {
        let shelf = DIRS.iter().position(|d| *d == dir).map(|at| &self.shelves[at]);
        let names = shelf.and_then(|shelf| shelf.names.as_ref());
        names.is_some_and(|names| !names.contains(OsStr::new(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_lacking() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let mut shelves = Shelves::default();
        assert!(!shelves.lacks(Dir::Hold, "a.json"));
        shelves.look(&spool);
        assert!(shelves.lacks(Dir::Hold, "a.json") && shelves.lacks(Dir::Dead, "a.json"));
        assert!(!shelves.lacks(Dir::Done, "a.json"), "never listed");
        std::fs::write(spool.dir(Dir::Hold).join("a.json"), "{}").unwrap();
        // Within the tick in which it was made: a list of that time is made anew.
        shelves.look(&spool);
        assert!(!shelves.lacks(Dir::Hold, "a.json") && shelves.lacks(Dir::Hold, "b.json"));
        shelves.forget();
        assert!(!shelves.lacks(Dir::Hold, "b.json"));
        for n in 0..=MAX_NAMES {
            std::fs::write(spool.dir(Dir::Hold).join(format!("{n}.json")), "").unwrap();
        }
        shelves.look(&spool);
        assert!(
            !shelves.lacks(Dir::Hold, "b.json") && shelves.lacks(Dir::Dead, "b.json"),
            "too many to know"
        );
    }
}
