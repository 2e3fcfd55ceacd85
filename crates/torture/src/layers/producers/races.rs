//! Races: files that change while they are looked at.
//!
//! Four careless or hostile producers work at full speed beside an agent and an honest one, each with names of its own:
//! one writes its records slowly under their final names, one cuts its record short and writes it again through the
//! descriptor that it has kept, one replaces its record by one for another session, one swaps record, symlink, FIFO
//! and hard link under one name. Whatever the agent gets hold of, no words may reach a session that the record they
//! stand in does not name; nothing is told twice; and what was written slowly but well arrives.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat, rename};

use super::bench::Bench;
use super::judge::World;
use super::plant::as_user;
use super::round::{MEMORY, SECRET, own, snapshot};
use crate::ground::Ground;
use crate::layer::{Outcome, Report};
use crate::wait::wait_for;

const LIMIT: Duration = Duration::from_secs(240);
/// How many records each of the first two writes at most, each for a session of its own.
const MOST: usize = 300;

/// Where a producer works, and for how long.
struct Stage {
    new: PathBuf,
    /// Its own directory, on the same file system.
    own: PathBuf,
    out: PathBuf,
    end: Instant,
}

impl Stage {
    fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }
}

pub(super) fn play(ground: &Ground) -> Outcome<Report> {
    let mut report = Report::default();
    let mut bench = Bench::new(ground, "races")?;
    let (stages, out) = (bench.home.join("stages"), bench.home.join("out"));
    for dir in [&stages, &out] {
        std::fs::create_dir(dir)?;
        own(dir, bench.users.agent)?;
    }
    let secret = format!(r#"{{"sessionKey":"agent:main:swap","text":"{SECRET}"}}"#);
    as_user(bench.users.agent, || Ok(std::fs::write(out.join("secret.json"), secret)?))?;
    for n in 0..MOST {
        bench.gateway.add_session(&session("grow", n), None);
        bench.gateway.add_session(&session("flick", n), None);
    }
    for name in ["agent:main:swap", "agent:main:turn:0", "agent:main:turn:1"] {
        bench.gateway.add_session(name, None);
    }
    let before = snapshot(&out)?;
    bench.start()?;
    let end = Instant::now() + Duration::from_secs(if ground.full { 60 } else { 4 });
    let new = bench.spool.join("new");
    let user = bench.users.agent;
    let play = |name: &str, act: fn(&Stage) -> Outcome<Vec<u64>>| {
        let stage = Stage { new: new.clone(), own: stages.join(name), out: out.clone(), end };
        move || {
            as_user(user, || {
                std::fs::create_dir(&stage.own)?;
                act(&stage)
            })
        }
    };
    let plays = [play("grow", grow), play("flick", flick), play("turn", turn), play("swap", swap)];
    let mut honest = Vec::new();
    let made: Vec<Vec<u64>> = std::thread::scope(|scope| -> Outcome<_> {
        let players: Vec<_> = plays.into_iter().map(|play| scope.spawn(play)).collect();
        while Instant::now() < end {
            let id = format!("h{}", honest.len());
            bench.honest(&id)?;
            honest.push(id);
            std::thread::sleep(Duration::from_millis(100));
        }
        players.into_iter().map(|player| player.join().map_err(|_| "a producer panicked")?).collect()
    })?;
    let [grown, flicked, turned, swapped] = made.as_slice() else { return Err("no producers".into()) };
    let ended = bench.await_honest(&honest, LIMIT);
    report.check(ended.is_ok(), || {
        format!("races: {}", ended.err().map(|e| e.to_string()).unwrap_or_default())
    });
    let inodes: Vec<u64> = grown.iter().chain(flicked).copied().collect();
    let settled = wait_for("every file to come to an end", LIMIT, || {
        let world = World::see(&bench)?;
        Ok(inodes.iter().all(|ino| matches!(world.dir_of(*ino), Some("done" | "dead"))).then_some(()))
    });
    report.check(settled.is_ok(), || format!("races: {settled:?}; {}", bench.last_words()));

    let world = World::see(&bench)?;
    let mut told: HashMap<String, Vec<String>> = HashMap::new();
    for (session, _, text) in &world.commits {
        for word in
            text.split(|c: char| c.is_whitespace() || c == '"').filter(|word| word.starts_with("race-"))
        {
            told.entry(word.to_owned()).or_default().push(session.clone());
        }
    }
    // A word names its session, whatever became of its file.
    for (word, sessions) in &told {
        let own = word.trim_start_matches("race-").split('.').next().unwrap_or_default();
        let own = format!("agent:main:{own}");
        let is_right = sessions.iter().all(|session| *session == own);
        report.check(is_right, || format!("races: {word:?} was told to {sessions:?}"));
        report.check(sessions.len() == 1, || format!("races: {word:?} was told {} times", sessions.len()));
    }
    for (n, ino) in grown.iter().enumerate() {
        let times = told.get(&word("grow", n)).map_or(0, Vec::len);
        let dir = world.dir_of(*ino);
        report.check((times, dir) == (1, Some("done")), || {
            format!("races: grown record {n} was told {times} times and is in {dir:?}")
        });
    }
    for (n, ino) in flicked.iter().enumerate() {
        let times = told.get(&word("flick", n)).map_or(0, Vec::len);
        let dir = world.dir_of(*ino);
        report.check(times == 1 || dir == Some("dead"), || {
            format!("races: flickering record {n} was told {times} times and is in {dir:?}")
        });
    }
    let leaked = bench.gateway.requests().iter().any(|r| r.params.to_string().contains(SECRET));
    report.check(!leaked, || "races: a secret is at the gateway".to_owned());
    report.check(snapshot(&out)? == before, || "races: something beside the spool has changed".to_owned());
    let (files, peak) = bench.usage()?;
    report.check(files < 40 && peak < MEMORY, || format!("races: {files} descriptors, {peak} KiB"));
    let status = bench.spool(&["status"])?;
    // 1 says that there are dead letters.
    report.check(matches!(status.status.code(), Some(0 | 1)), || {
        format!("races: spool status: {:?}, {}", status.status, String::from_utf8_lossy(&status.stderr))
    });
    let code = bench.stop();
    report.check(matches!(code, Ok(Some(0))), || format!("races: the agent ended with {code:?}"));
    let swaps = [grown, flicked, turned, swapped].map(Vec::len);
    report.fact(format!(
        "races: {} slow records, {} cut and written again, {} replaced, {} swapped, {} honest ones",
        swaps[0],
        swaps[1],
        swaps[2],
        swaps[3],
        honest.len()
    ));
    report.count("races", swaps.iter().sum::<usize>() as u64);
    Ok(report)
}

fn session(kind: &str, n: usize) -> String {
    format!("agent:main:{kind}:{n}")
}

fn word(kind: &str, n: usize) -> String {
    format!("race-{kind}:{n}.")
}

fn record(session: &str, word: &str, more: usize) -> String {
    serde_json::json!({"sessionKey": session, "text": format!("{word} {}", "x".repeat(more))}).to_string()
}

/// Writes under the final name, slowly.
fn grow(stage: &Stage) -> Outcome<Vec<u64>> {
    let mut made = Vec::new();
    while !stage.is_over() && made.len() < MOST {
        let n = made.len();
        let mut file = File::create(stage.new.join(format!("grow-{n}.json")))?;
        for part in record(&session("grow", n), &word("grow", n), 3000).as_bytes().chunks(400) {
            file.write_all(part)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        made.push(file.metadata()?.ino());
    }
    Ok(made)
}

/// Cuts its record short and writes it again, wherever it is by then; it is whole in the end.
fn flick(stage: &Stage) -> Outcome<Vec<u64>> {
    let mut made = Vec::new();
    while !stage.is_over() && made.len() < MOST {
        let n = made.len();
        let bytes = record(&session("flick", n), &word("flick", n), 3000);
        let file = File::create(stage.new.join(format!("flick-{n}.json")))?;
        made.push(file.metadata()?.ino());
        for cut in 0..20 {
            file.write_all_at(bytes.as_bytes(), 0)?;
            std::thread::sleep(Duration::from_millis(1));
            file.set_len(cut * 100)?;
        }
        file.write_all_at(bytes.as_bytes(), 0)?;
    }
    Ok(made)
}

/// Replaces its record by one for another session.
fn turn(stage: &Stage) -> Outcome<Vec<u64>> {
    let mut made = Vec::new();
    while !stage.is_over() {
        let n = made.len();
        let staged = stage.own.join("next");
        let word = format!("race-turn:{}.{n}", n % 2);
        std::fs::write(&staged, record(&session("turn", n % 2), &word, 10))?;
        made.push(std::fs::metadata(&staged)?.ino());
        rename(&staged, stage.new.join("turn.json"))?;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(made)
}

/// A record, a symlink, a FIFO, a second name of a secret, all under one name in turn.
fn swap(stage: &Stage) -> Outcome<Vec<u64>> {
    let mut made = Vec::new();
    let (staged, name) = (stage.own.join("next"), stage.new.join("swap.json"));
    while !stage.is_over() {
        let n = made.len();
        put(stage, &staged, n)?;
        made.push(std::fs::symlink_metadata(&staged)?.ino());
        // A second name of the file that is there stays, by rename(2).
        rename(&staged, &name)?;
        let _gone = std::fs::remove_file(&staged).is_ok();
        std::thread::sleep(Duration::from_micros(200));
    }
    let _gone = std::fs::remove_file(name).is_ok();
    Ok(made)
}

fn put(stage: &Stage, staged: &Path, n: usize) -> Outcome<()> {
    let secret = stage.out.join("secret.json");
    match n % 8 {
        1 | 5 => symlink(secret, staged)?,
        3 => mknodat(CWD, staged, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?,
        7 => std::fs::hard_link(secret, staged)?,
        _ => std::fs::write(staged, record("agent:main:swap", &format!("race-swap.{n}"), 10))?,
    }
    Ok(())
}
