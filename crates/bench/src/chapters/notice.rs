//! `notice`: from the rename of a record into `new/` to the agent's doorbell, against the kernel's own notice.
//!
//! Both wait for the same rename of the same kind of file, in turns: a thread that reads inotify by itself, and the
//! doorbell of the agent, which hears of it through a thread of its watcher and wakes a task of its runtime.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::inotify;
use spool_drain::watch::Doorbell;

use crate::bench::{Bench, Outcome};
use crate::checks::{Aim, Check};
use crate::report::{Chapter, Findings};
use crate::rounds::{Contest, Effort, Sample, percentile};

/// See the head of this file.
pub const CHAPTER: Chapter =
    Chapter { name: "notice", about: "from a rename to the doorbell, against inotify", run };

/// Renames in a turn.
const TURN: usize = 50;
/// No notice takes longer.
const LIMIT: Duration = Duration::from_secs(60);

/// Renames files into `new`, each when `ready` says that the listener waits, and takes the time until `heard`.
fn renames(dir: &Path, round: usize, heard: &mpsc::Receiver<Instant>) -> Outcome<Sample> {
    let mut sample = Sample::default();
    for number in 0..TURN {
        let from = dir.join(format!("tmp-{round}-{number}"));
        std::fs::write(&from, "{}")?;
        let start = Instant::now();
        rustix::fs::rename(&from, dir.join("new").join(format!("{round}-{number}.json")))?;
        let took = heard.recv_timeout(LIMIT)?.duration_since(start);
        sample.count += 1;
        sample.took += took;
        sample.each.push(took);
    }
    Ok(sample)
}

fn place(bench: &Bench) -> Outcome<PathBuf> {
    let dir = bench.place.fresh("notice")?;
    std::fs::create_dir(dir.join("new"))?;
    Ok(dir)
}

fn raw(bench: &Bench, round: usize) -> Outcome<Sample> {
    let dir = place(bench)?;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, dir.join("new"), inotify::WatchFlags::MOVED_TO)?;
    let (tell, heard) = mpsc::channel();
    let listener = std::thread::spawn(move || {
        let mut buffer = vec![0; 4096];
        for _ in 0..TURN {
            let is_read = rustix::io::read(&watch, &mut buffer).is_ok();
            if !is_read || tell.send(Instant::now()).is_err() {
                break;
            }
        }
    });
    let sample = renames(&dir, round, &heard)?;
    listener.join().map_err(|_| "the listener panicked")?;
    Ok(sample)
}

fn doorbell(bench: &Bench, round: usize) -> Outcome<Sample> {
    let dir = place(bench)?;
    let new = dir.join("new");
    let (tell, heard) = mpsc::channel();
    let (done, mut is_done) = tokio::sync::mpsc::channel::<()>(1);
    let (ready, is_ready) = mpsc::channel();
    let listener = std::thread::spawn(move || -> Outcome<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut doorbell = Doorbell::watch(&[new]);
            // It rings once for what was there before.
            doorbell.ring().await;
            ready.send(())?;
            loop {
                tokio::select! {
                    () = doorbell.ring() => tell.send(Instant::now())?,
                    _ = is_done.recv() => return Ok(()),
                }
            }
        })
    });
    is_ready.recv_timeout(LIMIT)?;
    let sample = renames(&dir, round, &heard);
    drop(done);
    listener.join().map_err(|_| "the listener panicked")??;
    sample
}

fn run(bench: &Bench) -> Outcome<Findings> {
    let mut findings = Findings::default();
    let mut contest = Contest::new();
    contest.enter("inotify", move |round| raw(bench, round));
    contest.enter("doorbell", move |round| doorbell(bench, round));
    let rounds = contest.run(Effort::of(bench, 40, 5), bench.chance("notice"))?;
    findings.table(rounds.table("cost", "From the rename to the waiter", "inotify")?);
    let median = |name: &str| rounds.each(name).map(|each| percentile(&each, 0.5));
    let ratio = median("doorbell")? / median("inotify")?;
    let check = Check::new("doorbell p50 / inotify p50", Aim::AtMost(3.0), ratio).limit(Aim::AtMost(100.0));
    findings.check(check.because("notify has a thread of its own: two wake-ups instead of one"));
    findings.say(
        "What is lost when the kernel's queue overflows is found by the next sweep; that is a test, not a figure \
         (`crates/drain/src/watch/tests.rs`).",
    );
    Ok(findings)
}
