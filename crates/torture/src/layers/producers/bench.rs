//! The bench: a spool of the agent's user, the real `spool drain` run as that user, and the fake gateway in this
//! process.
//!
//! As root the agent gets a uid of its own that is not root's, so that modes and owners mean something; another uid
//! plays the stranger. Without root both are who we are, and what needs a stranger is left out.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use spool_gateway::fake::{FakeThread, Options};

use crate::ground::{Ground, is_root};
use crate::layer::Outcome;
use crate::wait::wait_for;

/// Free numbers on any machine that these tests run on.
const AGENT: u32 = 64_101;
const STRANGER: u32 = 64_102;
const TOKEN: &str = "producers-token";

/// Who is who; `None` is who we are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Users {
    pub(super) agent: Option<u32>,
    pub(super) stranger: Option<u32>,
}

impl Users {
    pub(super) fn here() -> Users {
        let root = is_root();
        Users { agent: root.then_some(AGENT), stranger: root.then_some(STRANGER) }
    }
}

pub(super) struct Bench<'a> {
    ground: &'a Ground,
    pub(super) users: Users,
    pub(super) home: PathBuf,
    pub(super) spool: PathBuf,
    pub(super) log: PathBuf,
    pub(super) gateway: FakeThread,
    agent: Option<Child>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(ground: &'a Ground, name: &str) -> Outcome<Bench<'a>> {
        let users = Users::here();
        let home = ground.room(name)?;
        open_to_all(&ground.scratch)?;
        open_to_all(&home)?;
        let options = Options { log_limit: 200_000, ..Options::with_token(TOKEN) };
        let spool = home.join("spool");
        let log = home.join("agent.log");
        let bench =
            Bench { ground, users, spool, log, gateway: FakeThread::start(options)?, agent: None, home };
        bench.give(&bench.home)?;
        let token = bench.home.join("token");
        std::fs::write(&token, TOKEN)?;
        std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600))?;
        bench.give(&token)?;
        // The spool, made by the program itself.
        bench.put("agent:main:first", "first", "the first")?;
        rustix::fs::unlink(bench.spool.join("new/first.json"))?;
        Ok(bench)
    }

    /// Hands a file to the agent's user.
    pub(super) fn give(&self, path: &Path) -> Outcome<()> {
        if let Some(user) = self.users.agent {
            chown(path, Some(user), Some(user))?;
        }
        Ok(())
    }

    /// One of the programs, as the agent's user and on this spool.
    pub(super) fn command(&self, program: &str, args: &[&str]) -> Outcome<Command> {
        // A copy, in a place where every user may run it.
        let bin = self.ground.room("bin")?;
        open_to_all(&bin)?;
        let copy = bin.join(program);
        if !copy.exists() {
            let fresh = bin.join(format!("{program}-{:?}", std::thread::current().id()));
            std::fs::copy(self.ground.programs.join(program), &fresh)?;
            std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o755))?;
            rustix::fs::rename(fresh, &copy)?;
        }
        let mut command = self.ground.command(&copy.to_string_lossy());
        command.args(args).env("HOME", &self.home).env("SPOOL_DIR", &self.spool).current_dir(&self.home);
        if let Some(user) = self.users.agent {
            command.uid(user).gid(user);
        }
        Ok(command)
    }

    /// Runs `spool` to its end.
    pub(super) fn spool(&self, args: &[&str]) -> Outcome<Output> {
        let mut command = self.command("spool", args)?;
        bounded(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?, Duration::from_secs(60))
            .map_err(|e| format!("spool {}: {e}", args.join(" ")).into())
    }

    /// Publishes an honest record.
    pub(super) fn put(&self, session: &str, id: &str, text: &str) -> Outcome<()> {
        let mut command = self.command("spool-put", &["--session", session, "--id", id, text])?;
        let ended = bounded(command.stderr(Stdio::piped()).spawn()?, Duration::from_secs(60))?;
        if !ended.status.success() {
            return Err(format!("spool-put {id}: {}", String::from_utf8_lossy(&ended.stderr)).into());
        }
        Ok(())
    }

    /// Drops an honest record by hand: many of them quickly. Its session is made.
    pub(super) fn honest(&self, id: &str) -> Outcome<()> {
        let session = honest_session(id);
        self.gateway.add_session(&session, None);
        let staged = self.spool.join("tmp").join(id);
        std::fs::write(
            &staged,
            format!(r#"{{"id":"{id}","sessionKey":"{session}","text":"honest words of {id}."}}"#),
        )?;
        self.give(&staged)?;
        rustix::fs::rename(staged, self.spool.join("new").join(format!("{id}.json")))?;
        Ok(())
    }

    /// Whether an honest record arrived.
    pub(super) fn has_arrived(&self, id: &str) -> bool {
        self.spool.join("done").join(format!("{id}.json")).exists()
    }

    /// Waits until these honest records have arrived; names those that have not.
    pub(super) fn await_honest(&mut self, ids: &[String], limit: Duration) -> Outcome<()> {
        let mut left: Vec<&String> = ids.iter().collect();
        let start = Instant::now();
        loop {
            left.retain(|id| !self.has_arrived(id));
            if left.is_empty() {
                return Ok(());
            }
            if !self.is_alive() {
                return Err(format!("the agent died; {}", self.last_words()).into());
            }
            if start.elapsed() > limit {
                let some: Vec<&&String> = left.iter().take(5).collect();
                return Err(format!(
                    "{} honest records have not arrived after {} s, among them {some:?}; {}",
                    left.len(),
                    limit.as_secs(),
                    self.last_words()
                )
                .into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the agent.
    pub(super) fn start(&mut self) -> Outcome<()> {
        let (url, token) = (self.gateway.url(), self.home.join("token"));
        let args = ["drain", "--gateway", &url, "--token-file", &token.to_string_lossy()];
        let log = File::options().create(true).append(true).open(&self.log)?;
        self.agent = Some(self.command("spool", &args)?.stderr(log).spawn()?);
        Ok(())
    }

    pub(super) fn is_alive(&mut self) -> bool {
        self.agent.as_mut().is_some_and(|agent| matches!(agent.try_wait(), Ok(None)))
    }

    fn pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Child::id)
    }

    /// The end of what the agent has said.
    pub(super) fn last_words(&self) -> String {
        let said = std::fs::read(&self.log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said.lines().rev().take(4).collect();
        format!("its last words: {}", lines.into_iter().rev().collect::<Vec<_>>().join(" | ").escape_debug())
    }

    /// How many descriptors the agent has open, and the most memory it ever had, in KiB.
    pub(super) fn usage(&self) -> Outcome<(usize, u64)> {
        let pid = self.pid().ok_or("there is no agent")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Ok((std::fs::read_dir(format!("/proc/{pid}/fd"))?.count(), peak.ok_or("no VmHWM")?))
    }

    /// SIGTERM, and the exit code.
    pub(super) fn stop(&mut self) -> Outcome<Option<i32>> {
        let Some(mut agent) = self.agent.take() else { return Ok(None) };
        let pid = rustix::process::Pid::from_child(&agent);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let ended = wait_for("the agent's end", Duration::from_secs(30), || Ok(agent.try_wait()?))
            .inspect_err(|_| {
                let _gone = agent.kill().and_then(|()| agent.wait()).is_ok();
            })?;
        Ok(ended.code())
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _gone = agent.kill().and_then(|()| agent.wait()).is_ok();
        }
    }
}

pub(super) fn honest_session(id: &str) -> String {
    format!("agent:main:honest:{id}")
}

fn open_to_all(dir: &Path) -> Outcome<()> {
    Ok(std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755))?)
}

/// What a program said, which is killed when it does not end in time.
fn bounded(mut child: Child, limit: Duration) -> Outcome<Output> {
    fn all(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read until then is what there is.
            let _whole = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes)).is_some();
            bytes
        })
    }
    let (out, err) = (all(child.stdout.take()), all(child.stderr.take()));
    let ended = wait_for("a program's end", limit, || Ok(child.try_wait()?));
    if ended.is_err() {
        let _gone = child.kill().and_then(|()| child.wait()).is_ok();
    }
    let (stdout, stderr) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    Ok(Output { status: ended?, stdout, stderr })
}
