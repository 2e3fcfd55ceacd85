//! Which errors a call can give, and what a program may make of them.
//!
//! The calls are those about the spool: its directories, its files, and what watches them. Each is given the errnos that
//! its manual page names for a local disk; what only a network or a signal handler gives is left out. Loader, sockets
//! and memory are not about the spool.

use rustix::io::Errno;

use crate::layers::kill::site::Site;
use crate::trace::Stop;

const READ: &[Errno] = &[Errno::IO, Errno::INTR];
const OPEN: &[Errno] = &[Errno::IO, Errno::MFILE, Errno::ACCESS, Errno::INTR];
const CREATE: &[Errno] =
    &[Errno::IO, Errno::MFILE, Errno::ACCESS, Errno::INTR, Errno::NOSPC, Errno::DQUOT, Errno::ROFS];
const LOOK: &[Errno] = &[Errno::IO, Errno::ACCESS];
const WRITE: &[Errno] = &[Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::INTR];
const NAME: &[Errno] = &[Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::ACCESS];
const REMOVE: &[Errno] = &[Errno::IO, Errno::ROFS, Errno::ACCESS];

/// What this call, at its entry, can fail with. Nothing for calls that are not about the spool.
pub(super) fn errnos(site: &Site, stop: &Stop) -> &'static [Errno] {
    if site.call == "inotify_init1" {
        return &[Errno::MFILE];
    }
    if !site.about.contains("spool/") {
        return &[];
    }
    match site.call {
        "open" | "openat" => {
            let flags = stop.args.get(if site.call == "open" { 1 } else { 2 }).copied().unwrap_or_default();
            // O_WRONLY, O_RDWR, O_CREAT.
            if flags & 0o103 != 0 { CREATE } else { OPEN }
        }
        "stat" | "lstat" | "statx" | "newfstatat" | "access" => LOOK,
        "getdents64" => &[Errno::IO],
        "read" | "pread64" => READ,
        "write" | "pwrite64" | "fsync" | "fdatasync" => WRITE,
        "ftruncate" => &[Errno::IO],
        "mkdir" | "mkdirat" | "rename" | "renameat" | "renameat2" | "link" | "linkat" => NAME,
        "unlink" | "unlinkat" => REMOVE,
        "inotify_add_watch" => &[Errno::NOSPC],
        _ => &[],
    }
}

/// Whether it may be cut short, and how long it is.
pub(super) fn length(site: &Site, stop: &Stop) -> Option<u64> {
    let is_some =
        matches!(site.call, "read" | "pread64" | "write" | "pwrite64") && site.about.contains("spool/");
    stop.args.get(2).copied().filter(|length| is_some && *length > 1)
}

/// The exit numbers that a program may end with because of this error, besides 0: those of `spool-format.md` and the help.
pub(super) fn exits(errno: Errno) -> &'static [i32] {
    match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::INTR | Errno::MFILE => &[75],
        // Where the record may be there all the same it is unknown, and not a matter of permission.
        Errno::ROFS | Errno::ACCESS => &[77, 74],
        // What cannot be created, and what cannot be read or written.
        _ => &[73, 74],
    }
}
