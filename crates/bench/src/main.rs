//! `bench`: see [`spool_bench`]. `cargo xtask bench` builds what it needs and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    spool_bench::command::run()
}
