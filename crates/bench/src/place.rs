//! Where the measurements write: a fresh directory for each turn, and nothing removed before the end.
//!
//! Three habits of file systems spoil a measurement that is not made with them in mind:
//!
//! - Without a journal and with `discard`, removing a file that is on the disk waits for the disk. So nothing is removed
//!   between turns, and a chapter that must remove something measures that, too.
//! - ext4 without a journal avoids inodes that were removed lately, and looks for others the longer the more were. So a
//!   new directory is used, not an emptied one; each is a directory at the top as far as the file system is concerned
//!   (`chattr +T`), which puts it into a block group of its own, away from what earlier turns did.
//! - A directory keeps the blocks of all it ever held. So again: a new one.
//!
//! All of it goes at the end, when the last chapter is done.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::IFlags;

use crate::bench::Outcome;

/// A directory for everything that is written, removed at the end.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
    next: AtomicU64,
}

impl Place {
    /// Makes one in `dir`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(dir: &Path) -> Outcome<Place> {
        let root = dir.join(format!("place-{}", std::process::id()));
        std::fs::create_dir_all(&root)?;
        let root = root.canonicalize()?;
        // A hint, which not every file system takes.
        let _is_hinted = File::open(&root)
            .and_then(|root| {
                let flags = rustix::fs::ioctl_getflags(&root)?;
                Ok(rustix::fs::ioctl_setflags(&root, flags | IFlags::TOPDIR)?)
            })
            .is_ok();
        Ok(Place { root, next: AtomicU64::new(0) })
    }

    /// A new, empty directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn fresh(&self, purpose: &str) -> Outcome<PathBuf> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let dir = self.root.join(format!("{purpose}-{number}"));
        std::fs::create_dir(&dir)?;
        Ok(dir)
    }

    /// The file system it is on: its type and where it is mounted with which options, from `/proc/mounts`.
    pub fn file_system(&self) -> String {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let mounts = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((Path::new(words.next()?), words.next()?, words.next()?))
        });
        let here = mounts
            .filter(|(at, ..)| self.root.starts_with(at))
            // The last of the longest: mounted over the others.
            .max_by_key(|(at, ..)| at.as_os_str().len());
        here.map_or("unknown".to_owned(), |(_, kind, options)| format!("{kind} ({options})"))
    }

    /// Removes all of it. Several threads, for where each removal waits for the disk.
    fn clear(&self) -> std::io::Result<()> {
        let rooms: Vec<PathBuf> =
            std::fs::read_dir(&self.root)?.flatten().map(|entry| entry.path()).collect();
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(room) = usize::try_from(at).ok().and_then(|at| rooms.get(at)) else { break };
                        // What cannot be removed is seen when the directory above it cannot.
                        let _is_gone = std::fs::remove_dir_all(room).is_ok();
                    }
                });
            }
        });
        std::fs::remove_dir_all(&self.root)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("cannot remove {}: {error}; remove it by hand", self.root.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_room_is_new_and_all_are_gone_at_the_end() {
        let home = tempfile::tempdir().unwrap();
        let place = Place::new(home.path()).unwrap();
        let (one, other) = (place.fresh("put").unwrap(), place.fresh("put").unwrap());
        assert_ne!(one, other);
        std::fs::write(one.join("file"), "x").unwrap();
        assert_ne!(place.file_system(), "unknown");
        drop(place);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
