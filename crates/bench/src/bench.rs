//! What a chapter is given: the programs, a place to write, a seed, and whether it is to be quick.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::place::Place;

/// What goes wrong with a measurement is only ever reported: any error will do.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What a chapter is given.
#[derive(Debug)]
pub struct Bench {
    /// The form for CI: few rounds, counts and wide ratios.
    pub quick: bool,
    /// Repeats the order of an earlier run.
    pub seed: u64,
    /// Where the release forms of `spool`, `spool-put`, `spool-run` and of the programs compared with are.
    pub programs: PathBuf,
    /// Where the small static `spool-put` is, and the floor under it, built alike.
    pub statics: PathBuf,
    /// Where to write.
    pub place: Place,
    /// Where packages of others are unpacked.
    pub packages: PathBuf,
    /// Node and the entry point of OpenClaw's package, where it was installed.
    pub node: Option<PathBuf>,
    /// See `node`.
    pub openclaw: Option<PathBuf>,
    /// What this process mounts is seen by it and its children alone.
    pub has_own_mounts: bool,
}

impl Bench {
    /// One of the release programs, with nothing of this process's environment but PATH, without input and output.
    pub fn program(&self, name: &str) -> Command {
        bare(Command::new(self.programs.join(name)))
    }

    /// One of the static programs, likewise.
    pub fn static_program(&self, name: &str) -> Command {
        bare(Command::new(self.statics.join(name)))
    }

    /// Random numbers for one purpose, the same for the same seed.
    pub fn chance(&self, purpose: &str) -> Chance {
        let start = purpose.bytes().fold(Chance::new(self.seed), |mut chance, byte| {
            chance.0 = chance.next() ^ u64::from(byte);
            chance
        });
        Chance::new(start.0)
    }

    /// One figure for the whole form, another for the quick one.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

fn bare(mut command: Command) -> Command {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // What is measured is the work, not the patience with one session.
    command.env("SPOOL_BUDGET", "off");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// In CI what a chapter needs and does not find is a failure; elsewhere it is said and left out.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

/// Where a program is, on PATH or where the system keeps those of its administrator.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/sbin"), PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Seeded random numbers: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it has no end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Puts them into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let with = self.next() % (end as u64 + 1);
            items.swap(end, usize::try_from(with).unwrap_or_default());
        }
    }
}
