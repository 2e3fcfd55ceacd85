//! The file system, as the few verbs the spool needs of it.
//!
//! Everything the spool does to a disk goes through [`Fs`], so that a failing one can be put in its place
//! ([`crate::fault`]). [`RealFs`] is the one that runs. What it keeps true:
//!
//! - no verb overwrites a file, but `replace`, which is used for files that hold no record;
//! - a file that is being written is not visible under its final name;
//! - a read never follows a symlink, never opens a device or a FIFO, and never reads more than it was allowed to.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

#[cfg(target_os = "linux")]
use rustix::fs::FileType;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use spool_seeded::{Bug, is};

use crate::error::Error;
use crate::open;

/// What is known of a file without reading it. A symlink is described itself, not what it points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of stat(2)")]
pub struct Meta {
    pub is_file: bool,
    pub is_dir: bool,
    pub dev: u64,
    pub ino: u64,
    pub nlink: u64,
    pub uid: u32,
    pub mode: u32,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Nanoseconds since 1970.
    pub ctime_ns: i128,
}

impl From<&std::fs::Metadata> for Meta {
    fn from(m: &std::fs::Metadata) -> Meta {
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Meta {
            is_file: m.file_type().is_file(),
            is_dir: m.file_type().is_dir(),
            dev: m.dev(),
            ino: m.ino(),
            nlink: m.nlink(),
            uid: m.uid(),
            mode: m.mode() & 0o7777,
            size: m.size(),
            mtime_ns: ns(m.mtime(), m.mtime_nsec()),
            ctime_ns: ns(m.ctime(), m.ctime_nsec()),
        }
    }
}

/// A file that was read whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// What the file was when it was opened.
    pub meta: Meta,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Why a file was not read.
#[derive(Debug)]
pub enum Unfit {
    /// A system call failed.
    Io(io::Error),
    /// It is not an ordinary file: what it is instead.
    NotAFile(&'static str),
    /// It has more than one name; the other one may belong to anybody.
    Linked(u64),
    /// It belongs to another user.
    Owner(u32),
    /// It is larger than allowed: its size.
    TooLarge(u64),
}

impl Unfit {
    /// Whether the file is simply not there.
    pub fn is_gone(&self) -> bool {
        matches!(self, Unfit::Io(e) if e.kind() == io::ErrorKind::NotFound)
    }

    /// The same as an error of the crate.
    pub fn into_error(self, verb: &'static str, path: impl Into<PathBuf>) -> Error {
        Error::Io { verb, path: path.into(), source: self.into() }
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unfit::Io(e) => e.fmt(f),
            Unfit::NotAFile(kind) => write!(f, "it is a {kind}, not an ordinary file"),
            Unfit::Linked(n) => write!(f, "it has {n} names (hard links); a record has one"),
            Unfit::Owner(uid) => write!(f, "it belongs to user {uid}"),
            Unfit::TooLarge(size) => write!(f, "{size} bytes, more than is allowed"),
        }
    }
}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> io::Error {
        match unfit {
            Unfit::Io(e) => e,
            other => io::Error::other(other.to_string()),
        }
    }
}

impl From<io::Error> for Unfit {
    fn from(e: io::Error) -> Unfit {
        Unfit::Io(e)
    }
}

/// A file that is being written and has no final name yet. Dropped without [`Staged::publish`] it leaves nothing.
pub trait Staged {
    /// Writes all the bytes.
    ///
    /// # Errors
    /// Those of write(2); the file must be thrown away then.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Flushes data and size to the disk (fdatasync(2)).
    ///
    /// # Errors
    /// Those of fsync(2); the file must be thrown away then: a second flush may claim success for lost data.
    fn sync_data(&mut self) -> io::Result<()>;
    /// Gives it its final name, which must not exist.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, [`io::ErrorKind::Unsupported`] when this way of staging cannot publish
    /// here (stage again), else those of link(2) and rename(2).
    fn publish(self: Box<Self>, to: &Path) -> io::Result<()>;
}

/// The verbs. Errors are those of the system calls behind them.
#[expect(clippy::missing_errors_doc, reason = "said once above")]
pub trait Fs: Send + Sync {
    /// Begins a file that will be published into the same file system; `dir` is `tmp/`.
    fn stage(&self, dir: &Path) -> io::Result<Box<dyn Staged>>;
    /// Renames; the new name must not exist (`AlreadyExists`).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Flushes a directory: names made and removed in it survive a power cut afterwards.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Shows each name in a directory, and whether it is an ordinary file.
    fn list(&self, dir: &Path, see: &mut dyn FnMut(&OsStr, bool) -> ControlFlow<()>) -> io::Result<()>;
    /// Reads a file of at most `limit` bytes, refusing everything that is not an ordinary file of ours.
    fn read(&self, path: &Path, limit: u64) -> Result<Content, Unfit>;
    /// Looks at a name without following it; `None` when it is not there.
    fn stat(&self, path: &Path) -> io::Result<Option<Meta>>;
    /// Makes a directory, mode 0700.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and its parents, mode 0700.
    fn make_dirs(&self, path: &Path) -> io::Result<()>;
    /// Appends to a file in one write, creating it with mode 0600. A torn last line is closed first.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Stages files with a name in `tmp/` from now on, where unnamed ones turned out not to work.
    fn prefer_named(&self) {}
    /// Takes files of these users for ours from now on, when they are read. (What they may say is policy.)
    fn admit(&self, _users: Vec<u32>) {}
    /// Writes a whole small file in place of the old one, atomically but without a flush.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Takes the lock of a file that has two names; `NotFound` when it has not this one, `WouldBlock` when somebody is
    /// moving it and does not come to an end.
    fn hold_still(&self, path: &Path) -> io::Result<Moving> {
        Moving::take(path)
    }
}

/// The file system of the machine.
#[derive(Debug)]
pub struct RealFs {
    /// Whether O_TMPFILE and linkat are to be used; turned off for good once they fail.
    unnamed: AtomicBool,
    /// Whose files are read besides our own.
    admitted: RwLock<Vec<u32>>,
}

impl Default for RealFs {
    fn default() -> Self {
        RealFs::new()
    }
}

impl RealFs {
    /// The file system, with unnamed temporary files where it has them.
    pub fn new() -> RealFs {
        RealFs { unnamed: AtomicBool::new(cfg!(target_os = "linux")), admitted: RwLock::default() }
    }

    /// The file system, always with named temporary files (as on macOS).
    pub fn named() -> RealFs {
        RealFs { unnamed: AtomicBool::new(false), admitted: RwLock::default() }
    }
}

impl Fs for RealFs {
    fn stage(&self, dir: &Path) -> io::Result<Box<dyn Staged>> {
        #[cfg(target_os = "linux")]
        if self.unnamed.load(Ordering::Relaxed) {
            let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
            match rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR) {
                Ok(fd) => return Ok(Box::new(Unnamed { file: File::from(fd) })),
                // Kernels and file systems without O_TMPFILE answer in these ways.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.prefer_named();
        let path = dir.join(format!("{}.tmp", uuid::Uuid::now_v7().hyphenated()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        // Says "a live writer has this" to whoever sweeps tmp/; no harm where locks do not work.
        let _unlocked = fs2::FileExt::try_lock_exclusive(&file).is_err();
        Ok(Box::new(Named { file, path: Some(path) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rename_at_once(from, to) {
            Some(done) => done,
            None => rename_by_link(from, to),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn list(&self, dir: &Path, see: &mut dyn FnMut(&OsStr, bool) -> ControlFlow<()>) -> io::Result<()> {
        list(dir, see)
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Content, Unfit> {
        // A list that was being changed when a thread died is a list all the same.
        let admitted = self.admitted.read().unwrap_or_else(PoisonError::into_inner);
        open::read(path, limit, &admitted)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Meta>> {
        match std::fs::symlink_metadata(path) {
            Ok(meta) => Ok(Some(Meta::from(&meta))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).recursive(true).create(path)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt as _;
        // Whatever somebody put there: nothing is followed, and no FIFO stops us.
        let careful = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600).custom_flags(careful);
        let mut file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not an ordinary file"));
        }
        let size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.read_exact_at(&mut last, size - 1)?;
        }
        if last != [b'\n'] { file.write_all(&[b"\n", bytes].concat()) } else { file.write_all(bytes) }
    }

    fn prefer_named(&self) {
        self.unnamed.store(false, Ordering::Relaxed);
    }

    fn admit(&self, users: Vec<u32>) {
        *self.admitted.write().unwrap_or_else(PoisonError::into_inner) = users;
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut tmp = path.as_os_str().to_owned();
        tmp.push(format!(".{}", std::process::id()));
        let tmp = PathBuf::from(tmp);
        let written = (|| {
            let mut fresh = OpenOptions::new();
            fresh.write(true).create_new(true).mode(0o600);
            let mut file = match fresh.open(&tmp) {
                // Left by a killed process that had our number, or put there by somebody: never written through.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    std::fs::remove_file(&tmp)?;
                    fresh.open(&tmp)?
                }
                other => other?,
            };
            file.write_all(bytes)?;
            Ok(rustix::fs::renameat(CWD, &tmp, CWD, path)?)
        })();
        if written.is_err() {
            // The name is ours alone; a leftover would only be litter.
            let _gone = std::fs::remove_file(&tmp).is_ok();
        }
        written
    }
}

/// Without a copy of each name: a million of them may be listed to find a few.
#[cfg(target_os = "linux")]
fn list(dir: &Path, see: &mut dyn FnMut(&OsStr, bool) -> ControlFlow<()>) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(dir, flags, Mode::empty())?;
    let mut room = Vec::with_capacity(64 * 1024);
    let mut items = rustix::fs::RawDir::new(handle, room.spare_capacity_mut());
    while let Some(item) = items.next() {
        let item = item?;
        let name = OsStr::from_bytes(item.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let is_file = match item.file_type() {
            // File systems that do not say it with the name.
            FileType::Unknown => match std::fs::symlink_metadata(dir.join(name)) {
                Ok(meta) => meta.is_file(),
                // It went while we looked.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            },
            kind => kind.is_file(),
        };
        if see(name, is_file).is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn list(dir: &Path, see: &mut dyn FnMut(&OsStr, bool) -> ControlFlow<()>) -> io::Result<()> {
    for item in std::fs::read_dir(dir)? {
        let item = item?;
        let is_file = item.file_type()?.is_file();
        if see(&item.file_name(), is_file).is_break() {
            break;
        }
    }
    Ok(())
}

/// Renames without overwriting in one step; `None` where the file system cannot.
fn rename_at_once(from: &Path, to: &Path) -> Option<io::Result<()>> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => None,
        other => Some(other.map_err(Into::into)),
    }
}

/// Renames where nothing refuses to overwrite but link(2): the two names are one file until the old one is gone, and
/// that long it is locked, for whoever finds it so ([`Moving`]).
pub(crate) fn rename_by_link(from: &Path, to: &Path) -> io::Result<()> {
    let _moving = Moving::take(from)?;
    std::fs::hard_link(from, to)?;
    std::fs::remove_file(from)
}

/// How often a file that somebody is moving is asked for, and how long apart. A move is two system calls.
const ASKS: u32 = 50;
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_millis(2);

/// The lock of a file that has two names, or is about to: of who moves it, or of who takes one of the names away.
///
/// Two names of one file do not say whether a move was cut in half or is being made, nor which of them its mover keeps;
/// taking the wrong one away would leave none. A dead mover's lock is free, that of a stopped one is not. Where there
/// are no locks, and for what may not be opened, there is none to take: then a move must not be mended while it is made.
#[derive(Debug, Default)]
pub struct Moving {
    _lock: Option<File>,
}

impl Moving {
    /// Takes the lock of the file at `path`.
    ///
    /// # Errors
    /// `WouldBlock` when somebody has it and keeps it, `NotFound` when there is no such file.
    fn take(path: &Path) -> io::Result<Moving> {
        let careful = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::open(path, careful, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Err(Errno::NOENT.into()),
            Err(_) => return Ok(Moving::default()),
        };
        for _ask in 0..ASKS {
            match fs2::FileExt::try_lock_exclusive(&file) {
                Err(e) if e.kind() == fs2::lock_contended_error().kind() => std::thread::sleep(ASK_AGAIN),
                other => return Ok(Moving { _lock: other.is_ok().then_some(file) }),
            }
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "somebody is moving it"))
    }
}

/// A file without a name (O_TMPFILE): a crash leaves nothing behind.
#[cfg(target_os = "linux")]
struct Unnamed {
    file: File,
}

fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    if is(Bug::ShortWrite) {
        return file.write(bytes).map(drop);
    }
    let written = file.write_all(bytes);
    if is(Bug::WriteErrorIgnored) { Ok(()) } else { written }
}

#[cfg(target_os = "linux")]
impl Staged for Unnamed {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        write_all(&mut self.file, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn publish(self: Box<Self>, to: &Path) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        // The way of open(2) that needs no privilege.
        let from = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        match rustix::fs::linkat(CWD, from, CWD, to, rustix::fs::AtFlags::SYMLINK_FOLLOW) {
            // No /proc here, or a file system that cannot link.
            Err(Errno::NOENT | Errno::PERM | Errno::OPNOTSUPP | Errno::XDEV)
                if to.parent().is_some_and(Path::is_dir) =>
            {
                Err(io::ErrorKind::Unsupported.into())
            }
            other => Ok(other?),
        }
    }
}

/// A file with a name in `tmp/`.
struct Named {
    file: File,
    path: Option<PathBuf>,
}

impl Staged for Named {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        write_all(&mut self.file, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn publish(mut self: Box<Self>, to: &Path) -> io::Result<()> {
        if let Some(from) = &self.path {
            match rename_at_once(from, to) {
                Some(done) => done?,
                // Locked since it was made.
                None => {
                    std::fs::hard_link(from, to)?;
                    std::fs::remove_file(from)?;
                }
            }
            self.path = None;
        }
        Ok(())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // Best effort: what stays is swept from tmp/ after 36 hours.
            let _gone = std::fs::remove_file(path).is_ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_by_link_is_locked_while_it_has_two_names() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, "x").unwrap();
        let moving = Moving::take(&a).unwrap();
        assert_eq!(rename_by_link(&a, &b).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(moving);
        rename_by_link(&a, &b).unwrap();
        assert!(!a.exists() && b.exists());
        std::fs::write(&a, "y").unwrap();
        assert_eq!(rename_by_link(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(rename_by_link(&dir.path().join("c"), &b).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn nothing_that_was_put_in_the_way_is_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("precious"), "precious").unwrap();
        std::os::unix::fs::symlink(at("precious"), at("line.jsonl")).unwrap();
        assert!(RealFs::new().append(&at("line.jsonl"), b"x\n").is_err(), "a symlink");
        let beside = format!("why.json.{}", std::process::id());
        std::os::unix::fs::symlink(at("precious"), at(&beside)).unwrap();
        RealFs::new().replace(&at("why.json"), b"{}").unwrap();
        assert_eq!(std::fs::read(at("precious")).unwrap(), b"precious");
        assert_eq!(std::fs::read(at("why.json")).unwrap(), b"{}");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(CWD, at("fifo.jsonl"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(RealFs::new().append(&at("fifo.jsonl"), b"x\n").is_err(), "a FIFO");
    }
}
