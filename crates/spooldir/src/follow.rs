//! Reading the journal as it grows: for those who wait, for the chart of a day, and for those who watch.
//!
//! A journal may be large and is appended to while it is read, so it is read by place and never whole: from its end at
//! first, then on from where the last look ended. A line that is not complete yet is left for the next look. The files
//! are of days (UTC), so midnight may lie between two looks: the last two files are looked at. What cannot be read
//! explains nothing, and is passed over.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::layout::Spool;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// The longest line that is kept together over two looks; ours are shorter.
const MAX_LINE: usize = 64 * 1024;

/// A place in the journal.
#[derive(Debug)]
pub struct Follower {
    /// How far each file was read.
    read: Vec<(PathBuf, u64)>,
    /// How many bytes of each file the first look takes in.
    first: u64,
    has_begun: bool,
    /// Whether the first look left out the beginning of a file.
    pub is_cut: bool,
}

impl Follower {
    /// A place before the last `first` bytes of each of the last two days.
    pub fn new(first: u64) -> Follower {
        Follower { read: Vec::new(), first, has_begun: false, is_cut: false }
    }

    /// Shows the bytes of each whole line that was added, oldest first.
    // Not generic: it is part of a small program, too.
    pub fn read_on(&mut self, spool: &Spool, see: &mut dyn FnMut(&[u8])) {
        for path in last_two(spool) {
            let known = self.read.iter().position(|(read, _)| *read == path);
            let at = match known {
                Some(n) => self.read[n].1,
                None if self.has_begun => 0,
                None => std::fs::metadata(&path).map_or(0, |m| m.len().saturating_sub(self.first)),
            };
            // The first look falls into the middle of a line.
            let mut skip = !self.has_begun && at > 0;
            self.is_cut |= skip;
            let mut whole = |line: &[u8]| {
                if !std::mem::take(&mut skip) {
                    see(line);
                }
            };
            let read = read_from(&path, at, &mut whole).unwrap_or(at);
            match known {
                Some(n) => self.read[n].1 = read,
                None => self.read.push((path, read)),
            }
        }
        // Days pass, and an agent is watched for weeks.
        let old = self.read.len().saturating_sub(2);
        self.read.drain(..old);
        self.has_begun = true;
    }
}

/// Shows the whole lines of a file from a place on, and returns the place behind them.
pub(crate) fn read_from(path: &Path, mut at: u64, see: &mut dyn FnMut(&[u8])) -> io::Result<u64> {
    let file = File::open(path)?;
    let mut rest: Vec<u8> = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = file.read_at(&mut chunk, at + rest.len() as u64)?;
        if n == 0 {
            return Ok(at);
        }
        rest.extend_from_slice(chunk.get(..n).unwrap_or_default());
        let whole = match rest.iter().rposition(|b| *b == b'\n') {
            Some(last) => last + 1,
            None if rest.len() > MAX_LINE => rest.len(),
            None => continue,
        };
        for line in rest.drain(..whole).as_slice().split(|b| *b == b'\n') {
            see(line);
        }
        at += whole as u64;
    }
}

/// The last two files of the journal, older first.
fn last_two(spool: &Spool) -> impl Iterator<Item = PathBuf> {
    let (mut older, mut newer) = (None, None);
    for path in spool.journal_files().unwrap_or_default() {
        older = newer.replace(path);
    }
    older.into_iter().chain(newer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Line;
    use std::io::Write;

    fn line(at: u64, event: &str) -> Line {
        Line { at, event: event.into(), id: "a".into(), ..Line::default() }
    }

    fn events(follower: &mut Follower, spool: &Spool) -> Vec<String> {
        let mut seen = Vec::new();
        follower.read_on(spool, &mut |text| {
            if let Ok(line) = serde_json::from_slice::<Line>(text) {
                seen.push(line.event);
            }
        });
        seen
    }

    #[test]
    fn each_line_is_seen_once_and_over_midnight() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let day = 20_000 * 86_400_000;
        let mut follower = Follower::new(1 << 20);
        assert!(events(&mut follower, &spool).is_empty());
        spool.note(&[line(day, "one"), line(day, "two")]).unwrap();
        assert_eq!(events(&mut follower, &spool), ["one", "two"]);
        let path = spool.journal_files().unwrap().remove(0);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"at\":1,\"event\":\"thr").unwrap();
        assert!(events(&mut follower, &spool).is_empty(), "it is not whole");
        file.write_all(b"ee\"}\nnonsense\n").unwrap();
        spool.note(&[line(day + 86_400_000, "four")]).unwrap();
        assert_eq!(events(&mut follower, &spool), ["three", "four"]);
        for later in 2..6 {
            spool.note(&[line(day + later * 86_400_000, "later")]).unwrap();
            assert_eq!(events(&mut follower, &spool), ["later"]);
        }
        assert!(follower.read.len() <= 2 && !follower.is_cut);
    }

    #[test]
    fn of_a_long_journal_only_the_end_is_read() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        for _ in 0..100 {
            spool.note(&[line(1, "old")]).unwrap();
        }
        spool.note(&[line(1, "new")]).unwrap();
        let mut follower = Follower::new(60);
        assert_eq!(events(&mut follower, &spool), ["new"]);
        assert!(follower.is_cut);
    }
}
