//! A witness of all flushes: a yes must stand on flushes that succeeded.
//!
//! - What gets a name in `new/` was flushed after it was written, and none of its flushes ever failed: the kernel may
//!   have dropped the pages of such a file and say yes the second time.
//! - Who publishes and then ends with 0 has flushed `new/` after the name was given.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::Pid;
use rustix::io::Errno;

use crate::trace::Stop;

/// What was seen of one program.
pub(super) struct Witness {
    new: PathBuf,
    /// What each thread is in the middle of, and the file it is about. A call that is made to fail has no name any more
    /// when it returns.
    under_way: BTreeMap<Pid, (&'static str, PathBuf)>,
    flushed: BTreeSet<PathBuf>,
    failed: BTreeSet<PathBuf>,
    /// A name was given in `new/`, and not yet flushed.
    owes_flush: bool,
    broken: Vec<String>,
}

impl Witness {
    pub(super) fn of(spool: &Path) -> Witness {
        Witness {
            new: spool.join("new"),
            under_way: BTreeMap::new(),
            flushed: BTreeSet::new(),
            failed: BTreeSet::new(),
            owes_flush: false,
            broken: Vec::new(),
        }
    }

    pub(super) fn see(&mut self, stop: &Stop) {
        let call = stop.name();
        if stop.is_entry {
            let about = match call {
                "write" | "fsync" | "fdatasync" => stop.file(0),
                "linkat" | "renameat2" | "renameat" => self.source(stop),
                _ => None,
            };
            if let Some(about) = about {
                self.under_way.insert(stop.tid, (call, about));
            }
            return;
        }
        if matches!(call, "openat" | "open") && stop.result >= 0 {
            // A file of its own, whatever number it has.
            if let Ok(fresh) = std::fs::read_link(format!("/proc/{}/fd/{}", stop.tid, stop.result)) {
                self.failed.remove(&fresh);
                self.flushed.remove(&fresh);
            }
            return;
        }
        let Some((call, about)) = self.under_way.remove(&stop.tid) else { return };
        match call {
            "write" => {
                self.flushed.remove(&about);
            }
            "fsync" | "fdatasync" if about == self.new => self.owes_flush &= stop.result != 0,
            "fsync" | "fdatasync" if stop.result == 0 => {
                self.flushed.insert(about);
            }
            // An interrupted flush has not failed, and is made again.
            "fsync" | "fdatasync" if stop.result == -i64::from(Errno::INTR.raw_os_error()) => {}
            "fsync" | "fdatasync" => {
                self.failed.insert(about);
            }
            // Only what is published: from tmp/, or without a name before.
            _ if stop.result == 0 => {
                self.owes_flush = true;
                if self.failed.contains(&about) {
                    self.broken.push("published a file whose flush had failed".to_owned());
                } else if !self.flushed.contains(&about) {
                    self.broken.push("published a file that was not flushed".to_owned());
                }
            }
            _ => {}
        }
    }

    /// The file that is being published, if this gives a name in `new/` to something from outside.
    fn source(&self, stop: &Stop) -> Option<PathBuf> {
        let (from, to): (OsString, OsString) = (stop.text(1)?, stop.text(3)?);
        if Path::new(&to).parent() != Some(&self.new) {
            return None;
        }
        if let Some(fd) = from.as_bytes().strip_prefix(b"/proc/self/fd/") {
            let fd = std::str::from_utf8(fd).ok()?;
            return std::fs::read_link(format!("/proc/{}/fd/{fd}", stop.tid)).ok();
        }
        let from = PathBuf::from(from);
        from.parent()?.ends_with("tmp").then_some(from)
    }

    /// What is broken, once the program has ended with this number.
    pub(super) fn judge(mut self, exit: Option<i32>) -> Vec<String> {
        if exit == Some(0) && self.owes_flush {
            self.broken
                .push("ended with 0 although new/ was not flushed after the name was given".to_owned());
        }
        self.broken
    }
}
