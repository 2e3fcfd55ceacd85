//! The record, the names, the directories and the states of a completion spool.
//!
//! This crate is `spool-format.md` in code: sync, without a runtime or a network, so that any task runner can use it.
//! The rooms, from what a producer needs to what the agent needs:
//!
//! - [`record`]: what a producer says; [`json`]: how strictly it is read;
//! - [`name`]: ids, delivery keys, and what a file name means;
//! - [`layout`]: the directories; [`fs`]: the file system as a few verbs; `open`: reading what strangers left;
//! - [`entry`]: the states and the pure function between them; [`moves`]: the same on disk;
//! - [`publish`]: how a record gets in, and stays; [`publisher`]: the same for many threads at once; `stage`: a name for bytes that are on the disk; [`intake`]: how a file that was dropped becomes an entry;
//! - [`journal`]: what happened, line by line; [`audit`]: that nothing is missing; [`upkeep`]: what is cleared away;
//! - [`reroute`]: a record that goes to another session;
//! - [`locate`]: which spool and which session a program is about;
//! - [`run`]: jobs in progress and their leases; [`sanitize`]: text that is safe to show;
//! - [`lock`]: one agent a spool; [`time`]: the wall clock;
//! - [`wait`]: what becomes of an entry; [`trouble`]: what hooks could not queue.
//! - `fault` (feature `fault`): a file system that fails on demand.
//!
//! ```
//! use spooldir::{Id, Spool};
//!
//! let home = std::env::temp_dir().join(format!("spool-example-{}", std::process::id()));
//! let spool = Spool::create(&home)?;
//! let record = br#"{"sessionKey":"agent:main:main","text":"The build is done."}"#;
//! spool.publish(&Id::mint(), record, true)?; // from here on the record is kept
//! # std::fs::remove_dir_all(&home).ok();
//! # Ok::<(), spooldir::Error>(())
//! ```
pub mod audit;
pub mod entry;
pub mod error;
#[cfg(feature = "fault")]
pub mod fault;
pub mod follow;
pub mod fs;
pub mod intake;
pub mod journal;
pub mod json;
pub mod layout;
pub mod locate;
pub mod lock;
pub mod moves;
pub mod name;
mod open;
pub mod publish;
pub mod publisher;
pub mod record;
pub mod reroute;
pub mod run;
pub mod sanitize;
mod shelf;
mod stage;
pub mod time;
pub mod trouble;
pub mod upkeep;
pub mod wait;

pub use entry::{Entry, Event, State};
pub use error::{Error, exit};
pub use layout::{Dir, Spool};
pub use name::{Id, Key};
pub use publisher::Publisher;
pub use record::Record;
