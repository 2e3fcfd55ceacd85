//! The delivery agent: takes records from a spool to their sessions, and proves that they arrived.
//!
//! The only crate that knows both the spool's files and the gateway's wire. The rooms:
//!
//! - [`agent`]: the loop that owns all state; `recover` takes up what an earlier one left, `sweep` finds, `entries`
//!   reads and moves, `runs` looks after jobs, `link` connects, `flight` sends, `settle` judges, `tell` writes down,
//!   `kept` saves a second reading, `footing` sees that the spool is still its own;
//! - [`policy`]: what an operator wants for a session: modes, windows, hours, budgets; `pace` applies it;
//! - [`attempt`]: one attempt at a delivery: look, probe, send, prove; [`verdict`]: what it came to;
//! - [`lanes`]: who goes next; [`retry`] and [`breaker`]: when; [`options`]: all settings;
//! - [`render`]: what the session reads;
//! - [`watch`]: the doorbell; [`status`]: what the agent says of itself; [`supervisor`]: and to whom, if it is a service.

pub mod agent;
pub mod attempt;
pub mod breaker;
mod entries;
mod flight;
mod footing;
mod found;
mod kept;
pub mod lanes;
mod link;
pub mod options;
mod pace;
pub mod policy;
mod recover;
pub mod render;
pub mod retry;
mod runs;
mod settle;
pub mod status;
pub mod supervisor;
mod sweep;
mod tell;
pub mod verdict;
pub mod watch;

pub use agent::{Summary, run};
pub use options::{Options, Settings};
pub use spooldir::sanitize;
