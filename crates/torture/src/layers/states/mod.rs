//! What an abstract file system may hold after a crash.
//!
//! The product's own code runs on a disk in memory that writes down each change (`memory`, `disk`). For every prefix of
//! that log all images are worked out that a power cut may leave there (`crash`: one model of a disk that keeps names in
//! order and one that keeps as little as POSIX says), and each is tried (`check`): it is judged by a ledger of what was
//! promised to whom (`ledger`), the spool is opened on it and recovers, every producer tries again. Some images are cut
//! a second time, in the middle of recovery.
//!
//! The scripts (`script`, acted in `scene`) run with every change failing or being the last, in each way in which the
//! real file system works. The same image under the same promises is tried, and counted as a state, once in a script.
//!
//! What is not modelled: two processes inside one system call of each other, a disk that says flushed and lies, and a
//! rename that is half done; the format asks for a file system where it is not.

mod check;
mod crash;
mod disk;
mod ledger;
mod memory;
mod recovery;
mod scene;
mod script;
mod verbs;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use spooldir::time::now_ms;

use crate::chance::Chance;
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use check::Check;
use crash::{Bounds, History, Model};
use disk::Image;
use ledger::Ledger;
use memory::{Fault, WAYS, Way};
use scene::Scene;
use script::{Act, WRITTEN};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// States that a whole run looks at, and with which any run has seen enough.
const GOAL: u64 = 10_000_000;
/// States that a run of the usual length looks at even on a machine that needs longer for them, within bounds.
const FLOOR: u64 = 200_000;
const LONGER: u32 = 4;
/// Scripts at random that a run of the usual length acts at least.
const RANDOM: usize = 50;
/// One script in so many is one at random, until the written ones are all done.
const ONE_IN: usize = 4;
/// What stays of the budget when no new script is begun.
const RESERVE: Duration = Duration::from_secs(2);

/// The time at which all of this takes place.
fn begun_ms() -> u64 {
    static BEGUN: OnceLock<u64> = OnceLock::new();
    *BEGUN.get_or_init(now_ms)
}

/// A script, and what goes wrong while it runs.
struct Plan {
    name: String,
    acts: Vec<Act>,
    way: Way,
    /// Whether the spool is there already, or made by the first act.
    is_made: bool,
    /// At which change of which act what happens.
    fault: Option<(usize, usize, Fault)>,
    bounds: Bounds,
}

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let written = written(ground)?;
    let tally = Tally::default();
    let wide = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    let reports = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..wide)
            .map(|n| {
                let (written, tally) = (&written, &tally);
                scope.spawn(move || work(ground, n, written, tally))
            })
            .collect();
        workers.into_iter().map(|worker| worker.join()).collect::<Vec<_>>()
    });
    let mut report = Report::default();
    for part in reports {
        report.absorb(part.map_err(|_| "a worker ended early")??);
    }
    if !ground.hunts() {
        report.at_least("scripts", if ground.full { written.len() } else { PLAIN } as u64);
        report.at_least("scripts at random", if floor(ground) > 0 { RANDOM } else { 0 } as u64);
        report.at_least("states", floor(ground));
        let states = report.counted("states");
        if states < GOAL {
            report.fact(format!("{states} states in the time given; --full looks at {GOAL} or more"));
        }
    }
    Ok(report)
}

/// The scripts without a fault, which come first and are never left out.
const PLAIN: usize = WAYS.len() * (WRITTEN.len() + 1);

fn floor(ground: &Ground) -> u64 {
    match ground.full {
        true => GOAL,
        false if ground.budget < Duration::from_secs(60) => 0,
        false => FLOOR,
    }
}

/// What the workers share.
#[derive(Default)]
struct Tally {
    next: AtomicUsize,
    states: AtomicU64,
    stop: AtomicBool,
}

impl Tally {
    /// Whether the `at`-th script is one too many.
    fn is_enough(&self, at: usize, written: usize, ground: &Ground) -> bool {
        let states = self.states.load(Ordering::Relaxed);
        let is_through = turn(at, ground).1 >= written;
        if self.stop.load(Ordering::Relaxed) || is_through && (states >= GOAL || ground.hunts()) {
            return true;
        }
        let has_seen_enough = floor(ground) == 0 || states >= floor(ground) && at >= PLAIN + RANDOM * ONE_IN;
        let is_late = ground.left() < RESERVE && has_seen_enough || ground.spent() > ground.budget * LONGER;
        !ground.full && at >= PLAIN && is_late
    }
}

/// Whether the `at`-th script is one at random, and how many written ones come before it. One is at random now and then,
/// for a short run does not come to the end of the written ones; a hunt needs none.
fn turn(at: usize, ground: &Ground) -> (bool, usize) {
    match at.checked_sub(PLAIN) {
        Some(rest) if !ground.hunts() => (rest % ONE_IN == ONE_IN - 1, at - rest / ONE_IN),
        _ => (false, at),
    }
}

/// All written scripts, in each way, with each fault at each change.
fn written(ground: &Ground) -> Outcome<Vec<Plan>> {
    let root = root(ground, "count")?;
    let bounds = Bounds { names: 4096, data: 64 };
    let mut plans = Vec::new();
    let scripts = WRITTEN.iter().flat_map(|(name, acts)| WAYS.map(|way| (*name, *acts, way, true)));
    let first: &[Act] = &[Act::Put(0), Act::Put(1)];
    let scripts = scripts.chain(WAYS.map(|way| ("first use", first, way, false)));
    for (name, acts, way, is_made) in scripts {
        let plan = |fault| Plan { name: name.into(), acts: acts.to_vec(), way, is_made, fault, bounds };
        plans.push(plan(None));
        // How many changes each act makes when nothing goes wrong.
        let steps = play(&plan(None), &root)?.2;
        for (act, steps) in steps.into_iter().enumerate() {
            for step in 1..=steps {
                for fault in [Fault::Death, Fault::Error(EIO), Fault::Error(ENOSPC)] {
                    plans.push(plan(Some((act, step, fault))));
                }
            }
        }
    }
    // All without a fault first; then the faults in an order by chance, for a short run does not come to their end. A
    // hunt is the shortest: there are few ways to die in a short script, and most bugs need no more.
    let mut chance = ground.chance("order");
    plans.sort_by_cached_key(|plan| {
        let length = if ground.hunts() { plan.acts.len() } else { 0 };
        plan.fault.map(|(.., fault)| (length, ground.hunts() && fault != Fault::Death, chance.next()))
    });
    Ok(plans)
}

/// A root that is nowhere, but for the directory of leases, which are locks of the real kernel.
fn root(ground: &Ground, name: &str) -> Outcome<PathBuf> {
    let root = ground.room(name)?.join("spool");
    std::fs::create_dir_all(root.join("runs"))?;
    Ok(root)
}

/// Plays a script: what was on the disk at the start, who did what, and how many changes each act made.
fn play(plan: &Plan, root: &Path) -> Outcome<(Image, Scene, Vec<usize>)> {
    let empty = Image::empty();
    let base = if plan.is_made {
        let mut scene = Scene::begin(root, empty, plan.way, false, Ledger::default());
        scene.enter_spool(root)?;
        scene.fs.history().0
    } else {
        empty
    };
    let mut steps = Vec::new();
    let mut scene = Scene::begin(root, base.clone(), plan.way, true, Ledger::default());
    for (at, act) in plan.acts.iter().enumerate() {
        let before = scene.fs.steps();
        if let Some((_, step, fault)) = plan.fault.filter(|(of, ..)| *of == at) {
            scene.fs.plan(step, fault);
        }
        // What goes wrong is told to whoever acted, and is in the ledger.
        let opened = scene.enter_spool(root);
        let _told = opened.is_ok() && script::perform(&mut scene, *act, &root.join("runs")).is_ok();
        steps.push(scene.fs.steps() - before);
        scene.fs.heal();
    }
    Ok((base, scene, steps))
}

fn work(ground: &Ground, n: usize, written: &[Plan], tally: &Tally) -> Outcome<Report> {
    let mut report = Report::default();
    let root = root(ground, &format!("worker-{n}"))?;
    let mut seen = HashSet::new();
    loop {
        let at = tally.next.fetch_add(1, Ordering::Relaxed);
        if tally.is_enough(at, written.len(), ground) {
            return Ok(report);
        }
        let mut chance = ground.chance(&format!("script {at}"));
        let drawn;
        let plan = match turn(at, ground) {
            (false, at) if at < written.len() => &written[at],
            _ => {
                drawn = draw(&mut chance);
                report.count("scripts at random", 1);
                &drawn
            }
        };
        let before = report.counted("states");
        for model in [Model::Ordered, Model::Weak] {
            seen.clear();
            try_all(plan, model, &root, &mut chance, &mut seen, &mut report)?;
        }
        report.count("scripts", 1);
        tally.states.fetch_add(report.counted("states") - before, Ordering::Relaxed);
        if ground.hunts() && report.violated() > 0 {
            tally.stop.store(true, Ordering::Relaxed);
        }
    }
}

/// A script at random.
fn draw(chance: &mut Chance) -> Plan {
    let acts = script::random(chance);
    let kinds = [Fault::Death, Fault::Death, Fault::Error(EIO), Fault::Error(ENOSPC)];
    let fault = (chance.below(3) > 0).then(|| {
        let below =
            |chance: &mut Chance, n: usize| usize::try_from(chance.below(n as u64)).unwrap_or_default();
        let act = below(chance, acts.len());
        (act, 1 + below(chance, 9), *chance.pick(&kinds).unwrap_or(&Fault::Death))
    });
    let way = *chance.pick(&WAYS).unwrap_or(&WAYS[0]);
    Plan {
        name: "at random".into(),
        acts,
        way,
        is_made: !chance.one_in(8),
        fault,
        bounds: Bounds { names: 256, data: 16 },
    }
}

/// Every image that a crash may leave, after each change of a script.
fn try_all(
    plan: &Plan,
    model: Model,
    root: &Path,
    chance: &mut Chance,
    seen: &mut HashSet<(u64, usize)>,
    report: &mut Report,
) -> Outcome<()> {
    let (base, scene, _) = play(plan, root)?;
    let (end, log) = scene.fs.history();
    let history = History { base: &base, end: &end, log: &log };
    let may_lack_reasons = matches!(plan.fault, Some((.., Fault::Error(_))));
    let mut check = Check { root, way: plan.way, model, nest_one_in: 2000, may_lack_reasons, nested: 0 };
    let (mut states, mut cuts) = (0, 0);
    let mut found = None;
    for upto in 0..=log.len() {
        let Some(mark) = scene.marks.iter().rposition(|(at, _)| *at <= upto) else { continue };
        let ledger = &scene.marks[mark].1;
        cuts += 1;
        let mut dice = chance.fork("images");
        let is_done = history.each_state(upto, model, plan.bounds, chance, &mut |state| {
            states += 1;
            let hash = if state.is_kill { state.hash ^ 1 } else { state.hash };
            if !seen.insert((hash, mark)) {
                return true;
            }
            if let Err(e) = check.image(state.image(), ledger, state.is_kill, true, &mut dice) {
                let kind = if state.is_kill { "a kill" } else { "a power cut" };
                found = Some(format!(
                    "{:?} disk, {:?}, {kind} after change {upto} of {} ({:?}, {:?}): {e}; the last change was {:?}",
                    model, plan.way, plan.name, plan.acts, plan.fault, log[..upto].last()
                ));
            }
            found.is_none()
        });
        if !is_done {
            break;
        }
    }
    let word = if model == Model::Ordered { "an ordered" } else { "a weak" };
    let tried = seen.len() as u64 + check.nested;
    report.count("images", states + check.nested);
    report.count("states", tried);
    report.count(&format!("states of {word} disk"), tried);
    report.count("second cuts", check.nested);
    report.count("cuts", cuts);
    if let Some(violation) = found {
        report.violation(violation);
    }
    Ok(())
}
