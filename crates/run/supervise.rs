//! While the job runs: signals are passed on, its time is kept, its end is waited for. One thread, one loop.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use spooldir::record::Status;

use crate::job::{Job, NotStarted};
use crate::signals::{self, Event, Events};
use crate::{Leave, code};

/// How long a job has between SIGTERM and SIGKILL when its time is over.
const GRACE: Duration = Duration::from_secs(10);
/// The end of the job is announced by a signal; it is looked for this often all the same.
const LOOK: Duration = Duration::from_secs(1);

/// How the job came to its end.
#[derive(Debug)]
pub enum End {
    /// By itself, with this exit number.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It never started.
    NotStarted(NotStarted),
}

/// All that is known of the end of a run.
#[derive(Debug)]
pub struct Outcome {
    pub end: End,
    /// The time it was given, if that was over.
    pub timed_out: Option<Duration>,
    /// The first signal that asked it to stop.
    pub stopped_by: Option<i32>,
    pub took: Duration,
}

impl Outcome {
    /// The end of a run without a job.
    pub fn not_started(why: NotStarted, took: Duration) -> Outcome {
        Outcome { end: End::NotStarted(why), timed_out: None, stopped_by: None, took }
    }

    /// What the record says of it. A job that was asked to stop and then ended well did end well.
    pub fn status(&self) -> Status {
        match self.end {
            _ if self.timed_out.is_some() => Status::Timeout,
            End::Exited(0) => Status::Ok,
            End::Exited(_) | End::Killed(_) if self.stopped_by.is_some() => Status::Cancelled,
            _ => Status::Failed,
        }
    }

    /// How the wrapper ends.
    pub fn leave(&self) -> Leave {
        match &self.end {
            _ if self.timed_out.is_some() => Leave::Code(code::TIMEOUT),
            // wait(2) gives eight bits.
            End::Exited(number) => Leave::Code(u8::try_from(*number).unwrap_or(code::OWN)),
            End::Killed(signal) => Leave::Signal(*signal),
            End::NotStarted(why) => Leave::Code(why.code),
        }
    }
}

/// Where the job is with its time.
enum Clock {
    Unlimited,
    Until(Instant),
    Asked { kill_at: Instant },
    Killed,
}

/// Stays with the job until it has ended.
pub fn supervise(job: &mut Job, events: &Events, started: Instant, limit: Option<Duration>) -> Outcome {
    let mut clock = limit.map_or(Clock::Unlimited, |limit| Clock::Until(started + limit));
    let mut timed_out = None;
    let mut stopped_by = None;
    loop {
        match job.child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                return Outcome { end: end(status), timed_out, stopped_by, took: started.elapsed() };
            }
            Err(e) => {
                let why = NotStarted { code: code::OWN, why: format!("cannot wait for the job: {e}") };
                return Outcome { timed_out, stopped_by, ..Outcome::not_started(why, started.elapsed()) };
            }
        }
        let now = Instant::now();
        let wait = match clock {
            Clock::Until(at) if now >= at => {
                timed_out = limit;
                job.send(Signal::TERM);
                // A stopped job would not hear it.
                job.send(Signal::CONT);
                clock = Clock::Asked { kill_at: now + GRACE };
                continue;
            }
            Clock::Asked { kill_at } if now >= kill_at => {
                job.send(Signal::KILL);
                clock = Clock::Killed;
                continue;
            }
            Clock::Until(at) | Clock::Asked { kill_at: at } => (at - now).min(LOOK),
            Clock::Unlimited | Clock::Killed => LOOK,
        };
        if let Some(Event::Signal(signal)) = events.next(wait) {
            if signals::is_stop(signal) && stopped_by.is_none() {
                stopped_by = Some(signal);
            }
            job.forward(signal);
        }
    }
}

fn end(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(number), _) => End::Exited(number),
        (None, signal) => End::Killed(signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(end: End, timed_out: bool, stopped_by: Option<i32>) -> Outcome {
        let timed_out = timed_out.then_some(Duration::from_secs(1));
        Outcome { end, timed_out, stopped_by, took: Duration::ZERO }
    }

    #[test]
    fn the_end_decides_the_status_and_the_exit() {
        let not = || End::NotStarted(NotStarted { code: 127, why: "x".into() });
        for (end, timed_out, stopped_by, status, leave) in [
            (End::Exited(0), false, None, Status::Ok, Leave::Code(0)),
            (End::Exited(3), false, None, Status::Failed, Leave::Code(3)),
            (End::Killed(9), false, None, Status::Failed, Leave::Signal(9)),
            (End::Killed(15), false, Some(15), Status::Cancelled, Leave::Signal(15)),
            (End::Exited(1), false, Some(2), Status::Cancelled, Leave::Code(1)),
            (End::Exited(0), false, Some(15), Status::Ok, Leave::Code(0)),
            (End::Killed(15), true, None, Status::Timeout, Leave::Code(124)),
            (End::Exited(0), true, None, Status::Timeout, Leave::Code(124)),
            (not(), false, None, Status::Failed, Leave::Code(127)),
        ] {
            let outcome = outcome(end, timed_out, stopped_by);
            assert_eq!((outcome.status(), outcome.leave()), (status, leave), "{outcome:?}");
        }
    }
}
