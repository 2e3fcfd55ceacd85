//! `bench`: see [`spool_bench`]. `cargo xtask bench` builds what it needs and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|word| word == "role") {
        return spool_bench::roles::run();
    }
    spool_bench::command::run()
}
