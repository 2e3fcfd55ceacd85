//! Searching every byte of everything that was left behind.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::layer::{Outcome, Report};

/// What must not be found, and where it may be all the same.
pub(super) struct Canary {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
    /// Below which paths it belongs.
    pub(super) homes: Vec<PathBuf>,
    /// Whether those must be closed to others.
    pub(super) is_secret: bool,
}

impl Canary {
    pub(super) fn new(name: &'static str, bytes: impl Into<Vec<u8>>, homes: &[PathBuf]) -> Canary {
        Canary { name, bytes: bytes.into(), homes: homes.to_vec(), is_secret: true }
    }

    fn belongs(&self, path: &Path) -> bool {
        self.homes.iter().any(|home| path.starts_with(home))
    }
}

/// Searches every file and every name below a directory.
pub(super) fn search(report: &mut Report, what: &str, dir: &Path, canaries: &[Canary]) -> Outcome<()> {
    for item in fs::read_dir(dir)? {
        let item = item?;
        let path = item.path();
        let kind = item.file_type()?;
        for canary in canaries {
            let in_name = find(item.file_name().as_encoded_bytes(), &canary.bytes);
            report
                .check(!in_name, || format!("{what}: the {} is in the name {}", canary.name, path.display()));
        }
        if kind.is_dir() {
            search(report, what, &path, canaries)?;
        } else if kind.is_file() {
            one(report, what, &path, canaries)?;
        }
    }
    Ok(())
}

fn one(report: &mut Report, what: &str, path: &Path, canaries: &[Canary]) -> Outcome<()> {
    let bytes = fs::read(path)?;
    report.count("files searched", 1);
    report.count("bytes searched", bytes.len() as u64);
    for canary in canaries {
        let found = find(&bytes, &canary.bytes);
        if found && canary.belongs(path) {
            let mode = fs::metadata(path)?.mode() & 0o777;
            report.count("canaries at home", 1);
            report.check(!canary.is_secret || mode & 0o077 == 0, || {
                format!("{what}: {} with the {} has the mode {mode:o}", path.display(), canary.name)
            });
        } else {
            report.check(!found, || format!("{what}: the {} is in {}", canary.name, path.display()));
        }
    }
    Ok(())
}

/// Whether some bytes hold others.
pub(super) fn find(bytes: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && bytes.windows(part.len()).any(|window| window == part)
}
