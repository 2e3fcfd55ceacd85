//! A full disk: of blocks, of inodes, from each call on.
//!
//! The spool is on a small tmpfs. Before each call about the spool that changes something the disk is filled to the last
//! block, or the last inode, and the kernel says no by itself from then on. `spool-put` then ends with 75 and leaves
//! nothing that can be seen, or has done it; what needs no space works all the same: an agent delivers and retires, a
//! person dismisses. Then there is space again, and the world goes on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use super::calls::{Counter, Moment, aftermath};
use crate::ground::{is_ci, is_root};
use crate::layer::Outcome;
use crate::layers::kill::Work;
use crate::layers::scenes::{Place, Scene, Who, named};
use crate::trace::{Act, Ended, Stop};

/// Where it is tried.
const SCENES: &[&str] = &["put-first", "put", "dismiss", "retry", "drain-lanes", "drain-refused", "run-ok"];

/// What there is no more of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    Blocks,
    Inodes,
}

/// A small disk of one tracer.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn mount(at: PathBuf, lack: Lack) -> Outcome<Disk> {
        fs::create_dir(&at)?;
        let options = match lack {
            Lack::Blocks => "size=512k,mode=0700",
            Lack::Inodes => "size=64m,nr_inodes=200,mode=0700",
        };
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&at).status()?;
        if !status.success() {
            return Err(format!("cannot mount a tmpfs at {}: {status}", at.display()).into());
        }
        Ok(Disk { at })
    }

    /// Fills it to the last block or inode.
    fn fill(&self, lack: Lack) -> Outcome<()> {
        let full = self.at.join("full");
        fs::create_dir_all(&full)?;
        let is_full = |e: &std::io::Error| e.kind() == std::io::ErrorKind::StorageFull;
        for n in 0..100_000 {
            let filled = match lack {
                Lack::Blocks => File::options()
                    .create(true)
                    .append(true)
                    .open(full.join("0"))
                    .and_then(|mut file| file.write_all(&[0; 4096])),
                Lack::Inodes => File::create(full.join(n.to_string())).map(drop),
            };
            match filled {
                Ok(()) => {}
                Err(e) if is_full(&e) => return Ok(()),
                Err(e) => return Err(e.into()),
            }
        }
        Err("a small disk does not fill up".into())
    }

    fn clear(&self) -> Outcome<()> {
        for item in fs::read_dir(&self.at)? {
            fs::remove_dir_all(item?.path())?;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _gone = unmount(&self.at, UnmountFlags::DETACH).is_ok();
    }
}

pub(super) fn run(work: &Work<'_>) -> Outcome<()> {
    if !is_root() {
        if is_ci() {
            return Err("only root may mount, and the full disk cannot be left out here".into());
        }
        work.with(|report| report.fact("skipped: the full disk, since only root may mount"));
        return Ok(());
    }
    // Seen by this thread and its children alone, and gone with them.
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    for lack in [Lack::Blocks, Lack::Inodes] {
        let disks = Mutex::new(Vec::new());
        for n in 0..crate::layers::kill::TRACERS {
            let disk = Disk::mount(work.room.path().join(format!("disk-{lack:?}-{n}")), lack)?;
            disks.lock().map_err(|_| "a tracer panicked")?.push(disk);
        }
        for scene in named(SCENES) {
            each(work, scene, lack, &disks)?;
        }
    }
    work.with(|report| report.at_least("times the disk was full", 100));
    Ok(())
}

fn each(work: &Work<'_>, scene: &'static Scene, lack: Lack, disks: &Mutex<Vec<Disk>>) -> Outcome<()> {
    let lend = || disks.lock().ok().and_then(|mut disks| disks.pop()).ok_or("no disk is left");
    let give_back = |disk| disks.lock().map(|mut disks| disks.push(disk)).map_err(|_| "a tracer panicked");
    let first = lend()?;
    let moments: Vec<Moment> = survey(work, scene, &first)?.into_iter().collect();
    give_back(first)?;
    let next = AtomicUsize::new(0);
    work.both(&|| {
        let Some(moment) = moments.get(next.fetch_add(1, Ordering::Relaxed)) else { return Ok(false) };
        let disk = lend()?;
        let played = fill_at(work, scene, lack, &disk, moment);
        give_back(disk)?;
        played.map(|()| true)
    })
}

fn place<'a>(work: &Work<'a>, disk: &Disk) -> Outcome<(PathBuf, Place<'a>)> {
    let (home, mut place) = work.place()?;
    place.spool = disk.at.join("spool");
    Ok((home, place))
}

fn survey(work: &Work<'_>, scene: &'static Scene, disk: &Disk) -> Outcome<BTreeSet<Moment>> {
    let (home, mut place) = place(work, disk)?;
    let (mut counter, mut moments) = (Counter::default(), BTreeSet::new());
    let spool = place.spool.clone();
    let most = if scene.who == Who::Tool || work.ground.full { u32::MAX } else { 2 };
    scene.play(&mut place, &mut |stop: &Stop| {
        if let Some(moment) = counter.moment(stop, &spool)
            && moment.1 <= most
            && (moment.0.is_change() || moment.0.call == "openat")
            && moment.0.about.contains("spool/")
        {
            moments.insert(moment);
        }
        Ok(Act::Go)
    })?;
    clear(place, &home, disk)?;
    Ok(moments)
}

fn fill_at(work: &Work<'_>, scene: &'static Scene, lack: Lack, disk: &Disk, moment: &Moment) -> Outcome<()> {
    let (home, mut place) = place(work, disk)?;
    let (mut counter, mut is_full) = (Counter::default(), false);
    let spool = place.spool.clone();
    let ended = scene.play(&mut place, &mut |stop: &Stop| {
        if !is_full && counter.moment(stop, &spool).as_ref() == Some(moment) {
            is_full = true;
            if scene.who == Who::Agent {
                // An agent has been here before: its lock is no new file.
                File::options().create(true).append(true).open(spool.join("lock"))?;
            }
            disk.fill(lack)?;
        }
        Ok(Act::Go)
    })?;
    // Who only moves names needs no space; nor does the job of a wrapper.
    let may_fail = scene.who == Who::Tool && scene.name.starts_with("put");
    let mut broken = Vec::new();
    let is_fit = scene.is_end(ended) || may_fail && ended == Ended::Exited(75);
    if !is_fit {
        broken.push("it may not end like this".to_owned());
    }
    if disk.at.join("full").exists() {
        fs::remove_dir_all(disk.at.join("full"))?;
    }
    place.may_lack_reasons = true;
    broken.append(&mut aftermath(work, scene, &mut place, &moment.0)?);
    let at = format!("{}, no {lack:?} left before {}, time {}", scene.name, moment.0, moment.1);
    work.with(|report| {
        report.count("times the disk was full", u64::from(is_full));
        let words = if broken.is_empty() { String::new() } else { place.last_words() };
        for what in &broken {
            report.violation(format!("{at}: it ended with {ended:?}: {what} ({words})"));
        }
    });
    clear(place, &home, disk)
}

fn clear(place: Place<'_>, home: &Path, disk: &Disk) -> Outcome<()> {
    drop(place);
    fs::remove_dir_all(home)?;
    disk.clear()
}
