//! The last step before the command, inside its own process: `spool-run --launch MODES SPOOL ID COMMAND...`.
//!
//! Two things can only be done there without unsafe code. A controlling terminal is taken by the process that will
//! use it (setsid(2), TIOCSCTTY). And `--lease main` writes down its own process number, which exec(2) does not change,
//! while it still holds the lease: stderr is the lease when it starts, and becomes what stdout is.
//!
//! Not for people: its arguments may change with every version.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use spooldir::{Id, Spool};

use crate::intent::Open;
use crate::{code, say};

/// The first argument that leads here.
pub const WORD: &str = "--launch";

/// What is to be done before the command starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    /// Write down the process number; stderr is the lease.
    pub main: bool,
    /// stdin is a terminal that is to control the process.
    pub pty: bool,
}

impl Modes {
    /// Whether there is anything to do.
    pub fn any(self) -> bool {
        self.main || self.pty
    }
}

/// A call of this program that does it.
///
/// # Errors
/// When this program cannot be found again.
pub fn command(modes: Modes, open: Option<&Open>, words: &[OsString]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let said = match (modes.main, modes.pty) {
        (true, true) => "main,pty",
        (true, false) => "main",
        _ => "pty",
    };
    let root = open.map_or(Path::new(""), |open| open.spool.root());
    let id = open.map_or("", |open| open.id.as_str());
    command.arg(WORD).arg(said).arg(root).arg(id).args(words);
    Ok(command)
}

/// Becomes the command. Returns an exit number only when it cannot.
pub fn become_job(mut words: impl Iterator<Item = OsString>) -> u8 {
    let (Some(modes), Some(root), Some(id), Some(program)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        say("--launch is not for people");
        return code::OWN;
    };
    let has = |mode: &str| modes.to_string_lossy().split(',').any(|m| m == mode);
    if has("main")
        && let Err(e) = settle_lease(Path::new(&root), &id)
    {
        // stderr may still be the lease; then nobody reads this.
        say(&e);
        return code::OWN;
    }
    if has("pty") {
        let taken =
            rustix::process::setsid().and_then(|_| rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()));
        if let Err(e) = taken {
            say(&format!("cannot take the terminal: {e}"));
            return code::OWN;
        }
    }
    let error = Command::new(&program).args(words).exec();
    say(&format!("cannot start {}: {error}", program.to_string_lossy()));
    if error.kind() == io::ErrorKind::NotFound { code::NOT_FOUND } else { code::CANNOT_EXECUTE }
}

/// Makes stderr what stdout is, and the lease a descriptor that closes when the command starts; by then the process
/// number is on the disk. Where it cannot be written the command keeps the lease: a run that ends too late is no lie.
fn settle_lease(root: &Path, id: &OsStr) -> Result<(), String> {
    let failed = |e: rustix::io::Errno| format!("cannot hold the lease: {e}");
    let named =
        Id::new(&id.to_string_lossy()).and_then(|id| Spool::open(root)?.name_main(&id, std::process::id()));
    let stderr = rustix::stdio::stderr();
    let lease = rustix::io::fcntl_dupfd_cloexec(stderr, 3).map_err(failed)?;
    if named.is_err() {
        rustix::io::fcntl_setfd(&lease, rustix::io::FdFlags::empty()).map_err(failed)?;
    }
    // Left to the process: it is closed by exec(2), or with the command.
    std::mem::forget(lease);
    rustix::stdio::dup2_stderr(rustix::stdio::stdout()).map_err(failed)?;
    if let Err(e) = named {
        say(&format!("{e}; the job keeps the lease itself"));
    }
    Ok(())
}
