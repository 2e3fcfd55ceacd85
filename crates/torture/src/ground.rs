//! Where a layer works: the programs, a scratch directory, its seed, its time, and the seeded bug if there is one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use spool_seeded::Bug;

use crate::chance::Chance;
use crate::layer::Outcome;

/// The ground a layer stands on.
pub(crate) struct Ground {
    /// Where `spool`, `spool-put` and `spool-run` are: those with seeded bugs in them when there is one to hunt.
    pub(crate) programs: PathBuf,
    /// A directory of its own, empty at the start and removed at the end.
    pub(crate) scratch: PathBuf,
    pub(crate) seed: u64,
    /// What it may take.
    pub(crate) budget: Duration,
    /// The bug to hunt, alive in this process and in every program started through [`Ground::command`].
    pub(crate) bug: Option<Bug>,
    /// The whole form, not the one that fits into CI.
    pub(crate) full: bool,
    started: Instant,
}

impl Ground {
    pub(crate) fn new(
        programs: PathBuf,
        scratch: PathBuf,
        seed: u64,
        budget: Duration,
        bug: Option<Bug>,
        full: bool,
    ) -> Ground {
        Ground { programs, scratch, seed, budget, bug, full, started: Instant::now() }
    }

    /// One of the project's programs, with nothing of this process's environment but PATH, without input and output.
    /// HOME is the scratch directory.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .env_clear()
            .env("HOME", &self.scratch)
            // A layer is a storm, and measures what a storm does: no session's deliveries are gathered.
            .env("SPOOL_BUDGET", "off")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if let Some(bug) = self.bug {
            command.env("SPOOL_SEEDED_BUG", bug.name());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// A new directory in the scratch directory.
    pub(crate) fn room(&self, name: &str) -> Outcome<PathBuf> {
        let room = self.scratch.join(name);
        std::fs::create_dir_all(&room)?;
        Ok(room)
    }

    /// Random numbers for one purpose, the same for the same seed.
    pub(crate) fn chance(&self, purpose: &str) -> Chance {
        Chance::new(self.seed).fork(purpose)
    }

    /// Whether there is a bug to hunt: then a layer stops at the first violation.
    pub(crate) fn hunts(&self) -> bool {
        self.bug.is_some()
    }

    /// What was taken so far.
    pub(crate) fn spent(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is left of the budget.
    pub(crate) fn left(&self) -> Duration {
        self.budget.saturating_sub(self.started.elapsed())
    }
}

/// In CI what a layer needs and does not find is a failure; elsewhere it is said and left out.
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// Whether this process may mount and trace as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The first of these programs on PATH that exists.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/sbin"), PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(name))
        .find(|p: &PathBuf| Path::is_file(p))
}
