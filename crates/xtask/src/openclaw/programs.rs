//! The project's own programs, run as a user runs them: built by cargo, driven by their command line.
//!
//! The state of an entry is read from the spool directory itself, where a state is a directory and a file's name
//! starts with the record's id: the harness needs no output format to know what became of a record. The agent runs
//! in a home of its own, writes to a log file, and can be killed at any moment.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::gateway::Gateway;
use super::support::{Outcome, wait_for, wait_until};

const TICK: Duration = Duration::from_millis(50);
const STOP: Duration = Duration::from_secs(30);

/// The directories of a spool in which an entry has a state, in the order of its life.
const STATES: [&str; 7] = ["new", "deferred", "sending", "hold", "dead", "done", "dismissed"];

/// Where the built programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) spool: PathBuf,
    put: PathBuf,
}

impl Programs {
    /// Builds the programs of the root package and finds them in cargo's own account of it.
    pub(crate) fn build() -> Outcome<Programs> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "spool", "--bins", "--message-format=json"])
            .current_dir(root)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if !built.status.success() {
            return Err("the project's programs do not build".into());
        }
        let mut found = BTreeMap::new();
        for line in String::from_utf8_lossy(&built.stdout).lines() {
            let message: Value = serde_json::from_str(line)?;
            if let (Some(name), Some(path)) =
                (message["target"]["name"].as_str(), message["executable"].as_str())
            {
                found.insert(name.to_owned(), PathBuf::from(path));
            }
        }
        let mut find = |name: &str| found.remove(name).ok_or(format!("cargo built no program named {name}"));
        Programs { spool: find("spool")?, put: find("spool-put")? }.tried()
    }

    /// The programs of a directory, built by somebody else.
    pub(crate) fn in_dir(dir: &Path) -> Outcome<Programs> {
        let dir = dir.canonicalize()?;
        Programs { spool: dir.join("spool"), put: dir.join("spool-put") }.tried()
    }

    /// The directory they are in, for the PATH of somebody who uses them.
    pub(crate) fn dir(&self) -> Option<&Path> {
        self.spool.parent()
    }

    /// These, if they run at all.
    fn tried(self) -> Outcome<Programs> {
        let help = Command::new(&self.spool).args(["drain", "--help"]).stdin(Stdio::null()).output();
        let help = help.map_err(|error| format!("cannot run {}: {error}", self.spool.display()))?;
        if !help.status.success() || help.stdout.is_empty() {
            return Err(format!(
                "{} drain --help says nothing: is it the right program?",
                self.spool.display()
            )
            .into());
        }
        Ok(self)
    }
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

/// One spool with its agent, which may run or not.
pub(crate) struct Spool {
    programs: Programs,
    dir: PathBuf,
    home: PathBuf,
    pub(crate) log: PathBuf,
    url: String,
    pub(crate) token_file: PathBuf,
    agent: Option<Child>,
    pub(crate) kills: u64,
}

impl Spool {
    fn home(room: &Path, name: &str) -> PathBuf {
        room.join(format!("agent-{name}"))
    }

    /// Where the spool named `name` is, or will be.
    pub(crate) fn dir_of(room: &Path, name: &str) -> PathBuf {
        Spool::home(room, name).join("spool")
    }

    /// A new spool named `name` beside the gateway's files, with the right token.
    pub(crate) fn new(programs: &Programs, room: &Path, name: &str, gateway: &Gateway) -> Outcome<Spool> {
        let home = Spool::home(room, name);
        std::fs::create_dir_all(&home)?;
        let token_file = home.join("token");
        let spool = Spool {
            programs: programs.clone(),
            dir: Spool::dir_of(room, name),
            log: home.join("agent.log"),
            home,
            url: gateway.url(),
            token_file,
            agent: None,
            kills: 0,
        };
        spool.write_token(&gateway.token)?;
        Ok(spool)
    }

    pub(crate) fn write_token(&self, token: &str) -> Outcome<()> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(&self.token_file, format!("{token}\n"))?;
        std::fs::set_permissions(&self.token_file, std::fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", &self.home)
            .env("SPOOL_DIR", &self.dir)
            .env("NO_COLOR", "1")
            // Here one session gets more in a minute than any person wants.
            .env("SPOOL_BUDGET", "off")
            .current_dir(&self.home)
            .stdin(Stdio::null());
        command
    }

    /// Starts `spool drain`.
    pub(crate) fn start(&mut self) -> Outcome<()> {
        let out = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = self.command(&self.programs.spool);
        command.args(["drain", "--gateway", &self.url, "--token-file"]).arg(&self.token_file);
        self.agent = Some(command.stdout(out.try_clone()?).stderr(out).spawn()?);
        Ok(())
    }

    /// SIGKILL to the agent.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        if let Some(mut agent) = self.agent.take() {
            agent.kill()?;
            agent.wait()?;
            self.kills += 1;
        }
        Ok(())
    }

    /// SIGTERM to the agent, and waits until it has ended.
    pub(crate) fn stop(&mut self) -> Outcome<()> {
        let Some(agent) = self.agent.as_mut() else { return Ok(()) };
        if let Some(pid) = Pid::from_raw(i32::try_from(agent.id())?) {
            kill_process(pid, Signal::TERM)?;
        }
        wait_for("the agent to stop", STOP, TICK, || Ok(agent.try_wait()?))?;
        self.agent = None;
        Ok(())
    }

    /// Whether the agent runs; one that ended by itself is an error worth a look at its log.
    pub(crate) fn runs(&mut self) -> Outcome<bool> {
        match self.agent.as_mut() {
            Some(agent) => Ok(agent.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// Drops a record with `spool-put`; gives its id and how long that took.
    pub(crate) fn put(&self, args: &[&str]) -> Outcome<(String, Duration)> {
        let start = Instant::now();
        let ran = self.command(&self.programs.put).args(args).output()?;
        let took = start.elapsed();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        if !ran.status.success() {
            let why = String::from_utf8_lossy(&ran.stderr);
            return Err(format!("spool-put: {}: {why}", ran.status).into());
        }
        let id = said.lines().find_map(|line| line.strip_prefix("queued ")).map(|id| id.trim().to_owned());
        Ok((id.ok_or(format!("spool-put said {said:?} and not `queued ID`"))?, took))
    }

    /// Drops a record for a session under an id of the harness's choice, which is also in the text.
    pub(crate) fn put_marked(&self, session: &str, mark: &str, more: &[&str]) -> Outcome<()> {
        let text = format!("The job {mark} is finished.");
        let mut args = vec!["--session", session, "--id", mark];
        args.extend(more);
        args.push(&text);
        let (id, _) = self.put(&args)?;
        if id != mark {
            return Err(format!("spool-put queued {id} instead of {mark}").into());
        }
        Ok(())
    }

    /// Drops a file as a producer without any program of ours does: written under `tmp/`, moved into `new/`.
    pub(crate) fn drop_file(&self, name: &str, record: &Value) -> Outcome<()> {
        let staged = self.dir.join("tmp").join(format!(".{name}.part"));
        std::fs::write(&staged, record.to_string())?;
        std::fs::hard_link(&staged, self.dir.join("new").join(format!("{name}.json")))?;
        std::fs::remove_file(&staged)?;
        Ok(())
    }

    /// The id and the intent of the run of this label, if there is one: `runs/ID.json`.
    pub(crate) fn run_of(&self, label: &str) -> Outcome<Option<(String, Value)>> {
        let Ok(entries) = std::fs::read_dir(self.dir.join("runs")) else { return Ok(None) };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(id) = name.strip_suffix(".json") else { continue };
            // It may have been closed since.
            let Ok(bytes) = std::fs::read(entry.path()) else { continue };
            let intent: Value = serde_json::from_slice(&bytes)?;
            if intent["label"] == label {
                return Ok(Some((id.to_owned(), intent)));
            }
        }
        Ok(None)
    }

    /// What is beside the intent of a run: `runs/ID.KIND`.
    pub(crate) fn run_file(&self, id: &str, kind: &str) -> PathBuf {
        self.dir.join("runs").join(format!("{id}.{kind}"))
    }

    /// The name of a file beside the spool.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// Runs `spool ARGS`, whatever its exit code.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome<Ran> {
        let ran = self.command(&self.programs.spool).args(args).output()?;
        Ok(Ran {
            stdout: String::from_utf8_lossy(&ran.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
            code: ran.status.code(),
        })
    }

    /// The state of every entry, by id, as the directories have it.
    pub(crate) fn states(&self) -> Outcome<BTreeMap<String, &'static str>> {
        let mut states = BTreeMap::new();
        for state in STATES {
            // A state without a directory has no entries yet.
            let Ok(entries) = std::fs::read_dir(self.dir.join(state)) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let Some(stem) =
                    name.strip_suffix(".json").filter(|s| !s.ends_with(".why") && !s.starts_with('.'))
                else {
                    continue;
                };
                states.insert(stem.split(',').next().unwrap_or(stem).to_owned(), state);
            }
        }
        Ok(states)
    }

    /// The state of one entry.
    pub(crate) fn state(&self, id: &str) -> Outcome<&'static str> {
        Ok(self.states()?.get(id).copied().unwrap_or("nowhere"))
    }

    /// Waits until an entry is in a state; an entry that never gets there is an error that says where it is.
    pub(crate) fn wait_state(&self, id: &str, state: &'static str, limit: Duration) -> Outcome<()> {
        let waited =
            wait_until(&format!("{id} to be in {state}/"), limit, TICK, || Ok(self.state(id)? == state));
        waited.or_else(|error| Err(format!("{error}; it is in {}/", self.state(id)?).into()))
    }

    /// Waits until all of them are in `done/`; gives those that are not when time is up.
    pub(crate) fn wait_done(&self, ids: &[String], limit: Duration) -> Outcome<Vec<(String, &'static str)>> {
        let start = Instant::now();
        loop {
            let states = self.states()?;
            let state_of = |id: &String| states.get(id).copied().unwrap_or("nowhere");
            let open: Vec<_> = ids
                .iter()
                .map(|id| (id.clone(), state_of(id)))
                .filter(|(_, state)| *state != "done")
                .collect();
            if open.is_empty() || start.elapsed() > limit {
                return Ok(open);
            }
            std::thread::sleep(TICK);
        }
    }

    /// The reason kept beside an entry in `state`, which is `dead` or `hold`.
    pub(crate) fn why(&self, state: &str, id: &str) -> Outcome<String> {
        for entry in std::fs::read_dir(self.dir.join(state))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(id) && name.ends_with(".why.json") {
                return Ok(std::fs::read_to_string(entry.path())?);
            }
        }
        Err(format!("{id} is in {state}/ without a reason beside it").into())
    }

    /// Everything the agent said.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("an agent may be left behind: {error}");
        }
    }
}
