//! What can go wrong with the directory, said so that a person can act on it.
//!
//! Every error names the verb, the path and the cause. [`Error::exit`] gives the sysexits number that all our
//! programs use, so that the same failure has the same number everywhere.

use std::io;
use std::path::PathBuf;

/// Exit numbers, after `sysexits.h`.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// The command line was wrong.
    pub const USAGE: u8 = 64;
    /// The record is not a good record, or its id belongs to another one.
    pub const DATA: u8 = 65;
    /// Somebody else has what is needed: another agent drains this spool.
    pub const UNAVAILABLE: u8 = 69;
    /// A file or directory cannot be created.
    pub const CANT_CREATE: u8 = 73;
    /// An input or output operation failed.
    pub const IO: u8 = 74;
    /// It may work later: disk full, gateway away.
    pub const TEMPORARY: u8 = 75;
    /// Not allowed to.
    pub const PERMISSION: u8 = 77;
    /// Something is set up wrongly.
    pub const CONFIG: u8 = 78;
}

/// An operation on the spool failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("cannot {verb} {}: {source}{}", path.display(), remedy(source))]
    Io {
        /// What was attempted, e.g. `create`.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The record's file may or may not have been published: only a retry with the same id is safe.
    #[error("cannot {verb} {}: {source}; the record may have been queued: try again with --id {id}", path.display())]
    Unknown {
        /// What was attempted.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// The id to use again.
        id: String,
        /// Why not.
        source: io::Error,
    },
    /// Another record with the same id, but other bytes, is already in the spool.
    #[error("cannot queue id {id}: another record with that id is {state}; use another id")]
    Conflict {
        /// The id in question.
        id: String,
        /// The state the first one is in.
        state: &'static str,
    },
    /// The bytes are not a good record.
    #[error("not a good record: {0}")]
    BadRecord(#[from] crate::record::Flaw),
    /// An id, a key or a name outside the grammar.
    #[error("{what} {value:?} is not valid: {rule}")]
    Name {
        /// What it was meant to be.
        what: &'static str,
        /// The text, shortened.
        value: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The directory is no spool that this program may use.
    #[error("cannot use {} as a spool: {reason}", path.display())]
    Layout {
        /// The directory.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
        /// The exit number that fits.
        exit: u8,
    },
    /// Nothing says where the spool is.
    #[error("cannot tell where the spool is: name it with --spool DIR or SPOOL_DIR, or set HOME")]
    Nowhere,
    /// The configuration does not say where the spool is, though it should.
    #[error("cannot use the configuration {}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another agent holds the lock.
    #[error("another agent{} is draining {}; stop it first, or use its spool", holder(*pid), path.display())]
    Locked {
        /// The spool.
        path: PathBuf,
        /// The process that wrote its number into the lock file, if it could be read.
        pid: Option<u32>,
    },
    /// An entry is not where it was, or not in a state that allows the verb.
    #[error("cannot {verb} {id}: {reason}")]
    Entry {
        /// What was attempted.
        verb: &'static str,
        /// The entry.
        id: String,
        /// Why not.
        reason: String,
    },
}

impl Error {
    /// The exit number for this failure (see [`exit`]).
    pub fn exit(&self) -> u8 {
        match self {
            Error::Io { source, verb, .. } => io_exit(source, verb),
            Error::Unknown { source, .. } => match io_exit(source, "write") {
                exit::TEMPORARY => exit::TEMPORARY,
                _ => exit::IO,
            },
            Error::Conflict { .. } | Error::BadRecord(_) => exit::DATA,
            Error::Name { .. } => exit::USAGE,
            Error::Layout { exit, .. } => *exit,
            Error::Nowhere | Error::Config { .. } => exit::CONFIG,
            Error::Locked { .. } => exit::UNAVAILABLE,
            Error::Entry { .. } => exit::DATA,
        }
    }

    /// Whether the cause was that the file is not there (any more).
    pub fn is_gone(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn io_exit(source: &io::Error, verb: &str) -> u8 {
    use io::ErrorKind as K;
    match source.kind() {
        K::StorageFull
        | K::FileTooLarge
        | K::QuotaExceeded
        | K::Interrupted
        | K::WouldBlock
        | K::ResourceBusy
        | K::OutOfMemory => exit::TEMPORARY,
        K::PermissionDenied | K::ReadOnlyFilesystem => exit::PERMISSION,
        _ if is_out_of_files(source) => exit::TEMPORARY,
        _ if verb == "create" => exit::CANT_CREATE,
        _ => exit::IO,
    }
}

/// EMFILE or ENFILE: passes by itself.
fn is_out_of_files(source: &io::Error) -> bool {
    let raw = source.raw_os_error();
    raw == Some(rustix::io::Errno::MFILE.raw_os_error())
        || raw == Some(rustix::io::Errno::NFILE.raw_os_error())
}

fn remedy(source: &io::Error) -> &'static str {
    use io::ErrorKind as K;
    match source.kind() {
        K::StorageFull => "; free some space and try again",
        K::QuotaExceeded => "; raise the quota or free some space and try again",
        K::PermissionDenied => "; the spool belongs to the user who runs the agent (mode 0700)",
        K::ReadOnlyFilesystem => {
            "; choose a spool on a file system that can be written (--spool or SPOOL_DIR)"
        }
        _ => "",
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// Puts verb and path to an `io::Result`.
pub(crate) trait Context<T> {
    fn at(self, verb: &'static str, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn at(self, verb: &'static str, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|source| Error::Io { verb, path: path.into(), source })
    }
}
