//! A case: what a hostile producer leaves, and what has to become of it.
//!
//! The tables in `cases/` are lists of [`Case`]s. A case makes one or more *pieces* (files, links, devices, anything
//! that has a name) and says what `spool-format.md` has for each when it belongs to the agent's own user. When it
//! belongs to anybody else there is only one answer for what lies in `new/`: it is left alone and shown.

use std::path::PathBuf;

use super::plant::Plant;
use crate::layer::Outcome;

/// What has to become of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// Delivered: one turn, in its own session and nowhere else, its text safe to read; the file in `done/`.
    Told,
    /// The same as a message to the session's chat.
    Chat,
    /// In `dead/`, byte for byte, with a reason that says this.
    Dead(&'static str),
    /// In `hold/`, byte for byte, with a reason that says this.
    Held(&'static str),
    /// In `dismissed/`, with a reason that says this.
    Dismissed(&'static str),
    /// A receipt in `done/`, and nobody was told.
    Receipt,
    /// In `deferred/`, and nobody was told.
    Later,
    /// Foreign: where it was, as it was, and counted so by `spool status`.
    Left,
    /// Where it was, as it was; it is not foreign, but cannot be taken, or is none of the agent's business.
    Stays,
    /// A duplicate: removed, because the same record is there already.
    Gone,
}

/// Who plants a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// The agent's user, and then another one.
    Both,
    /// The agent's user: nobody else can.
    Own,
}

/// One hostile producer.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) who: Who,
    /// Of each piece that says nothing else.
    pub(super) expect: Expect,
    pub(super) make: Make,
}

/// Makes the pieces; runs with the rights of the user who plants them.
pub(super) type Make = fn(&mut Plant<'_>) -> Outcome<()>;

const fn case(name: &'static str, expect: Expect, make: Make) -> Case {
    Case { name, who: Who::Both, expect, make }
}

pub(super) const fn told(name: &'static str, make: Make) -> Case {
    case(name, Expect::Told, make)
}

pub(super) const fn dead(name: &'static str, why: &'static str, make: Make) -> Case {
    case(name, Expect::Dead(why), make)
}

pub(super) const fn held(name: &'static str, why: &'static str, make: Make) -> Case {
    case(name, Expect::Held(why), make)
}

pub(super) const fn left(name: &'static str, make: Make) -> Case {
    case(name, Expect::Left, make)
}

pub(super) const fn stays(name: &'static str, make: Make) -> Case {
    case(name, Expect::Stays, make)
}

pub(super) const fn becomes(name: &'static str, expect: Expect, make: Make) -> Case {
    case(name, expect, make)
}

impl Case {
    /// The same, planted by the agent's user only.
    pub(super) const fn own(self) -> Case {
        Case { who: Who::Own, ..self }
    }
}

/// One thing with a name that a case has left.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    /// Where it was made.
    pub(super) staged: PathBuf,
    /// Where it goes, in the spool.
    pub(super) to: PathBuf,
    pub(super) expect: Expect,
    /// What becomes of it when another user left it.
    pub(super) by_other: Expect,
    /// The only session that may hear of it.
    pub(super) session: String,
    /// Stands in its text, and in no other.
    pub(super) word: String,
    /// Made by root at the last moment, and given to who plants it: a device.
    pub(super) device: Option<(rustix::fs::FileType, u32, u32)>,
    /// What chattr(1) says, set at the last moment.
    pub(super) flags: rustix::fs::IFlags,
}
