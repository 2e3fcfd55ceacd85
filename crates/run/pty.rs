//! A pseudo terminal for jobs that behave differently without one (`--pty`), as script(1) gives them.
//!
//! Here the output does go through the wrapper: from the terminal to the log, from where it is shown like any other. So
//! such a job does not outlive its wrapper: the kernel hangs up on it (SIGHUP) when the terminal's other end is closed.
//! What is typed goes to the job unchanged, the keys for signals too; input that is not a terminal ends with Ctrl-D.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios, Winsize};

/// How long the terminal is read on after the job has ended, should something in the background still write to it.
const AFTER: Duration = Duration::from_secs(2);
/// Ctrl-D.
const END_OF_INPUT: u8 = 4;

/// Both ends of a pseudo terminal.
pub struct Pty {
    master: OwnedFd,
    slave: OwnedFd,
}

impl Pty {
    /// Opens one, as large as ours.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn open() -> io::Result<Pty> {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        rustix::io::fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC)?;
        rustix::pty::grantpt(&master)?;
        rustix::pty::unlockpt(&master)?;
        let name = rustix::pty::ptsname(&master, Vec::new())?;
        let no_ctty = i32::try_from(OpenptFlags::NOCTTY.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        let slave = options.read(true).write(true).custom_flags(no_ctty).open(&*name.to_string_lossy())?;
        let pty = Pty { master, slave: slave.into() };
        let default = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&pty.master, our_size().unwrap_or(default))?;
        Ok(pty)
    }

    /// The job's end.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn slave(&self) -> io::Result<Stdio> {
        Ok(Stdio::from(self.slave.try_clone()?))
    }

    /// Makes it as large as ours has become; the kernel tells the job.
    pub fn resize(&self) {
        if let Some(size) = our_size() {
            let _done = rustix::termios::tcsetwinsize(&self.master, size).is_ok();
        }
    }

    /// Carries what the job prints to `sink` and what we are given to the job.
    ///
    /// # Errors
    /// When there are no descriptors or threads left.
    pub fn carry(&self, sink: File) -> io::Result<Carrier> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (done, ended) = sync_channel(1);
        let (from, over) = (File::from(self.master.try_clone()?), is_over.clone());
        thread::Builder::new().name("pty-out".into()).spawn(move || {
            pump(from, sink, &over);
            let _told = done.send(()).is_ok();
        })?;
        let raw = Raw::take();
        let stdin = io::stdin();
        // A terminal that we are not in the foreground of is not ours to read.
        if raw.is_some() || !rustix::termios::isatty(&stdin) {
            let (from, to) = (stdin.as_fd().try_clone_to_owned()?, self.master.try_clone()?);
            let has_end = raw.is_none();
            let feeder = thread::Builder::new().name("pty-in".into());
            // It ends with the process: nothing can wake it from its read.
            feeder.spawn(move || feed(from.into(), to.into(), has_end))?;
        }
        Ok(Carrier { is_over, ended, _raw: raw })
    }
}

/// The threads that carry, and our terminal in raw mode.
pub struct Carrier {
    is_over: Arc<AtomicBool>,
    ended: Receiver<()>,
    _raw: Option<Raw>,
}

impl Carrier {
    /// Waits until all that the job had printed is in the log, and gives our terminal back.
    pub fn finish(self) {
        self.is_over.store(true, Ordering::Release);
        let _done = self.ended.recv_timeout(AFTER).is_ok();
    }
}

fn our_size() -> Option<Winsize> {
    let size = rustix::termios::tcgetwinsize(io::stdin());
    size.or_else(|_| rustix::termios::tcgetwinsize(io::stdout())).ok().filter(|size| size.ws_col > 0)
}

/// Reads until the other end is closed by all, or until the job is over and nothing more comes.
fn pump(mut from: File, mut sink: File, is_over: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        let wait = Timespec { tv_sec: 0, tv_nsec: 30_000_000 };
        let ready = rustix::event::poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&wait));
        if ready == Ok(0) && was_over {
            return;
        }
        if !matches!(ready, Ok(n) if n > 0) {
            continue;
        }
        match from.read(&mut buffer) {
            Ok(n) if n > 0 => {
                // A full disk costs the log, not the job.
                let _kept = sink.write_all(&buffer[..n]).is_ok();
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // EIO: nobody has the other end any more.
            Ok(_) | Err(_) => return,
        }
    }
}

fn feed(mut from: File, mut to: File, has_end: bool) {
    let mut buffer = vec![0; 4096];
    let mut last = b'\n';
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                if to.write_all(&buffer[..n]).is_err() {
                    return;
                }
                last = buffer[n - 1];
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    if has_end {
        // In the middle of a line the first one only hands the line over.
        let end: &[u8] = if last == b'\n' { &[END_OF_INPUT] } else { &[END_OF_INPUT; 2] };
        let _told = to.write_all(end).is_ok();
    }
}

/// Our own terminal in raw mode; as it was when dropped.
struct Raw(Termios);

impl Raw {
    /// `None` when stdin is no terminal, or not ours at the moment.
    fn take() -> Option<Raw> {
        let stdin = io::stdin();
        let foreground = rustix::termios::tcgetpgrp(&stdin).ok()?;
        if foreground != rustix::process::getpgrp() {
            return None;
        }
        let before = rustix::termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _done = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0).is_ok();
    }
}
