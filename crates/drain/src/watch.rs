//! The doorbell: tells the loop that it is worth looking into a directory. The only importer of `notify`.
//!
//! A doorbell, never a mailbox: an event is not looked at beyond the question whether it rings, and any number of
//! rings before the loop comes to the door is one ring. So nothing here grows with the number of files, and nothing is
//! lost with an event: correctness rests on sweeping the directories, this only makes it quick.
//!
//! What rings: a file that appears (created, linked, renamed in), a writer that closes its file, a queue that overflowed
//! (that event has no path, which is why the flag is asked for first), an error. What must not ring: the opens and
//! reads of our own sweep, which inotify reports like anybody's; a sweep on each of those would never end.
//!
//! What can be wrong, and how it is said ([`Doorbell::state`]):
//!
//! - The kernel gives no watch: `ENOSPC` is the limit of watches here and not a full disk; `EMFILE`; no such directory.
//! - The file system gives no events of other hosts (NFS, SMB, 9P, FUSE).
//! - The thread that reads the events has died.
//!
//! In all of them the loop's timed sweep still delivers, only later: [`WatchState::Polling`] asks for a short one.
//! Worst is a directory that was renamed away and made anew: the watch stays with the old one, in silence. Hence
//! [`Doorbell::rearm`], which every timed sweep calls.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{ErrorKind, Event, EventHandler, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use rustix::io::Errno;
use tokio::sync::Notify;

/// How changes are noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchState {
    /// The kernel tells.
    Native,
    /// Not all of them, or not reliably: sweep often.
    Polling {
        /// What is wrong and what to do, for status.
        reason: String,
    },
}

/// Watches directories (not what is below them) and rings.
#[derive(Debug)]
pub struct Doorbell {
    bell: Bell,
    watcher: Option<RecommendedWatcher>,
    doors: Vec<Door>,
    state: WatchState,
}

#[derive(Debug)]
struct Door {
    dir: PathBuf,
    /// Device and inode of the directory that is watched under this name.
    watched: Option<(u64, u64)>,
}

impl Doorbell {
    /// Watches the directories as far as possible; [`Doorbell::state`] says how far that is. Rings once, for what was
    /// there before.
    pub fn watch(dirs: &[PathBuf]) -> Doorbell {
        Doorbell::with(dirs, Bell::default())
    }

    fn with(dirs: &[PathBuf], bell: Bell) -> Doorbell {
        let doors = dirs.iter().map(|dir| Door { dir: dir.clone(), watched: None }).collect();
        let mut doorbell = Doorbell { bell, watcher: None, doors, state: WatchState::Native };
        doorbell.rearm();
        doorbell.bell.ring();
        doorbell
    }

    /// Waits until it has rung since the last return. Safe to cancel: a ring is not lost by it.
    pub async fn ring(&mut self) {
        self.bell.shared.waiting.notified().await;
    }

    /// How changes are noticed at present.
    pub fn state(&self) -> &WatchState {
        &self.state
    }

    /// How often it was rung since it was made, those that collapsed into one counted singly.
    pub fn rung(&self) -> u64 {
        self.bell.shared.rung.load(Ordering::SeqCst)
    }

    /// Looks whether the directories are still the ones that are watched, and watches anew what is not: a directory
    /// that was replaced or has appeared, a limit that was raised, a watcher that died. Rings and returns true if
    /// anything was watched anew, because what came before went unnoticed. Cheap: one `stat` for each directory.
    pub fn rearm(&mut self) -> bool {
        if self.bell.shared.dead.load(Ordering::SeqCst)
            && let Some(watcher) = self.watcher.take()
        {
            // Its drop would panic: it talks to the thread that is dead.
            std::mem::forget(watcher);
            self.doors.iter_mut().for_each(|door| door.watched = None);
        }
        let mut wrong = None;
        if self.watcher.is_none() {
            self.bell.shared.dead.store(false, Ordering::SeqCst);
            match RecommendedWatcher::new(Handler(self.bell.clone()), notify::Config::default()) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(e) => wrong = Some(format!("cannot watch for files: {}", explain(&e))),
            }
        }
        let mut anew = false;
        if let Some(watcher) = &mut self.watcher {
            for door in &mut self.doors {
                match door.arm(watcher) {
                    Ok(armed) => anew |= armed,
                    Err(why) => wrong = wrong.or(Some(format!("cannot watch {}: {why}", door.dir.display()))),
                }
            }
        }
        let remote = || self.doors.iter().find_map(|door| remote(&door.dir));
        self.state = match wrong.or_else(remote) {
            Some(reason) => WatchState::Polling { reason },
            None => WatchState::Native,
        };
        if anew {
            self.bell.ring();
        }
        anew
    }
}

impl Door {
    /// Watches the directory unless it is watched; says whether it had to.
    fn arm(&mut self, watcher: &mut RecommendedWatcher) -> Result<bool, String> {
        // Looked at before it is watched: if it is replaced in between, the next look sees a difference.
        let now = identity(&self.dir);
        if now.is_ok() && now.as_ref().ok() == self.watched.as_ref() {
            return Ok(false);
        }
        if self.watched.take().is_some() {
            // Fails if the watch went with its directory.
            _ = watcher.unwatch(&self.dir);
        }
        let now = now?;
        watcher.watch(&self.dir, RecursiveMode::NonRecursive).map_err(|e| explain(&e))?;
        self.watched = Some(now);
        Ok(true)
    }
}

fn identity(dir: &Path) -> Result<(u64, u64), String> {
    match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => Ok((meta.dev(), meta.ino())),
        Ok(_) => Err("it is not a directory".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}

/// What a failure to watch means, and what to do.
fn explain(error: &notify::Error) -> String {
    match &error.kind {
        ErrorKind::MaxFilesWatch => {
            "the kernel's limit of watches is reached (this is not a full disk); raise fs.inotify.max_user_watches"
                .to_owned()
        }
        // From inotify_init1(2).
        ErrorKind::Io(e) if e.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            "the limit of watchers or open files is reached; raise fs.inotify.max_user_instances or ulimit -n"
                .to_owned()
        }
        ErrorKind::Io(e) => e.to_string(),
        ErrorKind::PathNotFound => "there is no such directory".to_owned(),
        _ => error.to_string(),
    }
}

/// Names the file systems that do not report what other hosts do. The numbers are those of statfs(2).
#[cfg(target_os = "linux")]
fn remote(dir: &Path) -> Option<String> {
    let kind = rustix::fs::statfs(dir).ok()?.f_type;
    let name = match u32::try_from(kind).ok()? {
        0x6969 => "NFS",
        0x517b | 0xfe53_4d42 | 0xff53_4d42 => "SMB",
        0x0102_1997 => "9P",
        0x6573_5546 => "FUSE",
        _ => return None,
    };
    Some(format!("{} is on {name}, which does not tell what other hosts do", dir.display()))
}

#[cfg(not(target_os = "linux"))]
fn remote(_: &Path) -> Option<String> {
    None
}

/// The bell itself; both ends hold it.
#[derive(Debug, Clone, Default)]
struct Bell {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Notify,
    rung: AtomicU64,
    dead: AtomicBool,
    /// A test can hold the thread up here.
    #[cfg(test)]
    gate: std::sync::Mutex<()>,
    #[cfg(test)]
    overflows: AtomicU64,
}

impl Bell {
    fn ring(&self) {
        self.shared.rung.fetch_add(1, Ordering::SeqCst);
        // Holds one permit at most, so rings collapse.
        self.shared.waiting.notify_one();
    }
}

/// What the watcher's thread holds. It is dropped when that thread ends, in whatever way.
struct Handler(Bell);

impl Drop for Handler {
    fn drop(&mut self) {
        self.0.shared.dead.store(true, Ordering::SeqCst);
        self.0.ring();
    }
}

impl EventHandler for Handler {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        #[cfg(test)]
        {
            drop(self.0.shared.gate.lock());
            let overflow = event.as_ref().is_ok_and(Event::need_rescan);
            self.0.shared.overflows.fetch_add(overflow.into(), Ordering::SeqCst);
        }
        if rings(&event) {
            self.0.ring();
        }
    }
}

fn rings(event: &notify::Result<Event>) -> bool {
    let Ok(event) = event else { return true };
    event.need_rescan()
        || matches!(
            event.kind,
            EventKind::Any
                | EventKind::Create(_)
                | EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both | RenameMode::Any))
                | EventKind::Access(AccessKind::Close(AccessMode::Write))
        )
}

#[cfg(test)]
mod tests;
