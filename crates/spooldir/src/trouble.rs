//! What hooks could not queue: a small file beside the spool, for those who have nobody to tell.
//!
//! A hook of a task runner must exit 0 and keep silent whatever happens, and nobody reads its stderr. So a report that
//! could not be queued leaves a line here, which `spool status` shows. The file lies outside the spool, for the spool
//! may be what is broken: beside it, else in the state directory, else in the runtime directory (which is another file
//! system on most machines). What it keeps true: a line names the cause and never what the report said, and the file
//! stays below [`MAX_FILE`] by forgetting its older half.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The most that the file grows to, in bytes.
pub const MAX_FILE: u64 = 64 * 1024;
/// What its name ends in; before that stands the name of the spool.
const SUFFIX: &str = "-hook-trouble.log";
/// The longest reason that is written down, in bytes.
const MAX_REASON: usize = 1024;

/// One report that could not be queued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Trouble {
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at: u64,
    /// The spool it was meant for; empty when nothing said which.
    pub spool: String,
    /// Which adapter ran.
    pub from: String,
    /// The number that a command would have exited with.
    pub exit: u8,
    /// Why, in a sentence. Never quotes the report.
    pub reason: String,
}

/// What is written down for one spool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Troubles {
    /// How many.
    pub count: u64,
    /// The last one.
    pub last: Option<Trouble>,
    /// The files that they stand in.
    pub files: Vec<PathBuf>,
}

/// Where such a file may lie, the best place first.
pub fn places(spool: Option<&Path>, env: &dyn Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let dir = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let mut places = Vec::new();
    if let Some(spool) = spool
        && let Some(name) = spool.file_name()
    {
        let mut beside = name.to_owned();
        beside.push(SUFFIX);
        places.push(spool.with_file_name(beside));
    }
    let state = dir("XDG_STATE_HOME").or_else(|| dir("HOME").map(|home| home.join(".local/state")));
    for dir in [state, dir("XDG_RUNTIME_DIR")].into_iter().flatten() {
        let place = dir.join(format!("spool{SUFFIX}"));
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// Writes a line in the first place that takes it, and says which that was.
///
/// # Errors
/// Why the last place did not take it.
pub fn leave(places: &[PathBuf], trouble: &Trouble) -> io::Result<PathBuf> {
    let mut reason = trouble.reason.replace(char::is_control, " ");
    if let Some((cut, _)) = reason.char_indices().take_while(|(at, _)| *at <= MAX_REASON).last()
        && reason.len() > MAX_REASON
    {
        reason.truncate(cut);
    }
    let mut line = serde_json::to_vec(&Trouble { reason, ..trouble.clone() })?;
    line.push(b'\n');
    let mut last = io::Error::new(io::ErrorKind::NotFound, "there is no place for it");
    for place in places {
        match append(place, &line) {
            Ok(()) => return Ok(place.clone()),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Reads what is written down for a spool.
pub fn read(places: &[PathBuf], spool: &Path) -> Troubles {
    let spool = spool.to_string_lossy();
    let mut troubles = Troubles::default();
    for place in places {
        let Ok(mut file) = open(place, false) else { continue };
        let mut bytes = Vec::new();
        // Somebody may have made it larger than we would.
        if (&mut file).take(2 * MAX_FILE).read_to_end(&mut bytes).is_err() {
            continue;
        }
        let before = troubles.count;
        for line in bytes.split(|b| *b == b'\n') {
            let Ok(trouble) = serde_json::from_slice::<Trouble>(line) else { continue };
            if trouble.spool.is_empty() || trouble.spool == spool {
                troubles.count += 1;
                if troubles.last.as_ref().is_none_or(|last| last.at <= trouble.at) {
                    troubles.last = Some(trouble);
                }
            }
        }
        if troubles.count > before {
            troubles.files.push(place.clone());
        }
    }
    troubles
}

/// Opens it without following a symlink or waiting for a FIFO, and only if it is ours: the place may be open to others.
fn open(path: &Path, for_writing: bool) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).append(for_writing).create(for_writing).mode(0o600);
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.uid() != rustix::process::geteuid().as_raw() || meta.nlink() != 1 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is no ordinary file of ours"));
    }
    Ok(file)
}

fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = match open(path, true) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().unwrap_or(Path::new("/"));
            DirBuilder::new().mode(0o700).recursive(true).create(parent)?;
            open(path, true)?
        }
        other => other?,
    };
    let size = file.metadata()?.len();
    if size + line.len() as u64 > MAX_FILE {
        // Two hooks that do this at once may forget more than half.
        let mut kept = Vec::new();
        file.seek(SeekFrom::Start(size.saturating_sub(MAX_FILE / 2)))?;
        (&mut file).take(MAX_FILE / 2).read_to_end(&mut kept)?;
        file.set_len(0)?;
        let from = kept.iter().position(|b| *b == b'\n').map_or(kept.len(), |at| at + 1);
        file.write_all(&kept[from..])?;
    }
    file.write_all(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(at: u64, spool: &Path) -> Trouble {
        let spool = spool.to_string_lossy().into_owned();
        Trouble { at, spool, from: "codex".into(), exit: 75, reason: "no space left".into() }
    }

    #[test]
    fn the_places_are_beside_the_spool_and_in_the_users_own_directories() {
        let env = |name: &str| match name {
            "HOME" => Some("/home/me".into()),
            "XDG_RUNTIME_DIR" => Some("/run/user/1".into()),
            _ => None,
        };
        let is = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(
            places(Some(Path::new("/srv/jobs")), &env),
            is(&[
                "/srv/jobs-hook-trouble.log",
                "/home/me/.local/state/spool-hook-trouble.log",
                "/run/user/1/spool-hook-trouble.log",
            ])
        );
        let own = places(Some(Path::new("/home/me/.local/state/spool")), &env);
        assert_eq!(own.len(), 2, "{own:?}");
        assert!(places(None, &|_| None).is_empty());
    }

    #[test]
    fn what_is_left_is_read_back_for_its_spool_alone() {
        let home = tempfile::tempdir().unwrap();
        let spool = home.path().join("spool");
        let file = home.path().join("new/spool-hook-trouble.log");
        let places = [PathBuf::from("/proc/nowhere/x.log"), file.clone()];
        leave(&places, &trouble(1, &spool)).unwrap();
        leave(&places, &trouble(2, Path::new("/other"))).unwrap();
        let long = Trouble { reason: "é\n".repeat(5000), ..trouble(3, &spool) };
        assert_eq!(leave(&places, &long).unwrap(), file);
        std::fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{torn\n").unwrap();
        let read = read(&places, &spool);
        let last = read.last.unwrap();
        assert_eq!((read.count, last.at, read.files), (2, 3, vec![file]));
        assert!(last.reason.len() <= MAX_REASON && !last.reason.contains('\n'));
        assert!(leave(&places[..1], &long).is_err());
    }

    #[test]
    fn the_file_is_bounded_and_the_last_line_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let spool = home.path().join("spool");
        let places = places(Some(&spool), &|_| None);
        for at in 0..2000 {
            leave(&places, &trouble(at, &spool)).unwrap();
            assert!(std::fs::metadata(&places[0]).unwrap().len() <= MAX_FILE);
        }
        let read = read(&places, &spool);
        assert_eq!(read.last.unwrap().at, 1999);
        assert!(read.count > 100, "{}", read.count);
    }

    #[test]
    fn a_strangers_link_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("precious");
        std::fs::write(&target, "x").unwrap();
        let place = home.path().join("spool-hook-trouble.log");
        std::os::unix::fs::symlink(&target, &place).unwrap();
        assert!(leave(&[place], &trouble(1, home.path())).is_err());
        assert_eq!(std::fs::read(&target).unwrap(), b"x");
    }
}
