//! What a yes is worth: a power cut in the moment after it. Needs root, for a disk whose power can be cut.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use spooldir::Dir;

use super::LONG;
use crate::bench::{Bench, Ended};
use crate::disk::Disk;
use crate::stage::Stage;
use crate::verdict::{Outcome, Stop, must};

/// A spool on a disk that has been there for long.
fn on_disk(bench: &mut Bench<'_>) -> Result<(Disk, Stage), Stop> {
    if let Err(why) = &bench.ground {
        return Err(Stop::NotTried(why.clone()));
    }
    let disk = Disk::make(&bench.path("disk"))?;
    let stage = Stage::make(&disk.at().join("spool"))?;
    disk.settle()?;
    Ok((disk, stage))
}

/// The disk is worth something as a judge only if it loses what nobody flushed. Somebody else may flush everything that
/// the machine has, just then; not each time.
fn must_forget(disk: &mut Disk, stage: &Stage) -> Result<(), Stop> {
    let path = stage.dir(Dir::New).join("unflushed.json");
    for _ in 0..5 {
        fs::write(&path, "{}")?;
        let cut = disk.cut()?;
        let is_lost = !cut.at().join("spool/new/unflushed.json").exists();
        fs::remove_file(&path)?;
        disk.settle()?;
        if is_lost {
            return Ok(());
        }
    }
    Err(Stop::NotTried("the disk keeps what nobody flushed".into()))
}

pub(super) fn kept(bench: &mut Bench<'_>) -> Outcome {
    let (mut disk, stage) = on_disk(bench)?;
    must_forget(&mut disk, &stage)?;
    let cuts = ["done".to_owned(), "long ".repeat(LONG / 5), "done again".to_owned()];
    for text in &cuts {
        let call = bench.call(text.as_str());
        bench.run_well(&stage, &call)?;
        let cut = disk.cut()?;
        let (name, bytes) = stage.must_hold(&call)?;
        must_have_kept(cut.at(), &name, &bytes)?;
        drop(cut);
        stage.clear()?;
        disk.settle()?;
    }
    Ok(format!("{} power cuts on ext4", cuts.len()))
}

fn must_have_kept(after: &Path, name: &str, bytes: &[u8]) -> Result<(), Stop> {
    let path = after.join("spool/new").join(name);
    let Ok(found) = fs::read(&path) else {
        return Err(Stop::Fail(format!("after the power cut new/{name} is not there: new/ was not flushed")));
    };
    must(found == bytes, || {
        let (now, due) = (found.len(), bytes.len());
        format!(
            "after the power cut new/{name} has {now} bytes instead of {due}, or others: it was not flushed"
        )
    })
}

pub(super) fn kept_retry(bench: &mut Bench<'_>) -> Outcome {
    let (mut disk, stage) = on_disk(bench)?;
    must_forget(&mut disk, &stage)?;
    let cuts = 3;
    for _ in 0..cuts {
        let call = bench.call_with_id("done")?;
        // What it publishes for this call, from a spool where that hurts nobody.
        let rehearsal = bench.stage()?;
        bench.run_well(&rehearsal, &call)?;
        let (name, bytes) = rehearsal.must_hold(&call)?;
        // Somebody published it, up to the flush of new/, and died.
        let staged = stage.dir(Dir::Tmp).join("somebody");
        let mut file = File::create(&staged)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::hard_link(&staged, stage.dir(Dir::New).join(&name))?;
        fs::remove_file(&staged)?;
        if let Ended::No(how) = bench.run(stage.root(), &call)? {
            return Err(Stop::Fail(format!(
                "it refused a retry of what is there with the same bytes ({how})"
            )));
        }
        let cut = disk.cut()?;
        must_have_kept(cut.at(), &name, &bytes)?;
        drop(cut);
        stage.clear()?;
        disk.settle()?;
    }
    Ok(format!("{cuts} power cuts on ext4"))
}
