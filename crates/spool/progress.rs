//! How far something has come, on a terminal's stderr, when it takes long enough to be asked.
//!
//! Nothing is drawn where stderr is no terminal, or a dumb one, nor in the first moments: most spools are done before a
//! bar could be read. There is one bar at a time, and what is said on stderr meanwhile (a log line, a complaint) goes
//! through [`beside`], so that neither is drawn over the other.

use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use spooldir::{Dir, Spool};

use crate::terminal::is_dumb;

/// Before this nothing is drawn.
const PATIENCE: Duration = Duration::from_millis(400);
/// Between two looks at a spool that is drained.
const PAUSE: Duration = Duration::from_millis(200);

/// The bar that is drawn, if one is.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Does something that writes to stderr, with the bar out of the way.
pub fn beside<T>(write: impl FnOnce() -> T) -> T {
    let drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match drawn {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Something that takes a while.
pub struct Progress {
    verb: &'static str,
    started: Instant,
    is_wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// It begins. `verb` is what is done: `retrying`.
    pub fn new(verb: &'static str) -> Progress {
        let is_wanted = std::io::stderr().is_terminal() && !is_dumb();
        Progress { verb, started: Instant::now(), is_wanted, bar: None }
    }

    /// So much is done, of so much as far as that is known.
    pub fn at(&mut self, done: u64, of: Option<u64>) {
        if !self.is_wanted || self.started.elapsed() < PATIENCE {
            return;
        }
        let verb = self.verb;
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(of, ProgressDrawTarget::stderr());
            bar.set_style(style(of.is_some()));
            bar.set_message(verb);
            *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
            bar
        });
        if let Some(of) = of {
            bar.set_length(of);
        }
        bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            *DRAWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
            bar.finish_and_clear();
        }
    }
}

fn style(has_end: bool) -> ProgressStyle {
    let (bar, count) = if has_end { ("[{bar:30}] ", "{pos} of {len}") } else { ("", "{pos}") };
    let template = format!("{{msg}} {bar}{count} {{elapsed}}");
    // The template is ours; should it ever be wrong, there is a plainer one.
    ProgressStyle::with_template(&template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

/// A thread that looks how a spool empties; it ends when this is dropped.
pub struct Follower {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Draws how `spool` is drained, if there is somebody to see it.
pub fn follow(spool: &Spool) -> Option<Follower> {
    let mut progress = Progress::new("delivering");
    if !progress.is_wanted {
        return None;
    }
    let (end, ended) = channel::<()>();
    let spool = spool.clone();
    let look = move || {
        let mut most = 0;
        while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
            let (done, of) = how_far(&spool, most);
            most = of;
            progress.at(done, Some(of));
        }
    };
    // Without a thread there is no bar, and that is all.
    let thread = std::thread::Builder::new().name("progress".into()).spawn(look).ok()?;
    Some(Follower { end: Some(end), thread: Some(thread) })
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic there would only have cost the bar.
            let _ended = thread.join().is_ok();
        }
    }
}

/// How many were delivered or put elsewhere, of the most that were there at once.
fn how_far(spool: &Spool, most: u64) -> (u64, u64) {
    let mut left = 0;
    for dir in [Dir::New, Dir::Sending] {
        // What cannot be counted is not shown.
        let _counted = spool.each_entry(dir, |_, _| left += 1).is_ok();
    }
    let most = most.max(left);
    (most - left, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use spooldir::{Entry, Event, Id, State};

    #[test]
    fn nothing_is_drawn_where_nobody_looks() {
        let mut progress = Progress::new("testing");
        (progress.is_wanted, progress.started) = (false, Instant::now() - 2 * PATIENCE);
        progress.at(1, Some(2));
        assert!(progress.bar.is_none());
        progress.is_wanted = true;
        progress.started = Instant::now();
        progress.at(1, Some(2));
        assert!(progress.bar.is_none(), "not yet");
        assert_eq!(beside(|| 7), 7);
    }

    #[test]
    fn a_spool_that_empties_and_fills_is_followed() {
        let home = tempfile::tempdir().unwrap();
        let spool = Spool::create(home.path()).unwrap();
        let put = |id: &str| {
            let id = Id::new(id).unwrap();
            spool.publish(&id, br#"{"text":"x"}"#, false).unwrap();
            Entry::new(id, State::Pending)
        };
        let (a, _b) = (put("a"), put("b"));
        assert_eq!(how_far(&spool, 0), (0, 2));
        spool.advance(&a, &Event::Dismiss).unwrap();
        assert_eq!(how_far(&spool, 2), (1, 2));
        put("c");
        put("d");
        assert_eq!(how_far(&spool, 2), (0, 3));
    }
}
