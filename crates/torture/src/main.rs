//! The torture: every promise of the spool, tried where it could break.
//!
//! `torture` runs all layers, side by side, each in a process of its own; `torture LAYER…` runs some of them. Every
//! layer prints what it did and how many violations it saw, and ends with its seed. `torture matrix` proves that the
//! layers can fail: it sows one bug after the other and has the layers hunt it. The programs are built twice for it, once
//! as they are and once with the seeded bugs (`SPOOL_SEEDED_BUGS=1`).

#![allow(
    clippy::disallowed_methods,
    reason = "what is done to a spool from outside is none of its transitions"
)]

mod chance;
mod command;
mod ground;
mod layer;
mod layers;
mod matrix;
mod os;
mod trace;
mod wait;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    command::run()
}
