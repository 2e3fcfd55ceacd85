//! What a disk may hold after a crash, worked out from the log of what it was asked to do.
//!
//! A disk that honours flushes has everything on it that was written before the last flush. Of what was written since it
//! may have anything: all of it, none, any part in any order, and of a single write only some of its sectors. (Two
//! writes to one place in the other order come to the same as the second one alone missing.)

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::iter;
use std::ops::Range;

use super::platter::{Content, Op};
use crate::chance::Chance;

/// What lies before this is written as a whole or not at all: a file system whose one superblock is torn is gone, and
/// everything in it.
const SUPERBLOCK: u64 = 4096;

/// One crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Crash {
    /// How much of the log had been asked for.
    pub(super) upto: usize,
    /// The start of what was not flushed: everything before it is there.
    flushed: usize,
    /// Which of the later writes are there, and which bytes of them.
    kept: Vec<(usize, Vec<Range<usize>>)>,
}

impl Crash {
    /// What is on the disk then.
    pub(super) fn image(&self, base: &Content, log: &[Op]) -> Content {
        let mut content = base.clone();
        for op in log.iter().take(self.flushed) {
            if let Op::Write { at, bytes } = op {
                content.write(*at, bytes);
            }
        }
        for (number, parts) in &self.kept {
            let Some(Op::Write { at, bytes }) = log.get(*number) else { continue };
            for part in parts {
                content.write(at + part.start as u64, bytes.get(part.clone()).unwrap_or_default());
            }
        }
        content
    }

    /// For a reader.
    pub(super) fn say(&self) -> String {
        let kept: Vec<String> = self
            .kept
            .iter()
            .map(|(number, parts)| match parts.as_slice() {
                [part] if part.start == 0 => format!("{number}"),
                parts => format!("{number}{parts:?}"),
            })
            .collect();
        format!("crash {} steps after the start, of those since {} only {kept:?}", self.upto, self.flushed)
    }
}

/// Crashes of a log, no two the same: those that are nearest to order first at every point of it, then any. `sector` is
/// what the disk writes as a whole.
pub(super) fn crashes(log: &[Op], sector: usize, most: usize, chance: &mut Chance) -> Vec<Crash> {
    let mut found = Found::default();
    for upto in 0..=log.len() {
        let point = Point::of(log, upto);
        found.add(point.crash(|_, whole| vec![whole]));
        found.add(point.crash(|_, _| vec![]));
        for odd in point.writes.iter().copied() {
            found.add(point.crash(|number, whole| if number == odd { vec![] } else { vec![whole] }));
            found.add(point.crash(|number, whole| if number == odd { vec![whole] } else { vec![] }));
            found.add(point.crash(
                |number, whole| if number == odd { torn(whole, sector, chance) } else { vec![whole] },
            ));
        }
    }
    // They are too many for a long log: then some of them.
    for at in (1..found.crashes.len()).rev() {
        found.crashes.swap(at, usize::try_from(chance.below(at as u64 + 1)).unwrap_or_default());
    }
    found.crashes.truncate(most - most / 3);
    // A short log has only so many.
    for _ in 0..most * 4 {
        if found.crashes.len() >= most {
            break;
        }
        let upto = usize::try_from(chance.below(log.len() as u64 + 1)).unwrap_or_default();
        found.add(Point::of(log, upto).crash(|_, whole| match chance.below(5) {
            0 | 1 => vec![whole],
            2 => torn(whole, sector, chance),
            _ => vec![],
        }));
    }
    found.crashes
}

/// Crashes, each once.
#[derive(Default)]
struct Found {
    crashes: Vec<Crash>,
    seen: HashSet<u64>,
}

impl Found {
    fn add(&mut self, crash: Crash) {
        let mut hash = DefaultHasher::new();
        crash.hash(&mut hash);
        if self.seen.insert(hash.finish()) {
            self.crashes.push(crash);
        }
    }
}

/// Some sectors of a write.
fn torn(whole: Range<usize>, sector: usize, chance: &mut Chance) -> Vec<Range<usize>> {
    let starts = whole.clone().step_by(sector);
    starts.filter(|_| chance.one_in(2)).map(|start| start..(start + sector).min(whole.end)).collect()
}

/// A point of the log.
struct Point<'a> {
    log: &'a [Op],
    upto: usize,
    flushed: usize,
    /// The writes since the last flush.
    writes: Vec<usize>,
}

impl Point<'_> {
    fn of(log: &[Op], upto: usize) -> Point<'_> {
        let before = log.get(..upto).unwrap_or(log);
        let flushed = before.iter().rposition(|op| matches!(op, Op::Flush)).map_or(0, |at| at + 1);
        Point { log, upto, flushed, writes: (flushed..upto).collect() }
    }

    /// The crash in which of each later write what `keep` says is there.
    fn crash(&self, mut keep: impl FnMut(usize, Range<usize>) -> Vec<Range<usize>>) -> Crash {
        let mut kept = Vec::new();
        for number in self.writes.iter().copied() {
            if let Some(Op::Write { at, bytes }) = self.log.get(number) {
                let mut parts = keep(number, 0..bytes.len());
                if *at < SUPERBLOCK && !parts.is_empty() {
                    parts = iter::once(0..bytes.len()).collect();
                }
                if !parts.is_empty() {
                    kept.push((number, parts));
                }
            }
        }
        Crash { upto: self.upto, flushed: self.flushed, kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(at: u64, byte: u8) -> Op {
        Op::Write { at: SUPERBLOCK + at, bytes: vec![byte; 1024].into() }
    }

    #[test]
    fn what_was_flushed_is_there_and_of_the_rest_everything_happens() {
        let log = [write(0, 1), Op::Flush, write(1024, 2), write(2048, 3)];
        let all = crashes(&log, 512, 400, &mut Chance::new(7));
        let held: HashSet<Vec<u8>> = all
            .iter()
            .filter(|crash| crash.upto == log.len())
            .map(|crash| crash.image(&Content::default(), &log).read(SUPERBLOCK, 3072))
            .map(|bytes| bytes.chunks(512).map(|sector| sector[0]).collect())
            .collect();
        assert!(held.iter().all(|sectors| sectors[..2] == [1, 1]), "{held:?}");
        // Four sectors, each there or not.
        assert_eq!(held.len(), 16, "{held:?}");
        assert!(all.iter().any(|crash| crash.image(&Content::default(), &log).read(SUPERBLOCK, 1)[0] == 0));
    }

    #[test]
    fn no_more_than_were_asked_for_and_no_two_the_same() {
        let log: Vec<Op> = (0..40).map(|n| write(n * 1024, 1)).collect();
        let all = crashes(&log, 512, 100, &mut Chance::new(7));
        assert_eq!(all.len(), 100);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 100);
    }
}
