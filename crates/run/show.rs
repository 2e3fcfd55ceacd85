//! Shows the output of the job while it grows: a reader of the log, beside the job and not between it and the log.
//!
//! A stdout that is slow holds up nobody but this thread; one that is closed ends the showing, not the job.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use crate::signals::{Events, Task};

/// How often a log that grows is looked at.
const FAST: Duration = Duration::from_millis(20);
/// How often one that has not grown for a while is.
const SLOW: Duration = Duration::from_millis(200);

/// How much is shown before it is asked again whether the job has ended, in bytes.
const GULP: u64 = 8 * 1024 * 1024;

/// The thread that shows.
pub struct Show {
    job_has_ended: SyncSender<()>,
    showing: Task,
}

impl Show {
    /// Starts to show a log on stdout.
    ///
    /// # Errors
    /// When there are no descriptors or threads left.
    pub fn start(log: &Path, events: &Events) -> io::Result<Show> {
        let log = File::open(log)?;
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (job_has_ended, ended) = sync_channel(1);
        let showing = Task::default();
        let (it, woken) = (showing.clone(), events.sender());
        thread::Builder::new().name("show".into()).spawn(move || {
            // Whatever stops it, there is nothing more to show.
            let _whole = follow(log, stdout, &ended).is_ok();
            it.over(&woken);
        })?;
        Ok(Show { job_has_ended, showing })
    }

    /// Waits until everything is shown, or until a signal says that nobody wants to see it.
    pub fn finish(self, events: &Events) {
        let _told = self.job_has_ended.send(()).is_ok();
        // Whoever stops us does not want to see the rest.
        let _whole = events.wait_for(&self.showing);
    }
}

fn follow(mut log: File, mut stdout: File, ended: &Receiver<()>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut pause = FAST;
    let mut at = 0;
    loop {
        let has_ended = !matches!(ended.recv_timeout(pause), Err(RecvTimeoutError::Timeout));
        // What is written after the end belongs to what the job left behind, and may never stop.
        let before = at;
        let most = if has_ended { log.metadata()?.len() } else { before + GULP };
        while at < most {
            match log.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    write_all(&mut stdout, &buffer[..n])?;
                    at += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if has_ended {
            return Ok(());
        }
        pause = match at - before {
            0 => (pause * 5 / 4).min(SLOW),
            read if read >= GULP => Duration::ZERO,
            _ => FAST,
        };
    }
}

/// As write_all, on a descriptor that whoever started us may have made non-blocking.
fn write_all(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                rustix::event::poll(&mut [PollFd::new(to, PollFlags::OUT)], None)?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
