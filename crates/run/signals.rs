//! Signals: which are passed on, and how the wrapper dies of one.
//!
//! A thread turns them into events of the one loop in `supervise`. It listens before the run is opened, so that none is
//! missed; what comes before the job is there waits for it. A signal that was ignored when we were started (`nohup`, a
//! background job of a shell) stays ignored, for us and so for the job: handling it would hand the job the default
//! instead.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal};
use signal_hook::consts::signal::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::{code, say};

/// What is passed on to the job.
const FORWARDED: [i32; 7] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH];

/// Whether a signal asks its receiver to end.
pub fn is_stop(signal: i32) -> bool {
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT].contains(&signal)
}

/// Whether a terminal sends a signal to everybody in its foreground group by itself.
pub fn is_from_terminal(signal: i32) -> bool {
    [SIGINT, SIGQUIT, SIGWINCH].contains(&signal)
}

/// The name of a signal, as in `SIGTERM`.
pub fn name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// What the loop wakes up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A child changed its state.
    Child,
    /// This signal came.
    Signal(i32),
    /// All output is shown, or the wait for the evidence is over.
    Done,
}

/// The events of a run.
pub struct Events {
    receiver: Receiver<Event>,
    sender: SyncSender<Event>,
}

impl Events {
    /// Starts to listen.
    ///
    /// # Errors
    /// When a handler cannot be set or a thread not be started.
    pub fn listen() -> io::Result<Events> {
        let (sender, receiver) = sync_channel(64);
        let ignored = ignored();
        let is_heard = |signal: &i32| ignored & (1 << (signal - 1)) == 0;
        // A child that nobody may wait for would leave no exit status, so this one is always taken.
        let wanted = FORWARDED.into_iter().filter(is_heard).chain([SIGCHLD]);
        let mut signals = Signals::new(wanted)?;
        let events = sender.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                let event = if signal == SIGCHLD { Event::Child } else { Event::Signal(signal) };
                if events.send(event).is_err() {
                    return;
                }
            }
        })?;
        Ok(Events { receiver, sender })
    }

    /// The next one; `None` when the time is over first.
    pub fn next(&self, wait: Duration) -> Option<Event> {
        // We hold a sender: it cannot be disconnected, only be late.
        self.receiver.recv_timeout(wait).ok()
    }

    /// Waits until [`Event::Done`]; `false` when a signal asked us to stop first.
    pub fn done(&self) -> bool {
        loop {
            match self.next(Duration::from_secs(3600)) {
                Some(Event::Done) => return true,
                Some(Event::Signal(signal)) if is_stop(signal) => return false,
                _ => {}
            }
        }
    }

    /// Where others put their events.
    pub fn sender(&self) -> SyncSender<Event> {
        self.sender.clone()
    }
}

/// The mask of the signals that are ignored: proc(5), `SigIgn`. None where that cannot be known.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The signal as rustix has it; `None` for one without a name.
pub fn named(signal: i32) -> Option<Signal> {
    Signal::from_named_raw(signal)
}

/// Ends this process by a signal, as the job ended. Returns the exit number that shells give such an end, should it be
/// a signal that cannot be raised here.
pub fn die_of(signal: i32) -> u8 {
    // The job may have left a core. Ours would be of no use to anybody, and could overwrite it.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _kept = rustix::process::setrlimit(Resource::Core, none).is_ok();
    if let Err(e) = signal_hook::low_level::emulate_default_handler(signal) {
        say(&format!("cannot end by {}: {e}", name(signal)));
    }
    u8::try_from(128 + signal).unwrap_or(code::OWN)
}
