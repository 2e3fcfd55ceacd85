//! A disk in memory that writes down what it is asked to do.
//!
//! It is one file of a FUSE file system, served by a thread of this process and shown as a disk by a loop device. The
//! file is opened for direct i/o, so that the kernel keeps nothing of it: what the file system above writes arrives here,
//! in its order, and so does each flush. [`Platter::record`] and [`Platter::recorded`] give the log of a stretch of time,
//! [`Platter::show`] puts other content on the disk while nobody has it mounted.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite,
    Request, WriteFlags,
};

use crate::layer::Outcome;

/// The unit that content is kept in.
const BLOCK: usize = 4096;
const FILE: INodeNo = INodeNo(2);
const NAME: &str = "disk";

/// What is on a disk. Copies share what neither has written since.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    old: Arc<HashMap<u64, Arc<[u8]>>>,
    new: HashMap<u64, Arc<[u8]>>,
}

impl Content {
    /// What a file holds. Blocks of zeros are not kept.
    pub(super) fn of(path: &Path) -> Outcome<Content> {
        let mut file = File::open(path)?;
        let mut blocks = HashMap::new();
        let mut piece = vec![0; 1 << 20];
        for first in (0..file.metadata()?.len()).step_by(piece.len()) {
            let mut filled = 0;
            while let rest @ [_, ..] = piece.get_mut(filled..).unwrap_or_default() {
                match file.read(rest)? {
                    0 => break,
                    n => filled += n,
                }
            }
            for (at, block) in piece.get(..filled).unwrap_or_default().chunks(BLOCK).enumerate() {
                if block.iter().any(|byte| *byte != 0) {
                    blocks.insert(first / BLOCK as u64 + at as u64, Arc::from(block));
                }
            }
        }
        Ok(Content { old: Arc::new(blocks), new: HashMap::new() })
    }

    /// The same, as the ground that copies share.
    pub(super) fn settle(&self) -> Content {
        let mut blocks = HashMap::clone(&self.old);
        blocks.extend(self.new.iter().map(|(at, block)| (*at, Arc::clone(block))));
        Content { old: Arc::new(blocks), new: HashMap::new() }
    }

    fn block(&self, at: u64) -> Option<&Arc<[u8]>> {
        self.new.get(&at).or_else(|| self.old.get(&at))
    }

    pub(super) fn read(&self, at: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        for (number, within, part) in pieces(at, size) {
            if let Some(block) = self.block(number)
                && let (Some(to), Some(from)) =
                    (bytes.get_mut(part.clone()), block.get(within..within + part.len()))
            {
                to.copy_from_slice(from);
            }
        }
        bytes
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        for (number, within, part) in pieces(at, bytes.len()) {
            let mut block = self.block(number).map_or_else(|| vec![0; BLOCK], |block| block.to_vec());
            if let (Some(to), Some(from)) = (block.get_mut(within..within + part.len()), bytes.get(part)) {
                to.copy_from_slice(from);
            }
            self.new.insert(number, block.into());
        }
    }
}

/// The blocks of a stretch: the number of each, where in it the stretch begins, and which part of the stretch that is.
fn pieces(at: u64, size: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let here = at + done as u64;
        let within = usize::try_from(here % BLOCK as u64).unwrap_or_default();
        let part = done..(done + BLOCK - within).min(size);
        done = part.end;
        (!part.is_empty()).then_some((here / BLOCK as u64, within, part))
    })
}

/// What the disk was asked to do.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Write {
        at: u64,
        bytes: Arc<[u8]>,
    },
    /// All writes before it are on the disk when it is answered.
    Flush,
}

#[derive(Default)]
struct State {
    content: Content,
    log: Option<Vec<Op>>,
}

/// The disk.
pub(super) struct Platter {
    state: Arc<Mutex<State>>,
    at: PathBuf,
    /// Unmounts it when it is dropped.
    _session: BackgroundSession,
}

impl Platter {
    /// One of this size, its file in the directory `at`, which is made.
    pub(super) fn mount(at: &Path, size: u64) -> Outcome<Platter> {
        fs::create_dir(at)?;
        let state = Arc::<Mutex<State>>::default();
        let served = Served { state: Arc::clone(&state), size };
        let session = fuser::spawn_mount(served, at, &Config::default())
            .map_err(|e| format!("cannot mount a FUSE file system on {}: {e}", at.display()))?;
        Ok(Platter { state, at: at.to_owned(), _session: session })
    }

    /// The file that is the disk.
    pub(super) fn file(&self) -> PathBuf {
        self.at.join(NAME)
    }

    /// Puts other content on it, while it is mounted nowhere. Nothing is recorded any more.
    pub(super) fn show(&self, content: Content) {
        *lock(&self.state) = State { content, log: None };
    }

    /// Writes down what happens from now on; gives what is on it now.
    pub(super) fn record(&self) -> Content {
        let mut state = lock(&self.state);
        state.log = Some(Vec::new());
        state.content = state.content.settle();
        state.content.clone()
    }

    /// How much was recorded so far.
    pub(super) fn moment(&self) -> usize {
        lock(&self.state).log.as_ref().map_or(0, Vec::len)
    }

    /// What was recorded; the end of it.
    pub(super) fn recorded(&self) -> Vec<Op> {
        lock(&self.state).log.take().unwrap_or_default()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file system that has the file.
struct Served {
    state: Arc<Mutex<State>>,
    size: u64,
}

/// How long the kernel may believe what it was told: it never changes.
const TTL: Duration = Duration::from_secs(3600);

impl Served {
    fn attr(&self, ino: INodeNo) -> FileAttr {
        let is_file = ino == FILE;
        FileAttr {
            ino,
            size: if is_file { self.size } else { 0 },
            blocks: self.size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == NAME {
            reply.entry(&TTL, &self.attr(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attr(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(left);
        let bytes = lock(&self.state).content.read(at, size);
        reply.data(&bytes);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        at: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = lock(&self.state);
        state.content.write(at, data);
        if let Some(log) = &mut state.log {
            log.push(Op::Write { at, bytes: data.into() });
        }
        drop(state);
        reply.written(u32::try_from(data.len()).unwrap_or_default());
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // What close(2) calls; nothing is promised by it.
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if let Some(log) = &mut lock(&self.state).log {
            log.push(Op::Flush);
        }
        reply.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_across_blocks_and_copies_do_not_see_each_other() {
        let mut one = Content::default();
        one.write(4090, b"0123456789");
        let mut two = one.settle();
        two.write(4095, b"x");
        assert_eq!(one.read(4088, 14), b"\0\x000123456789\0\0");
        assert_eq!(two.read(4090, 10), b"01234x6789");
    }

    #[test]
    fn a_file_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let mut bytes = vec![0; (1 << 20) + 5000];
        bytes[7] = 1;
        *bytes.last_mut().unwrap() = 2;
        fs::write(&path, &bytes).unwrap();
        let content = Content::of(&path).unwrap();
        assert_eq!(content.read(0, bytes.len()), bytes);
        assert_eq!(content.old.len(), 2);
    }
}
