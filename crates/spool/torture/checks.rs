//! The promises of a file system that the spool stands on, one function each, in the order of their weight.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant, SystemTime};

use spool_drain::watch::{Doorbell, WatchState};
use spooldir::fs::{Fs, RealFs};
use spooldir::lock::free_bytes;
use spooldir::publish::Published;
use spooldir::record::MAX_BYTES;
use spooldir::{Dir, Error, Id, Spool, exit};

use super::mount::Mount;
use super::{Finding, Verdict, drill};
use crate::Failure;
use crate::status::LITTLE_ROOM;

/// How many flushes are timed.
const FLUSHES: usize = 50;
/// The same where it must be quick.
const FEW_FLUSHES: usize = 5;
/// How many producers race for an id, and how often.
const RACERS: usize = 8;
const ROUNDS: usize = 50;
/// The longest a file's own clock may be away from ours before its age misleads.
const CLOCK_AWAY: Duration = Duration::from_secs(10);
/// How long a file may take to be noticed.
const NOTICED: Duration = Duration::from_secs(5);

fn finding(promise: &'static str, verdict: Verdict, words: impl Into<String>) -> Finding {
    Finding { promise, verdict, words: words.into() }
}

/// Tries them all.
///
/// # Errors
/// When the directory cannot be used at all.
pub(super) fn all(room: &Path) -> Result<Vec<Finding>, Failure> {
    let spool = Spool::create(&room.join("spool"))?;
    Ok(vec![
        survives(&spool, FLUSHES)?,
        drill::kills(room)?,
        no_overwrite(&spool)?,
        race(&spool)?,
        drill::locks(room)?,
        names(room)?,
        modes(&spool)?,
        notices(&spool)?,
        clock(&spool)?,
        space(&spool)?,
    ])
}

/// Tries those that take no time.
///
/// # Errors
/// As [`all`].
pub(super) fn quick(room: &Path) -> Result<Vec<Finding>, Failure> {
    let spool = Spool::create(&room.join("spool"))?;
    Ok(vec![
        survives(&spool, FEW_FLUSHES)?,
        no_overwrite(&spool)?,
        modes(&spool)?,
        notices(&spool)?,
        clock(&spool)?,
    ])
}

fn broken(verb: &str, path: &Path, e: &io::Error) -> Failure {
    Failure::new(exit::IO, format!("cannot {verb} {}: {e}", path.display()))
}

/// Whether what was flushed is on a disk, as far as can be seen without cutting the power.
fn survives(spool: &Spool, flushes: usize) -> Result<Finding, Failure> {
    let mut took = Vec::with_capacity(flushes);
    for _ in 0..flushes {
        let id = Id::mint();
        let record = format!(r#"{{"id":"{id}","sessionKey":"agent:main:torture","text":"flush"}}"#);
        let start = Instant::now();
        spool.publish(&id, record.as_bytes(), true)?;
        took.push(start.elapsed());
    }
    took.sort();
    let middle = took.get(flushes / 2).copied().unwrap_or_default();
    let pace = format!("a publish with its two flushes takes {:.1} ms", middle.as_secs_f64() * 1000.0);
    let mount = Mount::of(spool.root());
    let (verdict, words) = match &mount {
        Some(mount) if mount.is_memory() => {
            (Verdict::Broken, format!("{} is memory: nothing survives a restart", mount.kind))
        }
        Some(mount) if mount.unflushed().is_some() => {
            let option = mount.unflushed().unwrap_or_default();
            (
                Verdict::Broken,
                format!("{} is mounted with {option}: flushes do not reach the disk", mount.kind),
            )
        }
        Some(mount) if mount.is_remote() => {
            (Verdict::Weaker, format!("{}: another machine or program has the last word; {pace}", mount.kind))
        }
        Some(mount) => (Verdict::Kept, format!("{}; {pace}; --until-cut proves the disk itself", mount.kind)),
        None => {
            (Verdict::Weaker, format!("the kind of file system is unknown; {pace}; --until-cut proves it"))
        }
    };
    Ok(finding("power", verdict, words))
}

/// Whether a name that is taken is left alone.
fn no_overwrite(spool: &Spool) -> Result<Finding, Failure> {
    let (real, dir) = (RealFs::new(), spool.dir(Dir::Tmp));
    let (first, second) = (dir.join("first"), dir.join("second"));
    for (path, bytes) in [(&first, b"1"), (&second, b"2")] {
        fs::write(path, bytes).map_err(|e| broken("write", path, &e))?;
    }
    let is_refused = match real.rename(&second, &first) {
        Err(e) => e.kind() == io::ErrorKind::AlreadyExists,
        Ok(()) => false,
    };
    let is_kept = fs::read(&first).is_ok_and(|bytes| bytes == b"1");
    for path in [&first, &second] {
        // It is gone already where the rename was not refused.
        let _removed = fs::remove_file(path).is_ok();
    }
    Ok(if is_refused && is_kept {
        finding("no overwrite", Verdict::Kept, "a rename to a name that is taken is refused")
    } else {
        finding("no overwrite", Verdict::Broken, "a rename may replace a record")
    })
}

/// Whether one of several producers with one id wins, and keeps what it won.
fn race(spool: &Spool) -> Result<Finding, Failure> {
    for round in 0..ROUNDS {
        let id = Id::new(&format!("race-{round}")).map_err(|e| Failure::new(exit::DATA, e.to_string()))?;
        let bytes = |racer: usize| {
            format!(r#"{{"id":"race-{round}","sessionKey":"agent:main:torture","text":"{racer}"}}"#)
        };
        let start = Barrier::new(RACERS);
        let ended: Vec<Result<Published, Error>> = std::thread::scope(|scope| {
            let run = |racer| {
                let (start, id) = (&start, &id);
                scope.spawn(move || {
                    start.wait();
                    spool.publish(id, bytes(racer).as_bytes(), false)
                })
            };
            let racers: Vec<_> = (0..RACERS).map(run).collect();
            racers.into_iter().filter_map(|racer| racer.join().ok()).collect()
        });
        let won: Vec<usize> = (0..).zip(&ended).filter(|(_, e)| e.is_ok()).map(|(racer, _)| racer).collect();
        let lost = ended.iter().filter(|e| matches!(e, Err(Error::Conflict { .. }))).count();
        let path = spool.dir(Dir::New).join(format!("{id}.json"));
        let is_winners = |racer: &usize| fs::read(&path).is_ok_and(|there| there == bytes(*racer).as_bytes());
        if won.len() != 1 || lost != RACERS - 1 || !won.iter().all(is_winners) {
            let words =
                format!("{} of {RACERS} producers with one id were told yes, in round {round}", won.len());
            return Ok(finding("races", Verdict::Broken, words));
        }
    }
    let words = format!(
        "{ROUNDS} times {RACERS} producers with one id: one was told yes, and it was the one that is there"
    );
    Ok(finding("races", Verdict::Kept, words))
}

/// Whether names are what they were given as.
fn names(room: &Path) -> Result<Finding, Failure> {
    let dir = room.join("names");
    fs::create_dir(&dir).map_err(|e| broken("create", &dir, &e))?;
    let long = "n".repeat(255);
    let given = ["case", "CASE", "colon:42", long.as_str()];
    for name in given {
        if let Err(e) = fs::File::create_new(dir.join(name)) {
            let words = match e.kind() {
                io::ErrorKind::AlreadyExists => "ids that differ in case only are one file".to_owned(),
                _ => format!("a file named {:.20} cannot be made: {e}", name),
            };
            return Ok(finding("names", Verdict::Weaker, words));
        }
    }
    Ok(finding("names", Verdict::Kept, "case counts, colons pass, 255 bytes fit"))
}

/// Whether nobody else can read a record.
fn modes(spool: &Spool) -> Result<Finding, Failure> {
    let new = spool.dir(Dir::New);
    let root = spool.fs().stat(spool.root()).map_err(|e| broken("look at", spool.root(), &e))?;
    let mut open = root.is_none_or(|meta| meta.mode & 0o077 != 0);
    for entry in fs::read_dir(&new).map_err(|e| broken("read", &new, &e))?.take(1).flatten() {
        let path = entry.path();
        let meta = spool.fs().stat(&path).map_err(|e| broken("look at", &path, &e))?;
        open |= meta.is_none_or(|meta| meta.mode & 0o077 != 0);
    }
    Ok(if open {
        finding("privacy", Verdict::Broken, "modes are not kept: others may read or change records")
    } else {
        finding("privacy", Verdict::Kept, "0700 and 0600 are kept: records are their owner's alone")
    })
}

/// Whether the agent is told of a new file, and how fast.
fn notices(spool: &Spool) -> Result<Finding, Failure> {
    let mut bell = Doorbell::watch(&[spool.dir(Dir::New)]);
    if let WatchState::Polling { reason } = bell.state() {
        let words = format!("new records are found by looking from time to time: {reason}");
        return Ok(finding("notice", Verdict::Weaker, words));
    }
    let noticed = crate::drain::runtime()?.block_on(async {
        // The ring at its start.
        let first = tokio::time::timeout(NOTICED, bell.ring()).await;
        let start = Instant::now();
        let id = Id::mint();
        let record = format!(r#"{{"id":"{id}","sessionKey":"agent:main:torture","text":"notice"}}"#);
        spool.publish(&id, record.as_bytes(), true)?;
        let second = tokio::time::timeout(NOTICED, bell.ring()).await;
        Ok::<_, Failure>((first.is_ok() && second.is_ok()).then(|| start.elapsed()))
    })?;
    Ok(match noticed {
        Some(took) => {
            let words = format!(
                "a new record was noticed {:.1} ms after its writer began",
                took.as_secs_f64() * 1000.0
            );
            finding("notice", Verdict::Kept, words)
        }
        None => {
            finding("notice", Verdict::Weaker, "no event came for a new record: the timed sweep will find it")
        }
    })
}

/// Whether a file's times can be compared with ours.
fn clock(spool: &Spool) -> Result<Finding, Failure> {
    let path = spool.dir(Dir::Tmp).join("clock");
    let dated = fs::write(&path, b"").and_then(|()| fs::metadata(&path)?.modified());
    let dated = dated.map_err(|e| broken("write", &path, &e))?;
    let now = SystemTime::now();
    let away = now.duration_since(dated).or_else(|_| dated.duration_since(now)).unwrap_or_default();
    Ok(if away <= CLOCK_AWAY {
        finding("clock", Verdict::Kept, "files are dated by the same clock as ours")
    } else {
        let words = format!("files are dated {} s away: leftovers go too early or too late", away.as_secs());
        finding("clock", Verdict::Weaker, words)
    })
}

/// Whether there is room.
fn space(spool: &Spool) -> Result<Finding, Failure> {
    let free = free_bytes(spool)?;
    let records = free / MAX_BYTES;
    let words = format!("{} MB free, {records} records of the largest size", free / 1_000_000);
    Ok(finding("room", if free < LITTLE_ROOM { Verdict::Weaker } else { Verdict::Kept }, words))
}
