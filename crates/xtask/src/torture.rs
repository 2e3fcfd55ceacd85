//! `cargo xtask torture`: builds what is to be hurt, then hands over to the program that hurts it.
//!
//! The programs are built twice with the profile `torture`: once as they are, and once with the seeded bugs in them.
//! Both, and the torture itself, end up in one directory under cargo's own, from where they run.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::openclaw::support::Outcome;

const PROGRAMS: [&str; 3] = ["spool", "spool-put", "spool-run"];

/// The command; hands its arguments on.
pub(crate) fn run(mut args: lexopt::Parser) -> ExitCode {
    match build().and_then(|dirs| hand_over(&dirs, args.raw_args()?.collect())) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask torture: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Dirs {
    programs: PathBuf,
    seeded: PathBuf,
}

fn cargo(seeded: bool) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--locked", "--profile", "torture", "--package", "spool", "--bins"]);
    if seeded {
        command.args(["--package", "spool-torture"]).env("SPOOL_SEEDED_BUGS", "1");
    } else {
        command.env_remove("SPOOL_SEEDED_BUGS");
    }
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).stdin(Stdio::null());
    command
}

/// Builds both forms; each is copied away, because the next build writes over it.
fn build() -> Outcome<Dirs> {
    let target = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
    };
    let built = target.join("torture");
    let dirs = Dirs { programs: built.join("plain"), seeded: built.join("seeded") };
    for (dir, seeded) in [(&dirs.programs, false), (&dirs.seeded, true)] {
        if !cargo(seeded).status()?.success() {
            return Err("the programs do not build".into());
        }
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

fn hand_over(dirs: &Dirs, args: Vec<std::ffi::OsString>) -> Outcome<ExitCode> {
    let status = Command::new(dirs.seeded.join("torture"))
        .arg("--programs")
        .arg(&dirs.programs)
        .arg("--seeded")
        .arg(&dirs.seeded)
        .args(args)
        .status()?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}
