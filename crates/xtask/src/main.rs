//! `cargo xtask`: the chores of the project that need more than cargo itself.
//!
//! `openclaw` puts the project's programs before the real gateway, kills both at random moments and counts what was
//! lost, doubled or misdirected. `runners` has real task runners call the programs from their hooks, and counts what
//! arrives. What is run are the programs, and what is believed is what the other side says: the gateway and its
//! database, the runners, the directories of the spool. Of the project's crates only the fake gateway is used.

mod bench;
mod openclaw;
mod runners;
mod torture;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <chore>
chores:
  openclaw [SCENARIO...] [--seed N] [--keep]   the real gateway in the tests (rig, a to j; default: all)
  runners [--keep]                             the real Codex and Claude Code in the tests
  torture [LAYER...] [--seed N] [--time SECONDS] [--full] [--bug NAME]
                                               every promise, tried where it could break (default: all layers,
                                               and the seeded bugs)
  torture matrix [--full]                      the seeded bugs, and the layers that catch them
  torture build                                only what these need
  bench [CHAPTER...] [--quick] [--seed N]      what the programs cost, against the floor under them and their peers";

fn main() -> ExitCode {
    let mut args = lexopt::Parser::from_env();
    match args.next() {
        Ok(Some(lexopt::Arg::Value(chore))) if chore == "openclaw" => openclaw::run(args),
        Ok(Some(lexopt::Arg::Value(chore))) if chore == "runners" => runners::run(args),
        Ok(Some(lexopt::Arg::Value(chore))) if chore == "torture" => torture::run(args),
        Ok(Some(lexopt::Arg::Value(chore))) if chore == "bench" => bench::run(args),
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
