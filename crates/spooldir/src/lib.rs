//! The record, the names, the directories and the states of a completion spool.
//!
//! This crate is `spool-format.md` in code: sync, without a runtime or a network, so that any task runner can use it.
//! The rooms, from what a producer needs to what the agent needs:
//!
//! - [`record`]: what a producer says; [`json`]: how strictly it is read;
//! - [`name`]: ids, delivery keys, and what a file name means;
pub mod error;
pub mod json;
pub mod name;
pub mod record;

pub use error::{Error, exit};
pub use name::{Id, Key};
pub use record::Record;
