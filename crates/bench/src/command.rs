//! The command line: which chapters, in which form; what was found is printed, judged, and in the whole form written
//! down.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::bench::{Bench, Outcome};
use crate::chapters::ALL;
use crate::docs::{self, Measured};
use crate::place::Place;
use crate::report::Chapter;

const USAGE: &str = "\
usage: cargo xtask bench [CHAPTER...] [--quick] [--seed N]
       cargo xtask bench --render
  CHAPTER   one of those below (default: all)
  --quick   the form for CI: counts and wide ratios, nothing is written
  --seed N  the order of an earlier run
  --render  docs/performance.md anew, from what was measured before
chapters:";

#[derive(Default)]
struct Wish {
    chapters: Vec<&'static Chapter>,
    help: bool,
    render: bool,
    quick: bool,
    seed: u64,
    programs: PathBuf,
    statics: PathBuf,
    room: PathBuf,
    docs: PathBuf,
    node: Option<PathBuf>,
    openclaw: Option<PathBuf>,
    has_own_mounts: bool,
}

/// The program.
pub fn run() -> ExitCode {
    let ended = parse().and_then(|wish| match wish {
        Wish { help: true, .. } => {
            println!("{}", usage());
            Ok(ExitCode::SUCCESS)
        }
        Wish { render: true, .. } => docs::render(&wish.docs).map(|()| ExitCode::SUCCESS),
        wish => measure(wish),
    });
    ended.unwrap_or_else(|error| {
        eprintln!("bench: {error}");
        ExitCode::FAILURE
    })
}

fn usage() -> String {
    let chapters = ALL.iter().map(|chapter| format!("  {:<10} {}", chapter.name, chapter.about));
    format!("{USAGE}\n{}", chapters.collect::<Vec<_>>().join("\n"))
}

fn parse() -> Outcome<Wish> {
    let mut args = lexopt::Parser::from_env();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let mut wish = Wish { seed: u64::try_from(now)? % 1_000_000, ..Wish::default() };
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Value(name) => {
                let found = ALL.iter().find(|chapter| name == chapter.name);
                let missing = || format!("there is no chapter {}\n{}", name.to_string_lossy(), usage());
                wish.chapters.push(found.ok_or_else(missing)?);
            }
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => wish.help = true,
            lexopt::Arg::Long("quick") => wish.quick = true,
            lexopt::Arg::Long("render") => wish.render = true,
            lexopt::Arg::Long("seed") => wish.seed = args.value()?.to_string_lossy().parse()?,
            // What follows is said by the chore that built it all.
            lexopt::Arg::Long("programs") => wish.programs = PathBuf::from(args.value()?),
            lexopt::Arg::Long("statics") => wish.statics = PathBuf::from(args.value()?),
            lexopt::Arg::Long("room") => wish.room = PathBuf::from(args.value()?),
            lexopt::Arg::Long("node") => wish.node = Some(PathBuf::from(args.value()?)),
            lexopt::Arg::Long("openclaw") => wish.openclaw = Some(PathBuf::from(args.value()?)),
            lexopt::Arg::Long("own-mounts") => wish.has_own_mounts = true,
            lexopt::Arg::Long("docs") => wish.docs = PathBuf::from(args.value()?),
            _ => return Err(usage().into()),
        }
    }
    Ok(wish)
}

fn measure(wish: Wish) -> Outcome<ExitCode> {
    if [&wish.programs, &wish.statics, &wish.room, &wish.docs].iter().any(|dir| dir.as_os_str().is_empty()) {
        return Err("this program is run by cargo xtask bench, which builds what it measures".into());
    }
    let chapters = if wish.chapters.is_empty() { ALL.iter().collect() } else { wish.chapters };
    let bench = Bench {
        quick: wish.quick,
        seed: wish.seed,
        programs: wish.programs,
        statics: wish.statics,
        place: Place::new(&wish.room)?,
        packages: wish.room.join("packages"),
        node: wish.node,
        openclaw: wish.openclaw,
        has_own_mounts: wish.has_own_mounts,
    };
    let start = Instant::now();
    let mut all = Vec::new();
    let mut failed: Vec<String> = Vec::new();
    for chapter in chapters {
        println!("== {}: {} (load {})", chapter.name, chapter.about, docs::load());
        let start = Instant::now();
        let findings = match (chapter.run)(&bench) {
            Ok(findings) => findings,
            Err(error) => {
                println!("{}: cannot be measured: {error}", chapter.name);
                failed.push(format!("{}: {error}", chapter.name));
                continue;
            }
        };
        let took = start.elapsed().as_secs_f64();
        println!("{}{}: {took:.1} s\n", findings.text(), chapter.name);
        // The quick form proves nothing with what it does not judge.
        if findings.checks.iter().all(|check| bench.quick && check.limit.is_none()) {
            failed.push(format!("{}: nothing was checked", chapter.name));
        }
        let broken = findings.checks.iter().filter(|check| check.is_broken());
        failed.extend(broken.map(|check| format!("{}: {} = {}", chapter.name, check.name, check.reached)));
        let measured = Measured {
            chapter: chapter.name.to_owned(),
            machine: docs::machine(&bench),
            seed: bench.seed,
            took,
            findings,
        };
        std::fs::write(wish.room.join(format!("{}.json", chapter.name)), docs::json(&measured)?)?;
        all.push(measured);
    }
    if !bench.quick {
        docs::write(&wish.docs, &all)?;
    }
    let checks: usize = all.iter().map(|measured| measured.findings.checks.len()).sum();
    println!(
        "{} chapters, {checks} checks, {} failed {failed:?}, {:.0} s, seed {}",
        all.len(),
        failed.len(),
        start.elapsed().as_secs_f64(),
        bench.seed
    );
    Ok(if failed.is_empty() && checks > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
