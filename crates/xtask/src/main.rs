//! `cargo xtask`: the chores of the project that need more than cargo itself.
//!
//! One chore so far: `openclaw` puts the project's programs before the real gateway, kills both at random
//! moments and counts what was lost, doubled or misdirected. It depends on none of the project's crates: what it
//! runs are the programs, and what it believes is what the gateway and its database say.

mod openclaw;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <chore>
chores:
  openclaw [SCENARIO...] [--seed N] [--keep]   the real gateway in the tests (rig, a to h; default: all)";

fn main() -> ExitCode {
    let mut args = lexopt::Parser::from_env();
    match args.next() {
        Ok(Some(lexopt::Arg::Value(chore))) if chore == "openclaw" => openclaw::run(args),
        Ok(Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h'))) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(64)
        }
    }
}
