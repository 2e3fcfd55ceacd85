//! A conformance kit for `spool-format.md`: it judges any producer by the files that it leaves.
//!
//! A producer is a command. It is told in its environment where the spool is (`SPOOL_DIR`), and which record it must
//! publish (`SPOOL_ID`, `SPOOL_SESSION`, `SPOOL_TEXT`). What it is made of does not matter and what it prints is not
//! read: each [`Rule`] runs it a few times in a spool made for the purpose, perhaps with something in its way (a taken
//! id, a full disk, a SIGKILL, a power cut), and looks at its exit status and at the directory. A rule says which section
//! of the contract it comes from; it passes, fails with the reason, or is not tried and says why.
//!
//! - [`rules`]: the rules, and what each of them does;
//! - [`bench`]: runs the command under judgement, bounded in time and in a process group of its own;
//! - [`stage`]: the spool it is run in, with neighbours that nobody may touch, and the look at what it left;
//! - [`watch`]: what happened in a directory while nobody looked;
//! - [`disk`]: file systems to fill and to cut the power of (root only);
//! - [`cast`]: the producers that come with the kit, those that pass and those that must not.

pub mod bench;
pub mod cast;
pub mod disk;
pub mod rules;
pub mod stage;
pub mod verdict;
pub mod watch;

pub use bench::{Options, judge};
pub use rules::{RULES, Rule};
pub use verdict::{Finding, Judgement, Verdict};
