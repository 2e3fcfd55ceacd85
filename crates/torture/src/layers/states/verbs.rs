//! The verbs of the file system in memory, as [`spooldir::fs::RealFs`] has them: what each of them changes is one step,
//! written down, and may be the one that fails.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use spooldir::fs::{Content, Fs, Meta, Moving, Staged, Unfit};

use super::disk::{Ino, Name, Op, Place};
use super::memory::{EEXIST, ENOENT, MemFs, error};

/// A file in the making.
struct MemStaged {
    fs: MemFs,
    ino: Ino,
    named: Option<Place>,
}

impl Staged for MemStaged {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.fs.inner().write(self.ino, bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut inner = self.fs.inner();
        let done = inner.step();
        if !inner.dead {
            inner.record(if done.is_ok() { Op::Sync(self.ino) } else { Op::LostSync(self.ino) });
        }
        done
    }

    fn publish(mut self: Box<Self>, to: &Path) -> io::Result<()> {
        let to = self.fs.place(to)?;
        let mut inner = self.fs.inner();
        match &self.named {
            Some(from) => inner.rename(from, &to)?,
            None => {
                inner.step()?;
                if !inner.image.has_dir(to.dir) {
                    return Err(error(ENOENT));
                }
                if inner.image.find(to.dir, &to.name.text).is_some() {
                    return Err(error(EEXIST));
                }
                inner.record(Op::Link(self.ino, to));
            }
        }
        drop(inner);
        self.named = None;
        Ok(())
    }
}

impl Drop for MemStaged {
    fn drop(&mut self) {
        if let Some(at) = self.named.take() {
            let mut inner = self.fs.inner();
            if inner.step().is_ok() && inner.ino(&at).is_ok_and(|ino| ino == self.ino) {
                inner.record(Op::Unlink(self.ino, at));
            }
        }
    }
}

impl Fs for MemFs {
    fn stage(&self, dir: &Path) -> io::Result<Box<dyn Staged>> {
        let dir = self.dir_of(dir)?;
        let mut inner = self.inner();
        if inner.way.unnamed {
            inner.step()?;
            let ino = inner.new_file();
            return Ok(Box::new(MemStaged { fs: self.clone(), ino, named: None }));
        }
        let name = Name::new(&format!("{}.tmp", inner.image.files.len()));
        let at = Place { dir, name };
        let ino = self.create(&mut inner, &at)?;
        Ok(Box::new(MemStaged { fs: self.clone(), ino, named: Some(at) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        self.inner().rename(&from, &to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let at = self.place(path)?;
        let mut inner = self.inner();
        inner.step()?;
        let ino = inner.ino(&at)?;
        inner.record(Op::Unlink(ino, at));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = self.dir_of(dir)?;
        let mut inner = self.inner();
        inner.step()?;
        if !inner.image.has_dir(dir) {
            return Err(error(ENOENT));
        }
        inner.record(Op::SyncDir(dir));
        Ok(())
    }

    fn list(&self, dir: &Path, see: &mut dyn FnMut(&OsStr, bool) -> ControlFlow<()>) -> io::Result<()> {
        let dir = self.dir_of(dir)?;
        let names = {
            let inner = self.inner();
            if !inner.image.has_dir(dir) {
                return Err(error(ENOENT));
            }
            inner.image.dirs[dir].clone()
        };
        for (name, _) in names {
            if see(OsStr::new(&*name.text), true).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Content, Unfit> {
        let at = self.place(path)?;
        let inner = self.inner();
        let ino = inner.ino(&at)?;
        let meta = self.meta_of(&inner, ino);
        match meta {
            Meta { nlink, .. } if nlink > 1 => Err(Unfit::Linked(nlink)),
            Meta { size, .. } if size > limit => Err(Unfit::TooLarge(size)),
            meta => Ok(Content { meta, bytes: inner.image.file(ino).to_vec() }),
        }
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Meta>> {
        if let Ok(dir) = self.dir_of(path) {
            let there = self.inner().image.has_dir(dir);
            return Ok(there.then(|| self.meta(true, 1 << 40 | dir as u64, 2, 0)));
        }
        let Ok(at) = self.place(path) else { return Ok(None) };
        let inner = self.inner();
        Ok(inner.ino(&at).ok().map(|ino| self.meta_of(&inner, ino)))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let dir = self.dir_of(path)?;
        let mut inner = self.inner();
        inner.step()?;
        if inner.image.has_dir(dir) {
            return Err(error(EEXIST));
        }
        inner.record(Op::Make(dir));
        Ok(())
    }

    fn make_dirs(&self, path: &Path) -> io::Result<()> {
        match self.make_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let at = self.place(path)?;
        let mut inner = self.inner();
        let ino = match inner.ino(&at) {
            Ok(ino) => ino,
            Err(_) => self.create(&mut inner, &at)?,
        };
        let is_torn = inner.image.file(ino).last().is_some_and(|last| *last != b'\n');
        if is_torn { inner.write(ino, &[b"\n", bytes].concat()) } else { inner.write(ino, bytes) }
    }

    fn prefer_named(&self) {
        self.inner().way.unnamed = false;
    }

    fn hold_still(&self, _: &Path) -> io::Result<Moving> {
        // Nobody else is there.
        Ok(Moving::default())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let to = self.place(path)?;
        let from = Place { dir: to.dir, name: Name::new(&format!("{}.1", to.name.text)) };
        let mut inner = self.inner();
        let ino = self.create(&mut inner, &from)?;
        inner.write(ino, bytes)?;
        inner.step()?;
        inner.record(Op::Move(ino, from, to));
        Ok(())
    }
}
