//! Two agents on one spool: the second ends with a number and a sentence of its own, also while the first is stopped,
//! and of many that start at once exactly one stays. The lock is no child's.

use std::fs;
use std::time::Duration;

use spooldir::Dir;

use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::layers::rig::{Agent, Rig, chat};

/// The number of the second one.
const UNAVAILABLE: i32 = 69;
const CLOEXEC: u32 = 0o2_000_000;

pub(super) fn run(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let rig = Rig::new(ground, "agents")?;
    let mut first = rig.agent()?;
    report.check(rig.until_connected(), || "agents: the first agent does not connect".to_owned());
    second(&rig, report, &first, "while the first one runs")?;
    if ground.hunts() && report.violated() > 0 {
        return Ok(());
    }
    first.stop()?;
    second(&rig, report, &first, "while the first one is stopped")?;
    first.wake()?;
    let mut sent = vec![rig.put(&chat(0))?];
    report.check(rig.until_done(1), || "agents: the first one does not go on".to_owned());
    close_on_exec(report, &first)?;
    report.check(first.lives(), || format!("agents: the first one ended: {}", first.log()));

    first.kill()?;
    sent.push(rig.put(&chat(1))?);
    let mut many = (0..5).map(|_| rig.agent()).collect::<Outcome<Vec<Agent>>>()?;
    report.count("agents", 7 + 1);
    report.check(rig.until_done(2), || "agents: none of five takes over from a killed one".to_owned());
    let alone = rig
        .until(rig.limit(), || many.iter_mut().filter_map(|agent| agent.lives().then_some(())).count() == 1);
    report.check(alone, || "agents: of five that start at once, not exactly one stays".to_owned());
    for agent in &mut many {
        if let Some(status) = agent.ended(Duration::ZERO) {
            report.check(status.code() == Some(UNAVAILABLE), || {
                format!("agents: one of five ended with {status}: {}", agent.log())
            });
        }
    }
    report.check(rig.count(Dir::New) == 0, || "agents: something stayed".to_owned());
    rig.all_delivered(report, "agents", &sent);
    Ok(())
}

/// A second agent has to go, and to say which one is in its way.
fn second(rig: &Rig<'_>, report: &mut Report, first: &Agent, when: &str) -> Outcome<()> {
    let mut second = rig.agent()?;
    let ended = second.ended(rig.limit());
    let (code, said) = (ended.and_then(|status| status.code()), second.log());
    report.check(code == Some(UNAVAILABLE), || {
        format!("agents: {when}, a second one ended with {code:?}: {said}")
    });
    let names_it = said.contains("another agent") && said.contains(&first.pid().as_raw_nonzero().to_string());
    report.check(names_it || code.is_none(), || format!("agents: {when}, the second one says only: {said}"));
    Ok(())
}

/// No descriptor of the agent outlives it in a child.
fn close_on_exec(report: &mut Report, agent: &Agent) -> Outcome<()> {
    // What this process was given open by its own starter, the agent has too.
    let given: Vec<u32> =
        descriptors("self")?.into_iter().filter(|d| d.1 & CLOEXEC == 0).map(|d| d.0).collect();
    for (number, flags) in descriptors(&agent.pid().as_raw_nonzero().to_string())? {
        report.count("descriptors", 1);
        report.check(given.contains(&number) || flags & CLOEXEC != 0, || {
            format!("agents: descriptor {number} outlives an exec")
        });
    }
    Ok(())
}

/// The numbers and flags of a process's open files.
fn descriptors(process: &str) -> Outcome<Vec<(u32, u32)>> {
    let mut all = Vec::new();
    for item in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        let item = item?;
        // It may be closed between the list and the look.
        let Ok(info) = fs::read_to_string(item.path()) else { continue };
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
        let flags = flags.and_then(|octal| u32::from_str_radix(octal, 8).ok()).unwrap_or(0);
        all.push((item.file_name().to_string_lossy().parse()?, flags));
    }
    Ok(all)
}
