//! `cargo xtask openclaw`: picks scenarios, gives them a stage, and ends with the counts.
//!
//! The exit code is 0 when every check passed, 1 when one failed or a scenario broke off. Without npm there is
//! nothing to test with: that is a failure in CI, and a sentence and success elsewhere. The files of a run stay
//! when something failed (or with `--keep`) and are removed otherwise.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::checks::{Checks, Figures};
use super::gateway::{Environment, sweep};
use super::install;
use super::programs::{Programs, Spool};
use super::scenarios::{self, Scenario};
use super::support::{Outcome, Random, tail};
use super::world::World;

const USAGE: &str = "\
usage: cargo xtask openclaw [SCENARIO...] [--seed N] [--keep] [--programs DIR]
  SCENARIO   rig, a to j, times (default: all)
  --seed N   repeat the random moments of an earlier run
  --keep     keep the run's files even when everything passed
  --programs DIR   run spool and spool-put of DIR instead of building them";

/// Where the scenarios play: what is installed and built, and the world that most of them share.
pub(crate) struct Stage {
    pub(crate) dir: PathBuf,
    pub(crate) random: Random,
    pub(crate) figures: Figures,
    programs: Option<Programs>,
    agent_log: Option<PathBuf>,
    shared: Option<World>,
}

impl Stage {
    /// Plays a story in the shared world: one gateway with Telegram, a session for each person, up when it starts.
    pub(crate) fn on_shared(
        &mut self,
        story: impl FnOnce(&mut Stage, &mut World) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut world = match self.shared.take() {
            Some(world) => world,
            None => self.world("shared", install::CURRENT, Some("per-channel-peer"), Vec::new())?,
        };
        world.ensure_up()?;
        let told = story(self, &mut world);
        self.leave(&mut world, told.is_err());
        self.shared = Some(world);
        told
    }

    /// Plays a story in a world of its own.
    pub(crate) fn on_own(
        &mut self,
        name: &str,
        version: &'static str,
        dm_scope: Option<&'static str>,
        story: impl FnOnce(&mut Stage, &mut World) -> Outcome<()>,
    ) -> Outcome<()> {
        let mut world = self.world(name, version, dm_scope, Vec::new())?;
        let told = story(self, &mut world);
        self.leave(&mut world, told.is_err());
        told
    }

    /// Plays a story in a world of its own whose gateway belongs to a user of ours: its agents find the programs, and
    /// the spool of the same name.
    pub(crate) fn on_users(
        &mut self,
        name: &str,
        dm_scope: Option<&'static str>,
        story: impl FnOnce(&mut Stage, &mut World) -> Outcome<()>,
    ) -> Outcome<()> {
        let programs = self.programs.as_ref().and_then(Programs::dir).ok_or("there are no programs")?;
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", programs.display());
        let spool = Spool::dir_of(&self.room(name)?, name);
        let more = vec![("PATH", path.into()), ("SPOOL_DIR", spool.into())];
        let mut world = self.world(name, install::CURRENT, dm_scope, more)?;
        let told = story(self, &mut world);
        self.leave(&mut world, told.is_err());
        told
    }

    fn world(
        &self,
        name: &str,
        version: &'static str,
        dm_scope: Option<&'static str>,
        more: Environment,
    ) -> Outcome<World> {
        World::new(&install::install(version)?, &self.room(name)?, version, dm_scope, more)
    }

    fn leave(&mut self, world: &mut World, broken: bool) {
        if broken {
            println!("--- the gateway's last lines\n{}---", world.gateway.log_tail(20));
        }
        world.tell(&mut self.figures);
    }

    /// A new directory of this run.
    pub(crate) fn room(&self, name: &str) -> Outcome<PathBuf> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// A new spool for the agent of this scenario.
    pub(crate) fn spool(&mut self, name: &str, world: &World) -> Outcome<Spool> {
        let programs = self.programs.as_ref().ok_or("this scenario was not said to need the programs")?;
        let spool = Spool::new(programs, &world.dir, name, &world.gateway)?;
        self.agent_log = Some(spool.log.clone());
        Ok(spool)
    }
}

/// What the command line asks for.
#[derive(Default)]
struct Wish {
    chosen: Vec<&'static Scenario>,
    seed: u64,
    keep: bool,
    programs: Option<PathBuf>,
}

/// The command; consumes its arguments.
pub(crate) fn run(args: lexopt::Parser) -> ExitCode {
    match parse(args).and_then(|wish| play(&wish)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask openclaw: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: lexopt::Parser) -> Outcome<Wish> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let mut wish = Wish { seed: u64::try_from(now)? % 1_000_000, ..Wish::default() };
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Value(name) => {
                let found = scenarios::ALL.iter().find(|s| name == s.name);
                wish.chosen
                    .push(found.ok_or(format!("there is no scenario {}\n{USAGE}", name.to_string_lossy()))?);
            }
            lexopt::Arg::Long("seed") => wish.seed = args.value()?.to_string_lossy().parse()?,
            lexopt::Arg::Long("keep") => wish.keep = true,
            lexopt::Arg::Long("programs") => wish.programs = Some(args.value()?.into()),
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    if wish.chosen.is_empty() {
        wish.chosen = scenarios::ALL.iter().collect();
    }
    Ok(wish)
}

fn play(wish: &Wish) -> Outcome<bool> {
    if let Some(why) = install::missing("the gateway") {
        if std::env::var_os("CI").is_some_and(|ci| ci == "true") {
            return Err(why.into());
        }
        println!("skipped: {why}");
        return Ok(true);
    }
    let programs = match &wish.programs {
        _ if !wish.chosen.iter().any(|scenario| scenario.needs_programs) => None,
        Some(dir) => Some(Programs::in_dir(dir)?),
        None => Some(Programs::build()?),
    };
    std::fs::create_dir_all(install::room())?;
    let room = install::room().canonicalize()?;
    clear(&room)?;
    let dir = room.join(format!("run-{}", std::process::id()));
    let (random, seed) = (Random::new(wish.seed), wish.seed);
    let figures = Figures::default();
    let mut stage = Stage { dir: dir.clone(), random, figures, programs, agent_log: None, shared: None };
    println!("seed {seed}; files in {}", dir.display());
    let start = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    for scenario in &wish.chosen {
        let checks = one(scenario, &mut stage);
        passed += checks.passed;
        failed += checks.failed;
    }
    stage.shared = None;
    stage.figures.print();
    if failed == 0 && !wish.keep {
        std::fs::remove_dir_all(&dir)?;
    } else {
        println!("the run's files are kept in {} until the next run", dir.display());
    }
    println!("seed {seed}, {:.0} s", start.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn one(scenario: &Scenario, stage: &mut Stage) -> Checks {
    println!("{}: {}", scenario.name, scenario.about);
    let (start, mut checks) = (Instant::now(), Checks::new(scenario.name));
    stage.agent_log = None;
    if let Err(error) = (scenario.play)(stage, &mut checks) {
        checks.that(false, "the scenario is played to its end", error);
    }
    if let Some(log) = stage.agent_log.as_ref().filter(|_| checks.failed > 0) {
        println!("--- the agent's last lines\n{}---", tail(log, 25));
    }
    println!(
        "{}: {} passed, {} failed, {:.1} s",
        scenario.name,
        checks.passed,
        checks.failed,
        start.elapsed().as_secs_f64()
    );
    checks
}

/// Ends what earlier runs left behind when they were interrupted, and removes their files. A run whose harness
/// still lives is left alone.
fn clear(room: &Path) -> Outcome<()> {
    for entry in std::fs::read_dir(room)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("run-") else { continue };
        if Path::new("/proc").join(pid).exists() {
            continue;
        }
        for world in std::fs::read_dir(entry.path())?.flatten() {
            sweep(&world.path())?;
        }
        std::fs::remove_dir_all(entry.path())?;
    }
    Ok(())
}
