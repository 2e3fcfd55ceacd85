//! `spool-run`: runs a command, and makes sure that its session hears how it ended.
//!
//! What it keeps true:
//!
//! - the run is on the disk before the job starts, and its lease is held by wrapper and job together, so that the
//!   agent reports a job whose wrapper was killed, and only when the job has ended too;
//! - the job does not notice the wrapper: stdin, arguments, environment and exit status pass through, a job that was
//!   killed ends the wrapper by the same signal, and signals reach the job;
//! - the output of the job goes to a file, not to a pipe: it survives the wrapper, and any amount of it costs the wrapper
//!   one buffer;
//! - trouble with the spool is said on stderr and changes nothing for the job, unless `--strict` asks for it.
//!
//! The rooms: `args` (the command line), `intent` (what is written down before the start), `job` (starting it) and
//! `launch` (the last step inside its process, where that needs one), `pty`; `signals` and `supervise` (while it
//! runs), `show` (its output, live); `report` and `lift` (what is said of its end); `detach`; `wrap` ties them together.

mod args;
mod detach;
mod intent;
mod job;
mod launch;
mod lift;
mod pty;
mod report;
mod show;
mod signals;
mod supervise;
mod wrap;

use std::io::Write;
use std::process::ExitCode;

use args::Command;

/// The wrapper's own exit numbers, as env(1), timeout(1) and the shells have them.
pub mod code {
    /// The time of `--timeout` was over.
    pub const TIMEOUT: u8 = 124;
    /// The wrapper itself failed: wrong usage, or, with `--strict`, the spool.
    pub const OWN: u8 = 125;
    /// The command is there but cannot be executed.
    pub const CANNOT_EXECUTE: u8 = 126;
    /// The command was not found.
    pub const NOT_FOUND: u8 = 127;
}

/// How the wrapper ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// With this exit number.
    Code(u8),
    /// By this signal, as the job did.
    Signal(i32),
}

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == launch::WORD) {
        return ExitCode::from(launch::become_job(words));
    }
    let leave = match args::parse(lexopt::Parser::from_env()) {
        Err(sentence) => {
            say(&sentence);
            Leave::Code(code::OWN)
        }
        Ok(Command::Help) => print(&spool_pages::run::PAGE.help()),
        Ok(Command::Version) => print(concat!("spool-run ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Run(args)) if args.detach && !args.detached => detach::start(&args),
        Ok(Command::Run(args)) => wrap::run(&args),
    };
    match leave {
        Leave::Code(code) => ExitCode::from(code),
        Leave::Signal(signal) => ExitCode::from(signals::die_of(signal)),
    }
}

/// Words for a person. A stderr that nobody reads changes nothing.
pub fn say(sentence: &str) {
    let _heard = writeln!(std::io::stderr(), "spool-run: {sentence}").is_ok();
}

fn print(text: &str) -> Leave {
    let mut stdout = std::io::stdout();
    let _heard = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok();
    Leave::Code(0)
}
