//! Starting the job: where its output goes, whose process group it is in, and who holds the lease.
//!
//! The output goes to the log itself, not through us, so that the job can outlive its wrapper. stdout and stderr share
//! one open file in append mode: one order, and no holes.
//!
//! The process group. When stdin is a terminal the job has to be in the terminal's foreground group, ours, or it could
//! not read from it. Otherwise it gets a group of its own, for two reasons: a signal then reaches everything that it
//! started and not only a shell in front of it, and whoever kills the wrapper's group (as gateways do when they end)
//! kills a wrapper and not the work.
//!
//! The lease. It is inherited between two fcntl(2) calls, during which nothing else is started. With `--lease main`
//! it must not stay with the job, but between start and the moment when the job's process number is written down
//! the run would belong to nobody if we were killed. So that part is done in the job's own process, by `launch`, which
//! holds the lease until the number is there.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use spool_seeded::Bug;

use crate::args::Args;
use crate::intent::Open;
use crate::launch::{self, Modes};
use crate::pty::Pty;
use crate::{code, signals};

/// A job under way.
pub struct Job {
    pub child: Child,
    pub pty: Option<Pty>,
    reach: Reach,
}

/// Whom signals are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The job's own process group.
    Group,
    /// The job alone: it shares our group and the terminal.
    Process,
}

/// Why a job did not start.
#[derive(Debug)]
pub struct NotStarted {
    /// 125, 126 or 127.
    pub code: u8,
    /// A sentence for people, starting with a verb.
    pub why: String,
}

impl Job {
    /// Starts it.
    ///
    /// # Errors
    /// [`NotStarted`], with the exit number that fits.
    pub fn start(args: &Args, open: Option<&Open>) -> Result<Job, NotStarted> {
        let own =
            |what: &str, e: io::Error| NotStarted { code: code::OWN, why: format!("cannot {what}: {e}") };
        let pty = args.pty.then(Pty::open).transpose().map_err(|e| own("open a pseudo terminal", e))?;
        let modes = Modes { main: args.lease_main && open.is_some(), pty: pty.is_some() };
        let is_interactive = pty.is_none() && !args.detached && rustix::termios::isatty(io::stdin());

        let mut command = if modes.any() {
            launch::command(modes, open, &args.command).map_err(|e| own("find this program", e))?
        } else {
            let mut command = Command::new(&args.command[0]);
            command.args(&args.command[1..]);
            command
        };
        wire(&mut command, modes, pty.as_ref(), open).map_err(|e| own("set up its output", e))?;
        // A pseudo terminal makes a session, and with it a group, of its own.
        if !is_interactive && pty.is_none() {
            command.process_group(0);
        }

        let lent = open.filter(|_| !modes.main && !spool_seeded::is(Bug::LeaseNotInherited));
        if let Some(open) = lent {
            open.lease.inherit(true).map_err(|e| own("lend it the lease", e))?;
        }
        let child = command.spawn();
        if let Some(open) = lent {
            // Nothing else is started by this process; a lease that stays inheritable does no harm.
            let _kept = open.lease.inherit(false).is_ok();
        }
        let child = child.map_err(|e| not_started(&args.command[0].to_string_lossy(), &e))?;
        let reach = if is_interactive { Reach::Process } else { Reach::Group };
        Ok(Job { child, pty, reach })
    }

    /// Passes a signal on, unless the terminal has done so already.
    pub fn forward(&self, signal: i32) {
        if let (Some(pty), true) = (&self.pty, signal == signal_hook::consts::SIGWINCH) {
            return pty.resize();
        }
        if self.reach == Reach::Process && signals::is_from_terminal(signal) {
            return;
        }
        if let Some(signal) = signals::named(signal) {
            self.send(signal);
        }
    }

    /// Sends a signal to the job. Only while it has not been waited for: its number is its own until then.
    pub fn send(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        let reached = self.reach == Reach::Group && rustix::process::kill_process_group(pid, signal).is_ok();
        if !reached {
            // It has ended already, or has no group of its own (yet).
            let _reached = rustix::process::kill_process(pid, signal).is_ok();
        }
    }
}

/// Connects stdin, stdout and stderr.
fn wire(command: &mut Command, modes: Modes, pty: Option<&Pty>, open: Option<&Open>) -> io::Result<()> {
    match (pty, open) {
        (Some(pty), _) => {
            command.stdin(pty.slave()?).stdout(pty.slave()?).stderr(pty.slave()?);
        }
        (None, Some(open)) => {
            command.stdout(open.log.try_clone()?).stderr(open.log.try_clone()?);
        }
        (None, None) => {}
    }
    if let (true, Some(open)) = (modes.main, open) {
        command.stderr(Stdio::from(File::from(open.lease.as_fd().try_clone_to_owned()?)));
    }
    Ok(())
}

fn not_started(program: &str, error: &io::Error) -> NotStarted {
    let code = if error.kind() == io::ErrorKind::NotFound { code::NOT_FOUND } else { code::CANNOT_EXECUTE };
    NotStarted { code, why: format!("cannot start {program}: {error}") }
}
