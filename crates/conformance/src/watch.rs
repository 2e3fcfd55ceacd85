//! What happened in directories while a producer ran, as inotify tells it: no look at the end can see that a file was
//! written under its visible name.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Happening {
    /// Which of the directories, in the order in which they were given.
    pub dir: usize,
    /// The name in it.
    pub name: OsString,
    /// What it was.
    pub what: ReadFlags,
}

/// A watch on directories.
pub struct Watch {
    inotify: OwnedFd,
    watches: Vec<i32>,
    buffer: Vec<MaybeUninit<u8>>,
}

impl Watch {
    /// Watches these directories from now on.
    pub fn on(dirs: &[&Path]) -> io::Result<Watch> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE;
        let watches = dirs
            .iter()
            .map(|dir| inotify::add_watch(&inotify, *dir, flags))
            .collect::<Result<Vec<i32>, _>>()?;
        Ok(Watch { inotify, watches, buffer: vec![MaybeUninit::uninit(); 16 << 10] })
    }

    /// What has happened since the last look.
    pub fn happened(&mut self) -> io::Result<Vec<Happening>> {
        let mut happenings = Vec::new();
        let mut reader = Reader::new(&self.inotify, &mut self.buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(happenings),
                Err(e) => return Err(e.into()),
            };
            let name = event.file_name().map(|name| OsString::from_vec(name.to_bytes().to_vec()));
            let dir = self.watches.iter().position(|watch| *watch == event.wd());
            if let (Some(name), Some(dir)) = (name, dir) {
                happenings.push(Happening { dir, name, what: event.events() });
            }
        }
    }

    /// Waits until something has happened, at most for so long.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let limit =
            Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) as _ };
        Ok(poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&limit))? > 0)
    }
}
