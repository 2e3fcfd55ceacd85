//! Where a program is: the system call, and what kind of thing it is about.
//!
//! Threads make the numbers of stops differ from run to run, and so do the answers of a gateway. What can be named again
//! is the site: the call, and the directory of the path it names or the kind of descriptor it works on.

use std::ffi::OsStr;
use std::path::Path;

use crate::trace::Stop;

/// A system call and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::layers) struct Site {
    pub(in crate::layers) call: &'static str,
    pub(in crate::layers) about: String,
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({})", self.call, self.about)
    }
}

impl Site {
    /// The site of a stop before a call.
    pub(in crate::layers) fn of(stop: &Stop, spool: &Path) -> Site {
        let call = stop.name();
        let path = |arg: usize| {
            let text = stop.text(arg)?;
            // What is held already, opened once more.
            let held = text.to_str()?.strip_prefix("/proc/self/fd/").map(|fd| {
                let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", stop.tid));
                link.map_or_else(|_| text.clone(), |path| path.into_os_string())
            });
            Some(place(&held.unwrap_or(text.clone()), spool))
        };
        let path = |arg: usize| path(arg).unwrap_or_default();
        let file = |arg: usize| stop.file(arg).map(|file| place(file.as_os_str(), spool)).unwrap_or_default();
        let about = match call {
            "open" | "stat" | "lstat" | "access" | "unlink" | "mkdir" | "rmdir" | "readlink" | "execve"
            | "statfs" | "chdir" => path(0),
            "rename" | "link" | "symlink" => format!("{} {}", path(0), path(1)),
            "openat" | "statx" | "newfstatat" | "unlinkat" | "mkdirat" | "faccessat" | "faccessat2"
            | "readlinkat" | "inotify_add_watch" | "fchmodat" | "utimensat" => {
                match path(1) {
                    // About the descriptor itself.
                    empty if empty.is_empty() => file(0),
                    named => named,
                }
            }
            "linkat" | "renameat" | "renameat2" => format!("{} {}", path(1), path(3)),
            "read" | "write" | "pread64" | "pwrite64" | "readv" | "writev" | "close" | "fstat" | "fsync"
            | "fdatasync" | "ftruncate" | "lseek" | "flock" | "fcntl" | "ioctl" | "getdents64"
            | "fstatfs" | "sendto" | "recvfrom" | "sendmsg" | "recvmsg" | "connect" | "getsockopt"
            | "setsockopt" | "epoll_wait" | "epoll_pwait" | "epoll_ctl" | "dup" | "fallocate" => file(0),
            _ => String::new(),
        };
        Site { call, about }
    }

    /// Whether it changes something that outlives the program, or what the gateway knows of it. Between two of these a
    /// kill finds the same world.
    pub(in crate::layers) fn is_change(&self) -> bool {
        match self.call {
            "rename" | "renameat" | "renameat2" | "link" | "linkat" | "unlink" | "unlinkat" | "write"
            | "mkdir" | "fsync" | "fdatasync" | "ftruncate" => self.about.contains("spool/"),
            "sendto" | "recvfrom" | "connect" => true,
            _ => false,
        }
    }
}

/// The directory of a path, with the spool's own path cut off; the kind of what has none.
fn place(path: &OsStr, spool: &Path) -> String {
    let path = Path::new(path);
    let Ok(inside) = path.strip_prefix(spool) else {
        let text = path.to_string_lossy();
        if let Some((kind, _)) = text.split_once(":[")
            && !text.starts_with('/')
        {
            return kind.to_owned();
        }
        if text.starts_with("/proc/") {
            return "/proc".to_owned();
        }
        return match path.parent() {
            _ if text.is_empty() => String::new(),
            Some(parent) if parent.as_os_str().len() > 1 && !text.contains("/torture-") => {
                parent.to_string_lossy().into_owned()
            }
            Some(_) if text.contains("/torture-") => "home".to_owned(),
            _ => text.into_owned(),
        };
    };
    let mut parts = inside.iter();
    match (parts.next(), parts.next()) {
        (None, _) => "spool/".to_owned(),
        (Some(first), None) => {
            format!("spool/{}", first.to_string_lossy().split('.').next().unwrap_or_default())
        }
        (Some(first), Some(name)) => {
            let name = name.to_string_lossy();
            let kind = if name.contains(".why.json") {
                "why"
            } else {
                name.rsplit_once('.').map_or("", |(_, suffix)| suffix)
            };
            let kind = if kind.bytes().all(|byte| byte.is_ascii_alphabetic()) { kind } else { "" };
            format!("spool/{}/{kind}", first.to_string_lossy())
        }
    }
}
