//! One file system: which plays are played on it, in which order, and for how long.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::play::{Play, Plight};
use crate::chance::Chance;
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::layers::disk::{Disk, Kind};
use crate::layers::scenes::{self, Scene, Who};

/// The scenes of which every point is played, in CI too, unless the machine is very slow.
const WHOLE: [&str; 2] = ["put-first", "put"];
/// Those of which in CI every point is played at which something has changed since the point before it.
const CHANGES: [&str; 2] = ["put-again", "run-ok"];

/// One point of a scene, and what happens there.
#[derive(Debug, Clone, Copy)]
struct Point {
    scene: &'static str,
    number: u64,
    plight: Plight,
}

/// Points, by what becomes of them when time is short.
#[derive(Debug, Default)]
struct Points {
    /// They are played all the same.
    must: Vec<Point>,
    /// The rest of the scenes that are to be played whole: points at which nothing has changed since the one before,
    /// and the second tries.
    should: Vec<Point>,
    may: Vec<Point>,
}

/// A lane.
pub(super) struct Lane<'a> {
    ground: &'a Ground,
    kind: Kind,
    disk: Disk,
    home: PathBuf,
    chance: Chance,
    report: Report,
    /// A bug was caught, here or in the other lane.
    is_over: &'a AtomicBool,
}

impl<'a> Lane<'a> {
    pub(super) fn new(
        ground: &'a Ground,
        kind: Kind,
        images: &Path,
        is_over: &'a AtomicBool,
    ) -> Outcome<Lane<'a>> {
        let name = kind.name();
        let disk = Disk::make(kind, &images.join(format!("{name}.img")), &images.join(name))?;
        let home = images.join(format!("home-{name}"));
        fs::create_dir(&home)?;
        let chance = ground.chance(&format!("power {name}"));
        Ok(Lane { ground, kind, disk, home, chance, report: Report::default(), is_over })
    }

    pub(super) fn run(mut self) -> Outcome<Report> {
        if self.ground.hunts() {
            self.hunt()?;
            return Ok(self.report);
        }
        let mut all = Points::default();
        for scene in scenes::all() {
            let points = self.points(scene)?;
            all.must.extend(points.must);
            all.should.extend(points.should);
            all.may.extend(points.may);
        }
        // In no order, so that the lanes are not at the same scene at the same time.
        shuffle(&mut all.must, &mut self.chance);
        shuffle(&mut all.should, &mut self.chance);
        shuffle(&mut all.may, &mut self.chance);
        for point in all.must {
            self.play(point)?;
        }
        for point in all.should.into_iter().chain(all.may) {
            if self.ground.left().is_zero() && !self.ground.full {
                break;
            }
            self.play(point)?;
        }
        Ok(self.report)
    }

    /// Every way to play a scene.
    fn points(&mut self, scene: &'static Scene) -> Outcome<Points> {
        let survey = self.stage(scene).survey()?;
        let mut points = Points::default();
        // The one after the last is the end of the program.
        for number in 1..=survey.stops + 1 {
            let is_change = number > survey.stops || survey.changes.binary_search(&number).is_ok();
            let is_whole = WHOLE.contains(&scene.name);
            let is_due = is_change && (is_whole || CHANGES.contains(&scene.name));
            let point = |plight| Point { scene: scene.name, number, plight };
            let list = match (is_due, is_whole) {
                (true, _) => &mut points.must,
                (false, true) => &mut points.should,
                (false, false) => &mut points.may,
            };
            list.push(point(Plight::Cut));
            // Who names no id and tries again publishes another record; that is said where ids are.
            let is_repeatable = scene.name != "put-minted";
            if scene.who == Who::Tool && scene.ends == Some(0) && is_repeatable {
                let list = if is_change && is_whole { &mut points.should } else { &mut points.may };
                list.push(point(Plight::Retried));
            }
            if is_change {
                points.may.push(point(Plight::Twice));
            }
        }
        self.report.count("stops of the scenes", survey.stops);
        Ok(points)
    }

    fn stage<'b>(&'b mut self, scene: &'static Scene) -> Play<'b> {
        Play {
            ground: self.ground,
            room: self.disk.at().join("room"),
            disk: &mut self.disk,
            scene,
            home: self.home.join("home"),
        }
    }

    fn play(&mut self, point: Point) -> Outcome<()> {
        let Some(scene) = scenes::named(&[point.scene]).first().copied() else { return Ok(()) };
        let played = self.stage(scene).play(point.number, point.plight);
        let played = played.map_err(|e| format!("{} {point:?}: {e}", self.kind.name()))?;
        self.report.count("points", 1);
        self.report.count("cuts", played.cuts);
        for broken in played.broken {
            self.is_over.store(true, Ordering::Relaxed);
            self.report.violation(format!("{}: {broken}", self.kind.name()));
        }
        Ok(())
    }

    /// The ends of the programs, and then points in no order, until the bug is seen.
    fn hunt(&mut self) -> Outcome<()> {
        let (mut first, mut then) = (Vec::new(), Vec::new());
        for scene in scenes::named(&[WHOLE, CHANGES].concat()) {
            let mut points = self.points(scene)?.must;
            points.retain(|point| point.plight == Plight::Cut);
            first.extend(points.pop());
            then.extend(points);
        }
        shuffle(&mut then, &mut self.chance);
        for point in first.into_iter().chain(then) {
            if self.is_over.load(Ordering::Relaxed) || self.ground.left().is_zero() {
                break;
            }
            self.play(point)?;
        }
        Ok(())
    }
}

/// Fisher and Yates.
fn shuffle<T>(of: &mut [T], chance: &mut Chance) {
    for at in (1..of.len()).rev() {
        of.swap(at, usize::try_from(chance.below(at as u64 + 1)).unwrap_or_default());
    }
}
