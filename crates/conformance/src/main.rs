//! `spool-conformance`: judges a producer on the command line.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use spool_conformance::{Options, RULES, judge};

const USAGE: &str = "\
spool-conformance: judge a producer of the spool by the files it leaves (spool-format.md)

Examples:
  spool-conformance -- ./publish.py
  spool-conformance --no-id --plain-text-only -- sh publish.sh
  spool-conformance --only retry --only killed --kills 1000 -- node publish.js

Usage:
  spool-conformance [OPTIONS] [--] COMMAND [ARG...]

The command is run many times, in spools made for the purpose. Each time it must publish one record, and exit with 0
only when that is there and flushed. It finds in its environment
  SPOOL_DIR      the spool
  SPOOL_ID       the id of the record: its name is new/SPOOL_ID.json, and an \"id\" in it is this one
  SPOOL_SESSION  its sessionKey
  SPOOL_TEXT     its text
What it prints is not judged. Some rules need root (a full disk, a power cut): without it they are not tried.

Options:
  --no-id            it leaves the id to intake; rules about ids are not tried, and there is no SPOOL_ID
  --plain-text-only  it is declared to publish only what JSON need not escape
  --cuts-long-texts  it is declared to cut texts that are too long, instead of refusing them
  --kills N          how often it is killed [200]
  --races N          how often eight of them are started at once [8]
  --patience S       what one run may take, in seconds [30]
  --seed N           the moments of the kills [1]
  --only RULE        only this rule; may be repeated
  --rules            list the rules
  -h, --help         this text

Exit: 0 it passes every rule that was tried, 1 it fails one, 64 wrong usage, 70 it could not be judged.
";

enum Wish {
    Print(String),
    Judge(Vec<OsString>, Options),
}

fn parse() -> Result<Wish, Box<dyn std::error::Error + Send + Sync>> {
    let mut args = lexopt::Parser::from_env();
    let mut options = Options::default();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("no-id") => options.id = false,
            lexopt::Arg::Long("plain-text-only") => options.plain = true,
            lexopt::Arg::Long("cuts-long-texts") => options.cuts = true,
            lexopt::Arg::Long("kills") => options.kills = number(args.value()?)?,
            lexopt::Arg::Long("races") => options.races = number(args.value()?)?,
            lexopt::Arg::Long("seed") => options.seed = number(args.value()?)?,
            lexopt::Arg::Long("patience") => options.patience = Duration::from_secs(number(args.value()?)?),
            lexopt::Arg::Long("only") => options.only.push(args.value()?.to_string_lossy().into_owned()),
            lexopt::Arg::Long("rules") => {
                let line =
                    |r: &spool_conformance::Rule| format!("{:<12}  {:<8}  {}\n", r.name, r.section, r.says);
                return Ok(Wish::Print(RULES.iter().map(line).collect()));
            }
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => return Ok(Wish::Print(USAGE.to_owned())),
            lexopt::Arg::Value(program) => {
                let command = std::iter::once(program).chain(args.raw_args()?).collect();
                return Ok(Wish::Judge(command, options));
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Err("which command is to be judged?".into())
}

fn number(value: OsString) -> Result<u64, String> {
    let text = value.to_string_lossy();
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

fn main() -> ExitCode {
    let (command, options) = match parse() {
        Ok(Wish::Judge(command, options)) => (command, options),
        Ok(Wish::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("spool-conformance: {error}; see --help");
            return ExitCode::from(64);
        }
    };
    let judged = tempfile::Builder::new()
        .prefix("conformance-")
        .tempdir()
        .map_err(Into::into)
        .and_then(|scratch| judge(&command, &options, scratch.path()));
    match judged {
        Ok(judgement) => {
            println!("{judgement}");
            if judgement.failed().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("spool-conformance: {error}");
            ExitCode::from(70)
        }
    }
}
