//! `spool-run` as a process around a real job, and what it leaves behind.

use std::io::Read;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use serde_json::Value;
use spooldir::run::Standing;
use spooldir::{Dir, Id};

use super::programs::wait_until;
use super::{Ran, TempSpool};

/// The session that jobs are started for.
pub const SESSION: &str = "agent:main:telegram:direct:77001";

/// `spool-run` with an environment that holds no more than it needs.
pub struct Wrapper(pub Command);

impl Wrapper {
    pub fn new(spool: &TempSpool, args: &[&str]) -> Wrapper {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spool-run"));
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command.env("SPOOL_DIR", spool.spool.root()).env("SPOOL_SESSION", SESSION).stdin(Stdio::null());
        Wrapper(command)
    }

    /// Around a shell script.
    pub fn sh(spool: &TempSpool, args: &[&str], script: &str) -> Wrapper {
        Wrapper::new(spool, &[args, &["--", "sh", "-c", script]].concat())
    }

    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Wrapper {
        self.0.env(name, value);
        self
    }

    pub fn start(mut self) -> Started {
        let child = self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Started(child)
    }

    pub fn start_with_input(mut self) -> (Started, ChildStdin) {
        self.0.stdin(Stdio::piped());
        let mut started = self.start();
        let stdin = started.0.stdin.take().unwrap();
        (started, stdin)
    }

    pub fn run(self) -> Ran {
        self.start().end().1
    }
}

/// A wrapper under way; killed when dropped.
pub struct Started(pub Child);

impl Started {
    pub fn signal(&self, signal: &str) {
        kill(signal, self.0.id());
    }

    /// Its end, and what it said.
    pub fn end(mut self) -> (ExitStatus, Ran) {
        let (out, err) = (collect(self.0.stdout.take().unwrap()), collect(self.0.stderr.take().unwrap()));
        let status = self.status();
        let code = status.code().unwrap_or(-1);
        (status, Ran { code, stdout: out.join().unwrap(), stderr: err.join().unwrap() })
    }

    pub fn status(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the wrapper ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill().and_then(|()| self.0.wait()).is_ok();
    }
}

pub fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        text
    })
}

pub fn kill(signal: &str, pid: impl std::fmt::Display) {
    // Whom it is for may be gone.
    let _reached =
        Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status().unwrap();
}

pub fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The only completion.
pub fn record(spool: &TempSpool) -> Value {
    let (_, bytes) = spool.only(Dir::New);
    spooldir::Record::parse(&bytes).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The only run under way, when it is there.
pub fn only_run(spool: &TempSpool) -> Id {
    let mut runs = Vec::new();
    wait_until("there is a run", || {
        runs = spool.spool.runs().unwrap();
        runs.len() == 1
    });
    runs.remove(0)
}

pub fn standing(spool: &TempSpool, id: &Id) -> Standing {
    spool.spool.standing(id, &spool.spool.intent(id).unwrap().unwrap())
}

/// The words of the job's first line of output that starts with `mark`, when it is there.
pub fn said(spool: &TempSpool, id: &Id, mark: &str) -> Vec<String> {
    let mut words = Vec::new();
    wait_until(&format!("the job says {mark}"), || {
        let log = std::fs::read_to_string(spool.spool.log_path(id)).unwrap_or_default();
        // Only whole lines.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let line = whole.lines().find(|line| line.starts_with(mark));
        words = line.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        line.is_some()
    });
    words
}
