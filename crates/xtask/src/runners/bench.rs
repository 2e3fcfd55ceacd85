//! Where a runner is put: a home and a work directory, a spool, the model, and a deadline for everything it does.
//!
//! Hermetic: the environment is made here, everything a runner could write lies in the directory of the run, and
//! what it wants from beyond loopback ends at the model, which is its proxy. Records are read from the directories
//! of the spool, so the harness believes no program about them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::openclaw::programs::Programs;
use crate::openclaw::support::{Outcome, end_carriers, wait_for, wait_until};

use super::model::Model;

/// How long one run of a runner may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a record may take to appear when its runner has ended already: Codex does not wait for `notify`.
const LATE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(20);

/// What a program printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl Ran {
    /// The lines of stdout that are JSON.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The ends of what it printed, for a check that failed.
    pub(crate) fn words(&self) -> String {
        let end =
            |text: &str| text.chars().skip(text.chars().count().saturating_sub(600)).collect::<String>();
        format!("exit {:?}, stdout: {}, stderr: {}", self.code, end(&self.stdout), end(&self.stderr))
    }
}

/// A program that was started and has not been waited for.
pub(crate) struct Running {
    name: String,
    pub(crate) child: Child,
    out: PathBuf,
    err: PathBuf,
}

pub(crate) struct Bench {
    pub(crate) dir: PathBuf,
    pub(crate) spool: PathBuf,
    pub(crate) model: Model,
    programs: PathBuf,
    /// The directories of the installed runners.
    runners: Vec<PathBuf>,
}

impl Bench {
    /// Prepares the new directory `dir`.
    pub(crate) fn new(dir: &Path, programs: &Programs) -> Outcome<Bench> {
        for sub in ["home", "tmp", "work", "out"] {
            std::fs::create_dir_all(dir.join(sub))?;
        }
        let programs = programs.spool.parent().ok_or("the programs have no directory")?.to_owned();
        Ok(Bench {
            dir: dir.to_owned(),
            spool: dir.join("spool"),
            model: Model::start()?,
            programs,
            runners: Vec::new(),
        })
    }

    /// Puts an installed runner on the path of what is run from now on.
    pub(crate) fn offer(&mut self, program: &Path) -> Outcome<()> {
        self.runners.push(program.parent().ok_or("the runner has no directory")?.to_owned());
        Ok(())
    }

    /// The path of one of the project's programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A command in the work directory, with an environment made here; `session` is `SPOOL_SESSION`.
    pub(crate) fn command(&self, program: &str, session: Option<&str>) -> Outcome<Command> {
        let dirs = self.runners.iter().chain([&self.programs]).map(PathBuf::as_path);
        let path = std::env::join_paths(dirs.chain(["/usr/local/bin", "/usr/bin", "/bin"].map(Path::new)))?;
        // The path of the child counts only when it is named: the harness's own would be searched otherwise.
        let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file());
        let mut command = Command::new(found.ok_or(format!("there is no program {program}"))?);
        command
            .env_clear()
            .env("PATH", path)
            .env("LANG", "C.UTF-8")
            .env("HOME", self.dir.join("home"))
            .env("TMPDIR", self.dir.join("tmp"))
            .env("SPOOL_DIR", &self.spool)
            .env("NO_PROXY", "127.0.0.1,localhost")
            .current_dir(self.dir.join("work"));
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env(proxy, self.model.url());
        }
        if let Some(session) = session {
            command.env("SPOOL_SESSION", session);
        }
        Ok(command)
    }

    /// Runs it to its end, with nothing on stdin; what it printed is kept under `name`, too.
    pub(crate) fn run(&self, name: &str, command: &mut Command) -> Outcome<Ran> {
        let mut running = self.start(name, command)?;
        drop(running.child.stdin.take());
        self.finish(running)
    }

    /// Starts it, with a stdin that stays open.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> Outcome<Running> {
        let (out, err) = (self.dir.join(format!("out/{name}.out")), self.dir.join(format!("out/{name}.err")));
        let child = command
            .stdin(Stdio::piped())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
        Ok(Running { name: name.to_owned(), child, out, err })
    }

    /// Closes the stdin of what was started, and waits for its end.
    pub(crate) fn finish(&self, mut running: Running) -> Outcome<Ran> {
        drop(running.child.stdin.take());
        let what = format!("{} to end", running.name);
        let ended = wait_for(&what, LIMIT, TICK, || Ok(running.child.try_wait()?));
        if ended.is_err() {
            self.sweep()?;
            running.child.wait()?;
        }
        let read = |file: &Path| -> Outcome<String> {
            Ok(String::from_utf8_lossy(&std::fs::read(file)?).into_owned())
        };
        let ran = Ran {
            stdout: read(&running.out)?,
            stderr: read(&running.err)?,
            code: ended.as_ref().ok().and_then(|status| status.code()),
        };
        match ended {
            Ok(_) => Ok(ran),
            Err(error) => Err(format!("{error}; {}", ran.words()).into()),
        }
    }

    /// Kills everything that was started here and is left.
    pub(crate) fn sweep(&self) -> Outcome<()> {
        sweep(&self.dir)
    }

    /// Every record that waits in the spool.
    pub(crate) fn all_records(&self) -> Outcome<Vec<Value>> {
        let mut records = Vec::new();
        // No spool: nothing was ever put.
        let Ok(entries) = std::fs::read_dir(self.spool.join("new")) else { return Ok(records) };
        for entry in entries.flatten() {
            records.push(serde_json::from_slice(&std::fs::read(entry.path())?)?);
        }
        Ok(records)
    }

    /// The records for a session.
    pub(crate) fn records(&self, session: &str) -> Outcome<Vec<Value>> {
        let all = self.all_records()?;
        Ok(all.into_iter().filter(|record| record["sessionKey"] == session).collect())
    }

    /// The records for a session, when there is one, or when it is too late for one.
    pub(crate) fn await_records(&self, session: &str) -> Outcome<Vec<Value>> {
        self.await_count(session, 1)
    }

    /// The records for a session, when there are so many, or when it is too late for more.
    pub(crate) fn await_count(&self, session: &str, count: usize) -> Outcome<Vec<Value>> {
        // What is missing is said by the check on what this gives.
        wait_until("records", LATE, TICK, || Ok(self.records(session)?.len() >= count)).ok();
        self.records(session)
    }
}

/// Kills everything that the run in `dir` started and left.
pub(crate) fn sweep(dir: &Path) -> Outcome<()> {
    end_carriers(&format!("SPOOL_DIR={}", dir.join("spool").display()))
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Err(error) = self.sweep() {
            eprintln!("a runner may be left behind: {error}");
        }
    }
}
