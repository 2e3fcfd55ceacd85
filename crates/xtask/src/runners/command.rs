//! `cargo xtask runners`: each real runner in turn, then the delivery of what they left, then the counts.
//!
//! The exit code is 0 when every check passed. A runner that cannot be installed is a failure in CI, and a sentence
//! elsewhere. What a machine cannot do (build Codex' sandbox) is said and skipped everywhere. The files of a run stay
//! when something failed (or with `--keep`) and are removed otherwise.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use crate::openclaw::checks::Checks;
use crate::openclaw::install::missing;
use crate::openclaw::programs::Programs;
use crate::openclaw::support::Outcome;

use super::bench::{Bench, sweep};
use super::install::{CLAUDE, CODEX, Package, room};
use super::{claude, codex, deliver};

const USAGE: &str = "\
usage: cargo xtask runners [--keep] [--programs DIR]
  --keep     keep the run's files even when everything passed
  --programs DIR   run spool, spool-put and spool-run of DIR instead of building them";

/// What the command line asks for.
#[derive(Default)]
struct Wish {
    keep: bool,
    programs: Option<PathBuf>,
}

/// The counts of a run.
#[derive(Default)]
struct Score {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Score {
    /// Says why something was not looked at; `is_known` when that is the machine's limitation.
    fn skip(&mut self, name: &str, why: &str, is_known: bool) {
        println!("{name}: skipped: {why}");
        self.skipped += 1;
        if !is_known && std::env::var_os("CI").is_some_and(|ci| ci == "true") {
            println!("{name}: FAILED: nothing is skipped in CI that could be done");
            self.failed += 1;
        }
    }

    /// Plays one story and adds its checks.
    fn play<T>(&mut self, name: &'static str, story: impl FnOnce(&mut Checks) -> Outcome<T>) -> Option<T> {
        let (start, mut checks) = (Instant::now(), Checks::new(name));
        let told = story(&mut checks);
        if let Err(error) = &told {
            checks.that(false, "the story is played to its end", error);
        }
        let took = start.elapsed().as_secs_f64();
        println!("{name}: {} passed, {} failed, {took:.1} s", checks.passed, checks.failed);
        self.passed += checks.passed;
        self.failed += checks.failed;
        told.ok()
    }
}

/// The command; consumes its arguments.
pub(crate) fn run(args: lexopt::Parser) -> ExitCode {
    match parse(args).and_then(|wish| play(&wish)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask runners: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: lexopt::Parser) -> Outcome<Wish> {
    let mut wish = Wish::default();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("keep") => wish.keep = true,
            lexopt::Arg::Long("programs") => wish.programs = Some(args.value()?.into()),
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    Ok(wish)
}

fn play(wish: &Wish) -> Outcome<bool> {
    let mut score = Score::default();
    std::fs::create_dir_all(room())?;
    let room = room().canonicalize()?;
    clear(&room)?;
    let dir = room.join(format!("run-{}", std::process::id()));
    let programs = match &wish.programs {
        Some(dir) => Programs::in_dir(dir)?,
        None => Programs::build()?,
    };
    let mut bench = Bench::new(&dir, &programs)?;
    println!("files in {}", dir.display());
    let with_codex = offer(&CODEX, &mut bench, &mut score)?;
    let with_claude = offer(&CLAUDE, &mut bench, &mut score)?;
    let start = Instant::now();
    if with_codex {
        let limits = score.play(CODEX.name, |checks| codex::play(&bench, checks));
        limits.iter().flatten().for_each(|why| score.skip(CODEX.name, why, true));
    }
    if with_claude {
        score.play(CLAUDE.name, |checks| claude::play(&bench, checks));
    }
    if with_codex || with_claude {
        score.play("network", |checks| {
            let strange = bench.model.strange();
            Ok(checks.that(strange.is_empty(), "nothing but the model was asked for", strange.join(", ")))
        });
        let drained = score.play("deliver", |checks| deliver::play(&bench, checks));
        println!("deliver: {} records of real runners", drained.unwrap_or_default());
    }
    drop(bench);
    if score.failed == 0 && !wish.keep {
        std::fs::remove_dir_all(&dir)?;
    } else {
        println!("the run's files are kept in {} until the next run", dir.display());
    }
    println!("{:.0} s, {} skipped", start.elapsed().as_secs_f64(), score.skipped);
    println!("{} passed, {} failed", score.passed, score.failed);
    Ok(score.failed == 0)
}

/// Installs a runner and puts it on the bench; whether that was possible.
fn offer(package: &Package, bench: &mut Bench, score: &mut Score) -> Outcome<bool> {
    let installed = match missing(package.name) {
        Some(why) => Err(why),
        None => package.install().map_err(|error| error.to_string()),
    };
    match installed {
        Ok(program) => bench.offer(&program)?,
        Err(why) => {
            score.skip(package.name, &why, false);
            return Ok(false);
        }
    }
    let asked = bench
        .run(&format!("{}-version", package.name), bench.command(package.name, None)?.arg("--version"))?;
    println!("{}: {}", package.name, asked.stdout.trim());
    if asked.stdout.contains(package.version) {
        return Ok(true);
    }
    score.skip(package.name, &format!("it does not run here; {}", asked.words()), false);
    Ok(false)
}

/// Ends what earlier runs left behind when they were interrupted, and removes their files. A run whose harness
/// still lives is left alone.
fn clear(room: &Path) -> Outcome<()> {
    for entry in std::fs::read_dir(room)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.strip_prefix("run-") else { continue };
        if !Path::new("/proc").join(pid).exists() {
            sweep(&entry.path())?;
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
