//! A crash leaves no core with the token in it, and no other process of the same user may look into the agent: it has
//! told the kernel that it is not to be dumped.
//!
//! Root may look into everything, by its rights and not by being root; so where this is root, the agent and who looks
//! into it are started without any right. Whether the kernel then lets anybody look is tried on a shell first.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use rustix::process::Signal;

use super::paths::word;
use super::search::{Canary, search};
use crate::ground::{self, Ground, which};
use crate::layer::{Outcome, Report};
use crate::layers::rig::{Agent, Rig, chat};

/// A dump of any size, if it is allowed.
const DUMPED: &str = r#"ulimit -c unlimited 2>/dev/null; exec "$@""#;

/// Not SIGSEGV: the first one that comes from outside only takes the runtime's own handler away.
const CRASHES: [(&str, Signal); 3] =
    [("abort", Signal::ABORT), ("quit", Signal::QUIT), ("trap", Signal::TRAP)];

pub(super) fn run(ground: &Ground, report: &mut Report) -> Outcome<()> {
    let as_others: Vec<OsString> = if ground::is_root() && which("setpriv").is_some() {
        ["setpriv", "--inh-caps=-all", "--bounding-set=-all"].map(OsString::from).into()
    } else {
        Vec::new()
    };
    let prefix = [&as_others[..], &["sh", "-c", DUMPED, "sh"].map(OsString::from)[..]].concat();
    for (name, signal) in CRASHES {
        let token = word(ground, name);
        let home = ground.room(&format!("dumps-{name}"))?;
        let rig = Rig::with_token(ground, home.clone(), home.join("spool"), &token)?;
        // The dump would be written where it stands.
        let mut agent = rig.spawn(rig.drain(&prefix))?;
        let sent = rig.put(&chat(0))?;
        report.check(rig.until_done(1), || format!("dumps: {} is not delivered: {}", sent.0, agent.log()));
        looked_into(&rig, report, &as_others, &agent)?;
        agent.signal(signal)?;
        let ended = agent.ended(rig.limit());
        report.count("crashes", 1);
        report.check(ended.is_some_and(|status| status.signal() == Some(signal.as_raw())), || {
            format!("dumps: {name}: {ended:?}")
        });
        report.check(ended.is_some_and(|status| !status.core_dumped()), || {
            format!("dumps: a core was dumped after {name}")
        });
        let canary = Canary::new("token", token.as_str(), &[rig.token_file()]);
        search(report, "dumps", &rig.home, &[canary])?;
        if ground.hunts() {
            return Ok(());
        }
    }
    Ok(())
}

/// Another process of the same user tries to read the agent's environment.
fn looked_into(rig: &Rig<'_>, report: &mut Report, as_others: &[OsString], agent: &Agent) -> Outcome<()> {
    let reads = |pid: u32| -> Outcome<bool> {
        let mut look = rig.command(as_others, "cat");
        Ok(look.arg(format!("/proc/{pid}/environ")).status()?.success())
    };
    let mut waits = rig.command(as_others, "sh");
    let mut other =
        waits.args(["-c", "echo; read -r _"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // It has said something, so it is what it was started as.
    let said = other.stdout.take().map(|mut out| std::io::Read::read(&mut out, &mut [0]));
    let can_look = reads(other.id());
    other.kill()?;
    other.wait()?;
    if !matches!(said, Some(Ok(1))) || !can_look? {
        report.fact("skipped: looking into the agent (here nobody may look into anybody)");
        return Ok(());
    }
    report.count("looks into the agent", 1);
    let is_open = reads(agent.pid().as_raw_nonzero().get().unsigned_abs())?;
    report.check(!is_open, || "dumps: other processes of its user may look into the agent".to_owned());
    Ok(())
}
