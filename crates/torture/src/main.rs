//! The torture: every promise of the spool, tried where it could break.
//!
//! `torture` runs all layers, two at a time, each in a process of its own; `torture LAYER…` runs some of them. Every
//! layer prints what it did and how many violations it saw, and ends with its seed. `torture matrix` proves that the
//! layers can fail: it sows one bug after the other and has the layers hunt it. Started by `cargo xtask torture`, which
//! builds the programs, once as they are and once with the seeded bugs.

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
