//! An abstract disk: what directories and files hold, and the log of operations that brought them there.
//!
//! Only what the spool uses is there: one root with the directories of the format, and files that grow and never
//! change otherwise. An [`Image`] is one content of the disk; the log says what happened since an image that is known to
//! be on the platter, so that `crash` can work out every image that a power cut may leave instead.

use std::sync::Arc;

use spooldir::Dir;

/// A directory by number: 0 is the one above the root, 1 the root, then those of the format in their order.
pub(super) type DirNo = usize;
/// A file by number; it is never used again.
pub(super) type Ino = u32;

/// The directory above the root.
pub(super) const ABOVE: DirNo = 0;
/// The root of the spool.
pub(super) const ROOT: DirNo = 1;
/// How many directories there are.
pub(super) const DIRS: usize = 2 + Dir::ALL.len();

/// The number of a directory of the format.
pub(super) fn number(dir: Dir) -> DirNo {
    2 + Dir::ALL.iter().position(|d| *d == dir).unwrap_or_default()
}

/// The directory that a directory stands in.
pub(super) fn parent(dir: DirNo) -> DirNo {
    if dir <= ROOT { ABOVE } else { ROOT }
}

/// A name in a directory, with its hash, which is asked for millions of times.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) hash: u64,
    pub(super) text: Box<str>,
}

impl Name {
    pub(super) fn new(text: &str) -> Arc<Name> {
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |h: u64, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
        });
        Arc::new(Name { hash, text: text.into() })
    }
}

/// A name and where it is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) dir: DirNo,
    pub(super) name: Arc<Name>,
}

/// One thing done to the disk, as far as a power cut can tell.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// A directory was made in its parent.
    Make(DirNo),
    /// A file got a name: it was created there, or linked.
    Link(Ino, Place),
    /// A file's name changed, in one step; what had the new name lost it.
    Move(Ino, Place, Place),
    /// A name was removed.
    Unlink(Ino, Place),
    /// A file grew to this length.
    Write(Ino, usize),
    /// A file was flushed.
    Sync(Ino),
    /// Flushing a file failed, and the pages that it should have written count as clean from now on.
    LostSync(Ino),
    /// A directory was flushed.
    SyncDir(DirNo),
}

impl Op {
    /// What it changes the name of: a file, or a directory. None for what concerns no name.
    pub(super) fn subject(&self) -> Option<(bool, u32)> {
        match self {
            Op::Make(dir) => Some((true, u32::try_from(*dir).unwrap_or_default())),
            Op::Link(ino, _) | Op::Move(ino, ..) | Op::Unlink(ino, _) => Some((false, *ino)),
            _ => None,
        }
    }

    /// Whether it changes a name in this directory.
    pub(super) fn touches(&self, dir: DirNo) -> bool {
        match self {
            Op::Make(made) => parent(*made) == dir,
            Op::Link(_, at) | Op::Unlink(_, at) => at.dir == dir,
            Op::Move(_, from, to) => from.dir == dir || to.dir == dir,
            _ => false,
        }
    }
}

/// What the disk holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    /// Which directories are there, a bit each.
    pub(super) made: u32,
    /// The names in each directory, and their files.
    pub(super) dirs: [Vec<(Arc<Name>, Ino)>; DIRS],
    /// The files by number.
    pub(super) files: Vec<Arc<Vec<u8>>>,
}

impl Image {
    /// A disk with nothing but the directory above the root.
    pub(super) fn empty() -> Image {
        Image { made: 1, ..Image::default() }
    }

    pub(super) fn has_dir(&self, dir: DirNo) -> bool {
        // A directory in a directory that is not there is not there either.
        self.made & (1 << dir) != 0 && (dir <= ROOT || self.made & (1 << ROOT) != 0)
    }

    pub(super) fn find(&self, dir: DirNo, name: &str) -> Option<Ino> {
        self.dirs[dir].iter().find(|(n, _)| *n.text == *name).map(|(_, ino)| *ino)
    }

    /// How many names a file has.
    pub(super) fn links(&self, ino: Ino) -> u64 {
        self.dirs.iter().flatten().filter(|(_, i)| *i == ino).count() as u64
    }

    pub(super) fn file(&self, ino: Ino) -> &[u8] {
        self.files.get(ino as usize).map_or(&[], |bytes| bytes.as_slice())
    }

    /// Gives a name to a file; what had it before loses it.
    pub(super) fn put(&mut self, at: &Place, ino: Ino) {
        match self.dirs[at.dir].iter_mut().find(|(name, _)| *name == at.name) {
            Some(slot) => slot.1 = ino,
            None => self.dirs[at.dir].push((at.name.clone(), ino)),
        }
    }

    /// Takes a name from a file, if it has it.
    pub(super) fn take(&mut self, at: &Place, ino: Ino) {
        self.dirs[at.dir].retain(|(name, i)| *i != ino || *name != at.name);
    }

    /// Does to the names what an operation does to them.
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Make(dir) => self.made |= 1 << dir,
            Op::Link(ino, at) => self.put(at, *ino),
            Op::Move(ino, from, to) => {
                self.take(from, *ino);
                self.put(to, *ino);
            }
            Op::Unlink(ino, at) => self.take(at, *ino),
            _ => {}
        }
    }
}
