//! Signals: which are passed on, and how the wrapper dies of one.
//!
//! A thread turns them into events of the one loop in `supervise`. It listens before the run is opened, so that none is
//! missed; what comes before the job is there waits for it. A signal that was ignored when we were started (`nohup`, a
//! background job of a shell) stays ignored, for us and so for the job: handling it would hand the job the default
//! instead.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// A [`Task`] is over.
    Done,
}

/// The events of a run.
pub struct Events {
    receiver: Receiver<Event>,
    sender: SyncSender<Event>,
    /// Since the job ended.
    is_asked_to_stop: Cell<bool>,
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
        Ok(Events { receiver, sender, is_asked_to_stop: Cell::new(false) })
    }

    /// The next one; `None` when the time is over first.
    pub fn next(&self, wait: Duration) -> Option<Event> {
        // We hold a sender: it cannot be disconnected, only be late.
        self.receiver.recv_timeout(wait).ok()
    }

    /// Waits until a task of ours is over; `false` when a signal asked us to stop first. Once asked is enough: then
    /// nothing is waited for any more.
    pub fn wait_for(&self, task: &Task) -> bool {
        while !task.0.load(Ordering::Acquire) {
            if self.is_asked_to_stop.get() {
                return false;
            }
            if let Some(Event::Signal(signal)) = self.next(Duration::from_secs(1)) {
                self.is_asked_to_stop.set(is_stop(signal));
            }
        }
        true
    }

    /// Where others put their events.
    pub fn sender(&self) -> SyncSender<Event> {
        self.sender.clone()
    }
}

/// Something that a thread does beside the loop. It may be over long before anybody waits for it.
#[derive(Clone, Default)]
pub struct Task(Arc<AtomicBool>);

impl Task {
    /// Says that it is over, and wakes the loop.
    pub fn over(&self, events: &SyncSender<Event>) {
        self.0.store(true, Ordering::Release);
        // A loop that has no room for events is awake.
        let _told = events.try_send(Event::Done).is_ok();
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
