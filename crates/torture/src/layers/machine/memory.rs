//! Memory: a backlog of twenty thousand files that appears while the agent is stopped, in a control group with little
//! memory; and agents that die of a limit wherever it strikes them, after which one without a limit delivers the rest.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};
use spooldir::Dir;

use super::disk::tmpfs;
use crate::ground::{self, Ground};
use crate::layer::{Outcome, Report};
use crate::layers::rig::{Agent, Rig, chat};

/// More than the kernel queues events (16384), so that its queue overflows.
const BURST: usize = 16_900;
/// What is enough for any backlog.
const ENOUGH: u64 = 64 << 20;
/// What is not enough to live.
const TOO_LITTLE: u64 = 400 << 10;
/// Address space in MiB: too little to start, too little to go far, almost enough.
const SPACES: [u64; 4] = [6, 12, 15, 17];
/// Agents whose address space is not allowed to grow any more while they work.
const FROZEN: usize = 4;

pub(super) fn run(ground: &Ground, report: &mut Report) -> Outcome<()> {
    burst(ground, report)?;
    killed(ground, report)
}

/// All events of the burst but the first sixteen thousand are lost, and nothing is stranded.
fn burst(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let home = ground.room("memory-burst")?;
    // So many files are a burden on a disk, and this is not about disks.
    let mounted = if ground::is_root() { Some(tmpfs(&home, c"size=1g")?) } else { None };
    let rig = Rig::at(ground, home.clone(), home.join("spool"))?;
    let group = Group::new(&rig, ENOUGH);
    let prefix = group.as_ref().map(Group::prefix).unwrap_or_default();
    let mut agent = rig.spawn(rig.drain(&prefix))?;
    report.check(rig.until_connected(), || format!("memory: no connection: {}", agent.log()));
    agent.stop()?;
    let sent = rig.drop_many(BURST, 40)?;
    agent.wake()?;
    let done = rig.until(rig.limit(), || rig.count(Dir::Done) == BURST || !agent.lives());
    report.check(done && agent.lives(), || {
        format!("memory: {} of {BURST} done: {}", rig.count(Dir::Done), last(&agent))
    });
    match (&group, agent.peak_kib()) {
        (Some(_), Some(peak)) => {
            report.fact(format!("{BURST} records in a group of {} MiB; {peak} KiB at most", ENOUGH >> 20));
        }
        (None, peak) => report.fact(format!("no control group to limit memory in; {peak:?} KiB at most")),
        _ => {}
    }
    report.count("burst", BURST as u64);
    rig.all_delivered(report, "memory burst", &sent);
    agent.kill()?;
    drop((rig, mounted));
    Ok(())
}

fn killed(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let rig = Rig::new(ground, "memory-killed")?;
    let mut sent = rig.drop_many(800, 20)?;
    for (n, space) in SPACES.into_iter().enumerate() {
        let prefix: Vec<OsString> = ["prlimit", &format!("--as={}", space << 20)].map(OsString::from).into();
        let mut agent = rig.spawn(rig.drain(&prefix))?;
        sent.push(rig.put(&chat(n))?);
        died(report, agent.ended(Duration::from_millis(700)).is_some());
        agent.kill()?;
    }
    for n in 0..FROZEN {
        let before = rig.count(Dir::Done);
        sent.extend(rig.drop_many(200, 20)?);
        let mut agent = rig.agent()?;
        // Somewhere in the midst of its work.
        rig.until(rig.limit(), || rig.count(Dir::Done) > before + 40 * n || !agent.lives());
        let Some(space) = agent.space() else { continue };
        prlimit(Some(agent.pid()), Resource::As, Rlimit { current: Some(space), maximum: None })?;
        died(report, agent.ended(Duration::from_millis(500)).is_some());
        agent.kill()?;
    }
    if let Some(group) = Group::new(&rig, TOO_LITTLE) {
        let mut agent = rig.spawn(rig.drain(&group.prefix()))?;
        // Whether the kernel is as strict as it says is its own affair.
        died(report, agent.ended(Duration::from_secs(5)).is_some());
        agent.kill()?;
    }
    let agent = rig.agent()?;
    report.check(rig.until_done(sent.len()), || {
        format!("memory: not all was delivered in the end: {}", last(&agent))
    });
    rig.all_delivered(report, "memory killed", &sent);
    report.at_least("died of a limit", 1);
    Ok(())
}

fn died(report: &mut Report, did: bool) {
    report.count(if did { "died of a limit" } else { "lived with a limit" }, 1);
}

fn last(agent: &Agent) -> String {
    let log = agent.log();
    log.lines().rev().take(5).collect::<Vec<_>>().join(" / ")
}

/// A control group with a limit of memory; removed when dropped, for which those in it must have ended.
struct Group(PathBuf);

impl Group {
    fn new(rig: &Rig<'_>, bytes: u64) -> Option<Group> {
        let name =
            format!("spool-torture-{}-{}", std::process::id(), rig.home.file_name()?.to_string_lossy());
        let first = ("/sys/fs/cgroup/memory", "memory.limit_in_bytes");
        for (root, file) in [first, ("/sys/fs/cgroup", "memory.max")] {
            let group = Group(PathBuf::from(root).join(&name));
            if fs::create_dir(&group.0).is_ok()
                && group.0.join(file).exists()
                && fs::write(group.0.join(file), bytes.to_string()).is_ok()
            {
                // Without swap, where that can be said.
                let _said = fs::write(group.0.join("memory.swap.max"), "0").is_ok();
                return Some(group);
            }
        }
        None
    }

    /// Starts what follows inside.
    fn prefix(&self) -> Vec<OsString> {
        let enter = r#"echo $$ >"$0/cgroup.procs" && exec "$@""#;
        vec!["sh".into(), "-c".into(), enter.into(), self.0.clone().into()]
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            if !self.0.exists() || fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
