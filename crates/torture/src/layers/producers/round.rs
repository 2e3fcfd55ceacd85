//! A round: all cases, planted by one user, before one agent.

use std::collections::HashSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::IFlags;

use super::bench::Bench;
use super::case::{Case, Expect, Who};
use super::cases;
use super::judge::{Planted, World, is_unseen};
use super::plant::{Held, Plant, as_user};
use crate::ground::{Ground, is_root};
use crate::layer::{Outcome, Report};

/// Stands in every secret. No message may have it.
pub(super) const SECRET: &str = "canary-5e7c0de";
/// The most memory an agent may ever have had, in KiB.
pub(super) const MEMORY: u64 = 128 * 1024;

/// Plays the cases (those named, if any), by the agent's user or by another.
pub(super) fn play(ground: &Ground, by_other: bool, named: Option<&[&str]>) -> Outcome<Report> {
    let mut report = Report::default();
    let name = if by_other { "stranger" } else { "own" };
    let mut bench = Bench::new(ground, name)?;
    let mut round = Round::new(&bench, by_other)?;
    let is_wanted = |case: &&Case| {
        (case.who == Who::Both || !by_other) && named.is_none_or(|n| n.is_empty() || n.contains(&case.name))
    };
    let mut seen = HashSet::new();
    for (number, case) in cases::all().enumerate() {
        if !seen.insert(case.name) {
            return Err(format!("two cases have the name {:?}", case.name).into());
        }
        if !is_wanted(&case) {
            continue;
        }
        round.plant(&bench, case, number)?;
        report.count(if by_other { "cases by another user" } else { "cases" }, 1);
        let id = format!("h{number:03}");
        bench.honest(&id)?;
        round.honest.push(id);
    }
    if let Some(case) = round.planted.is_empty().then_some("no case was planted") {
        return Err(case.into());
    }
    let outside = snapshot(&round.out)?;
    bench.start()?;
    round.watch(ground, &mut bench, &mut report);
    if !ground.hunts() || report.violated() == 0 {
        report.check(snapshot(&round.out)? == outside, || {
            format!("{name}: something beside the spool has changed")
        });
        if let Err(e) = round.shown(&bench, &mut report) {
            report.violation(format!("{name}: {e}"));
        }
    }
    if ground.hunts() && report.violated() > 0 {
        return Ok(report);
    }
    let code = bench.stop();
    report.check(matches!(code, Ok(Some(0))), || {
        format!("{name}: the agent ended with {code:?}; {}", bench.last_words())
    });
    log_is_clean(&bench, &mut report)?;
    Ok(report)
}

struct Round {
    by_other: bool,
    planter: Option<u32>,
    stages: PathBuf,
    out: PathBuf,
    planted: Vec<Planted>,
    honest: Vec<String>,
    held: Vec<Held>,
    flagged: Flagged,
}

impl Round {
    fn new(bench: &Bench<'_>, by_other: bool) -> Outcome<Round> {
        let planter = if by_other { bench.users.stranger } else { bench.users.agent };
        let (stages, out) = (bench.home.join("stages"), bench.home.join("out"));
        for dir in [&stages, &out] {
            std::fs::create_dir(dir)?;
            std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755))?;
            own(dir, planter)?;
        }
        as_user(planter, || {
            let secret = format!(r#"{{"sessionKey":"agent:main:victim","text":"{SECRET}"}}"#);
            std::fs::write(out.join("secret.json"), secret)?;
            std::fs::write(out.join("secret.txt"), format!("{SECRET}\n"))?;
            std::fs::create_dir(out.join("dir"))?;
            std::fs::write(out.join("dir/inner.json"), SECRET)?;
            Ok(())
        })?;
        bench.gateway.add_session("agent:main:victim", None);
        Ok(Round {
            by_other,
            planter,
            stages,
            out,
            planted: Vec::new(),
            honest: Vec::new(),
            held: Vec::new(),
            flagged: Flagged::default(),
        })
    }

    fn plant(&mut self, bench: &Bench<'_>, case: &'static Case, number: usize) -> Outcome<()> {
        let stage = self.stages.join(format!("s{number:03}"));
        std::fs::create_dir(&stage)?;
        own(&stage, self.planter)?;
        let session = format!("agent:main:case:{number:03}");
        match case.expect {
            Expect::Chat => drop(bench.gateway.add_chat(&session, 1000 + i64::try_from(number)?)),
            _ => drop(bench.gateway.add_session(&session, None)),
        }
        let mut plant = Plant {
            stage: &stage,
            out: &self.out,
            spool: &bench.spool,
            stem: format!("c{number:03}"),
            word: format!("word-{number:03}."),
            expect: case.expect,
            pieces: Vec::new(),
            held: Vec::new(),
            sessions: Vec::new(),
            made: 0.into(),
            session,
        };
        as_user(self.planter, || (case.make)(&mut plant))
            .map_err(|e| format!("case {:?}: {e}", case.name))?;
        self.held.append(&mut plant.held);
        for session in &plant.sessions {
            bench.gateway.add_session(session, None);
        }
        let pieces = plant.pieces;
        for piece in pieces {
            if (piece.device.is_some() || !piece.flags.is_empty()) && !is_root() {
                continue;
            }
            if let Some((kind, major, minor)) = piece.device {
                let mode = rustix::fs::Mode::from_raw_mode(0o666);
                let number = rustix::fs::makedev(major, minor);
                rustix::fs::mknodat(rustix::fs::CWD, &piece.staged, kind, mode, number)?;
                own(&piece.staged, self.planter)?;
            }
            let to = bench.spool.join(&piece.to);
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(rustix::fs::CWD, &piece.staged, rustix::fs::CWD, &to, flags)
                .map_err(|e| format!("case {:?}: cannot plant {to:?}: {e}", case.name))?;
            self.flagged.set(&to, piece.flags)?;
            let expect = if self.by_other { piece.by_other } else { piece.expect };
            self.planted.push(Planted::new(case.name, piece, expect, &bench.spool)?);
        }
        Ok(())
    }

    /// Watches until everything is where it should be, or it takes too long; then one more sweep, and the last word.
    /// In a hunt it is over when nothing changes any more.
    fn watch(&mut self, ground: &Ground, bench: &mut Bench<'_>, report: &mut Report) {
        let limit = Duration::from_secs(if ground.hunts() { 25 } else { 240 });
        let start = Instant::now();
        let (mut complaints, mut missing) = (Vec::new(), 0);
        let mut last_seen = ((Vec::new(), 0), start);
        while start.elapsed() < limit && bench.is_alive() {
            complaints = match World::see(bench) {
                Ok(world) => self.planted.iter().filter_map(|one| world.judge(one).err()).collect(),
                Err(e) => vec![e.to_string()],
            };
            missing = self.honest.iter().filter(|id| !bench.has_arrived(id)).count();
            if complaints.is_empty() && missing == 0 {
                break;
            }
            let now_seen = (complaints.clone(), missing);
            if now_seen != last_seen.0 {
                last_seen = (now_seen, Instant::now());
            }
            if ground.hunts() && last_seen.1.elapsed() > Duration::from_secs(if missing == 0 { 2 } else { 7 })
            {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let settled = start.elapsed();
        if complaints.is_empty() {
            // Whatever comes last in a sweep comes after all that was there.
            if let Err(e) = bench.honest("last") {
                report.violation(e.to_string());
            }
            self.honest.push("last".into());
        }
        let is_caught = ground.hunts() && !(complaints.is_empty() && missing == 0);
        let left = if is_caught { Duration::ZERO } else { limit.saturating_sub(start.elapsed()) };
        if let Err(e) = bench.await_honest(&self.honest, left.max(Duration::from_secs(1))) {
            report.violation(format!("{}: {e}", self.who()));
        }
        report.fact(format!("{}: settled after {:.1} s", self.who(), settled.as_secs_f64()));
        match World::see(bench) {
            Ok(world) => self.sum_up(bench, &world, report),
            Err(e) => report.violation(e.to_string()),
        }
    }

    fn who(&self) -> &'static str {
        if self.by_other { "planted by another user" } else { "planted by the agent's user" }
    }

    fn sum_up(&self, bench: &Bench<'_>, world: &World, report: &mut Report) {
        for one in &self.planted {
            let judged = world.judge(one);
            report.check(judged.is_ok(), || format!("{}: {}", self.who(), judged.err().unwrap_or_default()));
        }
        report.count("pieces", self.planted.len() as u64);
        for stray in world.strays(&self.planted) {
            report.violation(stray);
        }
        for id in &self.honest {
            let line = format!(" \u{b7} id: {id}\n");
            let told: Vec<_> = world.commits.iter().filter(|(_, _, text)| text.contains(&line)).collect();
            let session = super::bench::honest_session(id);
            let is_right = matches!(told.as_slice(), [(to, _, _)] if *to == session);
            report.check(is_right, || format!("the honest record {id} was told {} times", told.len()));
        }
        report.count("honest records", self.honest.len() as u64);
        let leaked = bench.gateway.requests().iter().any(|r| r.params.to_string().contains(SECRET));
        report.check(!leaked, || format!("{}: a secret is at the gateway", self.who()));
        match bench.usage() {
            Ok((files, peak)) => {
                report.check(files < 40, || format!("the agent has {files} descriptors open"));
                report.check(peak < MEMORY, || format!("the agent has had {peak} KiB of memory"));
                report.fact(format!("{}: {files} descriptors, {} MiB at most", self.who(), peak / 1024));
            }
            Err(e) => report.violation(e.to_string()),
        }
    }

    /// What the commands show.
    fn shown(&self, bench: &Bench<'_>, report: &mut Report) -> Outcome<()> {
        let left = self.planted.iter().filter(|one| one.expect == Expect::Left).count();
        let status = bench.spool(&["status", "--json"])?;
        let said: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        let counted = said.get("foreignCount").and_then(serde_json::Value::as_u64);
        report.check(counted == Some(left as u64), || {
            format!("{}: spool status counts {counted:?} foreign files, there are {left}", self.who())
        });
        for args in
            [&["status"][..], &["list"], &["list", "--state", "dead"], &["list", "--state", "running"]]
        {
            let output = bench.spool(args)?;
            for (stream, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
                let bad = String::from_utf8_lossy(bytes).chars().find(|c| is_unseen(*c));
                report.check(bad.is_none(), || format!("spool {args:?} shows {bad:?} on {stream}"));
                let bytes = String::from_utf8_lossy(bytes);
                report
                    .check(!bytes.contains(SECRET), || format!("spool {args:?} shows a secret on {stream}"));
            }
        }
        let list = bench.spool(&["list", "--json"])?;
        report.check(serde_json::from_slice::<Vec<serde_json::Value>>(&list.stdout).is_ok(), || {
            format!("spool list --json is no JSON: {}", String::from_utf8_lossy(&list.stderr))
        });
        let audit = bench.spool(&["audit"])?;
        report.check(audit.status.success(), || {
            format!(
                "spool audit: {}{}",
                String::from_utf8_lossy(&audit.stdout),
                String::from_utf8_lossy(&audit.stderr)
            )
        });
        Ok(())
    }
}

/// The log is lines of the agent's own, each with its time, and nothing in them that a terminal would obey.
pub(super) fn log_is_clean(bench: &Bench<'_>, report: &mut Report) -> Outcome<()> {
    let said = std::fs::read(&bench.log)?;
    let said = String::from_utf8_lossy(&said);
    let begins = |line: &str| line.starts_with("20") && line.get(19..20) == Some(".") && line.contains("Z ");
    let forged = said.lines().find(|line| !begins(line) || line.chars().any(is_unseen));
    report.check(forged.is_none(), || format!("a line of the log is not the agent's own: {forged:?}"));
    report.check(!said.contains(SECRET), || "a secret is in the log".to_owned());
    report.count("lines of log", said.lines().count() as u64);
    Ok(())
}

pub(super) fn own(path: &Path, user: Option<u32>) -> Outcome<()> {
    if user.is_some() {
        chown(path, user, user)?;
    }
    Ok(())
}

/// Names, sizes, times and bytes of all that lies in a directory.
pub(super) fn snapshot(dir: &Path) -> Outcome<Vec<String>> {
    let mut seen = Vec::new();
    for item in std::fs::read_dir(dir)? {
        let path = item?.path();
        let meta = std::fs::symlink_metadata(&path)?;
        let bytes = if meta.is_file() { std::fs::read(&path)? } else { Vec::new() };
        seen.push(format!(
            "{path:?} {} {:o} {} {} {}",
            meta.ino(),
            meta.mode(),
            meta.uid(),
            meta.mtime(),
            String::from_utf8_lossy(&bytes)
        ));
        if meta.is_dir() {
            seen.append(&mut snapshot(&path)?);
        }
    }
    seen.sort();
    Ok(seen)
}

/// Files that nobody may move; free again when dropped, or nothing could remove them.
#[derive(Default)]
struct Flagged(Vec<PathBuf>);

impl Flagged {
    fn set(&mut self, path: &Path, flags: IFlags) -> Outcome<()> {
        if !flags.is_empty() {
            let file = std::fs::File::open(path)?;
            let before = rustix::fs::ioctl_getflags(&file)?;
            rustix::fs::ioctl_setflags(&file, before | flags)?;
            self.0.push(path.to_owned());
        }
        Ok(())
    }
}

impl Drop for Flagged {
    fn drop(&mut self) {
        for path in &self.0 {
            let freed = std::fs::File::open(path).is_ok_and(|file| {
                let flags = rustix::fs::ioctl_getflags(&file).map(|f| f - IFlags::IMMUTABLE - IFlags::APPEND);
                flags.is_ok_and(|flags| rustix::fs::ioctl_setflags(&file, flags).is_ok())
            });
            if !freed {
                eprintln!("torture: {path:?} stays immutable");
            }
        }
    }
}
