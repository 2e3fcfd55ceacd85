//! Doors: spools that others may write into.
//!
//! A drop directory of several users cannot be safe: whoever may write there can take an honest name first. So it is
//! refused, by every program, with a sentence; an agent under which a directory is opened stops working until it is
//! closed again, and what a stranger left meanwhile stays where it is.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::bench::{Bench, honest_session};
use super::plant::as_user;
use super::round::{SECRET, log_is_clean};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::wait::wait_for;

const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn play(ground: &Ground) -> Outcome<Report> {
    let mut report = Report::default();
    let mut bench = Bench::new(ground, "doors")?;
    for dir in ["", "new", "tmp", "done"] {
        let path = bench.spool.join(dir);
        for mode in [0o1733, 0o777, 0o720] {
            chmod(&path, mode)?;
            refused(&bench, dir, mode, &mut report)?;
        }
        chmod(&path, 0o700)?;
    }
    bench.start()?;
    bench.honest("before")?;
    arrived(&mut bench, "before", &mut report);
    let new = bench.spool.join("new");
    // One may pass through the root, but not write there.
    chmod(&bench.spool, 0o711)?;
    chmod(&new, 0o1733)?;
    let told = wait_for("the agent to see the open directory", LIMIT, || {
        Ok(std::fs::read_to_string(&bench.log)?.contains("others may write into new").then_some(()))
    });
    report.check(told.is_ok(), || format!("doors: an open new/ is not noticed; {}", bench.last_words()));
    bench.honest("meanwhile")?;
    let squat = new.join("squat.json");
    let words = format!(r#"{{"id":"squat","sessionKey":"{}","text":"{SECRET}"}}"#, honest_session("before"));
    as_user(bench.users.stranger, || Ok(std::fs::write(&squat, &words)?))?;
    // Long enough for several looks, had it gone on.
    std::thread::sleep(Duration::from_millis(1500));
    report.check(!bench.has_arrived("meanwhile"), || "doors: it goes on while new/ is open".to_owned());
    chmod(&new, 0o700)?;
    arrived(&mut bench, "meanwhile", &mut report);
    bench.honest("after")?;
    arrived(&mut bench, "after", &mut report);
    if bench.users.stranger.is_some() {
        let is_left = std::fs::read_to_string(&squat).is_ok_and(|now| now == words);
        report.check(is_left, || "doors: what the stranger left is not where it was".to_owned());
        let leaked = bench.gateway.requests().iter().any(|r| r.params.to_string().contains(SECRET));
        report.check(!leaked, || "doors: what the stranger wrote is at the gateway".to_owned());
    }
    let code = bench.stop();
    report.check(matches!(code, Ok(Some(0))), || format!("doors: the agent ended with {code:?}"));
    log_is_clean(&bench, &mut report)?;
    Ok(report)
}

fn chmod(path: &Path, mode: u32) -> Outcome<()> {
    Ok(std::fs::set_permissions(path, PermissionsExt::from_mode(mode))?)
}

/// Every program refuses, and says why.
fn refused(bench: &Bench<'_>, dir: &str, mode: u32, report: &mut Report) -> Outcome<()> {
    let (url, token) = (bench.gateway.url(), bench.home.join("token"));
    let drain = ["drain", "--once", "--gateway", &url, "--token-file", &token.to_string_lossy()];
    let put = ["put", "--session", "agent:main:main", "x"];
    for args in [&drain[..], &put] {
        let output = bench.spool(args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let is_refused = output.status.code() == Some(77) && said.contains("others may write into");
        report.check(is_refused, || {
            format!("spool {} with mode {mode:o} of {dir:?}: {:?}, {said}", args[0], output.status)
        });
        report.count("open doors", 1);
    }
    let dropped = std::fs::read_dir(bench.spool.join("new"))?.count();
    report.check(dropped == 0, || format!("doors: something was published into {dir:?} of mode {mode:o}"));
    Ok(())
}

fn arrived(bench: &mut Bench<'_>, id: &str, report: &mut Report) {
    let ended = bench.await_honest(&[id.to_owned()], LIMIT);
    report.check(ended.is_ok(), || {
        format!("doors: {}", ended.err().map(|e| e.to_string()).unwrap_or_default())
    });
}
