//! `spool`: the agent and everything a person does with a spool.
//!
//! One file for each verb; this one only hands the command line over and turns failures into one sentence and an exit
//! number. What it keeps true for all verbs:
//!
//! - data goes to stdout, words go to stderr as `spool: ...`; only `status` and `watch` are ever coloured, on a terminal and without
//!   `NO_COLOR`;
//! - a reader that hangs up (`spool list | head`) is no failure;
//! - what a record says is stripped of control characters before a terminal sees it;
//! - verbs that change something are renames, so they work with the agent up or down.
//!
//! The rooms: `verbs` and `words` (what can be said, and what there is to say of it), `args` (what was said), `help`,
//! `man` and `completions` (made from the first two); `find` and `filter` (which
//! entries are meant), `history` (what the journal knows
//! of it), `tail` (what is added to it), `view` (how it is shown), `lane` (entries by their session), `runs` (jobs in
//! progress), `when` (times), `terminal` (its width and colours); `discover` and `openclaw_config` (where the gateway is
//! and what opens it); `config` (what is configured, and its verb); then the verbs, of which `adapt` (other programs' configuration), `status` (in all its forms),
//! `doctor` (all that deliveries need), `service` (the agent as one) and `torture` (the promises of the file system)
//! have rooms of their own.

mod adapt;
mod args;
mod audit;
mod completions;
mod config;
mod demo;
mod discover;
mod doctor;
mod drain;
mod filter;
mod find;
mod help;
mod history;
mod lane;
mod list;
mod log;
mod man;
mod openclaw_config;
mod operate;
mod progress;
mod prune;
mod reroute;
mod runs;
mod service;
mod session;
mod show;
mod status;
mod tail;
mod terminal;
mod torture;
mod transfer;
mod verbs;
mod view;
mod watch;
mod when;
mod words;

use std::io::{self, BufWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use spool_pages::suggest;
use spooldir::{Spool, exit, locate};

use args::{Args, Call};

/// Why a verb failed: one sentence, and the number to exit with.
#[derive(Debug)]
pub struct Failure {
    /// Lowercase, with the remedy; printed after `spool: `.
    pub message: String,
    /// One of [`exit`].
    pub exit: u8,
}

impl Failure {
    /// A failure with its exit number.
    pub fn new(exit: u8, message: impl Into<String>) -> Failure {
        Failure { message: message.into(), exit }
    }
}

impl From<spooldir::Error> for Failure {
    fn from(e: spooldir::Error) -> Failure {
        Failure::new(e.exit(), e.to_string())
    }
}

/// The only plain I/O of the verbs is writing to stdout.
impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        let exit = if e.kind() == io::ErrorKind::BrokenPipe { exit::OK } else { exit::IO };
        Failure::new(exit, format!("cannot write to stdout: {e}"))
    }
}

fn main() -> ExitCode {
    let failure = match args::parse(std::env::args_os().skip(1)) {
        Ok(call) => match run(call) {
            Ok(code) => return ExitCode::from(code),
            Err(failure) => failure,
        },
        Err(message) => Failure::new(exit::USAGE, message),
    };
    if failure.exit != exit::OK {
        complain(&failure.message);
    }
    ExitCode::from(failure.exit)
}

/// What was said while there was no stderr to say it on.
static KEPT: Mutex<Option<Vec<String>>> = Mutex::new(None);
/// How many sentences are kept.
const MAX_KEPT: usize = 100;

/// Keeps from now on what would be said on stderr, because the screen is somebody's canvas; or says it again.
pub fn keep_complaints(keep: bool) {
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = keep.then(Vec::new);
}

/// What was kept since the last time.
pub fn kept_complaints() -> Vec<String> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.as_mut().map(std::mem::take).unwrap_or_default()
}

/// Says one sentence to the person.
pub fn complain(message: &str) {
    if let Some(kept) = KEPT.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        if kept.len() < MAX_KEPT {
            kept.push(message.to_owned());
        }
        return;
    }
    // Where stderr is closed there is nobody left to tell.
    let _told = progress::beside(|| writeln!(io::stderr(), "spool: {message}")).is_ok();
}

fn run(call: Call) -> Result<u8, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let code = match call {
        Call::Help(verb) => {
            help::print(verb, &mut out)?;
            exit::OK
        }
        Call::Version => {
            writeln!(out, "spool {}", env!("CARGO_PKG_VERSION"))?;
            exit::OK
        }
        Call::Become(program, rest) => return Err(become_program(program, rest)),
        Call::Verb("adapt", args) => adapt::run(&args, &mut out)?,
        Call::Verb("session", args) => session::run(&args, &mut out)?,
        Call::Verb("doctor", args) => doctor::run(&args, &mut out)?,
        Call::Verb("completions", args) => completions::run(&args, &mut out)?,
        Call::Verb("man", args) => man::run(&args, &mut out)?,
        Call::Verb("config", args) => config::run(&args, &mut out)?,
        Call::Verb("drain", args) => drain::run(&args)?,
        // For a monitor, a spool that cannot be opened is an answer too.
        Call::Verb("status", args) => status::run(&args, &mut out)?,
        Call::Verb("service", args) => service::run(&args, &mut out)?,
        Call::Verb("torture", args) => torture::run(&args, &mut out)?,
        Call::Verb("demo", args) => {
            drop(out);
            return demo::run(&args);
        }
        Call::Verb(verb, args) => {
            let spool = match verb {
                // A machine that is moved to may have none yet.
                "import" if !args.dry_run => Spool::create(&spool_dir(&args)?)?,
                _ => open(&args)?,
            };
            match verb {
                "list" => list::run(&spool, &args, &mut out)?,
                "show" => show::run(&spool, &args, &mut out)?,
                "watch" => watch::run(&spool, &args, &mut out)?,
                "audit" => audit::run(&spool, &args, &mut out)?,
                "prune" => prune::run(&spool, &args, &mut out)?,
                "export" => transfer::export(&spool, &args, &mut out)?,
                "import" => transfer::import(&spool, &args, &mut out)?,
                verb => operate::run(verb, &spool, &args, &mut out)?,
            }
        }
    };
    out.flush()?;
    Ok(code)
}

/// Opens the spool that is meant, and takes the files of those for ours whom the configuration lets write.
pub fn open(args: &Args) -> Result<Spool, Failure> {
    let spool = Spool::open(&spool_dir(args)?)?;
    // One that is wrong is for drain and config to refuse: a person must be able to see and move what is there.
    if let Ok(config) = config::Config::load(args, &config::env(args)) {
        spool.fs().admit(config.settings().rules.writers());
    }
    Ok(spool)
}

/// The spool that is meant.
pub fn spool_dir(args: &Args) -> Result<std::path::PathBuf, Failure> {
    Ok(locate::spool_dir(args.spool.as_deref(), &config::env(args))?)
}

/// `spool put` is `spool-put`, and `spool run` is `spool-run`; they lie beside this program or in the path. Returns only
/// when it cannot be started.
fn become_program(program: &str, rest: Vec<std::ffi::OsString>) -> Failure {
    let name = Path::new(program);
    let beside = std::env::current_exe().map(|me| me.with_file_name(name)).ok().filter(|path| path.is_file());
    let error = std::process::Command::new(beside.as_deref().unwrap_or(name)).args(rest).exec();
    Failure::new(
        exit::UNAVAILABLE,
        format!("cannot start {program}: {error}; install it beside spool, or anywhere in PATH"),
    )
}
