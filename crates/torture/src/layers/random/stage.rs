//! A stage: one spool, one gateway, the wire between them, and the programs that are run there, each with a deadline.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use spool_gateway::fake::{FakeThread, Options};
use spooldir::Spool;

use super::wire::Wire;
use crate::chance::Chance;
use crate::ground::Ground;
use crate::layer::Outcome;

const TOKEN: &str = "torture-token";
/// Longer than any of the programs takes, on a machine with other things to do.
const LIMIT: Duration = Duration::from_secs(90);

/// One spool with all that belongs to it.
pub(in crate::layers) struct Stage<'a> {
    ground: &'a Ground,
    /// Beside the spool: the token, the agents' log, what jobs leave behind.
    pub(in crate::layers) home: PathBuf,
    pub(in crate::layers) spool: PathBuf,
    pub(in crate::layers) gateway: FakeThread,
    pub(in crate::layers) wire: Wire,
}

impl<'a> Stage<'a> {
    /// A new one in a room of this name.
    pub(in crate::layers) fn build(ground: &'a Ground, name: &str, weather: Chance) -> Outcome<Stage<'a>> {
        let home = ground.room(name)?;
        let spool = home.join("spool");
        // Only made with the product; nothing here is read with it.
        Spool::create(&spool)?;
        let mut token = File::options().create_new(true).write(true).mode(0o600).open(home.join("token"))?;
        token.write_all(TOKEN.as_bytes())?;
        token.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        let gateway = FakeThread::start(Options::with_token(TOKEN))?;
        let wire = Wire::to(gateway.port(), weather)?;
        Ok(Stage { ground, home, spool, gateway, wire })
    }

    /// A new gateway on the same port, which knows nothing.
    pub(in crate::layers) fn replace_gateway(&mut self) -> Outcome<()> {
        let port = self.gateway.port();
        self.gateway.kill();
        self.gateway = FakeThread::start(Options { port, ..Options::with_token(TOKEN) })?;
        Ok(())
    }

    /// One of the programs, with this spool.
    pub(in crate::layers) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.ground.command(program);
        command.args(args).env("HOME", &self.home).env("SPOOL_DIR", &self.spool);
        command
    }

    /// `spool drain`. What it says goes to a log beside the spool.
    pub(in crate::layers) fn agent(&self) -> Outcome<Child> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = self.command("spool", &["drain", "--gateway", &self.wire.url(), "--token-file"]);
        Ok(command.arg(self.home.join("token")).stderr(Stdio::from(log)).spawn()?)
    }

    fn log(&self) -> PathBuf {
        self.home.join("agent.log")
    }

    /// The last lines of the agents' log that say this.
    pub(in crate::layers) fn said_of(&self, what: &str, most: usize) -> String {
        let log = std::fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(what)).collect();
        lines.get(lines.len().saturating_sub(most)..).unwrap_or_default().join(" | ")
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::layers) enum Ended {
    /// By SIGKILL.
    Killed,
    /// By another signal.
    Signal(i32),
    /// With this number.
    Code(i32),
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Ended {
        match status.signal() {
            Some(9) => Ended::Killed,
            Some(other) => Ended::Signal(other),
            None => Ended::Code(status.code().unwrap_or(-1)),
        }
    }
}

/// Runs a program, and kills it after a while.
pub(in crate::layers) fn run(mut command: Command, kill_after: Option<Duration>) -> Outcome<Ended> {
    let mut child = command.spawn()?;
    if let Some(after) = kill_after {
        thread::sleep(after);
        child.kill()?;
        return Ok(child.wait()?.into());
    }
    wait(&mut child, LIMIT)
}

/// Runs a program to its end; what it printed, and how it ended.
pub(in crate::layers) fn ask(mut command: Command, scratch: &Path) -> Outcome<(Ended, String)> {
    let out = scratch.join("asked");
    let mut child = command.stdout(Stdio::from(File::create(&out)?)).spawn()?;
    let ended = wait(&mut child, LIMIT)?;
    Ok((ended, std::fs::read_to_string(out)?))
}

/// Waits for a program's end; kills what outlasts the limit, and that is an error.
pub(in crate::layers) fn wait(child: &mut Child, limit: Duration) -> Outcome<Ended> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(300);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.into());
        }
        if start.elapsed() >= limit {
            end(child);
            return Err(format!("a program did not end within {} s", limit.as_secs()).into());
        }
        thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(10));
    }
}

/// Asks a program to end, and waits for it.
pub(in crate::layers) fn stop(child: &mut Child) -> Outcome<Ended> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _asked = kill_process(pid, Signal::TERM).is_ok();
    }
    wait(child, LIMIT)
}

/// SIGKILL, if it is still there.
pub(in crate::layers) fn end(child: &mut Child) {
    let _gone = child.kill().and_then(|()| child.wait()).is_ok();
}

/// A program that is killed when this is dropped.
pub(in crate::layers) struct Owned(pub(in crate::layers) Child);

impl Drop for Owned {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}
