//! The file system that the spool runs on: an [`Image`] in memory, whose every change is written down. Its verbs are
//! in `verbs`.
//!
//! It behaves like `RealFs` in each of its ways: files without a name until they are published, or with one in `tmp/`;
//! renames that refuse to overwrite, or a link and a removal. A fault can be planned for one of the changes to come: the
//! process dies there, or the change fails, and a flush that fails drops what it should have written.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spooldir::Dir;
use spooldir::fs::Meta;

use super::disk::{ABOVE, DIRS, DirNo, Image, Ino, Name, Op, Place, ROOT, number};

/// In which of its ways the file system works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// Files have no name until they are published.
    pub(super) unnamed: bool,
    /// A rename that refuses to overwrite is one step.
    pub(super) atomic: bool,
}

/// All of them.
pub(super) const WAYS: [Way; 3] = [
    Way { unnamed: true, atomic: true },
    Way { unnamed: false, atomic: true },
    Way { unnamed: false, atomic: false },
];

/// What happens instead of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It and all that follow are not made, and fail.
    Death,
    /// It fails with this errno.
    Error(i32),
}

pub(super) struct Inner {
    pub(super) image: Image,
    log: Vec<Op>,
    is_logged: bool,
    pub(super) way: Way,
    step: usize,
    fault: Option<(usize, Fault)>,
    pub(super) dead: bool,
}

struct Shared {
    root: Vec<u8>,
    above: Vec<u8>,
    uid: u32,
    inner: Mutex<Inner>,
}

/// The file system.
#[derive(Clone)]
pub(super) struct MemFs(Arc<Shared>);

pub(super) fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

pub(super) const ENOENT: i32 = 2;
pub(super) const EEXIST: i32 = 17;

impl Inner {
    /// Counts a change, and fails when it was planned to.
    pub(super) fn step(&mut self) -> io::Result<()> {
        self.step += 1;
        if self.dead {
            return Err(io::Error::other("killed"));
        }
        match self.fault {
            Some((at, fault)) if at == self.step => {
                self.fault = None;
                match fault {
                    Fault::Death => {
                        self.dead = true;
                        Err(io::Error::other("killed"))
                    }
                    Fault::Error(errno) => Err(error(errno)),
                }
            }
            _ => Ok(()),
        }
    }

    pub(super) fn record(&mut self, op: Op) {
        self.image.apply(&op);
        if self.is_logged {
            self.log.push(op);
        }
    }

    pub(super) fn new_file(&mut self) -> Ino {
        self.image.files.push(Arc::default());
        u32::try_from(self.image.files.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn write(&mut self, ino: Ino, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        let Some(file) = self.image.files.get_mut(ino as usize) else { return Err(error(ENOENT)) };
        let file = Arc::make_mut(file);
        file.extend_from_slice(bytes);
        let len = file.len();
        self.record(Op::Write(ino, len));
        Ok(())
    }

    pub(super) fn ino(&self, at: &Place) -> io::Result<Ino> {
        if !self.image.has_dir(at.dir) {
            return Err(error(ENOENT));
        }
        self.image.find(at.dir, &at.name.text).ok_or_else(|| error(ENOENT))
    }

    /// As `RealFs::rename`.
    pub(super) fn rename(&mut self, from: &Place, to: &Place) -> io::Result<()> {
        self.step()?;
        let ino = self.ino(from)?;
        if !self.image.has_dir(to.dir) {
            return Err(error(ENOENT));
        }
        if self.image.find(to.dir, &to.name.text).is_some() {
            return Err(error(EEXIST));
        }
        if self.way.atomic {
            self.record(Op::Move(ino, from.clone(), to.clone()));
            return Ok(());
        }
        self.record(Op::Link(ino, to.clone()));
        self.step()?;
        self.record(Op::Unlink(ino, from.clone()));
        Ok(())
    }
}

impl MemFs {
    /// A file system that holds `image`, which is on the platter; changes are written down if `is_logged`.
    pub(super) fn over(root: &Path, image: Image, way: Way, is_logged: bool) -> MemFs {
        let inner = Inner { image, log: Vec::new(), is_logged, way, step: 0, fault: None, dead: false };
        MemFs(Arc::new(Shared {
            root: root.as_os_str().as_bytes().to_vec(),
            above: root.parent().unwrap_or(root).as_os_str().as_bytes().to_vec(),
            uid: rustix::process::geteuid().as_raw(),
            inner: Mutex::new(inner),
        }))
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans a fault for the `step`-th change from now, from 1.
    pub(super) fn plan(&self, step: usize, fault: Fault) {
        let mut inner = self.inner();
        inner.fault = Some((inner.step + step, fault));
    }

    /// No more faults; whoever comes now is a new process.
    pub(super) fn heal(&self) {
        let mut inner = self.inner();
        inner.fault = None;
        inner.dead = false;
    }

    /// Time goes by: whatever was done so far is on the platter.
    pub(super) fn settle(&self) {
        let mut inner = self.inner();
        let files = u32::try_from(inner.image.files.len()).unwrap_or(u32::MAX);
        (0..files).for_each(|ino| inner.record(Op::Sync(ino)));
        (0..DIRS).for_each(|dir| inner.record(Op::SyncDir(dir)));
    }

    /// How many changes were made, or failed.
    pub(super) fn steps(&self) -> usize {
        self.inner().step
    }

    /// How many changes were written down.
    pub(super) fn position(&self) -> usize {
        self.inner().log.len()
    }

    /// What it holds, and how it came to that.
    pub(super) fn history(&self) -> (Image, Vec<Op>) {
        let inner = self.inner();
        (inner.image.clone(), inner.log.clone())
    }

    /// Looks at what it holds.
    pub(super) fn look<T>(&self, see: impl FnOnce(&Image) -> T) -> T {
        see(&self.inner().image)
    }

    /// By the bytes: the spool joins its paths itself, and taking paths apart was half of all the time.
    pub(super) fn dir_of(&self, path: &Path) -> io::Result<DirNo> {
        self.dir_at(path.as_os_str().as_bytes()).ok_or_else(|| error(ENOENT))
    }

    fn dir_at(&self, path: &[u8]) -> Option<DirNo> {
        match path.strip_prefix(self.0.root.as_slice()) {
            Some([]) => Some(ROOT),
            Some([b'/', name @ ..]) => {
                Dir::ALL.into_iter().find(|dir| dir.name().as_bytes() == name).map(number)
            }
            _ => (path == self.0.above.as_slice()).then_some(ABOVE),
        }
    }

    pub(super) fn place(&self, path: &Path) -> io::Result<Place> {
        let path = path.as_os_str().as_bytes();
        let slash = path.iter().rposition(|b| *b == b'/').ok_or_else(|| error(ENOENT))?;
        let dir = self.dir_at(&path[..slash]).ok_or_else(|| error(ENOENT))?;
        let name = std::str::from_utf8(&path[slash + 1..]).map_err(|_| error(ENOENT))?;
        Ok(Place { dir, name: Name::new(name) })
    }

    pub(super) fn meta(&self, is_dir: bool, ino: u64, nlink: u64, size: u64) -> Meta {
        // As young as a file can be, so that nothing is condemned or swept but by who asks with a later time; but for
        // its names, which are old, so that a second one counts as left behind.
        let time = i128::from(super::begun_ms() + 3_600_000) * 1_000_000;
        Meta {
            is_file: !is_dir,
            is_dir,
            dev: 1,
            ino,
            nlink,
            uid: self.0.uid,
            mode: if is_dir { 0o700 } else { 0o600 },
            size,
            mtime_ns: time,
            ctime_ns: time - 2 * 3_600_000_000_000,
        }
    }

    pub(super) fn meta_of(&self, inner: &Inner, ino: Ino) -> Meta {
        let size = inner.image.file(ino).len() as u64;
        self.meta(false, u64::from(ino), inner.image.links(ino), size)
    }

    /// Creates a file under a name.
    pub(super) fn create(&self, inner: &mut Inner, at: &Place) -> io::Result<Ino> {
        inner.step()?;
        if !inner.image.has_dir(at.dir) {
            return Err(error(ENOENT));
        }
        let ino = inner.new_file();
        inner.record(Op::Link(ino, at.clone()));
        Ok(ino)
    }
}
