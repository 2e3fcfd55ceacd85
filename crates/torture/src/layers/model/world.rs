//! A world of the model: the spool on its disk, who works on it, the gateway, and what may still go wrong.
//!
//! **The disk.** An entry is one file with one name. Its moves since the last flush are a chain, oldest first; a flush
//! of a directory makes every move durable up to the last one that touches that directory, for moves of one file cannot
//! be reordered. A power cut keeps any beginning of each chain, whatever it keeps of the others: that is any subset of
//! the unsynced directory operations that leaves each file one name. The bytes are whole from the start, because they
//! are flushed before the name is given; the seeded bugs that forget that make them torn.
//!
//! **Twins.** A second file with the id of an entry can be dropped into `new/` when the first has moved on. Each record
//! has room for one.

use spooldir::Dir;

use super::atlas::{ABSENT, Atlas, Ev, KEYS, KeyNo, NO_KEY, Place};

/// At most so many records, producers, agents, sessions.
pub(super) const RECORDS: usize = 3;
pub(super) const PUTS: usize = 4;
pub(super) const AGENTS: usize = 2;
pub(super) const LANES: usize = 2;
const CHAIN: usize = 4;

/// Bytes of a record: none, those of its first producer, those of another one, or not all of them.
pub(super) const TORN: u8 = 3;

/// A second file in `new/` with the id of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Twin {
    #[default]
    None,
    New,
    /// In `dead/` under a new id: its bytes were others.
    Buried,
    /// Removed: it was the same once more.
    Removed,
}

/// The file of an entry, and what happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct File {
    /// The place on the disk, then the moves since.
    chain: [Place; CHAIN],
    top: u8,
    pub(super) bytes: u8,
    /// Whether the bytes are not flushed.
    pub(super) raw: bool,
    pub(super) twin: Twin,
    pub(super) twin_bytes: u8,
    twin_kept: bool,
    /// The order of publication.
    pub(super) seq: u8,
    /// How often the session has it.
    pub(super) commits: u8,
    /// How often people were told of it in plain words.
    pub(super) told: u8,
    /// Others may go first: it failed, or a person touched it.
    pub(super) passed: bool,
    /// A person, or a lock file that was removed by hand, may have doubled it.
    pub(super) excused: bool,
}

impl File {
    /// Where it is now.
    pub(super) fn live(&self) -> Place {
        self.chain[usize::from(self.top)]
    }

    /// One name, to another one.
    pub(super) fn put(&mut self, place: Place) {
        if usize::from(self.top) + 1 == CHAIN {
            // The kernel has written the oldest move by itself: that is always allowed.
            self.chain.copy_within(1.., 0);
            self.top -= 1;
        }
        self.top += 1;
        self.chain[usize::from(self.top)] = place;
    }

    /// How many of its moves are not durable.
    pub(super) fn unsynced(&self) -> u8 {
        self.top
    }

    fn keep_from(&mut self, at: usize) {
        let moves = usize::from(self.top) + 1 - at;
        self.chain.copy_within(at..at + moves, 0);
        self.chain[moves..].fill(ABSENT);
        self.top -= u8::try_from(at).unwrap_or_default();
    }

    fn sync(&mut self, atlas: &Atlas, dir: Dir) {
        let touches = |at: &usize| {
            let of = |place: Place| place != ABSENT && atlas.dir(place) == dir;
            of(self.chain[*at]) || of(self.chain[*at - 1])
        };
        if let Some(last) = (1..=usize::from(self.top)).rev().find(touches) {
            self.keep_from(last);
        }
        if dir == Dir::New && self.twin != Twin::None {
            self.twin_kept = true;
        }
    }

    /// The power goes; `kept` moves are on the disk.
    fn cut(&mut self, atlas: &Atlas, kept: u8, twin: bool) {
        let at = kept.min(self.top);
        self.top = at;
        self.chain[usize::from(at) + 1..].fill(ABSENT);
        self.keep_from(usize::from(at));
        if self.live() == ABSENT {
            *self = File { excused: self.excused, commits: self.commits, told: self.told, ..File::default() };
            return;
        }
        if self.raw {
            self.bytes = TORN;
        }
        // Its name was free only after the first file had left it.
        if !self.twin_kept && (!twin || self.live() == atlas.new) {
            (self.twin, self.twin_bytes) = (Twin::None, 0);
        }
    }

    pub(super) fn has_loose_twin(&self) -> bool {
        self.twin != Twin::None && !self.twin_kept
    }

    pub(super) fn add_twin(&mut self, bytes: u8) {
        (self.twin, self.twin_bytes, self.twin_kept) = (Twin::New, bytes, false);
    }

    /// Whether these bytes are kept under this id, or buried with the reason.
    pub(super) fn has(&self, bytes: u8) -> bool {
        let in_twin = matches!(self.twin, Twin::New | Twin::Buried) && self.twin_bytes == bytes;
        (self.live() != ABSENT && self.bytes == bytes) || in_twin
    }
}

/// How far a producer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Step {
    #[default]
    Idle,
    /// Nothing with its id was there.
    Looked,
    /// It gave the name.
    Linked,
    /// The same record was there.
    Found,
}

/// One call of `spool-put`, or another producer, with its retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Put {
    pub(super) step: Step,
    pub(super) tries: u8,
    /// It was told yes: from here on the promise holds.
    pub(super) yes: bool,
    /// It was told of a conflict.
    pub(super) conflict: bool,
}

/// What an agent does with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Phase {
    #[default]
    None,
    /// The entries are being moved into `sending/`; nothing is flushed.
    Boarding,
    /// Flushed; if it is in doubt it is probed, else sent.
    Ready,
    /// The request is on the wire.
    Sent,
    /// The gateway has read it.
    Asked,
    /// The verdict is there; the entries are moved one by one.
    Settling(Verdict),
}

/// What one attempt proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Verdict {
    Delivered,
    Untold,
    Rekey,
    Fail,
    Never,
    Hold,
}

/// A delivery in an agent's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flight {
    pub(super) phase: Phase,
    pub(super) key: KeyNo,
    /// The records, as a set.
    pub(super) members: u8,
    /// Those that the verdict has moved already.
    pub(super) moved: u8,
    pub(super) is_doubtful: bool,
}

impl Default for Flight {
    fn default() -> Self {
        Flight { phase: Phase::None, key: NO_KEY, members: 0, moved: 0, is_doubtful: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Life {
    #[default]
    Down,
    Up,
    /// SIGSTOP: it keeps its lock, its memory and its connection.
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Agent {
    pub(super) life: Life,
    pub(super) flights: [Flight; LANES],
}

/// What the gateway's database says about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Row {
    #[default]
    None,
    /// In its custody, not in the transcript.
    Queued,
    /// The key is burnt: nothing was committed, nothing ever will be.
    Interrupted,
    /// In the transcript; its turn has not ended.
    Committed,
    /// People got the answer.
    Told,
    /// The turn or its answer failed.
    Untold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Gateway {
    pub(super) rows: [Row; KEYS],
    /// The records of a queued request.
    pub(super) custody: [u8; KEYS],
    /// The keys it remembers: lost at a restart, and after a while.
    pub(super) memo: u16,
}

/// A session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Session {
    #[default]
    Open,
    Closed,
    Missing,
}

/// How often what may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Left {
    /// SIGKILLs of producers.
    pub(super) put_kills: u8,
    /// SIGKILLs of agents.
    pub(super) kills: u8,
    pub(super) power_cuts: u8,
    /// Connections and answers lost.
    pub(super) losses: u8,
    pub(super) restarts: u8,
    /// Keys forgotten by the gateway's memory.
    pub(super) expiries: u8,
    /// Requests refused, or accepted and then dropped.
    pub(super) refusals: u8,
    /// Turns whose answer nobody gets.
    pub(super) untold: u8,
    pub(super) people: u8,
    pub(super) stops: u8,
    /// Removals of the lock file by hand.
    pub(super) unlocks: u8,
    /// Sessions archived or removed.
    pub(super) shuts: u8,
}

/// Promises that a step broke; the properties look at them.
pub(super) mod flaw {
    pub(crate) const DONE_WITHOUT_EVIDENCE: u8 = 1;
    pub(crate) const OUT_OF_ORDER: u8 = 2;
    pub(crate) const WRONG_SESSION: u8 = 4;
    pub(crate) const DONE_IS_NOT_FINAL: u8 = 8;
    pub(crate) const SENT_UNTAKEN: u8 = 16;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct World {
    pub(super) files: [File; RECORDS],
    pub(super) puts: [Put; PUTS],
    pub(super) agents: [Agent; AGENTS],
    pub(super) gateway: Gateway,
    pub(super) sessions: [Session; LANES],
    pub(super) minted: u8,
    pub(super) is_unlocked: bool,
    pub(super) left: Left,
    pub(super) flaws: u8,
}

/// The numbers in a set of records.
pub(super) fn members(set: u8) -> impl Iterator<Item = usize> {
    (0..RECORDS).filter(move |r| set & 1 << r != 0)
}

impl World {
    /// A flush of one directory.
    pub(super) fn sync(&mut self, atlas: &Atlas, dir: Dir) {
        for file in &mut self.files {
            file.sync(atlas, dir);
        }
    }

    /// Moves an entry, as the product's state machine allows. False, and nothing happens, where it does not.
    pub(super) fn advance(&mut self, atlas: &Atlas, r: usize, event: Ev) -> bool {
        let file = &mut self.files[r];
        let to = atlas.after(file.live(), event);
        if let Some(to) = to {
            file.put(to);
        }
        to.is_some()
    }

    /// The machine dies: nobody lives on, and of each file some moves are on the disk.
    pub(super) fn cut(&mut self, atlas: &Atlas, kept: [u8; RECORDS], twins: bool) {
        for (file, kept) in self.files.iter_mut().zip(kept) {
            file.cut(atlas, kept, twins);
        }
        for put in &mut self.puts {
            put.step = Step::Idle;
        }
        // Two files are two chains: that the first of two renames survives and not the second is only true of file
        // systems that keep their order. Nothing is lost by it, but what was taken second may be sent first.
        for file in &mut self.files {
            file.passed = true;
        }
        self.agents = Default::default();
        self.restart(true);
    }

    /// The gateway dies and comes back: its memory is gone, what was in its custody is burnt (or, with older ones,
    /// forgotten); all connections are lost, and with them what was on the wire.
    pub(super) fn restart(&mut self, burns: bool) {
        self.gateway.memo = 0;
        for (row, custody) in self.gateway.rows.iter_mut().zip(&mut self.gateway.custody) {
            if *row == Row::Queued {
                (*row, *custody) = (if burns { Row::Interrupted } else { Row::None }, 0);
            }
        }
        for a in 0..AGENTS {
            self.disconnect(a);
        }
    }

    /// An agent loses its connection: what it waits for is in doubt.
    pub(super) fn disconnect(&mut self, a: usize) {
        for flight in &mut self.agents[a].flights {
            if matches!(flight.phase, Phase::Sent | Phase::Asked) {
                flight.phase = Phase::Ready;
                flight.is_doubtful = true;
            }
        }
    }

    /// Whether everybody has what he waits for: every entry is delivered or waits for a person, no twin lies about.
    pub(super) fn is_settled(&self, atlas: &Atlas) -> bool {
        self.files.iter().all(|file| {
            let is_at_rest = file.live() == ABSENT
                || !matches!(atlas.dir(file.live()), Dir::New | Dir::Sending | Dir::Deferred);
            is_at_rest && file.twin != Twin::New
        })
    }
}
