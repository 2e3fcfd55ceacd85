//! The disk: the promises of the file system that can be tried in no time, the room there is, and the clock.

use std::path::Path;
use std::time::{Duration, SystemTime};

use spooldir::lock::free_bytes;
use spooldir::record::MAX_BYTES;
use spooldir::{Dir, Spool};

use super::{Check, Verdict};
use crate::status::LITTLE_ROOM;
use crate::torture;

/// With fewer free inodes than this, records will soon be refused.
const FEW_INODES: u64 = 10_000;
/// How far ahead of us a file's time may be.
const AHEAD: Duration = Duration::from_secs(60);

/// Looks at it; without a spool at what there will be of it.
pub(super) fn look(root: &Path, spool: Option<&Spool>, checks: &mut Vec<Check>) {
    if let Some(spool) = spool {
        promises(spool, checks);
        checks.push(clock(spool));
        checks.push(match free_bytes(spool) {
            Ok(free) => space(free),
            Err(e) => Check::note("space", e.to_string()),
        });
    }
    if let Some(there) = root.ancestors().find(|dir| dir.exists()) {
        checks.push(inodes(there));
    }
}

/// What `spool torture` calls them, and what they are called here.
const NAMES: [(&str, &str); 5] = [
    ("power", "flush"),
    ("no overwrite", "rename"),
    ("privacy", "privacy"),
    ("notice", "notice"),
    ("clock", "file-clock"),
];

fn promises(spool: &Spool, checks: &mut Vec<Check>) {
    let tried = match torture::quick(&spool.dir(Dir::Tmp)) {
        Ok(tried) => tried,
        Err(failure) => {
            let remedy = "make room, or mend the disk; spool torture tries it at length";
            checks.push(Check::wrong("flush", failure.message, remedy));
            return;
        }
    };
    checks.extend(tried.into_iter().filter_map(promise));
}

fn promise(finding: torture::Finding) -> Option<Check> {
    let (_, name) = NAMES.iter().find(|(promise, _)| *promise == finding.promise)?;
    let words = finding.words.replace("--until-cut", "spool torture --until-cut");
    Some(match finding.verdict {
        torture::Verdict::Kept => Check::ok(name, words),
        torture::Verdict::Weaker => Check::note(name, words),
        torture::Verdict::Broken => {
            let remedy = "put the spool on a local disk that keeps that (--spool, SPOOL_DIR); spool torture tries all of it";
            Check::wrong(name, words, remedy)
        }
    })
}

/// Whether the clock went back: then what is new looks old, and what is due waits.
fn clock(spool: &Spool) -> Check {
    const NAME: &str = "clock";
    let now = SystemTime::now();
    let newest = Dir::ALL.into_iter().filter_map(|dir| spool.fs().stat(&spool.dir(dir)).ok().flatten());
    let newest = newest.map(|meta| meta.mtime_ns).max().unwrap_or(0);
    let newest = u64::try_from(newest)
        .ok()
        .and_then(|ns| SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(ns)));
    let ahead = newest.and_then(|newest| newest.duration_since(now).ok()).unwrap_or_default();
    if ahead > AHEAD {
        let words =
            format!("the spool was changed {} s in the future: the clock is wrong, or was", ahead.as_secs());
        return Check::wrong(
            NAME,
            words,
            "set the clock (timedatectl set-ntp true); what is deferred is due by it",
        );
    }
    Check::ok(NAME, "nothing in the spool is of the future")
}

fn space(free: u64) -> Check {
    let words = format!("{} MB free, {} records of the largest size", free / 1_000_000, free / MAX_BYTES);
    if free < LITTLE_ROOM {
        let remedy = "make room: spool-put soon refuses records (75); what is here is still delivered; spool prune clears receipts";
        return Check::wrong("space", words, remedy);
    }
    Check::ok("space", words)
}

fn inodes(dir: &Path) -> Check {
    const NAME: &str = "inodes";
    match rustix::fs::statvfs(dir) {
        Ok(stat) => inodes_of(stat.f_files, stat.f_favail),
        Err(e) => Check::new(NAME, Verdict::Note, format!("cannot look at {}: {e}", dir.display())),
    }
}

fn inodes_of(all: u64, free: u64) -> Check {
    const NAME: &str = "inodes";
    match (all, free) {
        // btrfs and others have no such limit and say 0.
        (0, _) => Check::ok(NAME, "this file system has no limit of files"),
        (_, free) if free < FEW_INODES => {
            let remedy = "remove files on that file system; spool prune clears receipts";
            Check::wrong(NAME, format!("only {free} more files can be made"), remedy)
        }
        (_, free) => Check::ok(NAME, format!("{free} more files can be made")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_that_is_broken_is_wrong_under_its_own_name() {
        for (said, name) in NAMES {
            for (verdict, is) in [
                (torture::Verdict::Kept, Verdict::Ok),
                (torture::Verdict::Weaker, Verdict::Note),
                (torture::Verdict::Broken, Verdict::Wrong),
            ] {
                let finding = torture::Finding { promise: said, verdict, words: "w".into() };
                let check = promise(finding).unwrap();
                assert_eq!(
                    (check.name, check.verdict, check.remedy.is_some()),
                    (name, is, is == Verdict::Wrong)
                );
            }
        }
    }

    #[test]
    fn little_room_and_few_inodes_are_wrong() {
        assert_eq!(space(LITTLE_ROOM).verdict, Verdict::Ok);
        let full = space(LITTLE_ROOM - 1);
        assert_eq!(full.verdict, Verdict::Wrong);
        assert!(full.remedy.unwrap().contains("prune"));
        assert_eq!(inodes_of(1_000_000, FEW_INODES - 1).verdict, Verdict::Wrong);
        assert_eq!(inodes_of(1_000_000, FEW_INODES).verdict, Verdict::Ok);
        assert_eq!(inodes_of(0, 0).verdict, Verdict::Ok);
    }
}
