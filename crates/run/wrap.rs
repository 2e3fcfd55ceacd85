//! A run from its beginning to its end.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use crate::args::Args;
use crate::intent::{self, Open};
use crate::job::Job;
use crate::pty::{Carrier, Pty};
use crate::show::Show;
use crate::signals::Events;
use crate::supervise::{End, Outcome, supervise};
use crate::{Leave, code, detach, report, say};

/// Runs the command and reports its end.
pub fn run(args: &Args) -> Leave {
    if args.detached {
        detach::leave_session();
    }
    let events = match Events::listen() {
        Ok(events) => events,
        Err(e) => {
            say(&format!("cannot listen for signals: {e}"));
            return Leave::Code(code::OWN);
        }
    };
    let open = match intent::open(args) {
        Ok(open) => Some(open),
        Err(e) if args.strict => {
            say(&format!("{e}. The command is not started (--strict)"));
            return Leave::Code(code::OWN);
        }
        Err(e) => {
            say(&format!("{e}. The command runs all the same, but nobody will hear of its end"));
            None
        }
    };
    if args.detached {
        detach::answer(open.as_ref().map(|open| &open.id));
    }
    let (outcome, show) = follow(args, open.as_ref(), &events);
    if let End::NotStarted(why) = &outcome.end {
        say(&why.why);
    }
    let Some(open) = open else {
        return outcome.leave();
    };
    let reported = report::report(args, &open, &outcome);
    // The lease goes here, whether or not there is still somebody who looks at the output.
    let (spool, id) = open.let_go();
    if let Some(show) = show {
        show.finish(&events);
    }
    let arrived = reported.and_then(|said| {
        if !args.quiet {
            say(&said);
        }
        report::wait(args, &spool, &id, &events)
    });
    if let Err(why) = arrived {
        say(&why);
        if args.strict {
            return Leave::Code(code::OWN);
        }
    }
    outcome.leave()
}

/// Starts the job and stays with it.
fn follow(args: &Args, open: Option<&Open>, events: &Events) -> (Outcome, Option<Show>) {
    let started = Instant::now();
    let mut job = match Job::start(args, open) {
        Ok(job) => job,
        Err(why) => return (Outcome::not_started(why, started.elapsed()), None),
    };
    let carrier = job.pty.as_ref().and_then(|pty| carry(pty, open));
    let show = open.filter(|_| !args.detached).and_then(|open| {
        Show::start(&open.spool.log_path(&open.id), events)
            .inspect_err(|e| say(&format!("cannot show the output: {e}")))
            .ok()
    });
    let outcome = supervise(&mut job, events, started, args.timeout);
    // Its end of the terminal is closed with the job; ours keeps it readable.
    if let Some(carrier) = carrier {
        carrier.finish();
    }
    (outcome, show)
}

fn carry(pty: &Pty, open: Option<&Open>) -> Option<Carrier> {
    let sink = match open {
        Some(open) => open.log.try_clone(),
        None => io::stdout().as_fd().try_clone_to_owned().map(Into::into),
    };
    sink.and_then(|sink| pty.carry(sink))
        .inspect_err(|e| say(&format!("cannot carry the output of the job: {e}")))
        .ok()
}
