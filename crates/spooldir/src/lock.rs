//! One agent a spool: a kernel lock, never a process number.
//!
//! The lock falls when its holder dies, for whatever reason; a stopped holder keeps it. The descriptor is
//! close-on-exec (as std opens all files), so that no child inherits it. fs2 is called by its full path: std has
//! methods of the same names on `File` that would silently be taken instead.
//!
//! The lock is on a file, and the agent works by names: whoever moves the spool away and puts another one in its place
//! takes the names from under a holder that is none the wiser, and the new lock file is free. So a holder asks
//! [`AgentLock::is_at`] whenever time may have passed.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use crate::error::{Context, Error};
use crate::layout::Spool;

/// The lock of the one agent of a spool; given back when dropped.
#[derive(Debug)]
pub struct AgentLock {
    file: File,
}

impl AgentLock {
    /// Takes the lock, without waiting.
    ///
    /// # Errors
    /// [`Error::Locked`] when another agent has it, [`Error::Io`] when it cannot be tried.
    pub fn take(spool: &Spool) -> Result<AgentLock, Error> {
        let path = spool.root().join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .at("create", &path)?;
        match fs2::FileExt::try_lock_exclusive(&file) {
            Ok(()) => {}
            Err(_) if spool_seeded::is(spool_seeded::Bug::NoLock) => {}
            Err(e) if e.kind() == fs2::lock_contended_error().kind() => {
                let mut said = String::new();
                let pid = file.read_to_string(&mut said).ok().and_then(|_| said.trim().parse().ok());
                return Err(Error::Locked { path: spool.root().to_owned(), pid });
            }
            Err(e) => return Err(e).at("lock", path),
        }
        // For people only; nothing decides by it, so a full disk does not keep the agent from starting.
        let _said = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .is_ok();
        Ok(AgentLock { file })
    }

    /// Whether the lock that is at its path is still the one we hold. It may have been removed, or the whole spool put
    /// elsewhere and made anew; then another agent could take what is there now.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn is_at(&self, spool: &Spool) -> Result<bool, Error> {
        let path = spool.root().join("lock");
        let ours = self.file.metadata().at("look at", &path)?;
        let there = spool.fs().stat(&path).at("look at", &path)?;
        Ok(there.is_some_and(|there| (there.dev, there.ino) == (ours.dev(), ours.ino())))
    }

    /// Whether an agent holds the lock at this moment.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be tried.
    pub fn is_taken(spool: &Spool) -> Result<bool, Error> {
        let path = spool.root().join("lock");
        let file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            other => other.at("open", &path)?,
        };
        match fs2::FileExt::try_lock_shared(&file) {
            Ok(()) => Ok(false),
            Err(e) if e.kind() == fs2::lock_contended_error().kind() => Ok(true),
            Err(e) => Err(e).at("lock", path),
        }
    }
}

/// The bytes that are free on the spool's file system for us.
///
/// # Errors
/// [`Error::Io`].
pub fn free_bytes(spool: &Spool) -> Result<u64, Error> {
    fs2::available_space(spool.root()).at("look at the free space of", spool.root())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_agent_is_told_who_the_first_is() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        assert!(!AgentLock::is_taken(&spool).unwrap());
        let lock = AgentLock::take(&spool).unwrap();
        assert!(AgentLock::is_taken(&spool).unwrap());
        let error = AgentLock::take(&spool).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        assert_eq!(error.exit(), crate::exit::UNAVAILABLE);
        drop(lock);
        AgentLock::take(&spool).unwrap();
    }

    #[test]
    fn a_spool_that_was_replaced_is_not_held_any_more() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("spool");
        let spool = Spool::create(&root).unwrap();
        let lock = AgentLock::take(&spool).unwrap();
        assert!(lock.is_at(&spool).unwrap());
        rustix::fs::rename(&root, home.path().join("away")).unwrap();
        assert!(!lock.is_at(&spool).unwrap());
        let other = AgentLock::take(&Spool::create(&root).unwrap()).unwrap();
        assert!(other.is_at(&spool).unwrap() && !lock.is_at(&spool).unwrap());
        drop(other);
        std::fs::remove_dir_all(&root).unwrap();
        rustix::fs::rename(home.path().join("away"), &root).unwrap();
        assert!(lock.is_at(&spool).unwrap());
    }
}
