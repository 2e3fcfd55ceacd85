//! One call fails, or is cut short, and everything else works.
//!
//! A survey of the undisturbed scene lists the calls about the spool: each is a moment, named by its site and by which
//! time it comes there, so that the threads of a wrapper or an agent need not make the same calls in the same order.
//!
//! The tools are tried at every call with every errno. Wrappers and agents, whose scenes take longer: what changes the
//! spool with every errno at its first occasion and with EIO at two more, what only looks with EIO, in the first scene
//! that shows it; with `--full` everything, everywhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::rules::{errnos, exits, length};
use super::witness::Witness;
use crate::layer::Outcome;
use crate::layers::kill::Work;
use crate::layers::kill::site::Site;
use crate::layers::scenes::{Place, Scene, Who, judge};
use crate::trace::{Act, Ended, Stop};

/// How often what changes something is tried in CI.
const OCCASIONS: u32 = 3;

/// With less time left than this only what is due is tried.
const RESERVE: Duration = Duration::from_secs(10);
const EIO: Harm = Harm::Fail(5);

/// What happens at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Harm {
    Fail(i32),
    Shorten(u64),
}

/// A call in a scene: where, and which time it comes there.
pub(super) type Moment = (Site, u32);

/// Counts the calls of a program, so that each can be named again.
#[derive(Default)]
pub(super) struct Counter(HashMap<Site, u32>);

impl Counter {
    /// The moment that this stop is, if it is before a call.
    pub(super) fn moment(&mut self, stop: &Stop, spool: &Path) -> Option<Moment> {
        if !stop.is_entry {
            return None;
        }
        let site = Site::of(stop, spool);
        let occasion = self.0.entry(site.clone()).or_default();
        *occasion += 1;
        Some((site, *occasion))
    }
}

/// All of a scene.
pub(super) fn run(work: &Work<'_>, scene: &'static Scene) -> Outcome<()> {
    let todo = survey(work, scene)?;
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(BTreeSet::new());
    work.both(&|| {
        let Some((moment, harm)) = todo.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(false) };
        // What there is no time for waits for the whole form; EIO at each first change does not.
        let is_due = moment.0.is_change() && moment.1 == 1 && *harm == EIO || scene.who == Who::Tool;
        if !is_due && !work.ground.full && work.ground.left() < RESERVE {
            work.with(|report| report.count("moments left out for want of time", 1));
            return Ok(true);
        }
        // It may not come again at once where threads or a gateway decide.
        let tries = if scene.who == Who::Tool { 1 } else { 3 };
        for _ in 0..tries {
            if harm_at(work, scene, moment, *harm)? {
                return Ok(true);
            }
        }
        if let Ok(mut missed) = missed.lock() {
            missed.insert(moment.0.to_string());
        }
        Ok(true)
    })?;
    let missed = missed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    work.with(|report| {
        report.count("sites", todo.iter().map(|(moment, _)| &moment.0).collect::<BTreeSet<_>>().len() as u64);
        if !missed.is_empty() {
            report.count("sites that did not come again", missed.len() as u64);
        }
        // A tool makes the same calls each time.
        report.check(scene.who != Who::Tool || missed.is_empty(), || {
            format!("{}: calls that did not come again: {missed:?}", scene.name)
        });
    });
    Ok(())
}

/// The calls of an undisturbed run, and what can happen to each.
fn survey(work: &Work<'_>, scene: &'static Scene) -> Outcome<Vec<(Moment, Harm)>> {
    let (home, mut place) = work.place()?;
    let spool = place.spool.clone();
    let mut counter = Counter::default();
    let mut todo = BTreeMap::new();
    let (full, who) = (work.ground.full, scene.who);
    let ended = scene.play(&mut place, &mut |stop: &Stop| {
        let Some(moment) = counter.moment(stop, &spool) else { return Ok(Act::Go) };
        let is_brief = !full && who != Who::Tool;
        let is_look = !moment.0.is_change();
        if is_brief
            && (moment.1 > OCCASIONS || is_look && (moment.1 > 1 || !work.is_first_look(&moment.0, scene)))
        {
            return Ok(Act::Go);
        }
        let only_eio = is_brief && (is_look || moment.1 > 1);
        let fails = errnos(&moment.0, stop).iter().filter(|errno| !only_eio || **errno == Errno::IO);
        let fails = fails.map(|errno| Harm::Fail(errno.raw_os_error()));
        let cuts = length(&moment.0, stop).into_iter().flat_map(|n| [Harm::Shorten(1), Harm::Shorten(n / 2)]);
        for harm in fails.chain(cuts) {
            todo.insert((moment.clone(), harm), ());
        }
        Ok(Act::Go)
    })?;
    if !scene.is_end(ended) {
        return Err(format!("{} ended with {ended:?} undisturbed: {}", scene.name, place.last_words()).into());
    }
    drop(place);
    std::fs::remove_dir_all(home)?;
    let mut todo: Vec<_> = todo.into_keys().collect();
    // What changes something first: there the bugs are.
    todo.sort_by_key(|(moment, harm)| (!moment.0.is_change(), moment.1 > 1, *harm != EIO));
    Ok(todo)
}

/// Plays a scene in which this happens at this moment; whether it came.
fn harm_at(work: &Work<'_>, scene: &'static Scene, moment: &Moment, harm: Harm) -> Outcome<bool> {
    let (home, mut place) = work.place()?;
    let spool = place.spool.clone();
    let (mut counter, mut witness, mut came) = (Counter::default(), Witness::of(&spool), false);
    let ended = scene.play(&mut place, &mut |stop: &Stop| {
        witness.see(stop);
        if came || counter.moment(stop, &spool).as_ref() != Some(moment) {
            return Ok(Act::Go);
        }
        came = true;
        Ok(match harm {
            Harm::Fail(errno) => Act::Fail(errno),
            Harm::Shorten(count) => Act::Shorten(count),
        })
    })?;
    let mut broken = witness.judge(place.exit);
    broken.append(&mut ending(scene, &place, ended, harm));
    broken.append(&mut aftermath(work, scene, &mut place, &moment.0)?);
    let how = match harm {
        Harm::Fail(errno) => format!("{:?}", Errno::from_raw_os_error(errno)),
        Harm::Shorten(count) => format!("only {count} bytes"),
    };
    let at = format!("{}, {how} at {}, time {}", scene.name, moment.0, moment.1);
    work.with(|report| {
        report.count("runs", 1);
        let what = if matches!(harm, Harm::Fail(_)) { "calls that failed" } else { "calls cut short" };
        report.count(what, u64::from(came));
        let words = if broken.is_empty() { String::new() } else { place.last_words() };
        for what in &broken {
            report.violation(format!("{at}: it ended with {ended:?}: {what} ({words})"));
        }
    });
    work.over.fetch_or(work.ground.hunts() && !broken.is_empty(), Ordering::Relaxed);
    drop(place);
    std::fs::remove_dir_all(home)?;
    Ok(came)
}

/// Whether it may end like this.
fn ending(scene: &Scene, place: &Place<'_>, ended: Ended, harm: Harm) -> Vec<String> {
    let is_fit = scene.is_end(ended)
        || match (ended, harm) {
            // The job's own end is what a wrapper ends with, whatever becomes of the spool.
            (Ended::Exited(_), Harm::Fail(_)) if scene.who == Who::Wrapper => false,
            // A conflict that is not seen is no reason to say yes.
            (Ended::Exited(0), Harm::Fail(_)) => scene.ends == Some(0),
            // An agent says that it could not move everything, whatever the reason.
            (Ended::Exited(code), Harm::Fail(errno)) => {
                exits(Errno::from_raw_os_error(errno)).contains(&code)
                    || scene.who == Who::Agent && code == 74
            }
            _ => false,
        };
    if is_fit { Vec::new() } else { vec![format!("it may not end like this: {}", place.last_words())] }
}

/// The world goes on, without errors.
pub(super) fn aftermath(
    work: &Work<'_>,
    scene: &'static Scene,
    place: &mut Place<'_>,
    site: &Site,
) -> Outcome<Vec<String>> {
    let mut broken = Vec::new();
    // What cannot be removed may stay.
    let may_stay = site.call.starts_with("unlink");
    if place.spool.join("tmp").exists() && !may_stay {
        for left in crate::layers::random::reader::names(&place.spool.join("tmp"))? {
            broken.push(format!("it left tmp/{left} behind"));
        }
    }
    if scene.who == Who::Wrapper {
        // It carries on without a run, says so, and nobody hears of the job; or the completion cannot be queued, and
        // the agent tells of it what is known.
        place.exit = None;
        if place.last_words().contains("nobody will hear of its end") {
            place.promises.iter_mut().for_each(|promise| promise.marker = None);
        }
    }
    // A reason that cannot be written stops no move.
    place.may_lack_reasons |= site.about.contains("why");
    if work.ground.hunts() {
        // What can be seen at once is seen soonest.
        broken.append(&mut judge::visible(place)?);
    }
    if work.ground.hunts() && !broken.is_empty() {
        return Ok(broken);
    }
    if scene.who == Who::Tool && !work.is_news(scene, place, Ended::Killed)? {
        broken.append(&mut judge::visible(place)?);
    } else {
        broken.append(&mut scene.aftermath(place)?);
    }
    Ok(broken)
}
