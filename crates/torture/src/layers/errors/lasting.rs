//! A kind of call fails for some time below a living agent.
//!
//! From the first such call on all of them fail for two seconds; then the disk is well again. The agent must not spin
//! meanwhile (the calls that fail, the lines of its journal and of its log are bounded), must not send anything twice,
//! bury anything or end, and must deliver everything afterwards.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::layer::Outcome;
use crate::layers::kill::Work;
use crate::layers::kill::site::Site;
use crate::layers::random::reader::{names, unsettled};
use crate::layers::scenes::{Place, judge, named};
use crate::trace::{self, Act, Ended, Stop};
use crate::wait::wait_for;

/// How long the calls fail.
const TROUBLE: Duration = Duration::from_secs(2);
/// How long everything may take; what was reported is left alone for a minute.
const LIMIT: Duration = Duration::from_secs(200);
/// How often the agent may run into the same wall in that time. A loop that does nothing else does so thousands of times.
const MOST: u64 = 400;
/// How many lines it may write about it, in its journal and in its log.
const LINES: usize = 150;

/// What fails.
struct Trouble {
    name: &'static str,
    errno: Errno,
    is_hit: fn(&Site, &Stop) -> bool,
}

static TROUBLES: &[Trouble] = &[
    Trouble {
        name: "no record can be read",
        errno: Errno::IO,
        is_hit: |site, _| matches!(site.call, "open" | "openat") && site.about == "spool/new/json",
    },
    Trouble {
        name: "nothing can be renamed",
        errno: Errno::IO,
        is_hit: |site, _| site.call == "renameat2" && site.about.contains("spool/"),
    },
    Trouble {
        name: "a record is immutable",
        errno: Errno::PERM,
        is_hit: |site, stop| {
            site.call == "renameat2"
                && stop.text(1).is_some_and(|from| from.to_string_lossy().contains("/a2"))
        },
    },
    Trouble {
        name: "no directory can be flushed",
        errno: Errno::IO,
        is_hit: |site, _| site.call == "fsync" && site.about.contains("spool/"),
    },
    Trouble {
        name: "the disk is full",
        errno: Errno::NOSPC,
        is_hit: |site, stop| {
            let is_create = site.call == "openat" && stop.args[2] & 0o100 != 0;
            site.about.contains("spool/") && (is_create || site.call == "write")
        },
    },
];

pub(super) fn run(work: &Work<'_>) -> Outcome<()> {
    thread::scope(|scope| {
        let agents: Vec<_> = TROUBLES.iter().map(|trouble| scope.spawn(move || one(work, trouble))).collect();
        let ends: Vec<Outcome<()>> = agents
            .into_iter()
            .map(|agent| agent.join().unwrap_or_else(|_| Err("a tracer panicked".into())))
            .collect();
        ends.into_iter().collect()
    })
}

fn one(work: &Work<'_>, trouble: &Trouble) -> Outcome<()> {
    let (home, mut place) = work.place()?;
    let scene = named(&["drain-lanes"]);
    let scene = scene.first().ok_or("there is no such scene")?;
    (scene.prepare)(&mut place)?;
    let (leader, is_over) = (AtomicI32::new(0), AtomicBool::new(false));
    let (mut since, mut hits, mut is_under_way) = (None::<Instant>, 0u64, false);
    let mut command = place.daemon();
    let spool = place.spool.clone();
    let (ended, settled) = thread::scope(|scope| -> Outcome<(Ended, bool)> {
        let settled = scope.spawn(|| {
            let settled = wait_for("everything to settle", LIMIT - Duration::from_secs(20), || {
                let is_done = is_over.load(Ordering::Relaxed) || unsettled(&spool)? == 0;
                Ok(is_done.then_some(()))
            });
            // The journal line of the last move follows it.
            thread::sleep(Duration::from_millis(300));
            if let Some(pid) = Pid::from_raw(leader.load(Ordering::Relaxed)) {
                let _asked = kill_process(pid, Signal::TERM).is_ok();
            }
            settled.is_ok()
        });
        let ended = trace::run(&mut command, LIMIT, &mut |stop| {
            if leader.load(Ordering::Relaxed) == 0 {
                leader.store(stop.tid.as_raw(), Ordering::Relaxed);
            }
            if !stop.is_entry {
                return Ok(Act::Go);
            }
            let site = Site::of(stop, &spool);
            is_under_way |= site.call == "renameat2" || site.about == "spool/new/json";
            // Not before it is at work: a disk that fails at the start is another matter.
            let is_hit = is_under_way && (trouble.is_hit)(&site, stop);
            if is_hit && since.get_or_insert_with(Instant::now).elapsed() < TROUBLE {
                hits += 1;
                return Ok(Act::Fail(trouble.errno.raw_os_error()));
            }
            Ok(Act::Go)
        });
        is_over.store(true, Ordering::Relaxed);
        let settled = settled.join().map_err(|_| "a thread panicked")?;
        Ok((ended?, settled))
    })?;
    let mut broken = Vec::new();
    if !settled || ended != Ended::Exited(0) {
        broken.push(format!("it did not come back: it ended with {ended:?}, all done: {settled}"));
    }
    if hits == 0 || hits > MOST {
        broken.push(format!("{hits} calls failed in {} s", TROUBLE.as_secs()));
    }
    let (journal, log) = (lines(&place)?, std::fs::read_to_string(place.log())?.lines().count());
    if journal > LINES || log > LINES {
        broken.push(format!("it wrote {journal} lines into its journal and {log} into its log"));
    }
    broken.append(&mut judge::settled(&place)?);
    work.with(|report| {
        report.count("agents that came back", u64::from(broken.is_empty()));
        report.count("calls that failed below a living agent", hits);
        for what in &broken {
            report.violation(format!("{}: {what} ({})", trouble.name, place.last_words()));
        }
    });
    drop(place);
    std::fs::remove_dir_all(home)?;
    Ok(())
}

fn lines(place: &Place<'_>) -> Outcome<usize> {
    let dir = place.spool.join("journal");
    let mut lines = 0;
    for name in names(&dir)? {
        lines += std::fs::read(dir.join(name))?.iter().filter(|byte| **byte == b'\n').count();
    }
    Ok(lines)
}
