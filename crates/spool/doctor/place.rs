//! The directory: whether it is a spool, whose it is, who may look into it, and what lies in it that should not.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Spool};

use super::{Check, Verdict, canary};
use crate::find;
use crate::view::brief;

/// How many names of foreign files are told.
const MAX_NAMED: usize = 5;

/// Looks at it, and with `fix` mends what is ours to mend. The spool, if it can be used.
pub(super) fn look(root: &Path, fix: bool, checks: &mut Vec<Check>) -> Option<Spool> {
    let mut fixed = Vec::new();
    if fix && fs::symlink_metadata(root).is_err() && Spool::create(root).is_ok() {
        fixed.push(format!("made the spool {}", root.display()));
    }
    let modes = modes(root, fix);
    let is_there = root.is_dir();
    if fix && is_there && root.join("format").exists() {
        fixed.extend(make_missing(root));
    }
    let (spool, check) = match Spool::open(root) {
        Ok(spool) => {
            let words = format!("{}, format 1, on one file system", root.display());
            (Some(spool), Check::ok("spool", words))
        }
        Err(_) if !is_there && fs::symlink_metadata(root).is_err() => {
            let words = format!("there is none at {} yet", root.display());
            let remedy = "the first spool-put or spool drain makes it; or spool doctor --fix";
            (None, Check::note("spool", words).remedy(remedy))
        }
        Err(e) => {
            let remedy = "mend what it says, or use another directory (--spool, SPOOL_DIR); spool doctor --fix mends modes and missing directories";
            (None, Check::wrong("spool", e.to_string(), remedy))
        }
    };
    checks.push(Check { fixed, ..check });
    checks.extend(modes);
    if let Some(spool) = &spool {
        checks.push(leftovers(spool, fix));
        checks.push(foreign(spool));
    }
    spool
}

/// Makes directories that are missing in what is a spool already.
fn make_missing(root: &Path) -> Vec<String> {
    let missing: Vec<&str> =
        Dir::ALL.iter().map(|dir| dir.name()).filter(|name| !root.join(name).exists()).collect();
    if missing.is_empty() || Spool::create(root).is_err() {
        return Vec::new();
    }
    missing.into_iter().map(|name| format!("made the missing directory {name}/")).collect()
}

/// Owner and modes of the root and its directories; `None` when there is no directory to look at.
fn modes(root: &Path, fix: bool) -> Option<Check> {
    let own = rustix::process::geteuid().as_raw();
    let (mut fixed, mut strangers, mut open) = (Vec::new(), Vec::new(), Vec::new());
    let dirs = std::iter::once("").chain(Dir::ALL.iter().map(|dir| dir.name()));
    let mut any = false;
    for name in dirs {
        let path = if name.is_empty() { root.to_owned() } else { root.join(name) };
        // What is a link, or no directory, is refused as a spool; its target is not ours to change.
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if !meta.is_dir() {
            continue;
        }
        any = true;
        let mode = meta.mode() & 0o7777;
        let shown = if name.is_empty() { "the spool itself".to_owned() } else { format!("{name}/") };
        if meta.uid() != own {
            strangers.push(format!("{shown} (user {})", meta.uid()));
        } else if mode & 0o777 != 0o700 {
            if fix && fs::set_permissions(&path, Permissions::from_mode(0o700)).is_ok() {
                fixed.push(format!("{shown} had mode {mode:03o}, now 700"));
            } else {
                open.push(format!("{shown} has mode {mode:03o}"));
            }
        }
    }
    if !any {
        return None;
    }
    let check = if !strangers.is_empty() {
        let words = format!("not ours: {}", strangers.join(", "));
        Check::wrong("modes", words, "run as the spool's owner, or give the directories to this user (chown)")
    } else if !open.is_empty() {
        let words = format!("others may look in, or we may not: {}", open.join(", "));
        Check::wrong("modes", words, "spool doctor --fix, or chmod 700")
    } else {
        Check::ok("modes", "all directories are ours and for us alone (700)")
    };
    Some(Check { fixed, ..check })
}

/// What writers left that died long ago. The agent clears it away, if one runs.
fn leftovers(spool: &Spool, fix: bool) -> Check {
    const NAME: &str = "leftovers";
    let now = now_ms();
    let mut fixed = Vec::new();
    if fix {
        type Sweep = fn(&Spool, u64) -> Result<usize, spooldir::Error>;
        let sweeps: [(&str, Sweep); 3] = [
            ("files of dead writers in tmp/", Spool::sweep_tmp),
            ("reasons without an entry", Spool::sweep_reasons),
            ("files of closed runs", Spool::sweep_runs),
        ];
        fixed.extend(dead_canaries(spool));
        for (what, sweep) in sweeps {
            match sweep(spool, now) {
                Ok(0) => {}
                Ok(n) => fixed.push(format!("removed {n} {what}")),
                Err(e) => return Check::wrong(NAME, e.to_string(), "mend the disk or the directory"),
            }
        }
    }
    let check = match spool.old_tmp(now) {
        Err(e) => Check::wrong(NAME, e.to_string(), "mend the disk or the directory"),
        Ok(old) if old.is_empty() => Check::ok(NAME, "none older than 36 hours"),
        Ok(old) => {
            let words = format!("{} files of dead writers in tmp/, older than 36 hours", old.len());
            Check::new(NAME, Verdict::Note, words).remedy("spool doctor --fix, or let an agent run")
        }
    };
    Check { fixed, ..check }
}

/// What a doctor that was killed left in `new/`.
fn dead_canaries(spool: &Spool) -> Option<String> {
    let mut found = Vec::new();
    let listed = spool.fs().list(&spool.dir(Dir::New), &mut |name, is_file| {
        if is_file && name.to_string_lossy().starts_with(canary::NAME) {
            found.push(name.to_owned());
        }
        ControlFlow::Continue(())
    });
    let gone = |name: &OsString| spool.fs().remove(&spool.dir(Dir::New).join(name)).is_ok();
    let gone = listed.map_or(0, |()| found.iter().filter(|name| gone(name)).count());
    (gone > 0).then(|| format!("removed {gone} canaries of a doctor that was killed"))
}

/// Files that nobody will ever touch.
fn foreign(spool: &Spool) -> Check {
    const NAME: &str = "foreign";
    let mut named = Vec::new();
    let mut count = 0_usize;
    let mut see = |dir: Dir, name: &OsStr| {
        count += 1;
        if named.len() < MAX_NAMED {
            named.push(format!("{}/{}", dir.name(), brief(&name.to_string_lossy(), 80)));
        }
    };
    match find::inbox(spool) {
        Ok(inbox) => inbox.foreign.iter().for_each(|name| see(Dir::New, name)),
        Err(failure) => return Check::wrong(NAME, failure.message, "mend the disk or the directory"),
    }
    for dir in Dir::STATES.into_iter().filter(|dir| *dir != Dir::New) {
        let listed = spool.fs().list(&spool.dir(dir), &mut |name, is_file| {
            let text = name.to_string_lossy();
            let is_ours = is_file && (text.ends_with(".why.json") || Entry::from_name(dir, &text).is_some());
            // Names that begin with a dot are half-written files of ours, and go by themselves.
            if !is_ours && !text.starts_with('.') && !text.contains(".why.json.") {
                see(dir, name);
            }
            ControlFlow::Continue(())
        });
        if let Err(e) = listed {
            let words = format!("cannot list {}: {e}", spool.dir(dir).display());
            return Check::wrong(NAME, words, "mend the disk or the directory");
        }
    }
    if count == 0 {
        return Check::ok(NAME, "every file is a record, a reason or in the making");
    }
    let more = if count > named.len() { ", ..." } else { "" };
    let words = format!("{count} files are no records and are left alone: {}{more}", named.join(", "));
    let remedy = "a record ends in .json, does not begin with a dot, belongs to you and has one name; rename it (mv -n), or move it out of the spool";
    Check::wrong(NAME, words, remedy)
}
