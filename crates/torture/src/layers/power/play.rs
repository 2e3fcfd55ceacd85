//! One play of a scene on a disk whose power goes.

use std::fs;
use std::path::PathBuf;

use crate::ground::Ground;
use crate::layer::Outcome;
use crate::layers::disk::Disk;
use crate::layers::random::stage::Ended as Exit;
use crate::layers::scenes::{Place, Scene, judge};
use crate::trace::{Act, Ended, Stop};

/// What happens at the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plight {
    /// The power goes.
    Cut,
    /// The program is killed, the producer tries again and is told yes, and then the power goes.
    Retried,
    /// The power goes, and again when everything has settled.
    Twice,
}

/// Where a program can be stopped.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) stops: u64,
    /// The stops before and after a call that may change or flush something, or start or end a process. Between two of
    /// them the disk and what was promised stay the same.
    pub(super) changes: Vec<u64>,
}

/// What a play came to.
pub(super) struct Played {
    pub(super) broken: Vec<String>,
    pub(super) cuts: u64,
}

/// A play.
pub(super) struct Play<'a> {
    pub(super) ground: &'a Ground,
    pub(super) disk: &'a mut Disk,
    pub(super) scene: &'static Scene,
    /// What is not on the disk, beside the spool.
    pub(super) home: PathBuf,
    /// Above the spool, on the disk.
    pub(super) room: PathBuf,
}

impl<'a> Play<'a> {
    /// The stops of the program when nothing disturbs it.
    pub(super) fn survey(&self) -> Outcome<Survey> {
        let mut place = self.place()?;
        let mut survey = Survey::default();
        self.program(&mut place, &mut |stop| {
            survey.stops = stop.number;
            if changes(stop) {
                survey.changes.push(stop.number);
            }
            Ok(Act::Go)
        })?;
        Ok(survey)
    }

    /// Plays it, up to this stop.
    pub(super) fn play(&mut self, number: u64, plight: Plight) -> Outcome<Played> {
        let mut place = self.place()?;
        let mut at = "after its end".to_owned();
        let disk = &*self.disk;
        let is_whole = self.program(&mut place, &mut |stop| {
            if stop.number < number {
                return Ok(Act::Go);
            }
            at = say(stop);
            if plight != Plight::Retried {
                disk.cut()?;
            }
            Ok(Act::Kill)
        })?;
        let mut broken = Vec::new();
        if plight == Plight::Retried && !is_whole {
            match place.run((self.scene.program)(&place))? {
                Exit::Code(code) if self.scene.ends == Some(code) => place.ended(Some(code)),
                other => broken.push(format!("the second try ended with {other:?}")),
            }
        }
        if plight == Plight::Retried || is_whole {
            self.disk.cut()?;
        }
        self.disk.revive()?;
        if self.ground.hunts() {
            // What can be seen at once is seen soonest.
            broken.append(&mut judge::visible(&place)?);
        }
        if broken.is_empty() {
            broken.append(&mut self.scene.aftermath(&mut place)?);
        }
        let mut cuts = 1;
        if plight == Plight::Twice && broken.is_empty() {
            cuts += 1;
            place.deaths += 1;
            self.disk.cut()?;
            self.disk.revive()?;
            broken.append(&mut self.scene.aftermath(&mut place)?);
        }
        let words = if broken.is_empty() { String::new() } else { place.last_words() };
        let scene = self.scene.name;
        let say = |what| format!("{scene}, {plight:?} at stop {number}, {at}: {what} ({words})");
        Ok(Played { broken: broken.into_iter().map(say).collect(), cuts })
    }

    /// A place whose spool is on the disk.
    fn place(&self) -> Outcome<Place<'a>> {
        for dir in [&self.home, &self.room] {
            if dir.exists() {
                fs::remove_dir_all(dir)?;
            }
        }
        fs::create_dir(&self.room)?;
        // Where the scene makes no spool there is also nothing above it: the program makes all of it.
        let spool = if self.scene.name == "put-first" { "state/home/spool" } else { "spool" };
        let mut place = Place::new(self.ground, &self.home, &self.room.join(spool))?;
        // They are never flushed.
        place.may_lack_reasons = true;
        Ok(place)
    }

    /// Runs the program of the scene under trace. Whether it came to its end.
    fn program(&self, place: &mut Place<'a>, at: &mut dyn FnMut(&Stop) -> Outcome<Act>) -> Outcome<bool> {
        let disk = &*self.disk;
        let ended = self.scene.play(place, &mut |stop| {
            if stop.number == 1 {
                // What was prepared is old.
                disk.sync()?;
            }
            at(stop)
        })?;
        match ended {
            Ended::Killed => Ok(false),
            ended if self.scene.is_end(ended) => Ok(true),
            other => Err(format!("{} ended with {other:?}: {}", self.scene.name, place.last_words()).into()),
        }
    }
}

/// Whether a call may change what is on the disk or in the world. `openat` only where it makes something: with O_CREAT or
/// O_TMPFILE.
fn changes(stop: &Stop) -> bool {
    const MAKES: u64 = 0o100 | 0o20_000_000;
    const CALLS: &str = "write pwrite64 writev pwritev sendfile copy_file_range fsync fdatasync ftruncate fallocate \
                         rename renameat renameat2 link linkat symlinkat unlink unlinkat mkdir mkdirat rmdir chmod \
                         fchmod utimensat clone clone3 vfork fork wait4 waitid kill exit_group sendto sendmsg recvfrom \
                         recvmsg";
    let name = stop.name();
    match name {
        "openat" => stop.args.get(2).is_some_and(|flags| flags & MAKES != 0),
        _ => CALLS.split_whitespace().any(|call| call == name),
    }
}

/// Where a stop is, for a reader.
fn say(stop: &Stop) -> String {
    let when = if stop.is_entry { "before" } else { "after" };
    let path = stop.text(0).or_else(|| stop.text(1)).filter(|text| text.as_encoded_bytes().contains(&b'/'));
    let what = path.map(|path| format!(" {}", path.to_string_lossy())).unwrap_or_default();
    format!("{when} {}{what}", stop.name())
}
