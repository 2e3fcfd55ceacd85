//! `put`: one `spool-put`, from start to exit, against the floor under it.
//!
//! The floor is a program of the same build (`crates/bench/programs/src/floor.rs`) that makes the calls without which no
//! record is kept: read, write, fdatasync, link, fsync. Both are static; both read the same record of 1 KiB from stdin.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bench::{Bench, Outcome};
use crate::chapters::record;
use crate::checks::{Aim, Check};
use crate::counts::{Counts, wait};
use crate::report::{Chapter, Findings, Table};
use crate::rounds::{Contest, Effort, timed};

/// See the head of this file.
pub const CHAPTER: Chapter = Chapter { name: "put", about: "one spool-put against the floor under it", run };

/// How many in a turn.
const TURN: usize = 10;

/// Runs a program to its end with this stdin; its stdout and stderr go nowhere.
///
/// # Errors
/// When it fails.
pub fn once(command: &mut Command, input: &[u8]) -> Outcome<()> {
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input)?;
    }
    let status = wait(&mut child, Duration::from_secs(60))?;
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
}

/// The floor, once more in `dir`.
fn floor(bench: &Bench, dir: &Path, name: &str) -> Command {
    let mut command = bench.static_program("floor");
    command.arg(dir).arg(name);
    command
}

/// `spool-put` with a record on stdin.
pub fn put(mut program: Command, dir: &Path) -> Command {
    program.arg("--spool").arg(dir).args(["--record", "-"]);
    program
}

fn run(bench: &Bench) -> Outcome<Findings> {
    let mut findings = Findings::default();
    let record = record();
    let dir = bench.place.fresh("put")?;
    once(&mut put(bench.static_program("spool-put"), &dir), &record)?;
    let log = bench.place.fresh("strace")?.join("log");
    let bare = Counts::of(&floor(bench, &dir, "counted.json"), &record, &log)?;
    let ours = Counts::of(&put(bench.static_program("spool-put"), &dir), &record, &log)?;
    let mut table = Table::new("calls", "System calls", &["", "floor", "spool-put"]);
    let (floor_calls, put_calls) = (bare.each(), ours.each());
    let mut names: Vec<&str> = floor_calls.keys().chain(put_calls.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let count = |calls: &std::collections::BTreeMap<&str, u64>| {
            calls.get(name).map_or(String::new(), ToString::to_string)
        };
        table.row(vec![name.to_owned(), count(&floor_calls), count(&put_calls)]);
    }
    table.row(vec!["all".to_owned(), bare.total().to_string(), ours.total().to_string()]);
    findings.table(table);
    findings.check(Check::count("flushes of a put", 2, ours.flushes()));

    let mut contest = Contest::new();
    let floor_dir = dir.clone();
    let input = &record;
    contest.enter("floor", move |round| {
        timed(TURN, |n| once(&mut floor(bench, &floor_dir, &format!("{round}-{n}.json")), input))
    });
    contest.enter("spool-put", move |_| {
        timed(TURN, |_| once(&mut put(bench.static_program("spool-put"), &dir), input))
    });
    let rounds = contest.run(Effort::of(bench, 100, 12), bench.chance("put"))?;
    findings.table(rounds.table("cost", "One record of 1 KiB, from start to exit", "floor")?);
    let ratio = rounds.cost_ratio("spool-put", "floor")?;
    let check = Check::new("spool-put / floor", Aim::AtMost(1.10), ratio.median).limit(Aim::AtMost(2.5));
    findings.check(check.because(
        "what is left over the floor is a larger program's page faults, looking at the spool's twelve directories and \
         its format, and reading the JSON twice; a slower disk hides it, a busy processor shows it",
    ));
    Ok(findings)
}
