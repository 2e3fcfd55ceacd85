//! A spool, a gateway with some chats, and agents that can be stopped, starved and killed.
//!
//! What is checked is what the gateway committed and what lies in the directories; both are read here without the
//! product's own reading, except that `spool audit` is asked as well.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use spool_gateway::fake::{FakeThread, Options};
use spooldir::{Dir, Id, Spool};

use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::wait::wait_for;

const TOKEN: &str = "the-token-of-a-torture-layer";

/// What /proc counts processor time in, on Linux.
const USER_HZ: f64 = 100.0;

/// A record that was accepted: its id and its session.
pub(super) type Sent = (Id, String);

/// The session of one chat.
pub(super) fn chat(n: usize) -> String {
    format!("agent:main:telegram:direct:{}", 77_000 + n)
}

/// Where a part plays.
pub(super) struct Rig<'a> {
    pub(super) ground: &'a Ground,
    /// Everything of this part, the spool and HOME among it.
    pub(super) home: PathBuf,
    pub(super) root: PathBuf,
    pub(super) spool: Spool,
    pub(super) fake: FakeThread,
}

impl<'a> Rig<'a> {
    pub(super) fn new(ground: &'a Ground, name: &str) -> Outcome<Rig<'a>> {
        let home = ground.room(name)?;
        let root = home.join("spool");
        Rig::at(ground, home, root)
    }

    /// With the spool somewhere else, for example on a file system of its own.
    pub(super) fn at(ground: &'a Ground, home: PathBuf, root: PathBuf) -> Outcome<Rig<'a>> {
        Rig::with_token(ground, home, root, TOKEN)
    }

    /// With a token of the caller's choice.
    pub(super) fn with_token(
        ground: &'a Ground,
        home: PathBuf,
        root: PathBuf,
        token: &str,
    ) -> Outcome<Rig<'a>> {
        let spool = Spool::create(&root)?;
        let fake = FakeThread::start(Options::with_token(token))?;
        for n in 0..40 {
            fake.add_chat(&chat(n), 77_000 + i64::try_from(n)?);
        }
        write_private(&home.join("token"), token)?;
        Ok(Rig { ground, home, root, spool, fake })
    }

    /// The longest that anything is waited for. With a bug alive most waits are in vain.
    pub(super) fn limit(&self) -> Duration {
        if self.ground.hunts() { Duration::from_secs(6) } else { Duration::from_secs(180) }
    }

    pub(super) fn token_file(&self) -> PathBuf {
        self.home.join("token")
    }

    /// `program`, one of ours or of the system's, with nothing but what belongs to this rig; started through `prefix`
    /// if there is one.
    pub(super) fn command(&self, prefix: &[OsString], program: &str) -> Command {
        let plain = self.ground.command(program);
        let own = plain.get_program();
        let program = if Path::new(own).exists() { own } else { program.as_ref() };
        let mut command = match prefix.split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.env_clear();
        for (name, value) in plain.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command.env("HOME", &self.home).env("SPOOL_DIR", &self.root).current_dir(&self.home);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The command of an agent.
    pub(super) fn drain(&self, prefix: &[OsString]) -> Command {
        let mut command = self.command(prefix, "spool");
        command.args(["drain", "--gateway", &self.fake.url(), "--token-file"]).arg(self.token_file());
        command
    }

    /// Starts an agent.
    pub(super) fn agent(&self) -> Outcome<Agent> {
        self.spawn(self.drain(&[]))
    }

    /// Starts what [`Rig::drain`] made.
    pub(super) fn spawn(&self, mut command: Command) -> Outcome<Agent> {
        let log = tempfile::Builder::new().prefix("log-").tempfile_in(&self.home)?.into_temp_path().keep()?;
        let child = command.stderr(File::options().append(true).open(&log)?).spawn()?;
        Ok(Agent { child, log })
    }

    /// What a verb of `spool` answers: its exit number, and all it said.
    pub(super) fn verb(&self, args: &[&str]) -> Outcome<(i32, String)> {
        let mut command = self.command(&[], "spool");
        let output = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Publishes a record for a session.
    pub(super) fn put(&self, session: &str) -> Outcome<Sent> {
        let id = Id::mint();
        self.spool.publish(&id, &record(&id, session), true)?;
        Ok((id, session.to_owned()))
    }

    /// Drops very many records as any process could, without a flush.
    pub(super) fn drop_many(&self, count: usize, sessions: usize) -> Outcome<Vec<Sent>> {
        let (tmp, new) = (self.spool.dir(Dir::Tmp), self.spool.dir(Dir::New));
        let mut sent = Vec::with_capacity(count);
        for n in 0..count {
            let (id, session) = (Id::mint(), chat(n % sessions));
            let name = format!("{id}.json");
            fs::write(tmp.join(&name), record(&id, &session))?;
            fs::rename(tmp.join(&name), new.join(&name))?;
            sent.push((id, session));
        }
        Ok(sent)
    }

    /// Waits until something holds; whether it did in time.
    pub(super) fn until(&self, limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        loop {
            let looked = Instant::now();
            if holds() {
                return true;
            }
            if start.elapsed() >= limit {
                return false;
            }
            // A look at very many files takes time: at most a fifth of it goes into looking.
            std::thread::sleep((looked.elapsed() * 4).max(Duration::from_millis(5)));
        }
    }

    /// How many files of entries a state has.
    pub(super) fn count(&self, dir: Dir) -> usize {
        names(&self.spool.dir(dir)).into_iter().filter(|name| !name.contains(".why.json")).count()
    }

    /// Waits until so many entries are done.
    pub(super) fn until_done(&self, n: usize) -> bool {
        self.until(self.limit(), || self.count(Dir::Done) >= n)
    }

    /// Whether the gateway has an agent's connection.
    pub(super) fn until_connected(&self) -> bool {
        self.until(self.limit(), || self.fake.connected() > 0)
    }

    /// In which states an id is, by the names of files alone.
    pub(super) fn places(&self, id: &Id) -> Vec<&'static str> {
        let mut places = Vec::new();
        for dir in Dir::STATES {
            for name in names(&self.spool.dir(dir)) {
                let stem = name.split(',').next().unwrap_or_default();
                if stem.strip_suffix(".json").unwrap_or(stem) == id.as_str() {
                    places.push(dir.state_word());
                }
            }
        }
        places
    }

    /// Every one of these is delivered, in its session and once, and nothing was lost.
    pub(super) fn all_delivered(&self, report: &mut Report, what: &str, sent: &[Sent]) {
        let commits = self.commits();
        let done: BTreeSet<String> = names(&self.spool.dir(Dir::Done)).into_iter().collect();
        for (id, session) in sent {
            let is_done = done.contains(&format!("{id}.json"));
            report.check(is_done, || format!("{what}: {id} is {:?}, not done", self.places(id)));
            let got = commits.get(id.as_str()).map(Vec::as_slice).unwrap_or_default();
            report.check(got == [session.as_str()], || {
                format!("{what}: {id} for {session} was committed in {got:?}")
            });
        }
        report.count("records", sent.len() as u64);
        self.audit(report, what);
    }

    /// The sessions that each id was committed in, by the texts.
    pub(super) fn commits(&self) -> BTreeMap<String, Vec<String>> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (session, _, text) in self.fake.all_commits() {
            let words = text.split(|c: char| !(c.is_ascii_hexdigit() || c == '-'));
            for id in words.filter(|w| Id::is_unique(w)).collect::<BTreeSet<_>>() {
                all.entry(id.to_owned()).or_default().push(session.clone());
            }
        }
        all
    }

    /// The equation holds.
    pub(super) fn audit(&self, report: &mut Report, what: &str) {
        match self.verb(&["audit", "--json"]) {
            Ok((0, _)) => report.count("audits", 1),
            Ok((code, said)) => report.violation(format!("{what}: the audit ended with {code}: {said}")),
            Err(e) => report.violation(format!("{what}: the audit could not be run: {e}")),
        }
    }
}

/// A file for us alone.
pub(super) fn write_private(path: &Path, text: &str) -> Outcome<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o600))?)
}

/// A record whose text names it.
pub(super) fn record(id: &Id, session: &str) -> Vec<u8> {
    format!(r#"{{"sessionKey":"{session}","text":"this is {id}"}}"#).into_bytes()
}

/// The names in a directory, sorted; none if it is not there.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let items = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = items.map(|i| i.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// An agent as a process. It is killed when dropped, also when it is stopped.
pub(super) struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// What it said.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(super) fn signal(&self, signal: Signal) -> Outcome<()> {
        Ok(kill_process(self.pid(), signal)?)
    }

    /// SIGSTOP, and waits until all of it stands still.
    pub(super) fn stop(&self) -> Outcome<()> {
        self.signal(Signal::STOP)?;
        wait_for("the agent to stand still", Duration::from_secs(20), || {
            Ok((self.stat(0)?.as_deref() == Some("T")).then_some(()))
        })
    }

    /// SIGCONT.
    pub(super) fn wake(&self) -> Outcome<()> {
        self.signal(Signal::CONT)
    }

    /// How it ended, if it does in time.
    pub(super) fn ended(&mut self, limit: Duration) -> Option<ExitStatus> {
        wait_for("the agent to end", limit, || Ok(self.child.try_wait()?)).ok()
    }

    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL, and gone.
    pub(super) fn kill(&mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; its exit number.
    pub(super) fn end(&mut self, limit: Duration) -> Option<i32> {
        self.signal(Signal::TERM).ok()?;
        self.ended(limit)?.code()
    }

    /// The processor time it has used, in seconds.
    pub(super) fn cpu(&self) -> Outcome<f64> {
        let ticks = |at| {
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(match self.stat(at)? {
                Some(word) => word.parse::<f64>()?,
                None => 0.0,
            })
        };
        Ok((ticks(11)? + ticks(12)?) / USER_HZ)
    }

    /// A field of /proc/PID/stat, counted from the state.
    fn stat(&self, at: usize) -> Outcome<Option<String>> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        Ok(rest.split_whitespace().nth(at).map(str::to_owned))
    }

    /// The most memory it ever had, in KiB.
    pub(super) fn peak_kib(&self) -> Option<u64> {
        self.status("VmHWM:")
    }

    /// The size of its address space, in bytes.
    pub(super) fn space(&self) -> Option<u64> {
        Some(self.status("VmSize:")? << 10)
    }

    fn status(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill().and_then(|()| self.child.wait()).is_ok();
    }
}
