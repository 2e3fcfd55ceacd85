//! Floods: tens of thousands of names that nobody can take in, garbage by the thousand, and a full `tmp/`.
//!
//! Honest records arrive all the same, sort after all of it or not; nothing of the flood is touched that is not ours;
//! log and journal grow with what happens and not with what lies there; and the agent comes to rest.

use std::os::unix::fs::{lchown, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use super::bench::Bench;
use super::plant::{age, as_user};
use super::round::{MEMORY, SECRET, log_is_clean};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::wait::wait_for;

const LIMIT: Duration = Duration::from_secs(240);
/// Names that the agent says it leaves alone, at most.
const NAMED: usize = 10_000;
/// Files in `tmp/`.
const STAGED: usize = 4_000;

pub(super) fn play(ground: &Ground) -> Outcome<Report> {
    let mut report = Report::default();
    let (foreign, garbage) = if ground.full { (100_000, 10_000) } else { (20_000, 1_000) };
    let mut bench = Bench::new(ground, "flood")?;
    let (new, tmp) = (bench.spool.join("new"), bench.spool.join("tmp"));
    let secret = bench.home.join("secret.json");
    std::fs::write(&secret, format!(r#"{{"sessionKey":"agent:main:victim","text":"{SECRET}"}}"#))?;
    bench.gateway.add_session("agent:main:victim", None);
    as_user(bench.users.agent, || {
        for n in 0..foreign {
            strange(&new, n, &secret, bench.users.stranger.is_some())?;
        }
        for n in 0..garbage {
            rot(&new, n)?;
        }
        for n in 0..STAGED {
            std::fs::write(tmp.join(format!("drop.{n:06}")), "{")?;
        }
        Ok(())
    })?;
    if let Some(stranger) = bench.users.stranger {
        for n in (9..foreign).step_by(10) {
            lchown(new.join(format!("0-{n:06}.json")), Some(stranger), Some(stranger))?;
        }
    }
    let mut honest = Vec::new();
    let mut drop_honest = |bench: &Bench<'_>, names: &[&str]| -> Outcome<()> {
        for name in names {
            let id = format!("{name}{}", honest.len());
            bench.honest(&id)?;
            honest.push(id);
        }
        Ok(())
    };
    // Names that come before the flood, in it and after it.
    drop_honest(&bench, &["0", "00", "0-0009999", "1", "h", "z"])?;
    bench.start()?;
    let start = Instant::now();
    let dead = bench.spool.join("dead");
    let settled =
        wait_for("the garbage to be dead", LIMIT, || Ok((count(&dead)? >= 2 * garbage).then_some(())));
    report.check(settled.is_ok(), || {
        format!("flood: not all garbage is dead: {settled:?}; {}", bench.last_words())
    });
    // While more of it comes.
    as_user(bench.users.agent, || (garbage..garbage + 200).try_for_each(|n| rot(&new, n)))?;
    drop_honest(&bench, &["0", "0-0009999", "h", "z"])?;
    let all = garbage + 200;
    let settled = wait_for("the rest to be dead", LIMIT, || Ok((count(&dead)? >= 2 * all).then_some(())));
    report.check(settled.is_ok(), || format!("flood: not all garbage is dead: {settled:?}"));
    let ended = bench.await_honest(&honest, LIMIT);
    report.check(ended.is_ok(), || {
        format!("flood: {}", ended.err().map(|e| e.to_string()).unwrap_or_default())
    });
    report.fact(format!("flood: settled after {:.1} s", start.elapsed().as_secs_f64()));

    let left = count(&new)?;
    report.check(left == foreign, || format!("flood: {left} names are left in new/, not {foreign}"));
    let staged = count(&tmp)?;
    report.check(staged == STAGED, || format!("flood: {staged} files are left in tmp/, not {STAGED}"));
    let turns = bench.gateway.all_commits();
    for id in &honest {
        let told = turns.iter().filter(|(_, _, text)| text.contains(&format!(" \u{b7} id: {id}\n"))).count();
        report.check(told == 1, || format!("flood: the honest record {id} was told {told} times"));
    }
    report.check(turns.len() == honest.len(), || format!("flood: {} turns", turns.len()));
    let (files, peak) = bench.usage()?;
    report.check(files < 40 && peak < MEMORY, || format!("flood: {files} descriptors, {peak} KiB"));
    let lines = journal_lines(&bench)?;
    let most = 2 * all + 20 * honest.len() + 50;
    report.check(lines <= most, || format!("flood: {lines} journal lines, at most {most} things happened"));
    let log = std::fs::read_to_string(&bench.log)?.lines().count();
    let most = NAMED + 2 * all + 20 * honest.len() + 50;
    report.check(log <= most, || format!("flood: {log} lines of log, at most {most} things are to be told"));
    let status = bench.spool(&["status", "--json"])?;
    let said: serde_json::Value = serde_json::from_slice(&status.stdout)?;
    let counted = said.get("foreignCount").and_then(serde_json::Value::as_u64);
    report.check(counted == Some(foreign as u64), || {
        format!("flood: spool status counts {counted:?} foreign files")
    });
    let audit = bench.spool(&["audit"])?;
    report.check(audit.status.success(), || {
        format!("flood: spool audit: {}", String::from_utf8_lossy(&audit.stderr))
    });
    let leaked = bench.gateway.requests().iter().any(|r| r.params.to_string().contains(SECRET));
    report.check(!leaked, || "flood: a secret is at the gateway".to_owned());
    let code = bench.stop();
    report.check(matches!(code, Ok(Some(0))), || format!("flood: the agent ended with {code:?}"));
    log_is_clean(&bench, &mut report)?;
    report
        .fact(format!("flood: {foreign} foreign names, {} MiB at most, {lines} journal lines", peak / 1024));
    report.count("names in floods", (foreign + all + STAGED) as u64);
    Ok(report)
}

/// One of many names that are not for the agent: links, directories, others' files, hidden ones, and no records.
fn strange(new: &Path, n: usize, secret: &Path, has_stranger: bool) -> Outcome<()> {
    let path = new.join(format!("0-{n:06}.json"));
    match n % 10 {
        0 | 1 => std::fs::create_dir(path)?,
        2 if n % 20 == 2 => std::fs::write(path.with_extension("txt"), "x")?,
        2 => std::fs::write(new.join(format!(".0-{n:06}.json")), "x")?,
        9 if has_stranger => {
            std::fs::write(path, format!(r#"{{"sessionKey":"agent:main:victim","text":"{SECRET}"}}"#))?
        }
        _ => symlink(secret, path)?,
    }
    Ok(())
}

fn rot(new: &Path, n: usize) -> Outcome<()> {
    let staged = new.join(format!(".rot-{n:06}"));
    std::fs::write(&staged, "{\"sessionKey\":\"agent:main:victim\",")?;
    age(&staged, Duration::from_secs(60))?;
    Ok(rustix::fs::rename(&staged, new.join(format!("0-{n:06}-rot.json")))?)
}

fn count(dir: &Path) -> Outcome<usize> {
    Ok(std::fs::read_dir(dir)?.count())
}

fn journal_lines(bench: &Bench<'_>) -> Outcome<usize> {
    let mut lines = 0;
    for file in std::fs::read_dir(bench.spool.join("journal"))? {
        lines += std::fs::read_to_string(file?.path())?.lines().count();
    }
    Ok(lines)
}
