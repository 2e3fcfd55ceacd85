//! The real OpenClaw gateway in the tests: everything between npm and a closing line of counts.
//!
//! `install` fetches exact versions, `gateway` boots and kills them, `model` and `telegram` stand in for the two
//! services a gateway talks to, `rpc` and `witness` say independently what it knows and what it stored, `programs`
//! runs the project's own binaries, and each file of `scenarios` is one story with its checks.

pub(crate) mod checks;
mod command;
mod gateway;
pub(crate) mod http;
pub(crate) mod install;
mod model;
mod plugin;
pub(crate) mod programs;
mod rpc;
mod scenarios;
pub(crate) mod support;
mod tally;
mod telegram;
mod witness;
mod world;

pub(crate) use command::run;
