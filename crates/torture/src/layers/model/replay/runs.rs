//! The step of the model of runs that only a power cut would miss: a run whose wrapper died after it named its
//! completion is closed, by an agent under trace, and the completion must have been flushed where it stands, and
//! `new/`, before the intent is removed.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use spooldir::Dir;

use super::place::{AGENT, Place};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::trace::{self, Ended};

const ID: &str = "run-1";

/// Closes such a run once for each state that its completion may be in.
pub(super) fn close(ground: &Ground, report: &mut Report) -> Outcome<()> {
    for dir in [Dir::New, Dir::Done, Dir::Hold, Dir::Dismissed] {
        let home = ground.room(&format!("run-{}", dir.name()))?;
        let place = Place::new(ground, &home)?;
        place.begin(&super::bounds(&mut ground.chance("runs"), super::Style::Burnt))?;
        let told = one(&place, dir)?;
        report.count("closed runs", 1);
        report.check(told.is_empty(), || format!("a run whose completion is in {}/: {told}", dir.name()));
        drop(place);
        fs::remove_dir_all(home)?;
    }
    Ok(())
}

/// What is wrong with it; nothing, as a rule.
fn one(place: &Place<'_>, dir: Dir) -> Outcome<String> {
    let at = |dir: Dir, name: &str| place.spool.join(dir.name()).join(name);
    let intent = at(Dir::Runs, &format!("{ID}.json"));
    let text = format!(
        r#"{{"v":1,"id":"{ID}","sessionKey":"agent:main:job:0","command":["true"],"bootId":"another","startedAt":1}}"#
    );
    fs::write(at(Dir::Runs, &format!("{ID}.lock")), "")?;
    fs::write(&intent, text)?;
    let record = format!(r#"{{"id":"{ID}","sessionKey":"agent:main:job:0","text":"it ended"}}"#);
    fs::write(at(dir, &format!("{ID}.json")), record)?;
    let mut flushed = HashSet::new();
    let mut missing = None;
    let ended = trace::run(&mut place.agent()?, AGENT, &mut |stop| {
        match stop.name() {
            "fsync" | "fdatasync" if !stop.is_entry && stop.result == 0 => flushed.extend(stop.file(0)),
            "unlink" | "unlinkat" if stop.is_entry => {
                let path = stop.text(usize::from(stop.name() == "unlinkat"));
                if path.as_deref().is_some_and(|path| Path::new(path) == intent) {
                    let due = [dir, Dir::New].map(|dir| place.spool.join(dir.name()));
                    missing = Some(due.iter().filter(|dir| !flushed.contains(*dir)).count());
                }
            }
            _ => {}
        }
        Ok(trace::Act::Go)
    })?;
    Ok(match (ended, missing) {
        (Ended::Exited(0), Some(0)) => String::new(),
        (Ended::Exited(0), Some(n)) => format!("closed, with {n} directories not flushed"),
        (ended, missing) => format!("the agent ended with {ended:?}, {missing:?}: {}", place.last_words()),
    })
}
