//! A program stopped at every entry and exit of every system call of every thread of it, by ptrace(2).
//!
//! At each [`Stop`] the caller says what happens: let it go on, kill the program there, let the call fail without
//! carrying it out, or shorten what it reads or writes. A call that fails this way fails for a static program too, and a
//! short write is a real one. Processes that the program starts are not followed; its threads are.
//!
//! Whoever calls [`run`] is the tracer: ptrace belongs to a thread, so each thread may trace a program of its own, and
//! none sees the children of another. x86-64 only: the registers are read by their names.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::layer::Outcome;
use crate::os;

/// A moment before or after a system call.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// Which stop of this run, over all threads, from 1.
    pub(crate) number: u64,
    /// The thread.
    pub(crate) tid: Pid,
    /// The number of the call.
    pub(crate) call: u64,
    /// Before the call, or after it.
    pub(crate) is_entry: bool,
    pub(crate) args: [u64; 6],
    /// What the call gave, after it.
    pub(crate) result: i64,
}

impl Stop {
    /// The name of the call.
    pub(crate) fn name(&self) -> &'static str {
        usize::try_from(self.call).ok().and_then(syscalls::Sysno::new).map_or("unknown", |call| call.name())
    }

    /// The text a pointer argument points to, if it is one.
    pub(crate) fn text(&self, arg: usize) -> Option<OsString> {
        let bytes = self.memory(*self.args.get(arg)?, 4096)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some(OsString::from_vec(bytes.get(..end)?.to_vec()))
    }

    /// What a descriptor argument refers to.
    pub(crate) fn file(&self, arg: usize) -> Option<PathBuf> {
        let fd = *self.args.get(arg)?;
        std::fs::read_link(format!("/proc/{}/fd/{fd}", self.tid)).ok()
    }

    /// Up to `most` bytes of the program's memory.
    pub(crate) fn memory(&self, at: u64, most: usize) -> Option<Vec<u8>> {
        let file = std::fs::File::open(format!("/proc/{}/mem", self.tid)).ok()?;
        let mut bytes = vec![0; most];
        // A page at the end may not be there: what is before it is enough.
        let page_left = 4096 - usize::try_from(at % 4096).ok()?;
        let read = file
            .read_at(&mut bytes, at)
            .or_else(|_| file.read_at(bytes.get_mut(..page_left.min(most)).unwrap_or_default(), at))
            .ok()?;
        bytes.truncate(read);
        Some(bytes)
    }
}

/// What happens at a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It goes on.
    Go,
    /// The program gets SIGKILL, here.
    Kill,
    /// At an entry: the call is not carried out and fails with this errno.
    Fail(i32),
    /// At an entry: its third argument, a count of bytes, becomes this.
    Shorten(u64),
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signaled(Signal),
    /// By [`Act::Kill`].
    Killed,
    /// It took longer than it was given, and was killed.
    TimedOut,
}

/// Runs a program under trace to its end; at most `limit` long. `at` is called at each stop.
pub(crate) fn run(
    command: &mut Command,
    limit: Duration,
    at: &mut dyn FnMut(&Stop) -> Outcome<Act>,
) -> Outcome<Ended> {
    // Reaped by waitpid(2) below, with the other stops.
    let child =
        os::traced(command).spawn().map_err(|e| format!("cannot start {:?}: {e}", command.get_program()))?;
    let leader = Pid::from_raw(i32::try_from(child.id())?);
    let (done, expired) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let is_late = matches!(expired.recv_timeout(limit), Err(mpsc::RecvTimeoutError::Timeout));
        if is_late {
            kill(leader, Signal::SIGKILL).ok();
        }
        is_late
    });
    let ended = follow(leader, at);
    if ended.is_err() {
        kill(leader, Signal::SIGKILL).ok();
        while !matches!(next(), Err(_) | Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))) {}
    }
    drop(done);
    let is_late = watchdog.join().unwrap_or(false);
    match ended? {
        Ended::Signaled(Signal::SIGKILL) if is_late => Ok(Ended::TimedOut),
        ended => Ok(ended),
    }
}

/// The next thing that happens to a tracee of this thread.
fn next() -> nix::Result<WaitStatus> {
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
            Err(nix::Error::EINTR) => {}
            other => return other,
        }
    }
}

/// What a thread is in the middle of.
#[derive(Default)]
struct Thread {
    is_in_call: bool,
    /// The errno that the call under way is to fail with.
    fail: Option<i32>,
}

fn follow(leader: Pid, at: &mut dyn FnMut(&Stop) -> Outcome<Act>) -> Outcome<Ended> {
    let mut threads: HashMap<Pid, Thread> = HashMap::new();
    let (mut number, mut is_killed, mut is_set_up) = (0, false, false);
    loop {
        match next()? {
            WaitStatus::Exited(pid, code) => {
                threads.remove(&pid);
                if pid == leader {
                    return Ok(if is_killed { Ended::Killed } else { Ended::Exited(code) });
                }
            }
            WaitStatus::Signaled(pid, signal, _) => {
                threads.remove(&pid);
                if pid == leader {
                    return Ok(if is_killed { Ended::Killed } else { Ended::Signaled(signal) });
                }
            }
            WaitStatus::PtraceSyscall(tid) if !is_killed => {
                let thread = threads.entry(tid).or_default();
                // Threads that another one's end took along cannot be read any more; they are reaped in turn.
                let Ok(mut regs) = ptrace::getregs(tid) else { continue };
                thread.is_in_call = !thread.is_in_call;
                if !thread.is_in_call
                    && let Some(errno) = thread.fail.take()
                {
                    regs.rax = i64::from(-errno).cast_unsigned();
                    ptrace::setregs(tid, regs)?;
                }
                number += 1;
                let stop = Stop {
                    number,
                    tid,
                    call: regs.orig_rax,
                    is_entry: thread.is_in_call,
                    args: [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9],
                    result: regs.rax.cast_signed(),
                };
                match (at(&stop)?, thread.is_in_call) {
                    (Act::Kill, _) => {
                        kill(leader, Signal::SIGKILL)?;
                        is_killed = true;
                        continue;
                    }
                    (Act::Fail(errno), true) => {
                        // No such call: the kernel does nothing, and its answer is replaced at the exit.
                        regs.orig_rax = u64::MAX;
                        ptrace::setregs(tid, regs)?;
                        thread.fail = Some(errno);
                    }
                    (Act::Shorten(count), true) => {
                        regs.rdx = count;
                        ptrace::setregs(tid, regs)?;
                    }
                    _ => {}
                }
                ptrace::syscall(tid, None).ok();
            }
            WaitStatus::Stopped(tid, signal) => {
                if tid == leader && !is_set_up {
                    is_set_up = true;
                    let options = Options::PTRACE_O_TRACESYSGOOD
                        | Options::PTRACE_O_TRACECLONE
                        | Options::PTRACE_O_EXITKILL;
                    ptrace::setoptions(tid, options)?;
                    ptrace::syscall(tid, None)?;
                    continue;
                }
                let is_birth = signal == Signal::SIGSTOP && !threads.contains_key(&tid);
                threads.entry(tid).or_default();
                let pass = (!is_birth && signal != Signal::SIGTRAP).then_some(signal);
                ptrace::syscall(tid, pass).ok();
            }
            WaitStatus::PtraceEvent(tid, ..) | WaitStatus::PtraceSyscall(tid) => {
                ptrace::syscall(tid, None).ok();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(command: &mut Command) -> u64 {
        let mut stops = 0;
        let ended = run(command, Duration::from_secs(30), &mut |stop| {
            stops = stop.number;
            Ok(Act::Go)
        });
        assert_eq!(ended.unwrap(), Ended::Exited(0));
        stops
    }

    #[test]
    fn every_stop_is_seen_and_a_kill_ends_it_there() {
        let all = stops(&mut Command::new("true"));
        assert!(all > 10, "{all}");
        let mut last = 0;
        let ended = run(&mut Command::new("true"), Duration::from_secs(30), &mut |stop| {
            last = stop.number;
            Ok(if stop.number == all / 2 { Act::Kill } else { Act::Go })
        });
        assert_eq!((ended.unwrap(), last), (Ended::Killed, all / 2));
    }

    #[test]
    fn a_call_fails_without_being_carried_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("mkdir");
        command.arg(dir.path().join("x")).stderr(std::process::Stdio::null());
        let ended = run(&mut command, Duration::from_secs(30), &mut |stop| {
            Ok(if stop.is_entry && stop.name() == "mkdir" { Act::Fail(28) } else { Act::Go })
        });
        assert_eq!(ended.unwrap(), Ended::Exited(1));
        assert!(!dir.path().join("x").exists());
    }

    #[test]
    fn a_write_is_cut_short_and_the_rest_follows() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("from"), "0123456789").unwrap();
        let out = std::fs::File::create(dir.path().join("to")).unwrap();
        let mut writes = 0;
        let mut command = Command::new("dd");
        command
            .arg(format!("if={}", dir.path().join("from").display()))
            .stdout(out)
            .stderr(std::process::Stdio::null());
        run(&mut command, Duration::from_secs(30), &mut |stop| {
            let is_ours = stop.is_entry && stop.name() == "write" && stop.args[0] == 1;
            writes += u32::from(is_ours);
            Ok(if is_ours && stop.args[2] > 3 { Act::Shorten(3) } else { Act::Go })
        })
        .unwrap();
        assert!(writes > 1);
        assert!(std::fs::read(dir.path().join("to")).unwrap().starts_with(b"012345"));
    }

    #[test]
    fn what_does_not_end_is_ended() {
        let ended = run(Command::new("sleep").arg("60"), Duration::from_millis(300), &mut |_| Ok(Act::Go));
        assert_eq!(ended.unwrap(), Ended::TimedOut);
    }

    #[test]
    fn a_path_argument_can_be_read() {
        let mut seen = false;
        run(
            Command::new("cat").arg("/etc/hostname").stdout(std::process::Stdio::null()),
            Duration::from_secs(30),
            &mut |stop| {
                seen |= stop.is_entry
                    && stop.name() == "openat"
                    && stop.text(1).is_some_and(|path| path == "/etc/hostname");
                Ok(Act::Go)
            },
        )
        .unwrap();
        assert!(seen);
    }
}
