//! SIGKILL before and after every system call.
//!
//! The programs that work in one thread (`spool-put`, and the commands of a person) make the same calls in each run: they
//! are killed at each stop of each scene, all of them. `spool-run` is killed at each number of a stop as well; its
//! threads make a little chance of which stop that is. The agent is a loop around a connection: it is killed before
//! and after each of its *sites* ([`site`]), a system call and what it is about, at the first occasion and, as far as
//! there is time, at later ones, over as many runs as it takes until no new site shows.
//!
//! After each kill what can be seen is judged at once; then the producer or the person tries again, agents run until
//! nothing is left to do, and the end is judged ([`crate::layers::scenes::judge`]). A sample of the kills is followed by
//! a second one, during the recovery from the first.

mod agents;
mod orphan;
pub(super) mod site;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use spool_seeded::Bug;
use tempfile::TempDir;

use self::site::Site;
use super::scenes::{self, LIMIT, Place, Scene, Who};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::trace::{self, Act, Ended};

/// Tracers side by side.
pub(super) const TRACERS: usize = 2;
/// So many runs in a row in which a program ended before the stop it was to be killed at say that there is none.
const ENOUGH: u64 = 4;

/// What the tracers share.
pub(super) struct Work<'a> {
    pub(super) ground: &'a Ground,
    /// In memory, where there is such a file system: nothing here depends on the disk.
    pub(super) room: TempDir,
    report: Mutex<Report>,
    /// A bug was caught, or somebody cannot work.
    pub(super) over: AtomicBool,
    places: AtomicU64,
    /// The sites of agents that change nothing, and the scene in which they are tried.
    looks: Mutex<BTreeMap<(Site, bool), &'static str>>,
    /// How often each scene has left the same spool behind.
    left: Mutex<HashMap<(&'static str, u64), u64>>,
}

pub(super) fn run(ground: &Ground) -> Outcome<Report> {
    let work = Work::new(ground)?;
    match ground.bug {
        Some(Bug::LeaseNotInherited) => orphan::run(&work)?,
        Some(bug) => {
            for scene in scenes::named(seen_in(bug)) {
                work.scene(scene)?;
            }
        }
        None => whole(&work)?,
    }
    Ok(work.into_report())
}

/// Where a bug can be seen.
fn seen_in(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::DirectWrite => &["put"],
        Bug::Clobber => &["put-conflict"],
        Bug::RetireEarly | Bug::SendBeforeTake => &["drain-one"],
        Bug::RecoverAsNew | Bug::ForgetSending => &["drain-recover"],
        Bug::DropDead | Bug::DeadWithoutReason => &["drain-refused"],
        Bug::LostTwice | Bug::LostIgnored => &["drain-runs"],
        _ => &["put", "put-conflict", "drain-one", "drain-recover", "drain-refused", "drain-runs"],
    }
}

fn whole(work: &Work<'_>) -> Outcome<()> {
    for scene in scenes::all() {
        let (start, runs) = (Instant::now(), work.with(|report| report.counted("runs")));
        work.scene(scene)?;
        work.with(|report| {
            let runs = report.counted("runs") - runs;
            report.fact(format!("{}: {runs} runs, {:.1} s", scene.name, start.elapsed().as_secs_f64()));
        });
    }
    orphan::run(work)?;
    pairs(work)?;
    work.with(|report| {
        report.at_least("points", 1000);
        report.at_least("kills", 1000);
        report.at_least("sites of agents", 100);
        report.at_least("sends", 500);
        report.at_least("kills during the recovery from a kill", 8);
    });
    Ok(())
}

impl<'a> Work<'a> {
    pub(super) fn new(ground: &'a Ground) -> Outcome<Work<'a>> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("torture-scenes-");
        let room = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir_in(&ground.scratch))?;
        Ok(Work {
            ground,
            room,
            report: Mutex::default(),
            over: AtomicBool::new(false),
            places: AtomicU64::new(0),
            looks: Mutex::default(),
            left: Mutex::default(),
        })
    }

    pub(super) fn into_report(self) -> Report {
        self.report.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Report) -> T) -> T {
        act(&mut self.report.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A place of its own for one play.
    pub(super) fn place(&self) -> Outcome<(PathBuf, Place<'a>)> {
        let home = self.room.path().join(self.places.fetch_add(1, Ordering::Relaxed).to_string());
        let place = Place::new(self.ground, &home, &home.join("spool"))?;
        Ok((home, place))
    }

    /// Both tracers do this until it says that there is no more to do.
    pub(super) fn both(&self, step: &(dyn Fn() -> Outcome<bool> + Sync)) -> Outcome<()> {
        let ends: Vec<Outcome<()>> = thread::scope(|scope| {
            let tracer = || -> Outcome<()> {
                while !self.is_over() && step().inspect_err(|_| self.over.store(true, Ordering::Relaxed))? {}
                Ok(())
            };
            let tracers: Vec<_> = (0..TRACERS).map(|_| scope.spawn(tracer)).collect();
            tracers
                .into_iter()
                .map(|t| t.join().unwrap_or_else(|_| Err("a tracer panicked".into())))
                .collect()
        });
        ends.into_iter().collect()
    }

    /// All of a scene.
    fn scene(&self, scene: &'static Scene) -> Outcome<()> {
        match scene.who {
            Who::Agent => agents::run(self, scene),
            Who::Tool | Who::Wrapper => self.every_stop(scene),
        }
    }

    fn every_stop(&self, scene: &'static Scene) -> Outcome<()> {
        let (next, ended) = (AtomicU64::new(1), AtomicU64::new(0));
        self.both(&|| {
            if ended.load(Ordering::Relaxed) >= ENOUGH {
                return Ok(false);
            }
            let number = next.fetch_add(1, Ordering::Relaxed);
            let is_killed = self.kill_at(scene, number)?;
            if is_killed {
                ended.store(0, Ordering::Relaxed);
                self.with(|report| report.count("points", 1));
            } else {
                ended.fetch_add(1, Ordering::Relaxed);
            }
            Ok(true)
        })
    }

    /// Plays a scene in which the program is killed at this stop; whether it got that far.
    fn kill_at(&self, scene: &'static Scene, number: u64) -> Outcome<bool> {
        let (home, mut place) = self.place()?;
        let spool = place.spool.clone();
        let mut site = None;
        let ended = scene.play(&mut place, &mut |stop| {
            if stop.number != number {
                return Ok(Act::Go);
            }
            let side = if stop.is_entry { "before" } else { "after" };
            site = Some(format!("{side} {}", Site::of(stop, &spool)));
            Ok(Act::Kill)
        })?;
        let at = format!("{} killed at stop {number}, {}", scene.name, site.unwrap_or_default());
        self.judge(scene, place, &home, ended, &at)?;
        Ok(ended == Ended::Killed)
    }

    /// Judges what came of a play, and clears it away.
    fn judge(
        &self,
        scene: &'static Scene,
        mut place: Place<'a>,
        home: &Path,
        ended: Ended,
        at: &str,
    ) -> Outcome<()> {
        let mut broken = if self.is_news(scene, &place, ended)? {
            self.with(|report| report.count("aftermaths", 1));
            scene.aftermath(&mut place)?
        } else {
            scenes::judge::visible(&place)?
        };
        if ended != Ended::Killed && !scene.is_end(ended) {
            broken.push(format!("it ended with {ended:?} by itself"));
        }
        let (sends, extra) = scenes::judge::count_sends(&place);
        self.with(|report| {
            report.count("runs", 1);
            report.count("sends", sends);
            report.count("kills", u64::from(ended == Ended::Killed));
            report.count("extra sends", extra);
            for what in &broken {
                report.violation(format!("{at}: {what}"));
            }
        });
        if !broken.is_empty() {
            self.with(|report| {
                if report.violated() < 6 {
                    report.fact(format!("{at}: the agents said: {}", place.last_words()));
                }
            });
            self.over.fetch_or(self.ground.hunts(), Ordering::Relaxed);
        }
        drop(place);
        std::fs::remove_dir_all(home)?;
        Ok(())
    }
}

impl Work<'_> {
    /// Whether this scene is the first to show a site that changes nothing.
    pub(super) fn is_first_look(&self, site: &Site, scene: &Scene) -> bool {
        let mut looks = self.looks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *looks.entry((site.clone(), true)).or_insert(scene.name) == scene.name
    }

    /// Whether the aftermath has anything new to show. What follows the kill of a tool, or of a wrapper whose job has
    /// ended, depends on nothing but what lies in the spool: of kills that leave the same there, two are followed to
    /// the end, and one in ten of the others; with `--full` all. What an agent leaves is partly at the gateway: its
    /// kills are all followed to the end.
    pub(super) fn is_news(&self, scene: &'static Scene, place: &Place<'_>, ended: Ended) -> Outcome<bool> {
        if scene.who == Who::Agent || ended != Ended::Killed || self.ground.full {
            return Ok(true);
        }
        if scene.who == Who::Wrapper {
            place.until_over("run-1")?;
        }
        let mut left = self.left.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let times = left.entry((scene.name, scenes::judge::fingerprint(place)?)).or_default();
        *times += 1;
        Ok(*times <= 2 || times.is_multiple_of(10))
    }
}

/// Kills during the recovery from a kill, at random stops of both.
fn pairs(work: &Work<'_>) -> Outcome<()> {
    let ground = work.ground;
    let chance = Mutex::new(ground.chance("pairs"));
    let all: Vec<&'static Scene> = scenes::all().collect();
    let done = AtomicU64::new(0);
    let least = if ground.full { 5000 } else { 40 };
    work.both(&|| {
        let is_late = ground.left() < Duration::from_secs(5);
        if done.fetch_add(1, Ordering::Relaxed) >= least && (is_late || !ground.full) {
            return Ok(false);
        }
        let draw = |below| chance.lock().map(|mut chance| chance.below(below)).unwrap_or_default();
        let Some(scene) = all.get(usize::try_from(draw(all.len() as u64))?) else { return Ok(false) };
        let reach = if scene.who == Who::Agent { 900 } else { 250 };
        pair(work, scene, 1 + draw(reach), 1 + draw(900))?;
        Ok(true)
    })
}

fn pair(work: &Work<'_>, scene: &'static Scene, first: u64, second: u64) -> Outcome<()> {
    let (home, mut place) = work.place()?;
    let kill =
        |number: u64| move |stop: &trace::Stop| Ok(if stop.number == number { Act::Kill } else { Act::Go });
    let ended = scene.play(&mut place, &mut kill(first))?;
    if ended == Ended::Killed {
        // A tool is tried again; what else was under way is an agent's.
        let mut again = if scene.who == Who::Tool { (scene.program)(&place) } else { place.agent() };
        let ended = trace::run(&mut again, LIMIT, &mut kill(second))?;
        if let (Who::Tool, Ended::Exited(code)) = (scene.who, ended) {
            place.ended(Some(code));
        }
        let is_killed = ended == Ended::Killed;
        place.deaths += u64::from(is_killed && scene.who != Who::Tool);
        work.with(|report| {
            report.count("kills during the recovery from a kill", u64::from(is_killed));
            report.count("kills", u64::from(is_killed));
        });
    }
    let at = format!("{} killed at stop {first}, and again at stop {second}", scene.name);
    work.judge(scene, place, &home, ended, &at)
}
