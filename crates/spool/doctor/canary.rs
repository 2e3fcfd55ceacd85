//! The canary: how long a running agent takes to look at a file that has just come.
//!
//! It must never become a record, not even where the doctor dies in between. So it is a file in `new/` whose name begins
//! with a dot, which no agent takes in (`spool-format.md` section 3); the agent's watch tells of it as of any other, and
//! the agent lists the directory. That it does is seen with a watch of our own (`inotify(7)`): the directory is opened.
//! Somebody else who lists it at that moment can only make it look faster, hence a few flights. Where there is no such
//! watch, nothing is known.

use std::fmt;
use std::time::Duration;

use spooldir::Spool;

/// What its name begins with.
pub(super) const NAME: &str = ".spool-doctor-";
/// An agent that is told by the kernel needs less.
pub(super) const SLOW: Duration = Duration::from_millis(900);

/// How it went.
#[derive(Debug)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "elsewhere it is never let fly"))]
pub(super) enum Flown {
    /// The agent looked after so long.
    Seen(Duration),
    /// It did not look for this long.
    Unseen(Duration),
    /// It could not be tried, and why.
    Untried(String),
}

impl fmt::Display for Flown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flown::Seen(took) => {
                write!(f, "the agent looked {:.1} ms after a new file came", took.as_secs_f64() * 1000.0)
            }
            Flown::Unseen(patience) => write!(f, "not within {} s", patience.as_secs()),
            Flown::Untried(why) => write!(f, "how fast a file is noticed could not be tried: {why}"),
        }
    }
}

/// Lets it fly a few times; the best counts.
pub(super) fn fly(spool: &Spool) -> Flown {
    #[cfg(target_os = "linux")]
    return linux::fly(spool).unwrap_or_else(|e| Flown::Untried(e.to_string()));
    #[cfg(not(target_os = "linux"))]
    {
        let _not_here = spool;
        Flown::Untried("only Linux tells who looks at a directory".to_owned())
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::mem::MaybeUninit;
    use std::os::fd::OwnedFd;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
    use spooldir::{Dir, Spool};

    use super::{Flown, NAME};

    /// Longer than an agent that only looks from time to time needs.
    const PATIENCE: Duration = Duration::from_secs(8);
    const FLIGHTS: u32 = 3;

    pub(super) fn fly(spool: &Spool) -> io::Result<Flown> {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        inotify::add_watch(
            &watch,
            spool.dir(Dir::New),
            WatchFlags::OPEN | WatchFlags::ACCESS | WatchFlags::ONLYDIR,
        )?;
        let mut best: Option<Duration> = None;
        for _flight in 0..FLIGHTS {
            looked(&watch)?;
            let start = Instant::now();
            let canary = Canary::release(spool)?;
            let Some(took) = wait(&watch, start)? else { return Ok(Flown::Unseen(PATIENCE)) };
            drop(canary);
            best = Some(best.map_or(took, |best| best.min(took)));
        }
        Ok(best.map_or(Flown::Unseen(PATIENCE), Flown::Seen))
    }

    fn wait(watch: &OwnedFd, start: Instant) -> io::Result<Option<Duration>> {
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            let left = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(1),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(watch, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            if looked(watch)? {
                return Ok(Some(start.elapsed()));
            }
        }
    }

    /// Whether anybody opened or read the directory itself since the last call.
    fn looked(watch: &OwnedFd) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(watch, &mut buffer);
        let mut has_looked = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    has_looked |= event.events().contains(ReadFlags::ISDIR) && event.file_name().is_none();
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(has_looked),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// A file in `new/` that is no record; gone when dropped.
    struct Canary<'a> {
        spool: &'a Spool,
        path: PathBuf,
    }

    impl Canary<'_> {
        fn release(spool: &Spool) -> io::Result<Canary<'_>> {
            let name = format!("{NAME}{}", std::process::id());
            let (made, path) = (spool.dir(Dir::Tmp).join(&name), spool.dir(Dir::New).join(&name));
            // Left by a doctor that died, whose process number was ours.
            remove(spool, &path);
            std::fs::write(&made, b"")?;
            let released = spool.fs().rename(&made, &path);
            if released.is_err() {
                remove(spool, &made);
            }
            released.map(|()| Canary { spool, path })
        }
    }

    impl Drop for Canary<'_> {
        fn drop(&mut self) {
            remove(self.spool, &self.path);
        }
    }

    fn remove(spool: &Spool, path: &Path) {
        // Where it is not there, it need not go.
        let _gone = spool.fs().remove(path).is_ok();
    }
}
