//! Where a trace is walked: a spool, a gateway, and what is to be seen of both.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use spool_gateway::fake::{FakeThread, Options};
use spooldir::{Dir, Entry};

use super::super::protocol::Bounds;
use super::watcher::{Seen, Watcher};
use crate::ground::Ground;
use crate::layer::Outcome;
use crate::layers::random::reader::take_apart;
use crate::layers::random::stage::{Ended, wait};

const TOKEN: &str = "torture-token";
/// Longer than a producer takes, on a machine with other things to do.
pub(super) const LIMIT: Duration = Duration::from_secs(60);
/// Longer than an agent takes that waits for a gateway and for its own lanes.
pub(super) const AGENT: Duration = Duration::from_secs(180);

/// The id of a record.
pub(super) fn record_id(r: usize) -> String {
    format!("record-{r}")
}

fn session(lane: usize) -> String {
    format!("agent:main:job:{lane}")
}

/// The place.
pub(super) struct Place<'a> {
    ground: &'a Ground,
    home: PathBuf,
    pub(super) spool: PathBuf,
    pub(super) gateway: FakeThread,
}

impl<'a> Place<'a> {
    pub(super) fn new(ground: &'a Ground, home: &Path) -> Outcome<Place<'a>> {
        let options = Options {
            commit_delay: Duration::from_millis(1),
            turn_duration: Duration::from_millis(2),
            ..Options::with_token(TOKEN)
        };
        let gateway = FakeThread::start(options)?;
        Ok(Place { ground, home: home.to_owned(), spool: home.join("spool"), gateway })
    }

    /// An empty spool, made by hand and without a flush, and the sessions.
    pub(super) fn begin(&self, bounds: &Bounds) -> Outcome<()> {
        let mut token = OpenOptions::new();
        token.write(true).create_new(true).mode(0o600);
        token.open(self.home.join("token"))?.write_all(TOKEN.as_bytes())?;
        let mut private = DirBuilder::new();
        private.mode(0o700).create(&self.spool)?;
        for dir in Dir::ALL {
            private.create(self.spool.join(dir.name()))?;
        }
        fs::write(self.spool.join("format"), "spool 1\n")?;
        for lane in &bounds.lanes {
            let key = session(*lane);
            if !self.gateway.sessions().contains(&key) {
                self.gateway.add_session(&key, None);
            }
        }
        Ok(())
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.ground.command(program);
        command.args(args).env("HOME", &self.home).env("SPOOL_DIR", &self.spool).current_dir(&self.home);
        command
    }

    /// A producer. Records with other bytes say something else.
    pub(super) fn put(&self, bounds: &Bounds, record: usize, bytes: u8) -> Command {
        let text = format!("said {bytes}");
        let (id, session) = (record_id(record), session(bounds.lanes[record]));
        self.command("spool-put", &["--id", &id, "--session", &session, &text])
    }

    /// An agent that ends when there is nothing left to do.
    pub(super) fn agent(&self) -> Outcome<Command> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let url = self.gateway.url();
        let mut command = self.command("spool", &["drain", "--once", "--gateway", &url, "--token-file"]);
        command.arg(self.home.join("token")).stderr(Stdio::from(log));
        Ok(command)
    }

    /// A person's word about a record.
    pub(super) fn person(&self, verb: &str, id: &str) -> Outcome<()> {
        let said = self.home.join("person.log");
        let mut command = self.command("spool", &[verb, id]);
        if verb != "retry" {
            command.args(["--reason", "as the trace wants it"]);
        }
        command.stderr(Stdio::from(File::create(&said)?));
        match wait(&mut command.spawn()?, LIMIT)? {
            Ended::Code(0) => Ok(()),
            other => {
                Err(format!("spool {verb} {id} ended with {other:?}: {}", fs::read_to_string(said)?).into())
            }
        }
    }

    fn log(&self) -> PathBuf {
        self.home.join("said.log")
    }

    /// The last words of the agents.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(8)..).unwrap_or_default().join(" | ")
    }

    /// All names in the directories of states, but those of reasons.
    pub(super) fn names(&self) -> Outcome<Vec<(Dir, String)>> {
        let mut names = Vec::new();
        for dir in Dir::STATES {
            for item in fs::read_dir(self.spool.join(dir.name()))? {
                let name = item?.file_name().to_string_lossy().into_owned();
                if !name.contains(".why.json") {
                    names.push((dir, name));
                }
            }
        }
        Ok(names)
    }

    /// How many entries are under way.
    pub(super) fn unsettled(&self) -> Outcome<usize> {
        let is_open = |dir: &Dir| matches!(dir, Dir::New | Dir::Sending | Dir::Deferred);
        Ok(self.names()?.iter().filter(|(dir, _)| is_open(dir)).count())
    }

    /// What is there now; `None` when the model's bounds do not reach there.
    pub(super) fn seen(&self, bounds: &Bounds, watcher: &mut Watcher<'_>) -> Outcome<Option<Seen>> {
        let mut seen = Seen::default();
        for (dir, name) in self.names()? {
            let entry = Entry::from_name(dir, &name);
            let record = entry
                .as_ref()
                .and_then(|e| (0..bounds.lanes.len()).find(|r| *record_id(*r) == *e.id.as_str()));
            let (Some(entry), Some(r)) = (entry, record) else {
                return Err(format!("{}/{name} is there, and nobody put it there", dir.name()).into());
            };
            if seen.places[r] != super::super::atlas::ABSENT {
                return Err(format!("{} is there twice: {:?}", entry.id, self.names()?).into());
            }
            let Some(place) = watcher.place(&entry) else {
                watcher.is_beyond = true;
                return Ok(None);
            };
            seen.places[r] = place;
        }
        for (session_key, key, text) in self.gateway.all_commits() {
            let (named, ids) = take_apart(&text)?;
            if named != key {
                return Err(format!("a delivery under {key} names the key {named}").into());
            }
            for id in ids {
                let record = (0..bounds.lanes.len()).find(|r| record_id(*r) == id);
                let r = record.ok_or_else(|| format!("{id} arrived, and nobody published it"))?;
                if session(bounds.lanes[r]) != session_key {
                    return Err(format!("{id} arrived in {session_key}").into());
                }
                // The model counts to three.
                seen.commits[r] = seen.commits[r].saturating_add(1).min(3);
            }
        }
        Ok(Some(seen))
    }
}
