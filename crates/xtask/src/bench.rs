//! `cargo xtask bench`: builds what is measured, then hands over to the program that measures.
//!
//! The release programs and the program that measures; and the static `spool-put` as a sandbox gets it, with the floor
//! under it built by the same flags. All of them are copied to where they run, for a build that goes on beside a
//! measurement must not change what is measured.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::openclaw::install;
use crate::openclaw::support::Outcome;
use crate::torture::target_dir;

/// What a static program is linked with.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// The command; hands its arguments on.
pub(crate) fn run(mut args: lexopt::Parser) -> ExitCode {
    match args.raw_args().map_err(Into::into).and_then(|args| all(args.collect())) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn all(args: Vec<OsString>) -> Outcome<ExitCode> {
    let room = target_dir().join("bench");
    let (programs, statics) = (room.join("programs"), room.join("static"));
    std::fs::create_dir_all(&programs)?;
    std::fs::create_dir_all(&statics)?;
    let built = target_dir().join("release");
    build(&["--release", "--package", "spool", "--bins"], false)?;
    build(&["--release", "--package", "spool-bench", "--bins"], false)?;
    for program in ["spool", "spool-put", "spool-run", "bench", "writer"] {
        replace(&built.join(program), &programs.join(program))?;
    }
    let built = target_dir().join(TARGET).join("tiny");
    let tiny = ["--profile", "tiny", "--target", TARGET, "--no-default-features"];
    build(&[&tiny[..], &["--package", "spool", "--bin", "spool-put"]].concat(), true)?;
    build(&[&tiny[..], &["--package", "spool-bench-programs", "--bin", "floor"]].concat(), true)?;
    for program in ["spool-put", "floor"] {
        replace(&built.join(program), &statics.join(program))?;
    }
    let is_quick = args.iter().any(|arg| arg == "--quick");
    let mut more: Vec<OsString> = Vec::new();
    if !is_quick && wants_peers(&args) {
        build(&["--release", "--package", "spool-bench-programs", "--features", "rusqlite"], false)?;
        replace(&target_dir().join("release/rusqlite-put"), &programs.join("rusqlite-put"))?;
        match install::install(install::CURRENT) {
            Ok(found) => {
                more.extend(["--node".into(), found.node.into(), "--openclaw".into(), found.entry.into()]);
            }
            // Without it the table says so.
            Err(error) => println!("without openclaw: {error}"),
        }
    }
    // A peer whose queue is at a fixed place gets it mounted there, where nobody else sees it.
    let mut command = if !is_quick && rustix::process::geteuid().is_root() {
        more.push("--own-mounts".into());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]).arg(programs.join("bench"));
        command
    } else {
        Command::new(programs.join("bench"))
    };
    let status = command
        .arg("--programs")
        .arg(&programs)
        .arg("--statics")
        .arg(&statics)
        .arg("--room")
        .arg(&room)
        .arg("--docs")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs"))
        .args(more)
        .args(args)
        .status()?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

/// Whether the chapter of the peers will be run.
fn wants_peers(args: &[OsString]) -> bool {
    let mut chapters = Vec::new();
    let mut words = args.iter().filter_map(|arg| arg.to_str());
    while let Some(word) = words.next() {
        match word {
            "--render" | "--help" => return false,
            "--seed" => drop(words.next()),
            word if word.starts_with('-') => {}
            chapter => chapters.push(chapter),
        }
    }
    chapters.is_empty() || chapters.contains(&"peers")
}

fn build(args: &[&str], is_static: bool) -> Outcome<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--locked"]).args(args).env_remove("SPOOL_SEEDED_BUGS");
    cargo.arg("--target-dir").arg(target_dir());
    if is_static {
        let flags = "-C relocation-model=static -C link-arg=-Wl,-z,noseparate-code";
        cargo.env("RUSTFLAGS", flags).env_remove("CARGO_ENCODED_RUSTFLAGS");
    }
    cargo.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).stdin(Stdio::null());
    if cargo.status()?.success() { Ok(()) } else { Err(format!("cargo build {args:?} failed").into()) }
}

/// A program that still runs cannot be written over, but it can be replaced.
fn replace(from: &Path, to: &PathBuf) -> Outcome<()> {
    std::fs::remove_file(to).ok();
    std::fs::copy(from, to).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
    Ok(())
}
