//! One file system: scenes are recorded on it, and the images of their crashes mounted and judged.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::crash::{Crash, crashes};
use super::platter::{Content, Op, Platter};
use crate::chance::Chance;
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::layers::disk::{Disk, Kind};
use crate::layers::scenes::{self, LIMIT, Place, Scene, Who, judge};
use crate::trace::{self, Act};

/// The scenes that a bug is hunted in.
const HUNTED: [&str; 2] = ["put", "put-first"];
/// Images of a file system in CI, and in the full form.
const IMAGES: usize = 620;
const IMAGES_FULL: usize = 6_800;
/// Images of a scene that are made however slow the machine is.
const LEAST: usize = 10;
/// Of so many images, in one the world goes on after it.
const GOES_ON: u64 = 6;

/// A lane.
pub(super) struct Lane<'a> {
    ground: &'a Ground,
    kind: Kind,
    // In the order in which they must go.
    disk: Disk,
    platter: Platter,
    /// A file system with nothing on it.
    empty: Content,
    home: PathBuf,
    chance: Chance,
    report: Report,
    is_over: &'a AtomicBool,
}

/// What was written down of a scene.
struct Record<'a> {
    scene: &'static Scene,
    /// The promises as they were when it began.
    place: Place<'a>,
    accepted: Vec<bool>,
    base: Content,
    log: Vec<Op>,
    /// When the job of a run was seen to have started.
    started: Option<usize>,
    /// When the program had ended, and with which number.
    ended: usize,
    exit: Option<i32>,
}

impl<'a> Lane<'a> {
    pub(super) fn new(
        ground: &'a Ground,
        kind: Kind,
        images: &Path,
        is_over: &'a AtomicBool,
    ) -> Outcome<Lane<'a>> {
        let name = kind.name();
        let made = images.join(format!("{name}.img"));
        kind.make(&made)?;
        let empty = Content::of(&made)?;
        fs::remove_file(&made)?;
        let platter = Platter::mount(&images.join(format!("{name}-platter")), kind.size())?;
        platter.show(empty.clone());
        let disk = Disk::of(kind, &platter.file(), &images.join(name))?;
        let home = images.join(format!("{name}-home"));
        let chance = ground.chance(&format!("images {name}"));
        Ok(Lane { ground, kind, disk, platter, empty, home, chance, report: Report::default(), is_over })
    }

    pub(super) fn run(mut self) -> Outcome<Report> {
        // An agent's are left out: what its gateway knew when the crash came is not written down.
        let mut scenes: Vec<&Scene> = scenes::all().filter(|scene| scene.who != Who::Agent).collect();
        if self.ground.hunts() {
            scenes = scenes::named(&HUNTED);
        }
        let mut left = if self.ground.full { IMAGES_FULL } else { IMAGES };
        // Two lanes share a worker; a slow machine makes fewer images of each scene, and none of them is left out.
        let start = Instant::now();
        let share = self.ground.budget / 2 / u32::try_from(scenes.len()).unwrap_or(1);
        for (at, scene) in scenes.iter().enumerate() {
            let record = self.record(scene)?;
            // What is kept of a torn sector depends on the disk; btrfs reads its own in pieces of 4 KiB.
            let sector = if self.kind == Kind::Btrfs { 4096 } else { 512 };
            let all = crashes(&record.log, sector, left / (scenes.len() - at), &mut self.chance);
            left -= all.len();
            self.report.count("writes and flushes recorded", record.log.len() as u64);
            let until = share * u32::try_from(at + 1).unwrap_or(1);
            for (number, crash) in all.iter().enumerate() {
                if number >= LEAST && start.elapsed() > until && !self.ground.full {
                    break;
                }
                self.judge(&record, crash)?;
                if self.ground.hunts() && self.report.violated() > 0 {
                    self.is_over.store(true, Ordering::Relaxed);
                }
                if self.is_over.load(Ordering::Relaxed) {
                    return Ok(self.report);
                }
            }
        }
        Ok(self.report)
    }

    fn place(&self) -> Outcome<Place<'a>> {
        if self.home.exists() {
            fs::remove_dir_all(&self.home)?;
        }
        let mut place = Place::new(self.ground, &self.home, &self.disk.at().join("room/spool"))?;
        place.may_lack_reasons = true;
        Ok(place)
    }

    /// Plays a scene on an empty disk and writes down what the disk is asked to do.
    fn record(&mut self, scene: &'static Scene) -> Outcome<Record<'a>> {
        self.disk.unmount()?;
        self.platter.show(self.empty.clone());
        self.disk.mount()?;
        fs::create_dir(self.disk.at().join("room"))?;
        let mut place = self.place()?;
        (scene.prepare)(&mut place)?;
        let accepted = place.promises.iter().map(|promise| promise.accepted).collect();
        let markers: Vec<PathBuf> =
            place.promises.iter().filter_map(|promise| promise.marker.clone()).collect();
        self.disk.sync()?;
        let base = self.platter.record();
        let mut started = None;
        let ended = trace::run(&mut (scene.program)(&place), LIMIT, &mut |_| {
            if started.is_none() && markers.iter().any(|marker| marker.exists()) {
                started = Some(self.platter.moment());
            }
            Ok(Act::Go)
        })?;
        if !scene.is_end(ended) {
            return Err(format!("{} ended with {ended:?}: {}", scene.name, place.last_words()).into());
        }
        let ended = self.platter.moment();
        // Half a minute later everything would be written down by itself.
        self.disk.sync()?;
        let log = self.platter.recorded();
        Ok(Record { scene, place, accepted, base, log, started, ended, exit: scene.ends })
    }

    /// Mounts the image of a crash, and looks.
    fn judge(&mut self, record: &Record<'a>, crash: &Crash) -> Outcome<()> {
        self.disk.unmount()?;
        self.platter.show(crash.image(&record.base, &record.log));
        self.report.count("images", 1);
        if let Err(e) = self.disk.mount() {
            let refused = format!("images that {} refuses", self.kind.name());
            if self.report.counted(&refused) == 0 {
                self.report.fact(format!("{e}: {}: {}", record.scene.name, crash.say()));
            }
            self.report.count(&refused, 1);
            return Ok(());
        }
        let mut place = self.place()?;
        place.promises = record.place.promises.clone();
        let is_ended = crash.upto >= record.ended;
        for (promise, accepted) in place.promises.iter_mut().zip(&record.accepted) {
            promise.accepted = *accepted;
            let is_started = record.started.is_some_and(|started| crash.upto >= started);
            match &promise.marker {
                Some(marker) if is_started => fs::write(marker, "")?,
                _ => {}
            }
        }
        if is_ended {
            place.ended(record.exit);
        }
        let found = tree(&place.spool);
        let mut broken = judge::visible(&place)?;
        if broken.is_empty() && !self.ground.hunts() && self.chance.one_in(GOES_ON) {
            self.report.count("images after which the world went on", 1);
            broken = record.scene.aftermath(&mut place)?;
        }
        for what in broken {
            let (kind, scene) = (self.kind.name(), record.scene.name);
            let end = if is_ended { "after" } else { "before" };
            let words = format!("{kind}: {scene}, {}, {end} its end: {what}; found: {found}", crash.say());
            self.report.violation(words);
        }
        Ok(())
    }
}

/// What lies in a spool, for a reader: each file with its size and how many names it has.
fn tree(spool: &Path) -> String {
    let mut files = Vec::new();
    for dir in fs::read_dir(spool).into_iter().flatten().flatten() {
        for file in fs::read_dir(dir.path()).into_iter().flatten().flatten() {
            let meta = file.metadata().map_or((0, 0), |meta| (meta.len(), meta.nlink()));
            let path = dir.file_name().to_string_lossy().into_owned();
            files.push(format!("{path}/{} {}x{}", file.file_name().to_string_lossy(), meta.0, meta.1));
        }
    }
    files.sort();
    files.join(", ")
}
