//! Descriptors: agents that start with too few of them, and one that loses the right to more while it works.
//!
//! It never panics and never spins, and goes on as soon as there are some again.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, prlimit};

use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::layers::rig::{Agent, Rig, chat};

pub(super) fn run(ground: &Ground, report: &mut Report) -> Outcome<()> {
    few(ground, report)?;
    none_left(ground, report)
}

/// From the start.
fn few(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let rig = Rig::new(ground, "limits-few")?;
    let mut sent = Vec::new();
    for (n, few) in (4..=22).step_by(3).enumerate() {
        let prefix: Vec<OsString> = ["prlimit", &format!("--nofile={few}")].map(OsString::from).into();
        sent.push(rig.put(&chat(n))?);
        let mut agent = rig.spawn(rig.drain(&prefix))?;
        let ended = agent.ended(Duration::from_millis(300));
        if ended.is_none() {
            calm(report, &agent, &format!("with {few} descriptors"))?;
        }
        agent.kill()?;
        report.count("descriptor limits", 1);
        report.check(!agent.log().contains("panicked"), || {
            format!("limits: it panics with {few} descriptors: {}", agent.log())
        });
        report.check(ended.is_none_or(|status| status.signal().is_none()), || {
            format!("limits: with {few} descriptors it ended with {ended:?}: {}", agent.log())
        });
    }
    let agent = rig.agent()?;
    report.check(rig.until_done(sent.len()), || format!("limits: not delivered in the end: {}", agent.log()));
    rig.all_delivered(report, "limits from the start", &sent);
    Ok(())
}

/// While it works: what is open stays open, nothing more can be opened.
fn none_left(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let rig = Rig::new(ground, "limits-none")?;
    let mut agent = rig.agent()?;
    report.check(rig.until_connected(), || format!("limits: no connection: {}", agent.log()));
    let mut sent = vec![rig.put(&chat(0))?];
    report.check(rig.until_done(1), || "limits: the first one is not delivered".to_owned());
    for loses_gateway in [false, true] {
        let none = Rlimit { current: Some(3), maximum: Some(1024) };
        let before =
            prlimit(Some(agent.pid()), Resource::Nofile, Rlimit { maximum: before_max(&agent)?, ..none })?;
        for n in 0..10 {
            sent.push(rig.put(&chat(n))?);
        }
        if loses_gateway {
            rig.fake.restart()?;
        }
        calm(report, &agent, "without a descriptor left")?;
        report.check(agent.lives(), || format!("limits: it ended for want of a descriptor: {}", agent.log()));
        prlimit(Some(agent.pid()), Resource::Nofile, before)?;
        report.check(rig.until_done(sent.len()), || {
            format!(
                "limits: it does not recover, {} of {}: {}",
                rig.count(spooldir::Dir::Done),
                sent.len(),
                agent.log()
            )
        });
        report.count("descriptor limits", 1);
    }
    report.check(!agent.log().contains("panicked"), || format!("limits: it panics: {}", agent.log()));
    rig.all_delivered(report, "limits while it works", &sent);
    Ok(())
}

fn before_max(agent: &Agent) -> Outcome<Option<u64>> {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", agent.pid().as_raw_nonzero()))?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    Ok(line.split_whitespace().nth(4).and_then(|word| word.parse().ok()))
}

/// An agent that can do nothing must not be busy with it: at most half of a core.
pub(super) fn calm(report: &mut Report, agent: &Agent, when: &str) -> Outcome<()> {
    let (start, before) = (Instant::now(), agent.cpu()?);
    thread::sleep(Duration::from_secs(1));
    let share = (agent.cpu()? - before) / start.elapsed().as_secs_f64();
    report.check(share < 0.5, || format!("it spins {when}: {share:.2} of a core: {}", agent.log()));
    Ok(())
}
