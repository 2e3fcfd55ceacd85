//! A new file that has its name only once its bytes are on the disk: records, intents and `format` are made in this one
//! way (`spool-format.md` section 4, steps 1 to 3).
//!
//! What it keeps true: whoever sees the name sees all the bytes, also after a power cut; nothing that has the name is
//! overwritten; what could not be finished leaves nothing under the name. The name itself is on the disk only after a
//! flush of its directory, which is the caller's: what an error of that one means differs.

use std::io;
use std::path::Path;

use spool_seeded::{Bug, is};

use crate::error::{Context, Error};
use crate::fs::{Fs, Staged};

/// Writes the bytes in `tmp`, flushes them, and gives them the name `to`, which must be free. `verb` says in an error
/// what the name was to be given for.
///
/// A flush that fails is not tried again on the same file, whose pages the kernel may have dropped, but once on a new
/// one. Where files without a name cannot be given one, files with a name are used from then on.
///
/// # Errors
/// [`Error::Io`]: with `verb` when the name was asked for, and then perhaps given; with any other verb nothing has it.
pub(crate) fn name_flushed(
    fs: &dyn Fs,
    tmp: &Path,
    bytes: &[u8],
    to: &Path,
    verb: &'static str,
) -> Result<(), Error> {
    match flushed(fs, tmp, bytes, to)?.publish(to) {
        Err(e) if e.kind() == io::ErrorKind::Unsupported => {
            fs.prefer_named();
            flushed(fs, tmp, bytes, to)?.publish(to).at(verb, to)
        }
        other => other.at(verb, to),
    }
}

fn flushed(fs: &dyn Fs, tmp: &Path, bytes: &[u8], to: &Path) -> Result<Box<dyn Staged>, Error> {
    let stage = || -> Result<Box<dyn Staged>, Error> {
        let mut staged = fs.stage(tmp).at("create", tmp)?;
        let written = staged.write_all(bytes);
        match written {
            Err(e) if is(Bug::LeavesTmp) => {
                drop(staged.publish(to));
                return Err(e).at("write", tmp);
            }
            other => other.at("write", tmp)?,
        }
        if is(Bug::NoFsync) {
            return Ok(staged);
        }
        let mut flushed = staged.sync_data();
        if is(Bug::FsyncRetry) {
            flushed = flushed.or_else(|_| staged.sync_data());
        }
        flushed.at("flush", tmp)?;
        Ok(staged)
    };
    match stage() {
        Err(Error::Io { verb: "flush", .. }) => stage(),
        other => other,
    }
}
