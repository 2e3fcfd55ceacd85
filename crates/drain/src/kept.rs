//! Records that were read when they were taken in, kept until they are sent, so that most files are read once.
//!
//! A name stands for its bytes as long as the file is the one that was read and was not changed since: same inode, same
//! length, same times, still one name and ours. The time of the last change (ctime) is what no program can set back,
//! but it is only as fine as the tick of the kernel's clock. So a record whose file was changed at about the time when
//! it was read is not kept at all: it is read again, as everything was before. What is kept is bounded, and in order:
//! what came first is sent first, so what comes later and finds no room is read again when it is sent.

use std::collections::HashMap;

use spooldir::fs::Meta;
use spooldir::{Id, Record};

/// Records kept at once.
const MAX_RECORDS: usize = 4096;
/// Bytes of their files kept at once.
const MAX_BYTES: u64 = 4 << 20;
/// A file that was changed less than this before it was read may be changed again without a sign of it. Ten times the
/// coarsest tick that Linux has (100 Hz).
const TICK_NS: i128 = 100_000_000;

/// What is kept.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    records: HashMap<Id, (Meta, Box<Record>)>,
    bytes: u64,
}

impl Kept {
    /// Keeps a record of a file that was like this when it was read, at `read_ns` since 1970.
    pub(crate) fn keep(&mut self, id: &Id, meta: Meta, record: Box<Record>, read_ns: i128) {
        let is_settled = meta.ctime_ns + TICK_NS < read_ns;
        let has_room = self.records.len() < MAX_RECORDS && self.bytes + meta.size <= MAX_BYTES;
        if is_settled && has_room {
            self.bytes += meta.size;
            if let Some((old, _)) = self.records.insert(id.clone(), (meta, record)) {
                self.bytes -= old.size;
            }
        }
    }

    /// Takes a record out again, with what its file was.
    pub(crate) fn take(&mut self, id: &Id) -> Option<(Meta, Box<Record>)> {
        let taken = self.records.remove(id)?;
        self.bytes -= taken.0.size;
        Some(taken)
    }

    /// Forgets those that are not awaited any more: they were put aside, or moved by a person.
    pub(crate) fn tidy(&mut self, is_awaited: impl Fn(&Id) -> bool) {
        let bytes = &mut self.bytes;
        self.records.retain(|id, (meta, _)| {
            let stays = is_awaited(id);
            *bytes -= if stays { 0 } else { meta.size };
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: i128 = 1_000_000_000_000;

    fn meta(size: u64, ctime_ns: i128) -> Meta {
        Meta {
            is_file: true,
            is_dir: false,
            dev: 1,
            ino: 1,
            nlink: 1,
            uid: 0,
            mode: 0o600,
            size,
            mtime_ns: 0,
            ctime_ns,
        }
    }

    fn keep(kept: &mut Kept, id: &str, size: u64, ctime_ns: i128) -> bool {
        let id = Id::new(id).unwrap();
        let record = Record::parse(br#"{"sessionKey":"s","text":"x"}"#).unwrap();
        kept.keep(&id, meta(size, ctime_ns), Box::new(record), READ);
        kept.records.contains_key(&id)
    }

    #[test]
    fn a_file_that_was_changed_when_it_was_read_is_not_kept() {
        let mut kept = Kept::default();
        assert!(keep(&mut kept, "old", 10, READ - TICK_NS - 1));
        assert!(!keep(&mut kept, "young", 10, READ - TICK_NS));
        assert!(!keep(&mut kept, "future", 10, READ + TICK_NS));
        assert!(kept.take(&Id::new("old").unwrap()).is_some());
        assert!(kept.take(&Id::new("old").unwrap()).is_none());
        assert_eq!(kept.bytes, 0);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_forgotten_makes_room() {
        let mut kept = Kept::default();
        assert!(keep(&mut kept, "a", MAX_BYTES - 1, 0));
        assert!(!keep(&mut kept, "b", 2, 0));
        assert!(keep(&mut kept, "c", 1, 0));
        kept.tidy(|id| id.as_str() != "a");
        assert_eq!(kept.bytes, 1);
        assert!(keep(&mut kept, "b", 2, 0));
        let mut kept = Kept::default();
        let fit = (0..MAX_RECORDS + 10).filter(|n| keep(&mut kept, &format!("r{n}"), 1, 0)).count();
        assert_eq!(fit, MAX_RECORDS);
    }
}
