//! A file that belongs to somebody else's program, and how it is changed: read, computed anew as a whole, and put in
//! its place with one rename.
//!
//! What it keeps true: a reader sees the old file or the new one, never half of one; mode stays; a symbolic link stays
//! one, and what it points to is replaced (dotfile managers); what was there before lies beside it, in
//! `NAME.spool-backup`, and a later run never overwrites that; a file that is read-only, or that changed since it was
//! read, is left alone.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use spooldir::exit;

use crate::Failure;

/// The largest file that is edited, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// The bits of a mode that say who may write.
const WRITABLE: u32 = 0o222;
/// What is put behind the name of a file for the name of its backup.
const BACKUP: &str = ".spool-backup";

/// A file of somebody else's, as it was found.
#[derive(Debug)]
pub struct Found {
    /// Where its program looks for it.
    path: PathBuf,
    /// Where it really is.
    target: PathBuf,
    /// What it says; `None` when it is not there.
    pub text: Option<String>,
    mode: u32,
}

/// Reads it.
///
/// # Errors
/// A sentence with the number that fits; then nothing can be done with it.
pub fn read(path: &Path) -> Result<Found, Failure> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(e) if e.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_ok() => {
            let why = "it is a symbolic link to nothing; remove it, or make what it points to";
            return Err(left(exit::CANT_CREATE, "read", path, why));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(e) => return Err(failed("read", path, &e)),
    };
    let mut file = match OpenOptions::new().read(true).open(&target) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Ok(Found { path: path.to_owned(), target, text: None, mode: 0o600 });
        }
        Err(e) => return Err(failed("read", path, &e)),
    };
    let meta = file.metadata().map_err(|e| failed("read", path, &e))?;
    if !meta.is_file() {
        return Err(left(exit::CONFIG, "read", path, "it is not an ordinary file"));
    }
    if meta.len() > MAX_BYTES {
        return Err(left(exit::CONFIG, "edit", path, "it is larger than 4 MiB"));
    }
    let mut text = String::new();
    match (&mut file).take(MAX_BYTES).read_to_string(&mut text) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            return Err(left(exit::CONFIG, "edit", path, "it is not UTF-8 text; it is left as it is"));
        }
        Err(e) => return Err(failed("read", path, &e)),
    }
    Ok(Found { path: path.to_owned(), target, text: Some(text), mode: meta.mode() & 0o7777 })
}

impl Found {
    /// Replaces its text.
    ///
    /// # Errors
    /// A sentence; then it says what it said.
    pub fn write(&self, text: &str) -> Result<(), Failure> {
        self.check()?;
        if self.text.is_none()
            && let Some(dir) = self.target.parent()
        {
            fs::create_dir_all(dir).map_err(|e| failed("create", dir, &e))?;
        }
        let mut tmp = self.target.clone().into_os_string();
        tmp.push(format!(".spool-{}", std::process::id()));
        let tmp = PathBuf::from(tmp);
        let written = put(&tmp, text, self.mode).map_err(|e| failed("create", &tmp, &e)).and_then(|()| {
            if self.is_as_read() { Ok(()) } else { Err(self.changed()) }?;
            #[expect(clippy::disallowed_methods, reason = "a changed file takes the place of the old one")]
            fs::rename(&tmp, &self.target).map_err(|e| failed("replace", &self.path, &e))
        });
        if written.is_err() {
            // The name is ours alone; a leftover would only be litter.
            let _gone = fs::remove_file(&tmp).is_ok();
        } else if let Some(dir) = self.target.parent() {
            // After a power cut the old file may be back: one file or the other, as ever.
            let _flushed = File::open(dir).and_then(|dir| dir.sync_all()).is_ok();
        }
        written
    }

    /// Removes it: there was none before.
    ///
    /// # Errors
    /// A sentence; then it is still there.
    pub fn remove(&self) -> Result<(), Failure> {
        self.check()?;
        fs::remove_file(&self.target).map_err(|e| failed("remove", &self.path, &e))
    }

    /// Removes the backup, which has nothing to tell any more.
    pub fn forget(&self) {
        // What stays is what a person may remove at leisure.
        let _gone = fs::remove_file(self.backup()).is_ok();
    }

    /// What the backup says, if there is one.
    pub fn before(&self) -> Option<String> {
        fs::read_to_string(self.backup()).ok()
    }

    /// Where the backup is.
    fn backup(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(BACKUP);
        path.into()
    }

    /// Keeps what it says beside it, unless that was done before.
    ///
    /// # Errors
    /// A sentence; then it must not be changed.
    pub fn back_up(&self) -> Result<(), Failure> {
        self.check()?;
        let Some(before) = &self.text else { return Ok(()) };
        let path = self.backup();
        match put(&path, before, self.mode | 0o200) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(failed("create", &path, &e)),
            _ => Ok(()),
        }
    }

    /// Whether it may be changed. A rename needs no right to write the file itself, so its mode is asked.
    fn check(&self) -> Result<(), Failure> {
        if self.text.is_some() && self.mode & WRITABLE == 0 {
            let why = "it is read-only; change it where it comes from, or make it writable";
            return Err(left(exit::PERMISSION, "change", &self.path, why));
        }
        if self.is_as_read() { Ok(()) } else { Err(self.changed()) }
    }

    fn is_as_read(&self) -> bool {
        match fs::read(&self.target) {
            Ok(bytes) => self.text.as_ref().is_some_and(|text| text.as_bytes() == bytes),
            Err(e) => e.kind() == io::ErrorKind::NotFound && self.text.is_none(),
        }
    }

    fn changed(&self) -> Failure {
        left(exit::TEMPORARY, "change", &self.path, "somebody else changed it meanwhile; try again")
    }
}

/// Makes a file that is not there, flushed. Another one of that name is not touched.
fn put(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

fn left(exit: u8, verb: &str, path: &Path, why: &str) -> Failure {
    Failure::new(exit, format!("cannot {verb} {}: {why}", path.display()))
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Failure {
    use io::ErrorKind as K;
    let exit = match error.kind() {
        K::PermissionDenied | K::ReadOnlyFilesystem => exit::PERMISSION,
        K::StorageFull | K::QuotaExceeded | K::Interrupted | K::ResourceBusy => exit::TEMPORARY,
        _ if verb == "create" => exit::CANT_CREATE,
        _ => exit::IO,
    };
    left(exit, verb, path, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_by_somebody_else_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        fs::write(&path, "{}").unwrap();
        let found = read(&path).unwrap();
        fs::write(&path, "{\"theirs\":1}").unwrap();
        for failure in [found.write("ours").unwrap_err(), found.remove().unwrap_err()] {
            assert_eq!(failure.exit, exit::TEMPORARY, "{failure:?}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"theirs\":1}");
        let absent = read(&dir.path().join("new.json")).unwrap();
        fs::write(dir.path().join("new.json"), "theirs").unwrap();
        assert_eq!(absent.write("ours").unwrap_err().exit, exit::TEMPORARY);
    }

    #[test]
    fn mode_link_and_the_first_backup_stay() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, "one").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        for text in ["two", "three"] {
            let found = read(&link).unwrap();
            found.back_up().unwrap();
            found.write(text).unwrap();
        }
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "three");
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(read(&link).unwrap().before().as_deref(), Some("one"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "no leftovers");
    }

    #[test]
    fn what_cannot_be_edited_is_said_and_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::os::unix::fs::symlink("nothing", path("dangling")).unwrap();
        fs::write(path("latin"), b"caf\xe9").unwrap();
        fs::create_dir(path("dir")).unwrap();
        fs::write(path("large"), vec![b' '; (MAX_BYTES + 1) as usize]).unwrap();
        for (name, number, says) in [
            ("dangling", exit::CANT_CREATE, "link to nothing"),
            ("latin", exit::CONFIG, "not UTF-8"),
            ("dir", exit::CONFIG, "not an ordinary file"),
            ("large", exit::CONFIG, "larger than"),
        ] {
            let failure = read(&path(name)).unwrap_err();
            assert!(failure.exit == number && failure.message.contains(says), "{name}: {failure:?}");
        }
    }
}
