//! The spool's directories (`spool-format.md` section 2): creating them, opening them, refusing what is none.
//!
//! What it keeps true: all state directories are real directories on one file system, they belong to us, and nobody
//! else may write into them. A spool of a later format is left alone.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Context, Error, exit};
use crate::fs::{Fs, Meta, RealFs, Unfit};
use crate::stage::name_flushed;

/// A directory of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the directories are those of spool-format.md section 2")]
pub enum Dir {
    Tmp,
    New,
    Sending,
    Deferred,
    Hold,
    Dead,
    Done,
    Dismissed,
    Runs,
    Logs,
    Journal,
}

impl Dir {
    /// All of them.
    pub const ALL: [Dir; 11] = [
        Dir::Tmp,
        Dir::New,
        Dir::Sending,
        Dir::Deferred,
        Dir::Hold,
        Dir::Dead,
        Dir::Done,
        Dir::Dismissed,
        Dir::Runs,
        Dir::Logs,
        Dir::Journal,
    ];

    /// Those that are the state of an entry, in the order of its life.
    pub const STATES: [Dir; 7] =
        [Dir::New, Dir::Sending, Dir::Deferred, Dir::Hold, Dir::Dead, Dir::Done, Dir::Dismissed];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Dir::Tmp => "tmp",
            Dir::New => "new",
            Dir::Sending => "sending",
            Dir::Deferred => "deferred",
            Dir::Hold => "hold",
            Dir::Dead => "dead",
            Dir::Done => "done",
            Dir::Dismissed => "dismissed",
            Dir::Runs => "runs",
            Dir::Logs => "logs",
            Dir::Journal => "journal",
        }
    }

    /// The word for the state it is.
    pub fn state_word(self) -> &'static str {
        match self {
            Dir::New => "pending",
            Dir::Hold => "held",
            other => other.name(),
        }
    }

    /// The state directory a word names.
    pub fn from_state_word(word: &str) -> Option<Dir> {
        Dir::STATES.into_iter().find(|dir| dir.state_word() == word)
    }
}

/// The format this crate keeps, as the file `format` in the spool says it.
const FORMAT: &str = "spool 1\n";

/// A spool: a directory that holds the states.
#[derive(Clone)]
pub struct Spool {
    root: PathBuf,
    fs: Arc<dyn Fs>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Spool {
    /// Opens a spool, creating what is missing of it.
    ///
    /// # Errors
    /// [`Error::Layout`] when the directory cannot be used as one, [`Error::Io`] when it cannot be made.
    pub fn create(root: &Path) -> Result<Spool, Error> {
        Spool::create_on(root, Arc::new(RealFs::new()))
    }

    /// As [`Spool::create`], on a file system of the caller's choice.
    ///
    /// # Errors
    /// As [`Spool::create`].
    pub fn create_on(root: &Path, fs: Arc<dyn Fs>) -> Result<Spool, Error> {
        let spool = Spool { root: root.to_owned(), fs };
        let mut meta = spool.fs.stat(root).at("look at", root)?;
        if meta.is_none() {
            spool.fs.make_dirs(root).at("create", root)?;
            meta = spool.fs.stat(root).at("look at", root)?;
        }
        let meta = spool.check_root(meta)?;
        let is_whole = spool.has_format()?;
        let is_changed = spool.check_dirs(&meta, Missing::Make)?;
        if !is_whole {
            spool.flush_above()?;
        }
        if !is_whole || is_changed {
            spool.fs.sync_dir(root).at("flush", root)?;
        }
        if !is_whole {
            spool.make_format()?;
        }
        Ok(spool)
    }

    /// Flushes the names of the root and of the directories above it: a record that is kept is no use in a directory
    /// that is not. All of them, for whoever made them may have died before the flush; up to where another file system
    /// begins.
    fn flush_above(&self) -> Result<(), Error> {
        let dev = self.fs.stat(&self.root).at("look at", &self.root)?.map(|meta| meta.dev);
        let mut dir = self.root.parent();
        while let Some(parent) = dir {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            if self.fs.stat(parent).at("look at", parent)?.map(|meta| meta.dev) != dev {
                break;
            }
            match self.fs.sync_dir(parent) {
                // One that we may pass through but not read; whoever made it had to flush it.
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
                other => other.at("flush", parent)?,
            }
            dir = parent.parent();
        }
        Ok(())
    }

    /// Writes `format`, the last thing of a new spool. Who sees it may rely on it that everything else is on the disk;
    /// its own text is there before its name is, for an empty one would be no format that anybody knows.
    fn make_format(&self) -> Result<(), Error> {
        let (path, tmp) = (self.root.join("format"), self.dir(Dir::Tmp));
        for _ in 0..3 {
            if self.has_format()? {
                break;
            }
            match self.fs.remove(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e).at("remove", path),
                _ => {}
            }
            match name_flushed(&*self.fs, &tmp, FORMAT.as_bytes(), &path, "create") {
                // Somebody was faster.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
                other => {
                    other?;
                    break;
                }
            }
        }
        self.fs.sync_dir(&self.root).at("flush", &self.root)
    }

    /// Opens a spool that is there.
    ///
    /// # Errors
    /// [`Error::Layout`] when there is none, or none that this program may use.
    pub fn open(root: &Path) -> Result<Spool, Error> {
        Spool::open_on(root, Arc::new(RealFs::new()))
    }

    /// As [`Spool::open`], on a file system of the caller's choice.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn open_on(root: &Path, fs: Arc<dyn Fs>) -> Result<Spool, Error> {
        let spool = Spool { root: root.to_owned(), fs };
        let meta = spool.look_at_root()?;
        if !spool.has_format()? {
            return spool.refuse(
                "it is not a spool (no file \"format\" in it); spool-put creates one at its first use",
                exit::CONFIG,
            );
        }
        spool.check_dirs(&meta, Missing::Refuse)?;
        Ok(spool)
    }

    /// Looks again whether this is still a spool that may be used: its directories may have been replaced or opened to
    /// others since.
    ///
    /// # Errors
    /// [`Error::Layout`] with what is wrong.
    pub fn check(&self) -> Result<(), Error> {
        let meta = self.look_at_root()?;
        self.check_dirs(&meta, Missing::Refuse).map(drop)
    }

    /// As [`Spool::check`], for when another spool may be there under the same name: its format too.
    ///
    /// # Errors
    /// As [`Spool::open`].
    pub fn recheck(&self) -> Result<(), Error> {
        Spool::open_on(&self.root, Arc::clone(&self.fs)).map(drop)
    }

    /// The directory it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of one of its directories.
    pub fn dir(&self, dir: Dir) -> PathBuf {
        self.root.join(dir.name())
    }

    /// The file system it is on.
    pub fn fs(&self) -> &dyn Fs {
        &*self.fs
    }

    fn refuse<T>(&self, reason: impl Into<String>, exit: u8) -> Result<T, Error> {
        Err(Error::Layout { path: self.root.clone(), reason: reason.into(), exit })
    }

    fn look_at_root(&self) -> Result<Meta, Error> {
        self.check_root(self.fs.stat(&self.root).at("look at", &self.root)?)
    }

    fn check_root(&self, meta: Option<Meta>) -> Result<Meta, Error> {
        let Some(meta) = meta else {
            return self
                .refuse("there is no such directory; spool-put creates it at its first use", exit::CONFIG);
        };
        if !meta.is_dir {
            return self.refuse("it is not a directory", exit::CONFIG);
        }
        if meta.uid != rustix::process::geteuid().as_raw() {
            return self.refuse(
                "it belongs to another user; run as its owner, or choose your own",
                exit::PERMISSION,
            );
        }
        if meta.mode & 0o022 != 0 {
            return self.refuse("others may write into it; run chmod 700 on it", exit::PERMISSION);
        }
        Ok(meta)
    }

    /// Whether the file `format` is there. An empty one is not: a power cut has taken its text.
    fn has_format(&self) -> Result<bool, Error> {
        let path = self.root.join("format");
        let read = match self.fs.read(&path, 64) {
            // Whoever made it died between link and remove, or is about to remove; it is locked until then.
            Err(Unfit::Linked(_)) if self.mend_file(&path, u64::MAX).unwrap_or(false) => {
                self.fs.read(&path, 64)
            }
            other => other,
        };
        match read {
            Ok(content) if content.bytes == FORMAT.as_bytes() => Ok(true),
            Ok(content) if content.bytes.is_empty() => Ok(false),
            Ok(content) => {
                let said: String = String::from_utf8_lossy(&content.bytes).trim().chars().take(20).collect();
                let why =
                    format!("its format is {said:?}, this program keeps \"spool 1\"; update the program");
                self.refuse(why, exit::CONFIG)
            }
            Err(e) if e.is_gone() => Ok(false),
            Err(e) => Err(e.into_error("read", path)),
        }
    }

    /// Looks at each directory once. The root is ours (`root` is what was seen of it), so what has its owner is ours.
    /// Gives whether one was made.
    fn check_dirs(&self, root: &Meta, missing: Missing) -> Result<bool, Error> {
        let mut is_changed = false;
        for dir in Dir::ALL {
            let path = self.dir(dir);
            let mut meta = self.fs.stat(&path).at("look at", &path)?;
            if meta.is_none() && missing == Missing::Make {
                match self.fs.make_dir(&path) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e).at("create", path),
                    made => is_changed |= made.is_ok(),
                }
                meta = self.fs.stat(&path).at("look at", &path)?;
            }
            match meta {
                Some(meta) if !meta.is_dir => {
                    return self.refuse(format!("{} in it is not a directory", dir.name()), exit::CONFIG);
                }
                Some(meta) if meta.dev != root.dev => {
                    let why =
                        format!("{} in it is on another file system, so nothing can be renamed", dir.name());
                    return self.refuse(why, exit::CONFIG);
                }
                Some(meta) if meta.uid != root.uid => {
                    let why =
                        format!("{} in it belongs to another user; give it to the spool's owner", dir.name());
                    return self.refuse(why, exit::PERMISSION);
                }
                Some(meta) if meta.mode & 0o022 != 0 => {
                    let why = format!("others may write into {} in it; run chmod 700 on it", dir.name());
                    return self.refuse(why, exit::PERMISSION);
                }
                Some(_) => {}
                None => {
                    let why =
                        format!("the directory {} in it is missing; spool-put makes it anew", dir.name());
                    return self.refuse(why, exit::CONFIG);
                }
            }
        }
        Ok(is_changed)
    }
}

/// What is done about a directory that is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Refuse,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Where a rename is a link and a removal, and the first creator died between the two.
    #[test]
    fn a_format_that_was_left_with_two_names_keeps_nobody_out() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let twin = spool.dir(Dir::Tmp).join("1.tmp");
        std::fs::hard_link(home.path().join("format"), &twin).unwrap();
        Spool::open(home.path()).unwrap();
        assert!(!twin.exists());
    }

    fn reason(result: Result<Spool, Error>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_spool_is_made_once_and_opened_ever_after() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("a/b/spool");
        assert!(reason(Spool::open(&root)).contains("no such directory"));
        Spool::create(&root).unwrap();
        Spool::create(&root).unwrap();
        Spool::open(&root).unwrap();
        for dir in Dir::ALL {
            let mode = std::fs::metadata(root.join(dir.name())).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", dir.name());
        }
    }

    #[test]
    fn what_is_no_spool_is_refused_with_the_cause() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("spool");
        std::fs::write(&root, "x").unwrap();
        assert!(reason(Spool::create(&root)).contains("not a directory"));
        std::fs::remove_file(&root).unwrap();
        std::fs::create_dir(&root).unwrap();
        assert!(reason(Spool::open(&root)).contains("not a spool"));
        Spool::create(&root).unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(reason(Spool::open(&root)).contains("chmod 700"));
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(root.join("format"), "spool 2\n").unwrap();
        assert!(reason(Spool::create(&root)).contains("update the program"));
        std::fs::write(root.join("format"), FORMAT).unwrap();
        let spool = Spool::open(&root).unwrap();
        for dir in Dir::ALL {
            // A drop directory of several users is no spool: whoever can write there can take an honest name first.
            for mode in [0o1733, 0o777, 0o720] {
                std::fs::set_permissions(spool.dir(dir), std::fs::Permissions::from_mode(mode)).unwrap();
                assert!(
                    reason(Spool::create(&root)).contains(&format!("others may write into {}", dir.name()))
                );
                assert!(spool.check().is_err());
            }
            std::fs::set_permissions(spool.dir(dir), std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        if std::os::unix::fs::chown(root.join("new"), Some(65_534), None).is_ok() {
            assert!(reason(Spool::create(&root)).contains("new in it belongs to another user"));
            std::os::unix::fs::chown(root.join("new"), Some(0), None).unwrap();
        }
        std::fs::remove_dir(root.join("new")).unwrap();
        assert!(reason(Spool::open(&root)).contains("new in it is missing"));
        std::fs::write(root.join("new"), "x").unwrap();
        assert!(reason(Spool::create(&root)).contains("new in it is not a directory"));
    }
    #[test]
    fn a_format_that_a_power_cut_emptied_is_written_again() {
        let home = tempfile::tempdir().unwrap();
        Spool::create(home.path()).unwrap();
        let format = home.path().join("format");
        std::fs::write(&format, "").unwrap();
        assert!(reason(Spool::open(home.path())).contains("not a spool"));
        Spool::create(home.path()).unwrap();
        assert_eq!(std::fs::read(&format).unwrap(), FORMAT.as_bytes());
        Spool::open(home.path()).unwrap();
    }
}
