//! The disk: full to the last page, and read-only.
//!
//! On a full disk nothing new can be put, which is said with a number of its own; draining, retiring, holding and
//! dismissing go on, for a rename needs no space. On a disk that turns read-only the agent waits, and sends nothing that
//! it could not write down before.

use std::ffi::CStr;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
use spooldir::Dir;

use super::limits::calm;
use crate::ground::{self, Ground};
use crate::layer::{Outcome, Report};
use crate::layers::rig::{Rig, Sent, chat, names};

/// A full disk: the exit number of `spool-put`.
const TEMPORARY: i32 = 75;

pub(super) fn run(ground: &Ground, report: &mut Report) -> Outcome<()> {
    if !ground::is_root() {
        if ground::is_ci() {
            return Err("the disk parts mount, which needs root".into());
        }
        report.fact("skipped: a full and a read-only disk (mounting needs root)");
        return Ok(());
    }
    full(ground, report)?;
    read_only(ground, report)
}

/// A mount that goes away when dropped.
pub(super) struct Mounted(PathBuf);

/// A file system in memory.
pub(super) fn tmpfs(dir: &Path, options: &CStr) -> Outcome<Mounted> {
    mount("tmpfs", dir, "tmpfs", MountFlags::empty(), Some(options))?;
    Ok(Mounted(dir.to_owned()))
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone = unmount(&self.0, UnmountFlags::DETACH).is_ok();
    }
}

fn full(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let home = ground.room("disk-full")?;
    let disk = home.join("disk");
    fs::create_dir_all(&disk)?;
    let mounted = tmpfs(&disk, c"size=256k,nr_inodes=256")?;
    let rig = Rig::at(ground, home, disk.join("spool"))?;
    let sent: Vec<Sent> = (0..12).map(|n| rig.put(&chat(n % 3))).collect::<Outcome<_>>()?;
    let (held, dismissed) = (rig.put(&chat(5))?, rig.put(&chat(5))?);
    rig.verb(&["hold", held.0.as_str()])?;
    let filler = fill(&disk)?;

    let before = names(&rig.spool.dir(Dir::New));
    for n in 0..3 {
        let mut put = rig.command(&[], "spool-put");
        let status = put.args(["--session", &chat(n), "does not fit"]).status()?;
        report
            .check(status.code() == Some(TEMPORARY), || format!("disk: spool-put on a full disk: {status}"));
        report.count("refused on a full disk", 1);
    }
    report.check(names(&rig.spool.dir(Dir::New)) == before, || {
        "disk: a put that failed left something".to_owned()
    });
    report.check(names(&rig.spool.dir(Dir::Tmp)).is_empty(), || {
        "disk: a put that failed left a file in tmp/".to_owned()
    });
    let why = ["--reason", "a person says so"];
    let none = &why[..0];
    let verbs = [
        ("dismiss", &dismissed.0, &why[..]),
        ("release", &held.0, none),
        ("hold", &held.0, none),
        ("dismiss", &held.0, &why[..]),
    ];
    for (verb, id, more) in verbs {
        let (code, said) = rig.verb(&[&[verb, id.as_str()], more].concat())?;
        report.check(code == 0, || format!("disk: spool {verb} on a full disk: {code}: {said}"));
    }
    let mut agent = rig.agent()?;
    report.check(rig.until_done(sent.len()), || format!("disk: draining on a full disk: {}", agent.log()));
    report.check(agent.lives(), || format!("disk: the agent ended on a full disk: {}", agent.log()));
    for id in [&dismissed.0, &held.0] {
        report.check(rig.places(id) == ["dismissed"], || format!("disk: {id} is {:?}", rig.places(id)));
    }
    rig.all_delivered(report, "full disk", &sent);
    fs::remove_file(filler)?;
    let after = rig.put(&chat(7))?;
    report.check(rig.until_done(sent.len() + 1), || "disk: it does not go on when there is room".to_owned());
    rig.all_delivered(report, "after a full disk", &[after]);
    agent.kill()?;
    drop(mounted);
    Ok(())
}

/// Fills the file system to its last byte.
fn fill(disk: &Path) -> Outcome<PathBuf> {
    let path = disk.join("filler");
    let mut file = fs::File::create(&path)?;
    let mut size = 64 * 1024;
    while size > 0 {
        match std::io::Write::write_all(&mut file, &vec![7; size]) {
            Ok(()) => {}
            Err(_) => size /= 2,
        }
    }
    Ok(path)
}

fn read_only(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let rig = Rig::new(ground, "disk-read-only")?;
    let mut agent = rig.agent()?;
    report.check(rig.until_connected(), || format!("disk: no connection: {}", agent.log()));
    // The same directory, under its own name, read-only; what is put goes in through another name.
    let back = rig.home.join("back");
    fs::create_dir_all(&back)?;
    mount_bind(&rig.root, &back)?;
    let back_mounted = Mounted(back.clone());
    mount_bind(&rig.root, &rig.root)?;
    let front = Mounted(rig.root.clone());
    mount_remount(&rig.root, MountFlags::BIND | MountFlags::RDONLY, "")?;
    let behind = spooldir::Spool::open(&back)?;
    let mut sent = Vec::new();
    for n in 0..5 {
        let id = spooldir::Id::mint();
        behind.publish(&id, &crate::layers::rig::record(&id, &chat(n)), true)?;
        sent.push((id, chat(n)));
    }
    let status = rig.command(&[], "spool-put").args(["--session", &chat(0), "x"]).status()?;
    report.check(matches!(status.code(), Some(73..=77)), || {
        format!("disk: spool-put on a read-only disk: {status}")
    });
    // Longer than a sweep takes to come.
    std::thread::sleep(std::time::Duration::from_secs(if ground.hunts() { 1 } else { 6 }));
    calm(report, &agent, "on a read-only disk")?;
    report
        .check(rig.fake.all_commits().is_empty(), || "disk: it sent what it could not write down".to_owned());
    report.check(agent.lives(), || format!("disk: the agent ended on a read-only disk: {}", agent.log()));
    drop(front);
    report.check(rig.until_done(sent.len()), || {
        format!("disk: it does not go on when it may write: {}", agent.log())
    });
    rig.all_delivered(report, "read-only disk", &sent);
    agent.kill()?;
    drop(back_mounted);
    Ok(())
}
