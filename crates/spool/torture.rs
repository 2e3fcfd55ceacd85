//! `spool torture`: what the file system under a spool really guarantees, found out on the user's own directory.
//!
//! The promises of the spool stand on a few of the file system's: names that are not overwritten, renames that are
//! whole, locks that fall with their holder, flushes that flush. Each is tried here ([`checks`]), with the code that the
//! producers and the agent use; a writer is killed a hundred times on the way ([`drill`]). One thing no program can find
//! out while the power is on: whether the disk keeps what it said it had flushed. For that there are two more calls,
//! before and after a real power cut.
//!
//! All of it happens in a directory of its own, which is removed afterwards: below `tmp/` of the spool, where every
//! producer may write and nothing is ever read, or below `--dir`.

mod checks;
mod drill;
mod mount;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use spooldir::{Dir, Spool, exit};

use crate::Failure;
use crate::args::Args;

/// A promise does not hold here.
const BROKEN: u8 = 1;

/// How a promise fares on this file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was tried and holds.
    Kept,
    /// It holds in a weaker form that the spool is made for, or only as far as can be seen from here.
    Weaker,
    /// It does not hold; records can be lost or told twice here.
    Broken,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Kept => "kept",
            Verdict::Weaker => "weaker",
            Verdict::Broken => "BROKEN",
        }
    }
}

/// One promise, tried.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) promise: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) words: String,
}

/// Tries the file system, or does one half of a power cut. Exits 0 when all promises hold, 1 when one is broken.
///
/// # Errors
/// When there is no directory to try it in; those of writing.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<u8, Failure> {
    let base = match &args.dir {
        Some(dir) => dir.clone(),
        None => Spool::open(&crate::spool_dir(args)?)?.dir(Dir::Tmp),
    };
    if args.until_cut {
        return drill::write_until_cut(&base.join(drill::HOME), out);
    }
    if let Some(last) = args.after_cut {
        return drill::judge_after_cut(&base.join(drill::HOME), last, out);
    }
    let room = Room::make(&base)?;
    let findings = checks::all(&room.0)?;
    report(&base, &findings, args.json, out)?;
    let is_broken = findings.iter().any(|finding| finding.verdict == Verdict::Broken);
    Ok(if is_broken { BROKEN } else { exit::OK })
}

/// The promises that can be tried in no time, in a directory below `base` that is gone afterwards.
///
/// # Errors
/// When there is no such directory, or nothing can be written there.
pub(crate) fn quick(base: &Path) -> Result<Vec<Finding>, Failure> {
    let room = Room::make(base)?;
    checks::quick(&room.0)
}

fn report(base: &Path, findings: &[Finding], as_json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if as_json {
        let findings: Vec<_> = findings
            .iter()
            .map(|f| json!({"promise": f.promise, "verdict": f.verdict.word().to_lowercase(), "words": f.words}))
            .collect();
        writeln!(out, "{:#}", json!({"dir": base, "findings": findings}))?;
        return Ok(());
    }
    writeln!(out, "tried in {}", base.display())?;
    for finding in findings {
        writeln!(out, "{:<7} {:<13} {}", finding.verdict.word(), finding.promise, finding.words)?;
    }
    Ok(())
}

/// A directory for this run only; gone afterwards.
struct Room(PathBuf);

impl Room {
    fn make(base: &Path) -> Result<Room, Failure> {
        let room = base.join(format!("spool-torture-{}", std::process::id()));
        let failed = |e: std::io::Error| {
            let why = format!("cannot create {}: {e}; name another directory with --dir", room.display());
            Failure::new(exit::CANT_CREATE, why)
        };
        fs::create_dir(&room).map_err(failed)?;
        Ok(Room(room))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.0) {
            crate::complain(&format!("cannot remove {}: {e}", self.0.display()));
        }
    }
}
