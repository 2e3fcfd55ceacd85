//! Where a producer must say no: another format, no spool, no permission, no room.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use spooldir::Dir;

use super::{LONG, contents, judge_refusable};
use crate::bench::{Bench, Ended};
use crate::disk::{Mounted, run};
use crate::stage::Stage;
use crate::verdict::{Outcome, Stop, must};

pub(super) fn format(bench: &mut Bench<'_>) -> Outcome {
    let stage = bench.stage()?;
    for text in ["spool 2\n", "spool 10\n", "maildir\n"] {
        fs::write(stage.root().join("format"), text)?;
        let before = (stage.surroundings()?, contents(&stage)?);
        let call = bench.call("done");
        let ended = bench.run(stage.root(), &call)?;
        must(!ended.is_yes(), || format!("it said yes to a spool whose format is {:?}", text.trim_end()))?;
        stage.must_be_as(&before.0)?;
        must(contents(&stage)? == before.1, || {
            format!("it changed tmp/ or new/ of a spool whose format is {:?}", text.trim_end())
        })?;
    }
    Ok(String::new())
}

pub(super) fn missing(bench: &mut Bench<'_>) -> Outcome {
    let root = bench.path("none");
    let call = bench.call("done");
    match bench.run(&root, &call)? {
        Ended::No(_) => Ok("refused".to_owned()),
        Ended::Yes => {
            must(root.exists(), || "it said yes, but there is no spool".to_owned())?;
            Stage::found(&root)?.must_hold(&call)?;
            Ok("made".to_owned())
        }
    }
}

/// A directory that cannot be written, until this goes away.
struct Shut {
    dir: PathBuf,
    by_flag: bool,
}

impl Shut {
    fn close(dir: &Path) -> Result<Shut, Stop> {
        // Root may write whatever the mode says, but not what is immutable.
        let by_flag = rustix::process::geteuid().is_root();
        if by_flag {
            run(Command::new("chattr").arg("+i").arg(dir)).map_err(Stop::NotTried)?;
        } else {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o500))?;
        }
        let shut = Shut { dir: dir.to_owned(), by_flag };
        if fs::write(dir.join("probe"), "").is_ok() {
            return Err(Stop::NotTried("no directory here is closed to this user".into()));
        }
        Ok(shut)
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        let _open = if self.by_flag {
            run(Command::new("chattr").arg("-i").arg(&self.dir)).is_ok()
        } else {
            fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700)).is_ok()
        };
    }
}

pub(super) fn not_writable(bench: &mut Bench<'_>) -> Outcome {
    let mut needless = false;
    for dir in [Dir::Tmp, Dir::New] {
        let stage = bench.stage()?;
        let call = bench.call("done");
        let shut = Shut::close(&stage.dir(dir))?;
        let ended = bench.run(stage.root(), &call)?;
        drop(shut);
        judge_refusable(&stage, &call, &ended)
            .map_err(|stop| stop.with(&format!("{}/ not writable", dir.name())))?;
        needless |= ended.is_yes();
    }
    Ok(if needless { "it does not need tmp/".to_owned() } else { String::new() })
}

pub(super) fn write_error(bench: &mut Bench<'_>) -> Outcome {
    let stage = bench.stage()?;
    let mut hindered = 0;
    for length in [20_000, LONG] {
        let call = bench.call("x".repeat(length));
        let ended = bench.run_cramped(stage.root(), &call)?;
        hindered += u32::from(!ended.is_yes());
        judge_refusable(&stage, &call, &ended)
            .map_err(|stop| stop.with("no file over 8 KiB can be written"))?;
        stage.clear()?;
    }
    if hindered == 0 {
        return Err(Stop::NotTried("a limit on the size of files does not hinder it".into()));
    }
    Ok(String::new())
}

pub(super) fn full_disk(bench: &mut Bench<'_>) -> Outcome {
    if let Err(why) = &bench.ground {
        return Err(Stop::NotTried(why.clone()));
    }
    let mut refused = 0;
    // Pages that are left; and at the end no inode.
    for pages in [Some(0), Some(1), Some(3), Some(8), None] {
        let at = bench.path("small");
        let small = Mounted::small(&at)?;
        let stage = Stage::make(&at.join("spool"))?;
        let call = bench.call("x".repeat(40_000));
        match pages {
            Some(pages) => fill(&at, pages)?,
            None => {
                let filled = (0..10_000).any(|n| fs::File::create(at.join(format!("file-{n}"))).is_err());
                must_fill(filled)?;
            }
        }
        let ended = bench.run(stage.root(), &call)?;
        let room = pages.map_or("no inode is left".to_owned(), |pages| format!("{pages} pages are left"));
        judge_refusable(&stage, &call, &ended).map_err(|stop| stop.with(&room))?;
        refused += u32::from(!ended.is_yes());
        drop(small);
    }
    must_fill(refused > 0)?;
    Ok(format!("refused {refused} times of 5"))
}

fn must_fill(filled: bool) -> Result<(), Stop> {
    if filled { Ok(()) } else { Err(Stop::NotTried("the disk cannot be filled".into())) }
}

/// Fills a small disk but for some pages.
fn fill(at: &Path, pages: usize) -> Result<(), Stop> {
    let spare = at.join("spare");
    fs::write(&spare, vec![b'.'; pages * 4096])?;
    let mut filler = fs::File::create(at.join("filler"))?;
    let full = (0..10_000).any(|_| filler.write_all(&[b'.'; 4096]).is_err());
    must_fill(full)?;
    Ok(fs::remove_file(spare)?)
}
