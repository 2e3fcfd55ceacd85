//! Where a scene plays: a spool, a gateway that cannot be fooled, and what was promised.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use spool_gateway::fake::{FakeThread, Options};

use crate::ground::Ground;
use crate::layer::Outcome;
use crate::layers::random::reader::unsettled;
use crate::layers::random::stage::{Ended, wait};
use crate::wait::wait_for;

const TOKEN: &str = "torture-token";
/// A session without a channel: what is committed there is delivered.
pub(super) const JOB: &str = "agent:main:job:1";
/// Another one.
pub(super) const OTHER: &str = "agent:main:job:2";
/// A session whose replies go to a chat.
pub(super) const CHAT: &str = "agent:main:telegram:direct:77001";
/// A session that is not there.
pub(super) const GONE: &str = "agent:main:job:gone";
/// Longer than any of the programs takes, on a machine with other things to do.
pub(in crate::layers) const LIMIT: Duration = Duration::from_secs(90);
/// How often agents are started until everything has settled.
const AGENTS: u32 = 40;

/// The directories of a spool.
const DIRS: [&str; 11] =
    ["tmp", "new", "sending", "deferred", "hold", "dead", "done", "dismissed", "runs", "logs", "journal"];

/// How a record is to end up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::layers) enum Fate {
    /// In its session, once, as a turn.
    Turn,
    /// In the chat of its session, once, as a message.
    Message,
    /// Held, with the reason; not sent.
    Held,
    /// Dead, with the reason; not sent.
    Dead,
    /// Put aside, not sent.
    Dismissed,
    /// In `done/`, where the scene laid it: this gateway never saw it.
    Filed,
    /// Refused: nowhere.
    Nowhere,
}

/// A record that somebody published, or tried to.
#[derive(Debug, Clone)]
pub(in crate::layers) struct Promise {
    /// A word that no other record of the scene has: its text, or the label of its run.
    pub(in crate::layers) word: String,
    pub(in crate::layers) session: Option<&'static str>,
    /// The id, if it must keep it.
    pub(in crate::layers) id: Option<&'static str>,
    /// The bytes, if the scene knows them.
    pub(in crate::layers) bytes: Option<Vec<u8>>,
    /// Somebody was told that it is kept.
    pub(in crate::layers) accepted: bool,
    pub(in crate::layers) fate: Fate,
    /// What its completion may say, if it is a run.
    pub(in crate::layers) status: &'static [&'static str],
    /// A file that the run's job makes: once it is there, the run must be reported.
    pub(in crate::layers) marker: Option<PathBuf>,
}

impl Promise {
    /// A record that is to be told to its session and nothing more special.
    pub(in crate::layers) fn of(word: &str, id: Option<&'static str>, session: &'static str) -> Promise {
        Promise {
            word: word.to_owned(),
            session: Some(session),
            id,
            bytes: None,
            accepted: false,
            fate: Fate::Turn,
            status: &[],
            marker: None,
        }
    }

    pub(in crate::layers) fn fated(self, fate: Fate) -> Promise {
        Promise { fate, ..self }
    }
}

/// Where a scene plays, once.
pub(in crate::layers) struct Place<'a> {
    pub(in crate::layers) ground: &'a Ground,
    /// Beside the spool: the token, logs, what jobs leave behind.
    pub(in crate::layers) home: PathBuf,
    pub(in crate::layers) spool: PathBuf,
    pub(in crate::layers) gateway: FakeThread,
    pub(in crate::layers) promises: Vec<Promise>,
    /// Agents that were killed, or whose machine was: each may cost one more send.
    pub(in crate::layers) deaths: u64,
    /// Whether a reason may be missing: it is never flushed.
    pub(in crate::layers) may_lack_reasons: bool,
    /// How the program ended when nobody killed it.
    pub(in crate::layers) exit: Option<i32>,
}

impl<'a> Place<'a> {
    /// A place whose own files are in `home` and whose spool is to be `spool`, on whatever file system that is. Neither
    /// may hold anything yet; the directory above the spool must be there.
    pub(in crate::layers) fn new(ground: &'a Ground, home: &Path, spool: &Path) -> Outcome<Place<'a>> {
        fs::create_dir_all(home)?;
        let options = Options {
            commit_delay: Duration::from_millis(1),
            turn_duration: Duration::from_millis(1),
            ..Options::with_token(TOKEN)
        };
        let gateway = FakeThread::start(options)?;
        gateway.add_session(JOB, None);
        gateway.add_session(OTHER, None);
        gateway.add_chat(CHAT, 77_001);
        private(&home.join("token"), TOKEN.as_bytes())?;
        Ok(Place {
            ground,
            home: home.to_owned(),
            spool: spool.to_owned(),
            gateway,
            promises: Vec::new(),
            deaths: 0,
            may_lack_reasons: false,
            exit: None,
        })
    }

    /// An empty spool. By hand, and without a flush: there are very many of them.
    pub(super) fn make_spool(&self) -> Outcome<()> {
        let mut private_dir = fs::DirBuilder::new();
        private_dir.mode(0o700).create(&self.spool)?;
        for dir in DIRS {
            private_dir.create(self.spool.join(dir))?;
        }
        Ok(fs::write(self.spool.join("format"), "spool 1\n")?)
    }

    /// Lays a file into the spool.
    pub(super) fn lay(&self, path: &str, bytes: &[u8]) -> Outcome<()> {
        private(&self.spool.join(path), bytes)
    }

    /// A record that was published before the scene begins, in this place.
    pub(super) fn publish(&mut self, path: &str, promise: Promise, more: &str) -> Outcome<()> {
        let bytes = record(&promise, more);
        self.lay(path, &bytes)?;
        self.promises.push(Promise { bytes: Some(bytes), accepted: true, ..promise });
        Ok(())
    }

    /// One of the programs, with this spool.
    pub(super) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.ground.command(program);
        command.args(args).env("HOME", &self.home).env("SPOOL_DIR", &self.spool).current_dir(&self.home);
        if let Ok(log) = OpenOptions::new().create(true).append(true).open(self.log()) {
            command.stderr(Stdio::from(log));
        }
        command
    }

    /// An agent that ends when nothing is left to do.
    pub(in crate::layers) fn agent(&self) -> Command {
        let mut command =
            self.command("spool", &["drain", "--once", "--gateway", &self.gateway.url(), "--token-file"]);
        command.arg(self.home.join("token"));
        command
    }

    /// An agent that stays.
    pub(in crate::layers) fn daemon(&self) -> Command {
        let mut command = self.command("spool", &["drain", "--gateway", &self.gateway.url(), "--token-file"]);
        command.arg(self.home.join("token"));
        command
    }

    /// What the programs said goes here.
    pub(in crate::layers) fn log(&self) -> PathBuf {
        self.home.join("said.log")
    }

    /// The last words of the programs.
    pub(in crate::layers) fn last_words(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(6)..).unwrap_or_default().join(" | ")
    }

    /// Runs a program to its end.
    pub(in crate::layers) fn run(&self, mut command: Command) -> Outcome<Ended> {
        wait(&mut command.spawn()?, LIMIT)
    }

    /// Runs a program that must end with one of these.
    pub(super) fn must(&self, command: Command, codes: &[i32]) -> Outcome<()> {
        let words = format!("{:?}", command.get_args());
        let ended = self.run(command)?;
        if matches!(ended, Ended::Code(code) if codes.contains(&code)) {
            return Ok(());
        }
        Err(format!("{words} ended with {ended:?}, not {codes:?}: {}", self.last_words()).into())
    }

    /// The program has ended by itself, with this number.
    pub(in crate::layers) fn ended(&mut self, exit: Option<i32>) {
        self.exit = exit;
        for promise in &mut self.promises {
            // What was said of a run is said by its completion, not by the wrapper's own end.
            promise.accepted |= exit == Some(0) && promise.status.is_empty() && promise.fate != Fate::Nowhere;
        }
    }

    /// One agent after the other, until nothing is left to do.
    pub(in crate::layers) fn settle(&self) -> Outcome<()> {
        for _ in 0..AGENTS {
            self.must(self.agent(), &[0])?;
            if unsettled(&self.spool)? == 0 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // What is left is named by the judge.
        Ok(())
    }

    /// Waits until nobody holds the lease of a run: wrapper and job have ended.
    pub(in crate::layers) fn until_over(&self, id: &str) -> Outcome<()> {
        let lease = self.spool.join("runs").join(format!("{id}.lock"));
        wait_for("a job to end", LIMIT, || {
            let Ok(file) = File::open(&lease) else { return Ok(Some(())) };
            let free = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok();
            Ok(free.then_some(()))
        })
    }
}

/// A file for us alone.
fn private(path: &Path, bytes: &[u8]) -> Outcome<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(bytes)?)
}

/// The bytes of a record that keeps a promise; `more` are further members.
pub(super) fn record(promise: &Promise, more: &str) -> Vec<u8> {
    let mut members = Vec::new();
    if let Some(id) = promise.id {
        members.push(format!(r#""id":"{id}""#));
    }
    if let Some(session) = promise.session {
        members.push(format!(r#""sessionKey":"{session}""#));
    }
    members.push(format!(r#""text":"{}""#, promise.word));
    if !more.is_empty() {
        members.push(more.to_owned());
    }
    format!("{{{}}}", members.join(",")).into_bytes()
}
