//! The targets under libFuzzer: `fuzz` and, in the whole form, `fuzz-asan` beside the programs; one process a target and
//! form.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use spool_fuzz::{TARGETS, Target};

use super::{hunt, printable};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::work;

/// The longest that one input may take, in seconds: hundreds of thousands of times what they take.
const PATIENCE: u32 = 10;

/// How a target is built.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Plain,
    Asan,
}

impl Form {
    fn program(self) -> &'static str {
        match self {
            Form::Plain => "fuzz",
            Form::Asan => "fuzz-asan",
        }
    }

    fn counted(self) -> &'static str {
        match self {
            Form::Plain => "executions",
            Form::Asan => "ASan executions",
        }
    }

    /// Its parts of the time.
    fn share(self) -> u32 {
        match self {
            Form::Plain => 4,
            Form::Asan => 1,
        }
    }

    /// The most memory, in MiB: with the sanitizer, which keeps what was freed, it means less.
    fn memory(self) -> u32 {
        match self {
            Form::Plain => 1024,
            Form::Asan => 2048,
        }
    }
}

/// One process.
struct Job {
    target: &'static Target,
    form: Form,
    program: PathBuf,
    /// Where it leaves what it finds.
    dir: PathBuf,
    room: PathBuf,
    time: u64,
    seed: u32,
}

impl Job {
    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("SPOOL_FUZZ_TARGET", self.target.name)
            .env("SPOOL_FUZZ_ROOM", &self.room)
            .env("TMPDIR", &self.room)
            // What leaks would grow beyond the memory it may have; the search for leaks needs to trace.
            .env("ASAN_OPTIONS", "detect_leaks=0:symbolize=0")
            .arg(format!("-timeout={PATIENCE}"))
            .arg(format!("-rss_limit_mb={}", self.form.memory()))
            .arg(format!("-artifact_prefix={}/", self.dir.display()))
            .args(more)
            .stdin(Stdio::null());
        command
    }

    fn fuzz(&self) -> Command {
        let mut command = self.command(&["-print_final_stats=1", "-reload=0"]);
        command
            .arg(format!("-max_total_time={}", self.time))
            .arg(format!("-max_len={}", self.target.max_len))
            .arg(format!("-seed={}", self.seed))
            .arg(self.dir.join("corpus"));
        command
    }
}

/// Runs all targets within this time, in both forms where the layer is to be whole.
pub(super) fn run(ground: &Ground, room: &Path, time: Duration, report: &mut Report) -> Outcome<()> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let jobs = jobs(ground, room, time, cores)?;
    report.count("targets", TARGETS.len() as u64);
    let mut ended: BTreeMap<usize, std::io::Result<Output>> = BTreeMap::new();
    let gather = std::sync::Mutex::new(&mut ended);
    work::side_by_side(jobs.iter().map(Job::fuzz).collect(), cores, &|at, output| {
        if let Ok(mut ended) = gather.lock() {
            ended.insert(at, output);
        }
    });
    for (job, output) in jobs.iter().zip(ended.into_values()) {
        judge(job, &output?, report)?;
    }
    Ok(())
}

fn jobs(ground: &Ground, room: &Path, time: Duration, cores: usize) -> Outcome<Vec<Job>> {
    let all = time.as_millis() * cores as u128 / TARGETS.len() as u128;
    let mut chance = ground.chance("fuzz");
    let mut jobs = Vec::new();
    let forms: &[Form] = if ground.full { &[Form::Plain, Form::Asan] } else { &[Form::Plain] };
    let parts: u32 = forms.iter().map(|form| form.share()).sum();
    for &form in forms {
        let program = ground.programs.join(form.program());
        if !program.is_file() {
            let why = "is not there; cargo xtask torture builds it when this layer is asked for";
            return Err(format!("{} {why}", program.display()).into());
        }
        for target in TARGETS {
            let name = format!("{}-{}", form.program(), target.name);
            let dir = ground.room(&name)?;
            std::fs::create_dir(dir.join("corpus"))?;
            for (n, input) in hunt::corpus(target)?.iter().enumerate() {
                std::fs::write(dir.join("corpus").join(n.to_string()), input)?;
            }
            let room = room.join(name);
            std::fs::create_dir(&room)?;
            let time = u64::try_from(all * u128::from(form.share()) / u128::from(parts) / 1000)?.max(1);
            let seed = u32::try_from(chance.below(u64::from(u32::MAX)))?.max(1);
            jobs.push(Job { target, form, program: program.clone(), dir, room, time, seed });
        }
    }
    Ok(jobs)
}

/// What came of it: figures, and what it found.
fn judge(job: &Job, output: &Output, report: &mut Report) -> Outcome<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    let figure = |name: &str| -> u64 {
        let line = said.lines().rev().find_map(|line| line.strip_prefix(name));
        line.and_then(|n| n.trim().parse().ok()).unwrap_or_default()
    };
    let executions = figure("stat::number_of_executed_units:");
    report.count(job.form.counted(), executions);
    let name = job.target.name;
    let edges = said.rsplit("cov: ").next().and_then(|rest| rest.split(' ').next()).unwrap_or("?");
    let kept = said.rsplit(" corp: ").next().and_then(|rest| rest.split('/').next()).unwrap_or("?");
    report.fact(format!(
        "{name} ({}): {executions} {}, {} a second, {edges} edges, {kept} inputs kept, {} MiB",
        job.target.about,
        job.form.counted(),
        executions / job.time,
        figure("stat::peak_rss_mb:")
    ));
    if output.status.success() {
        report.check(executions > 0, || format!("{name} fed nothing"));
        return Ok(());
    }
    let words = words(&said);
    let mut found = 0;
    for entry in std::fs::read_dir(&job.dir)? {
        let path = entry?.path();
        let kind =
            path.file_name().and_then(|n| n.to_str()).and_then(|n| n.split_once('-')).map(|(kind, _)| kind);
        let Some(kind @ ("crash" | "timeout" | "oom" | "leak")) = kind else { continue };
        found += 1;
        let input = std::fs::read(&path)?;
        // A machine that stood still looks like an input that takes long; such an input takes long again.
        let path = path.to_string_lossy();
        if kind == "timeout" && job.command(&[&path]).output()?.status.success() {
            report
                .fact(format!("{name}: an input took more than {PATIENCE} s, and not when it was fed again"));
            continue;
        }
        report.violation(format!("{name} ({}), {kind}: {words}: {}", job.form.program(), printable(&input)));
    }
    if found == 0 {
        report.violation(format!("{name} ({}) ended with {}: {words}", job.form.program(), output.status));
    }
    Ok(())
}

/// Of all that libFuzzer says, why it stopped.
fn words(said: &str) -> String {
    let mut lines = said.lines().skip_while(|line| !line.contains("panicked at"));
    let panic = lines.next().map(|place| format!("{place} {}", lines.next().unwrap_or_default()));
    let error = || said.lines().find(|line| line.contains("ERROR: ")).map(str::to_owned);
    let last = || said.lines().next_back().unwrap_or("it said nothing").to_owned();
    panic.or_else(error).unwrap_or_else(last).chars().filter(|c| !c.is_control()).take(500).collect()
}
