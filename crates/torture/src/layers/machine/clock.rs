//! The clock: real jumps of ten years under a running agent (a preloaded library that shifts the wall clock and leaves
//! the monotonic one alone), and names and times that a wrong clock has written.
//!
//! Wall clock is only data. A due time that lies further away than any wait of ours was written by a clock that moved,
//! and is not believed; the record's own `notBefore` is. A due time that is near is kept. No file is removed for its
//! date as long as somebody may need it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::json;
use spool_gateway::fake::{Fault, Rule};
use spooldir::fs::{Fs, RealFs};
use spooldir::name::Key;
use spooldir::time::now_ms;
use spooldir::{Dir, Entry, Id, Spool, State};

use super::inside;
use crate::ground::{self, Ground};
use crate::layer::{Outcome, Report};
use crate::layers::rig::{Agent, Rig, Sent, chat, names, record};

const DAY: u64 = 86_400_000;
const TEN_YEARS: u64 = 3652 * DAY;

/// What a clock that was wrong has written into names and times.
pub(super) fn from_names(ground: &Ground, report: &mut Report) -> Outcome<()> {
    staged(ground, report)?;
    let rig = Rig::new(ground, "clock-names")?;
    let now = now_ms();
    let deferred = |attempts, due_ms| {
        let key = (attempts > 0).then(Key::mint);
        let entry = Entry::new(Id::mint(), State::Deferred { key, attempts, due_ms });
        fs::write(rig.spool.path(&entry), record(&entry.id, &chat(0)))?;
        Ok::<_, std::io::Error>((entry.id, chat(0)))
    };
    let mut sent: Vec<Sent> =
        vec![deferred(1, now + TEN_YEARS)?, deferred(1, now.saturating_sub(TEN_YEARS))?, deferred(2, 0)?];
    sent.push(deferred(3, u64::MAX)?);
    let asked = deferred(0, now + TEN_YEARS)?;
    let (soon, soon_ms) = (deferred(1, now + 250)?, now + 250);
    for years in [-10_i64, 10] {
        let one = rig.put(&chat(1))?;
        let file =
            File::options().write(true).open(rig.spool.dir(Dir::New).join(format!("{}.json", one.0)))?;
        let shift = Duration::from_millis(TEN_YEARS);
        let then = if years < 0 { SystemTime::now() - shift } else { SystemTime::now() + shift };
        file.set_modified(then)?;
        sent.push(one);
    }
    // What waits for its own time is looked at all the while.
    let mut early = None;
    let (in_time, _) = inside::drain(&rig, rig.limit(), || {
        let commits = rig.fake.commits_containing(soon.0.as_str());
        if commits > 0 && early.is_none() {
            early = Some(now_ms() < soon_ms);
        }
        rig.count(Dir::Done) > sent.len()
    })?;
    report.check(early != Some(true), || "clock: a deferred record was tried before it was due".to_owned());
    report.check(in_time, || {
        let late: Vec<_> =
            sent.iter().filter(|s| rig.places(&s.0) != ["done"]).map(|s| s.0.as_str()).collect();
        format!("clock: a due time of another decade was believed; still waiting: {late:?}")
    });
    if ground.hunts() && report.violated() > 0 {
        return Ok(());
    }
    sent.push(soon);
    report.check(rig.places(&asked.0) == ["deferred"], || {
        format!("clock: notBefore in ten years was not waited for: {:?}", rig.places(&asked.0))
    });
    rig.all_delivered(report, "clock", &sent);
    due(ground, report)
}

/// A deferred record is not tried before its time, however often the agent looks.
fn due(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let rig = Rig::new(ground, "clock-due")?;
    // Within the longest wait of the hurried agent, so that it is believed.
    for _ in 0..if ground.hunts() { 3 } else { 10 } {
        let due_ms = now_ms() + 250;
        let entry = Entry::new(Id::mint(), State::Deferred { key: None, attempts: 1, due_ms });
        fs::write(rig.spool.path(&entry), record(&entry.id, &chat(2)))?;
        let mut taken_ms = None;
        inside::drain(&rig, rig.limit(), || {
            if taken_ms.is_none() && !rig.spool.path(&entry).exists() {
                taken_ms = Some(now_ms());
            }
            rig.places(&entry.id) == ["done"]
        })?;
        report.check(taken_ms.is_some_and(|at| at >= due_ms), || {
            format!("clock: due at {due_ms}, taken at {taken_ms:?}")
        });
    }
    Ok(())
}

/// Upkeep two days later: the leftover of a dead writer goes, a live writer's file stays, and so does a leftover from
/// the future.
fn staged(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let spool = Spool::create(&ground.room("clock-tmp")?.join("spool"))?;
    let tmp = spool.dir(Dir::Tmp);
    let live = RealFs::named().stage(&tmp)?;
    let writing = names(&tmp);
    fs::write(tmp.join("left"), "x")?;
    fs::write(tmp.join("future"), "x")?;
    let later = SystemTime::now() + Duration::from_millis(TEN_YEARS);
    File::options().write(true).open(tmp.join("future"))?.set_modified(later)?;
    spool.sweep_tmp(now_ms() + 2 * DAY)?;
    let there = names(&tmp);
    report.check(writing.iter().all(|name| there.contains(name)), || {
        "clock: the sweep of tmp/ took a file whose writer is alive".to_owned()
    });
    report
        .check(there.contains(&"future".to_owned()), || "clock: a file from the future was swept".to_owned());
    report.check(!there.contains(&"left".to_owned()), || "clock: an old leftover stays for ever".to_owned());
    drop(live);
    Ok(())
}

/// Real jumps.
pub(super) fn jumps(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let Some(library) = library() else {
        let why = "no libfaketime.so.1 (the package faketime): the clock was not made to jump";
        if ground::is_ci() {
            return Err(why.into());
        }
        report.fact(format!("skipped: {why}"));
        return Ok(());
    };
    let rig = Rig::new(ground, "clock-jumps")?;
    let control = rig.home.join("clock");
    let mut agent = shifted(&rig, &library, &control, "+0")?;
    report
        .check(rig.until_connected(), || format!("clock: no connection under the library: {}", agent.log()));
    let mut sent = vec![rig.put(&chat(0))?];
    report.check(rig.until_done(1), || format!("clock: not delivered under the library: {}", agent.log()));
    // Two that wait for a person, and must never go by their age.
    let held = rig.put(&chat(9))?;
    rig.verb(&["hold", held.0.as_str()])?;
    for (n, to) in ["+3652d", "-3652d", "+0", "-3652d", "+3652d", "+0"].into_iter().enumerate() {
        let what = format!("clock: jump {n} to {to}");
        // One is deferred and one under way when the clock jumps.
        let error = json!({"code": "INVALID_REQUEST", "message": "not now"});
        rig.fake.rule(Rule::on("agent").session(&chat(1)).times(2).then(Fault::Error(error)));
        rig.fake.rule(Rule::on("agent").session(&chat(2)).then(Fault::TurnLasts(Duration::from_millis(400))));
        let (deferred, flying) = (rig.put(&chat(1))?, rig.put(&chat(2))?);
        let there = rig.until(rig.limit(), || {
            rig.count(Dir::Deferred) > 0 && rig.fake.commits_containing(flying.0.as_str()) > 0
        });
        report.check(there, || format!("{what}: nothing is deferred: {}", agent.log()));
        fs::write(&control, to)?;
        report.count("jumps", 1);
        let fresh = rig.put(&chat(3))?;
        let now = [deferred, flying, fresh];
        let delivered =
            rig.until(rig.limit(), || now.iter().all(|s| rig.fake.commits_containing(s.0.as_str()) > 0));
        let settled = rig.until(rig.limit(), || rig.count(Dir::Sending) + rig.count(Dir::Deferred) == 0);
        report.check(delivered && settled, || {
            let places: Vec<_> = now.iter().map(|s| rig.places(&s.0)).collect();
            format!("{what}: {places:?}: {}", agent.log())
        });
        sent.extend(now);
        if n == 2 {
            // A start in the wrong year, with a receipt, a held entry and what comes.
            agent.kill()?;
            agent = shifted(&rig, &library, &control, "+3652d")?;
        }
    }
    report.check(agent.lives(), || format!("clock: the agent ended: {}", agent.log()));
    report.check(!rig.places(&held.0).is_empty(), || "clock: a held entry went by its age".to_owned());
    report.check(rig.count(Dir::Dead) == 0, || "clock: a jump killed a record".to_owned());
    // Receipts may go by their age, so only the gateway is asked whether each was delivered once.
    let commits = rig.commits();
    for (id, session) in sent.iter().filter(|s| s.0 != held.0) {
        let got = commits.get(id.as_str()).cloned().unwrap_or_default();
        report.check(got == [session.clone()], || format!("clock: {id} was committed in {got:?}"));
    }
    report.count("records", sent.len() as u64);
    rig.audit(report, "clock");
    Ok(())
}

/// An agent whose wall clock is read from a file, anew each time.
fn shifted(rig: &Rig<'_>, library: &PathBuf, control: &PathBuf, to: &str) -> Outcome<Agent> {
    fs::write(control, to)?;
    let mut command = rig.drain(&[] as &[OsString]);
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", control)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1");
    rig.spawn(command)
}

/// Where the distribution puts it: /usr/lib/ARCH/faketime/.
fn library() -> Option<PathBuf> {
    let arches = fs::read_dir("/usr/lib").ok()?.flatten();
    arches.map(|arch| arch.path().join("faketime/libfaketime.so.1")).find(|path| path.is_file())
}
