//! The command line: which layers, with which seed, for how long; or the matrix.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spool_seeded::Bug;

use crate::ground::Ground;
use crate::layer::{Layer, Outcome};
use crate::layers::ALL;
use crate::{matrix, work};

const USAGE: &str = "\
usage: torture [LAYER...] --programs DIR [--seeded DIR] [--seed N] [--time SECONDS] [--full] [--bug NAME]
       torture matrix --seeded DIR [--full]
  LAYER           one of those below (default: all)
  --programs DIR  where spool, spool-put and spool-run are
  --seeded DIR    the same, built with the seeded bugs
  --seed N        repeat an earlier run
  --time SECONDS  what each layer may take, instead of its own budget
  --full          the whole form of a layer, not the one that fits into CI
  --bug NAME      sow this bug; exit code 3 when the layer catches it, 0 when it does not";

/// A layer found what it should: a seeded bug.
pub(crate) const CAUGHT: u8 = 3;

/// What was asked for.
#[derive(Clone, Default)]
pub(crate) struct Wish {
    layers: Vec<&'static Layer>,
    help: bool,
    matrix: bool,
    programs: Option<PathBuf>,
    seeded: Option<PathBuf>,
    seed: u64,
    time: Option<Duration>,
    pub(crate) full: bool,
    bug: Option<Bug>,
}

impl Wish {
    /// This program again, for one layer.
    pub(crate) fn again(&self, layer: &str) -> Outcome<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(layer).arg("--seed").arg(self.seed.to_string());
        for (name, dir) in [("--programs", &self.programs), ("--seeded", &self.seeded)] {
            if let Some(dir) = dir {
                command.arg(name).arg(dir);
            }
        }
        if let Some(time) = self.time {
            command.arg("--time").arg(time.as_secs().to_string());
        }
        if self.full {
            command.arg("--full");
        }
        Ok(command)
    }
}

/// The program.
pub(crate) fn run() -> ExitCode {
    let ended = parse().and_then(|wish| match wish.layers.as_slice() {
        _ if wish.help => {
            println!("{}", usage());
            Ok(ExitCode::SUCCESS)
        }
        _ if wish.matrix => matrix::run(&wish),
        [layer] => one(&wish, layer),
        _ => several(&wish),
    });
    ended.unwrap_or_else(|error| {
        eprintln!("torture: {error}");
        ExitCode::FAILURE
    })
}

/// The usage, with the layers and what each is about.
fn usage() -> String {
    let layers = ALL.iter().map(|layer| format!("  {:<14} {}", layer.name, layer.about));
    format!("{USAGE}\nlayers:\n{}", layers.collect::<Vec<_>>().join("\n"))
}

fn parse() -> Outcome<Wish> {
    let mut args = lexopt::Parser::from_env();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let mut wish = Wish { seed: u64::try_from(now)? % 1_000_000, ..Wish::default() };
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Value(name) if name == "matrix" => wish.matrix = true,
            lexopt::Arg::Value(name) => {
                let found = ALL.iter().find(|layer| name == layer.name);
                wish.layers.push(found.ok_or(format!(
                    "there is no layer {}\n{}",
                    name.to_string_lossy(),
                    usage()
                ))?);
            }
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => wish.help = true,
            lexopt::Arg::Long("programs") => {
                wish.programs = Some(PathBuf::from(args.value()?).canonicalize()?)
            }
            lexopt::Arg::Long("seeded") => wish.seeded = Some(PathBuf::from(args.value()?).canonicalize()?),
            lexopt::Arg::Long("seed") => wish.seed = args.value()?.to_string_lossy().parse()?,
            lexopt::Arg::Long("time") => {
                wish.time = Some(Duration::from_secs(args.value()?.to_string_lossy().parse()?));
            }
            lexopt::Arg::Long("full") => wish.full = true,
            lexopt::Arg::Long("bug") => {
                let name = args.value()?.to_string_lossy().into_owned();
                wish.bug = Some(Bug::named(&name).ok_or(format!("there is no bug {name}"))?);
            }
            _ => return Err(usage().into()),
        }
    }
    Ok(wish)
}

/// One layer, in this process.
fn one(wish: &Wish, layer: &Layer) -> Outcome<ExitCode> {
    let programs = if wish.bug.is_some() { &wish.seeded } else { &wish.programs };
    let programs =
        programs.clone().ok_or("say where the programs are: --programs DIR (--seeded DIR with --bug)")?;
    if let Some(bug) = wish.bug {
        arm(bug)?;
    }
    let scratch = tempfile::Builder::new().prefix("torture-").tempdir()?;
    let start = Instant::now();
    let budget = wish.time.unwrap_or(layer.budget);
    let ground = Ground::new(programs, scratch.path().to_owned(), wish.seed, budget, wish.bug, wish.full);
    let report =
        (layer.run)(&ground).map_err(|error| format!("{}: cannot do its work: {error}", layer.name))?;
    report.print(layer.name, wish.seed, start.elapsed());
    Ok(match (report.violated(), wish.bug) {
        (0, _) => ExitCode::SUCCESS,
        (_, Some(_)) => ExitCode::from(CAUGHT),
        (_, None) => ExitCode::FAILURE,
    })
}

#[cfg(seeded_bugs)]
fn arm(bug: Bug) -> Outcome<()> {
    spool_seeded::arm(Some(bug));
    Ok(())
}

#[cfg(not(seeded_bugs))]
fn arm(_: Bug) -> Outcome<()> {
    Err("this torture was built without the seeded bugs; build it with SPOOL_SEEDED_BUGS=1".into())
}

/// Several layers, each in a process of its own, as many at a time as there are cores; when none was named all of them,
/// and then the proof that they can fail.
fn several(wish: &Wish) -> Outcome<ExitCode> {
    let layers: Vec<&Layer> = if wish.layers.is_empty() { ALL.iter().collect() } else { wish.layers.clone() };
    if layers.is_empty() {
        return Err("there is no layer yet".into());
    }
    let start = Instant::now();
    let failed = Mutex::new(Vec::new());
    let commands = layers.iter().map(|layer| wish.again(layer.name)).collect::<Outcome<Vec<Command>>>()?;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    // One more than there are cores: the soak mostly waits.
    work::side_by_side(commands, cores + 1, &|at, ended| {
        let name = layers.get(at).map_or("?", |layer| layer.name);
        let well = match ended {
            Ok(output) => {
                print!("{}", String::from_utf8_lossy(&output.stdout));
                eprint!("{}", String::from_utf8_lossy(&output.stderr));
                output.status.success()
            }
            Err(error) => {
                println!("{name}: cannot be started: {error}");
                false
            }
        };
        if !well && let Ok(mut failed) = failed.lock() {
            failed.push(name);
        }
    });
    let failed = failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    println!(
        "{} layers, {} failed {failed:?}, {:.0} s",
        layers.len(),
        failed.len(),
        start.elapsed().as_secs_f64()
    );
    let matrix = if wish.layers.is_empty() { matrix::run(wish)? } else { ExitCode::SUCCESS };
    Ok(if failed.is_empty() { matrix } else { ExitCode::FAILURE })
}
