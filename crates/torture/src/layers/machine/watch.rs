//! The watch tells nothing: its queue overflows, the kernel gives none, or the watched directory is another one.
//!
//! The watch is a doorbell; whatever it misses, the timed sweep finds.

use std::ffi::OsString;
use std::fs;

use rustix::process::Signal;
use spooldir::{Dir, Spool};

use super::inside;
use crate::ground::{self, Ground};
use crate::layer::{Outcome, Report};
use crate::layers::rig::{Rig, chat};

/// In a user namespace of its own the limits of inotify can be lowered for nobody else.
const BLIND: &str = r#"echo 0 >"/proc/sys/user/max_inotify_$0" && exec "$@""#;

pub(super) fn run(ground: &Ground, report: &mut Report) -> Outcome<()> {
    for limit in ["instances", "watches"] {
        without(ground, report, limit)?;
    }
    moved(ground, report)
}

/// No watch at all from the start.
fn without(ground: &Ground, report: &mut Report, limit: &str) -> Outcome<()> {
    let rig = Rig::new(ground, &format!("watch-{limit}"))?;
    let prefix: Vec<OsString> =
        ["unshare", "--user", "--map-root-user", "sh", "-c", BLIND, limit].map(OsString::from).into();
    let mut agent = rig.spawn(rig.drain(&prefix))?;
    if !rig.until_connected() {
        let why = format!("no user namespace without inotify {limit}: {}", agent.log());
        if ground::is_ci() || agent.lives() {
            return Err(why.into());
        }
        report.fact(format!("skipped: {why}"));
        return Ok(());
    }
    let status = fs::read_to_string(rig.root.join("agent.json")).unwrap_or_default();
    report.check(status.contains("fs.inotify.max_user_"), || {
        format!("watch: agent.json does not say why it polls: {status}")
    });
    let mut sent = Vec::new();
    for n in 0..5 {
        sent.push(rig.put(&chat(n))?);
        report.check(rig.until_done(n + 1), || {
            format!("watch: without {limit}, the record is never seen: {}", agent.log())
        });
    }
    rig.all_delivered(report, &format!("watch without {limit}"), &sent);
    let code = agent.end(rig.limit());
    report.check(code == Some(0), || format!("watch: without {limit}, it ended with {code:?}"));
    Ok(())
}

/// The program, while the directory it watches is renamed away, removed and made anew.
fn moved(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let rig = Rig::new(ground, "watch-moved")?;
    let mut agent = rig.agent()?;
    report.check(rig.until_connected(), || "watch: no connection".to_owned());
    let mut sent = vec![rig.put(&chat(0))?];
    report.check(rig.until_done(1), || "watch: the first one is not delivered".to_owned());
    let new = rig.spool.dir(Dir::New);
    fs::rename(&new, rig.home.join("old-new"))?;
    fs::create_dir(&new)?;
    sent.push(rig.put(&chat(0))?);
    report.check(rig.until_done(2), || format!("watch: nothing is found in a new new/: {}", agent.log()));
    // For a while there is none at all; what comes with it when it is back is found.
    fs::remove_dir(&new)?;
    agent.signal(Signal::CONT)?;
    let staging = rig.home.join("staging");
    let other = Spool::create(&staging)?;
    let id = spooldir::Id::mint();
    other.publish(&id, &crate::layers::rig::record(&id, &chat(1)), true)?;
    sent.push((id, chat(1)));
    fs::rename(other.dir(Dir::New), &new)?;
    report.check(rig.until_done(3), || {
        format!("watch: what came with its directory is not found: {}", agent.log())
    });
    report.check(agent.lives(), || format!("watch: the agent ended: {}", agent.log()));
    rig.all_delivered(report, "watch moved", &sent);
    Ok(())
}

/// The same in a hurry: `new/` is replaced under a running agent, and only the timed sweep can know.
pub(super) fn replaced(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let rig = Rig::new(ground, "watch-replaced")?;
    let mut sent = vec![rig.put(&chat(0))?];
    let new = rig.spool.dir(Dir::New);
    let mut trouble = None;
    let rounds = if ground.hunts() { 2 } else { 20 };
    let (in_time, _) = inside::drain(&rig, rig.limit(), || {
        if rig.count(Dir::Done) < sent.len() || sent.len() > rounds {
            return rig.count(Dir::Done) > rounds;
        }
        let next = (|| {
            fs::rename(&new, rig.home.join(format!("old-{}", sent.len())))?;
            fs::create_dir(&new)?;
            rig.put(&chat(0))
        })();
        match next {
            Ok(next) => sent.push(next),
            Err(e) => trouble = Some(e),
        }
        trouble.is_some()
    })?;
    if let Some(e) = trouble {
        return Err(e);
    }
    report.count("replaced", sent.len() as u64 - 1);
    report.check(in_time, || "watch: new/ was replaced, and what came into it was never seen".to_owned());
    if in_time {
        rig.all_delivered(report, "watch replaced", &sent);
    }
    Ok(())
}
