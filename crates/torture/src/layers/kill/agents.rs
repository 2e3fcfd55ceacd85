//! The agent, killed before and after each of its sites.
//!
//! A run without a kill shows the first sites; every later run may show more. Each (site, side, occasion) that was seen
//! becomes a target, the first occasions first. A target that does not come again in a few runs is let go: some calls
//! are made only when an answer of the gateway comes at an odd moment.
//!
//! What changes the spool or the gateway is tried in every scene, at several occasions. What only looks, or belongs to
//! the start of any program, is tried at its first occasion in the first scene that shows it; with `--full`, always.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use nix::unistd::Pid;

use super::site::Site;
use super::{Scene, Work};
use crate::layer::Outcome;
use crate::trace::{Act, Ended, Stop};

/// How often a target is tried that does not come again.
const TRIES: u32 = 4;
/// Later occasions of a site that are tried in CI; `--full` tries them all.
const OCCASIONS: u32 = 3;

/// A moment: a site, before or after, and which time it comes there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    occasion: u32,
    /// What changes the spool comes first.
    is_minor: bool,
    site: Site,
    is_entry: bool,
}

#[derive(Default)]
struct Plan {
    seen: BTreeSet<Target>,
    todo: BTreeSet<Target>,
    tries: BTreeMap<Target, u32>,
    /// Under way by one of the tracers.
    busy: u32,
    killed: BTreeSet<(Site, bool)>,
}

pub(super) fn run(work: &Work<'_>, scene: &'static Scene) -> Outcome<()> {
    let plan = Mutex::new(Plan::default());
    // Undisturbed, twice.
    for _ in 0..2 {
        play(work, scene, &plan, None)?;
        if work.is_over() {
            return Ok(());
        }
    }
    let with = |act: &mut dyn FnMut(&mut Plan)| {
        act(&mut plan.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    };
    work.both(&|| {
        let (mut target, mut is_done) = (None, false);
        with(&mut |plan| {
            target = plan.todo.pop_first();
            // The first occasion of everything, whatever it takes; more while there is time.
            let is_late = work.ground.left() < Duration::from_secs(15);
            if target.as_ref().is_some_and(|t| t.occasion > 1 && is_late && !work.ground.full) {
                target = None;
            }
            plan.busy += u32::from(target.is_some());
            is_done = target.is_none() && plan.busy == 0;
        });
        let Some(target) = target else {
            std::thread::sleep(Duration::from_millis(2));
            return Ok(!is_done);
        };
        let killed = play(work, scene, &plan, Some(&target));
        with(&mut |plan| {
            plan.busy -= 1;
            if matches!(killed, Ok(true)) {
                plan.killed.insert((target.site.clone(), target.is_entry));
                return;
            }
            let tries = plan.tries.entry(target.clone()).or_default();
            *tries += 1;
            if *tries < TRIES {
                plan.todo.insert(target.clone());
            }
        });
        killed.map(|_| true)
    })?;
    let plan = plan.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let sites: BTreeSet<&Site> = plan.seen.iter().map(|target| &target.site).collect();
    let sides: BTreeSet<_> = plan.seen.iter().map(|target| (target.site.clone(), target.is_entry)).collect();
    let whole = sites.iter().filter(|site| {
        [true, false].iter().all(|side| {
            let side = ((**site).clone(), *side);
            plan.killed.contains(&side) || !sides.contains(&side)
        })
    });
    let whole = whole.count() as u64;
    work.with(|report| {
        report.count("sites of agents", sites.len() as u64);
        report.count("sites of agents killed before and after", whole);
        report.count("points", plan.killed.len() as u64);
        report.fact(format!(
            "{}: {whole} of {} sites killed before and after, {} moments seen",
            scene.name,
            sites.len(),
            plan.seen.len()
        ));
    });
    Ok(())
}

/// One run; with a target whether it was killed there.
fn play(
    work: &Work<'_>,
    scene: &'static Scene,
    plan: &Mutex<Plan>,
    target: Option<&Target>,
) -> Outcome<bool> {
    let (home, mut place) = work.place()?;
    let spool = place.spool.clone();
    let mut under_way: HashMap<Pid, Site> = HashMap::new();
    let mut occasions: HashMap<(Site, bool), u32> = HashMap::new();
    let mut found = BTreeSet::new();
    let full = work.ground.full;
    let ended = scene.play(&mut place, &mut |stop: &Stop| {
        let site = if stop.is_entry {
            let site = Site::of(stop, &spool);
            under_way.insert(stop.tid, site.clone());
            site
        } else {
            match under_way.remove(&stop.tid) {
                Some(site) => site,
                // The first stop of a thread is the end of the call that made it.
                None => Site { call: stop.name(), about: String::new() },
            }
        };
        let occasion = occasions.entry((site.clone(), stop.is_entry)).or_default();
        *occasion += 1;
        let here = Target { occasion: *occasion, is_minor: !site.is_change(), site, is_entry: stop.is_entry };
        if target == Some(&here) {
            return Ok(Act::Kill);
        }
        if full || here.occasion == 1 || here.occasion <= OCCASIONS && !here.is_minor {
            found.insert(here);
        }
        Ok(Act::Go)
    })?;
    {
        let mut plan = plan.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut shared = work.looks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for here in found {
            let is_known = here.is_minor
                && !full
                && shared
                    .get(&(here.site.clone(), here.is_entry))
                    .is_some_and(|scene_name| *scene_name != scene.name);
            if is_known || !plan.seen.insert(here.clone()) {
                continue;
            }
            if here.is_minor {
                shared.insert((here.site.clone(), here.is_entry), scene.name);
            }
            plan.todo.insert(here);
        }
    }
    let at = target.map_or_else(
        || format!("{} undisturbed", scene.name),
        |t| {
            let side = if t.is_entry { "before" } else { "after" };
            format!("{} killed {side} {}, time {}", scene.name, t.site, t.occasion)
        },
    );
    work.judge(scene, place, &home, ended, &at)?;
    Ok(ended == Ended::Killed)
}
