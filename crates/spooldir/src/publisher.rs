//! Publishing for a program with many threads: they share the flush of `new/` (group commit).
//!
//! Each thread writes and flushes its own file and gives it its name, as [`Spool::publish`] does. Then it needs a flush
//! of the directory that *began after* its name was there. Whoever finds no such flush under way makes one, and all that
//! wait for it have it in common; those who come meanwhile need the next one. Nobody waits for company: a single writer
//! flushes at once.
//!
//! What it keeps true, as if each had flushed alone:
//!
//! - a yes is said only after a whole flush that began after the name was given;
//! - a flush that fails fails everybody whose publishing was under way during any part of it, also those who would have
//!   taken part in the next one: the kernel reports an error once and may have dropped the page, so that a later flush
//!   that succeeds proves nothing about what the failed one was to write;
//! - nobody holds the lock while the disk is waited for.
//!
//! It helps where each flush of the directory costs the disk something of its own. A file system with a journal commits
//! for many at a time by itself, and gains little. Each writer waits as long as its flushes take and no longer; there is
//! no queue but the waiting threads.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::layout::{Dir, Spool};
use crate::name::Id;
use crate::publish::Published;

/// Publishes for many threads; share it by reference or in an `Arc`.
///
/// ```
/// use spooldir::{Id, Publisher, Spool};
///
/// let home = std::env::temp_dir().join(format!("spool-publisher-{}", std::process::id()));
/// let publisher = Publisher::new(Spool::create(&home)?);
/// std::thread::scope(|scope| {
///     let workers: Vec<_> = (0..8)
///         .map(|n| {
///             let record = format!(r#"{{"sessionKey":"agent:main:main","text":"part {n} is done"}}"#);
///             let publisher = &publisher;
///             scope.spawn(move || publisher.publish(&Id::mint(), record.as_bytes(), true))
///         })
///         .collect();
///     // Each knows for itself whether its record is kept.
///     assert!(workers.into_iter().all(|worker| worker.join().is_ok_and(|published| published.is_ok())));
/// });
/// # std::fs::remove_dir_all(&home).ok();
/// # Ok::<(), spooldir::Error>(())
/// ```
#[derive(Debug)]
pub struct Publisher {
    spool: Spool,
    turns: Mutex<Turns>,
    /// Where the end of a flush is waited for, by whether its number is even: at any time there are those who wait for
    /// the one under way, and those who need the next one and sleep on.
    ended: [Condvar; 2],
}

/// The flushes, by number from 1.
#[derive(Debug, Default)]
struct Turns {
    begun: u64,
    /// All up to this one have ended.
    ended: u64,
    /// How many of them have failed, and how the last of those did.
    failed: u64,
    failure: Option<Failure>,
}

/// An error that several are told of.
#[derive(Debug, Clone)]
struct Failure {
    errno: Option<i32>,
    kind: io::ErrorKind,
    words: String,
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Failure {
        Failure { errno: error.raw_os_error(), kind: error.kind(), words: error.to_string() }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> io::Error {
        match failure.errno {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(failure.kind, failure.words),
        }
    }
}

impl Publisher {
    /// For this spool.
    pub fn new(spool: Spool) -> Publisher {
        Publisher { spool, turns: Mutex::default(), ended: Default::default() }
    }

    /// The spool it publishes to.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// As [`Spool::publish`], with the same meaning and the same errors, and the flush of `new/` shared with whoever else
    /// publishes through this publisher.
    ///
    /// # Errors
    /// As [`Spool::publish`].
    pub fn publish(&self, id: &Id, bytes: &[u8], fresh: bool) -> Result<Published, Error> {
        // From before the name is given: what fails from now on may concern it.
        let failed_before = self.turns().failed;
        self.spool.publish_with(id, bytes, fresh, || self.flush(failed_before))
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        // Numbers only, each changed by itself: a thread that panicked cannot have left them half changed.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that a flush that began after this call has ended well, and that none failed since `failed_before`.
    fn flush(&self, failed_before: u64) -> io::Result<()> {
        let mut turns = self.turns();
        let needed = turns.begun + 1;
        let [even, odd] = &self.ended;
        let ended = if needed.is_multiple_of(2) { even } else { odd };
        loop {
            if turns.failed != failed_before {
                let failure = turns.failure.clone();
                return Err(
                    failure.map_or_else(|| io::Error::other("a shared flush failed"), io::Error::from)
                );
            }
            if turns.ended >= needed {
                return Ok(());
            }
            if turns.begun == turns.ended {
                turns.begun += 1;
                drop(turns);
                let mut turn =
                    Turn { publisher: self, ended: Err(io::Error::other("a shared flush panicked")) };
                turn.ended = self.spool.fs().sync_dir(&self.spool.dir(Dir::New));
                drop(turn);
                turns = self.turns();
            } else {
                turns = ended.wait(turns).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// A flush under way. However it ends, those who wait are told.
struct Turn<'a> {
    publisher: &'a Publisher,
    ended: io::Result<()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.publisher.turns();
        turns.ended += 1;
        let [even, odd] = &self.publisher.ended;
        let (these, next) = if turns.ended.is_multiple_of(2) { (even, odd) } else { (odd, even) };
        if let Err(error) = &self.ended {
            turns.failed += 1;
            turns.failure = Some(Failure::from(error));
            next.notify_all();
        }
        drop(turns);
        these.notify_all();
        // Makes the next flush, for all that wait for it.
        next.notify_one();
    }
}
