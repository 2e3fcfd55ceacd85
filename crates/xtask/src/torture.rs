//! `cargo xtask torture`: builds what is to be hurt, then hands over to the program that hurts it.
//!
//! The programs are built twice with the profile `torture`: once as they are, and once with the seeded bugs in them, each
//! in a directory of cargo's own, so that neither build undoes the other. Both, and the torture itself, are copied to
//! where they run, and with `build` that is all. What the layer `fuzz` needs is built only where it will run: the targets with the counters of libFuzzer, and for its whole form once more
//! with the address sanitizer.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::openclaw::support::Outcome;

const PROGRAMS: [&str; 3] = ["spool", "spool-put", "spool-run"];

/// The command; hands its arguments on.
pub(crate) fn run(mut args: lexopt::Parser) -> ExitCode {
    match args.raw_args().map_err(Into::into).and_then(|args| all(args.collect())) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask torture: {error}");
            ExitCode::FAILURE
        }
    }
}

fn all(mut args: Vec<OsString>) -> Outcome<ExitCode> {
    let only_builds = args.first().is_some_and(|arg| arg == "build");
    if only_builds {
        args.remove(0);
    }
    let dirs = build()?;
    if wants_fuzz(&args) {
        build_fuzz(&dirs, &target_dir(), false)?;
        if args.iter().any(|arg| arg == "--full") {
            // In a directory of its own: build scripts look whether what is not stable is allowed, and would be run, and
            // all that depends on them compiled, each time that changes.
            build_fuzz(&dirs, &target_dir().join("fuzz-asan"), true)?;
        }
    }
    if only_builds { Ok(ExitCode::SUCCESS) } else { hand_over(&dirs, args) }
}

/// Whether the layer `fuzz` will run, and not only hunt a seeded bug, which it does without libFuzzer.
fn wants_fuzz(args: &[OsString]) -> bool {
    let mut layers = Vec::new();
    let mut words = args.iter().filter_map(|arg| arg.to_str());
    while let Some(word) = words.next() {
        match word {
            "--bug" => return false,
            "--seed" | "--time" => drop(words.next()),
            word if word.starts_with('-') => {}
            layer => layers.push(layer),
        }
    }
    layers.is_empty() || layers.contains(&"fuzz")
}

struct Dirs {
    programs: PathBuf,
    seeded: PathBuf,
}

fn cargo(target: &Path, seeded: bool) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--locked", "--profile", "torture", "--package", "spool", "--bins"]);
    command.arg("--target-dir").arg(target);
    if seeded {
        command.args(["--package", "spool-torture"]).env("SPOOL_SEEDED_BUGS", "1");
    } else {
        command.env_remove("SPOOL_SEEDED_BUGS");
    }
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).stdin(Stdio::null());
    command
}

/// Cargo's own directory.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    }
}

/// What libFuzzer needs: edges counted, their places, and the operands of comparisons.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Builds the targets of the layer `fuzz`: everything in them is compiled with other flags, but for build scripts and
/// macros, which a build with its target named has in common with the programs.
fn build_fuzz(dirs: &Dirs, target: &Path, has_asan: bool) -> Outcome<()> {
    let said = Command::new("rustc").arg("-vV").output()?.stdout;
    let said = String::from_utf8(said)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc names no host")?;
    let (name, more) = if has_asan { ("fuzz-asan", " -Zsanitizer=address") } else { ("fuzz", "") };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--locked", "--profile", "torture", "--package", "spool-fuzz"])
        .args(["--bin", "fuzz"])
        .args(["--target", host])
        .arg("--target-dir")
        .arg(target)
        .env("RUSTFLAGS", format!("{COVERAGE}{more}"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("SPOOL_SEEDED_BUGS")
        .env("CARGO_PROFILE_TORTURE_DEBUG", "0")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .stdin(Stdio::null());
    if has_asan {
        // The sanitizer is not stable; everything else is. What it slows down needs less care from the compiler.
        cargo.env("RUSTC_BOOTSTRAP", "1").env("CARGO_PROFILE_TORTURE_OPT_LEVEL", "1");
    }
    if !cargo.status()?.success() {
        return Err(format!("{name} does not build").into());
    }
    let to = dirs.programs.join(name);
    std::fs::remove_file(&to).ok();
    std::fs::copy(target.join(host).join("torture/fuzz"), to)?;
    Ok(())
}

/// Builds both forms; each is copied away, because a later build writes over it while it may still run.
fn build() -> Outcome<Dirs> {
    let (plain, seeded) = (target_dir(), target_dir().join("seeded"));
    let dirs = Dirs { programs: plain.join("torture/plain"), seeded: plain.join("torture/seeded") };
    for (dir, target, seeded) in [(&dirs.programs, &plain, false), (&dirs.seeded, &seeded, true)] {
        if !cargo(target, seeded).status()?.success() {
            return Err("the programs do not build".into());
        }
        let built = target.join("torture");
        std::fs::create_dir_all(dir)?;
        for program in PROGRAMS.iter().copied().chain(seeded.then_some("torture")) {
            // A program that still runs from an earlier torture cannot be written over, but it can be replaced.
            let (from, to) = (built.join(program), dir.join(program));
            std::fs::remove_file(&to).ok();
            std::fs::copy(from, to)?;
        }
    }
    Ok(dirs)
}

fn hand_over(dirs: &Dirs, args: Vec<OsString>) -> Outcome<ExitCode> {
    let status = Command::new(dirs.seeded.join("torture"))
        .arg("--programs")
        .arg(&dirs.programs)
        .arg("--seeded")
        .arg(&dirs.seeded)
        .args(args)
        .status()?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}
