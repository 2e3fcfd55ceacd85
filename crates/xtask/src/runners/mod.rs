//! Real task runners in the tests: does what Codex and Claude Code hand over to a hook become a delivered record?
//!
//! `install` fetches exact versions of both, `model` stands in for their model services (`responses` and `messages`
//! are the two wires), `bench` gives them a home, a spool and a deadline, `codex` and `claude` are the stories with
//! their checks, and `deliver` drains what they left to the fake gateway and counts it there.

mod bench;
mod claude;
mod codex;
mod command;
mod deliver;
mod install;
mod messages;
mod model;
mod responses;

pub(crate) use command::run;
